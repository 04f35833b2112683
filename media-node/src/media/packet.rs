//! One media packet as the node keeps it: stored once, read by every viewer's forwarder.

use std::time::Instant;

use showrunner_rtp::codec::layering::{Layering, SpatialSizes};
use showrunner_rtp::codec::{Codec, vp8};

/// The largest RTP payload the node takes, in bytes: an Ethernet frame's worth.
pub const MAX_PAYLOAD: usize = 1460;

/// Names the stream that a packet came in on: one SSRC of one publisher session. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(pub u64);

/// A decrypted media packet, without the header fields that each viewer gets anew.
#[derive(Clone, Debug)]
pub struct StoredPacket {
    /// Extended sequence number of the source.
    pub seq: u64,
    /// RTP timestamp on the track's common timeline (see [`super::sync`]).
    pub timestamp: u32,
    /// When the datagram reached the node.
    pub arrival: Instant,
    /// Which payload format `payload` has.
    pub codec: Codec,
    /// Last packet of its frame (video), or start of a talk spurt (audio).
    pub marker: bool,
    /// A keyframe begins in this packet.
    pub starts_keyframe: bool,
    /// Which layer of a scalable stream it is of.
    pub layering: Layering,
    /// Picture sizes of the spatial layers, where they are told here.
    pub spatial_sizes: Option<SpatialSizes>,
    /// Where the fields are that a VP8 viewer gets rewritten.
    pub vp8: Option<vp8::Descriptor>,
    /// Coordination of video orientation (3GPP TS 26.114 §7.4.5), as received.
    pub orientation: Option<u8>,
    len: u16,
    data: [u8; MAX_PAYLOAD],
}

impl StoredPacket {
    /// An empty packet to be filled by [`Self::set_payload`].
    pub fn empty(now: Instant) -> Self {
        Self {
            seq: 0,
            timestamp: 0,
            arrival: now,
            codec: Codec::Opus,
            marker: false,
            starts_keyframe: false,
            layering: Layering::default(),
            spatial_sizes: None,
            vp8: None,
            orientation: None,
            len: 0,
            data: [0; MAX_PAYLOAD],
        }
    }

    /// The RTP payload.
    pub fn payload(&self) -> &[u8] {
        &self.data[..usize::from(self.len)]
    }

    /// Takes a copy of `payload`; false (and unchanged) if it is over [`MAX_PAYLOAD`].
    #[must_use]
    pub fn set_payload(&mut self, payload: &[u8]) -> bool {
        let Some(room) = self.data.get_mut(..payload.len()) else {
            return false;
        };
        room.copy_from_slice(payload);
        self.len = payload.len() as u16;
        true
    }
}
