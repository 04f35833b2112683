#!/usr/bin/env python3
"""Turns what forward.sh measured into `name: value` lines and docs/benchmarks.md.

    report.py viewers-for-load SHARE   how many viewers of one room load the node's cores that much
    report.py write SECONDS            print the figures and write the page
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
RESULTS = ROOT / ".cache/bench"
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
