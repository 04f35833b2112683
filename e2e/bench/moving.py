#!/usr/bin/env python3
"""What viewers notice of pods that leave and die, on a real cluster, with hosts and viewers who go where they are sent.

    moving.py [--viewers N] [--killed N] [--rounds N]

Boots a cluster of its own. Prints `name: value` lines, and writes docs/benchmarks-moving.md, which says what each is.
"""

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "e2e/cluster"))
from crowd import Crowd  # noqa: E402
from figures import OF_MOVING  # noqa: E402
from local import until  # noqa: E402
from scale import metrics_of  # noqa: E402
from showrunner import CHART, MEDIA_NAMESPACE, SHOP, Host, Showrunner, showrunner  # noqa: E402

# Joining a thousand takes some seconds on a small machine.
PATIENCE_SECONDS = 300
# All viewers here have one address.
NO_LIMIT = "gateway.limits.address=100000:100000"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def show(live: Showrunner, name: str, viewers: int) -> Iterator[Crowd]:
    """A room with a host and viewers, all of whom watch."""
    with live.room(name, schedule={"expectedViewers": 1}):
        live.await_gateways(name)
        with Host(live.base, f"{SHOP}/{name}", live.token(name), "--stay"):
            crowd = Crowd(live, [name], viewers, "--verify", "sample")
            try:
                until("all watch", lambda: watching(live) >= viewers, PATIENCE_SECONDS)
                crowd.await_picture()
                crowd.begin_anew()
                yield crowd
            finally:
                crowd.end()


def watching(live: Showrunner) -> int:
    """Viewers, as the pods say right now."""
    addresses = [pod["status"].get("podIP") for pod in live.media_pods()]
    pattern = r'(?m)^showrunner_sessions\{(?=[^}]*role="viewer")(?=[^}]*state="connected")[^}]*\} (\d+)$'
    counts = (re.findall(pattern, metrics_of(address)) for address in filter(None, addresses))
    return sum(int(count) for found in counts for count in found)


def uid(live: Showrunner, pod: str | None) -> str | None:
    found = live.cluster.get("Pod", pod, MEDIA_NAMESPACE) if pod else None
    return found and found["metadata"]["uid"]


def drain(live: Showrunner, viewers: int) -> None:
    with show(live, "drain", viewers) as crowd:
        pod = live.origin("drain")
        before = uid(live, pod)
        say(f"{pod} goes, with {watching(live)} viewers")
        began = time.monotonic()
        live.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "pod", pod, "--wait=false")
        # Its process ends with the last session, and the pod with it.
        until("the pod is gone", lambda: uid(live, pod) != before, PATIENCE_SECONDS)
        took = time.monotonic() - began
        found = settle(live, crowd, viewers)
        say(f"{found['moves']:.0f} moves, {found['refusals']:.0f} refusals, longest gap {found['gap_ms_max']:.0f} ms")
        OF_MOVING.record({
            "drain_1000_s": round(took, 1),
            "drain_viewers": viewers,
            "move_gap_ms_p99": round(found["gap_ms_p99"]),
            "move_viewers_lost": found["lost"],
        })
    live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)


def settle(live: Showrunner, crowd: Crowd, viewers: int) -> dict[str, float]:
    """Waits until all watch again; what they saw until then."""
    with contextlib.suppress(AssertionError):
        until("all watch", lambda: watching(live) >= viewers)
        crowd.await_picture()
    return crowd.ask()


def kill(live: Showrunner, viewers: int, rounds: int, stays_down: bool) -> tuple[float, float]:
    """The longest gap of nearly all in the worst round, and how many were lost in all."""
    gaps, lost = [], 0.0
    for number in range(rounds):
        name = f"kill-{'elsewhere' if stays_down else 'again'}-{number}"
        with show(live, name, viewers) as crowd:
            pod = live.origin(name)
            say(f"{pod} is killed, with {watching(live)} viewers")
            if stays_down:

                def is_elsewhere() -> bool:
                    live.keep_down(pod)
                    return live.origin(name) not in (None, pod)

                until("the room is elsewhere", is_elsewhere)
            else:
                live.cluster.script("exec", "--", "kill", "-KILL", live.process(pod, "media-node"))
            found = settle(live, crowd, viewers)
            say(f"gaps of {found['gap_ms_p50']:.0f} ms (p50), {found['gap_ms_p95']:.0f} (p95), {found['gap_ms_max']:.0f} (max)")
            gaps.append(found["gap_ms_p95"])
            lost += found["lost"]
        live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)
    return max(gaps), lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=1000, help="of the pod that is deleted")
    parser.add_argument("--killed", type=int, default=200, help="viewers of the pod that is killed")
    parser.add_argument("--rounds", type=int, default=3, help="pods killed in each way")
    given = parser.parse_args()
    live = showrunner()
    live.install(str(CHART), "--set-string", NO_LIMIT)
    # A pod takes as many; and has a minute or so for them.
    spec = {"capacity": {"viewers": max(2000, given.viewers)}, "drain": {"deadlineSeconds": 120}}
    live.cluster.merge("MediaNode", "site", {"spec": spec}, MEDIA_NAMESPACE)
    live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)
    drain(live, given.viewers)
    again, lost_again = kill(live, given.killed, given.rounds, stays_down=False)
    elsewhere, lost_elsewhere = kill(live, given.killed, given.rounds, stays_down=True)
    OF_MOVING.record({
        "recover_ms_p95": round(again),
        "recover_elsewhere_ms_p95": round(elsewhere),
        "recover_viewers": given.killed,
        "recover_viewers_lost": lost_again + lost_elsewhere,
    })


if __name__ == "__main__":
    main()
