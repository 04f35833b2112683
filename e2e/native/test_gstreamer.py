"""GStreamer's webrtcbin publishes to a node and watches it: what is seen and heard is what was shown and played."""

import struct
import time
import unittest

from node import Node
from peer import LIMIT_SECONDS, Host, Transcoder, Watcher

VP8_HOST = (
    "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=60 target-bitrate=1000000 "
    "! rtpvp8pay picture-id-mode=15-bit ! application/x-rtp,media=video,encoding-name=VP8,payload=96"
)
H264_HOST = (
    "x264enc tune=zerolatency speed-preset=ultrafast bitrate=1000 key-int-max=60 "
    "! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1 aggregate-mode=zero-latency "
    "! application/x-rtp,media=video,encoding-name=H264,payload=96"
)
# The profile that Host sends, in the mode that browsers send in (RFC 6184).
H264 = "encoding-name=H264,packetization-mode=(string)1,profile-level-id=(string)42c01e,level-asymmetry-allowed=(string)1"
# The seven bars of the SMPTE pattern, left to right.
BARS = [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255)]


def colour(picture: bytes, x: int, y: int) -> tuple[int, ...]:
    # GStreamer pads a row of RGB to four bytes; 140 × 3 is a multiple of it.
    start = (y * Watcher.WIDTH + x) * 3
    return tuple(picture[start : start + 3])


class GStreamer(unittest.TestCase):
    def watch(self, node: Node, host_video: str, encoding: str, decoder: str) -> None:
        with Host(host_video) as host, Watcher(encoding, decoder) as watcher:
            host.go_live(f"{node.base}/whip/default/gstreamer")
            watcher.negotiate(f"{node.base}/whep/default/gstreamer")
            self.check_picture(watcher)
            self.check_sound(watcher)

    def check_picture(self, watcher: Watcher) -> None:
        pictures = [watcher.pictures.get(timeout=LIMIT_SECONDS) for _ in range(60)]
        bar = Watcher.WIDTH / len(BARS)
        for index, expected in enumerate(BARS):
            seen = colour(pictures[-1], int((index + 0.5) * bar), Watcher.HEIGHT // 3)
            for channel, wanted in zip(seen, expected, strict=True):
                self.assertLess(abs(channel - wanted), 48, f"bar {index} is {seen}, was sent as {expected}")
        # The pattern's corner is snow, new in each picture: live pictures differ, a stuck one does not.
        self.assertGreater(len(set(pictures)), len(pictures) // 4)

    def check_sound(self, watcher: Watcher) -> None:
        sound = b"".join(watcher.sounds.get(timeout=LIMIT_SECONDS) for _ in range(75))
        samples = [value for (value,) in struct.iter_unpack("<h", sound)][-48_000:]
        # 440 Hz crosses zero upwards 440 times a second.
        crossings = sum(1 for a, b in zip(samples, samples[1:]) if a < 0 <= b)
        self.assertAlmostEqual(crossings * 48_000 / len(samples), 440, delta=20)
        self.assertGreater(max(samples), 8_000)

    def test_vp8_is_seen_and_heard(self) -> None:
        with Node() as node:
            self.watch(node, VP8_HOST, "encoding-name=VP8", "rtpvp8depay ! vp8dec")

    def test_h264_is_seen_and_heard(self) -> None:
        with Node() as node:
            self.watch(node, H264_HOST, H264, "rtph264depay ! avdec_h264")

    def see(self, watcher: Watcher, size: tuple[int, int]) -> None:
        """Takes pictures until one has this size, which all have from then on."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while watcher.size != size:
            self.assertLess(time.monotonic(), deadline, f"pictures are of {watcher.size}")
            watcher.pictures.get(timeout=LIMIT_SECONDS)
        while not watcher.pictures.empty():
            watcher.pictures.get()
        self.check_picture(watcher)
        self.assertEqual(watcher.size, size)

    def test_a_transcoder_adds_a_smaller_layer(self) -> None:
        token = "for transcoders"
        encoder = H264_HOST.replace("bitrate=1000 key-int-max=60", "bitrate=200 key-int-max=6000")
        with (
            Node("--transcode-token", token) as node,
            Host(H264_HOST) as host,
            Watcher(H264, "rtph264depay ! avdec_h264") as watcher,
        ):
            whip, whep = (f"{node.base}/{protocol}/default/gstreamer" for protocol in ("whip", "whep"))
            host.go_live(whip)
            watcher.negotiate(whep)
            self.see(watcher, (640, 360))
            with Transcoder(H264, "rtph264depay ! avdec_h264", encoder, token) as transcoder:
                transcoder.begin(whep, whip)
                # By size rather than by name: it may not be there yet.
                watcher.choose({"maxWidth": 400})
                self.see(watcher, (320, 180))
                watcher.choose({"rid": ""})
                self.see(watcher, (640, 360))
                watcher.choose({"rid": "t.1"})
                self.see(watcher, (320, 180))
            self.see(watcher, (640, 360))
            self.check_sound(watcher)


if __name__ == "__main__":
    unittest.main()
