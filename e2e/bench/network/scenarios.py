"""The scenarios, what is measured in each, and the goals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from testbed import Server
from viewing import Link, Viewing

# The steps' time in their scenarios.
STEP = 20
RTT_MS = 100
# A layer's bits a second with all headers, and the sound's, as the link counts them.
LAYERS_BPS = [330e3, 1.23e6, 2.62e6]
TOP_BPS = LAYERS_BPS[-1]
# From when on shares are counted: all have found theirs.
SHARES_AFTER_SECONDS = 20


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
    """Of several viewers that of the one who has it worst."""
    return Figure("freeze", "%", lambda run: max(v.freeze_percent() for v in run.viewings), at_most=at_most)


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


# From when on a viewer has caught up.
CAUGHT_UP_SECONDS = 5


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)] if values else float("inf")


def glass_to_glass(run: Lived) -> float:
    ages = run.viewing.ages_ms(run.server.frames, run.viewing.joined + CAUGHT_UP_SECONDS)
    return p95([age for _, age in ages])


def age_of_picture(run: Lived) -> float:
    return p95(run.viewing.ages_of_the_picture_ms(run.server.frames, run.viewing.joined + CAUGHT_UP_SECONDS))


SCENARIOS = [
    # What the machine itself does to a picture: no link is at fault here.
    Scenario(
        "clear", "nothing but the way", "way",
        [
            freeze(), concealed(), height(), bitrate(),
            Figure("longest gap", "ms", lambda run: run.viewing.longest_gap_ms(run.viewing.joined + 10, run.viewing.ended)),
        ],
        seconds=30,
    ),
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
        [
            Figure("glass to glass p95", "ms", glass_to_glass, at_most=600),
            Figure("age of the picture p95", "ms", age_of_picture), freeze(), height(),
        ],
        host="far", reads_numbers=True,
    ),
]
