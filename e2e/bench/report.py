#!/usr/bin/env python3
"""Turns what forward.sh measured into `name: value` lines and docs/benchmarks.md.

    report.py rooms-for-load SHARE LOAD   how many rooms of 50 viewers load the machine that much, by that load
    report.py write SECONDS               print the figures and write the page
"""

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".cache/bench/forward"
PAGE = ROOT / "docs/benchmarks.md"


def load(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def histogram(file: str, metric: str) -> dict[float, float]:
    """Cumulative counts by upper bound, over all shards."""
    counts: dict[float, float] = {}
    for line in (RESULTS / file).read_text().splitlines():
        found = re.match(rf'{metric}_bucket{{.*?le="([^"]+)".*?}} (\S+)', line)
        if found:
            bound = float(found[1].replace("+Inf", "inf"))
            counts[bound] = counts.get(bound, 0) + float(found[2])
    return counts


def quantile_ms(name: str, metric: str, share: float) -> float:
    """A quantile of what was counted during a load, interpolated within its bucket."""
    before, after = histogram(f"{name}.before", metric), histogram(f"{name}.after", metric)
    counts = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    wanted = share * max(counts.values(), default=0)
    lower, below = 0.0, 0.0
    for bound, count in counts.items():
        if count >= wanted and count > below:
            if bound == float("inf"):
                return float("inf")
            return 1000 * (lower + (bound - lower) * (wanted - below) / (count - below))
        lower, below = bound, count
    raise SystemExit(f"{metric} counted nothing in {name}")


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = cpu[1] if cpu else platform.machine()
    return f"{os.cpu_count()} cores ({name}), {memory:.0f} GiB, Linux {platform.release()}"


def share_of_machine(name: str) -> float:
    """Of the machine's cores, what node and clients used together."""
    measured = load(name)
    return (measured["node_cpu_cores"] + measured["load_cpu_cores"]) / (os.cpu_count() or 1)


def rooms_for_load(share: float, name: str) -> int:
    """Node and clients share this machine, so the load that is asked for is that of both together."""
    viewers = load(name)["joined"] * share / share_of_machine(name)
    return max(1, round(viewers / 50))


def residence(name: str) -> str:
    return f"{quantile_ms(name, 'showrunner_residence_seconds', 0.99):.2f}"


def figures() -> dict[str, str]:
    main, joins = load("300"), load("joins")
    lines = {
        "forward_us_per_packet": f"{main['forward_us_per_packet']:.2f}",
        "forward_us_per_packet_50": f"{load('50')['forward_us_per_packet']:.2f}",
        "forward_us_per_packet_1000": f"{load('1000')['forward_us_per_packet']:.2f}",
        "forward_us_per_packet_20x15": f"{load('20x15')['forward_us_per_packet']:.2f}",
        "rss_kib_per_viewer": f"{main['rss_kib_per_viewer']:.0f}",
        "join_ms_p99": f"{joins['join_ms_p99']:.0f}",
        "joins_failed": f"{joins['failed']}",
        "first_frame_ms_p95": f"{main['first_frame_ms_p95']:.0f}",
        "residence_load_percent": f"{100 * share_of_machine('residence'):.0f}",
        "residence_ms_p99": residence("residence"),
        "residence_ms_p99_1000": residence("crowd"),
    }
    livekit = RESULTS / "livekit.txt"
    if livekit.exists():
        theirs = dict(line.split(": ") for line in livekit.read_text().splitlines())
        lines |= theirs
        ratio = float(theirs["livekit_us_per_packet"]) / main["forward_us_per_packet"]
        lines["livekit_ratio"] = f"{ratio:.1f}"
    return lines


# The loads, as the page's reader may want to know of them.
LOADS = {
    "300": "1 room × 300 viewers",
    "50": "1 room × 50 viewers",
    "1000": "1 room × 1,000 viewers",
    "20x15": "20 rooms × 15 viewers",
    "joins": "1 room, 600 viewers who join at 200 a second",
    "crowd": "1 room × 1,000 viewers, at real-time priorities",
    "residence": "rooms of 50 viewers, as many as load the machine to 70 %, at real-time priorities",
}


def surroundings() -> str:
    """How the bench shared the machine: forward.sh, which starts this, hands its priority down."""
    if os.sched_getscheduler(0) == os.SCHED_FIFO:
        return " For residence alone, node and clients run at real-time priorities, the node at the higher one, so that nothing else on the machine shows in it."
    return " The system allowed no real-time priorities, so whatever else ran on the machine shows in the residence."


def overload(lines: dict[str, str]) -> str:
    """A warning where LiveKit was not served as it needs, so that nobody takes it for its best."""
    loss = float(lines.get("livekit_loss_percent", 0))
    if loss < 1:
        return ""
    return f" It lost {loss:.0f} % of them to other work of this machine: its figures are to be taken again on one that has none."


def page(lines: dict[str, str], seconds: str) -> str:
    rows = []
    for name, what in LOADS.items():
        r = load(name)
        rows.append(
            f"| {what} | {r['joined']} of {r['viewers']} | {r['packets_per_second']:,.0f} | "
            f"{r['bits_per_second'] / 1e6:,.0f} | {r['loss_percent']:.4f} | {r['node_cpu_cores']:.2f} | "
            f"{r['load_cpu_cores']:.2f} | {r['forward_us_per_packet']:.2f} |"
        )
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return f"""# Benchmarks

`make bench-forward` made this page on {datetime.now(UTC):%Y-%m-%d} at {commit}, on {machine()}.

Node and clients run on the same cores, in two network namespaces that a veth pair joins. Each host publishes one layer of H.264 (720p, 2 Mbit/s) and Opus; each load is measured for {seconds} s by a node that was just started. CPU time is the whole process's, kernel and user, divided by the RTP packets that viewers received.{surroundings()}

```
{chr(10).join(f'{name}: {value}' for name, value in lines.items())}
```

| load | joined | packets/s | Mbit/s | lost for good, % | node, cores | clients, cores | µs a packet |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

- `rss_kib_per_viewer`: what 300 viewers add to the node's memory, divided by them.
- `join_ms_p99`: from the POST to the end of the DTLS handshake, at 200 joins a second; both ends' handshakes run on these cores.
- `first_frame_ms_p95`: from the POST to the first decodable frame, at 50 joins a second.
- `residence_ms_p99`: from a packet's arrival at the node to its departure to a viewer, by the node's histogram, with as many rooms of 50 viewers as should load the machine to 70 %, node and clients together; `residence_load_percent` is what they used in the end. In a room of 1,000 (`residence_ms_p99_1000`) a frame is 7,600 packets, and the last viewer's leaves when those of all others have been sealed and sent.
- `livekit_*`: LiveKit 1.11.0 in the same namespaces, with the same files, and viewers on its own Go SDK. {lines.get('livekit_viewers', 'Its')} viewers, since its clients take more of the machine than ours: with more of them the machine, not the server, is the limit. Its CPU time is divided by the packets that its viewers received.{overload(lines)}
"""


def main() -> None:
    match sys.argv[1:]:
        case ["rooms-for-load", share, name]:
            print(rooms_for_load(float(share), name))
        case ["write", seconds]:
            lines = figures()
            PAGE.write_text(page(lines, seconds))
            for name, value in lines.items():
                print(f"{name}: {value}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
