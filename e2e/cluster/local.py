"""A local cluster for tests: cluster.sh, kubectl, helm and the API server, called from Python."""

import base64
import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = ROOT / ".cache/cluster/bin"
# How long something may take that usually takes a second or two, on a machine that has much else to do.
LIMIT_SECONDS = 120

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def opener(context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """Asks without any proxy: whatever proxy there is, it doesn't know the cluster."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def get(url: str) -> str:
    with opener().open(url, timeout=10) as response:
        return response.read().decode()


def until(what: str, attempt: Callable[[], T], seconds: float = LIMIT_SECONDS) -> T:
    """Repeats an attempt until what it returns is true."""
    deadline = time.monotonic() + seconds
    while not (found := attempt()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true within {seconds:.0f} s: {what}")
        time.sleep(0.1)
    return found


def plural(kind: str) -> tuple[str, str]:
    """The path of a kind's API group, and its name in there."""
    return {
        "LiveRoom": ("/apis/showrunner.dev/v1alpha1", "liverooms"),
        "MediaNode": ("/apis/showrunner.dev/v1alpha1", "medianodes"),
        "Pod": ("/api/v1", "pods"),
        "Secret": ("/api/v1", "secrets"),
        "ConfigMap": ("/api/v1", "configmaps"),
        "Event": ("/api/v1", "events"),
        "ResourceQuota": ("/api/v1", "resourcequotas"),
        "Eviction": ("/apis/lifecycle.k8s.io/v1alpha1", "evictions"),
        "EvictionRequest": ("/apis/lifecycle.k8s.io/v1alpha1", "evictionrequests"),
        "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    }[kind]


class LocalCluster:
    def __init__(self, name: str, net: str) -> None:
        self.name = name
        self.net = net
        self.environment = {**os.environ, "CLUSTER_NAME": name, "CLUSTER_NET": net}

    def script(self, *arguments: str) -> str:
        """Runs cluster.sh; what it said."""
        run = subprocess.run(
            [HERE / "cluster.sh", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if run.returncode != 0:
            raise AssertionError(f"cluster.sh {' '.join(arguments)} failed:\n{run.stdout}")
        return run.stdout

    def boot(self) -> None:
        self.script("up", "--fresh")
        self.attach()

    def attach(self) -> None:
        """Makes a cluster that is up this one's."""
        config = Path(self.script("kubeconfig").strip())
        self.environment |= {
            "KUBECONFIG": str(config),
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }
        user = json.loads(self.kubectl("config", "view", "--raw", "--output=json"))
        server = user["clusters"][0]["cluster"]
        self.server = server["server"]
        authority = base64.b64decode(server["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as file:
            for part in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user["users"][0]["user"][part]))
            file.flush()
            context.load_cert_chain(file.name)
        self.opener = opener(context)

    def down(self) -> None:
        self.script("down")

    def run(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, input=given, capture_output=True, text=True)

    def command(self, *command: str, given: str = "") -> str:
        run = self.run(*command, given=given)
        if run.returncode != 0:
            raise AssertionError(f"{' '.join(command)} failed:\n{run.stdout}{run.stderr}")
        return run.stdout

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.command("kubectl", *arguments, given=given)

    def helm(self, *arguments: str) -> str:
        return self.command("helm", *arguments)

    def api(self, method: str, path: str, body: object = None, kind: str = "application/json") -> tuple[int, dict]:
        """One request to the API server; the status and the body of its answer."""
        request = urllib.request.Request(self.server + path, method=method, headers={"Content-Type": kind})
        if body is not None:
            request.data = json.dumps(body).encode()
        try:
            with self.opener.open(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else {"message": text}

    def create(self, resource: dict, dry: bool = False) -> tuple[int, dict]:
        group, name = plural(resource["kind"])
        namespace = resource["metadata"].get("namespace", "default")
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry else {})
        return self.api("POST", f"{group}/namespaces/{namespace}/{name}?{urlencode(query)}", resource)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict | None:
        """A resource, if there is one."""
        group, kinds = plural(kind)
        status, found = self.api("GET", f"{group}/namespaces/{namespace}/{kinds}/{name}")
        return found if status == 200 else None

    def list(self, kind: str, namespace: str = "default", selector: str = "") -> list[dict]:
        group, kinds = plural(kind)
        query = urlencode({"labelSelector": selector})
        status, found = self.api("GET", f"{group}/namespaces/{namespace}/{kinds}?{query}")
        if status != 200:
            raise AssertionError(f"{kinds} can't be listed: {found}")
        return found["items"]

    def merge(self, kind: str, name: str, change: dict, namespace: str = "default") -> dict:
        """Changes a resource by a merge patch (RFC 7386)."""
        group, kinds = plural(kind)
        path = f"{group}/namespaces/{namespace}/{kinds}/{name}"
        status, found = self.api("PATCH", path, change, "application/merge-patch+json")
        if status != 200:
            raise AssertionError(f"{kind} {name} can't be changed: {found}")
        return found
