#!/usr/bin/env python3
"""Seeded episodes of pods that leave and die, one after the other, under hosts and viewers who stay, on a real cluster.

    episodes.py [--count N] [--seed S] [--rooms N] [--viewers N]

Every episode is one of the kinds below, chosen by the seed, and ends when the site is complete and all rooms are on air
with all of their viewers. Prints a line for each, and `name: value` lines in the end: viewers without a picture after an
episode (`viewers_lost`), rooms that were not on air again (`rooms_lost`), episodes in which a picture stood still for more than
three seconds although nothing had died (`episodes_cut`), and by kind the longest that anybody's stood still.
Ends with status 1 unless the first three are 0.
"""

import argparse
import collections
import random
import signal
import sys
import time

from local import LIMIT_SECONDS, until
from showrunner import MEDIA_NAMESPACE, SHOP, SYSTEM, Host, Showrunner, showrunner

# Nobody's picture stands still for longer than this while pods only leave, in milliseconds.
CUT_MS = 3_000
# Pods that take sessions, most of the time.
REPLICAS = 3
# What happens without a goodbye, where a picture may stand still until somebody notices.
SUDDEN = {"kill", "freeze"}


class Crowd:
    """Viewers of all rooms, who say what they have seen whenever they are asked."""

    def __init__(self, live: Showrunner, rooms: list[str], viewers: int) -> None:
        first, *others = rooms
        flags = [flag for room in others for flag in ("--room", f"{SHOP}/{room}")]
        self.process = live.audience(first, 10_000_000, viewers, "--stay", *flags)

    def ask(self) -> dict[str, float]:
        self.process.send_signal(signal.SIGUSR1)
        found = {}
        # Until the empty line; whatever else is said before is for people.
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(": ")
            if value.replace(".", "").isdigit():
                found[name] = float(value)
        if "lost" not in found:
            raise AssertionError("the viewers have gone")
        return found


class Stage:
    def __init__(self, live: Showrunner, rooms: int, viewers: int) -> None:
        self.live, self.cluster, self.viewers = live, live.cluster, viewers
        self.rooms = [f"episode-{number}" for number in range(rooms)]
        self.round = 0

    def __enter__(self) -> "Stage":
        self.scale(REPLICAS)
        for room in self.rooms:
            # So that they are not all on one pod.
            self.live.make_room(room, schedule={"expectedViewers": 400})
        self.hosts = []
        for room in self.rooms:
            self.live.await_condition("LiveRoom", room, "Ready")
            self.live.await_gateways(room)
            host = Host(self.live.base, f"{SHOP}/{room}", self.live.token(room), "--stay")
            self.hosts.append(host.__enter__())
        self.crowd = Crowd(self.live, self.rooms, self.viewers)
        self.settle()
        self.crowd.ask()
        return self

    def __exit__(self, *_) -> None:
        self.crowd.process.kill()
        for host in self.hosts:
            host.process.kill()
        self.cluster.kubectl("--namespace", SHOP, "delete", "lr", *self.rooms, "--ignore-not-found", "--timeout=120s")
        self.scale(2)

    def scale(self, replicas: int) -> None:
        self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "scale", "mn/site", f"--replicas={replicas}")

    def is_on_air(self, room: str) -> bool:
        found = self.cluster.get("LiveRoom", room, SHOP) or {}
        status = found.get("status", {})
        return status.get("phase") == "Live" and status.get("viewers") == self.viewers

    def settle(self) -> None:
        """Waits until all is as it should be."""
        self.live.await_condition("MediaNode", "site", "Ready", MEDIA_NAMESPACE)
        self.live.await_condition("MediaNode", "site", "Progressing", MEDIA_NAMESPACE, status="False")
        for room in self.rooms:
            until(f"{room} is on air with all of its viewers", lambda: self.is_on_air(room))

    def a_pod(self, dice: random.Random) -> str:
        """One that has a room."""
        origins = sorted({origin for room in self.rooms if (origin := self.live.origin(room))})
        return dice.choice(origins)

    def delete(self, pod: str) -> None:
        self.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "pod", pod, "--wait=false")

    def signal(self, pod: str, name: str) -> None:
        self.cluster.script("exec", "--", "kill", f"-{name}", self.live.process(pod, "media-node"))

    def kill_operator(self) -> None:
        leader = until("one leads", self.live.leader)
        self.cluster.script("exec", "--", "kill", "-KILL", self.live.process(leader, "operator", SYSTEM))

    # The kinds of episodes.

    def scale_in(self, dice: random.Random) -> None:
        self.scale(REPLICAS - 1 - dice.randrange(2))
        self.settle()
        self.scale(REPLICAS)

    def rollout(self, dice: random.Random) -> None:
        self.round += 1
        change = {"spec": {"template": {"annotations": {"round": f"{self.round}-{dice.random()}"}}}}
        self.cluster.merge("MediaNode", "site", change, MEDIA_NAMESPACE)

    def evict(self, dice: random.Random) -> None:
        """SIGTERM, as a machine's shutdown or a forced eviction sends it."""
        self.delete(self.a_pod(dice))

    def evict_two(self, dice: random.Random) -> None:
        for pod in {self.a_pod(dice), self.a_pod(dice)}:
            self.delete(pod)

    def operator_kill(self, dice: random.Random) -> None:
        self.delete(self.a_pod(dice))
        time.sleep(dice.random())  # At any moment of the handover.
        self.kill_operator()

    def api_outage(self, dice: random.Random) -> None:
        pod = self.a_pod(dice)
        parts = ("kube-controller-manager", "kube-apiserver")
        is_early = dice.random() < 0.5
        if is_early:
            self.signal(pod, "TERM")
        else:
            self.delete(pod)
            time.sleep(dice.random())  # At any moment of the handover.
        for part in parts:
            self.cluster.script("stop", part)
        self.cluster.script("up")

    def kill(self, dice: random.Random) -> None:
        self.signal(self.a_pod(dice), "KILL")

    def freeze(self, dice: random.Random) -> None:
        pod = self.a_pod(dice)
        process = self.live.process(pod, "media-node")
        self.cluster.script("exec", "--", "kill", "-STOP", process)
        try:
            until("no room is there", lambda: pod not in {self.live.origin(room) for room in self.rooms})
        finally:
            self.cluster.script("exec", "--", "kill", "-CONT", process)

    KINDS = (scale_in, rollout, evict, evict_two, operator_kill, api_outage, kill, freeze)


def play(count: int, seed: int, rooms: int, viewers: int) -> bool:
    gaps: dict[str, list[float]] = collections.defaultdict(list)
    lost = cut = rooms_lost = 0
    with Stage(showrunner(), rooms, viewers) as stage:
        for number in range(count):
            dice = random.Random(f"{seed}/{number}")
            kind = dice.choice(Stage.KINDS)
            name = kind.__name__
            began = time.monotonic()
            kind(stage, dice)
            try:
                stage.settle()
            except AssertionError as error:
                rooms_lost += 1
                print(error, flush=True)
            found = stage.crowd.ask()
            gap = found["gap_ms_max"]
            gaps[name].append(gap)
            lost += int(found["lost"])
            cut += int(name not in SUDDEN and gap > CUT_MS)
            seconds = time.monotonic() - began
            print(f"episode {seed}/{number} {name}: {seconds:.0f} s, {found['moves']:.0f} moves so far, "
                  f"{found['lost']:.0f} lost, longest gap {gap:.0f} ms", flush=True)  # fmt: skip
    print(f"episodes: {sum(map(len, gaps.values()))}")
    print(f"viewers_lost: {lost}\nrooms_lost: {rooms_lost}\nepisodes_cut: {cut}")
    for name, all_of_kind in sorted(gaps.items()):
        print(f"{name}_gap_ms_max: {max(all_of_kind):.0f}")
    return lost == rooms_lost == cut == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rooms", type=int, default=3)
    parser.add_argument("--viewers", type=int, default=4, help="of each room")
    given = parser.parse_args()
    return 0 if play(given.count, given.seed, given.rooms, given.viewers) else 1


if __name__ == "__main__":
    sys.exit(main())
