//! A viewer's outgoing tracks, and which layer it is on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::Codec;
use showrunner_rtp::rtcp::{self, BufferFull};
use showrunner_sdp::{SendTrack, Watching};
use showrunner_transport::srtp::Sender;

use super::outbox::{Links, Outbox};
use super::path::Path;
use crate::lived::Viewing;
use crate::media::forwarder::{Begin, Forwarder};
use crate::media::packet::{SourceId, StoredPacket};
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
    /// Where packets may have to go out again as they are (no RTX): sequence number and
    /// transport-wide number of the latest ones, by sequence number.
    as_sent: Box<[(u16, u16)]>,
    packets: u32,
    octets: u32,
    /// Datagrams and their bytes, retransmissions included.
    sent: (u64, u64),
}

/// How many packets of a track without RTX can be sent again: five seconds of sound.
const AS_SENT: usize = 256;

impl Outlet {
    fn new(track: SendTrack, seed: u64) -> Self {
        let has_rtx = track.codecs.iter().all(|c| c.rtx_payload_type.is_some());
        Self {
            as_sent: vec![(0, 0); if has_rtx { 0 } else { AS_SENT }].into_boxed_slice(),
            track,
            numbers: Forwarder::new(seed as u16, (seed >> 16) as u32),
            current: None,
            rtx_index: (seed >> 48) & 0x7fff,
            packets: 0,
            octets: 0,
            sent: (0, 0),
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
            transport_cc_id: self.track.extensions.transport_cc,
        };
        self.current = Some((codec, header));
        Some(header)
    }

    /// Writes one packet into the outbox.
    fn send(
        &mut self,
        source: SourceId,
        packet: &StoredPacket,
        transport: &mut Transport,
        to: &mut Send<'_, '_>,
    ) {
        let Some(header) = self.header(packet.codec) else {
            return; // The host changed to a codec that this viewer can't play.
        };
        let Some(numbers) = self.numbers.forward(source, packet) else {
            return;
        };
        let number = transport.next(header);
        let room = to.outbox.room();
        if let Ok(len) = writer::write_media(room, header, packet, numbers, number, to.srtp) {
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(packet.payload().len() as u32);
            self.count(len);
            if !self.as_sent.is_empty() {
                let seq = numbers.index as u16;
                self.as_sent[usize::from(seq) % AS_SENT] = (seq, number);
            }
            to.outbox.commit(len, to.path, to.links);
        }
    }

    fn count(&mut self, len: usize) {
        self.sent.0 += 1;
        self.sent.1 += len as u64;
    }

    /// Sends again what the viewer misses: by RTX if it knows that, else the same packet (whose
    /// numbers, and so whose every byte, are the same).
    fn send_again(
        &mut self,
        seq: u16,
        packet: &StoredPacket,
        source: SourceId,
        transport: &mut Transport,
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
                writer::write_rtx(
                    outbox.room(),
                    header,
                    self.rtx_index,
                    packet,
                    numbers,
                    transport.next(header),
                    srtp,
                )
            }
            _ => {
                let at = usize::from(seq).checked_rem(self.as_sent.len())?;
                let (known, number) = self.as_sent[at];
                if known != seq {
                    return None; // too long ago
                }
                writer::write_media(outbox.room(), media, packet, numbers, number, srtp)
            }
        };
        let len = written.ok()?;
        self.count(len);
        Some(len)
    }

    fn write_sender_report(
        &self,
        ntp: showrunner_rtp::reports::NtpTime,
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

/// What counts all packets to one viewer, of whichever track.
#[derive(Debug, Default)]
struct Transport {
    number: u16,
}

impl Transport {
    /// The transport-wide sequence number of the next packet of a stream. One that carries none
    /// uses none up: it would be taken for lost.
    fn next(&mut self, stream: StreamHeader) -> u16 {
        if stream.transport_cc_id.is_some() {
            self.number = self.number.wrapping_add(1);
        }
        self.number
    }
}

/// A viewer's media.
pub(super) struct Viewer {
    audio: Option<Outlet>,
    video: Option<Outlet>,
    transport: Transport,
    /// What was asked for.
    pub(super) choice: LayerChoice,
    /// The layer that is being forwarded, packet by packet.
    pub(super) current: Option<SourceId>,
    /// The layer to go on with at its next keyframe.
    pub(super) target: Option<SourceId>,
    last_restart: Option<Instant>,
    first_picture: Option<Instant>,
    /// What it lives through.
    pub(super) lived: Viewing,
}

impl Viewer {
    /// A viewer that has seen nothing yet. `seed` is random: first numbers must not be guessable.
    pub(super) fn new(watching: Watching, seeds: [u64; 2]) -> Self {
        Self {
            audio: watching.audio.map(|t| Outlet::new(t, seeds[0])),
            video: watching.video.map(|t| Outlet::new(t, seeds[1])),
            transport: Transport::default(),
            choice: LayerChoice::default(),
            current: None,
            target: None,
            last_restart: None,
            first_picture: None,
            lived: Viewing::default(),
        }
    }

    /// Datagrams of media that it was sent, and their bytes.
    pub(super) fn sent_in_all(&self) -> (u64, u64) {
        let outlets = [&self.audio, &self.video].into_iter().flatten();
        outlets.fold((0, 0), |(packets, bytes), outlet| {
            (packets + outlet.sent.0, bytes + outlet.sent.1)
        })
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
        to: &mut Send<'_, '_>,
    ) {
        let (Some(outlet), Some(first)) = (&mut self.audio, packets.first()) else {
            return;
        };
        if outlet.numbers.source() != Some(source) {
            outlet.numbers.begin(source, first, Begin::Live);
        }
        for packet in packets {
            outlet.send(source, packet, &mut self.transport, to);
        }
    }

    /// Forwards packets of a layer, if the viewer is on it; or switches to it, if it waits for
    /// that and one of them begins a keyframe. True if it switched.
    pub(super) fn send_video(
        &mut self,
        source: SourceId,
        packets: &[Arc<StoredPacket>],
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
            switched = true;
        }
        for packet in packets {
            outlet.send(source, packet, &mut self.transport, to);
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
        for packet in packets {
            outlet.send(source, packet, &mut self.transport, to);
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

    /// Whether this is the stream of one of its tracks.
    pub(super) fn sends(&self, ssrc: u32) -> bool {
        let mut outlets = [&self.audio, &self.video].into_iter().flatten();
        outlets.any(|outlet| outlet.track.ssrc == ssrc)
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
        let Some(len) =
            outlet.send_again(seq, packet, source, &mut self.transport, to.srtp, to.outbox)
        else {
            return false;
        };
        to.outbox.commit(len, to.path, to.links);
        true
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
        ntp: showrunner_rtp::reports::NtpTime,
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
