#!/usr/bin/env python3
"""What viewers on bad networks live through: a 1080p simulcast, a real Chromium, and a link as bad as a scenario says.

    network.py [--runs N] [--seconds N] [--without-livekit] [SCENARIO …]

Each scenario runs N times with our node and page client, and as often with LiveKit 1.11 and livekit-client in the same
Chromium. Prints a line for each with the medians, `ok` or `short` by the goals, and LiveKit's beside; writes
docs/benchmarks-network.md from all that was measured so far. What each run recorded is kept in .cache/bench/network.

BENCH_PROGRAMS=target/debug takes other builds than the release. Needs root.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Callable

from network_page import record
from testbed import ROOT, SERVER_IP, Server, Testbed, run, stop
from viewing import Link, Viewing

SCENARIOS_DIRECTORY = Path(__file__).parent / "network"
RUNS_DIRECTORY = ROOT / ".cache/bench/network"
VIEWER = ROOT / ".cache/bench/viewer.cjs"
# Every layer of the host has begun, and the server knows them all.
WARM_UP_SECONDS = 3
# The steps' time in their scenarios.
STEP = 20
RTT_MS = 100
# A layer's bits a second with all headers, and the sound's, as the link counts them.
LAYERS_BPS = [330e3, 1.23e6, 2.62e6]
TOP_BPS = LAYERS_BPS[-1]
# When the TCP flow begins, and from when on shares are counted: both have found theirs.
TCP_AFTER_SECONDS, SHARES_AFTER_SECONDS = 8, 20


@dataclass
class Lived:
    """A run."""

    viewings: list[Viewing]
    link: Link
    server: Server
    tcp: list[dict]
    directory: Path

    @property
    def viewing(self) -> Viewing:
        return self.viewings[0]


@dataclass
class Figure:
    name: str
    unit: str
    value: Callable[[Lived], float]
    at_most: float | None = None
    at_least: float | None = None

    def is_met(self, value: float) -> bool:
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else ""


@dataclass
class Scenario:
    name: str
    what: str
    viewer: str
    figures: list[Figure]
    host: str = "way"
    seconds: int = 60
    viewers: int = 1
    has_tcp: bool = False
    reads_numbers: bool = False
    # Whether --seconds may shorten it: steps have their times.
    is_steady: bool = True


def freeze(at_most: float | None = None) -> Figure:
    return Figure("freeze", "%", lambda run: run.viewing.freeze_percent(), at_most=at_most)


def height(at_least: float | None = None) -> Figure:
    return Figure("picture", "p", lambda run: run.viewing.median_height(), at_least=at_least)


def concealed(at_most: float | None = None) -> Figure:
    return Figure("concealed", "%", lambda run: run.viewing.concealed_percent(), at_most=at_most)


def bitrate() -> Figure:
    return Figure("bitrate", "Mbit/s", lambda run: run.viewing.bps() / 1e6)


def step_gap(run: Lived) -> float:
    step = run.link.unix(STEP)
    return run.viewing.longest_gap_ms(step - 0.1, run.viewing.ended)


def shares(run: Lived) -> float:
    since = run.link.unix(SHARES_AFTER_SECONDS)
    rates = sorted(viewing.bps(since) for viewing in run.viewings)
    return rates[-1] / max(1.0, rates[0])


def tcp_bps(run: Lived) -> float:
    since = run.link.unix(SHARES_AFTER_SECONDS)
    counted = [entry for entry in run.tcp if entry["unix"] >= since]
    if len(counted) < 2:
        return 0.0
    first, last = counted[0], counted[-1]
    return (last["bytes"] - first["bytes"]) * 8 / (last["unix"] - first["unix"])


def of_capacity(run: Lived) -> float:
    viewing = run.viewing
    since = viewing.frames[0]["at"] if viewing.frames else viewing.joined
    return 100 * viewing.bps(since) / run.link.mean_capacity(since, viewing.ended, TOP_BPS)


def of_best_layers(run: Lived) -> float:
    viewing = run.viewing
    since = viewing.frames[0]["at"] if viewing.frames else viewing.joined
    most = run.link.mean_capacity(since, viewing.ended, TOP_BPS)
    return 100 * run.link.mean_capacity_in_layers(since, viewing.ended, LAYERS_BPS) / most


def glass_to_glass(run: Lived) -> float:
    # From when the viewer has caught up.
    delays = run.viewing.glass_to_glass_ms(run.server.frames, run.viewing.joined + 5)
    return delays[int(len(delays) * 0.95)] if delays else float("inf")


SCENARIOS = [
    Scenario("loss10", "10 % random loss to the viewer", "loss10", [freeze(1), height(720), concealed(), bitrate()]),
    Scenario("loss30", "30 % random loss to the viewer", "loss30", [freeze(5), concealed(10), height(), bitrate()]),
    Scenario("loss50", "50 % random loss to the viewer", "loss50", [concealed(25), freeze(), height()]),
    Scenario(
        "bursts", "5 % loss in bursts of 5, both ways, on the host's and the viewer's side", "bursts",
        [freeze(1), concealed(), height(), bitrate()], host="bursts",
    ),
    Scenario(
        "step-down", "4 to 1 Mbit/s", "step-down",
        [
            Figure("longest gap", "ms", step_gap, at_most=200),
            Figure("settled", "s", lambda run: run.link.settled_after(STEP, run.viewing.ended, 100), at_most=1.5),
            Figure("picture after", "p", lambda run: run.viewing.median_height(run.link.unix(STEP + 5))),
        ],
        seconds=40, is_steady=False,
    ),
    Scenario(
        "step-up", "1 to 4 Mbit/s", "step-up",
        [
            Figure("top layer after", "s", lambda run: run.viewing.time_until_height(1080, run.link.unix(STEP)), at_most=6),
            freeze(),
        ],
        seconds=40, is_steady=False,
    ),
    Scenario(
        "join", "joining on 3 Mbit/s", "rate3",
        [
            Figure("top layer after", "s", lambda run: run.viewing.time_until_height(1080, run.viewing.joined), at_most=3),
            Figure("first frame", "ms", lambda run: run.viewing.first_frame_ms(), at_most=300 + RTT_MS),
            freeze(),
        ],
        seconds=20, is_steady=False,
    ),
    Scenario(
        "cellular", "a mobile network, five minutes", "cellular",
        [
            Figure("of capacity", "%", of_capacity, at_least=80),
            freeze(1),
            Figure("best choice of layers", "%", of_best_layers),
            concealed(),
        ],
        seconds=300,
    ),
    Scenario(
        "two-viewers", "two viewers on one link of 3 Mbit/s", "rate3",
        [
            Figure("shares", "times", shares, at_most=1.5),
            Figure("both", "Mbit/s", lambda run: sum(v.bps(run.link.unix(SHARES_AFTER_SECONDS)) for v in run.viewings) / 1e6),
            freeze(),
        ],
        viewers=2,
    ),
    Scenario(
        "tcp", "beside one TCP flow (CUBIC) on 5 Mbit/s", "rate5",
        [
            Figure("ours", "Mbit/s", lambda run: run.viewing.bps(run.link.unix(SHARES_AFTER_SECONDS)) / 1e6, at_least=1),
            Figure("TCP", "Mbit/s", lambda run: tcp_bps(run) / 1e6, at_least=1),
            freeze(),
        ],
        has_tcp=True,
    ),
    Scenario(
        "far", "250 ms there and back and 1 % loss, on the host's and the viewer's side", "far",
        [Figure("glass to glass p95", "ms", glass_to_glass, at_most=600), freeze(), height()],
        host="far", reads_numbers=True,
    ),
]


def live(scenario: Scenario, client: str, seconds: int, number: int) -> list[float]:
    """One run; its figures."""
    with Testbed() as bed:
        bed.link("host", SCENARIOS_DIRECTORY / f"{scenario.host}.yaml")
        server = bed.showrunner() if client == "showrunner" else bed.livekit(scenario.viewers)
        time.sleep(WARM_UP_SECONDS)
        told_by_link = bed.link("viewer", SCENARIOS_DIRECTORY / f"{scenario.viewer}.yaml")
        link_process = bed.processes[-1]
        ended = time.time() + seconds
        order = {
            "client": client, "script": str(server.script), "url": server.url, "room": "default/demo",
            "tokens": server.tokens, "viewers": scenario.viewers, "readsNumbers": scenario.reads_numbers,
            "until": ended * 1e3,
        }
        output = bed.directory / "viewer.json"
        with open(output, "w") as written:
            viewer = bed.start(
                "viewer", bed.command("viewer", "node", VIEWER, json.dumps(order)), stdout=written,
                env={**os.environ, "NODE_PATH": str(ROOT / "e2e/browser/node_modules")},
            )
        told_by_tcp = bed.directory / "tcp.jsonl"
        if scenario.has_tcp:
            time.sleep(TCP_AFTER_SECONDS)
            flow = ["python3", Path(__file__).parent / "tcp_flow.py"]
            bed.start("tcp-send", bed.command("server", *flow, "send", SERVER_IP), ready="ready")
            with open(told_by_tcp, "w") as written:
                bed.start("tcp-receive", bed.command("viewer", *flow, "receive", SERVER_IP), stdout=written)
        if viewer.wait(seconds + 60) != 0:
            raise RuntimeError(f"the viewer failed:\n{bed.log('viewer')}")
        stop(link_process)
        told = json.loads(output.read_text())
        tcp = [json.loads(line) for line in told_by_tcp.read_text().splitlines()] if scenario.has_tcp else []
        lived = Lived(
            [Viewing.read(each, ended) for each in told], Link.read(told_by_link), server, tcp, bed.directory
        )
        values = [figure.value(lived) for figure in scenario.figures]
        keep(f"{client}-{scenario.name}-{number}", lived)
        return values


def keep(name: str, lived: Lived) -> None:
    """What a run recorded, for whoever wants to know why."""
    RUNS_DIRECTORY.mkdir(parents=True, exist_ok=True)
    viewers = [
        {
            "joined": viewing.joined, "ended": viewing.ended, "first_frame_ms": viewing.first_frame_ms(),
            "frames_per_second": viewing.frames_per_second(), "switches": viewing.switches(),
            "errors": viewing.errors, "samples": viewing.samples, "frames": viewing.frames,
        }
        for viewing in lived.viewings
    ]
    kept = {"viewers": viewers, "link": lived.link.stretches, "tcp": lived.tcp}
    (RUNS_DIRECTORY / f"{name}.json").write_text(json.dumps(kept))
    for viewing in lived.viewings:
        print(
            f"  {name}: {viewing.frames_per_second():.1f} frames a second, {viewing.bps() / 1e6:.2f} Mbit/s, "
            f"picture {viewing.switches()[:12]}, errors {viewing.errors[:3]}",
            file=sys.stderr, flush=True,
        )


def measure(scenario: Scenario, client: str, seconds: int, runs: int) -> list[float]:
    """The medians of all runs."""
    values = [live(scenario, client, seconds, number) for number in range(runs)]
    return [median(column) for column in zip(*values)]


def said(scenario: Scenario, values: list[float]) -> str:
    parts = []
    for figure, value in zip(scenario.figures, values):
        number = "never" if value == float("inf") else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        goal = f" ({figure.goal})" if figure.goal else ""
        parts.append(f"{figure.name} {number} {figure.unit}{goal}")
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Viewers on bad networks, LiveKit's beside ours.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which; without, all: " + " ".join(s.name for s in SCENARIOS))
    parser.add_argument("--runs", type=int, default=5, help="how often each (5)")
    parser.add_argument("--seconds", type=int, help="how long a scenario that has no steps runs (60, cellular 300)")
    parser.add_argument("--without-livekit", action="store_true", help="ours only")
    given = parser.parse_args()
    unknown = set(given.scenarios) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        sys.exit(f"no scenario is called {', '.join(sorted(unknown))}; there are " + ", ".join(s.name for s in SCENARIOS))
    if os.geteuid() != 0:
        sys.exit("network.py makes network namespaces, which only root may. Run it as root.")
    VIEWER.parent.mkdir(parents=True, exist_ok=True)
    run(
        ROOT / "media-node/web/node_modules/.bin/esbuild", ROOT / "e2e/browser/bench/viewer.ts", "--bundle",
        "--platform=node", "--format=cjs", "--external:@playwright/test", "--log-level=error", f"--outfile={VIEWER}",
    )
    for scenario in SCENARIOS:
        if given.scenarios and scenario.name not in given.scenarios:
            continue
        seconds = given.seconds if given.seconds and scenario.is_steady else scenario.seconds
        clients = ["showrunner"] if given.without_livekit else ["showrunner", "livekit"]
        values = {client: measure(scenario, client, seconds, given.runs) for client in clients}
        ours = values["showrunner"]
        is_met = all(figure.is_met(value) for figure, value in zip(scenario.figures, ours))
        line = f"{scenario.name}: {said(scenario, ours)} … {'ok' if is_met else 'short'}"
        if "livekit" in values:
            line += f" | LiveKit: {said(scenario, values['livekit'])}"
        print(line, flush=True)
        record(scenario, values, is_met, given.runs, seconds)


if __name__ == "__main__":
    main()
