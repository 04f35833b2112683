//! One outgoing track of a viewer: its numbers, and how a packet gets into the outbox.

use std::time::Instant;

use showrunner_rtp::bwe::Sent;
use showrunner_rtp::codec::Codec;
use showrunner_rtp::reports::NtpTime;
use showrunner_rtp::rtcp::{self, BufferFull};
use showrunner_sdp::SendTrack;
use showrunner_transport::srtp::{Sender, SrtpError};

use super::outbox::{Links, Outbox};
use super::path::Path;
use super::way::Way;
use crate::lived::stalls::Source;
use crate::media::forwarder::{Copied, Forwarder, Numbered, Outgoing};
use crate::media::hiding::Hiding;
use crate::media::layer::Layer;
use crate::media::packet::{SourceId, StoredPacket};
use crate::media::writer::{self, StreamHeader};

/// Who a packet is sent to, and how.
pub(super) struct Send<'a> {
    pub(super) now: Instant,
    /// The frames that the room has had.
    pub(super) frames: Source,
    pub(super) srtp: &'a Sender,
    pub(super) path: Path,
    pub(super) outbox: &'a mut Outbox,
    pub(super) links: Links<'a>,
}

/// One outgoing track.
pub(super) struct Outlet {
    pub(super) track: SendTrack,
    pub(super) numbers: Forwarder,
    /// The codec in use, and the header fields that follow from it.
    current: Option<(Codec, StreamHeader)>,
    rtx_index: u64,
    /// Where packets may have to go out again as they are (no RTX): what the latest ones were, by
    /// sequence number.
    as_sent: Box<[AsSent]>,
    /// How far back the last packet was that went out once more as a probe.
    probed: u16,
    packets: u32,
    octets: u32,
    /// Datagrams and their bytes, retransmissions included.
    pub(super) sent: (u64, u64),
}

/// What must be the same when a packet goes out again under its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AsSent {
    seq: u16,
    form: Form,
    transport_number: u16,
}

/// What a packet went out as. Numbers follow from its index; this need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    NotSent,
    Media {
        marker: bool,
        dependencies: Option<Numbered>,
    },
    Filler,
}

impl Form {
    fn of(copied: Copied) -> Self {
        match copied {
            Copied::Media(Outgoing {
                marker,
                dependencies,
                ..
            }) => Self::Media {
                marker,
                dependencies,
            },
            Copied::Filler(_) => Self::Filler,
        }
    }
}

/// How many packets of a track without RTX can be sent again: five seconds of sound.
const AS_SENT: usize = 256;

/// How many of the latest packets serve as probes, in turn.
const MAX_PROBED: u16 = 48;

impl Outlet {
    pub(super) fn new(track: SendTrack, seed: u64) -> Self {
        let has_rtx = track.codecs.iter().all(|c| c.rtx_payload_type.is_some());
        let as_sent = if !has_rtx && repeats_itself(&track) {
            AS_SENT
        } else {
            0
        };
        Self {
            as_sent: vec![AsSent::default(); as_sent].into_boxed_slice(),
            track,
            numbers: Forwarder::new(seed as u16, (seed >> 16) as u32),
            current: None,
            rtx_index: (seed >> 48) & 0x7fff,
            probed: 0,
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
            dependencies_id: self.track.extensions.dependency_descriptor,
            transport_cc_id: self.track.extensions.transport_cc,
            transport_number: 0,
            playout_delay: None,
        };
        self.current = Some((codec, header));
        Some(header)
    }

    /// Has packets from now on carry bounds of playout delay, or none.
    pub(super) fn tell_playout_delay(&mut self, bounds: Option<[u8; 3]>) {
        if let Some((_, header)) = &mut self.current {
            header.playout_delay = self.track.extensions.playout_delay.zip(bounds);
        }
    }

    /// Writes a packet of sound into the outbox, and with it what came before.
    pub(super) fn send_sound(
        &mut self,
        source: SourceId,
        packet: &StoredPacket,
        layer: &Layer,
        hiding: &Hiding,
        way: &mut Way,
        to: &mut Send<'_>,
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
            self.send(source, packet, Sent::Media, way, to);
            return;
        };
        let (Some(header), Some(Copied::Media(numbers))) = (
            self.header(packet.codec),
            self.numbers.forward(source, packet),
        ) else {
            return;
        };
        let header = StreamHeader {
            payload_type,
            ..header
        };
        let carried: usize = earlier.clone().map(|p| p.payload().len()).sum();
        let carried = carried + packet.payload().len();
        let header = way.sent(to.now, header, carried, Sent::Media);
        let room = to.outbox.room();
        let written =
            writer::write_redundant(room, header, frames, packet, earlier, numbers, to.srtp);
        if let Ok(len) = written {
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(packet.payload().len() as u32);
            self.count(len);
            to.outbox.commit(len, to.path, &mut to.links);
        }
    }

    /// Writes one packet into the outbox. What it went out as, if it did.
    pub(super) fn send(
        &mut self,
        source: SourceId,
        packet: &StoredPacket,
        purpose: Sent,
        way: &mut Way,
        to: &mut Send<'_>,
    ) -> Option<u64> {
        // None if the host changed to a codec that this viewer can't play.
        let header = self.header(packet.codec)?;
        let copied = self.numbers.forward(source, packet)?;
        let (numbers, octets) = match copied {
            Copied::Media(numbers) => (numbers, packet.payload().len()),
            Copied::Filler(numbers) => (numbers, writer::FILLER),
        };
        let header = way.sent(to.now, header, octets, purpose);
        let len = write(header, packet, copied, to).ok()?;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
        self.count(len);
        if !self.as_sent.is_empty() {
            let seq = numbers.index as u16;
            self.as_sent[usize::from(seq) % AS_SENT] = AsSent {
                seq,
                form: Form::of(copied),
                transport_number: header.transport_number,
            };
        }
        to.outbox.commit(len, to.path, &mut to.links);
        Some(numbers.index)
    }

    fn count(&mut self, len: usize) {
        self.sent.0 += 1;
        self.sent.1 += len as u64;
    }

    /// Sends again what the viewer misses: by RTX if it knows that, else the same packet (whose
    /// numbers, and so whose every byte, are the same).
    pub(super) fn send_again(
        &mut self,
        seq: u16,
        packet: &StoredPacket,
        source: SourceId,
        purpose: Sent,
        way: &mut Way,
        to: &mut Send<'_>,
    ) -> Option<usize> {
        let copied = self.numbers.again(source, packet, seq)?;
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
                let header = way.sent(to.now, header, packet.payload().len(), purpose);
                let room = to.outbox.room();
                writer::write_rtx(room, header, self.rtx_index, packet, copied, to.srtp)
            }
            _ => {
                let at = usize::from(seq).checked_rem(self.as_sent.len())?;
                let before = self.as_sent[at];
                if (before.seq, before.form) != (seq, Form::of(copied)) {
                    return None; // too long ago
                }
                way.sent_as_before(packet.payload().len());
                let header = StreamHeader {
                    transport_number: before.transport_number,
                    ..media
                };
                write(header, packet, copied, to)
            }
        };
        let len = written.ok()?;
        self.count(len);
        Some(len)
    }

    /// Whether the viewer can put together pictures of several layers whose payload does not say
    /// what builds on what (AV1).
    pub(super) fn knows_dependencies(&self) -> bool {
        self.track.extensions.dependency_descriptor.is_some()
    }

    /// Whether the viewer can take packets that repair nothing.
    pub(super) fn knows_rtx(&self) -> bool {
        self.track.rtx_ssrc.is_some()
    }

    /// RTX that repairs nothing, to find out what the path carries or whether it carries anything: the latest packets
    /// once more, or where there are none, padding. Its size; none if the viewer knows no RTX.
    pub(super) fn send_more(
        &mut self,
        layer: Option<&Layer>,
        purpose: Sent,
        way: &mut Way,
        to: &mut Send<'_>,
    ) -> Option<usize> {
        let (codec, media) = self.current?;
        let negotiated = self.track.codecs.iter().find(|c| c.codec == codec)?;
        let (ssrc, payload_type) = self.track.rtx_ssrc.zip(negotiated.rtx_payload_type)?;
        self.probed = (self.probed + 1) % MAX_PROBED;
        let again = self.numbers.newest().and_then(|newest| {
            let seq = newest.wrapping_sub(self.probed);
            let (source, number) = self.numbers.sent(seq)?;
            let layer = layer.filter(|l| l.source == source)?;
            Some((seq, source, layer.get(number)?))
        });
        if let Some((seq, source, packet)) = again
            && let Some(len) = self.send_again(seq, packet, source, purpose, way, to)
        {
            to.outbox.commit(len, to.path, &mut to.links);
            return Some(len);
        }
        let header = StreamHeader {
            ssrc,
            payload_type,
            ..media
        };
        self.rtx_index += 1;
        let header = way.sent(to.now, header, writer::PADDING, purpose);
        let timestamp = self.numbers.newest_timestamp();
        let room = to.outbox.room();
        let len = writer::write_padding(room, header, self.rtx_index, timestamp, to.srtp);
        let len = len.ok()?;
        self.count(len);
        to.outbox.commit(len, to.path, &mut to.links);
        Some(len)
    }

    pub(super) fn write_sender_report(
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

/// Writes a packet, or what takes its place.
fn write(
    header: StreamHeader,
    packet: &StoredPacket,
    copied: Copied,
    to: &mut Send<'_>,
) -> Result<usize, SrtpError> {
    let room = to.outbox.room();
    match copied {
        Copied::Media(numbers) => writer::write_media(room, header, packet, numbers, to.srtp),
        Copied::Filler(numbers) => writer::write_filler(room, header, numbers, to.srtp),
    }
}

/// Whether the packets that go out under one number are always the same, byte for byte, but for their
/// transport-wide number, which is remembered. Only such may go out twice: the cipher must not see
/// one number with two texts.
fn repeats_itself(track: &SendTrack) -> bool {
    let redundant = track.codecs.iter().any(|c| c.red_payload_type.is_some());
    !redundant && track.extensions.playout_delay.is_none()
}
