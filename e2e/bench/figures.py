"""Prints what benches found, keeps it, and writes pages of docs/ from all that was kept."""

import datetime
import json
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip()


def today() -> str:
    return f"{datetime.date.today()}, on 2 cores, Linux {platform.release()}"


@dataclass
class Figures:
    """A table of figures, and the page that it is on."""

    name: str
    # What stands before the table, where {today} is the day and the machine.
    head: str
    # Name, goal, what it is.
    rows: list[tuple[str, str, str]]

    def record(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            print(f"{name}: {value:g}", flush=True)
        at = commit()
        kept = self.kept() | {name: {"value": value, "commit": at} for name, value in figures.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(kept, indent=1))
        (ROOT / f"docs/benchmarks-{self.name}.md").write_text(self.page(kept))

    @property
    def path(self) -> Path:
        return ROOT / f".cache/bench/{self.name}.json"

    def kept(self) -> dict:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def page(self, kept: dict) -> str:
        rows = [
            f"| `{name}` | {kept[name]['value']:g} | {goal} | {what} | {kept[name]['commit']} |"
            for name, goal, what in self.rows
            if name in kept
        ]
        head = self.head.replace("{today}", today())
        table = ["| figure | here | goal | what it is | at |", "| --- | --- | --- | --- | --- |", *rows]
        return head + "\n" + "\n".join(table) + "\n"


OF_OPERATOR = Figures(
    "operator",
    """# Benchmarks of the operator

`make bench-operator` made this page on {today}.

API server, etcd, scheduler and controller manager are real, and share the cores with the operator and all else here. The first four figures are of 10,000 rooms on 500 pods that `showrunner-fleet` simulates, with the rights that the chart gives and no others (`e2e/bench/operator.py`); the rest are of the chart on a real cluster with real media pods (`e2e/bench/rooms.py`).
""",
    [
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
    ],
)

OF_MOVING = Figures(
    "moving",
    """# Benchmarks of pods that come, leave and die

`make bench-scale` (`e2e/bench/scale.py`, `e2e/bench/moving.py`) and `make episodes` made this page on {today}.

The chart runs on a real cluster, whose control plane, media pods, hosts and viewers all share the cores. Hosts and viewers are `showrunner-load`, which goes where it is sent and comes back when its pod dies, as the room page does; one viewer in ten opens and checks all that it gets, the others the headers. A gap is the time between two whole frames at the receiver, over all of a viewer's sessions.
""",
    [
        ("scale_viewers", "", "viewers who came within a minute to six rooms of a site that began with one pod and takes 340 viewers a pod, 60 % of them the target; nothing was announced in time or foreseen"),
        ("scale_refused_joins", "0", "of them, those who found no place"),
        ("scale_viewers_flawed", "0", "of them, those who missed something"),
        ("scale_pods", "≥ 4", "pods in the end"),
        ("scale_need_to_ask_s", "≤ 2", "from the moment at which pods say more sessions than as many pods should have, until the API server tells of another pod: the longest"),
        ("scale_need_to_ready_s", "", "the same until that pod is ready"),
        ("scale_hpa_viewers", "", "the same with `mode: HorizontalPodAutoscaler`, which looks every 15 s; so 30 % are the target"),
        ("scale_hpa_refused_joins", "0", ""),
        ("scale_hpa_viewers_flawed", "0", ""),
        ("scale_hpa_pods", "≥ 4", ""),
        ("scale_hpa_need_to_ask_s", "", ""),
        ("scale_hpa_need_to_ready_s", "", ""),
        ("drain_1000_s", "≤ 30", "from the deletion of a pod with a room of a thousand viewers until the pod is gone, and with it its last session"),
        ("drain_viewers", "1000", "how many there were"),
        ("move_gap_ms_p99", "≤ 250", "the longest gap of each of them meanwhile"),
        ("move_viewers_lost", "0", "of those viewers, who had no picture afterwards"),
        ("recover_ms_p95", "≤ 2000", "the longest gap of each viewer of a pod whose program is killed (SIGKILL), the worst round; Kubernetes starts it again at once"),
        ("recover_elsewhere_ms_p95", "≤ 2000", "the same where the program is kept from coming back, so that the room goes to another pod"),
        ("recover_viewers", "200", "how many there were"),
        ("recover_viewers_lost", "0", "viewers of all rounds who had no picture afterwards"),
        ("episodes", "≥ 1000", "seeded episodes of scale-in, rollout, eviction, drain of a machine, kills, frozen pods, killed operators and outages of the API server, of all runs since the first that counts"),
        ("episodes_minutes", "", "what they took"),
        ("episodes_rooms_lost", "0", "episodes after which a room was not on air with all of its viewers"),
        ("episodes_viewers_lost", "0", "viewers without a picture after an episode"),
        ("episodes_cut", "0", "episodes without a death in which anybody's picture stood still for more than three seconds"),
    ],
)

OF_CASCADE = Figures(
    "cascade",
    """# Benchmarks of a room on several pods

`make bench-cascade` made this page on {today}: medians of its rounds.

Three media nodes, one shard each, and the viewers share the cores. In each round viewers first watch on the first node alone, where the host is; then the second takes the room from the first, the third from the second, and as many viewers watch on each.
""",
    [
        ("cascade_viewers", "", "viewers on all three pods together"),
        ("cascade_viewers_flawed", "0", "of them, those who missed something, in the worst round"),
        ("cascade_viewers_per_cpu_1", "", "viewers a CPU second of one pod"),
        ("cascade_viewers_per_cpu_3", "", "the same of three pods, with the links between them"),
        ("cascade_linear", "≥ 0.9", "the second divided by the first: 1 if links cost nothing"),
        ("cascade_link_copies", "1", "packets that came by a link for each that one viewer there got"),
        ("cascade_pod_ms_p50", "", "from a packet's arrival at the one pod to its departure to a viewer (the upper bound of the histogram's bucket): most of it is waiting for the rest of the frame and the turn of the viewer"),
        ("cascade_pod_ms_p99", "", ""),
        ("cascade_hop_ms_p50", "", "the same at an edge, the worse of both: what a hop adds is less, since edges are sent to before viewers"),
        ("cascade_hop_ms_p99", "≤ 5", ""),
    ],
)
