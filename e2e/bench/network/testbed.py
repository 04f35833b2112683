"""Three network namespaces with a bad network between each two: host, server, viewer.

The server has one address, and a link to each of the others. Nothing here can reach anything else.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ROOT / os.environ.get("BENCH_PROGRAMS", "target/release")
MEDIA = ROOT / ".cache/media/network"
SERVER_IP, HOST_IP, VIEWER_IP = "10.99.0.1", "10.99.1.2", "10.99.2.2"
READY_SECONDS = 30
# Before all that has no priority, so that the rest of the machine's work doesn't show in a picture.
NICE = "-10"
LIVEKIT = ROOT / ".cache/bin/livekit-server-v1.11.0"
LIVEKIT_HOST = ROOT / ".cache/bin/livekit-load"


class Testbed:
    def __init__(self) -> None:
        self.name = f"sr-{os.getpid()}"
        self.directory = Path(tempfile.mkdtemp(prefix="showrunner-network-"))
        self.processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Testbed":
        for place in ("host", "server", "viewer"):
            run("ip", "netns", "add", f"{self.name}-{place}")
            run("ip", "-n", f"{self.name}-{place}", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            stop(process)
        for place in ("host", "server", "viewer"):
            subprocess.run(["ip", "netns", "delete", f"{self.name}-{place}"], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, place: str, *command: str | Path) -> list[str]:
        return ["nice", "-n", NICE, "ip", "netns", "exec", f"{self.name}-{place}", *map(str, command)]

    def start(self, log: str, command: list[str], ready: str | None = None, **how: object) -> subprocess.Popen:
        """Starts a program, whose errors go to a log, and waits until they say it is ready."""
        path = self.directory / f"{log}.log"
        with open(path, "w") as errors:
            how.setdefault("stdout", errors)
            process = subprocess.Popen(command, stderr=errors, stdin=subprocess.DEVNULL, **how)
        self.processes.append(process)
        if ready is not None:
            self.wait(log, process, lambda: re.search(ready, path.read_text()))
        return process

    def wait(self, log: str, process: subprocess.Popen, is_ready: object) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{log} does not get ready:\n{self.log(log)}")
            time.sleep(0.02)

    def log(self, log: str) -> str:
        return (self.directory / f"{log}.log").read_text()[-4000:]

    def link(self, place: str, scenario: Path) -> Path:
        """Lays the link of a host or a viewer to the server; the file to which it tells what it did each 100 ms."""
        address = {"host": HOST_IP, "viewer": VIEWER_IP}[place]
        told = self.directory / f"{place}-link.jsonl"
        with open(told, "w") as output:
            self.start(
                f"{place}-link",
                [
                    str(PROGRAMS / "showrunner-impair"), "run", "--every", "0.1", "--scenario", str(scenario),
                    "--client", f"{self.name}-{place}={address}", "--server", f"{self.name}-server={SERVER_IP}",
                ],
                ready="^linked",
                stdout=output,
            )
        return told

    def showrunner(self) -> "Server":
        """A node with a host on air."""
        url = f"http://{SERVER_IP}:8080"
        node = self.start(
            "node",
            self.command(
                "server", PROGRAMS / "media-node", "--http", f"{SERVER_IP}:8080", "--media-bind", SERVER_IP,
                "--web-dir", ROOT / "media-node/web/dist", *os.environ.get("BENCH_NODE_ARGS", "").split(),
            ),
        )
        self.wait("node", node, lambda: self.answers(f"{url}/readyz"))
        frames = self.directory / "frames.csv"
        host = self.command(
            "host", PROGRAMS / "showrunner-load", "publish", "--url", url, "--media", MEDIA, "--codec", "vp8",
            "--temporal-layers", "3", "--frame-log", frames,
        )
        self.start("host", host, ready="on air")
        script = self.directory / "showrunner.js"
        web = ROOT / "media-node/web"
        run(
            web / "node_modules/.bin/esbuild", web / "src/client/index.ts", "--bundle", "--format=iife",
            "--global-name=showrunner", "--log-level=error", f"--outfile={script}",
        )
        return Server("showrunner", url, script, frames, [])

    def livekit(self, viewers: int) -> "Server":
        """The same with LiveKit."""
        secret = base64.b64encode(os.urandom(32)).decode()
        config = self.directory / "livekit.yaml"
        config.touch(0o600)
        config.write_text(json.dumps({
            "port": 7880,
            "bind_addresses": [SERVER_IP],
            "keys": {"bench": secret},
            "rtc": {
                "udp_port": "7882-7883",
                "use_external_ip": False,
                "use_ice_lite": True,
                "node_ip": SERVER_IP,
                # Any address of ours: without one, clients are told to ask a public STUN server.
                "stun_servers": [f"{SERVER_IP}:3478"],
            },
            "logging": {"level": "warn"},
        }))
        url = f"http://{SERVER_IP}:7880"
        server = self.start("livekit", self.command("server", LIVEKIT, "--config", config))
        self.wait("livekit", server, lambda: self.answers(url))
        frames = self.directory / "frames.csv"
        host = self.command(
            "host", LIVEKIT_HOST, "-url", url.replace("http", "ws"), "-key", "bench", "-secret", secret,
            "-layers", MEDIA, "-frame-log", frames,
        )
        self.start("livekit-host", host, ready="on air")
        script = ROOT / "e2e/browser/node_modules/livekit-client/dist/livekit-client.umd.js"
        tokens = [livekit_token(secret, f"viewer-{n}") for n in range(viewers)]
        return Server("livekit", url, script, frames, tokens)

    def answers(self, url: str) -> bool:
        command = self.command("server", "curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null", url)
        return subprocess.run(command, check=False).returncode == 0


class Server:
    def __init__(self, client: str, url: str, script: Path, frames: Path, tokens: list[str]) -> None:
        self.client, self.url, self.script, self.frames, self.tokens = client, url, script, frames, tokens


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def livekit_token(secret: str, identity: str) -> str:
    """A JWT (RFC 7519) that lets one viewer into the room."""
    def encode(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    head = {"alg": "HS256", "typ": "JWT"}
    grant = {"roomJoin": True, "room": "bench", "canPublish": False}
    body = {"iss": "bench", "sub": identity, "nbf": int(time.time()) - 10, "exp": int(time.time()) + 3600, "video": grant}
    text = ".".join(encode(json.dumps(part).encode()) for part in (head, body))
    return f"{text}.{encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"
