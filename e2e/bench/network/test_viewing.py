"""The figures of a viewer, from recordings of which one knows what they must say."""

import tempfile
import unittest
from pathlib import Path

from viewing import Link, Viewing


def viewing(frames: list[tuple[float, int]], samples: list[dict] | None = None, numbers: list[int] | None = None) -> Viewing:
    """Told to watch at 100 s, ended at 110 s; frames are (seconds since it was told, height)."""
    shown = [
        {"at": (100 + at) * 1e3, "height": height, "count": n + 1, "number": numbers[n] if numbers else None}
        for n, (at, height) in enumerate(frames)
    ]
    told = {"joined": 100e3, "frames": shown, "samples": samples or [], "marks": [], "errors": []}
    return Viewing.read(told, 110)


def sample(at: float, video: dict, audio: dict) -> dict:
    return {"at": (100 + at) * 1e3, "video": video, "audio": audio}


EVENLY = [(0.4 + n / 30, 1080) for n in range(288)]


class ViewingTest(unittest.TestCase):
    def test_an_even_picture(self) -> None:
        even = viewing(EVENLY, [sample(9, {"totalFreezesDuration": 0}, {})])
        self.assertAlmostEqual(even.first_frame_ms(), 400)
        self.assertEqual(even.freeze_percent(), 0)
        self.assertAlmostEqual(even.longest_gap_ms(101, 109.9), 33.3, delta=0.1)
        self.assertEqual(even.switches(), [(0.4, 1080)])

    def test_freezes_are_those_that_the_browser_counted_and_one_that_is_open(self) -> None:
        frozen = viewing(EVENLY[:200], [sample(9, {"totalFreezesDuration": 0.96}, {})])
        # The last frame is from 7.03 s on, and the first from 0.4 s on.
        self.assertAlmostEqual(frozen.freeze_percent(), 100 * (0.96 + 2.967) / 9.6, delta=0.1)
        self.assertEqual(viewing([]).freeze_percent(), 100)

    def test_gaps_end_where_frames_were_shown_unseen(self) -> None:
        gap = viewing(EVENLY[:100] + EVENLY[109:])
        self.assertAlmostEqual(gap.longest_gap_ms(100, 109.9), 333, delta=1)
        for frame in gap.frames[100:]:
            frame["count"] += 9
        self.assertAlmostEqual(gap.longest_gap_ms(100, 109.9), 33.3, delta=0.1)
        self.assertEqual(gap.longest_gap_ms(109.99, 110), float("inf"))

    def test_heights_and_when_they_were_reached(self) -> None:
        climbing = viewing([(1, 270), (2, 270), (3, 720), (4, 1080), (5, 1080), (6, 1080)])
        self.assertEqual(climbing.switches(), [(1, 270), (3, 720), (4, 1080)])
        self.assertEqual(climbing.time_until_height(1080, 102), 2)
        self.assertEqual(climbing.time_until_height(2160, 102), float("inf"))
        self.assertEqual(climbing.median_height(), 1080)

    def test_sound_and_bits_are_counted_between_samples(self) -> None:
        def audio(total: int, concealed: int, silent: int) -> dict:
            return {"totalSamplesReceived": total, "concealedSamples": concealed, "silentConcealedSamples": silent}

        heard = viewing(EVENLY, [
            sample(0, {"bytesReceived": 0, "headerBytesReceived": 0}, audio(0, 0, 0)),
            sample(10, {"bytesReceived": 2_400_000, "headerBytesReceived": 100_000}, audio(480_000, 72_000, 24_000)),
        ])
        self.assertAlmostEqual(heard.concealed_percent(), 10)
        self.assertAlmostEqual(heard.bps(), 2e6)
        self.assertEqual(viewing(EVENLY).concealed_percent(), 100)

    def test_the_age_of_a_frame_is_since_the_last_time_that_the_host_sent_it(self) -> None:
        seen = viewing([(1, 1080), (1.5, 270), (2, 1080)], numbers=[7, 7, 8])
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory) / "frames.csv"
            log.write_text("f,7,40000\nf,7,100750\nq,7,101100\nf,7,101300\nf,8,101800\nf,9")
            ages = seen.ages_ms(log, 100)
            self.assertEqual([round(age) for _, age in ages], [250, 400, 200])
            # Eight seconds on, the last picture still stands.
            oldest = max(seen.ages_of_the_picture_ms(log, 100))
            self.assertAlmostEqual(oldest, 8200, delta=20)


class LinkTest(unittest.TestCase):
    def test_the_sum_of_all_is_no_stretch(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            told = Path(directory) / "told.jsonl"
            told.write_text("".join(f'{{"since": {since}, "t": {t}}}\n' for since, t in ((0, 0.1), (0.1, 0.2), (0, 60))))
            self.assertEqual(len(Link.read(told).stretches), 2)

    def stretch(self, t: float, capacity: float | None, queue: int = 0, dropped: int = 0) -> dict:
        down = {"capacity_bps": capacity, "queue_bytes": queue, "queue_dropped": dropped}
        return {"t": t, "unix": 1000 + t, "down": down}

    def test_a_link_has_settled_when_nothing_more_is_dropped_or_waits(self) -> None:
        link = Link([
            self.stretch(1, 4e6), self.stretch(2, 1e6, queue=30_000), self.stretch(3, 1e6, dropped=1),
            self.stretch(4, 1e6, queue=13_000), self.stretch(5, 1e6, queue=12_000),
        ])
        self.assertEqual(link.unix(20), 1020)
        self.assertEqual(link.settled_after(1.5, 1005, 100), 2.5)
        self.assertEqual(link.settled_after(4.5, 1005, 100), 0)

    def test_capacity_counts_no_more_than_can_be_used(self) -> None:
        link = Link([self.stretch(1, 8e6), self.stretch(2, 1e6), self.stretch(3, None)])
        self.assertEqual(link.mean_capacity(1000, 1003, 2.5e6), 2e6)
        self.assertEqual(link.mean_capacity_in_layers(1000, 1003, [0.5e6, 2.5e6]), 5.5e6 / 3)


if __name__ == "__main__":
    unittest.main()
