"""From one release of the chart to the next, and off and on again, with a room on air."""

import shutil
import tempfile
import unittest
from pathlib import Path

from local import until
from showrunner import CHART, MEDIA_NAMESPACE, SHOP, SYSTEM, showrunner

NEW_FIELD = """
              sponsor:
                description: Who pays for the show.
                type: string
                default: nobody"""


class Upgrade(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster

    def next_release(self, directory: str) -> str:
        """A later chart: its LiveRoom has a field more, and its operator and gateway start anew."""
        chart = Path(directory) / "showrunner"
        shutil.copytree(CHART, chart)
        about = chart / "Chart.yaml"
        about.write_text(about.read_text().replace("\nversion: 0.1.0\n", "\nversion: 0.2.0\n"))
        crd = chart / "files/crds/liverooms.yaml"
        before = "\n              stage:\n"
        old = crd.read_text()
        self.assertEqual(old.count(before), 1)
        crd.write_text(old.replace(before, NEW_FIELD + before))
        return str(chart)

    def test_1_an_upgrade_reaches_definitions_and_no_viewer(self) -> None:
        with self.live.room("upgraded") as room, self.live.host(room), tempfile.TemporaryDirectory() as directory:
            uid = self.cluster.get("LiveRoom", room, SHOP)["metadata"]["uid"]
            pods = {pod["metadata"]["uid"] for pod in self.live.media_pods()}
            audience = self.live.audience(room, 20, 3)
            self.live.install(self.next_release(directory))
            self.assertIn("Who pays for the show.", self.cluster.kubectl("explain", "lr.spec.sponsor"))
            found = self.cluster.get("LiveRoom", room, SHOP)
            self.assertEqual((found["metadata"]["uid"], found["spec"]["sponsor"]), (uid, "nobody"))
            self.cluster.merge("LiveRoom", room, {"spec": {"sponsor": "a shop"}}, SHOP)
            self.live.await_condition("LiveRoom", room, "Live")
            self.live.content(audience)
            self.assertEqual({pod["metadata"]["uid"] for pod in self.live.media_pods()}, pods)
        # And back.
        self.live.install()
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)

    def test_2_an_uninstall_leaves_rooms_and_their_media(self) -> None:
        with self.live.room("left") as room, self.live.host(room):
            uid = self.cluster.get("LiveRoom", room, SHOP)["metadata"]["uid"]
            audience = self.live.audience(room, 20, 3)
            self.live.await_condition("LiveRoom", room, "Live")
            until("viewers are in", lambda: self.cluster.get("LiveRoom", room, SHOP)["status"].get("viewers"))
            said = self.cluster.helm("uninstall", "showrunner", "--namespace", SYSTEM, "--wait", "--timeout", "2m")
            self.assertIn("liverooms.showrunner.dev", said)
            self.assertEqual(self.cluster.get("LiveRoom", room, SHOP)["metadata"]["uid"], uid)
            self.assertEqual(len(self.live.media_pods()), 2)
            self.live.content(audience)
            self.live.install()
            self.live.await_condition("LiveRoom", room, "Live")
            self.live.watch(room, seconds=2, viewers=1)


if __name__ == "__main__":
    unittest.main()
