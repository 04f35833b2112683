"""Showrunner, installed by its chart on a local cluster, for the tests that play on it: booted once, for all of them."""

import atexit
import base64
import functools
import os
import queue
import subprocess
import threading
import unittest
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from local import LIMIT_SECONDS, ROOT, LocalCluster, opener, until

NAME = "sr-suite"
NET = "10.217"
CHART = ROOT / "charts/showrunner"
LOAD = ROOT / "target/release/showrunner-load"
MEDIA = ROOT / ".cache/media"
# Where the release is, where its site is, and where rooms are.
SYSTEM, MEDIA_NAMESPACE, SHOP = "showrunner", "media", "shop"
# Of an offer.
SDP = {"Content-Type": "application/sdp"}

SITE = {
    "apiVersion": "showrunner.dev/v1alpha1",
    "kind": "MediaNode",
    "metadata": {"name": "site", "namespace": MEDIA_NAMESPACE},
    "spec": {
        "region": "local",
        "replicas": 2,
        "allowedRooms": {"from": "All"},
        "reach": {"mode": "PodIP", "shards": 1},
        "drain": {"deadlineSeconds": 60},
    },
}


class Host:
    """A test host, on air for as long as the `with` statement lasts."""

    def __init__(self, base: str, room: str, token: str, *flags: str) -> None:
        self.said: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [LOAD, "publish", "--url", base, "--room", room, "--media", MEDIA, "--layers", "q", *flags],
            env={**os.environ, "SHOWRUNNER_PUBLISH_TOKEN": token},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with self.process.stdout as said:
            for line in said:
                self.said.put(line)
        self.said.put("")

    def __enter__(self) -> "Host":
        heard = []
        while line := self.said.get(timeout=LIMIT_SECONDS):
            heard.append(line)
            if "on air:" in line:
                return self
        raise AssertionError(f"the host did not get on air:\n{''.join(heard)}")

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_SECONDS)


class Showrunner:
    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster

    def install(self, chart: str = str(CHART), *flags: str) -> None:
        """Installs the chart, or upgrades to it, and waits until its pods are ready."""
        repository, _, tag = self.image.rpartition(":")
        values = f"image.repository={repository},image.tag={tag},publicUrl=http://rooms.test,logFormat=text"
        self.cluster.helm(
            "upgrade", "--install", "showrunner", chart, "--namespace", SYSTEM, "--create-namespace",
            "--set-string", values, "--wait", "--timeout", "3m", *flags,
        )  # fmt: skip

    def boot(self) -> None:
        self.cluster.boot()
        self.image = subprocess.run(
            [ROOT / "scripts/image.sh"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()
        self.cluster.script("import", str(ROOT / ".cache/image.tar"))
        self.install()
        for namespace in (MEDIA_NAMESPACE, SHOP):
            self.cluster.kubectl("create", "namespace", namespace)
        self.create(SITE)
        self.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)

    @property
    def base(self) -> str:
        """The gateway's address."""
        path = "jsonpath={.spec.clusterIP}"
        address = self.cluster.kubectl("--namespace", SYSTEM, "get", "service/showrunner-gateway", "--output", path)
        return f"http://{address}"

    def create(self, resource: dict) -> None:
        status, answer = self.cluster.create(resource)
        if status != 201:
            raise AssertionError(f"{resource['kind']} was refused: {answer}")

    def condition(self, kind: str, name: str, of: str, namespace: str = SHOP) -> dict:
        found = self.cluster.get(kind, name, namespace) or {}
        conditions = found.get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == of), {})

    def await_condition(
        self, kind: str, name: str, of: str, namespace: str = SHOP, status: str = "True", reason: str | None = None
    ) -> dict:
        """Waits for a condition that is about the spec as it is now."""

        def attempt() -> dict | None:
            found = self.cluster.get(kind, name, namespace) or {}
            for each in found.get("status", {}).get("conditions", []):
                is_new = each.get("observedGeneration") == found["metadata"]["generation"]
                if each["type"] == of and each["status"] == status and is_new and reason in (None, each["reason"]):
                    return each
            return None

        try:
            return until(f"{kind} {name} is {of}={status} ({reason})", attempt)
        except AssertionError as error:
            described = self.cluster.run("kubectl", "--namespace", namespace, "describe", kind, name).stdout
            pods = self.cluster.run("kubectl", "get", "pods", "--all-namespaces").stdout
            log = self.cluster.run("kubectl", "--namespace", SYSTEM, "logs", "--tail=40", "--prefix",
                                   "--selector=app.kubernetes.io/component=operator").stdout  # fmt: skip
            raise AssertionError(f"{error}\n{described}\n{pods}\n{log}") from None

    def make_room(self, name: str, **spec: object) -> None:
        self.create({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "LiveRoom",
            "metadata": {"name": name, "namespace": SHOP},
            "spec": spec,
        })  # fmt: skip

    @contextmanager
    def room(self, name: str, **spec: object) -> Iterator[str]:
        """A room that is ready, and goes again."""
        self.make_room(name, **spec)
        try:
            self.await_condition("LiveRoom", name, "Ready")
            yield name
        finally:
            self.cluster.kubectl("--namespace", SHOP, "delete", "lr", name, "--ignore-not-found", "--timeout=60s")

    def token(self, room: str) -> str:
        secret = until(f"{room} has a token", lambda: self.cluster.get("Secret", f"{room}-host-token", SHOP))
        return base64.b64decode(secret["data"]["token"]).decode()

    def await_gateways(self, room: str) -> None:
        """Waits until every gateway knows a room: each follows the API server by itself."""
        path = f"/whep/{SHOP}/{room}"
        for gateway in self.pods("gateway"):
            address = gateway["status"].get("podIP")
            if address and "deletionTimestamp" not in gateway["metadata"]:
                base = f"http://{address}:8080"
                until(f"{base} knows {room}", lambda: self.ask("POST", path, b"v=0", SDP, base)[0] != 404)

    def host(self, room: str) -> Host:
        self.await_gateways(room)
        return Host(self.base, f"{SHOP}/{room}", self.token(room))

    def audience(
        self, room: str, seconds: int = 3, viewers: int = 3, *flags: str, base: str | None = None
    ) -> subprocess.Popen[str]:
        """Viewers who look into every packet; the process fails if one of them missed something."""
        return subprocess.Popen(
            [LOAD, "watch", "--url", base or self.base, "--room", f"{SHOP}/{room}", "--viewers", str(viewers),
             "--seconds", str(seconds), "--threads", "1", "--strict", "--name-value", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def watch(self, room: str, seconds: int = 3, viewers: int = 3) -> None:
        self.content(self.audience(room, seconds, viewers))

    def content(self, audience: subprocess.Popen[str]) -> None:
        """Waits for the end of an audience; it must have had all."""
        said, _ = audience.communicate(timeout=LIMIT_SECONDS)
        if audience.returncode != 0:
            raise AssertionError(f"viewers were not content:\n{said}")

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict | None = None, base: str | None = None
    ) -> tuple[int, str]:
        """One request to the gateway, or to one of its pods."""
        request = urllib.request.Request((base or self.base) + path, body, headers or {}, method=method)
        try:
            with opener().open(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def origin(self, room: str) -> str | None:
        found = self.cluster.get("LiveRoom", room, SHOP) or {}
        return found.get("status", {}).get("origin", {}).get("pod")

    def pods(self, component: str, namespace: str = SYSTEM) -> list[dict]:
        return self.cluster.list("Pod", namespace, f"app.kubernetes.io/component={component}")

    def media_pods(self, site: str = "site", namespace: str = MEDIA_NAMESPACE) -> list[dict]:
        return self.cluster.list("Pod", namespace, f"showrunner.dev/media-node={site}")

    def process(self, pod: str, program: str, namespace: str = MEDIA_NAMESPACE) -> str:
        """The process of a pod's program, by its number in the cluster's namespace."""
        uid = self.cluster.get("Pod", pod, namespace)["metadata"]["uid"]
        script = 'for p in $(pgrep --exact "$1"); do if grep -qs "$2" /proc/$p/cgroup; then echo $p; fi; done'
        return self.cluster.script("exec", "--", "sh", "-c", script, "-", program, uid).strip()

    def keep_down(self, pod: str) -> None:
        """Kills the program of a media pod, if it runs. To be called again and again: Kubernetes starts it again at once
        the first time, so soon that its room may stay there, and only then takes its time."""
        if process := self.process(pod, "media-node"):
            self.cluster.script("exec", "--", "sh", "-c", 'kill -KILL "$1" || true', "-", process)

    def leader(self) -> str:
        """The pod that holds the operators' lease."""
        lease = self.cluster.get("Lease", "showrunner-operator", SYSTEM) or {}
        return lease.get("spec", {}).get("holderIdentity") or ""

    def events(self, name: str, namespace: str = SHOP) -> list[dict]:
        found = self.cluster.list("Event", namespace)
        return [each for each in found if each["involvedObject"]["name"] == name]


@functools.cache
def showrunner() -> Showrunner:
    """The one installation. The first who asks boots it; it goes with the process."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can boot a cluster")
    cluster = LocalCluster(NAME, NET)
    atexit.register(cluster.down)
    installed = Showrunner(cluster)
    installed.boot()
    return installed
