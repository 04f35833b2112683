"""Keeps what `make bench-network` measured, and writes docs/benchmarks-network.md from all that was kept."""

import datetime
import json
import platform
import subprocess

from scenarios import SCENARIOS, Scenario
from testbed import ROOT

KEPT = ROOT / ".cache/bench/network.json"
PAGE = ROOT / "docs/benchmarks-network.md"


def record(
    scenario: Scenario, values: dict[str, list[float]], is_met: bool, runs: dict[str, int], seconds: int, load: float
) -> None:
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    entry = kept.setdefault(scenario.name, {"livekit": None})
    # A run of one of the two leaves what was measured of the other.
    if "livekit" in values:
        entry["livekit"] = {
            "values": values["livekit"],
            "runs": runs["livekit"],
            "seconds": seconds,
            "date": str(datetime.date.today()),
        }
    if "showrunner" in values:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
        entry |= {
            "what": scenario.what,
            "figures": [
                {"name": f"{figure.name} ({figure.unit})", "goal": figure.goal, "ours": ours}
                for figure, ours in zip(scenario.figures, values["showrunner"])
            ],
            "verdict": "ok" if is_met else "short",
            "runs": runs["showrunner"],
            "seconds": seconds,
            # What else the machine did before.
            "load": load,
            "commit": head.stdout.strip(),
            "date": str(datetime.date.today()),
        }
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1))
    write(kept)


def length(livekit: dict) -> str:
    """How long LiveKit was measured; of its oldest runs only their number is known."""
    seconds = livekit.get("seconds")
    return f"{livekit['runs']} × {seconds} s" if seconds else str(livekit["runs"])


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return "never" if value == float("inf") else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def write(kept: dict) -> None:
    rows = []
    # What is LiveKit's alone waits until there is something of ours to stand beside.
    names = [scenario.name for scenario in SCENARIOS if "figures" in kept.get(scenario.name, {})]
    kept = {name: kept[name] for name in names}
    for name, entry in kept.items():
        livekit = entry["livekit"]["values"] if entry["livekit"] else [None] * len(entry["figures"])
        for index, (figure, theirs) in enumerate(zip(entry["figures"], livekit)):
            first = (f"`{name}`: {entry['what']}", entry["verdict"]) if index == 0 else ("", "")
            rows.append(
                f"| {first[0]} | {figure['name']} | {figure['goal']} | {number(figure['ours'])} | {number(theirs)} | {first[1]} |"
            )
    runs = "; ".join(
        f"`{name}` {e['runs']} × {e['seconds']} s at {e['commit']} on {e['date']}, load {e['load']:.1f}"
        + (f" (LiveKit {length(e['livekit'])} on {e['livekit']['date']})" if e["livekit"] else "")
        for name, e in kept.items()
    )
    table = "\n".join(rows)
    PAGE.write_text(f"""# Benchmarks on bad networks

`make bench-network` made this page, on {machine()}; one scenario again: `make bench-network SCENARIOS=loss10`.

| scenario | figure | goal | ours | LiveKit 1.11 | verdict |
| --- | --- | --- | --- | --- | --- |
{table}

Medians of the runs: {runs}. The load is the machine's average before the first one: whatever it had to do besides.

## How it is measured

Host, server and viewer are in three network namespaces on one machine; between each two is a link of `e2e/impair` with a scenario of `e2e/bench/network/links` (the host's is `way.yaml` unless the scenario says more): 100 ms there and back where nothing else is said. The host is `showrunner-load`, for LiveKit its own Go SDK, and sends the same VP8 files: 480×270 at 0.25 Mbit/s, 1280×720 at 1.1 and 1920×1080 at 2.4, each with three temporal layers (half of the frames have six tenths of the bits) and a keyframe each two seconds and, when asked for one, at once (not twice within half a second). Each of five runs begins at another time between two keyframes. Only our host says of which temporal layer a frame is, as browsers do; LiveKit's SDK can't. The middle layer is 720p and fits twice into 3 Mbit/s, the top one fits once. Sound is Opus at 48 kbit/s.

The viewer is the same headless Chromium for both, with a window of 1920×1080: our page client, and `livekit-client` with its default options. The page has a connection to the server already when it begins to watch, as one that was loaded from there has, and both clients were told before that they will (`prepare`, `prepareConnection`).

- **freeze**: `totalFreezesDuration` of the browser's statistics, and a gap that is open at the end, as a share of the time since the first frame.
- **longest gap**: the longest time that one picture stood, as `requestVideoFrameCallback` saw it.
- **picture**: the height of the median shown frame. **top layer after**: until the first frame of 1080 lines is shown.
- **first frame**: from the call that begins to watch until the first frame is shown.
- **concealed**: `concealedSamples` without the silent ones, as a share of `totalSamplesReceived`.
- **bitrate**, **ours**, **shares**: RTP packets of picture and sound with headers and retransmissions, from `bytesReceived` and `headerBytesReceived`; shares and TCP from 20 s on.
- **settled**: from the step until, for good, the link's queue drops nothing and what waits is less than 100 ms.
- **of capacity**: the bitrate as a share of what the link carried, counting no more at any time than the top layer needs. *Best choice of layers* is the same for one that knows the future and always sends the largest layer that fits.
- **glass to glass**: frames show their number, and the host logs when it sent which; from sending (nothing is captured or encoded here) until the viewer shows it. *Age of the picture* is that of what is on the screen at any moment: a picture that stands gets older.
""")


def machine() -> str:
    cores = subprocess.run(["nproc"], capture_output=True, text=True, check=False).stdout.strip()
    chromium = subprocess.run(["chromium", "--version"], capture_output=True, text=True, check=False).stdout.split()
    version = next((word for word in chromium if word[0].isdigit()), "")
    return f"{cores} cores, Linux {platform.release()}, Chromium {version}"
