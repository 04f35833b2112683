"""A site of its own with rooms, their hosts and viewers; and what can happen to its pods."""

import random
from collections.abc import Callable

from crowd import Crowd
from showrunner import MEDIA_NAMESPACE, SHOP, SITE, Host, Showrunner
from view import View

# Pods that take sessions, most of the time.
REPLICAS = 3


class Lane:
    def __init__(self, live: Showrunner, view: View, number: int, rooms: int, viewers: int) -> None:
        self.live, self.view, self.cluster, self.viewers = live, view, live.cluster, viewers
        self.site = f"lane-{number}"
        self.rooms = [f"{self.site}-{room}" for room in range(rooms)]
        self.hosts: list[Host] = []
        self.crowd: Crowd | None = None
        self.round = 0

    def begin(self) -> None:
        spec = {**SITE["spec"], "region": self.site, "replicas": REPLICAS}
        self.live.create({**SITE, "metadata": {"name": self.site, "namespace": MEDIA_NAMESPACE}, "spec": spec})
        for room in self.rooms:
            # So that they are not all on one pod.
            self.live.make_room(room, regions=[self.site], schedule={"expectedViewers": 400})
        for room in self.rooms:
            self.view.until(f"{room} has a pod", lambda: self.origin(room))
            self.live.await_gateways(room)
            host = Host(self.live.base, f"{SHOP}/{room}", self.live.token(room), "--stay")
            self.hosts.append(host.__enter__())
        self.crowd = Crowd(self.live, self.rooms, self.viewers)
        self.settle()
        self.crowd.begin_anew()

    def end(self) -> None:
        if self.crowd:
            self.crowd.end()
        for host in self.hosts:
            host.process.kill()

    # What there is.

    def origin(self, room: str) -> str | None:
        return self.view.get("LiveRoom", room).get("status", {}).get("origin", {}).get("pod")

    def a_pod(self, dice: random.Random) -> str:
        """One that has a room."""
        return dice.choice(sorted({origin for room in self.rooms if (origin := self.origin(room))}))

    def uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.view.pods(self.site)}

    def lives(self, pod: str) -> tuple[str, int]:
        """Changes with each process of a pod of this name."""
        found = self.view.get("Pod", pod)
        containers = found.get("status", {}).get("containerStatuses", [])
        return found.get("metadata", {}).get("uid", ""), sum(each["restartCount"] for each in containers)

    def is_complete(self) -> bool:
        found = self.view.get("MediaNode", self.site)
        conditions = {
            each["type"]: each["status"]
            for each in found.get("status", {}).get("conditions", [])
            if each.get("observedGeneration") == found["metadata"]["generation"]
        }
        replicas = found.get("spec", {}).get("replicas")
        is_whole = conditions.get("Ready") == "True" and conditions.get("Progressing") == "False"
        return is_whole and len(self.view.pods(self.site)) == replicas

    def is_on_air(self, room: str) -> bool:
        status = self.view.get("LiveRoom", room).get("status", {})
        return status.get("phase") == "Live" and status.get("viewers") == self.viewers

    def settle(self) -> None:
        """Waits until all is as it should be."""
        self.view.until(f"{self.site} is complete", self.is_complete)
        for room in self.rooms:
            self.view.until(f"{room} is on air with all of its viewers", lambda: self.is_on_air(room))
        self.crowd.await_picture()

    # What can be done to it.

    def scale(self, replicas: int) -> None:
        # As `kubectl scale` does it.
        path = f"/apis/showrunner.dev/v1alpha1/namespaces/{MEDIA_NAMESPACE}/medianodes/{self.site}/scale"
        kind = "application/merge-patch+json"
        status, answer = self.cluster.api("PATCH", path, {"spec": {"replicas": replicas}}, kind)
        if status != 200:
            raise AssertionError(f"{self.site} can't be scaled: {answer}")
        # What is seen of it from now on is of this wish.
        wished = lambda: self.view.get("MediaNode", self.site)["spec"]["replicas"] == replicas  # noqa: E731
        self.view.until(f"{self.site} is to have {replicas} pods", wished)

    def delete(self, pod: str) -> Callable[[], bool]:
        """SIGTERM, as a machine's shutdown or a forced eviction sends it; tells whether the pod is gone."""
        uid = self.view.get("Pod", pod)["metadata"]["uid"]
        status, answer = self.cluster.api("DELETE", f"/api/v1/namespaces/{MEDIA_NAMESPACE}/pods/{pod}")
        if status not in (200, 202):
            raise AssertionError(f"{pod} can't be deleted: {answer}")
        return lambda: uid not in self.uids()

    def signal(self, pod: str, name: str) -> Callable[[], bool]:
        """Tells whether another process is there."""
        before = self.lives(pod)
        self.cluster.script("exec", "--", "kill", f"-{name}", self.live.process(pod, "media-node"))
        return lambda: self.lives(pod) != before

    # The kinds of episodes.

    def scale_in(self, dice: random.Random) -> None:
        self.scale(REPLICAS - 1 - dice.randrange(2))
        self.settle()
        self.scale(REPLICAS)

    def rollout(self, dice: random.Random) -> None:
        self.round += 1
        before = self.uids()
        change = {"spec": {"template": {"annotations": {"round": f"{self.round}-{dice.random()}"}}}}
        self.cluster.merge("MediaNode", self.site, change, MEDIA_NAMESPACE)
        self.view.until(f"all pods of {self.site} are new", lambda: not before & self.uids())

    def evict(self, dice: random.Random) -> None:
        self.view.until("the pod is gone", self.delete(self.a_pod(dice)))

    def evict_two(self, dice: random.Random) -> None:
        pods = sorted({self.a_pod(dice), self.a_pod(dice)})
        for is_gone in [self.delete(pod) for pod in pods]:
            self.view.until("the pod is gone", is_gone)

    def kill(self, dice: random.Random) -> None:
        self.view.until("another process is there", self.signal(self.a_pod(dice), "KILL"))

    def freeze(self, dice: random.Random) -> None:
        pod = self.a_pod(dice)
        process = self.live.process(pod, "media-node")
        self.cluster.script("exec", "--", "kill", "-STOP", process)
        try:
            self.view.until("no room is there", lambda: pod not in {self.origin(room) for room in self.rooms})
        finally:
            self.cluster.script("exec", "--", "kill", "-CONT", process)

    ALONE = (scale_in, rollout, evict, evict_two, kill, freeze)

    # Of those that are of all lanes: the part of each of them.

    def leave(self, dice: random.Random) -> Callable[[], bool]:
        """A pod goes; tells whether it is gone."""
        return self.delete(self.a_pod(dice))

    def leave_alone(self, dice: random.Random) -> Callable[[], bool]:
        """Its program is told to end by nobody whom the API server knows of."""
        return self.signal(self.a_pod(dice), "TERM")
