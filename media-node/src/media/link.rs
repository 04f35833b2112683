//! How a room's packets look on a link from pod to pod.
//!
//! A link carries what hosts send, layer by layer, with payloads as they are. Its RTP is that of any publisher (RTX,
//! transport-wide numbers, RTCP), so that the end that takes it in is an ordinary ingest, with three differences that
//! come of both ends being ours:
//!
//! - Payload types and header extensions are fixed, so that a host may come with another codec without a word about it.
//! - The SSRC names the host's stream, the same on all links of a room, and a header extension brings the number that
//!   the packet has *in that stream*. So a packet is the same one by whichever link it comes: a pod may take a room by
//!   two links for a while, and its viewers notice nothing of a change from one to the other.
//! - The same extension says which layer of a scalable stream the packet is of. The host's own word on that is passed on
//!   for AV1 alone, whose viewers need it (the dependency descriptor). Timestamps are on the track's common timeline already.
//!
//! The number in the RTP header is the link's own, without gaps but for what was lost on it.

use showrunner_rtp::codec::dependency;
use showrunner_rtp::codec::layering::{Layering, MAX_SPATIAL, SpatialSizes};
use showrunner_rtp::codec::{Codec, Kind};
use showrunner_rtp::packet::HeaderWriter;
use showrunner_sdp::{ExtensionIds, NegotiatedCodec, RecvTrack};
use showrunner_transport::srtp::{MAX_OVERHEAD, Sender, SrtpError};

use super::packet::{MAX_PAYLOAD, SourceId, StoredPacket};

/// Header extensions of links (RFC 8285), by their numbers.
mod extension {
    pub(super) const TRANSPORT_CC: u8 = 1;
    pub(super) const MARK: u8 = 2;
    pub(super) const RID: u8 = 3;
    pub(super) const ORIENTATION: u8 = 4;
    pub(super) const SPATIAL_SIZES: u8 = 5;
    pub(super) const DEPENDENCIES: u8 = 6;
}

/// The longest RID, in bytes: what a header extension can carry.
const MAX_RID: usize = 255;

/// Room that any packet on a link fits into: header, all extensions in their longest form, original sequence number,
/// payload, SRTP tag.
pub const MAX_PACKET: usize = 12 + EXTENSIONS + 2 + MAX_PAYLOAD + MAX_OVERHEAD;
const EXTENSIONS: usize =
    4 + 6 * 2 + 2 + MARK_LEN + MAX_RID + 1 + 4 * MAX_SPATIAL + dependency::MAX_LEN + 3;

/// The payload type of a codec; that of its retransmissions is the next.
#[must_use]
pub fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Opus => 96,
        Codec::Vp8 => 98,
        Codec::H264 => 100,
        Codec::Vp9 => 102,
        Codec::Av1 => 104,
    }
}

/// The SSRC of the retransmissions of a stream.
#[must_use]
pub fn repair_ssrc(ssrc: u32) -> u32 {
    ssrc ^ 0x8000_0000
}

/// The tracks that a link brings, as a negotiation would have them: sound, picture.
#[must_use]
pub fn tracks() -> (RecvTrack, RecvTrack) {
    let track = |mid: &str, kind| RecvTrack {
        mid: mid.to_owned(),
        codecs: Codec::ALL
            .into_iter()
            .filter(|codec| codec.kind() == kind)
            .map(|codec| NegotiatedCodec {
                codec,
                payload_type: payload_type(codec),
                rtx_payload_type: Some(payload_type(codec) + 1),
                red_payload_type: None,
                fmtp: String::new(),
            })
            .collect(),
        extensions: ExtensionIds {
            transport_cc: Some(extension::TRANSPORT_CC),
            rid: Some(extension::RID),
            orientation: Some(extension::ORIENTATION),
            dependency_descriptor: Some(extension::DEPENDENCIES),
            ..ExtensionIds::default()
        },
        rids: Vec::new(),
    };
    (track("0", Kind::Audio), track("1", Kind::Video))
}

impl SourceId {
    const RELAYED: u64 = 1 << 63;

    /// A stream that came by a link, where its SSRC is this.
    #[must_use]
    pub fn relayed(ssrc: u32) -> SourceId {
        SourceId(Self::RELAYED | u64::from(ssrc))
    }

    /// The SSRC of a stream on links: for one that came by a link the same, for one of a host of this pod one that
    /// nobody else will have, by `secret`, the process's own random number.
    #[must_use]
    pub fn on_links(self, secret: u64) -> u32 {
        if self.0 & Self::RELAYED != 0 {
            return self.0 as u32;
        }
        // The finaliser of SplitMix64: every bit of the sum decides over every bit of the result.
        let mut mixed = self.0.wrapping_add(secret);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 0 and 1 are not media's: nobody's, and our feedback's.
        (mixed >> 32).max(2) as u32
    }
}

const MARK_LEN: usize = 6;

/// What a packet on a link says of itself beyond RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its number in the host's stream; 32 bits of it go on the wire.
    pub seq: u64,
    /// Which layer of a scalable stream it is of.
    pub layering: Layering,
}

impl Mark {
    fn write(self) -> [u8; MARK_LEN] {
        let Layering {
            spatial,
            temporal,
            builds_on,
            is_fresh,
            begins,
            ends,
        } = self.layering;
        let ids = spatial.min(3) << 6 | temporal.min(3) << 4 | builds_on.min(3) << 2;
        let flags = u8::from(is_fresh) << 2 | u8::from(begins) << 1 | u8::from(ends);
        let [a, b, c, d] = (self.seq as u32).to_be_bytes();
        [a, b, c, d, ids, flags]
    }

    fn read(bytes: &[u8]) -> Option<Mark> {
        let [a, b, c, d, ids, flags] = *<&[u8; MARK_LEN]>::try_from(bytes).ok()?;
        Some(Mark {
            seq: u32::from_be_bytes([a, b, c, d]).into(),
            layering: Layering {
                spatial: ids >> 6,
                temporal: ids >> 4 & 3,
                builds_on: ids >> 2 & 3,
                is_fresh: flags & 4 != 0,
                begins: flags & 2 != 0,
                ends: flags & 1 != 0,
            },
        })
    }
}

/// What is read of a packet's header extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// What each has.
    pub mark: Mark,
    /// Picture sizes of the spatial layers, where they are told here.
    pub spatial_sizes: Option<SpatialSizes>,
}

/// Reads a packet's own extensions; none if it is not one of a link.
pub fn read<'a>(elements: impl Iterator<Item = (u8, &'a [u8])>) -> Option<Marked> {
    let (mut mark, mut spatial_sizes) = (None, None);
    for (id, value) in elements {
        match id {
            extension::MARK => mark = Mark::read(value),
            extension::SPATIAL_SIZES => spatial_sizes = read_sizes(value),
            _ => {}
        }
    }
    Some(Marked {
        mark: mark?,
        spatial_sizes,
    })
}

fn write_sizes(sizes: SpatialSizes) -> [u8; 4 * MAX_SPATIAL] {
    let mut bytes = [0; 4 * MAX_SPATIAL];
    for (to, (width, height)) in bytes.chunks_exact_mut(4).zip(sizes) {
        to[..2].copy_from_slice(&width.to_be_bytes());
        to[2..].copy_from_slice(&height.to_be_bytes());
    }
    bytes
}

fn read_sizes(bytes: &[u8]) -> Option<SpatialSizes> {
    let bytes: &[u8; 4 * MAX_SPATIAL] = bytes.try_into().ok()?;
    let mut sizes = SpatialSizes::default();
    for (size, from) in sizes.iter_mut().zip(bytes.chunks_exact(4)) {
        let at = |at: usize| u16::from_be_bytes([from[at], from[at + 1]]);
        *size = (at(0), at(2));
    }
    Some(sizes)
}

/// What goes into a packet's header beside what the stored packet says.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// SSRC of the stream.
    pub ssrc: u32,
    /// RID of the layer, empty without simulcast.
    pub rid: &'a str,
    /// Number on the link.
    pub index: u64,
    /// Transport-wide sequence number.
    pub transport_number: u16,
}

/// Writes and seals a packet into `out`, of at least [`MAX_PACKET`] bytes; its length.
///
/// # Errors
/// If `out` is too small, the RID too long or the cipher fails.
pub fn write(
    out: &mut [u8],
    head: Head<'_>,
    packet: &StoredPacket,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let at = header(out, head, payload_type(packet.codec), packet)?;
    let len = copy(out, at, packet.payload())?;
    srtp.seal_rtp(out, at, len, head.index)
}

/// Writes and seals the retransmission (RFC 4588 §4) of a packet that had the number `original`. `head` is of the stream
/// of retransmissions.
///
/// # Errors
/// If `out` is too small, the RID too long or the cipher fails.
pub fn write_again(
    out: &mut [u8],
    head: Head<'_>,
    original: u16,
    packet: &StoredPacket,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let at = header(out, head, payload_type(packet.codec) + 1, packet)?;
    let end = copy(out, at, &original.to_be_bytes())?;
    let len = copy(out, end, packet.payload())?;
    srtp.seal_rtp(out, at, len, head.index)
}

/// Writes and seals a packet that says that the number `seq` of the host's stream carries no media.
///
/// # Errors
/// If `out` is too small, the RID too long or the cipher fails.
pub fn write_padding(
    out: &mut [u8],
    head: Head<'_>,
    codec: Codec,
    seq: u64,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let mark = Mark {
        seq,
        layering: Layering::default(),
    };
    let writer = HeaderWriter {
        marker: false,
        payload_type: payload_type(codec),
        sequence_number: head.index as u16,
        timestamp: 0,
        ssrc: head.ssrc,
    };
    let elements: [(u8, &[u8]); 3] = [
        (
            extension::TRANSPORT_CC,
            &head.transport_number.to_be_bytes(),
        ),
        (extension::MARK, &mark.write()),
        rid(head.rid),
    ];
    let at = writer.write_with(out, &elements);
    let at = at.map_err(|_| SrtpError::TooShort)?;
    srtp.seal_rtp(out, at, at, head.index)
}

fn header(
    out: &mut [u8],
    head: Head<'_>,
    payload_type: u8,
    packet: &StoredPacket,
) -> Result<usize, SrtpError> {
    let mark = Mark {
        seq: packet.seq,
        layering: packet.layering,
    };
    // What there is none of has no id, and is left out.
    let orientation = packet.orientation.map(|value| [value]);
    let sizes = packet.spatial_sizes.map(write_sizes);
    let mut copy;
    let described = match packet.dependencies() {
        Some((dependencies, value)) => {
            copy = [0; dependency::MAX_LEN];
            let copy = copy.get_mut(..value.len()).ok_or(SrtpError::TooShort)?;
            copy.copy_from_slice(value);
            dependencies.restate(copy);
            (extension::DEPENDENCIES, &*copy)
        }
        None => (0, &[][..]),
    };
    let elements: [(u8, &[u8]); 6] = [
        (
            extension::TRANSPORT_CC,
            &head.transport_number.to_be_bytes(),
        ),
        (extension::MARK, &mark.write()),
        rid(head.rid),
        match &orientation {
            Some(value) => (extension::ORIENTATION, value),
            None => (0, &[]),
        },
        match &sizes {
            Some(sizes) => (extension::SPATIAL_SIZES, sizes),
            None => (0, &[]),
        },
        described,
    ];
    let writer = HeaderWriter {
        marker: packet.marker,
        payload_type,
        sequence_number: head.index as u16,
        timestamp: packet.timestamp,
        ssrc: head.ssrc,
    };
    let len = writer.write_with(out, &elements);
    len.map_err(|_| SrtpError::TooShort)
}

fn rid(rid: &str) -> (u8, &[u8]) {
    match rid {
        "" => (0, &[]),
        rid => (extension::RID, rid.as_bytes()),
    }
}

fn copy(out: &mut [u8], at: usize, bytes: &[u8]) -> Result<usize, SrtpError> {
    let end = at + bytes.len();
    let room = out.get_mut(at..end).ok_or(SrtpError::TooShort)?;
    room.copy_from_slice(bytes);
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use showrunner_rtp::packet::{self, Header};
    use showrunner_transport::srtp::{Profile, Receiver, SrtpKeys, StreamState};

    use super::*;

    fn ends() -> (Sender, Receiver) {
        let keys = |is_client| {
            let profile = Profile::AeadAes128Gcm;
            SrtpKeys::from_keying_material(profile, is_client, &[7; 56]).unwrap()
        };
        (Sender::new(&keys(true)), Receiver::new(&keys(false)))
    }

    fn stored() -> StoredPacket {
        let mut packet = StoredPacket::empty(Instant::now());
        packet.seq = 0x1_0002_0003;
        packet.timestamp = 90_000;
        packet.codec = Codec::Av1;
        packet.marker = true;
        packet.orientation = Some(3);
        packet.layering = Layering {
            spatial: 2,
            temporal: 1,
            builds_on: 1,
            is_fresh: true,
            begins: false,
            ends: true,
        };
        packet.spatial_sizes = Some([(320, 180), (640, 360), (1280, 720), (0, 0)]);
        assert!(packet.set_payload(&[9; 700]));
        packet
    }

    #[test]
    fn what_is_known_of_a_packet_comes_along() {
        let (sender, receiver) = ends();
        let packet = stored();
        let longest = "r".repeat(MAX_RID);
        for rid in ["", "f", &longest] {
            let head = Head {
                ssrc: 7,
                rid,
                index: 0x2345,
                transport_number: 9,
            };
            let mut out = [0; MAX_PACKET];
            for again in [false, true] {
                let len = match again {
                    false => write(&mut out, head, &packet, &sender),
                    true => write_again(&mut out, head, 77, &packet, &sender),
                };
                let sealed = &mut out[..len.unwrap()];
                let header = Header::parse(sealed).unwrap();
                let mut state = StreamState::default();
                let opened = receiver.open_rtp(&mut state, sealed, header.len);
                let plain = &sealed[..opened.unwrap().len];
                assert_eq!((header.ssrc, header.sequence_number), (7, 0x2345));
                assert_eq!((header.timestamp, header.marker), (90_000, true));
                let marked = read(header.extensions(plain)).unwrap();
                assert_eq!(marked.mark.seq, 0x0002_0003, "32 bits of it");
                assert_eq!(marked.mark.layering, packet.layering);
                assert_eq!(marked.spatial_sizes, packet.spatial_sizes);
                let payload = packet::payload(plain, &header).unwrap();
                assert_eq!(payload.len(), if again { 702 } else { 700 });
            }
        }
    }

    #[test]
    fn a_stream_keeps_its_name_from_link_to_link() {
        let of_host = SourceId(3 << 8 | 1);
        let name = of_host.on_links(99);
        assert_ne!(name, SourceId(3 << 8 | 2).on_links(99));
        assert_ne!(name, of_host.on_links(98), "another process's");
        assert_eq!(SourceId::relayed(name).on_links(1), name);
        let names = (0..10_000).map(|n| SourceId(n).on_links(5));
        assert_eq!(
            names.collect::<std::collections::HashSet<_>>().len(),
            10_000
        );
    }

    #[test]
    fn no_payload_type_means_two_things() {
        let (audio, video) = tracks();
        let codecs = audio.codecs.iter().chain(&video.codecs);
        let types = codecs.flat_map(|one| [Some(one.payload_type), one.rtx_payload_type]);
        let types: std::collections::HashSet<_> = types.flatten().collect();
        assert_eq!(types.len(), 2 * Codec::ALL.len());
    }
}
