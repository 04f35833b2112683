"""EvictionRequests, and the part of Kubernetes that makes Evictions of them. The API server of 1.37 knows both, but the
controller comes with 1.38: here the tests take its steps, each of which the API server checks as it would the
controller's."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from local import LocalCluster, plural
from showrunner import MEDIA_NAMESPACE

RESPONDER = "showrunner.dev/drain"
REQUESTER = "example.com/empties-machines"
# The one that Kubernetes adds to those of a pod.
LAST = {"name": "imperative-eviction.k8s.io/evictor", "priority": 100}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def condition(of: str, status: bool, reason: str) -> dict:
    return {"type": of, "status": str(status), "reason": reason, "message": "", "lastTransitionTime": now()}


class Asked:
    """The eviction of a pod, asked for."""

    def __init__(self, cluster: LocalCluster, pod: dict) -> None:
        self.cluster, self.pod = cluster, pod
        self.name = f"evict-{pod['metadata']['uid']}"
        self.target = {"pod": {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}
        self.started = now()

    def _make(self, kind: str, labels: dict, spec: dict) -> None:
        meta = {"name": self.name, "namespace": MEDIA_NAMESPACE, "labels": labels}
        version = "lifecycle.k8s.io/v1alpha1"
        status, answer = self.cluster.create({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec})
        if status != 201:
            raise AssertionError(f"{kind} was refused: {answer}")

    def _say(self, state: str, conditions: list[dict]) -> None:
        """Writes what the controller writes, and leaves what responders have written."""
        group, evictions = plural("Eviction")
        path = f"{group}/namespaces/{MEDIA_NAMESPACE}/{evictions}/{self.name}/status"
        responders = sorted([*self.pod["spec"]["evictionResponders"], LAST], key=lambda one: -one["priority"])
        body = {
            "apiVersion": "lifecycle.k8s.io/v1alpha1",
            "kind": "Eviction",
            "metadata": {"name": self.name, "namespace": MEDIA_NAMESPACE},
            "status": {
                "observedGeneration": 1,
                "requesters": [{"name": REQUESTER, "intent": "Withdrawn" if state == "Canceled" else "Eviction"}],
                "targetResponders": [{**one, "state": "Inactive" if one is LAST else state} for one in responders],
                "responders": [
                    {"name": one["name"]} | ({} if one is LAST else {"startTime": self.started}) for one in responders
                ],
                "conditions": conditions,
            },
        }
        query = "fieldManager=evictionrequest-controller&force=true"
        status, answer = self.cluster.api("PATCH", f"{path}?{query}", body, "application/apply-patch+yaml")
        if status != 200:
            raise AssertionError(f"the status of Eviction {self.name} was refused: {answer}")

    def begin(self) -> None:
        spec = {"target": self.target, "requester": REQUESTER, "intent": "Eviction"}
        self._make("EvictionRequest", {}, spec)
        self._make("Eviction", {REQUESTER: "requester", RESPONDER: "responder"}, {"target": self.target})
        waits = [condition(of, False, "AwaitingEviction") for of in ("Failed", "TargetEvicted")]
        self._say("Active", waits)

    def withdraw(self) -> None:
        self.cluster.merge("EvictionRequest", self.name, {"spec": {"intent": "Withdrawn"}}, MEDIA_NAMESPACE)
        failed = condition("Failed", True, "CanceledDueToNoRequesters")
        self._say("Canceled", [failed, condition("TargetEvicted", False, "EvictionFailed")])

    def succeed(self) -> None:
        """To be said once the pod is gone: it is refused unless the responder has said that it is done."""
        evicted = condition("TargetEvicted", True, "PodDeleted")
        self._say("Completed", [condition("Failed", False, "Succeeded"), evicted])

    def eviction(self) -> dict:
        return self.cluster.get("Eviction", self.name, MEDIA_NAMESPACE) or {}

    def answer(self) -> dict:
        """What the responder has said."""
        said = self.eviction().get("status", {}).get("responders", [])
        return next((one for one in said if one["name"] == RESPONDER), {})

    def end(self) -> None:
        for kind in ("EvictionRequest", "Eviction"):
            group, kinds = plural(kind)
            self.cluster.api("DELETE", f"{group}/namespaces/{MEDIA_NAMESPACE}/{kinds}/{self.name}")


@contextmanager
def asked(cluster: LocalCluster, pod: str) -> Iterator[Asked]:
    """Asks for the eviction of a media pod."""
    one = Asked(cluster, cluster.get("Pod", pod, MEDIA_NAMESPACE))
    try:
        one.begin()
        yield one
    finally:
        one.end()
