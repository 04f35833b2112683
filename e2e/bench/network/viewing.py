"""What a viewer lived through, as figures: from the frames that its browser showed, from the browser's own statistics,
and from what the link says that it did."""

import bisect
import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

# A gap that the browser's statistics would only count once another frame comes.
OPEN_GAP_SECONDS = 0.5
HEIGHTS = {"q": 270, "h": 720, "f": 1080}


@dataclass
class Viewing:
    """One viewer, from when it was told to watch until the end; times in seconds since 1970."""

    joined: float
    ended: float
    frames: list[dict]
    samples: list[dict]
    # Steps of its connections.
    marks: list[dict]
    errors: list[str]

    @classmethod
    def read(cls, told: dict, ended: float) -> "Viewing":
        frames = [frame | {"at": frame["at"] / 1e3} for frame in told["frames"]]
        samples = [sample | {"at": sample["at"] / 1e3} for sample in told["samples"]]
        marks = [mark | {"at": mark["at"] / 1e3} for mark in told["marks"]]
        return cls(told["joined"] / 1e3, ended, frames, samples, marks, told["errors"])

    def first_frame_ms(self) -> float:
        return (self.frames[0]["at"] - self.joined) * 1e3 if self.frames else float("inf")

    def freeze_percent(self) -> float:
        """The share of the time since the first frame in which the picture stood still, as the browser counts it."""
        if not self.frames:
            return 100.0
        last = self.samples[-1]["video"] if self.samples else {}
        frozen = last.get("totalFreezesDuration", 0)
        gap = self.ended - self.frames[-1]["at"]
        frozen += gap if gap > OPEN_GAP_SECONDS else 0
        return 100 * frozen / max(1e-3, self.ended - self.frames[0]["at"])

    def longest_gap_ms(self, since: float, until: float) -> float:
        """The longest time that one picture stood. Frames that were shown while the page was too busy to see them
        count, evenly spread."""
        shown = [frame for frame in self.frames if since <= frame["at"] <= until]
        if not shown:
            return float("inf")
        gaps = [until - shown[-1]["at"]]
        for before, after in zip(shown, shown[1:]):
            gaps.append((after["at"] - before["at"]) / max(1, after["count"] - before["count"]))
        return max(gaps) * 1e3

    def median_height(self, since: float = 0) -> float:
        heights = sorted(frame["height"] for frame in self.frames if frame["at"] >= since)
        return heights[len(heights) // 2] if heights else 0

    def time_until_height(self, height: int, since: float) -> float:
        """Seconds from `since` until a frame of at least this height is shown."""
        for frame in self.frames:
            if frame["at"] >= since and frame["height"] >= height:
                return frame["at"] - since
        return float("inf")

    def switches(self) -> list[tuple[float, int]]:
        """When the picture's height changed, in seconds since joining, and to what."""
        found: list[tuple[float, int]] = []
        for frame in self.frames:
            if not found or found[-1][1] != frame["height"]:
                found.append((round(frame["at"] - self.joined, 2), frame["height"]))
        return found

    def delta(self, kind: str, field: str, since: float = 0) -> float:
        """How much a counter grew from the first sample after `since` to the last."""
        values = [sample[kind].get(field, 0) for sample in self.samples if sample["at"] >= since]
        return values[-1] - values[0] if values else 0

    def concealed_percent(self) -> float:
        """The share of the sound that was made up, silence left out, since the first sound came."""
        total = self.delta("audio", "totalSamplesReceived")
        concealed = self.delta("audio", "concealedSamples") - self.delta("audio", "silentConcealedSamples")
        return 100 * concealed / total if total else 100.0

    def bps(self, since: float = 0) -> float:
        """Bits a second of both streams as RTP packets, retransmissions and padding among them."""
        times = [sample["at"] for sample in self.samples if sample["at"] >= since]
        if len(times) < 2:
            return 0.0
        fields = ("bytesReceived", "headerBytesReceived")
        received = sum(self.delta(kind, field, since) for kind in ("video", "audio") for field in fields)
        return received * 8 / (times[-1] - times[0])

    def frames_per_second(self) -> float:
        decoded = self.delta("video", "framesDecoded")
        return decoded / max(1e-3, self.ended - self.joined)

    def ages_ms(self, log: Path, since: float) -> list[tuple[float, float]]:
        """For each frame whose number could be read: when it was shown, and how long before it the host sent it."""
        sent: dict[tuple[str, int], list[float]] = defaultdict(list)
        with open(log) as lines:
            for row in csv.reader(lines):
                if len(row) == 3:
                    sent[row[0], int(row[1])].append(float(row[2]) / 1e3)
        rids = {height: rid for rid, height in HEIGHTS.items()}
        ages = []
        for frame in self.frames:
            times = sent.get((rids.get(frame["height"], ""), frame["number"]), [])
            index = bisect.bisect_right(times, frame["at"])
            if frame["at"] >= since and frame["number"] is not None and index:
                ages.append((frame["at"], (frame["at"] - times[index - 1]) * 1e3))
        return ages

    def ages_of_the_picture_ms(self, log: Path, since: float) -> list[float]:
        """How old what is on the screen is, looked at 100 times a second: a picture that stands gets older."""
        ages = self.ages_ms(log, since)
        if not ages:
            return []
        found, index, at = [], 0, ages[0][0]
        while at < self.ended:
            while index + 1 < len(ages) and ages[index + 1][0] <= at:
                index += 1
            shown, age = ages[index]
            found.append(age + (at - shown) * 1e3)
            at += 0.01
        return found


@dataclass
class Link:
    """What a link did, in stretches of 100 ms; the clock is that of its scenario."""

    stretches: list[dict]

    @classmethod
    def read(cls, path: Path) -> "Link":
        told = [json.loads(line) for line in path.read_text().splitlines()]
        # The last one is the sum of all.
        return cls([stretch for stretch in told if stretch["t"] - stretch["since"] < 1])

    def unix(self, t: float) -> float:
        """The time since 1970 of a moment of the scenario."""
        first = self.stretches[0]
        return first["unix"] - first["t"] + t

    def between(self, since: float, until: float) -> list[dict]:
        return [stretch for stretch in self.stretches if since < stretch["unix"] <= until]

    def settled_after(self, t: float, until: float, wait_ms: float) -> float:
        """Seconds from a moment of the scenario until, for good, nothing is dropped by the queue and nothing waits
        longer than this."""
        since = self.unix(t)
        settled = since
        for stretch in self.between(since, until):
            down = stretch["down"]
            waits = down["queue_bytes"] * 8e3 / down["capacity_bps"] if down["capacity_bps"] else 0
            if down["queue_dropped"] or waits > wait_ms:
                settled = stretch["unix"]
        return settled - since

    def mean_capacity(self, since: float, until: float, most: float) -> float:
        """Bits a second of which a sender of `most` could have made use."""
        stretches = self.between(since, until)
        return sum(min(s["down"]["capacity_bps"] or most, most) for s in stretches) / max(1, len(stretches))

    def mean_capacity_in_layers(self, since: float, until: float, layers: list[float]) -> float:
        """The same for one that knows the future and always sends the largest of its layers that fits."""
        stretches = self.between(since, until)
        fitting = (max((l for l in layers if l <= (s["down"]["capacity_bps"] or l)), default=0) for s in stretches)
        return sum(fitting) / max(1, len(stretches))
