"""Viewers who stay as pages do, and say what they have seen whenever they are asked."""

import signal
import time

from local import LIMIT_SECONDS, until
from showrunner import SHOP, Showrunner

# A picture that has stood still for so long does not run, in milliseconds; and one runs that has not for so many seconds.
STILL_MS = 500
RUNS_SECONDS = 1.0


class Crowd:
    def __init__(self, live: Showrunner, rooms: list[str], viewers: int, *flags: str) -> None:
        """So many viewers in each of the rooms."""
        first, *others = rooms
        flags += tuple(flag for room in others for flag in ("--room", f"{SHOP}/{room}"))
        self.process = live.audience(first, 10_000_000, viewers, "--stay", *flags)
        self.runs_since: float | None = None
        # What was said of pictures that stood still.
        self.stills: list[str] = []

    def ask(self) -> dict[str, float]:
        """What they have seen since they began anew."""
        self.process.send_signal(signal.SIGUSR1)
        found = {}
        # Until the empty line; whatever else is said before is for people.
        while line := self.process.stdout.readline().strip():
            if "no new frame" in line:
                self.stills.append(line)
            name, _, value = line.partition(": ")
            if value.replace(".", "").isdigit():
                found[name] = float(value)
        if "lost" not in found:
            raise AssertionError("the viewers have gone")
        return found

    def begin_anew(self) -> None:
        self.stills.clear()
        self.process.send_signal(signal.SIGUSR2)

    def plays(self) -> bool:
        """Whether everybody's picture runs, and did each time that this was asked in the last second."""
        found = self.ask()
        if found["lost"] or found["still_ms_max"] > STILL_MS:
            self.runs_since = None
        elif self.runs_since is None:
            self.runs_since = time.monotonic()
        return self.runs_since is not None and time.monotonic() - self.runs_since >= RUNS_SECONDS

    def await_picture(self, seconds: float = LIMIT_SECONDS) -> None:
        self.runs_since = None
        until("everybody's picture runs", self.plays, seconds)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
