//! Makes one viewer's copy of a packet: header, payload, the viewer's VP8 ids, and the seal.

use showrunner_rtp::codec::vp8;
use showrunner_rtp::packet::HeaderWriter;
use showrunner_transport::srtp::{MAX_OVERHEAD, Sender, SrtpError};

use super::forwarder::Outgoing;
use super::packet::{MAX_PAYLOAD, StoredPacket};

/// Room that any packet of ours fits into: header, extensions (transport-wide number and
/// orientation), original sequence number of RTX, payload, SRTP tag.
pub const MAX_PACKET: usize = 12 + 12 + 2 + MAX_PAYLOAD + MAX_OVERHEAD;

/// What stays the same in all packets of one outgoing stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamHeader {
    /// SSRC.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Id of the orientation extension, if the viewer knows it.
    pub orientation_id: Option<u8>,
    /// Id of the transport-wide sequence number, if the viewer reports on it.
    pub transport_cc_id: Option<u8>,
}

/// Writes and seals a media packet into `out` (of at least [`MAX_PACKET`] bytes); its length.
///
/// `transport_number` is the packet's transport-wide one. A packet that is sent twice under one
/// index must have the same one both times: the header is authenticated with the index, and GCM
/// gives its keys away over two different packets of one index.
///
/// # Errors
/// If `out` is too small or the cipher fails.
#[inline]
pub fn write_media(
    out: &mut [u8],
    stream: StreamHeader,
    packet: &StoredPacket,
    numbers: Outgoing,
    transport_number: u16,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let seq = numbers.index as u16;
    let header_len = header(
        out,
        stream,
        packet,
        seq,
        numbers.timestamp,
        transport_number,
    )?;
    let len = payload(out, header_len, packet, numbers)?;
    srtp.seal_rtp(out, header_len, len, numbers.index)
}

/// Writes and seals a retransmission (RFC 4588 §4) of a packet that went out as `numbers`.
///
/// # Errors
/// If `out` is too small or the cipher fails.
pub fn write_rtx(
    out: &mut [u8],
    stream: StreamHeader,
    rtx_index: u64,
    packet: &StoredPacket,
    numbers: Outgoing,
    transport_number: u16,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let seq = rtx_index as u16;
    let header_len = header(
        out,
        stream,
        packet,
        seq,
        numbers.timestamp,
        transport_number,
    )?;
    let original = (numbers.index as u16).to_be_bytes();
    out.get_mut(header_len..header_len + 2)
        .ok_or(SrtpError::TooShort)?
        .copy_from_slice(&original);
    let len = payload(out, header_len + 2, packet, numbers)?;
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
    transport_number: u16,
    srtp: &Sender,
) -> Result<usize, SrtpError> {
    let transport_number = transport_number.to_be_bytes();
    let header_len = HeaderWriter {
        marker: false,
        payload_type: stream.payload_type,
        sequence_number: rtx_index as u16,
        timestamp,
        ssrc: stream.ssrc,
    }
    .write_with(
        out,
        &[(stream.transport_cc_id.unwrap_or(0), &transport_number)],
    )
    .map_err(|_| SrtpError::TooShort)?;
    let len = header_len + PADDING;
    let padding = out.get_mut(header_len..len).ok_or(SrtpError::TooShort)?;
    padding.fill(0);
    padding[PADDING - 1] = PADDING as u8;
    out[0] |= 0x20;
    srtp.seal_rtp(out, header_len, len, rtx_index)
}

#[inline]
fn header(
    out: &mut [u8],
    stream: StreamHeader,
    packet: &StoredPacket,
    seq: u16,
    timestamp: u32,
    transport_number: u16,
) -> Result<usize, SrtpError> {
    let writer = HeaderWriter {
        marker: packet.marker,
        payload_type: stream.payload_type,
        sequence_number: seq,
        timestamp,
        ssrc: stream.ssrc,
    };
    let transport_number = transport_number.to_be_bytes();
    let orientation = stream.orientation_id.zip(packet.orientation);
    let written = match (stream.transport_cc_id, orientation) {
        (None, None) => writer.write(out),
        (Some(id), None) => writer.write_with(out, &[(id, &transport_number)]),
        (None, Some((id, value))) => writer.write_with(out, &[(id, &[value])]),
        (Some(number), Some((id, value))) => {
            writer.write_with(out, &[(number, &transport_number), (id, &[value])])
        }
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
