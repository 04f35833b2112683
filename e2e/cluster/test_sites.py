"""A site: its pods are scaled, replaced, drained and made again, and people say what is wrong by looking at it."""

import json
import unittest

from local import until
from showrunner import MEDIA_NAMESPACE, SHOP, SITE, showrunner

ALONE = {**SITE["spec"], "region": "elsewhere", "replicas": 1, "allowedRooms": {"from": "Same"}, "drain": {"deadlineSeconds": 0}}


class Sites(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster

    def ready(self) -> None:
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)

    def names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.live.media_pods()}

    def make_site(self, name: str, namespace: str, **spec: object) -> None:
        self.live.create({**SITE, "metadata": {"name": name, "namespace": namespace}, "spec": {**ALONE, **spec}})

    def delete_site(self, name: str, namespace: str) -> None:
        self.cluster.kubectl("--namespace", namespace, "delete", "mn", name, "--timeout=120s")

    def test_a_site_is_scaled_without_its_rooms_noticing(self) -> None:
        with self.live.room("scaled") as room, self.live.host(room):
            audience = self.live.audience(room, seconds=15, viewers=2)
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "scale", "mn/site", "--replicas=3")
            self.ready()
            self.assertEqual(len(self.names()), 3)
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "scale", "mn/site", "--replicas=2")
            until("the spare pod goes", lambda: len(self.names()) == 2)
            # An empty one went: the room is where it was.
            self.assertIn(self.live.origin(room), self.names())
            self.live.content(audience)
        self.ready()

    def test_a_pod_that_somebody_deletes_comes_back_with_its_room(self) -> None:
        with self.live.room("moved") as room:
            with self.live.host(room):
                self.live.watch(room, seconds=1, viewers=1)
                origin = self.live.origin(room)
                self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "pod", origin, "--grace-period=1")
            self.ready()
            self.live.await_condition("LiveRoom", room, "Ready")
            with self.live.host(room):
                self.live.watch(room, seconds=2, viewers=1)

    def test_a_process_that_starts_again_gets_its_rooms_back(self) -> None:
        with self.live.room("restarted") as room:
            origin = self.live.origin(room)
            self.cluster.script("exec", "--", "kill", "-KILL", self.live.process(origin, "media-node"))

            def has_restarted() -> bool:
                pod = self.cluster.get("Pod", origin, MEDIA_NAMESPACE)
                return pod is None or any(each["restartCount"] for each in pod["status"]["containerStatuses"])

            until("kubelet starts it again", has_restarted)
            self.ready()
            self.live.await_condition("LiveRoom", room, "Ready")
            with self.live.host(room):
                self.live.watch(room, seconds=2, viewers=1)

    def test_a_new_template_comes_one_pod_at_a_time(self) -> None:
        with self.live.room("rolled") as room:
            before = {pod["metadata"]["uid"] for pod in self.live.media_pods()}
            path = f"/apis/showrunner.dev/v1alpha1/namespaces/{MEDIA_NAMESPACE}/medianodes/site"
            self.cluster.merge("MediaNode", "site", {"spec": {"template": {"labels": {"round": "2"}}}}, MEDIA_NAMESPACE)

            fewest, most = 99, 0

            def is_over() -> bool:
                nonlocal fewest, most
                pods = self.live.media_pods()
                serve = [pod for pod in pods if is_serving(pod)]
                fewest, most = min(fewest, len(serve)), max(most, len(pods))
                return not before & {pod["metadata"]["uid"] for pod in pods} and len(serve) == 2

            until("all pods are new", is_over)
            self.assertGreaterEqual(fewest, 2, "a pod went before another was ready")
            self.assertLessEqual(most, 4)
            self.ready()
            _, found = self.cluster.api("GET", path)
            self.assertEqual(found["status"]["updatedReplicas"], 2)
            self.live.await_condition("LiveRoom", room, "Ready")
            with self.live.host(room):
                self.live.watch(room, seconds=2, viewers=1)

    def test_what_a_quota_forbids_is_said(self) -> None:
        self.cluster.kubectl("create", "namespace", "tight")
        try:
            self.cluster.kubectl("--namespace", "tight", "create", "quota", "few", "--hard=pods=1")
            until("the quota counts", lambda: "used" in self.quota()["status"])
            self.make_site("small", "tight", replicas=2)
            said = self.live.await_condition("MediaNode", "small", "Degraded", "tight", reason="PodRefused")
            self.assertIn("quota", said["message"])
            self.assertEqual(len(self.live.media_pods("small", "tight")), 1)
            self.cluster.kubectl("--namespace", "tight", "delete", "quota", "few")
            self.live.await_condition("MediaNode", "small", "Ready", "tight")
            self.live.await_condition("MediaNode", "small", "Degraded", "tight", status="False")
        finally:
            self.cluster.kubectl("delete", "namespace", "tight", "--timeout=120s")

    def quota(self) -> dict:
        return json.loads(self.cluster.kubectl("--namespace", "tight", "get", "quota", "few", "--output=json"))

    def test_an_image_that_cannot_be_pulled_is_said(self) -> None:
        missing = {"image": "localhost/showrunner:nowhere", "imagePullPolicy": "IfNotPresent"}
        self.make_site("imageless", MEDIA_NAMESPACE, template=missing)
        try:
            self.live.await_condition("MediaNode", "imageless", "Degraded", MEDIA_NAMESPACE, reason="ImagePull")
            self.assertTrue(self.live.events("imageless", MEDIA_NAMESPACE))
            self.cluster.merge("MediaNode", "imageless", {"spec": {"template": {"image": None}}}, MEDIA_NAMESPACE)
            self.live.await_condition("MediaNode", "imageless", "Ready", MEDIA_NAMESPACE)
        finally:
            self.delete_site("imageless", MEDIA_NAMESPACE)

    def test_a_pod_that_no_machine_takes_is_said(self) -> None:
        self.make_site("homeless", MEDIA_NAMESPACE, template={"nodeSelector": {"no": "machine"}})
        try:
            self.live.await_condition("MediaNode", "homeless", "Degraded", MEDIA_NAMESPACE, reason="Unschedulable")
        finally:
            self.delete_site("homeless", MEDIA_NAMESPACE)

    def test_a_site_takes_the_rooms_that_it_says(self) -> None:
        self.make_site("own", MEDIA_NAMESPACE, replicas=0)
        try:
            self.live.make_room("outside", regions=["elsewhere"])
            self.live.await_condition("LiveRoom", "outside", "Placed", status="False", reason="NotAllowed")
            selector = {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": SHOP}}}
            change = {"spec": {"allowedRooms": selector, "replicas": 1}}
            self.cluster.merge("MediaNode", "own", change, MEDIA_NAMESPACE)
            self.live.await_condition("LiveRoom", "outside", "Ready")
        finally:
            self.cluster.kubectl("--namespace", SHOP, "delete", "lr", "outside", "--timeout=60s")
            self.delete_site("own", MEDIA_NAMESPACE)

    def test_pods_are_not_evicted_from_under_their_viewers(self) -> None:
        with self.live.room("evicted") as room, self.live.host(room):
            origin = self.live.origin(room)
            uid = self.cluster.get("Pod", origin, MEDIA_NAMESPACE)["metadata"]["uid"]
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": origin, "namespace": MEDIA_NAMESPACE},
            }
            path = f"/api/v1/namespaces/{MEDIA_NAMESPACE}/pods/{origin}/eviction"
            status, answer = self.cluster.api("POST", path, eviction)
            self.assertEqual(status, 429, answer)
            self.live.watch(room, seconds=1, viewers=1)
            self.assertEqual(self.cluster.get("Pod", origin, MEDIA_NAMESPACE)["metadata"]["uid"], uid)

    def test_nobody_is_cut_off_by_a_machine_that_is_to_go(self) -> None:
        with self.live.room("cordoned") as room, self.live.host(room):
            before = {pod["metadata"]["uid"] for pod in self.live.media_pods()}
            self.cluster.kubectl("cordon", "node1")
            try:
                # There is no other machine: who is on this one stays, and what is needed is said.
                self.live.await_condition("MediaNode", "site", "Degraded", MEDIA_NAMESPACE, reason="Unschedulable")
                self.live.watch(room, seconds=2, viewers=1)
                self.assertLessEqual(before, {pod["metadata"]["uid"] for pod in self.live.media_pods()})
            finally:
                self.cluster.kubectl("uncordon", "node1")
            self.ready()
            self.live.await_condition("MediaNode", "site", "Degraded", MEDIA_NAMESPACE, status="False")


def is_serving(pod: dict) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    notes = pod["metadata"].get("annotations", {})
    is_leaving = "deletionTimestamp" in pod["metadata"] or "showrunner.dev/drain-deadline" in notes
    return conditions.get("Ready") == "True" and not is_leaving


if __name__ == "__main__":
    unittest.main()
