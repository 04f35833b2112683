"""A media-node process for one test."""

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("SHOWRUNNER_MEDIA_NODE", ROOT / "target/release/media-node"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """Runs the node on loopback; use it in a `with` statement."""

    def __init__(self, *arguments: str) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [
                PROGRAM,
                *("--http", f"127.0.0.1:{port}"),
                *("--media-bind", "127.0.0.1"),
                *("--media-port", str(free_port())),
                *("--shards", "1"),
                *arguments,
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> "Node":
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(self.base + "/readyz", timeout=5).close()
                return self
            except (urllib.error.URLError, ConnectionError) as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    raise RuntimeError(f"the node never got ready:\n{self.read_log()}") from error
            time.sleep(0.02)

    def __exit__(self, kind, error, trace) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            if error is not None:
                print(self.read_log())
            self.log.close()

    def read_log(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")
