#!/usr/bin/env python3
"""How quick a site grows on a real cluster, and whether anybody is refused meanwhile.

    scale.py [--rooms N] [--viewers N] [--capacity N] [--seconds SECONDS] [--forecast SECONDS] [--horizontal]

Boots a cluster of its own with the chart, and a site that begins with one pod. Rooms are made one after the other, and
in each a host goes on air and viewers come, so that all are there after SECONDS. Prints `name: value` lines, and writes
docs/benchmarks-moving.md. With --horizontal the site is scaled by Kubernetes' HorizontalPodAutoscaler, and the names
begin with `scale_hpa_`:

    scale_viewers              viewers who came
    scale_refused_joins        of them, those who found no place
    scale_viewers_flawed       of them, those who missed something
    scale_pods                 pods in the end
    scale_need_to_ask_s        from the moment at which pods say more sessions than as many pods should have, until the
                               API server tells of another pod: the longest
    scale_need_to_ready_s      the same until that pod is ready
"""

import argparse
import contextlib
import http.client
import json
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "e2e/cluster"))
from figures import OF_MOVING  # noqa: E402
from local import LocalCluster, opener, until  # noqa: E402
from showrunner import CHART, LOAD, MEDIA, MEDIA_NAMESPACE, SHOP, SITE, Host, Showrunner  # noqa: E402

NAME, NET = "sr-scale", "10.219"
SITE_NAME = "grow"
MOST_PODS = 8
# Of a pod's capacity. Kubernetes looks every 15 s, a quarter of the ramp, and has to be that much ahead.
TARGET_PERCENT, HORIZONTAL_TARGET_PERCENT = 60, 30


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass
class Witness:
    """What pods say, and which there are, second by second."""

    live: Showrunner
    # Sessions that one pod should have.
    each: int
    # When so many pods were needed, asked for, and ready, for the first time.
    needed: dict[int, float] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)
    ready: dict[int, float] = field(default_factory=dict)
    pods: dict[str, dict] = field(default_factory=dict)
    is_over: bool = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        threads = [threading.Thread(target=each, daemon=True) for each in (self.watch_pods, self.ask_pods)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.is_over = True

    def watch_pods(self) -> None:
        cluster = self.live.cluster
        path = f"/api/v1/namespaces/{MEDIA_NAMESPACE}/pods?watch=1&labelSelector=showrunner.dev/media-node={SITE_NAME}"
        with cluster.opener.open(urllib.request.Request(cluster.server + path), timeout=600) as events:
            for line in events:
                now = time.monotonic()
                pod = json.loads(line)["object"]
                self.pods[pod["metadata"]["name"]] = pod
                conditions = [each for each in self.pods.values() if is_ready(each)]
                self.asked.setdefault(len(self.pods), now)
                self.ready.setdefault(len(conditions), now)

    def ask_pods(self) -> None:
        while not self.is_over:
            addresses = [pod["status"].get("podIP") for pod in list(self.pods.values()) if is_ready(pod)]
            sessions = sum(map(sessions_of, filter(None, addresses)))
            for pods in range(2, min(-(-sessions // self.each), MOST_PODS) + 1):
                self.needed.setdefault(pods, time.monotonic())
            time.sleep(0.05)

    def longest(self, until: dict[int, float]) -> float:
        """From each need until it was met; 0 where it was met before."""
        return max(max(until[pods] - needed, 0.0) for pods, needed in self.needed.items())


def is_ready(pod: dict) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def metrics_of(address: str) -> str:
    """What a pod's metrics are; nothing if it does not answer."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with opener(context).open(f"https://{address}:8443/metrics", timeout=2) as answer:
            return answer.read().decode()
    except (OSError, http.client.HTTPException):
        return ""


def sessions_of(address: str) -> int:
    figures = metrics_of(address)
    return sum(int(count) for count in re.findall(r"(?m)^showrunner_sessions\{.*\} (\d+)$", figures))


def audience(base: str, room: str, viewers: int, rate: float, seconds: int, report: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [LOAD, "watch", "--url", base, "--room", f"{SHOP}/{room}", f"--viewers={viewers}", f"--join-rate={rate}",
         f"--seconds={seconds}", "--threads=1", "--json", report],
        stdout=subprocess.DEVNULL, stderr=sys.stderr,
    )  # fmt: skip


def target_percent(given: argparse.Namespace) -> int:
    return HORIZONTAL_TARGET_PERCENT if given.horizontal else TARGET_PERCENT


def make_site(live: Showrunner, given: argparse.Namespace) -> None:
    scaling = {
        "mode": "HorizontalPodAutoscaler" if given.horizontal else "Showrunner",
        "maxReplicas": MOST_PODS,
        "targets": {"viewersPercent": target_percent(given), "cpuPercent": 0},
        # What is announced or foreseen has its pods before; this is about what is not, unless asked for.
        "expectedViewersWindowSeconds": 0,
        "forecastWindowSeconds": given.forecast,
    }
    spec = {**SITE["spec"], "region": SITE_NAME, "replicas": 1, "capacity": {"viewers": given.capacity}, "autoscaling": scaling}
    live.create({**SITE, "metadata": {"name": SITE_NAME, "namespace": MEDIA_NAMESPACE}, "spec": spec})
    live.await_condition("MediaNode", SITE_NAME, "Ready", MEDIA_NAMESPACE)


def run(live: Showrunner, given: argparse.Namespace, reports: Path) -> None:
    rooms, viewers, seconds = given.rooms, given.viewers, given.seconds
    make_site(live, given)
    witness = Witness(live, given.capacity * target_percent(given) // 100)
    began = time.monotonic()
    each, turn = viewers // rooms, seconds / rooms
    with witness.watching(), contextlib.ExitStack() as hosts:
        until("the watch has begun", lambda: witness.ready.get(1))
        audiences = []
        for number in range(rooms):
            name = f"grow-{number}"
            schedule = {"expectedViewers": each + 1}
            hosts.enter_context(live.room(name, regions=[SITE_NAME], schedule=schedule, access={"publish": "Anyone"}))
            live.await_gateways(name)
            hosts.enter_context(Host(live.base, f"{SHOP}/{name}", ""))
            left = began + (number + 1) * turn - time.monotonic()
            rate = each / max(left, 1.0)
            stays = round(began + seconds - time.monotonic() - max(left, 1.0)) + 15
            audiences.append(audience(live.base, name, each, rate, max(stays, 1), reports / f"{name}.json"))
            time.sleep(max(left, 0.0))
        for each_audience in audiences:
            each_audience.wait()
        pods = live.cluster.get("MediaNode", SITE_NAME, MEDIA_NAMESPACE)["spec"]["replicas"]
        for event in live.events(SITE_NAME, MEDIA_NAMESPACE):
            say(f"{event['reason']}: {event['message']}")
        found = [json.loads((reports / f"grow-{number}.json").read_text()) for number in range(rooms)]
        figures = {
            "viewers": sum(each["joined"] for each in found),
            "refused_joins": sum(each["failed"] for each in found),
            "viewers_flawed": sum(each["viewers_flawed"] for each in found),
            "pods": pods,
            "need_to_ask_s": round(witness.longest(witness.asked), 2),
            "need_to_ready_s": round(witness.longest(witness.ready), 2),
        }
    prefix = "scale_hpa_" if given.horizontal else "scale_"
    OF_MOVING.record({f"{prefix}{name}": value for name, value in figures.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=6)
    parser.add_argument("--viewers", type=int, default=900)
    parser.add_argument("--capacity", type=int, default=340, help="of a pod, in viewers")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--forecast", type=int, default=0, help="the site's forecastWindowSeconds; 0: none")
    parser.add_argument("--horizontal", action="store_true", help="by Kubernetes' HorizontalPodAutoscaler")
    given = parser.parse_args()
    reports = ROOT / ".cache/bench/scale"
    reports.mkdir(parents=True, exist_ok=True)
    live = Showrunner(LocalCluster(NAME, NET))
    try:
        live.boot()
        if given.horizontal:
            live.install(str(CHART), "--set", "metricsApi.enabled=true")
            api = "apiservice/v1beta2.custom.metrics.k8s.io"
            live.cluster.kubectl("wait", "--for=condition=Available", api, "--timeout=120s")
        run(live, given, reports)
    finally:
        live.cluster.down()


if __name__ == "__main__":
    main()
