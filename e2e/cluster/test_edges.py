"""A room that is larger than a pod: its pods take it from one another, its viewers are on all of them, and who dies is replaced."""

import contextlib
import unittest
from collections.abc import Iterator

from local import until
from showrunner import MEDIA_NAMESPACE, SHOP, SITE, Host, showrunner
from test_moving import Crowd

VIEWERS = 12
# Of these each pod is made for 20, so a room that expects 50 needs three.
WIDE = {**SITE["spec"], "region": "wide", "replicas": 4, "capacity": {"viewers": 20, "rooms": 5}}


class Edges(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster
        self.live.create({**SITE, "metadata": {"name": "wide", "namespace": MEDIA_NAMESPACE}, "spec": WIDE})
        self.addCleanup(self.cluster.kubectl, "--namespace", MEDIA_NAMESPACE, "delete", "mn", "wide", "--timeout=120s")
        self.live.await_condition("MediaNode", "wide", "Ready", MEDIA_NAMESPACE)

    def status(self, room: str) -> dict:
        return self.cluster.get("LiveRoom", room, SHOP).get("status", {})

    def edges(self, room: str) -> list[dict]:
        """The edges that have the room and are to keep it."""
        return [edge for edge in self.status(room).get("edges", []) if edge["connected"] and not edge["leaving"]]

    @contextlib.contextmanager
    def show(self, name: str) -> Iterator[tuple[str, Crowd]]:
        """A room on three pods, with a host and viewers on each."""
        with self.live.room(name, regions=["wide"], schedule={"expectedViewers": 50}) as room:
            until("two edges take it", lambda: len(self.edges(room)) == 2)
            self.live.await_gateways(room)
            with Host(self.live.base, f"{SHOP}/{room}", self.live.token(room), "--stay"):
                crowd = Crowd(self.live.audience(room, 100_000, VIEWERS, "--stay"))
                try:
                    self.await_viewers(room)
                    yield room, crowd
                finally:
                    crowd.process.kill()

    def await_viewers(self, room: str) -> None:
        def are_all_there() -> bool:
            status = self.status(room)
            return status.get("phase") == "Live" and status.get("viewers") == VIEWERS

        until(f"all watch {room}", are_all_there)

    def test_a_room_spans_pods(self) -> None:
        with self.show("spread") as (room, crowd):
            status = self.status(room)
            on_edges = [edge["viewers"] for edge in status["edges"]]
            self.assertEqual(len(on_edges), 2)
            self.assertTrue(all(on_edges), f"the gateway sends viewers to each: {status}")
            self.assertGreater(VIEWERS, sum(on_edges), "and to the origin")
            self.assertLessEqual({edge["source"].split("/")[0] for edge in status["edges"]}, {MEDIA_NAMESPACE})
            reasons = {event["reason"] for event in self.live.events(room)}
            self.assertLessEqual({"Placed", "OnAir"}, reasons)
            crowd.leave()

    def test_an_origin_that_is_killed_is_replaced(self) -> None:
        with self.show("beheaded") as (room, crowd):
            origin, before = self.live.origin(room), self.status(room)["revision"]
            edges = {edge["pod"] for edge in self.edges(room)}

            def has_moved() -> bool:
                self.live.keep_down(origin)
                return self.live.origin(room) in edges

            until("an edge takes its place", has_moved)
            self.assertGreater(self.status(room)["revision"], before)
            until("it has two edges again", lambda: len(self.edges(room)) == 2)
            self.await_viewers(room)
            crowd.leave()

    def test_an_edge_that_is_killed_is_replaced(self) -> None:
        with self.show("trimmed") as (room, crowd):
            origin, edge = self.live.origin(room), self.edges(room)[0]["pod"]
            self.cluster.script("exec", "--", "kill", "-KILL", self.live.process(edge, "media-node"))
            until("another takes its place", lambda: edge not in {one["pod"] for one in self.edges(room)})
            until("it has two edges again", lambda: len(self.edges(room)) == 2)
            self.assertEqual(self.live.origin(room), origin)
            self.await_viewers(room)
            crowd.leave()


if __name__ == "__main__":
    unittest.main()
