"""Somebody asks for a media pod's eviction by Kubernetes' EvictionRequest: its rooms go on elsewhere, and the Eviction
tells how far that is."""

import contextlib
import unittest
from collections.abc import Iterator

from evictions import RESPONDER, asked
from local import until
from showrunner import MEDIA_NAMESPACE
from test_moving import VIEWERS, Story


class EvictionRequests(Story):
    @contextlib.contextmanager
    def no_more_pods(self) -> Iterator[None]:
        """As on a cluster that is full."""
        name = "full"
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name, "namespace": MEDIA_NAMESPACE}}
        # Of those that are there, no more: a pod of a test before this one may still be going.
        until("two pods are there", lambda: len(self.live.media_pods()) == 2)
        self.live.create({**quota, "spec": {"hard": {"pods": "2"}}})
        try:

            def is_counted() -> bool:
                found = self.cluster.get("ResourceQuota", name, MEDIA_NAMESPACE) or {}
                return found.get("status", {}).get("used", {}).get("pods") == "2"

            until("the quota counts", is_counted)
            yield
        finally:
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "resourcequota", name, "--ignore-not-found")

    def test_pods_name_who_answers(self) -> None:
        for pod in self.live.media_pods():
            self.assertEqual(pod["spec"]["evictionResponders"], [{"name": RESPONDER, "priority": 10000}])

    def test_an_eviction_under_viewers(self) -> None:
        self.ready()
        with self.show("evicted") as (room, crowd):
            origin = self.live.origin(room)
            uid = self.uid(origin)
            with asked(self.cluster, origin) as one:
                until("it is answered", lambda: one.answer().get("heartbeatTime"))
                drains = lambda: one.answer().get("expectedCompletionTime") or self.uid(origin) != uid  # noqa: E731
                until("it is told until when the pod is gone", drains)
                self.await_moved(room, uid)
                self.await_gone(origin, uid)
                # Kubernetes waits for this for five seconds.
                until("it is told that the pod is gone", lambda: one.answer().get("completionTime"), 5)
                one.succeed()
                print(f"evicted_message: {one.answer()['message']}", flush=True)
            found = crowd.leave()
            self.assertEqual(found["moves"], VIEWERS, "each moved once")
            self.report(found, "eviction_request")
        self.ready()

    def test_an_eviction_that_is_withdrawn(self) -> None:
        self.ready()
        with self.show("withdrawn") as (room, crowd):
            origin = self.live.origin(room)
            before = {pod["metadata"]["uid"] for pod in self.live.media_pods()}
            with self.no_more_pods(), asked(self.cluster, origin) as one:
                until("it is answered", lambda: one.answer().get("heartbeatTime"))
                self.assertIn("serves until another one", one.answer()["message"])
                self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE, "False")
                one.withdraw()
                self.ready()
                self.assertEqual(one.answer().get("completionTime"), None)
            self.ready()
            self.assertEqual({pod["metadata"]["uid"] for pod in self.live.media_pods()}, before, "all stay")
            self.assertEqual(self.live.origin(room), origin)
            self.assertEqual(crowd.leave()["moves"], 0, "nobody moved")


if __name__ == "__main__":
    unittest.main()
