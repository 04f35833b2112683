#!/usr/bin/env python3
"""What viewers notice of pods that leave and die, on a real cluster, with hosts and viewers who go where they are sent.

    moving.py [--viewers N] [--killed N] [--rounds N]

Boots a cluster of its own. Prints `name: value` lines:

    drain_1000_s          from the deletion of a pod with a room of a thousand viewers until its last session is gone
    drain_viewers         how many there were
    move_gap_ms_p99       the longest time without a new frame of each viewer meanwhile, by the receiver
    move_viewers_lost     viewers without a picture afterwards
    recover_ms_p95        the same for viewers of a pod whose program is killed (SIGKILL), the worst of all rounds
    recover_viewers       how many there were
    recover_viewers_lost  viewers without a picture afterwards
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "e2e/cluster"))
from episodes import Crowd  # noqa: E402
from local import until  # noqa: E402
from showrunner import MEDIA_NAMESPACE, SHOP, Host, Showrunner, showrunner  # noqa: E402

# Joining a thousand takes some seconds on a small machine.
PATIENCE_SECONDS = 300


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def show(live: Showrunner, name: str, viewers: int) -> Iterator[Crowd]:
    """A room with a host and viewers, all of whom watch."""
    with live.room(name, schedule={"expectedViewers": 1}):
        live.await_gateways(name)
        host = Host(live.base, f"{SHOP}/{name}", live.token(name), "--stay")
        with host:
            crowd = Crowd(live, [name], viewers)
            try:
                until("all watch", lambda: watching(live, name) >= viewers, PATIENCE_SECONDS)
                crowd.ask()
                yield crowd
            finally:
                crowd.process.send_signal(signal.SIGKILL)
                crowd.process.wait()


def watching(live: Showrunner, name: str) -> int:
    found = live.cluster.get("LiveRoom", name, SHOP) or {}
    return found.get("status", {}).get("viewers", 0)


def uid(live: Showrunner, pod: str | None) -> str | None:
    found = live.cluster.get("Pod", pod, MEDIA_NAMESPACE) if pod else None
    return found and found["metadata"]["uid"]


def drain(live: Showrunner, viewers: int) -> None:
    with show(live, "drain", viewers) as crowd:
        pod = live.origin("drain")
        before = uid(live, pod)
        say(f"{pod} goes, with {watching(live, 'drain')} viewers")
        began = time.monotonic()
        live.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "pod", pod, "--wait=false")
        # Its process ends with the last session, and the pod with it.
        until("the pod is gone", lambda: uid(live, pod) != before, PATIENCE_SECONDS)
        took = time.monotonic() - began
        time.sleep(2)  # What those see who went last.
        found = crowd.ask()
        print(f"drain_1000_s: {took:.1f}\ndrain_viewers: {viewers}")
        print(f"move_gap_ms_p99: {found['gap_ms_p99']:.0f}\nmove_viewers_lost: {found['lost']:.0f}", flush=True)
    live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)


def kill(live: Showrunner, viewers: int, rounds: int) -> None:
    gaps, lost = [], 0
    for number in range(rounds):
        with show(live, f"kill-{number}", viewers) as crowd:
            pod = live.origin(f"kill-{number}")
            say(f"{pod} is killed, with {watching(live, f'kill-{number}')} viewers")
            live.cluster.script("exec", "--", "kill", "-KILL", live.process(pod, "media-node"))
            until("the room is elsewhere", lambda: live.origin(f"kill-{number}") not in (None, pod))
            until("all watch", lambda: watching(live, f"kill-{number}") >= viewers)
            time.sleep(2)  # What those see who came last.
            found = crowd.ask()
            gaps.append(found["gap_ms_p95"])
            lost += int(found["lost"])
        live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)
    print(f"recover_ms_p95: {max(gaps):.0f}\nrecover_viewers: {viewers}\nrecover_viewers_lost: {lost}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=1000, help="of the pod that is deleted")
    parser.add_argument("--killed", type=int, default=200, help="viewers of the pod that is killed")
    parser.add_argument("--rounds", type=int, default=3, help="pods killed")
    given = parser.parse_args()
    live = showrunner()
    # A pod takes as many; and has a minute or so for them.
    spec = {"capacity": {"viewers": max(2000, given.viewers)}, "drain": {"deadlineSeconds": 120}}
    live.cluster.merge("MediaNode", "site", {"spec": spec}, MEDIA_NAMESPACE)
    live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)
    drain(live, given.viewers)
    kill(live, given.killed, given.rounds)


if __name__ == "__main__":
    main()
