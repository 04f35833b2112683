#!/usr/bin/env python3
"""How quick rooms are on a real cluster, and what viewers notice of an operator that is gone.

    rooms.py [--rooms N] [--outage SECONDS] [--viewers N]

Boots a cluster of its own with the chart and the sample room on air, as `make up` does. Prints `name: value` lines:

    apply_to_answer_ms_p95     from `kubectl apply` of a room to the first answer to a host's offer, through the gateway
    takeover_s_kill            from the kill of the leading operator until a room that was applied right then has its pod
    takeover_s_clean           the same for one that is told to end
    outage_joins_failed        of viewers who come and go while there is no operator at all
    outage_viewers_flawed      viewers who missed something meanwhile
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "e2e/cluster"))
from figures import OF_OPERATOR  # noqa: E402
from local import LocalCluster, opener, until  # noqa: E402

NAME, NET, PORT = "sr-rooms", "10.218", 18083
GATEWAY = f"http://localhost:{PORT}"
OPERATOR = "showrunner-operator"
NAMESPACE = "showrunner"
OFFER = (ROOT / "media-node/sdp/tests/offers/chromium-156-whip.sdp").read_bytes()
SAMPLE = "default/sale"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def up(verb: str) -> None:
    environment = {**os.environ, "CLUSTER_NAME": NAME, "CLUSTER_NET": NET, "HTTP_PORT": str(PORT)}
    subprocess.run([ROOT / "scripts/up.sh", verb], env=environment, check=True, stdout=sys.stderr)


def room(name: str) -> dict:
    return {
        "apiVersion": "showrunner.dev/v1alpha1",
        "kind": "LiveRoom",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"regions": ["local"], "access": {"publish": "Anyone"}},
    }


def publish(name: str) -> bool:
    """Whether a pod answers a host's offer."""
    url = f"{GATEWAY}/whip/default/{name}"
    request = urllib.request.Request(url, OFFER, {"Content-Type": "application/sdp"})
    try:
        with opener().open(request, timeout=10) as answer:
            return answer.status == 201
    except urllib.error.HTTPError:
        return False


def p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


class Bench:
    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster

    def apply_to_answer_ms(self, rooms: int) -> list[float]:
        times = []
        for index in range(rooms):
            name = f"bench-{index}"
            started = time.monotonic()
            self.cluster.kubectl("apply", "--filename=-", given=json.dumps(room(name)))
            while not publish(name):
                time.sleep(0.005)
            times.append((time.monotonic() - started) * 1000)
            self.cluster.kubectl("delete", "lr", name, "--wait=false")
        return times

    def leader(self) -> str:
        leases = self.cluster.list("Lease", NAMESPACE)
        holders = [lease["spec"].get("holderIdentity") for lease in leases]
        pods = [pod["metadata"]["name"] for pod in self.cluster.list("Pod", NAMESPACE)]
        return next((pod for pod in pods for holder in holders if holder and holder.startswith(pod)), "")

    def takeover_s(self, name: str, end) -> float:
        """From the end of the leader until what was asked for right then is done."""
        leader = until("somebody leads", self.leader)
        started = time.monotonic()
        end(leader)
        self.cluster.create(room(name))
        until(f"{name} has a pod", lambda: (self.cluster.get("LiveRoom", name) or {}).get("status", {}).get("origin"))
        taken = time.monotonic() - started
        self.cluster.kubectl("delete", "lr", name, "--wait=false")
        self.cluster.kubectl("rollout", "status", f"deployment/{OPERATOR}", f"--namespace={NAMESPACE}", "--timeout=120s")
        return taken

    def kill(self, pod: str) -> None:
        """As the kernel kills: without a word to anybody."""
        find = f'for p in /proc/[0-9]*; do tr "\\0" "\\n" <$p/environ 2>/dev/null | grep -qx "HOSTNAME={pod}" && ' \
            'grep -q operator $p/comm && kill -KILL ${p#/proc/}; done; true'
        self.cluster.script("exec", "--", "sh", "-c", find)

    def delete(self, pod: str) -> None:
        self.cluster.kubectl("delete", "pod", pod, f"--namespace={NAMESPACE}", "--wait=false")

    def outage(self, seconds: int, viewers: int) -> dict:
        scale = ("scale", f"deployment/{OPERATOR}", f"--namespace={NAMESPACE}")
        self.cluster.kubectl(*scale, "--replicas=0")
        until("the operator is gone", lambda: not self.leader())
        with tempfile.NamedTemporaryFile(suffix=".json") as figures:
            subprocess.run(
                [ROOT / "target/release/showrunner-load", "watch", "--url", GATEWAY, "--room", SAMPLE,
                 f"--viewers={viewers}", "--churn=2", f"--seconds={seconds}", "--verify=sample", "--json", figures.name],
                check=True,
                stdout=sys.stderr,
            )
            found = json.load(open(figures.name))
        self.cluster.kubectl(*scale, "--replicas=2")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=40, help="rooms to apply, one after the other")
    parser.add_argument("--outage", type=int, default=300, help="seconds without an operator")
    parser.add_argument("--viewers", type=int, default=200)
    given = parser.parse_args()
    cluster = LocalCluster(NAME, NET)
    bench = Bench(cluster)
    try:
        up("up")
        cluster.attach()
        times = bench.apply_to_answer_ms(given.rooms)
        say(f"apply to answer, ms: {[round(t) for t in sorted(times)]}")
        OF_OPERATOR.record({"apply_to_answer_ms_p95": round(p95(times))})
        OF_OPERATOR.record({"takeover_s_kill": round(bench.takeover_s("after-kill", bench.kill), 2)})
        OF_OPERATOR.record({"takeover_s_clean": round(bench.takeover_s("after-delete", bench.delete), 2)})
        found = bench.outage(given.outage, given.viewers)
        OF_OPERATOR.record({
            "outage_seconds": given.outage,
            "outage_joins_failed": found["failed"],
            "outage_viewers_flawed": found["viewers_flawed"],
        })
    finally:
        up("down")


if __name__ == "__main__":
    main()
