#!/usr/bin/env python3
"""What the operator carries: 10,000 rooms and 500 pods on a real API server; pods and their machines are simulated.

    operator.py [--rooms N] [--pods N] [--idle SECONDS]

Boots a cluster of its own, and runs the operator beside it with the rights that the chart gives it and no others. Prints
`name: value` lines:

    rooms_placed_per_s      of rooms that wait when the operator starts, from the first that gets its pod to the last
    operator_rss_mib        the operator's memory with all of them
    idle_api_writes_per_s   its writes when nothing happens
    restart_to_reconciled_s from a start with everything in place until what changed meanwhile is as it should be
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "e2e/cluster"))
from figures import OF_OPERATOR  # noqa: E402
from local import LocalCluster, until  # noqa: E402

GROUP = "/apis/showrunner.dev/v1alpha1"
PROGRAMS = ROOT / "target/release"
NAMESPACE = "showrunner"
RELEASE = "showrunner"
SITES, SHOPS = 10, 4
PATIENCE_SECONDS = 300
FLEET = "showrunner.dev/fleet"
WRITES = ("POST", "PUT", "PATCH", "DELETE", "APPLY")
# Written by nobody but the operator here, except Leases, which are counted by their own name.
WATCHED = ("liverooms", "medianodes", "secrets", "configmaps", "services", "poddisruptionbudgets", "pods", "events")


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    def __init__(self, cluster: LocalCluster, given: argparse.Namespace) -> None:
        self.cluster = cluster
        self.given = given
        self.directory = Path(tempfile.mkdtemp(prefix="showrunner-bench-"))
        self.processes: list[subprocess.Popen] = []

    def api(self, method: str, path: str, body: object = None, kind: str = "application/json") -> dict:
        status, found = self.cluster.api(method, path, body, kind)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {found.get('message')}")
        return found

    def start(self, program: str, *arguments: str, **environment: str) -> subprocess.Popen:
        log = open(self.directory / f"{program}.log", "a")
        process = subprocess.Popen(
            [PROGRAMS / program, *arguments], env={**os.environ, **environment}, stdout=log, stderr=log
        )
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen, how: signal.Signals = signal.SIGTERM) -> None:
        process.send_signal(how)
        process.wait(30)
        self.processes.remove(process)

    def end(self) -> None:
        for process in self.processes:
            process.kill()

    def install_rights(self) -> str:
        """The chart's definitions, accounts and roles; returns a kubeconfig of the operator's account."""
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        for index in range(SHOPS):
            self.cluster.kubectl("create", "namespace", f"shop-{index}")
        rendered = self.cluster.helm(
            "template", RELEASE, str(ROOT / "charts/showrunner"), "--namespace", NAMESPACE, "--validate",
            "--set-string=image.repository=localhost/showrunner,image.tag=bench",
        )
        kinds = r"^kind: (CustomResourceDefinition|ServiceAccount|(Cluster)?Role(Binding)?)$"
        wanted = [part for part in re.split(r"^---$", rendered, flags=re.M) if re.search(kinds, part, re.M)]
        self.cluster.kubectl("apply", "--server-side", "--filename", "-", given="\n---\n".join(wanted))
        self.cluster.kubectl("wait", "--for=condition=Established", "crd", "liverooms.showrunner.dev", "medianodes.showrunner.dev")
        token = self.cluster.kubectl(
            "create", "token", f"{RELEASE}-operator", "--namespace", NAMESPACE, "--duration", "4h"
        ).strip()
        config = json.loads(self.cluster.kubectl("config", "view", "--raw", "--output", "json"))
        config["users"][0]["user"] = {"token": token}
        path = self.directory / "operator.kubeconfig"
        path.touch(0o600)
        path.write_text(json.dumps(config))
        return str(path)

    def start_operator(self, kubeconfig: str) -> subprocess.Popen:
        return self.start(
            "operator",
            KUBECONFIG=kubeconfig,
            SHOWRUNNER_NAMESPACE=NAMESPACE,
            SHOWRUNNER_NAME=RELEASE,
            SHOWRUNNER_POD_NAME="bench",
            SHOWRUNNER_MEDIA_NODE_IMAGE="localhost/simulated:1",
            SHOWRUNNER_PUBLIC_URL="https://live.example.com",
            SHOWRUNNER_ADMIN="127.0.0.1:18081",
        )

    def create_sites(self) -> None:
        for index in range(SITES):
            self.api(
                "POST",
                f"{GROUP}/namespaces/{NAMESPACE}/medianodes",
                {
                    "apiVersion": "showrunner.dev/v1alpha1",
                    "kind": "MediaNode",
                    "metadata": {"name": f"site-{index}"},
                    "spec": {
                        "region": f"region-{index % 5}",
                        "replicas": self.given.pods // SITES,
                        "allowedRooms": {"from": "All"},
                        "reach": {"mode": "PodIP"},
                        "template": {"nodeSelector": {FLEET: "true"}, "tolerations": [{"key": FLEET, "operator": "Exists"}]},
                    },
                },
            )

    def ready_pods(self) -> int:
        sites = self.api("GET", f"{GROUP}/medianodes")["items"]
        return sum(site.get("status", {}).get("readyReplicas", 0) for site in sites)

    def create_rooms(self) -> None:
        def create(index: int) -> None:
            self.api(
                "POST",
                f"{GROUP}/namespaces/shop-{index % SHOPS}/liverooms",
                {
                    "apiVersion": "showrunner.dev/v1alpha1",
                    "kind": "LiveRoom",
                    "metadata": {"name": f"room-{index}"},
                    "spec": {"title": f"Room {index}", "regions": [f"region-{index % 5}"]},
                },
            )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, range(self.given.rooms)))

    def placed(self) -> tuple[float, float]:
        """When the first room got a pod, and when the last."""
        seen, first = set(), None
        url = f"{self.cluster.server}{GROUP}/liverooms?watch=1"
        for line in self.cluster.opener.open(url, timeout=PATIENCE_SECONDS):
            room = json.loads(line)["object"]
            if room.get("status", {}).get("origin"):
                first = first or time.monotonic()
                seen.add((room["metadata"]["namespace"], room["metadata"]["name"]))
                if len(seen) >= self.given.rooms:
                    return first, time.monotonic()
        sys.exit(f"bench: the watch ended with {len(seen)} rooms placed")

    def writes(self) -> dict[str, float]:
        """How many writes the API server has had, by resource."""
        counts: dict[str, float] = {}
        for line in self.cluster.kubectl("get", "--raw", "/metrics").splitlines():
            if not line.startswith("apiserver_request_total{"):
                continue
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if labels.get("verb") in WRITES and labels.get("resource") in WATCHED:
                counts[labels["resource"]] = counts.get(labels["resource"], 0) + float(line.rsplit(" ", 1)[1])
        return counts

    def lease_renewals(self) -> str:
        lease = self.api("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases")["items"]
        return str(sorted(each["spec"].get("renewTime") for each in lease))

    def idle_writes_per_second(self, seconds: int) -> float:
        before, renewals, known = self.writes(), 0, self.lease_renewals()
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            time.sleep(0.5)
            now = self.lease_renewals()
            renewals += now != known
            known = now
        after, elapsed = self.writes(), time.monotonic() - started
        each = {name: after[name] - before.get(name, 0) for name in after}
        say(f"writes in {elapsed:.0f} s: {each}, {renewals} renewals of the Lease")
        return (sum(each.values()) + renewals) / elapsed

    def change_rooms(self) -> dict[str, int]:
        changed = {}
        for index in range(0, self.given.rooms, max(1, self.given.rooms // 100)):
            path = f"{GROUP}/namespaces/shop-{index % SHOPS}/liverooms/room-{index}"
            title = {"spec": {"title": "Changed"}}
            room = self.api("PATCH", path, title, "application/merge-patch+json")
            changed[path] = room["metadata"]["generation"]
        return changed

    def run(self) -> None:
        given, figures = self.given, {}
        kubeconfig = self.install_rights()
        fleet = self.start("showrunner-fleet", "--machines", str(given.pods // 200 + 1), KUBECONFIG=self.cluster.environment["KUBECONFIG"])
        operator = self.start_operator(kubeconfig)
        self.create_sites()
        started = time.monotonic()
        until("all pods are ready", lambda: self.ready_pods() == given.pods, PATIENCE_SECONDS)
        say(f"{given.pods} pods are ready after {time.monotonic() - started:.0f} s")
        self.stop(operator)
        self.create_rooms()
        say(f"{given.rooms} rooms are there")

        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(self.placed)
            time.sleep(2)
            operator = self.start_operator(kubeconfig)
            first, last = watching.result()
        figures["rooms_placed_per_s"] = given.rooms / (last - first)
        say(f"all are placed, {last - first:.1f} s after the first")

        calm = self.writes()
        while True:
            time.sleep(10)
            now = self.writes()
            if sum(now.values()) - sum(calm.values()) < 100:
                break
            calm = now
        figures["idle_api_writes_per_s"] = self.idle_writes_per_second(given.idle)
        status = Path(f"/proc/{operator.pid}/status").read_text()
        figures["operator_rss_mib"] = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

        self.stop(operator)
        changed = self.change_rooms()
        started = time.monotonic()
        operator = self.start_operator(kubeconfig)

        def all_observed() -> bool:
            for path, generation in list(changed.items()):
                if self.api("GET", path).get("status", {}).get("observedGeneration") != generation:
                    return False
                del changed[path]
            return True

        until("what changed is reconciled", all_observed, PATIENCE_SECONDS)
        figures["restart_to_reconciled_s"] = time.monotonic() - started
        self.stop(operator)
        self.stop(fleet)
        # Its logs are wanted only if something failed, and the operator's credential never again.
        shutil.rmtree(self.directory)
        OF_OPERATOR.record({name: round(value, 1) for name, value in figures.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=10_000)
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--idle", type=int, default=60, help="seconds to count writes for")
    given = parser.parse_args()
    cluster = LocalCluster("sr-bench", "10.219")
    bench = Bench(cluster, given)
    try:
        cluster.boot()
        bench.run()
    finally:
        bench.end()
        cluster.down()


if __name__ == "__main__":
    main()
