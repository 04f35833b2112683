#!/usr/bin/env python3
"""What viewers on bad networks live through: a 1080p simulcast, a real Chromium, and a link as bad as a scenario says.

    bench.py [--runs N] [--seconds N] [--livekit-runs N] [SCENARIO …]

Each scenario runs N times with our node and page client, and as often with LiveKit 1.11 and livekit-client in the same
Chromium. Prints a line for each with the medians, `ok` or `short` by the goals, and LiveKit's beside; writes
docs/benchmarks-network.md from all that was measured so far. What each run recorded is kept in .cache/bench/network.

BENCH_PROGRAMS=target/debug takes other builds than the release. Needs root.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from page import record
from scenarios import SCENARIOS, Lived, Scenario
from testbed import ROOT, SERVER_IP, Testbed, run, stop
from viewing import Link, Viewing

LINKS = Path(__file__).parent / "links"
RUNS_DIRECTORY = ROOT / ".cache/bench/network"
VIEWER = ROOT / ".cache/bench/viewer.cjs"
# Every layer of the host has begun, and the server knows them all.
WARM_UP_SECONDS = 3
# The host has a keyframe when a viewer goes up to a layer, and each two seconds from then on. In each of five runs the
# viewer comes at another time between two of them, so that no figure is of what happens right before one, or right after.
LATER_SECONDS = 0.4
# When the TCP flow begins.
TCP_AFTER_SECONDS = 8


def live(scenario: Scenario, client: str, seconds: int, number: int) -> list[float]:
    """One run; its figures."""
    with Testbed() as bed:
        bed.link("host", LINKS / f"{scenario.host}.yaml")
        server = bed.showrunner() if client == "showrunner" else bed.livekit(scenario.viewers)
        time.sleep(WARM_UP_SECONDS)
        told_by_link = bed.link("viewer", LINKS / f"{scenario.viewer}.yaml")
        link_process = bed.processes[-1]
        time.sleep(number % 5 * LATER_SECONDS)
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
            "marks": viewing.marks, "errors": viewing.errors, "samples": viewing.samples, "frames": viewing.frames,
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
    parser.add_argument("--runs", type=int, default=5, help="how often each (5); 0: LiveKit only, beside the latest of ours")
    parser.add_argument("--seconds", type=int, help="how long a scenario that has no steps runs (60, cellular 300)")
    parser.add_argument("--livekit-runs", type=int, metavar="N", help="how often each with LiveKit (as with ours); 0: ours only")
    given = parser.parse_args()
    if given.runs < 0 or not (given.runs or given.livekit_runs):
        parser.error("--runs: at least 1, or 0 with --livekit-runs of at least 1")
    unknown = set(given.scenarios) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        sys.exit(f"no scenario is called {', '.join(sorted(unknown))}; there are " + ", ".join(s.name for s in SCENARIOS))
    if os.geteuid() != 0:
        sys.exit("bench.py makes network namespaces, which only root may. Run it as root.")
    VIEWER.parent.mkdir(parents=True, exist_ok=True)
    run(
        ROOT / "media-node/web/node_modules/.bin/esbuild", ROOT / "e2e/browser/bench/viewer.ts", "--bundle",
        "--platform=node", "--format=cjs", "--external:@playwright/test", "--log-level=error", f"--outfile={VIEWER}",
    )
    # So that nothing is left behind when this is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    runs = {"showrunner": given.runs, "livekit": given.runs if given.livekit_runs is None else given.livekit_runs}
    runs = {client: number for client, number in runs.items() if number > 0}
    has_failed = False
    for scenario in SCENARIOS:
        if given.scenarios and scenario.name not in given.scenarios:
            continue
        seconds = given.seconds if given.seconds and scenario.is_steady else scenario.seconds
        load = os.getloadavg()[0]
        try:
            values = {client: measure(scenario, client, seconds, number) for client, number in runs.items()}
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            # The others are worth their hours all the same.
            has_failed = True
            print(f"{scenario.name}: failed: {error}", flush=True)
            continue
        tell(scenario, values, runs, seconds, load)
    sys.exit(has_failed)


def tell(
    scenario: Scenario, values: dict[str, list[float]], runs: dict[str, int], seconds: int, load: float
) -> None:
    parts, is_met = [], False
    if ours := values.get("showrunner"):
        is_met = all(figure.is_met(value) for figure, value in zip(scenario.figures, ours))
        parts.append(f"{said(scenario, ours)} … {'ok' if is_met else 'short'}")
    if theirs := values.get("livekit"):
        parts.append(f"LiveKit: {said(scenario, theirs)}")
    print(f"{scenario.name}: {' | '.join(parts)}", flush=True)
    record(scenario, values, is_met, runs, seconds, load)


if __name__ == "__main__":
    main()
