#!/usr/bin/env python3
"""What it costs to have a room on several pods instead of one.

    cascade.py [--viewers N] [--seconds SECONDS] [--rounds N]

Starts media nodes as pods run, with a host on the first. First N viewers watch there alone; then the second takes the
room from the first, the third from the second, and N viewers watch on each. Prints `name: value` lines, medians of
all rounds, and writes docs/benchmarks-cascade.md.
"""

import argparse
import base64
import contextlib
import hashlib
import hmac
import http.client
import http.server
import json
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from figures import OF_CASCADE, ROOT

NODE, LOAD, MEDIA = ROOT / "target/release/media-node", ROOT / "target/release/showrunner-load", ROOT / ".cache/media"
NAME = "media-pod.showrunner.internal"
SECRET = "the secret of a bench, known to nobody else"
ROOM, UID = "shop/sale", "u-1"
HZ = 100


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def credential(**claims: object) -> str:
    """As operator and gateway sign them: HS256, good for a minute."""
    now = int(time.time())
    claims |= {"aud": "showrunner-pod-control", "jti": str(time.time_ns()), "iat": now, "nbf": now, "exp": now + 60}
    part = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=")  # noqa: E731
    text = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()) + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.digest(SECRET.encode(), text, hashlib.sha256))).decode()


def operator() -> str:
    return credential(iss="operator")


def host() -> str:
    return credential(iss="gateway", grant={"room": ROOM, "uid": UID, "role": "host"})


def keys(directory: Path) -> None:
    """An authority, a pod's certificate of it, and the secret."""
    at = str(directory)
    openssl = lambda *args: subprocess.run(["openssl", *args], check=True, capture_output=True)  # noqa: E731
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", f"{at}/ca.key", "-out", f"{at}/ca.crt", "-days", "2", "-subj", "/CN=bench")
    openssl("req", *new, "-keyout", f"{at}/tls.key", "-out", f"{at}/tls.csr", "-subj", "/CN=pod")
    (directory / "names").write_text(f"subjectAltName=DNS:{NAME}\n")
    issuer = ["-CA", f"{at}/ca.crt", "-CAkey", f"{at}/ca.key", "-CAcreateserial", "-days", "2"]
    openssl("x509", "-req", "-in", f"{at}/tls.csr", *issuer, "-extfile", f"{at}/names", "-out", f"{at}/tls.crt")
    (directory / "control").write_text(SECRET)


@dataclass
class Pod:
    """A media node, and what lets programs without TLS talk to it."""

    process: subprocess.Popen[str]
    address: str
    directory: Path
    plain: str = ""

    @staticmethod
    @contextlib.contextmanager
    def start(directory: Path) -> Iterator["Pod"]:
        args = ["--http", "127.0.0.1:0", "--media-bind", "127.0.0.1", "--media-port", "0", "--shards", "1"]
        args += ["--public-ip", "127.0.0.1", "--log-format", "json"]
        for flag, name in {"tls-cert": "tls.crt", "tls-key": "tls.key", "control-key": "control", "control-ca": "ca.crt"}.items():
            args += [f"--{flag}-file", str(directory / name)]
        process = subprocess.Popen([NODE, *args], stderr=subprocess.PIPE, text=True)
        assert process.stderr
        try:
            log = (json.loads(line)["fields"] for line in process.stderr)
            pod = Pod(process, next(line["http"] for line in log if "http" in line), directory)
            threading.Thread(target=lambda: [None for _ in log], daemon=True).start()
            with pod.plainly():
                yield pod
        finally:
            process.terminate()
            process.wait()

    @contextlib.contextmanager
    def plainly(self) -> Iterator[None]:
        """Takes requests without TLS and credentials, as if the gateway had brought them."""
        pod = self

        class Door(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                kept = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "accept", "if-match")}
                status, headers, text = pod.ask(self.command, self.path, host(), body, kept)
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = pass_on

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
        server.daemon_threads = True
        self.plain = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()

    def ask(
        self, method: str, path: str, token: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        # Pods are known by address, and their certificates have one name for all.
        context.check_hostname = False
        connection = http.client.HTTPSConnection(self.address, context=context, timeout=10)
        connection.request(method, path, body, {"authorization": f"Bearer {token}", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def take(self, revision: int, source: "Pod | None" = None) -> None:
        role: dict[str, object] = {"kind": "origin"}
        if source:
            role = {"kind": "edge", "source": {"address": source.address}}
        assignment = {"uid": UID, "generation": 1, "revision": revision, "role": role}
        body, kind = json.dumps(assignment).encode(), {"content-type": "application/json"}
        status, _, text = self.ask("PUT", f"/v1/rooms/{ROOM}", operator(), body, kind)
        assert status in (200, 201), text

    def is_on_air(self) -> bool:
        rooms = json.loads(self.ask("GET", "/v1/status", operator())[2])["rooms"]
        return any(room["active"] for room in rooms)

    def figures(self) -> dict[str, float]:
        text = self.ask("GET", "/metrics", operator())[2].decode()
        return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", text, re.MULTILINE)}

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HZ


def until(what: str, is_so: object) -> None:
    end = time.monotonic() + 20
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end, f"not so: {what}"
        time.sleep(0.1)


@dataclass
class Watched:
    """What viewers on some pods lived through."""

    viewers: int
    flawed: int
    # Of each pod.
    cpu: list[float]
    packets: list[float]
    before: list[dict[str, float]]
    after: list[dict[str, float]]
    seconds: float


def watch(pods: list[Pod], viewers: int, seconds: int, directory: Path) -> Watched:
    loads = []
    for at, pod in enumerate(pods):
        args = ["watch", "--url", pod.plain, "--room", ROOM, "--viewers", str(viewers), "--join-rate", "25"]
        args += ["--seconds", str(seconds + 12), "--verify", "sample", "--threads", "1", "--json", str(directory / f"{at}.json")]
        loads.append(subprocess.Popen([LOAD, *args], stdout=subprocess.DEVNULL))
    # All join, and the last ones settle.
    time.sleep(viewers / 25 + 6)
    before, cpu, began = [pod.figures() for pod in pods], [pod.cpu() for pod in pods], time.monotonic()
    time.sleep(seconds)
    cpu, after = [pod.cpu() - was for pod, was in zip(pods, cpu, strict=True)], [pod.figures() for pod in pods]
    took = time.monotonic() - began
    assert all(load.wait() == 0 for load in loads), "viewers failed"
    reports = [json.loads((directory / f"{at}.json").read_text()) for at in range(len(pods))]
    assert all(report["joined"] == viewers for report in reports), reports
    for report in reports:
        flaws = ("loss_percent", "frames_undecodable", "time_reversals", "viewers_flawed", "load_cpu_cores")
        say(", ".join(f"{name} {report[name]}" for name in flaws))
    return Watched(
        viewers=viewers * len(pods),
        flawed=sum(report["viewers_flawed"] for report in reports),
        cpu=cpu,
        packets=[report["packets_per_second"] / viewers for report in reports],
        before=before,
        after=after,
        seconds=took,
    )


def added(watched: Watched, at: int, name: str) -> float:
    return watched.after[at].get(name, 0) - watched.before[at].get(name, 0)


def residence_ms(watched: Watched, at: int, share: float) -> float:
    of = 'showrunner_residence_seconds_bucket{shard="0",le="'
    bounds = sorted((float(name.removeprefix(of).rstrip('"}')), name) for name in watched.after[at] if name.startswith(of))
    counts = [(bound, added(watched, at, name)) for bound, name in bounds]
    return next(bound for bound, count in counts if count >= share * counts[-1][1]) * 1000


def measure(viewers: int, seconds: int) -> dict[str, float]:
    """One round, with pods of its own."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        keys(directory)
        pods = [stack.enter_context(Pod.start(directory)) for _ in range(3)]
        pods[0].take(1)
        args = ["publish", "--url", pods[0].plain, "--room", ROOM, "--media", str(MEDIA), "--layers", "f"]
        publisher = subprocess.Popen([LOAD, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(publisher.wait)
        stack.callback(publisher.terminate)
        until("the host is on air", pods[0].is_on_air)
        say("viewers on one pod")
        one = watch(pods[:1], viewers, seconds, directory)
        pods[1].take(1, pods[0])
        pods[2].take(1, pods[1])
        until("the edges have the room", lambda: all(pod.is_on_air() for pod in pods))
        say("viewers on three pods")
        three = watch(pods, viewers, seconds, directory)
    per_cpu = [run.viewers * run.seconds / sum(run.cpu) for run in (one, three)]
    linked = 'showrunner_link_packets_total{direction="in",shard="0"}'
    edges = (1, 2)
    found = {
        "viewers": three.viewers,
        "viewers_flawed": one.flawed + three.flawed,
        "viewers_per_cpu_1": per_cpu[0],
        "viewers_per_cpu_3": per_cpu[1],
        "linear": per_cpu[1] / per_cpu[0],
        "link_copies": max(added(three, at, linked) / three.seconds / three.packets[at] for at in edges),
    }
    for share in (0.5, 0.99):
        found[f"pod_ms_p{share * 100:.0f}"] = residence_ms(one, 0, share)
        found[f"hop_ms_p{share * 100:.0f}"] = max(residence_ms(three, at, share) for at in edges)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, default=60, help="on each pod (60)")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5, help="how often; figures are medians (5)")
    options = parser.parse_args()
    rounds = [measure(options.viewers, options.seconds) for _ in range(max(1, options.rounds))]
    say("of linear in each round: " + " ".join(f"{each['linear']:.2f}" for each in rounds))
    medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    # A flaw is one, in whatever round.
    medians["viewers_flawed"] = max(each["viewers_flawed"] for each in rounds)
    OF_CASCADE.record({f"cascade_{name}": round(value, 3) for name, value in medians.items()})


if __name__ == "__main__":
    main()
