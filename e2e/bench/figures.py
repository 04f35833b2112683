"""Prints the operator's figures, keeps them, and writes docs/benchmarks-operator.md from all that were kept."""

import datetime
import json
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".cache/bench/operator.json"
PAGE = ROOT / "docs/benchmarks-operator.md"

# Name, target, what it is.
FIGURES = [
    ("rooms_placed_per_s", "≥ 200", "of rooms that wait when the operator starts, from the first that gets its pod to the last: the start itself does not count"),
    ("operator_rss_mib", "≤ 200", "the operator's memory with all rooms and pods"),
    ("idle_api_writes_per_s", "≤ 5", "its writes when nothing happens, renewals of its Lease among them"),
    ("restart_to_reconciled_s", "≤ 20", "from a start with everything in place until 100 rooms that changed meanwhile are as they should be"),
    ("apply_to_answer_ms_p95", "≤ 1000", "from the start of `kubectl apply` of a room to the answer to a host's offer, through the gateway"),
    ("takeover_s_kill", "≤ 10", "from the kill of the leading operator until a room that was applied right then has its pod"),
    ("takeover_s_clean", "≤ 1", "the same for one that is told to end"),
    ("outage_seconds", "300", "how long there was no operator at all, with viewers who came and went"),
    ("outage_joins_failed", "0", "of those viewers"),
    ("outage_viewers_flawed", "0", "viewers who missed something meanwhile"),
]


def record(figures: dict[str, float]) -> None:
    for name, value in figures.items():
        print(f"{name}: {value:g}", flush=True)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    kept |= {name: {"value": value, "commit": commit} for name, value in figures.items()}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1))
    write_page(kept)


def write_page(kept: dict) -> None:
    rows = [
        f"| `{name}` | {kept[name]['value']:g} | {target} | {what} | {kept[name]['commit']} |"
        for name, target, what in FIGURES
        if name in kept
    ]
    table = "\n".join(rows)
    PAGE.write_text(f"""# Benchmarks of the operator

`make bench-operator` made this page on {datetime.date.today()}, on 2 cores, Linux {platform.release()}.

API server, etcd, scheduler and controller manager are real, and share the cores with the operator and all else here. The first four figures are of 10,000 rooms on 500 pods that `showrunner-fleet` simulates, with the rights that the chart gives and no others (`e2e/bench/operator.py`); the rest are of the chart on a real cluster with real media pods (`e2e/bench/rooms.py`).

| figure | here | goal | what it is | at |
| --- | --- | --- | --- | --- |
{table}
""")
