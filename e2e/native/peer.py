"""A WHIP or WHEP client on GStreamer's webrtcbin (libnice, OpenSSL, libsrtp): nothing of ours."""

import json
import queue
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urljoin

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

Gst.init(None)

LIMIT_SECONDS = 30


RECEIVE = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
SEND = GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY


def parse(description: str) -> Gst.Pipeline:
    return Gst.parse_launch(f"pipeline.( {description} )")


class Peer:
    """A pipeline's webrtcbin of this name, and its session on a node; use it in a `with` statement."""

    def __init__(self, pipeline: Gst.Pipeline, name: str = "webrtc", token: str | None = None) -> None:
        self.pipeline = pipeline
        self.webrtc = pipeline.get_by_name(name)
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.negotiable = threading.Event()
        self.connected = threading.Event()
        self.webrtc.connect("on-negotiation-needed", lambda _: self.negotiable.set())
        self.webrtc.connect("notify::connection-state", self._on_state)
        self.session: str | None = None

    def _on_state(self, webrtc, _property) -> None:
        state = webrtc.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            self.connected.set()

    def negotiate(self, endpoint: str) -> None:
        """Offers to the endpoint and takes its answer (RFC 9725, section 4.2)."""
        self.pipeline.set_state(Gst.State.PLAYING)
        if not self.negotiable.wait(LIMIT_SECONDS):
            raise TimeoutError(f"the pipeline never got ready to negotiate: {self.error()}")
        # The promise owns its reply and that owns the offer, so all three stay in reach.
        offered = self._ask("create-offer", None)
        reply = offered.get_reply()
        offer = reply.get_value("offer")
        self._ask("set-local-description", offer)
        answer = self._post(endpoint, offer.sdp.as_text())
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self._ask("set-remote-description", description)
        if not self.connected.wait(LIMIT_SECONDS):
            raise TimeoutError(f"never connected: {self.error()}\nthe answer was:\n{answer}")

    def _post(self, endpoint: str, offer: str) -> str:
        """Sends an offer. A viewer who comes a moment before the host is on air is told to come again, and does."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            request = self._request("POST", endpoint, "application/sdp", offer)
            try:
                with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as response:
                    self.session = urljoin(endpoint, response.headers["Location"])
                    return response.read().decode()
            except urllib.error.HTTPError as error:
                wait = error.headers["Retry-After"]
                if error.code != 409 or wait is None or time.monotonic() > deadline:
                    raise RuntimeError(f"{error}: {error.read().decode()}\nthe offer was:\n{offer}") from error
                time.sleep(int(wait))

    def _request(self, method: str, url: str, media_type: str = "", body: str = "") -> urllib.request.Request:
        headers = {**self.headers, **({"Content-Type": media_type} if media_type else {})}
        return urllib.request.Request(url, body.encode() if body else None, headers, method=method)

    def receive(self, caps: str) -> None:
        transceiver = self.webrtc.emit("add-transceiver", RECEIVE, Gst.Caps.from_string(caps))
        transceiver.set_property("do-nack", True)

    def send(self, index: int) -> None:
        transceiver = self.webrtc.emit("get-transceiver", index)
        transceiver.set_property("direction", SEND)
        transceiver.set_property("do-nack", True)

    def choose(self, layer: dict) -> None:
        """Asks for a layer by the WHEP extension."""
        request = self._request("POST", f"{self.session}/layer", "application/json", json.dumps(layer))
        urllib.request.urlopen(request, timeout=LIMIT_SECONDS).close()

    def leave(self) -> None:
        """Deletes the session."""
        if self.session is not None:
            urllib.request.urlopen(self._request("DELETE", self.session), timeout=LIMIT_SECONDS).close()
            self.session = None

    def _ask(self, action: str, argument) -> Gst.Promise:
        """Runs one of webrtcbin's asynchronous actions to its end."""
        promise = Gst.Promise.new()
        self.webrtc.emit(action, argument, promise)
        promise.wait()
        reply = promise.get_reply()
        if reply is not None and reply.has_field("error"):
            raise RuntimeError(f"{action}: {reply.get_value('error')}")
        return promise

    def error(self) -> str:
        message = self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        return "no error on the bus" if message is None else str(message.parse_error())

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        """Deletes the session and stops the pipeline."""
        self.pipeline.set_state(Gst.State.NULL)
        self.leave()


class Host(Peer):
    """Publishes colour bars and a 440 Hz tone."""

    def __init__(self, video: str) -> None:
        """`video` is a chain that encodes and packs raw pictures, with full RTP caps at its end."""
        super().__init__(parse(f"""
            webrtcbin name=webrtc bundle-policy=max-bundle
            videotestsrc is-live=true pattern=smpte
              ! video/x-raw,format=I420,width=640,height=360,framerate=30/1 ! {video} ! webrtc.
            audiotestsrc is-live=true wave=sine freq=440
              ! audioconvert ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay
              ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! webrtc.
        """))

    def go_live(self, endpoint: str) -> None:
        for index in range(2):
            self.send(index)
        self.negotiate(endpoint)


class Watcher(Peer):
    """Decodes what it is sent: RGB pictures of 140 × 80, and 48 kHz sound of one channel."""

    WIDTH, HEIGHT = 140, 80

    def __init__(self, encoding: str, decoder: str) -> None:
        """`encoding` is the video's RTP caps, `decoder` the chain that unpacks and decodes it."""
        super().__init__(parse("webrtcbin name=webrtc bundle-policy=max-bundle"))
        self.decoder = decoder
        # Of the last picture, before it is scaled.
        self.size: tuple[int, int] | None = None
        self.pictures: queue.Queue[bytes] = queue.Queue()
        self.sounds: queue.Queue[bytes] = queue.Queue()
        self.webrtc.connect("pad-added", self._on_pad)
        for caps in (
            "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2",
            f"application/x-rtp,media=video,payload=96,clock-rate=90000,{encoding}",
        ):
            self.receive(caps)

    def _on_pad(self, _webrtc, pad) -> None:
        if pad.direction != Gst.PadDirection.SRC:
            return
        if pad.get_current_caps().get_structure(0).get_string("media") == "audio":
            self._decode(pad, "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE,rate=48000,channels=1",
                         self.sounds)
        else:
            self._decode(pad, f"{self.decoder} ! videoconvert name=raw ! videoscale "
                         f"! video/x-raw,format=RGB,width={self.WIDTH},height={self.HEIGHT}", self.pictures)

    def _decode(self, pad, chain: str, into: queue.Queue) -> None:
        branch = Gst.parse_bin_from_description(f"queue ! {chain} ! appsink name=sink sync=false emit-signals=true", True)

        raw = branch.get_by_name("raw")

        def on_sample(sink):
            if raw is not None:
                caps = raw.get_static_pad("sink").get_current_caps().get_structure(0)
                self.size = (caps.get_value("width"), caps.get_value("height"))
            buffer = sink.emit("pull-sample").get_buffer()
            into.put(buffer.extract_dup(0, buffer.get_size()))
            return Gst.FlowReturn.OK

        branch.get_by_name("sink").connect("new-sample", on_sample)
        self.pipeline.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))


class Transcoder(Peer):
    """Takes a room's picture by WHEP, encodes it in 320 × 180, and adds that to the room by WHIP."""

    def __init__(self, encoding: str, decoder: str, encoder: str, token: str) -> None:
        """`encoding` is the video's RTP caps, `decoder` unpacks and decodes it, `encoder` encodes and packs it again."""
        pipeline = parse(f"""
            webrtcbin name=source bundle-policy=max-bundle
            webrtcbin name=webrtc bundle-policy=max-bundle
            queue name=taken ! {decoder} ! videoconvert ! videoscale ! video/x-raw,format=I420,width=320,height=180
              ! queue leaky=downstream max-size-buffers=2 ! {encoder} ! webrtc.
        """)
        super().__init__(pipeline, token=token)
        self.source = Peer(pipeline, "source", token)
        self.source.webrtc.connect("pad-added", self._on_pad)
        self.source.receive(f"application/x-rtp,media=video,payload=96,clock-rate=90000,{encoding}")

    def _on_pad(self, _webrtc, pad) -> None:
        if pad.direction == Gst.PadDirection.SRC:
            pad.link(self.pipeline.get_by_name("taken").get_static_pad("sink"))

    def begin(self, take: str, add: str) -> None:
        self.source.negotiate(take)
        # What it is to send is known with the first picture.
        self.send(0)
        self.negotiate(add)

    def __exit__(self, *_) -> None:
        super().__exit__()
        self.source.leave()
