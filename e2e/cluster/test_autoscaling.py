"""A site whose pods follow from what is on them and from what is announced."""

import unittest
from collections.abc import Iterator
from contextlib import contextmanager

from local import until
from showrunner import MEDIA_NAMESPACE, SITE, showrunner

SITE_NAME = "auto"
# A pod is full with ten sessions, and should have no more than five. What is given up goes after moments, not minutes.
SCALING = {
    "maxReplicas": 3,
    "targets": {"viewersPercent": 50, "cpuPercent": 0},
    "forecastWindowSeconds": 0,
    "scaleDown": {"stabilizationWindowSeconds": 2},
}
VIEWERS = 6


class Autoscaling(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster

    @contextmanager
    def site(self, **autoscaling: object) -> Iterator[None]:
        spec = {
            **SITE["spec"],
            "region": SITE_NAME,
            "replicas": 1,
            "capacity": {"viewers": 10},
            "autoscaling": {**SCALING, **autoscaling},
        }
        self.live.create({**SITE, "metadata": {"name": SITE_NAME, "namespace": MEDIA_NAMESPACE}, "spec": spec})
        try:
            yield
        finally:
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "mn", SITE_NAME, "--timeout=120s")
            # Names come again, and so would their Events.
            until("its pods are gone", lambda: not self.live.media_pods(SITE_NAME))
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "events", "--all")

    def resource(self) -> dict:
        return self.cluster.get("MediaNode", SITE_NAME, MEDIA_NAMESPACE)

    def change(self, **autoscaling: object) -> None:
        self.cluster.merge("MediaNode", SITE_NAME, {"spec": {"autoscaling": autoscaling}}, MEDIA_NAMESPACE)

    def scale(self, replicas: int) -> None:
        self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "scale", f"mn/{SITE_NAME}", f"--replicas={replicas}")

    def status(self) -> dict:
        return self.resource().get("status", {}).get("autoscaling", {})

    def await_pods(self, pods: int) -> None:
        """Waits until so many are asked for, and there are as many."""
        until(f"{pods} are asked for", lambda: self.resource()["spec"]["replicas"] == pods)
        until(f"there are {pods}", lambda: len(self.live.media_pods(SITE_NAME)) == pods)
        self.live.await_condition("MediaNode", SITE_NAME, "Ready", MEDIA_NAMESPACE)

    def notes(self, reason: str) -> list[str]:
        """What was told, in the order in which it happened."""
        told = [each for each in self.live.events(SITE_NAME, MEDIA_NAMESPACE) if each["reason"] == reason]
        return [each["message"] for each in sorted(told, key=lambda each: each["eventTime"])]

    def test_pods_follow_the_viewers(self) -> None:
        with self.site():
            self.await_pods(1)
            with self.live.room("crowd", regions=[SITE_NAME]) as room, self.live.host(room):
                origin = self.live.origin(room)
                audience = self.live.audience(room, seconds=20, viewers=VIEWERS)
                try:
                    self.await_pods(2)
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{self.resource()}\n{audience.communicate()[0]}") from None
                self.live.content(audience)
                # They have left, and the room stays where it is: the emptiest pod goes.
                self.await_pods(1)
                self.assertEqual([pod["metadata"]["name"] for pod in self.live.media_pods(SITE_NAME)], [origin])
                self.live.watch(room, seconds=1, viewers=1)
            out, back = until("both are told", lambda: len(told := self.notes("Scaled")) == 2 and told)
            self.assertRegex(out, r"^scaled from 1 to 2: 2 pods for [67] viewers, 5 a pod$")
            self.assertRegex(back, r"^scaled from 2 to 1: 1 pod ")
            self.assertIn("lastScaleTime", self.status())

    def test_a_schedule_has_pods_there(self) -> None:
        always = {"name": "always", "cron": "* * * * *", "durationSeconds": 120, "minReplicas": 2}
        yearly = {"name": "yearly", "cron": "0 20 24 12 *", "timeZone": "Europe/Berlin", "durationSeconds": 60, "viewers": 9}
        with self.site(schedules=[always, yearly]):
            self.await_pods(2)
            said = until("it is said", self.status)
            self.assertEqual((said["signal"], said["message"]), ("Schedule", "2 pods by the schedule always"))
            self.assertEqual(said["nextSchedule"]["name"], "always")
            self.change(schedules=[yearly])
            self.await_pods(1)
            next_one = until("what is next", lambda: (next_one := self.status()["nextSchedule"])["name"] == "yearly" and next_one)
            self.assertRegex(next_one["message"], r"^\d{4}-12-24T19:00:00Z yearly: pods for 9 viewers$")
            listed = self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "get", "mn", SITE_NAME, "--output=wide")
            self.assertIn(next_one["message"], listed)
            # One that can't be is said, and keeps nobody from the others.
            self.change(schedules=[always, {**yearly, "timeZone": "Mars/Olympus"}])
            bad = self.live.await_condition("MediaNode", SITE_NAME, "Degraded", MEDIA_NAMESPACE, reason="InvalidSchedule")
            self.assertIn("schedule yearly can't be used: there is no time zone", bad["message"])
            until("the other is used", lambda: self.resource()["spec"]["replicas"] == 2)

    def test_rooms_that_begin_soon_have_pods_there(self) -> None:
        with self.site():
            self.await_pods(1)
            with self.live.room("announced", regions=[SITE_NAME], schedule={"expectedViewers": 9}):
                self.await_pods(2)
                self.assertEqual(self.status()["signal"], "ExpectedViewers")
            self.await_pods(1)

    def test_a_dry_run_only_says_what_it_would_do(self) -> None:
        with self.site(dryRun=True, minReplicas=3):
            said = until("what it would do is said", self.status)
            self.assertEqual(said["desiredReplicas"], 3)
            until("and told", lambda: self.notes("WouldScale"))
            self.assertEqual(self.resource()["spec"]["replicas"], 1)
            self.assertEqual(len(self.live.media_pods(SITE_NAME)), 1)
            self.change(dryRun=False)
            self.await_pods(3)

    def test_a_pod_that_says_nothing_keeps_all_and_holds_nothing_up(self) -> None:
        with self.site(minReplicas=2):
            self.await_pods(2)
            pod = self.live.media_pods(SITE_NAME)[-1]["metadata"]["name"]
            process = self.live.process(pod, "media-node")
            self.cluster.script("exec", "--", "kill", "-STOP", process)
            try:
                until("it is missed", lambda: self.status().get("silentPods") == 1)
                self.change(minReplicas=1)
                until("it is held back", lambda: self.status().get("hold") == "MissingMetrics")
                until("and told", lambda: self.notes("MissingMetrics"))
                self.assertEqual(self.resource()["spec"]["replicas"], 2)
                self.change(minReplicas=3)
                until("one more is asked for", lambda: self.resource()["spec"]["replicas"] == 3)
                self.change(minReplicas=1)
            finally:
                self.cluster.script("exec", "--", "sh", "-c", f"kill -CONT {process} || true")
            self.await_pods(1)

    def test_what_people_scale_to_is_where_it_goes_on(self) -> None:
        with self.site():
            self.await_pods(1)
            self.scale(0)
            until("it rests", lambda: self.status().get("signal") == "Stopped")
            until("its pods are gone", lambda: not self.live.media_pods(SITE_NAME))
            self.scale(3)
            # Nothing needs them.
            self.await_pods(1)


if __name__ == "__main__":
    unittest.main()
