"""Metrics for autoscalers: what the API server passes on to the operator, to whom, and what a real autoscaler does by it."""

import base64
import json
import ssl
import unittest
import urllib.error
import urllib.request

from local import LIMIT_SECONDS, opener, until
from showrunner import CHART, MEDIA_NAMESPACE, SHOP, SITE, showrunner

CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
OF_PODS = f"{CUSTOM}/namespaces/{MEDIA_NAMESPACE}/pods"
OF_SITES = f"{CUSTOM}/namespaces/{MEDIA_NAMESPACE}/medianodes.showrunner.dev"
OF_ROOMS = f"{CUSTOM}/namespaces/{SHOP}/liverooms.showrunner.dev"

READER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: media}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: stranger, namespace: media}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reads-metrics, namespace: media}
rules: [{apiGroups: [custom.metrics.k8s.io], resources: [pods/showrunner_viewers], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reads-metrics, namespace: media}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads-metrics}
subjects: [{kind: ServiceAccount, name: reader, namespace: media}]
"""


class MetricsApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.live = showrunner()
        cls.cluster = cls.live.cluster
        cls.live.install(str(CHART), "--set", "metricsApi.enabled=true")
        for name in ("v1beta2.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"):
            cls.cluster.kubectl("wait", "--for=condition=Available", f"apiservice/{name}", "--timeout=120s")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.live.install()

    def values(self, path: str) -> dict[str, str]:
        """The values of objects by their names; none if there is no answer yet, after the operator was started anew."""
        status, found = self.cluster.api("GET", path)
        self.assertIn(status, (200, 404, 503), found)
        return {each["describedObject"]["name"]: each["value"] for each in found.get("items", [])}

    def names(self) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self.live.media_pods())

    def test_1_discovery_finds_it(self) -> None:
        versions = self.cluster.kubectl("api-versions").split()
        self.assertIn("custom.metrics.k8s.io/v1beta2", versions)
        self.assertIn("external.metrics.k8s.io/v1beta1", versions)
        resources = {each["name"] for each in json.loads(self.cluster.kubectl("get", "--raw", CUSTOM))["resources"]}
        self.assertIn("pods/showrunner_viewers", resources)
        self.assertIn("medianodes.showrunner.dev/showrunner_cpu_utilization", resources)
        # Of all APIs at once, as newer clients ask: what can't be discovered would be stale, and hold up namespaces.
        found = self.cluster.kubectl("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1")
        self.assertIn("showrunner_medianode_viewers", found)
        self.cluster.kubectl("create", "namespace", "passing")
        self.cluster.kubectl("delete", "namespace", "passing", "--timeout=60s")

    def test_2_viewers_are_seen_by_pod_site_room_and_label(self) -> None:
        with self.live.room("counted") as room, self.live.host(room):
            audience = self.live.audience(room, 20, 3)
            # Replicas ask the pods at moments of their own, and any of them may answer.
            rooms, sites = f"{OF_ROOMS}/{room}/showrunner_viewers", f"{OF_SITES}/site/showrunner_viewers"
            until("viewers of the room are counted", lambda: self.values(rooms) == {room: "3"})
            until("those of the site", lambda: self.values(sites) == {"site": "3"})
            until("its sessions", lambda: self.values(f"{OF_SITES}/*/showrunner_sessions").get("site") == "4")
            origin = self.live.origin(room)
            path = f"{OF_PODS}/*/showrunner_viewers?labelSelector=showrunner.dev%2Fmedia-node%3Dsite"
            expected = {name: "3" if name == origin else "0" for name in self.names()}
            until("those of each pod", lambda: self.values(path) == expected)
            egress = f"{OF_PODS}/{origin}/showrunner_egress_bits_per_second"
            until("what it sends", lambda: self.values(egress).get(origin, "0") != "0")
            query = "labelSelector=region%3Dlocal%2Cmedianode%20in%20(site)"
            external = f"{EXTERNAL}/namespaces/{MEDIA_NAMESPACE}/showrunner_medianode_viewers?{query}"
            until("and by labels", lambda: [each["value"] for each in self.cluster.api("GET", external)[1].get("items", [])] == ["3"])
            self.live.content(audience)

    def test_3_what_is_wrong_is_a_status(self) -> None:
        pod = self.names()[0]
        for method, path, code, reason in [
            ("GET", f"{OF_PODS}/{pod}/showrunner_nothing", 404, "NotFound"),
            ("GET", f"{OF_PODS}/nobody/showrunner_viewers", 404, "NotFound"),
            ("GET", f"{CUSTOM}/namespaces/media/deployments.apps/x/showrunner_viewers", 404, "NotFound"),
            ("GET", f"{OF_PODS}/*/showrunner_viewers?labelSelector=a%20b", 400, "BadRequest"),
            ("POST", f"{OF_PODS}/{pod}/showrunner_viewers", 405, "MethodNotAllowed"),
            ("DELETE", f"{EXTERNAL}/namespaces/media/showrunner_medianode_viewers", 405, "MethodNotAllowed"),
        ]:
            with self.subTest(method=method, path=path):
                status, found = self.cluster.api(method, path, {} if method == "POST" else None)
                self.assertEqual((status, found.get("kind"), found.get("reason")), (code, "Status", reason), found)

    def direct(self, pod: dict, token: str | None) -> tuple[int, dict]:
        """A request past the API server in front, to a replica itself."""
        context = ssl.create_default_context(cadata=self.authority())
        context.check_hostname = False  # It is called by its address here.
        request = urllib.request.Request(f"https://{pod['status']['podIP']}:8444{OF_PODS}/*/showrunner_viewers")
        # Whoever isn't the API server in front says for whom it asks in vain.
        request.add_header("X-Remote-User", "admin")
        request.add_header("X-Remote-Group", "system:masters")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with opener(context).open(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def authority(self) -> str:
        path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta2.custom.metrics.k8s.io"
        _, service = self.cluster.api("GET", path)
        return base64.b64decode(service["spec"]["caBundle"]).decode()

    def test_4_only_those_who_may_are_answered(self) -> None:
        self.cluster.kubectl("apply", "--filename=-", given=READER)
        path = f"{OF_PODS}/*/showrunner_viewers"
        account = "system:serviceaccount:media"
        found = json.loads(self.cluster.kubectl("get", "--raw", path, f"--as={account}:reader"))
        self.assertEqual(found["kind"], "MetricValueList")
        for who, path in [("stranger", path), ("reader", f"{OF_PODS}/*/showrunner_sessions")]:
            run = self.cluster.run("kubectl", "get", "--raw", path, f"--as={account}:{who}")
            self.assertNotEqual(run.returncode, 0)
            self.assertIn("forbidden", run.stderr)
        tokens = {
            who: self.cluster.kubectl("--namespace=media", "create", "token", who).strip() for who in ("reader", "stranger")
        }
        replicas = [pod for pod in self.live.pods("operator") if "deletionTimestamp" not in pod["metadata"]]
        self.assertEqual(len(replicas), 2)
        for pod in replicas:
            with self.subTest(pod["metadata"]["name"]):
                # Both answer, the one that leads and the other.
                status, found = self.direct(pod, tokens["reader"])
                self.assertEqual((status, len(found["items"])), (200, len(self.live.media_pods())), found)
                status, found = self.direct(pod, tokens["stranger"])
                self.assertEqual((status, found["reason"]), (403, "Forbidden"), found)
                for token in (None, "nonsense"):
                    status, found = self.direct(pod, token)
                    self.assertEqual((status, found["reason"]), (401, "Unauthorized"), found)

    def test_5_what_is_not_known_is_missing(self) -> None:
        path = f"{OF_SITES}/site/showrunner_viewers"
        until("it is known", lambda: self.values(path))
        silent, *others = self.names()
        process = self.live.process(silent, "media-node")
        self.cluster.script("exec", "--", "kill", "-STOP", process)
        try:
            # Each replica finds out for itself, and any of them may answer.
            until("nothing is said of the site", lambda: self.values(path) == {})
            of_pods = f"{OF_PODS}/*/showrunner_viewers"
            until("nor of the pod, but of the other", lambda: {silent, *others} & self.values(of_pods).keys() == {*others})
            external = f"{EXTERNAL}/namespaces/{MEDIA_NAMESPACE}/showrunner_medianode_viewers"
            until("nor by labels", lambda: self.cluster.api("GET", external)[1].get("items") == [])
        finally:
            self.cluster.script("exec", "--", "kill", "-CONT", process)
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)
        until("it is known again", lambda: self.values(path))

    def test_6_an_authority_that_somebody_removed_is_written_again(self) -> None:
        path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta2.custom.metrics.k8s.io"
        before = self.cluster.api("GET", path)[1]["spec"]["caBundle"]
        self.cluster.api("PATCH", path, {"spec": {"caBundle": None}}, "application/merge-patch+json")
        until("it is there again", lambda: self.cluster.api("GET", path)[1]["spec"].get("caBundle") == before)

    def autoscaler(self) -> dict | None:
        path = f"/apis/autoscaling/v2/namespaces/{MEDIA_NAMESPACE}/horizontalpodautoscalers/crowd"
        status, found = self.cluster.api("GET", path)
        return found if status == 200 else None

    def pods(self) -> int:
        pods = self.live.media_pods("crowd")
        return sum(1 for pod in pods if "deletionTimestamp" not in pod["metadata"])

    def test_8_kubernetes_scales_a_site_by_its_viewers(self) -> None:
        none = {"roomsPercent": 0, "egressPercent": 0, "cpuPercent": 0}
        scaling = {
            "mode": "HorizontalPodAutoscaler",
            "minReplicas": 1,
            "maxReplicas": 3,
            "targets": {"viewersPercent": 20, **none},
            "scaleDown": {"stabilizationWindowSeconds": 0},
        }
        spec = {**SITE["spec"], "region": "crowd", "replicas": 1, "capacity": {"viewers": 10}, "autoscaling": scaling}
        self.live.create({**SITE, "metadata": {"name": "crowd", "namespace": MEDIA_NAMESPACE}, "spec": spec})
        try:
            self.live.await_condition("MediaNode", "crowd", "Ready", MEDIA_NAMESPACE)
            made = until("there is an autoscaler", self.autoscaler)
            self.assertEqual(made["metadata"]["ownerReferences"][0]["name"], "crowd")
            self.assertEqual(made["spec"]["metrics"][0]["pods"]["target"]["averageValue"], "2")
            with self.live.room("crowded", regions=["crowd"]) as room, self.live.host(room):
                audience = self.live.audience(room, 75, 3)
                # Three viewers, at two a pod.
                try:
                    until("a second pod is made", lambda: self.pods() == 2)
                except AssertionError as error:
                    audience.terminate()
                    described = self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "describe", "hpa,mn", "crowd")
                    raise AssertionError(f"{error}\n{described}\n{audience.communicate()[0]}") from None
                self.live.await_condition("MediaNode", "crowd", "Ready", MEDIA_NAMESPACE)
                said, _ = audience.communicate(timeout=LIMIT_SECONDS)
                self.assertIn("joined: 3", said)
                origin = self.live.origin(room)
                until("the second pod goes", lambda: self.pods() == 1)
                # The one that nobody was on.
                self.assertEqual(self.live.media_pods("crowd")[0]["metadata"]["name"], origin)
                self.live.watch(room, seconds=2, viewers=1)
            said = self.cluster.get("MediaNode", "crowd", MEDIA_NAMESPACE)["status"]["autoscaling"]
            self.assertEqual(said["signal"], "HorizontalPodAutoscaler", said)
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "hpa", "crowd")
            until("it is made again", self.autoscaler)
            change = {"spec": {"autoscaling": {"mode": "Disabled"}}}
            self.cluster.merge("MediaNode", "crowd", change, MEDIA_NAMESPACE)
            until("it goes with its mode", lambda: self.autoscaler() is None)
        finally:
            self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "mn", "crowd", "--timeout=120s")

    def test_9_pods_with_sessions_hold_machines_and_idle_ones_do_not(self) -> None:
        def marks(pod: str) -> tuple[str | None, str | None, str | None]:
            meta = self.cluster.get("Pod", pod, MEDIA_NAMESPACE)["metadata"]
            notes = meta.get("annotations", {})
            return (
                notes.get("cluster-autoscaler.kubernetes.io/safe-to-evict"),
                notes.get("karpenter.sh/do-not-disrupt"),
                meta["labels"].get("showrunner.dev/idle"),
            )

        busy, idle = ("false", "true", None), ("true", None, "true")
        with self.live.room("held") as room, self.live.host(room):
            origin = self.live.origin(room)
            other = next(name for name in self.names() if name != origin)
            until("the pod with the host is busy", lambda: marks(origin) == busy)
            until("the other one is idle", lambda: marks(other) == idle)
            self.assertEqual(self.evict(origin), 429)
            self.assertEqual(self.evict(other), 201)
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)
        until("the pod is idle once its host is gone", lambda: marks(origin) == idle)

    def evict(self, pod: str) -> int:
        meta = {"name": pod, "namespace": MEDIA_NAMESPACE}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
        path = f"/api/v1/namespaces/{MEDIA_NAMESPACE}/pods/{pod}/eviction?dryRun=All"
        return self.cluster.api("POST", path, eviction)[0]

    def test_samples_are_right(self) -> None:
        for sample in sorted((CHART / "samples/autoscaling").glob("*.yaml")):
            for part in sample.read_text().split("\n---\n"):
                with self.subTest(sample.name):
                    if "keda.sh/" in part or "\nkind:" not in f"\n{part}":
                        # Definitions of theirs are not here: that it is YAML is what can be said.
                        self.cluster.command("helm", "template", str(CHART), "--kube-version=1.37.0",
                                             "--set=image.repository=x", "--values=-", given=under("global", part))  # fmt: skip
                    else:
                        self.cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", given=part)

    def test_7_a_server_of_somebody_else_is_not_pushed_away(self) -> None:
        install = ["install", "other", str(CHART), "--dry-run=server", "--namespace=other", "--set"]
        values = "image.repository=x,crds.install=false,metricsApi.enabled=true"
        run = self.cluster.run("helm", *install, values)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("is served by the Service showrunner/showrunner-metrics-api already", run.stderr)
        self.cluster.helm(*install, f"{values},metricsApi.custom=false,metricsApi.external=false")


def under(key: str, text: str) -> str:
    """A YAML document as the value of a key."""
    return f"{key}:\n" + "".join(f"  {line}\n" for line in text.splitlines())


if __name__ == "__main__":
    unittest.main()
