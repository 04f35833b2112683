"""What runs goes on while parts of the cluster are away, and all is right again after."""

import unittest

from local import get, until
from showrunner import MEDIA_NAMESPACE, SHOP, SYSTEM, showrunner


class Outages(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster

    def operators(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.live.pods("operator")]

    def addresses(self) -> dict[str, str]:
        """Of both operators, by name."""
        found = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in self.live.pods("operator")}
        self.assertEqual(len(found), 2)
        return found

    def leading(self, pods: dict[str, str]) -> list[str]:
        """Which of the operators (their names and addresses) say that they write."""
        found = []
        for name, address in pods.items():
            try:
                text = get(f"http://{address}:8081/metrics")
            except OSError:
                continue
            if "\nshowrunner_operator_leads 1\n" in text:
                found.append(name)
        return found

    def test_an_operator_that_is_killed_in_the_middle_of_its_work_goes_on(self) -> None:
        pods = self.addresses()
        leader = until("one leads", lambda: self.leading(pods))[0]
        process = self.live.process(leader, "operator", SYSTEM)
        names = [f"killed-{number}" for number in range(20)]
        try:
            for name in names:
                self.live.make_room(name)
                if name == names[5]:
                    self.cluster.script("exec", "--", "kill", "-KILL", process)
            for name in names:
                self.live.await_condition("LiveRoom", name, "Ready")
                self.assertLessEqual(len(self.leading(pods)), 1, "two write at once")
        finally:
            self.cluster.kubectl("--namespace", SHOP, "delete", "lr", *names, "--timeout=120s")

    def test_an_operator_that_hangs_is_replaced_and_does_not_come_between(self) -> None:
        pods = self.addresses()
        leader = until("one leads", lambda: self.leading(pods))[0]
        others = {name: address for name, address in pods.items() if name != leader}
        process = self.live.process(leader, "operator", SYSTEM)
        self.cluster.script("exec", "--", "kill", "-STOP", process)
        try:
            until("another leads", lambda: self.leading(others))
            with self.live.room("meanwhile"):
                pass
        finally:
            self.cluster.script("exec", "--", "kill", "-CONT", process)
        until("it has noticed", lambda: self.leading(pods) == [*others])
        self.assertEqual(self.live.leader(), next(iter(others)))

    def test_an_operator_that_leaves_hands_over(self) -> None:
        leader = self.live.leader()
        self.cluster.kubectl("--namespace", SYSTEM, "rollout", "restart", "deployment/showrunner-operator")
        self.cluster.kubectl("--namespace", SYSTEM, "rollout", "status", "deployment/showrunner-operator", "--timeout=120s")
        until("another leads", lambda: self.live.leader() not in ("", leader))
        with self.live.room("after"):
            pass

    def test_rooms_go_on_without_an_operator(self) -> None:
        with self.live.room("alone") as room, self.live.host(room):
            scale = ["--namespace", SYSTEM, "scale", "deployment/showrunner-operator"]
            self.cluster.kubectl(*scale, "--replicas=0")
            try:
                until("no operator is left", lambda: not self.operators())
                audience = self.live.audience(room, 5, 5, "--churn", "2")
                self.live.content(audience)
            finally:
                self.cluster.kubectl(*scale, "--replicas=2")
                self.cluster.kubectl("--namespace", SYSTEM, "rollout", "status", "deployment/showrunner-operator",
                                     "--timeout=120s")  # fmt: skip
            self.live.await_condition("LiveRoom", room, "Live")

    def test_people_come_and_go_while_the_api_server_is_away(self) -> None:
        with self.live.room("offline") as room, self.live.host(room):
            base = self.live.base
            # Its controllers end with it, as everywhere else, where they lose their leases: ones that go on would
            # find all heartbeats old at its return, and take every pod out of its Service before they are renewed.
            for part in ("kube-controller-manager", "kube-apiserver"):
                self.cluster.script("stop", part)
            try:
                audience = self.live.audience(room, 30, 5, "--churn", "1", base=base)
                self.live.content(audience)
            finally:
                self.cluster.script("up")
            with self.live.room("online-again") as again:
                with self.live.host(again):
                    self.live.watch(again, seconds=2, viewers=1)
                self.live.watch(room, seconds=2, viewers=1)
            self.live.await_condition("LiveRoom", room, "Live")
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)

    def test_a_gateway_is_lost_without_anybody_noticing(self) -> None:
        with self.live.room("doors") as room, self.live.host(room):
            audience = self.live.audience(room, 8, 3)
            gateway = self.live.pods("gateway")[0]["metadata"]["name"]
            self.cluster.kubectl("--namespace", SYSTEM, "delete", "pod", gateway)
            self.live.content(audience)
            until("there are two again", lambda: len(self.live.pods("gateway")) == 2)
            self.live.watch(room, seconds=1, viewers=2)


if __name__ == "__main__":
    unittest.main()
