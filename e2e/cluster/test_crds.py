"""The real API server takes the resources that are right, fills in what they leave out, and refuses the others with a sentence that says what to change."""

import json
import os
import unittest
from collections.abc import Iterator

from local import ROOT, LocalCluster

CLUSTER = LocalCluster("sr-crds", "10.216")
CRDS = ROOT / "charts/showrunner/files/crds"


WATCH = "https://live.example.com/whep/shop/sale"


def setUpModule() -> None:
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can boot a cluster")
    unittest.addModuleCleanup(CLUSTER.down)
    CLUSTER.boot()
    CLUSTER.kubectl("apply", "--server-side", f"--filename={CRDS}")
    CLUSTER.kubectl("wait", "--for=condition=Established", f"--filename={CRDS}", "--timeout=60s")


def room(name: str = "sale", **spec: object) -> dict:
    return {
        "apiVersion": "showrunner.dev/v1alpha1",
        "kind": "LiveRoom",
        "metadata": {"name": name},
        "spec": spec,
    }


def pulled(url: str = WATCH, **pull: object) -> dict:
    return room(source={"pull": {"url": url, **pull}})


def site(name: str = "media", **spec: object) -> dict:
    return {
        "apiVersion": "showrunner.dev/v1alpha1",
        "kind": "MediaNode",
        "metadata": {"name": name},
        "spec": {"region": "local", **spec},
    }


def scaled(**autoscaling: object) -> dict:
    return site(autoscaling={"maxReplicas": 10, **autoscaling})


def scheduled(**schedule: object) -> dict:
    return scaled(schedules=[{"name": "sale", "cron": "0 20 * * FRI", "durationSeconds": 3600, **schedule}])


def without_region() -> dict:
    resource = site()
    del resource["spec"]["region"]
    return resource


SUNDAY, MONDAY = "2027-11-14T18:00:00Z", "2027-11-15T18:00:00Z"
REGION = "a region has lower case letters, digits and hyphens, as in eu-west: correct region"
NAME = "metadata.name has other than lower case letters, digits and hyphens"
FIXED = "reach.fixedAddresses goes with address: Fixed, and address: Fixed needs it: add or remove one of them"
AMOUNT = "a schedule has either minReplicas or viewers: remove or add one of them"
SELECTOR = "allowedRooms.selector goes with from: Selector, and from: Selector needs it: add or remove one of them"

URL = "source.pull.url is none that can be asked: write that of a WHEP endpoint, without user name and password, as in https://live.example.com/whep/shop/sale"
BAD_URLS = [
    "", "live.example.com/whep/a/b", "ftp://live.example.com/", "https://", "https:///whep", "https://me@live.example.com/",
    "https://me:secret@live.example.com/", "https://live.example.com:https/", "https://-live/", "https://live.example.com/a b", "https://[::1",
]  # fmt: skip

# Each with a part of what is said to whoever tries.
BAD = [
    (room("r" * 201), "metadata.name has more than 200 characters: shorten it, since the room's Secret is named after it"),
    (room(title="Flash\nsale"), "title has a line break or another control character: remove it"),
    (room(title="\x7f"), "title has a line break or another control character: remove it"),
    (room(title="t" * 201), "spec.title: Too long"),
    (room(regions=["EU"]), REGION + "s"),
    (room(regions=["-eu"]), REGION + "s"),
    (room(regions=["eu west"]), REGION + "s"),
    (room(regions=["eu", "us", "eu"]), "a region is named twice: remove one"),
    (room(regions=[""]), "spec.regions[0]: Invalid value"),
    (room(regions=["r" * 64]), "spec.regions[0]: Too long"),
    (room(regions=[f"r{n}" for n in range(17)]), "spec.regions: Too many: 17"),
    (room(schedule={"start": MONDAY, "end": SUNDAY}), "schedule.end is not after schedule.start: correct one of them"),
    (room(schedule={"start": MONDAY, "end": MONDAY}), "schedule.end is not after schedule.start: correct one of them"),
    (room(schedule={"start": "tomorrow"}), "spec.schedule.start"),
    (room(schedule={"expectedViewers": 10_000_001}), "spec.schedule.expectedViewers"),
    (room(schedule={"expectedViewers": -1}), "spec.schedule.expectedViewers"),
    (room(video={"codecs": []}), "spec.video.codecs"),
    (room(video={"codecs": ["VP8", "VP8"]}), "a codec is named twice: remove one"),
    (room(video={"codecs": ["H265"]}), 'supported values: "H264", "VP8", "VP9", "AV1"'),
    (room(video={"maxResolution": "4k"}), 'supported values: "360p", "540p", "720p", "1080p"'),
    (room(video={"maxLayers": 0}), "spec.video.maxLayers"),
    (room(video={"maxLayers": 4}), "spec.video.maxLayers"),
    (room(access={"publish": "Nobody"}), 'supported values: "Token", "Anyone"'),
    (room(access={"watch": "token"}), 'supported values: "Token", "Anyone"'),
    (room(stage={"size": 0}), "spec.stage.size"),
    (room(stage={"size": 17}), "spec.stage.size"),
    *[(pulled(url), URL) for url in BAD_URLS],
    (pulled("https://live.example.com/whep/a/b#token"), "source.pull.url has a #: what follows it is for browsers, so leave it out"),
    (pulled("https://live.example.com/" + "w" * 1024), "spec.source.pull.url: Too long"),
    (pulled(tokenSecretRef={"name": "far"}), "spec.source.pull.tokenSecretRef.key: Required"),
    (pulled(caConfigMapRef={"name": "", "key": "ca.crt"}), "spec.source.pull.caConfigMapRef.name"),
    (room(source={"pull": {}}), "spec.source.pull.url: Required"),
    (room(source={"pull": {"url": WATCH}}, access={"publish": "Anyone"}), "access.publish: Anyone goes with hosts who publish, and source.pull has none: remove one of them"),
    (room(tittle="Flash sale"), 'unknown field "spec.tittle"'),
    (site("media.eu"), NAME),
    (site("1media"), NAME),
    (site("m" * 41), NAME),
    (without_region(), "spec.region: Required value"),
    (site(region=""), REGION),
    (site(region="EU"), REGION),
    (site(region="r" * 64), "spec.region: Too long"),
    (site(replicas=1001), "spec.replicas"),
    (site(replicas=-1), "spec.replicas"),
    (site(allowedRooms={"from": "Selector"}), SELECTOR),
    (site(allowedRooms={"from": "All", "selector": {"matchLabels": {"shop": "a"}}}), SELECTOR),
    (site(allowedRooms={"from": "None"}), 'supported values: "Same", "All", "Selector"'),
    (site(reach={"address": "Fixed"}), FIXED),
    (site(reach={"fixedAddresses": ["192.0.2.1"]}), FIXED),
    (site(reach={"address": "Fixed", "fixedAddresses": ["media.example.com"]}), "a fixed address is no IP address: correct reach.fixedAddresses"),
    (site(reach={"address": "Fixed", "fixedAddresses": [f"192.0.2.{n}" for n in range(9)]}), "spec.reach.fixedAddresses: Too many: 9"),
    (site(reach={"address": "ServiceStatus"}), "reach.address: ServiceStatus needs mode: LoadBalancer, whose Service has an address: change one of them"),
    (site(reach={"address": "PodIP"}), "reach.address: PodIP needs mode: PodIP or HostNetwork: change one of them"),
    (site(reach={"mode": "PodIP", "address": "NodeInternalIP"}), "with reach.mode: PodIP clients reach pods at their own addresses: leave out address, or list fixedAddresses"),
    (site(reach={"nodePort": 30000}), "reach.nodePort goes with mode: NodePort: change one of them"),
    (site(reach={"mediaPort": 65535, "shards": 2}), "reach.shards ports from mediaPort on go beyond 65535: make one of them smaller"),
    (site(reach={"mode": "Tunnel"}), 'supported values: "HostPort", "HostNetwork", "LoadBalancer", "NodePort", "PodIP"'),
    (site(reach={"mediaPort": 80}), "spec.reach.mediaPort"),
    (site(reach={"mediaPort": 65536, "shards": 1}), "spec.reach.mediaPort"),
    (site(reach={"shards": 0}), "spec.reach.shards"),
    (site(reach={"shards": 65}), "spec.reach.shards"),
    (site(reach={"mode": "NodePort", "nodePort": 1023}), "spec.reach.nodePort"),
    (site(reach={"mode": "NodePort", "nodePort": 65536}), "spec.reach.nodePort"),
    (site(reach={"serviceAnnotations": {f"a{n}": "" for n in range(33)}}), "spec.reach.serviceAnnotations: Too many: 33"),
    (site(capacity={"viewers": 0}), "spec.capacity.viewers"),
    (site(capacity={"viewers": 100_001}), "spec.capacity.viewers"),
    (site(capacity={"rooms": 0}), "spec.capacity.rooms"),
    (site(capacity={"rooms": 10_001}), "spec.capacity.rooms"),
    (site(capacity={"egressMbps": 0}), "spec.capacity.egressMbps"),
    (site(capacity={"egressMbps": 1_000_001}), "spec.capacity.egressMbps"),
    (site(drain={"deadlineSeconds": 86_401}), "spec.drain.deadlineSeconds"),
    (site(drain={"deadlineSeconds": -1}), "spec.drain.deadlineSeconds"),
    (site(autoscaling={}), "spec.autoscaling.maxReplicas: Required value"),
    (scaled(mode="Off"), 'supported values: "Showrunner", "HorizontalPodAutoscaler", "Disabled"'),
    (scaled(minReplicas=11), "autoscaling.minReplicas is more than maxReplicas: lower minReplicas, or raise maxReplicas"),
    (scaled(minReplicas=0), "spec.autoscaling.minReplicas"),
    (scaled(maxReplicas=1001), "spec.autoscaling.maxReplicas"),
    (scaled(targets={"viewersPercent": 101}), "spec.autoscaling.targets.viewersPercent"),
    (scaled(scaleUp={"periodSeconds": 0}), "spec.autoscaling.scaleUp.periodSeconds"),
    (scaled(scaleDown={"stabilizationWindowSeconds": 3601}), "spec.autoscaling.scaleDown.stabilizationWindowSeconds"),
    (scheduled(), AMOUNT),
    (scheduled(minReplicas=3, viewers=1000), AMOUNT),
    (scheduled(minReplicas=11), "a schedule asks for more pods than autoscaling.maxReplicas: raise maxReplicas, or lower the schedule's minReplicas"),
    (scheduled(minReplicas=3, cron="0 0 20 * * FRI"), "cron is no expression of five fields, as in 0 20 * * FRI: correct it"),
    (scheduled(minReplicas=3, durationSeconds=0), "durationSeconds"),
    (scheduled(minReplicas=3, **{"from": MONDAY, "until": SUNDAY}), "a schedule's until is not after its from: correct one of them"),
    (scaled(schedules=[{"name": "a", "cron": "0 0 * * *", "durationSeconds": 1, "viewers": 1}] * 2), "Duplicate value"),
    (site(template={"image": ""}), "spec.template.image"),
    (site(template={"image": "i" * 513}), "spec.template.image: Too long"),
    (site(template={"imagePullPolicy": "Often"}), 'supported values: "Always", "IfNotPresent", "Never"'),
    (site(template={"imagePullSecrets": [{}]}), "spec.template.imagePullSecrets[0].name: Required value"),
    (site(template={"tolerations": [{"operator": "Like"}]}), 'supported values: "Exists", "Equal"'),
    (site(template={"priorityClassName": ""}), "spec.template.priorityClassName"),
    (site(template={"labels": {"showrunner.dev/region": "x"}}), "labels that begin with showrunner.dev/ or app.kubernetes.io/ are the operator's: choose another name"),
    (site(template={"labels": {"app.kubernetes.io/name": "x"}}), "labels that begin with showrunner.dev/ or app.kubernetes.io/ are the operator's: choose another name"),
    (site(template={"labels": {f"a{n}": "" for n in range(33)}}), "spec.template.labels: Too many: 33"),
    (site(template={"annotations": {f"a{n}": "" for n in range(33)}}), "spec.template.annotations: Too many: 33"),
    (site(template={"annotations": {"showrunner.dev/template": "x"}}), "annotations that begin with showrunner.dev/ are the operator's: choose another name"),
    (site(template={"hostNetwork": True}), 'unknown field "spec.template.hostNetwork"'),
]  # fmt: skip

GOOD = [
    room(),
    room("r" * 200, title="Été, 夏, عرض", regions=["eu-west", "1"]),
    room(schedule={"start": SUNDAY, "end": MONDAY, "expectedViewers": 10_000_000}),
    room(schedule={"end": "2027-11-15T18:00:00+09:00"}),
    room(source={}),
    pulled(),
    pulled("http://gateway", tokenSecretRef={"name": "far", "key": "token"}, caConfigMapRef={"name": "ca", "key": "ca.crt"}),
    pulled("https://[2001:db8::1]:8443/whep?room=1&q=%20"),
    room(video={"codecs": ["AV1"], "maxResolution": "360p", "maxLayers": 1}, access={"publish": "Anyone", "watch": "Token"}, stage={"size": 16}),
    site(),
    site("m" * 40, replicas=0),
    site(allowedRooms={"from": "Selector", "selector": {"matchExpressions": [{"key": "shop", "operator": "Exists"}]}}),
    site(reach={"mode": "LoadBalancer", "address": "ServiceStatus", "serviceAnnotations": {"cloud/type": "udp"}}),
    site(reach={"mode": "NodePort", "nodePort": 30000, "address": "NodeExternalIP"}),
    site(reach={"mode": "HostNetwork", "address": "PodIP", "mediaPort": 1024, "shards": 64}),
    site(reach={"mode": "PodIP", "address": "Fixed", "fixedAddresses": ["192.0.2.1", "2001:db8::1"]}),
    site(capacity={"viewers": 1, "rooms": 1, "egressMbps": 1}, drain={"deadlineSeconds": 0}),
    scaled(),
    scaled(mode="HorizontalPodAutoscaler", minReplicas=10, dryRun=True),
    scaled(targets={"egressMbps": 4000, "packetsPerSecond": 300_000, "cpuPercent": 0}, buffer={"viewers": 500, "viewersPercent": 5}),
    scheduled(viewers=20_000, timeZone="Europe/Berlin", **{"from": SUNDAY, "until": MONDAY}),
    site(template={"image": "registry.example.com/showrunner:1", "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "pull"}],
                   "resources": {"requests": {"cpu": 2, "memory": "1Gi"}}, "nodeSelector": {"a": "b"},
                   "tolerations": [{"key": "media", "operator": "Exists", "effect": "NoSchedule"}],
                   "affinity": {"nodeAffinity": {}}, "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
                   "priorityClassName": "media", "labels": {"team": "live"}, "annotations": {"team": "live"}}),
]  # fmt: skip


def rules(schema: object) -> Iterator[str]:
    """The messages of all rules in a schema."""
    if isinstance(schema, dict):
        for rule in schema.get("x-kubernetes-validations", []):
            yield rule["message"]
        for part in schema.values():
            yield from rules(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from rules(part)


class Crds(unittest.TestCase):
    def test_bad_resources_are_refused_with_what_to_change(self) -> None:
        for resource, message in BAD:
            with self.subTest(message=message, spec=resource["spec"]):
                status, answer = CLUSTER.create(resource, dry=True)
                self.assertIn(status, (400, 422), answer)
                self.assertIn(message, answer["message"])

    def test_every_rule_has_a_bad_resource(self) -> None:
        crds = json.loads(CLUSTER.kubectl("get", "crds", "--output=json"))
        messages = {message for crd in crds["items"] for message in rules(crd["spec"])}
        self.assertGreater(len(messages), 10)
        untried = [each for each in messages if not any(part in each for _, part in BAD)]
        self.assertEqual(untried, [])

    def test_good_resources_are_taken(self) -> None:
        for resource in GOOD:
            with self.subTest(spec=resource["spec"]):
                status, answer = CLUSTER.create(resource, dry=True)
                self.assertEqual(status, 201, answer)

    def test_what_is_left_out_is_filled_in(self) -> None:
        _, taken = CLUSTER.create(room(), dry=True)
        self.assertEqual(
            taken["spec"],
            {
                "title": "",
                "regions": [],
                "video": {"codecs": ["H264", "VP8", "VP9", "AV1"], "maxResolution": "1080p", "maxLayers": 3},
                "access": {"publish": "Token", "watch": "Anyone"},
                "stage": {"size": 1},
            },
        )
        _, taken = CLUSTER.create(site(), dry=True)
        self.assertEqual(
            taken["spec"],
            {
                "region": "local",
                "replicas": 1,
                "allowedRooms": {"from": "Same"},
                "reach": {
                    "mode": "HostPort",
                    "address": "Default",
                    "fixedAddresses": [],
                    "mediaPort": 7000,
                    "shards": 2,
                    "serviceAnnotations": {},
                },
                "capacity": {"viewers": 1000, "rooms": 100},
                "drain": {"deadlineSeconds": 3600},
                "template": {},
            },
        )
        _, taken = CLUSTER.create(scaled(), dry=True)
        self.assertEqual(
            taken["spec"]["autoscaling"],
            {
                "mode": "Showrunner",
                "minReplicas": 1,
                "maxReplicas": 10,
                "dryRun": False,
                "targets": {
                    "viewersPercent": 90,
                    "roomsPercent": 90,
                    "egressPercent": 80,
                    "egressMbps": 0,
                    "packetsPerSecond": 0,
                    "cpuPercent": 70,
                },
                "buffer": {"viewers": 0, "viewersPercent": 0, "rooms": 0, "roomsPercent": 0},
                "schedules": [],
                "expectedViewersWindowSeconds": 150,
                "forecastWindowSeconds": 30,
                "podStartSeconds": 60,
                "scaleUp": {"pods": 20, "percent": 100, "periodSeconds": 15},
                "scaleDown": {
                    "pods": 20,
                    "percent": 30,
                    "periodSeconds": 15,
                    "stabilizationWindowSeconds": 60,
                    "tolerancePercent": 1,
                },
            },
        )
        _, taken = CLUSTER.create(scheduled(viewers=1000), dry=True)
        self.assertEqual(taken["spec"]["autoscaling"]["schedules"][0]["timeZone"], "UTC")
        # And within what is there in part.
        _, taken = CLUSTER.create(room(schedule={"start": SUNDAY}, video={"maxLayers": 1}), dry=True)
        self.assertEqual(taken["spec"]["schedule"], {"start": SUNDAY, "expectedViewers": 0})
        self.assertEqual(taken["spec"]["video"]["maxResolution"], "1080p")

    def test_samples_are_right(self) -> None:
        CLUSTER.kubectl("create", "namespace", "shop")
        CLUSTER.kubectl("create", "namespace", "media")
        for sample in sorted((ROOT / "charts/showrunner/samples").glob("*.yaml")):
            with self.subTest(sample=sample.name):
                CLUSTER.kubectl("create", "--dry-run=server", "--validate=strict", f"--filename={sample}")

    def test_people_find_their_way(self) -> None:
        resources = CLUSTER.kubectl("api-resources", "--api-group=showrunner.dev", "--no-headers")
        self.assertRegex(resources, r"(?m)^liverooms +lr .* true +LiveRoom$")
        self.assertRegex(resources, r"(?m)^medianodes +mn .* true +MediaNode$")
        for path, text in {
            "lr": "A live show: its host, its viewers, and where they find it.",
            "lr.spec.regions": "Where its media pods may be, by the `spec.region` of MediaNodes",
            "lr.spec.access.publish": "Who may publish: those with a token of a host",
            "lr.spec.source.pull.url": "Its WHEP endpoint, such as `status.endpoints.watch`",
            "lr.status.phase": "How a show is, in one word.",
            "mn.spec.reach.mode": "By which kind of port",
            "mn.spec.drain.deadlineSeconds": "How long a pod that is to go keeps sessions that don't move",
            "mn.status.conditions": "What is so and what is not: Ready, Progressing, Degraded.",
        }.items():
            with self.subTest(path=path):
                # It breaks lines where it likes.
                self.assertIn(text, " ".join(CLUSTER.kubectl("explain", path).split()))
        self.assertEqual(CLUSTER.create(room("columns"))[0], 201)
        self.assertEqual(CLUSTER.create(site("columns", replicas=3))[0], 201)
        everything = CLUSTER.kubectl("get", "showrunner")
        self.assertRegex(everything, r"(?m)^NAME +PHASE +VIEWERS +ORIGIN +REGION +AGE")
        self.assertRegex(everything, r"(?m)^NAME +REGION +DESIRED +READY +DRAINING +LOAD% +ROOMS +SESSIONS +AGE")
        self.assertRegex(everything, r"(?m)^medianode\.showrunner\.dev/columns +local +3 ")

    def test_sites_are_scaled_by_their_subresource(self) -> None:
        self.assertEqual(CLUSTER.create(site("scaled"))[0], 201)
        CLUSTER.kubectl("scale", "mn/scaled", "--replicas=2")
        self.assertEqual(CLUSTER.get("MediaNode", "scaled")["spec"]["replicas"], 2)
        refused = CLUSTER.run("kubectl", "scale", "mn/scaled", "--replicas=1001")
        self.assertIn("spec.replicas", refused.stderr)

    def test_a_status_is_written_apart(self) -> None:
        self.assertEqual(CLUSTER.create({**room("status"), "status": {"viewers": 7}})[0], 201)
        self.assertNotIn("status", CLUSTER.get("LiveRoom", "status"))
        path = "/apis/showrunner.dev/v1alpha1/namespaces/default/liverooms/status/status"
        change = {"spec": {"title": "changed"}, "status": {"phase": "Live", "viewers": 10_000}}
        status, answer = CLUSTER.api("PATCH", path, change, "application/merge-patch+json")
        self.assertEqual(status, 200, answer)
        taken = CLUSTER.get("LiveRoom", "status")
        self.assertEqual((taken["spec"]["title"], taken["status"]["viewers"]), ("", 10_000))


if __name__ == "__main__":
    unittest.main()
