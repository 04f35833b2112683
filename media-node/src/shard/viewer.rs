//! A viewer's outgoing tracks, and which layer it is on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::Codec;
use showrunner_rtp::reports::NtpTime;
use showrunner_rtp::rtcp::{self, BufferFull, ReportBlock};
use showrunner_sdp::{SendTrack, Watching};
use showrunner_transport::srtp::Sender;

use super::outbox::{Links, Outbox};
use super::path::Path;
use crate::media::deadline::{Request, Verdict};
use crate::media::forwarder::{Begin, Forwarder, Outgoing};
use crate::media::hiding::Hiding;
use crate::media::layer::Layer;
use crate::media::packet::{SourceId, StoredPacket};
use crate::media::quality::Reports;
use crate::media::redundancy::Weight;
use crate::media::writer::{self, StreamHeader};
use crate::node::LayerChoice;

/// A viewer whose decoder lost its way is started anew from the stored keyframe, but not more
/// often than this.
const MIN_RESTART_INTERVAL: Duration = Duration::from_millis(500);

/// One outgoing track.
pub(super) struct Outlet {
    track: SendTrack,
    numbers: Forwarder,
    /// The codec in use, and the header fields that follow from it.
    current: Option<(Codec, StreamHeader)>,
    rtx_index: u64,
    packets: u32,
    octets: u32,
}

impl Outlet {
    fn new(track: SendTrack, seed: u64) -> Self {
        Self {
            track,
            numbers: Forwarder::new(seed as u16, (seed >> 16) as u32),
            current: None,
            rtx_index: (seed >> 48) & 0x7fff,
            packets: 0,
            octets: 0,
        }
    }

    fn header(&mut self, codec: Codec) -> Option<StreamHeader> {
        if let Some((known, header)) = self.current
            && known == codec
        {
            return Some(header);
        }
        let negotiated = self.track.codecs.iter().find(|c| c.codec == codec)?;
        let header = StreamHeader {
            ssrc: self.track.ssrc,
            payload_type: negotiated.payload_type,
            orientation_id: self.track.extensions.orientation,
            playout_delay: None,
        };
        self.current = Some((codec, header));
        Some(header)
    }

    /// Has packets from now on carry bounds of playout delay, or none.
    fn tell_playout_delay(&mut self, bounds: Option<[u8; 3]>) {
        if let Some((_, header)) = &mut self.current {
            header.playout_delay = self.track.extensions.playout_delay.zip(bounds);
        }
    }

    /// Whether the packets that go out under one number are always the same, byte for byte. Only
    /// such may go out twice: the cipher must not see one number with two texts.
    fn repeats_itself(&self) -> bool {
        let extensions = &self.track.extensions;
        let redundant = self
            .track
            .codecs
            .iter()
            .any(|c| c.red_payload_type.is_some());
        !redundant && extensions.playout_delay.is_none()
    }

    /// Writes a packet of sound into the outbox, and with it what came before.
    fn send_sound(
        &mut self,
        source: SourceId,
        packet: &StoredPacket,
        layer: &Layer,
        hiding: &Hiding,
        to: &mut Send<'_, '_>,
    ) {
        let redundant = self
            .track
            .codecs
            .iter()
            .find(|c| c.codec == packet.codec)
            .and_then(|c| Some((c.payload_type, c.red_payload_type?)));
        let before = self.numbers.since_begin(packet.seq);
        let mut earlier = hiding.earlier_sound(layer, packet, before).peekable();
        let (Some((frames, payload_type)), Some(_)) = (redundant, earlier.peek()) else {
            self.send(source, packet, to.srtp, to.path, to.outbox, to.links);
            return;
        };
        let (Some(header), Some(numbers)) = (
            self.header(packet.codec),
            self.numbers.forward(source, packet),
        ) else {
            return;
        };
        let header = StreamHeader {
            payload_type,
            ..header
        };
        let room = to.outbox.room();
        let written =
            writer::write_redundant(room, header, frames, packet, earlier, numbers, to.srtp);
        if let Ok(len) = written {
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(packet.payload().len() as u32);
            to.outbox.commit(len, to.path, to.links);
        }
    }

    /// Writes one packet into the outbox. What it went out as, if it did.
    fn send(
        &mut self,
        source: SourceId,
        packet: &StoredPacket,
        srtp: &Sender,
        path: Path,
        outbox: &mut Outbox,
        links: &mut Links<'_>,
    ) -> Option<Outgoing> {
        // None if the host changed to a codec that this viewer can't play.
        let header = self.header(packet.codec)?;
        let numbers = self.numbers.forward(source, packet)?;
        let len = writer::write_media(outbox.room(), header, packet, numbers, srtp).ok()?;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload().len() as u32);
        outbox.commit(len, path, links);
        Some(numbers)
    }

    /// Sends again what the viewer misses: by RTX if it knows that, else the same packet (whose
    /// numbers, and so whose cipher text, are the same).
    fn send_again(
        &mut self,
        seq: u16,
        packet: &StoredPacket,
        source: SourceId,
        srtp: &Sender,
        outbox: &mut Outbox,
    ) -> Option<usize> {
        let numbers = self.numbers.again(source, packet, seq)?;
        let media = self.header(packet.codec)?;
        let negotiated = self.track.codecs.iter().find(|c| c.codec == packet.codec)?;
        let written = match (self.track.rtx_ssrc, negotiated.rtx_payload_type) {
            (Some(ssrc), Some(payload_type)) => {
                let header = StreamHeader {
                    ssrc,
                    payload_type,
                    ..media
                };
                self.rtx_index += 1;
                writer::write_rtx(outbox.room(), header, self.rtx_index, packet, numbers, srtp)
            }
            _ if self.repeats_itself() => {
                writer::write_media(outbox.room(), media, packet, numbers, srtp)
            }
            _ => return None,
        };
        written.ok()
    }

    fn write_sender_report(
        &self,
        ntp: NtpTime,
        common_timestamp: Option<u32>,
        out: &mut rtcp::Writer<'_>,
    ) -> Result<(), BufferFull> {
        let Some(common) = common_timestamp.filter(|_| self.packets > 0) else {
            return Ok(());
        };
        let timestamp = self.numbers.live_timestamp(common);
        out.sender_report(self.track.ssrc, ntp, timestamp, self.packets, self.octets)
    }
}

/// Who a packet is sent to, and how.
pub(super) struct Send<'a, 'b> {
    pub(super) srtp: &'a Sender,
    pub(super) path: Path,
    pub(super) outbox: &'a mut Outbox,
    pub(super) links: &'a mut Links<'b>,
}

/// A viewer's media.
pub(super) struct Viewer {
    audio: Option<Outlet>,
    video: Option<Outlet>,
    /// What was asked for.
    pub(super) choice: LayerChoice,
    /// The layer that is being forwarded, packet by packet.
    pub(super) current: Option<SourceId>,
    /// The layer to go on with at its next keyframe.
    pub(super) target: Option<SourceId>,
    last_restart: Option<Instant>,
    first_picture: Option<Instant>,
    /// When the present stretch of video began to be sent.
    video_since: Option<Instant>,
    reports: Reports,
    hiding: Hiding,
    /// Whether the shard knows that there are copies to be sent.
    is_copying: bool,
}

impl Viewer {
    /// A viewer that has seen nothing yet. `seed` is random: first numbers must not be guessable.
    pub(super) fn new(watching: Watching, seeds: [u64; 2]) -> Self {
        Self {
            audio: watching.audio.map(|t| Outlet::new(t, seeds[0])),
            video: watching.video.map(|t| Outlet::new(t, seeds[1])),
            choice: LayerChoice::default(),
            current: None,
            target: None,
            last_restart: None,
            first_picture: None,
            video_since: None,
            reports: Reports::default(),
            hiding: Hiding::default(),
            is_copying: false,
        }
    }

    /// Whether it takes video at all.
    pub(super) fn takes_video(&self) -> bool {
        self.video.is_some()
    }

    /// When the first picture was sent.
    pub(super) fn first_picture(&self) -> Option<Instant> {
        self.first_picture
    }

    /// Forwards audio.
    pub(super) fn send_audio(
        &mut self,
        source: SourceId,
        packets: &[Arc<StoredPacket>],
        layer: &Layer,
        to: &mut Send<'_, '_>,
    ) {
        let (Some(outlet), Some(first)) = (&mut self.audio, packets.first()) else {
            return;
        };
        if outlet.numbers.source() != Some(source) {
            outlet.numbers.begin(source, first, Begin::Live);
        }
        for packet in packets {
            outlet.send_sound(source, packet, layer, &self.hiding, to);
        }
    }

    /// Forwards packets of a layer, if the viewer is on it; or switches to it, if it waits for
    /// that and one of them begins a keyframe. True if it switched.
    pub(super) fn send_video(
        &mut self,
        source: SourceId,
        packets: &[Arc<StoredPacket>],
        layer: &Layer,
        to: &mut Send<'_, '_>,
        now: Instant,
    ) -> bool {
        let Some(outlet) = &mut self.video else {
            return false;
        };
        let mut packets = packets;
        let mut switched = false;
        if self.current != Some(source) {
            let key = packets.iter().position(|p| p.starts_keyframe);
            let Some(key) = key.filter(|_| self.target == Some(source)) else {
                return false;
            };
            packets = &packets[key..];
            outlet.numbers.begin(source, &packets[0], Begin::Live);
            self.current = Some(source);
            self.target = None;
            self.first_picture.get_or_insert(now);
            self.video_since = Some(now);
            switched = true;
        }
        outlet.tell_playout_delay(self.hiding.playout_to_write(now));
        let mut sent = None;
        for packet in packets {
            let numbers = outlet.send(source, packet, to.srtp, to.path, to.outbox, to.links);
            if let Some(Outgoing { index, .. }) = numbers {
                let (first, last) = sent.unwrap_or((index, index));
                sent = Some((first.min(index), last.max(index)));
            }
        }
        let of_keyframe = packets.first().is_some_and(|p| layer.is_of_keyframe(p));
        let weight = if of_keyframe {
            Weight::Keyframe
        } else {
            Weight::Base
        };
        let copies = self.hiding.early_copies(weight);
        if let (Some((first, last)), 1..) = (sent, copies) {
            let copied = &mut self.hiding.copies;
            copied.schedule(now, first as u16, last as u16, copies);
        }
        switched
    }

    /// Shows stored packets that begin with a keyframe: all since then up to live (`catch_up`), or
    /// that one picture alone.
    pub(super) fn send_stored<'p>(
        &mut self,
        source: SourceId,
        packets: impl IntoIterator<Item = &'p Arc<StoredPacket>>,
        live: u32,
        catch_up: bool,
        to: &mut Send<'_, '_>,
        now: Instant,
    ) {
        let Some(outlet) = &mut self.video else {
            return;
        };
        let mut packets = packets.into_iter().peekable();
        let Some(first) = packets.peek() else {
            return;
        };
        let begin = if catch_up {
            Begin::CatchUp { live }
        } else {
            Begin::Still { live }
        };
        outlet.numbers.begin(source, first, begin);
        self.video_since = Some(now);
        for packet in packets {
            outlet.send(source, packet, to.srtp, to.path, to.outbox, to.links);
        }
        self.first_picture.get_or_insert(now);
        if catch_up {
            self.current = Some(source);
            self.target = None;
        } else {
            self.current = None;
            self.target = Some(source);
        }
    }

    /// A number of a source carries no media: leave it out.
    pub(super) fn skip(&mut self, source: SourceId, seq: u64) {
        for outlet in [&mut self.audio, &mut self.video].into_iter().flatten() {
            outlet.numbers.skip(source, seq);
        }
    }

    /// What went out under a number, if the SSRC is ours: (is video, source, its number).
    pub(super) fn sent(&self, ssrc: u32, seq: u16) -> Option<(bool, SourceId, u64)> {
        let (video, outlet) = match (&self.audio, &self.video) {
            (Some(audio), _) if audio.track.ssrc == ssrc => (false, audio),
            (_, Some(video)) if video.track.ssrc == ssrc => (true, video),
            _ => return None,
        };
        let (source, number) = outlet.numbers.sent(seq)?;
        Some((video, source, number))
    }

    /// Sends a packet again that [`Self::sent`] named. True if it went out.
    pub(super) fn send_again(
        &mut self,
        video: bool,
        seq: u16,
        source: SourceId,
        packet: &StoredPacket,
        to: &mut Send<'_, '_>,
    ) -> bool {
        let outlet = if video {
            &mut self.video
        } else {
            &mut self.audio
        };
        let Some(outlet) = outlet else {
            return false;
        };
        let Some(len) = outlet.send_again(seq, packet, source, to.srtp, to.outbox) else {
            return false;
        };
        to.outbox.commit(len, to.path, to.links);
        true
    }

    /// Whether a packet that [`Self::sent`] named and that is asked for is worth sending.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        seq: u16,
        packet: &StoredPacket,
        layer: &Layer,
    ) -> Verdict {
        // What was stored when the viewer began was sent to it then.
        let sent = packet
            .arrival
            .max(self.video_since.unwrap_or(packet.arrival));
        let request = Request {
            seq,
            age: now.saturating_duration_since(sent),
            is_needed: !layer.is_superseded(packet),
        };
        let (path, held_back) = (self.hiding.path(), self.hiding.held_back());
        self.hiding.answers.judge(now, request, path, held_back)
    }

    /// Has an answer sent more than once, if the path is such that it needs that.
    pub(super) fn repeat_answer(&mut self, now: Instant, seq: u16) {
        let again = self.hiding.answers_per_request().saturating_sub(1);
        self.hiding.copies.schedule(now, seq, seq, again);
    }

    /// Whether there are copies to be sent that the shard has not been told of; it is then.
    pub(super) fn begins_copying(&mut self) -> bool {
        let begins = !self.is_copying && !self.hiding.copies.is_empty();
        self.is_copying |= begins;
        begins
    }

    /// The next packets of the video stream to be sent once more: first and last number.
    pub(super) fn next_copies(&mut self, now: Instant) -> Option<(u16, u16)> {
        let next = self.hiding.copies.poll(now);
        self.is_copying = !self.hiding.copies.is_empty();
        next
    }

    /// Whether there are copies to be sent later.
    pub(super) fn is_copying(&self) -> bool {
        self.is_copying
    }

    /// What went out under a number of the video stream.
    pub(super) fn sent_video(&self, seq: u16) -> Option<(SourceId, u64)> {
        self.video.as_ref()?.numbers.sent(seq)
    }

    /// A packet of the video stream is sent once more.
    pub(super) fn sent_copy(&mut self, now: Instant, seq: u16) {
        self.hiding.answers.sent(now, seq);
    }

    /// Takes what the viewer reports of one of its streams (RFC 3550 §6.4.1).
    pub(super) fn on_report(&mut self, now: Instant, ntp: NtpTime, block: &ReportBlock) {
        let is =
            |outlet: &Option<Outlet>| outlet.as_ref().is_some_and(|o| o.track.ssrc == block.ssrc);
        let video = is(&self.video);
        if video || is(&self.audio) {
            self.reports.on_report(now, ntp, video, block);
            self.hiding.update(now, self.reports.quality(), None);
        }
    }

    /// Whether a keyframe request by the viewer is to be followed now.
    pub(super) fn may_restart(&mut self, now: Instant) -> bool {
        let may = self
            .last_restart
            .is_none_or(|at| now.saturating_duration_since(at) >= MIN_RESTART_INTERVAL);
        if may {
            self.last_restart = Some(now);
        }
        may
    }

    /// Writes sender reports for both tracks (RFC 3550 §6.4.1) and their common name.
    ///
    /// # Errors
    /// If the writer has no room.
    pub(super) fn write_sender_reports(
        &self,
        ntp: NtpTime,
        audio: Option<u32>,
        video: Option<u32>,
        out: &mut rtcp::Writer<'_>,
    ) -> Result<(), BufferFull> {
        for (outlet, timestamp) in [(&self.audio, audio), (&self.video, video)] {
            if let Some(outlet) = outlet {
                outlet.write_sender_report(ntp, timestamp, out)?;
                out.sdes_cname(outlet.track.ssrc, CNAME)?;
            }
        }
        Ok(())
    }
}

/// The canonical name (RFC 7022) that ties a viewer's audio and video together.
const CNAME: &str = "showrunner";
