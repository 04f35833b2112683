#!/usr/bin/env python3
"""Seeded episodes of pods that leave and die under hosts and viewers who stay, on a real cluster.

    episodes.py [--count N] [--minutes N] [--seed S] [--lanes N] [--rooms N] [--viewers N] [--record]

Several lanes are played at once: each is a site of its own with rooms, hosts and viewers. They play by themselves for a
while, episodes of kinds that the seed chooses; then all together go through one in which a machine is drained (every
fourth time), one in which their operator is killed and one in which their API server goes away while a pod of each
leaves. An episode is one lane's, and ends when the site is complete, all rooms are on air with all of their viewers, and
everybody's picture has run for a second.

Prints a line for each, and `name: value` lines in the end: viewers without a picture after an episode (`viewers_lost`),
episodes after which something was not as it should be for two minutes (`rooms_lost`), episodes in which a picture stood
still for more than three seconds although nothing had died (`episodes_cut`), and by kind how many there were and the
longest that anybody's picture stood still. Ends with status 1 unless the first three are 0.
"""

import argparse
import collections
import itertools
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from lane import Lane
from local import ROOT, until
from showrunner import MEDIA_NAMESPACE, SYSTEM, Showrunner, showrunner
from view import View

sys.path.append(str(ROOT / "e2e/bench"))
from figures import OF_MOVING  # noqa: E402

# Nobody's picture stands still for longer than this while pods only leave, in milliseconds.
CUT_MS = 3_000
# What happens without a goodbye, where a picture may stand still until somebody notices.
SUDDEN = {"kill", "freeze"}
# Episodes that a lane plays by itself between those of all lanes.
ALONE = 6
# Acts of which one has a machine drained: that takes a minute.
DRAIN_EVERY = 4


@dataclass
class Tally:
    """What came of all episodes."""

    seed: int
    began: float = field(default_factory=time.monotonic)
    gaps: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    viewers_lost: int = 0
    rooms_lost: int = 0
    cut: int = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.gaps.values()))

    def add(
        self, name: str, kind: str, seconds: float, found: dict[str, float], stills: list[str], problem: str | None
    ) -> None:
        gap, lost = found["gap_ms_max"], int(found["lost"])
        self.gaps[kind].append(gap)
        self.viewers_lost += lost
        self.rooms_lost += problem is not None
        self.cut += kind not in SUDDEN and gap > CUT_MS
        print(
            f"episode {self.seed}/{name} {kind}: {seconds:.0f} s, {found['moves']:.0f} moves so far, {lost} lost, "
            f"longest gap {gap:.0f} ms" + (f"; {problem}" if problem else ""), flush=True,
        )  # fmt: skip
        for still in stills:
            print(f"  {still}", flush=True)

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.began) / 60

    @property
    def is_good(self) -> bool:
        return self.viewers_lost == self.rooms_lost == self.cut == 0

    def record(self) -> None:
        """Adds it to what was kept of other runs."""
        kept = OF_MOVING.kept()
        found = {
            "episodes": self.count,
            "episodes_minutes": round(self.minutes),
            "episodes_rooms_lost": self.rooms_lost,
            "episodes_viewers_lost": self.viewers_lost,
            "episodes_cut": self.cut,
        }
        OF_MOVING.record({name: value + kept.get(name, {"value": 0})["value"] for name, value in found.items()})

    def tell(self) -> None:
        print(f"episodes: {self.count}\nminutes: {self.minutes:.1f}")
        print(f"viewers_lost: {self.viewers_lost}\nrooms_lost: {self.rooms_lost}\nepisodes_cut: {self.cut}")
        for kind, gaps in sorted(self.gaps.items()):
            print(f"{kind}_episodes: {len(gaps)}\n{kind}_gap_ms_max: {max(gaps):.0f}", flush=True)


class Play:
    def __init__(self, live: Showrunner, lanes: list[Lane], seed: int) -> None:
        self.live, self.cluster, self.view, self.lanes = live, live.cluster, lanes[0].view, lanes
        self.tally = Tally(seed)
        self.pool = ThreadPoolExecutor(len(lanes))
        # Somebody has ended it: what has begun is the last.
        self.is_over = False

    def in_all(self, what: Callable[[Lane], object]) -> list:
        return list(self.pool.map(what, self.lanes))

    def dice(self, *of: object) -> random.Random:
        return random.Random("/".join(map(str, (self.tally.seed, *of))))

    def act(self, number: int) -> None:
        self.in_all(lambda lane: self.play_alone(lane, number))
        if number % DRAIN_EVERY == 0:
            self.drain(number)
        for happens in (self.operator_kill, self.api_outage):
            self.play_together(number, happens)

    def play_alone(self, lane: Lane, act: int) -> None:
        for number in range(ALONE):
            if self.is_over:
                return
            name = f"{act}/{lane.site}/{number}"
            dice = self.dice(name)
            kind = dice.choice(Lane.ALONE)
            self.episode(lane, name, kind.__name__, lambda: kind(lane, dice))

    def drain(self, act: int) -> None:
        """By `kubectl drain`, the machine with the most media pods, which all go to the other."""
        began = time.monotonic()
        machines = {lane: [pod["spec"].get("nodeName") for pod in self.view.pods(lane.site)] for lane in self.lanes}
        machine, _ = collections.Counter(itertools.chain(*machines.values())).most_common(1)[0]
        selector = "--pod-selector=showrunner.dev/media-node"
        self.cluster.kubectl("drain", machine, selector, "--delete-emptydir-data", "--timeout=300s")
        self.cluster.kubectl("uncordon", machine)
        concerned = [lane for lane in self.lanes if machine in machines[lane]]
        see = lambda lane: self.episode(lane, f"{act}/{lane.site}", "drain", lambda: None, began)  # noqa: E731
        list(self.pool.map(see, concerned))

    def play_together(self, act: int, happens: Callable[[], None]) -> None:
        kind = happens.__name__
        dice = self.dice(act, kind)
        began = time.monotonic()
        is_noticed = kind != "api_outage" or dice.random() < 0.5
        leave = Lane.leave if is_noticed else Lane.leave_alone
        leaving = self.in_all(lambda lane: (lane, leave(lane, self.dice(act, lane.site, kind))))
        if is_noticed:
            time.sleep(dice.random())  # At any moment of the handover.
        happens()

        def see(lane: Lane, is_gone: Callable[[], bool]) -> None:
            rest = lambda: self.view.until("the pod is gone", is_gone)  # noqa: E731
            self.episode(lane, f"{act}/{lane.site}", kind, rest, began)

        list(self.pool.map(lambda each: see(*each), leaving))

    def episode(self, lane: Lane, name: str, kind: str, what: Callable[[], object], began: float | None = None) -> None:
        began = began or time.monotonic()
        problem = None
        try:
            what()
            lane.settle()
        except AssertionError as error:
            problem = str(error)
        found, stills = lane.crowd.ask(), lane.crowd.stills.copy()
        lane.crowd.begin_anew()
        self.tally.add(name, kind, time.monotonic() - began, found, stills, problem)

    def operator_kill(self) -> None:
        leader = until("one leads", self.live.leader)
        self.cluster.script("exec", "--", "kill", "-KILL", self.live.process(leader, "operator", SYSTEM))
        # Its pod goes as well. Kubernetes has one that was killed some times rest for minutes; if both replicas do, there
        # is nobody to move rooms, and this is not about that.
        self.cluster.api("DELETE", f"/api/v1/namespaces/{SYSTEM}/pods/{leader}?gracePeriodSeconds=0")

    def api_outage(self) -> None:
        self.cluster.script("stop", "kube-controller-manager", "kube-apiserver")
        stopped = time.monotonic()
        self.cluster.script("up")
        self.view.refresh(stopped)


@contextmanager
def stage(live: Showrunner, count: int, rooms: int, viewers: int) -> Iterator[list[Lane]]:
    live.cluster.script("second", "up")
    live.cluster.script("second", "import", str(ROOT / ".cache/image.tar"))
    # The site that comes with the cluster has nothing to do here.
    live.cluster.kubectl("--namespace", MEDIA_NAMESPACE, "delete", "mn/site")
    view = View(live.cluster)
    lanes = [Lane(live, view, number, rooms, viewers) for number in range(count)]
    try:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(Lane.begin, lanes))
        yield lanes
    finally:
        for lane in lanes:
            lane.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="at least so many")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing new after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="add what came of it to docs/benchmarks-moving.md")
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--rooms", type=int, default=2, help="of each lane")
    parser.add_argument("--viewers", type=int, default=4, help="of each room")
    given = parser.parse_args()
    # So that nothing is left behind when this is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with stage(showrunner(), given.lanes, given.rooms, given.viewers) as lanes:
        play = Play(lanes[0].live, lanes, given.seed)
        tally = play.tally
        try:
            for act in itertools.count():
                if tally.count >= given.count or tally.minutes >= given.minutes:
                    break
                play.act(act)
        finally:
            play.is_over = True
            tally.tell()
            if given.record:
                tally.record()
        return 0 if tally.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
