"""Requests to an API server without a client library: what benchmarks need of it, at the speed that they need."""

import base64
import http.client
import json
import ssl
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

GROUP = "/apis/showrunner.dev/v1alpha1"


class Api:
    """One connection to an API server; each thread has its own."""

    def __init__(self, kubeconfig: str) -> None:
        # The local cluster writes them in YAML, of which kubectl makes JSON.
        text = subprocess.run(
            ["kubectl", "--kubeconfig", kubeconfig, "config", "view", "--raw", "--output", "json"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        config = json.loads(text)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = urlsplit(cluster["server"])
        self.tls = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        with tempfile.TemporaryDirectory() as directory:
            files = []
            for part in ("certificate", "key"):
                path = Path(directory) / part
                path.touch(0o600)
                path.write_bytes(base64.b64decode(user[f"client-{part}-data"]))
                files.append(path)
            self.tls.load_cert_chain(*files)
        self.connection = self.connect()

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host.hostname, self.host.port, context=self.tls, timeout=60)

    def request(self, method: str, path: str, body: object = None, media: str = "application/json") -> bytes:
        content = None if body is None else json.dumps(body)
        try:
            self.connection.request(method, path, content, {"Content-Type": media, "Accept": "application/json"})
            answer = self.connection.getresponse()
        except (http.client.HTTPException, OSError):
            self.connection.close()
            self.connection = self.connect()
            raise
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
        return text

    def get(self, path: str) -> dict:
        return json.loads(self.request("GET", path))

    def post(self, path: str, body: object) -> dict:
        return json.loads(self.request("POST", path, body))

    def merge(self, path: str, body: object) -> dict:
        return json.loads(self.request("PATCH", path, body, "application/merge-patch+json"))

    def watch(self, path: str):
        """The events of a watch, from what is there on, until the connection ends."""
        connection = self.connect()
        separator = "&" if "?" in path else "?"
        connection.request("GET", f"{path}{separator}watch=1&allowWatchBookmarks=false")
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"watch {path}: {answer.status}")
        try:
            while line := answer.readline():
                yield json.loads(line)
        finally:
            connection.close()
