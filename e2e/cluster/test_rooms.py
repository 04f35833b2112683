"""A room, from `kubectl apply` to its end: hosts and viewers come in by the gateway, and media flows from a pod that kubelet runs."""

import json
import sys
import unittest
import urllib.request
from urllib.parse import urljoin

from local import ROOT, opener, until
from showrunner import MEDIA_NAMESPACE, SDP, SHOP, SYSTEM, Host, showrunner

sys.path.append(str(ROOT / "e2e/native"))
from peer import Watcher  # noqa: E402
from test_gstreamer import H264  # noqa: E402


class Rooms(unittest.TestCase):
    def setUp(self) -> None:
        self.live = showrunner()
        self.cluster = self.live.cluster

    def test_a_room_goes_live(self) -> None:
        with self.live.room("live", title="Flash sale", regions=["local"]) as room:
            status = self.cluster.get("LiveRoom", room, SHOP)["status"]
            self.assertEqual(status["phase"], "Ready")
            self.assertEqual(status["endpoints"], {
                "publish": f"http://rooms.test/whip/{SHOP}/live",
                "watch": f"http://rooms.test/whep/{SHOP}/live",
                "page": f"http://rooms.test/rooms/{SHOP}/live",
            })  # fmt: skip
            self.assertEqual(status["hostTokenSecret"], "live-host-token")
            self.assertEqual(status["origin"]["namespace"], MEDIA_NAMESPACE)
            code, page = self.live.ask("GET", f"/rooms/{SHOP}/live")
            self.assertEqual(code, 200)
            self.assertIn("<script", page)

            with self.live.host(room):
                self.live.await_condition("LiveRoom", room, "Live")
                self.live.watch(room)
                listed = self.cluster.kubectl("--namespace", SHOP, "get", "lr", room)
                self.assertRegex(listed, rf"(?m)^live +Live +\d+ +{status['origin']['pod']} +local ")
            gone = self.live.await_condition("LiveRoom", room, "Live", status="False")
            self.assertEqual(gone["reason"], "OffAir")
            reasons = {event["reason"] for event in self.live.events(room)}
            self.assertIn("Placed", reasons)

    def test_strangers_do_not_go_live(self) -> None:
        with self.live.room("guarded", access={"publish": "Token", "watch": "Token"}) as room, self.live.room("other"):
            offer = b"v=0\r\n"
            for headers in (
                {},
                {"Authorization": "Bearer e30.e30."},
                {"Authorization": f"Bearer {self.live.token('other')}"},
            ):
                for door in ("whip", "whep"):
                    with self.subTest(door=door, headers=headers):
                        code, _ = self.live.ask("POST", f"/{door}/{SHOP}/{room}", offer, SDP | headers)
                        self.assertIn(code, (401, 403))

    def test_rooms_that_do_not_exist_are_not_found(self) -> None:
        code, _ = self.live.ask("POST", f"/whep/{SHOP}/nothing", b"v=0\r\n", SDP)
        self.assertEqual(code, 404)

    def test_an_open_room_takes_whoever_comes(self) -> None:
        with self.live.room("open", access={"publish": "Anyone", "watch": "Anyone"}) as room:
            with Host(self.live.base, f"{SHOP}/{room}", ""):
                self.live.watch(room, seconds=2, viewers=1)

    def test_a_region_that_does_not_exist_is_said_once(self) -> None:
        self.live.make_room("nowhere", regions=["atlantis"])
        try:
            said = self.live.await_condition("LiveRoom", "nowhere", "Placed", status="False", reason="NoSuchRegion")
            self.assertIn("atlantis", said["message"])
            warned = until("somebody is told", lambda: self.live.events("nowhere"))
            self.assertEqual([(each["type"], each["reason"]) for each in warned], [("Warning", "NoSuchRegion")])
            version = self.cluster.get("LiveRoom", "nowhere", SHOP)["metadata"]["resourceVersion"]
            # While others come and go, this one is left alone.
            for number in range(3):
                with self.live.room(f"meanwhile-{number}"):
                    pass
            self.assertEqual(self.cluster.get("LiveRoom", "nowhere", SHOP)["metadata"]["resourceVersion"], version)
            self.assertEqual(len(self.live.events("nowhere")), 1)
            # And taken up as soon as it can be.
            self.cluster.merge("LiveRoom", "nowhere", {"spec": {"regions": ["local"]}}, SHOP)
            self.live.await_condition("LiveRoom", "nowhere", "Ready")
        finally:
            self.cluster.kubectl("--namespace", SHOP, "delete", "lr", "nowhere", "--timeout=60s")

    def test_a_room_that_is_deleted_says_good_bye(self) -> None:
        with self.live.room("ending") as room, self.live.host(room):
            with Watcher(H264, "rtph264depay ! avdec_h264") as watcher:
                watcher.negotiate(f"{self.live.base}/whep/{SHOP}/{room}")
                wish = urllib.request.Request(
                    f"{watcher.session}/events",
                    json.dumps(["ended"]).encode(),
                    {"Content-Type": "application/json"},
                )
                with opener().open(wish, timeout=30) as made:
                    stream_url = urljoin(wish.full_url, made.headers["Location"])
                with opener().open(stream_url, timeout=60) as stream:
                    self.cluster.kubectl("--namespace", SHOP, "delete", "lr", room, "--timeout=60s")
                    self.assertIn(b"ended", stream.read())
                watcher.session = None
            self.assertIsNone(self.cluster.get("LiveRoom", room, SHOP))
            until("its token goes", lambda: self.cluster.get("Secret", f"{room}-host-token", SHOP) is None)
            code, _ = self.live.ask("POST", f"/whep/{SHOP}/{room}", b"v=0\r\n", SDP)
            self.assertEqual(code, 404)

    def test_a_pod_that_never_answers_holds_no_room(self) -> None:
        with self.live.room("held") as room:
            process = self.live.process(self.live.origin(room), "media-node")
            self.cluster.script("exec", "--", "kill", "-STOP", process)
            try:
                self.cluster.kubectl("--namespace", SHOP, "delete", "lr", room, "--timeout=60s")
            finally:
                self.cluster.script("exec", "--", "kill", "-CONT", process)
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)

    def test_secrets_that_are_deleted_are_made_again(self) -> None:
        with self.live.room("kept") as room:
            secrets = [
                (SHOP, "kept-host-token"),
                (MEDIA_NAMESPACE, "showrunner-media-pods"),
                (SYSTEM, "showrunner-gateway"),
                (SYSTEM, "showrunner-control"),
                (SYSTEM, "showrunner-token-keys"),
            ]
            token = self.live.token(room)
            for namespace, name in secrets:
                self.cluster.kubectl("--namespace", namespace, "delete", "secret", name)
            for namespace, name in secrets:
                until(f"{name} is made again", lambda: self.cluster.get("Secret", name, namespace))
            # With the same keys in them: the token of before is as good as the one of now, and pods still listen.
            with Host(self.live.base, f"{SHOP}/{room}", token):
                self.live.watch(room, seconds=2, viewers=1)

    def test_who_else_writes_is_put_up_with(self) -> None:
        with self.live.room("shared", title="Theirs") as room:
            # Another manager owns a field of the spec: it stays theirs.
            theirs = f"""
                apiVersion: showrunner.dev/v1alpha1
                kind: LiveRoom
                metadata: {{name: {room}, namespace: {SHOP}, labels: {{team: shop}}}}
                spec: {{title: Ours}}
            """
            apply = ["apply", "--server-side", "--field-manager=shop", "--force-conflicts", "--filename=-"]
            self.cluster.kubectl(*apply, given=theirs)
            # And one of the status, which is the operator's: it takes it back.
            status = f"""
                apiVersion: showrunner.dev/v1alpha1
                kind: LiveRoom
                metadata: {{name: {room}, namespace: {SHOP}}}
                status: {{phase: Ended}}
            """
            self.cluster.kubectl(*apply, "--subresource=status", given=status)

            def is_right() -> bool:
                found = self.cluster.get("LiveRoom", room, SHOP)
                return found["status"].get("phase") == "Ready"

            until("the status is the operator's again", is_right)
            found = self.cluster.get("LiveRoom", room, SHOP)
            self.assertEqual(found["spec"]["title"], "Ours")
            self.assertEqual(found["metadata"]["labels"], {"team": "shop"})

    def test_a_resource_that_cannot_be_read_stops_no_other(self) -> None:
        # An older version of the definitions let something through.
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/liverooms.showrunner.dev"
        spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/stage/properties/size"
        _, crd = self.cluster.api("GET", path)
        size = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["stage"]["properties"]["size"]
        loose = [{"op": "replace", "path": spec, "value": {"type": "integer", "default": 1}}]
        status, answer = self.cluster.api("PATCH", path, loose, "application/json-patch+json")
        self.assertEqual(status, 200, answer)
        broken = {
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "LiveRoom",
            "metadata": {"name": "broken", "namespace": SHOP},
            "spec": {"stage": {"size": 100_000}},
        }
        try:
            until("the API server takes it", lambda: self.cluster.create(broken)[0] in (201, 409))
            with self.live.room("sound") as room, self.live.host(room):
                self.live.watch(room, seconds=2, viewers=1)
        finally:
            self.cluster.kubectl("--namespace", SHOP, "delete", "lr", "broken", "--timeout=60s")
            back = [{"op": "replace", "path": spec, "value": size}]
            self.cluster.api("PATCH", path, back, "application/json-patch+json")


if __name__ == "__main__":
    unittest.main()
