"""Pods leave, by somebody's wish or without a word, and rooms go on elsewhere: nobody who stays as a page does is lost."""

import contextlib
import subprocess
import time
import unittest
from collections.abc import Iterator

from local import LIMIT_SECONDS, until
from showrunner import MEDIA_NAMESPACE, SHOP, SYSTEM, Host, showrunner

VIEWERS = 8
MEDIA_PORT = 7000


def figures(said: str) -> dict[str, float]:
    lines = (line.split(": ") for line in said.splitlines() if line.count(": ") == 1)
    return {name: float(value) for name, value in lines if value.replace(".", "").isdigit()}


class Crowd:
    """Viewers who stay; what they saw, once they have left."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def leave(self) -> dict[str, float]:
        self.process.terminate()
        said, _ = self.process.communicate(timeout=LIMIT_SECONDS)
        found = figures(said)
        if found.get("lost") != 0:
            raise AssertionError(f"viewers were lost:\n{said}")
        return found


class Story(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster

    def ready(self) -> None:
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)

    def scale(self, replicas: int) -> None:
        self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "scale", "mn/site", f"--replicas={replicas}")

    def viewers(self, room: str) -> int:
        found = self.cluster.get("LiveRoom", room, SHOP) or {}
        return found.get("status", {}).get("viewers", 0)

    @contextlib.contextmanager
    def show(self, name: str, **spec: object) -> Iterator[tuple[str, Crowd]]:
        """A room with a host and viewers who stay."""
        with self.live.room(name, **spec) as room:
            self.live.await_gateways(room)
            with Host(self.live.base, f"{SHOP}/{room}", self.live.token(room), "--stay"):
                # Until they are told to leave.
                crowd = Crowd(self.live.audience(room, 100_000, VIEWERS, "--stay"))
                try:
                    until(f"all watch {room}", lambda: self.viewers(room) == VIEWERS)
                    yield room, crowd
                finally:
                    crowd.process.kill()

    def report(self, found: dict[str, float], what: str) -> None:
        print(f"{what}_gap_ms_max: {found['gap_ms_max']:.0f}", flush=True)

    def uid(self, pod: str | None) -> str | None:
        found = self.cluster.get("Pod", pod, MEDIA_NAMESPACE) if pod else None
        return found and found["metadata"]["uid"]

    def await_moved(self, room: str, uid: str | None) -> None:
        """Waits until a room is on air on another pod, with all of its viewers."""

        def has_moved() -> bool:
            status = self.cluster.get("LiveRoom", room, SHOP)["status"]
            now = self.uid(status.get("origin", {}).get("pod"))
            return now not in (None, uid) and status["phase"] == "Live" and status["viewers"] == VIEWERS

        until(f"{room} goes on elsewhere", has_moved)

    @contextlib.contextmanager
    def cut_off(self, *pods: str) -> Iterator[None]:
        """Nothing comes from clients to the media ports of pods, nor back; all else goes on."""
        clients = f"{self.cluster.net}.0.254"
        rules = ["add table ip cutoff", "add chain ip cutoff forward { type filter hook forward priority -1; }"]
        for pod in pods:
            address = self.cluster.get("Pod", pod, MEDIA_NAMESPACE)["status"]["podIP"]
            for way in (
                f"ip saddr {clients} ip daddr {address} meta l4proto {{ tcp, udp }} th dport {MEDIA_PORT}",
                f"ip saddr {address} ip daddr {clients} meta l4proto {{ tcp, udp }} th sport {MEDIA_PORT}",
            ):
                rules.append(f"add rule ip cutoff forward {way} drop")
        self.cluster.script("exec", "--", "nft", "; ".join(rules))
        try:
            yield
        finally:
            self.cluster.script("exec", "--", "nft", "delete table ip cutoff")

    def await_gone(self, pod: str, uid: str | None) -> None:
        until(f"{pod} is gone", lambda: self.uid(pod) != uid)


class Moving(Story):
    def test_a_rollout_under_viewers(self) -> None:
        with self.show("rolling") as (room, crowd):
            before = {pod["metadata"]["uid"] for pod in self.live.media_pods()}
            change = {"spec": {"template": {"annotations": {"round": "moving"}}}}
            self.cluster.merge("MediaNode", "site", change, MEDIA_NAMESPACE)
            until("all pods are new", lambda: not before & {pod["metadata"]["uid"] for pod in self.live.media_pods()})
            self.ready()
            until("all are there", lambda: self.viewers(room) == VIEWERS)
            found = crowd.leave()
            self.assertEqual(found["moves"], VIEWERS, "each moved once: to a pod that stays")
            self.report(found, "rollout")

    def test_fewer_pods_under_viewers(self) -> None:
        # Each room expects nearly all that a pod takes, so they are on two pods.
        with self.show("one", schedule={"expectedViewers": 900}) as (one, crowd):
            with self.show("two", schedule={"expectedViewers": 900}) as (two, other_crowd):
                self.assertNotEqual(self.live.origin(one), self.live.origin(two))
                self.scale(1)
                try:
                    until("one pod is left", lambda: len(self.live.media_pods()) == 1)
                    left = self.live.media_pods()[0]["metadata"]["name"]
                    until("both rooms are there", lambda: {self.live.origin(one), self.live.origin(two)} == {left})
                    until("all are there", lambda: self.viewers(one) == self.viewers(two) == VIEWERS)
                    seen = [crowd.leave(), other_crowd.leave()]
                    self.assertEqual(sum(found["moves"] for found in seen), VIEWERS, "the others stay where they are")
                    self.report(max(seen, key=lambda found: found["gap_ms_max"]), "scale_in")
                finally:
                    self.scale(2)
        self.ready()

    def test_a_pod_that_somebody_deletes_under_viewers(self) -> None:
        with self.show("deleted") as (room, crowd):
            origin = self.live.origin(room)
            uid = self.uid(origin)
            # What a machine does that is about to be taken away: SIGTERM, and some time.
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "pod", origin, "--wait=false")
            self.await_moved(room, uid)
            self.await_gone(origin, uid)
            self.report(crowd.leave(), "deleted")
        self.ready()

    def test_a_pod_whose_program_is_killed_under_viewers(self) -> None:
        with self.show("killed") as (room, crowd):
            origin = self.live.origin(room)

            def is_elsewhere() -> bool:
                self.live.keep_down(origin)
                return self.live.origin(room) not in (None, origin)

            until("the room is elsewhere", is_elsewhere)
            self.await_moved(room, self.uid(origin))
            self.report(crowd.leave(), "killed")
        self.ready()

    def test_a_pod_that_hangs_under_viewers(self) -> None:
        with self.show("hanging") as (room, crowd):
            origin = self.live.origin(room)
            process = self.live.process(origin, "media-node")
            self.cluster.script("exec", "--", "kill", "-STOP", process)
            try:
                self.await_moved(room, self.uid(origin))
                self.report(crowd.leave(), "hanging")
            finally:
                self.cluster.script("exec", "--", "kill", "-CONT", process)

            # It wakes with the room, as its origin for all that it knows, and is put right.
            def is_former() -> bool:
                return self.live.origin(room) not in (None, origin)

            until("the room stays where it is", is_former)
        self.ready()

    def test_a_pod_that_its_viewers_do_not_reach_any_more(self) -> None:
        with self.show("unheard") as (room, crowd):
            origin = self.live.origin(room)
            uid = self.uid(origin)
            with self.cut_off(origin):
                said = self.live.await_condition("MediaNode", "site", "Degraded", MEDIA_NAMESPACE, reason="CutOff")
                self.assertIn(f"pod {origin} ", said["message"])
                self.await_moved(room, uid)
                self.report(crowd.leave(), "cut_off")
        self.assertEqual(self.uid(origin), uid, "nobody takes it away")
        self.ready()

    def test_pods_that_nobody_reaches_for_a_while(self) -> None:
        with self.show("unreached") as (room, crowd):
            with self.cut_off(*(pod["metadata"]["name"] for pod in self.live.media_pods())):
                self.live.await_condition("MediaNode", "site", "Degraded", MEDIA_NAMESPACE, reason="CutOff")
                # There is nowhere to go, whatever is tried.
                time.sleep(8)

            def is_on_air() -> bool:
                status = self.cluster.get("LiveRoom", room, SHOP)["status"]
                return status["phase"] == "Live" and status["viewers"] == VIEWERS

            until(f"{room} goes on", is_on_air)
            self.report(crowd.leave(), "all_cut_off")
        self.ready()

    def test_an_operator_that_is_killed_while_a_pod_drains(self) -> None:
        with self.show("orphaned") as (room, crowd):
            leader = until("one leads", self.live.leader)
            operator = self.live.process(leader, "operator", SYSTEM)
            origin = self.live.origin(room)
            uid = self.uid(origin)
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "pod", origin, "--wait=false")
            self.cluster.script("exec", "--", "kill", "-KILL", operator)
            self.await_moved(room, uid)
            self.await_gone(origin, uid)
            crowd.leave()
        self.ready()

    def test_an_api_server_that_goes_away_while_a_pod_drains(self) -> None:
        with self.show("cut-off") as (room, crowd):
            origin = self.live.origin(room)
            uid = self.uid(origin)
            process = self.live.process(origin, "media-node")
            for part in ("kube-controller-manager", "kube-apiserver"):
                self.cluster.script("stop", part)
            try:
                # As a machine does that is about to go: it needs nobody for that.
                self.cluster.script("exec", "--", "kill", "-TERM", process)
            finally:
                self.cluster.script("up")
            self.await_moved(room, uid)
            crowd.leave()
        self.ready()


if __name__ == "__main__":
    unittest.main()
