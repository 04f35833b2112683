//! Makes one viewer's copy of a packet: header, payload, the viewer's VP8 ids and AV1 frame numbers,
//! and the seal.

use showrunner_rtp::codec::{dependency, vp8};
use showrunner_rtp::packet::HeaderWriter;
use showrunner_rtp::red;
use showrunner_transport::srtp::{MAX_OVERHEAD, Sender, SrtpError};

use super::forwarder::{Copied, Outgoing};
use super::packet::{MAX_PAYLOAD, StoredPacket};

/// Room that any packet of ours fits into: header, extensions (transport-wide number, orientation,
/// playout delay, and what a dependency descriptor needs beside itself), original sequence number
/// of RTX, payload with dependency descriptor, SRTP tag.
pub const MAX_PACKET: usize = 12 + 24 + 2 + MAX_PAYLOAD + MAX_OVERHEAD;

/// What stays the same in all packets of one outgoing stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamHeader {
    /// SSRC.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Id of the orientation extension, if the viewer knows it.
    pub orientation_id: Option<u8>,
    /// Id of the dependency descriptor, if the viewer knows it.
    pub dependencies_id: Option<u8>,
    /// Id of the transport-wide sequence number, if the viewer reports on it.
    pub transport_cc_id: Option<u8>,
    /// The next packet's transport-wide sequence number; without an id for it, nothing.
    pub transport_number: u16,
    /// Id of the playout-delay extension and what it says, if there is news.
    pub playout_delay: Option<(u8, [u8; 3])>,
}

impl StreamHeader {
    fn has_extensions(&self) -> bool {
        let ids = [
            self.transport_cc_id,
            self.orientation_id,
            self.dependencies_id,
        ];
        ids.iter().any(Option::is_some) || self.playout_delay.is_some()
    }
}

/// Writes and seals a media packet into `out` (of at least [`MAX_PACKET`] bytes); its length.
///
/// A packet that is sent twice under one index must be the same both times, with all extensions:
/// GCM gives its keys away over two different packets of one index.
///
/// # Errors
/// If `out` is too small or the cipher fails.
#[inline]
pub fn write_media(
    out: &mut [u8],
    stream: StreamHeader,
    packet: &StoredPacket,
    numbers: Outgoing,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let header_len = header(out, stream, packet, numbers.index as u16, numbers)?;
    let len = payload(out, header_len, packet, numbers)?;
    srtp.seal_rtp(out, header_len, len, numbers.index)
}

/// Writes and seals a packet of sound that brings along `earlier` ones (RFC 2198), the oldest first.
/// `stream` has the payload type of redundant sound, `frames` is that of the sound itself.
///
/// # Errors
/// If `out` is too small or the cipher fails.
pub fn write_redundant<'p>(
    out: &mut [u8],
    stream: StreamHeader,
    frames: u8,
    packet: &StoredPacket,
    earlier: impl Iterator<Item = &'p StoredPacket> + Clone,
    numbers: Outgoing,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let header_len = header(out, stream, packet, numbers.index as u16, numbers)?;
    let block = |p: &'p StoredPacket| red::Block {
        payload_type: frames,
        offset: packet.timestamp.wrapping_sub(p.timestamp),
        frame: p.payload(),
    };
    let own = red::Block {
        payload_type: frames,
        offset: 0,
        frame: packet.payload(),
    };
    let room = out.get_mut(header_len..).ok_or(SrtpError::TooShort)?;
    let len = red::write(room, earlier.map(block), own).map_err(|_| SrtpError::TooShort)?;
    srtp.seal_rtp(out, header_len, header_len + len, numbers.index)
}

/// How much padding a filler has: the least that makes it one, to a multiple of four.
pub const FILLER: usize = 4;

/// Writes and seals a packet that carries nothing, in the place that was left for one which this
/// viewer is not sent. What [`write_media`] says of packets that are sent twice holds here, too.
///
/// # Errors
/// If `out` is too small or the cipher fails.
pub fn write_filler(
    out: &mut [u8],
    stream: StreamHeader,
    numbers: Outgoing,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    write_empty(out, stream, numbers.index, numbers.timestamp, FILLER, srtp)
}

/// Writes and seals a retransmission (RFC 4588 §4) of a packet that went out as `copied`.
///
/// # Errors
/// If `out` is too small or the cipher fails.
pub fn write_rtx(
    out: &mut [u8],
    stream: StreamHeader,
    rtx_index: u64,
    packet: &StoredPacket,
    copied: Copied,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let (Copied::Media(numbers) | Copied::Filler(numbers)) = copied;
    let header_len = header(out, stream, packet, rtx_index as u16, numbers)?;
    let original = (numbers.index as u16).to_be_bytes();
    out.get_mut(header_len..header_len + 2)
        .ok_or(SrtpError::TooShort)?
        .copy_from_slice(&original);
    let len = match copied {
        Copied::Media(numbers) => payload(out, header_len + 2, packet, numbers)?,
        Copied::Filler(_) => header_len + 2,
    };
    srtp.seal_rtp(out, header_len, len, rtx_index)
}

/// How much padding a packet of padding has, in bytes: the most that its last byte can tell.
pub const PADDING: usize = 255;

/// Writes and seals a packet of a retransmission stream that carries nothing but padding (RFC 3550
/// §5.1), to fill a path.
///
/// # Errors
/// If `out` is too small or the cipher fails.
pub fn write_padding(
    out: &mut [u8],
    stream: StreamHeader,
    rtx_index: u64,
    timestamp: u32,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    write_empty(out, stream, rtx_index, timestamp, PADDING, srtp)
}

/// A packet of `padding` bytes (up to 255) of padding and nothing else.
fn write_empty(
    out: &mut [u8],
    stream: StreamHeader,
    index: u64,
    timestamp: u32,
    padding: usize,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let transport_number = stream.transport_number.to_be_bytes();
    let header_len = HeaderWriter {
        marker: false,
        payload_type: stream.payload_type,
        sequence_number: index as u16,
        timestamp,
        ssrc: stream.ssrc,
    }
    .write_with(
        out,
        &[(stream.transport_cc_id.unwrap_or(0), &transport_number)],
    )
    .map_err(|_| SrtpError::TooShort)?;
    let len = header_len + padding;
    let room = out.get_mut(header_len..len).ok_or(SrtpError::TooShort)?;
    room.fill(0);
    if let Some(last) = room.last_mut() {
        *last = padding as u8;
    }
    out[0] |= 0x20;
    srtp.seal_rtp(out, header_len, len, index)
}

#[inline]
fn header(
    out: &mut [u8],
    stream: StreamHeader,
    packet: &StoredPacket,
    seq: u16,
    numbers: Outgoing,
) -> Result<usize, SrtpError> {
    let writer = HeaderWriter {
        marker: numbers.marker,
        payload_type: stream.payload_type,
        sequence_number: seq,
        timestamp: numbers.timestamp,
        ssrc: stream.ssrc,
    };
    let written = if stream.has_extensions() {
        // Those that there are none of have no id, and are left out.
        let transport_number = stream.transport_number.to_be_bytes();
        let orientation = stream.orientation_id.zip(packet.orientation);
        let (orientation_id, orientation) = orientation.unwrap_or_default();
        let (playout_id, bounds) = stream.playout_delay.unwrap_or_default();
        let mut copy;
        let described = numbers.dependencies.zip(packet.dependencies());
        let (dependencies_id, dependencies) = match stream.dependencies_id.zip(described) {
            Some((id, (numbered, (dependencies, value)))) => {
                copy = [0; dependency::MAX_LEN];
                let copy = copy.get_mut(..value.len()).ok_or(SrtpError::TooShort)?;
                copy.copy_from_slice(value);
                dependencies.rewrite(copy, numbered.frame_number, numbered.active_targets);
                (id, &*copy)
            }
            None => (0, &[][..]),
        };
        writer.write_with(
            out,
            &[
                (stream.transport_cc_id.unwrap_or(0), &transport_number),
                (orientation_id, &[orientation]),
                (playout_id, &bounds),
                (dependencies_id, dependencies),
            ],
        )
    } else {
        writer.write(out)
    };
    written.map_err(|_| SrtpError::TooShort)
}

#[inline]
fn payload(
    out: &mut [u8],
    at: usize,
    packet: &StoredPacket,
    numbers: Outgoing,
) -> Result<usize, SrtpError> {
    let payload = packet.payload();
    let len = at + payload.len();
    let room = out.get_mut(at..len).ok_or(SrtpError::TooShort)?;
    room.copy_from_slice(payload);
    if let Some(descriptor) = &packet.vp8 {
        vp8::rewrite(
            room,
            descriptor,
            numbers.picture_id,
            numbers.tl0_picture_index,
        );
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use showrunner_rtp::codec::PayloadInfo;
    use showrunner_rtp::codec::layering::LayerTracker;
    use showrunner_rtp::packet::Header;

    use super::*;
    use crate::media::forwarder::Numbered;

    #[test]
    fn a_viewer_gets_its_own_dependency_descriptor() {
        // Of a keyframe with one spatial and three temporal layers: too long for the one-byte form.
        let value = [
            0x80, 0, 1, 0x80, 0x02, 0x14, 0xea, 0xa8, 0x60, 0x41, 0x4d, 0x14, 0x10, 0x20, 0x84,
            0x27, 0x01, 0x3f, 0x00, 0xb3,
        ];
        let placed = LayerTracker::default().place(&PayloadInfo::default(), Some(&value), 0);
        let mut packet = StoredPacket::empty(Instant::now());
        assert!(packet.set_payload(&[7; 100]));
        assert!(packet.set_dependencies(placed.dependencies.unwrap(), &value));
        let stream = StreamHeader {
            ssrc: 1,
            payload_type: 96,
            orientation_id: None,
            dependencies_id: Some(13),
            transport_cc_id: Some(4),
            transport_number: 0x0102,
            playout_delay: None,
        };
        let numbers = Outgoing {
            index: 5,
            timestamp: 9,
            marker: true,
            picture_id: None,
            tl0_picture_index: None,
            dependencies: Some(Numbered {
                frame_number: 0x0304,
                active_targets: 0b001,
            }),
        };
        let mut out = [0; MAX_PACKET];
        let header_len = header(&mut out, stream, &packet, 5, numbers).unwrap();
        let header = Header::parse(&out).unwrap();
        assert_eq!(header.len, header_len);
        let elements: Vec<_> = header.extensions(&out).collect();
        let (id, written) = elements[1];
        assert_eq!((elements[0], id), ((4, &[1, 2][..]), 13));
        assert_eq!(written[..3], [0x80, 3, 4]);
        let (dependencies, stored) = packet.dependencies().unwrap();
        let mut expected = stored.to_vec();
        dependencies.rewrite(&mut expected, 0x0304, 0b001);
        assert_eq!(written, expected);
        let knows_none = StreamHeader {
            dependencies_id: None,
            ..stream
        };
        assert_eq!(
            super::header(&mut out, knows_none, &packet, 5, numbers),
            Ok(20)
        );
    }
}
