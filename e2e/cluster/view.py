"""What the API server says there is, kept up to date by watches, so that many can wait for much at little cost."""

import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

from local import LIMIT_SECONDS, LocalCluster, plural
from showrunner import MEDIA_NAMESPACE, SHOP

# Of an API server that is away, before it is tried again.
REST_SECONDS = 0.2
KINDS = (("LiveRoom", SHOP), ("MediaNode", MEDIA_NAMESPACE), ("Pod", MEDIA_NAMESPACE))

T = TypeVar("T")


class View:
    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.changed = threading.Condition()
        self.found: dict[str, dict[str, dict]] = {kind: {} for kind, _ in KINDS}
        # When each kind was listed last.
        self.listed: dict[str, float] = {kind: 0.0 for kind, _ in KINDS}
        for kind, namespace in KINDS:
            threading.Thread(target=self._follow, args=(kind, namespace), daemon=True).start()
        self.refresh(0.0)

    def until(self, what: str, attempt: Callable[[], T], seconds: float = LIMIT_SECONDS) -> T:
        """Waits until what an attempt finds is true."""
        with self.changed:
            if found := self.changed.wait_for(attempt, seconds):
                return found
        raise AssertionError(f"never came true within {seconds:.0f} s: {what}")

    def refresh(self, since: float) -> None:
        """Waits until all of it is from after a moment."""
        self.until("the API server is there", lambda: min(self.listed.values()) > since)

    def get(self, kind: str, name: str) -> dict:
        """A resource; empty if there is none."""
        return self.found[kind].get(name, {})

    def pods(self, site: str) -> list[dict]:
        with self.changed:
            pods = list(self.found["Pod"].values())
        return [pod for pod in pods if pod["metadata"]["labels"].get("showrunner.dev/media-node") == site]

    def _follow(self, kind: str, namespace: str) -> None:
        group, kinds = plural(kind)
        path = f"{group}/namespaces/{namespace}/{kinds}"
        while True:
            try:
                self._watch(kind, path)
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(REST_SECONDS)

    def _watch(self, kind: str, path: str) -> None:
        status, listed = self.cluster.api("GET", path)
        if status != 200:
            raise OSError(f"{kind} can't be listed")
        with self.changed:
            self.found[kind] = {each["metadata"]["name"]: each for each in listed["items"]}
            self.listed[kind] = time.monotonic()
            self.changed.notify_all()
        since = listed["metadata"]["resourceVersion"]
        url = f"{self.cluster.server}{path}?watch=1&resourceVersion={since}"
        with self.cluster.opener.open(urllib.request.Request(url), timeout=600) as events:
            for line in events:
                self._take(kind, json.loads(line))

    def _take(self, kind: str, event: dict) -> None:
        if event["type"] == "ERROR":
            raise ValueError(event["object"].get("message"))
        each = event["object"]
        with self.changed:
            if event["type"] == "DELETED":
                self.found[kind].pop(each["metadata"]["name"], None)
            else:
                self.found[kind][each["metadata"]["name"]] = each
            self.changed.notify_all()
