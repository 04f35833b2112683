"""Machines leave, by `kubectl drain` or without power, under viewers: `make machines`."""

import unittest

from local import LIMIT_SECONDS, ROOT
from showrunner import MEDIA_NAMESPACE, SITE
from test_moving import Story

# Kubernetes puts a pod where the most is free, which may be the other machine a few times.
MOST_PODS = 8


class Machines(Story):
    """With a second machine: what `kubectl drain` does, and a loss of power."""

    def setUp(self) -> None:
        super().setUp()
        self.cluster.script("second", "up")
        self.cluster.script("second", "import", str(ROOT / ".cache/image.tar"))
        self.addCleanup(self.be_alone)

    def be_alone(self) -> None:
        self.cluster.kubectl("uncordon", "node1")
        self.cluster.script("second", "down")
        self.cluster.kubectl("delete", "node", "node2", "--ignore-not-found")
        for pod in self.live.media_pods():
            if pod["spec"].get("nodeName") == "node2":
                name = pod["metadata"]["name"]
                self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "pod", name, "--force", "--ignore-not-found")
        self.scale(2)
        self.ready()

    def machines(self) -> set[str]:
        return {pod["spec"].get("nodeName", "") for pod in self.live.media_pods()}

    def drain(self, machine: str) -> None:
        """As people do it, but for what must stay here: the operator and the gateway."""
        selector = f"--pod-selector=showrunner.dev/media-node={SITE['metadata']['name']}"
        self.cluster.kubectl("drain", machine, selector, "--delete-emptydir-data", f"--timeout={LIMIT_SECONDS}s")

    def test_a_machine_that_is_drained_under_viewers(self) -> None:
        with self.show("drained") as (room, crowd):
            before = self.uid(self.live.origin(room))
            self.drain("node1")
            self.assertEqual(self.machines(), {"node2"}, "kubectl waits until the last pod is gone")
            self.await_moved(room, before)
            self.report(crowd.leave(), "drain")

    def test_a_machine_that_loses_its_power_under_viewers(self) -> None:
        with self.show("dark") as (room, crowd):
            self.drain("node1")
            self.ready()
            self.cluster.kubectl("uncordon", "node1")
            # Until one is on the machine that has none: that is left.
            for replicas in range(3, MOST_PODS + 1):
                self.scale(replicas)
                self.ready()
                if "node1" in self.machines():
                    break
            self.assertEqual(self.machines(), {"node1", "node2"})
            origin = self.live.origin(room)
            machine = self.cluster.get("Pod", origin, MEDIA_NAMESPACE)["spec"]["nodeName"]
            self.assertEqual(machine, "node2")
            self.cluster.script("second", "down")
            self.await_moved(room, self.uid(origin))
            self.report(crowd.leave(), "power_loss")


if __name__ == "__main__":
    unittest.main()
