//! One media packet as the node keeps it: stored once, read by every viewer's forwarder.

use std::time::Instant;

use showrunner_rtp::codec::dependency::Dependencies;
use showrunner_rtp::codec::layering::{Layering, SpatialSizes};
use showrunner_rtp::codec::{Codec, vp8};

/// The largest RTP payload the node takes, with its dependency descriptor, in bytes: an Ethernet
/// frame's worth.
pub const MAX_PAYLOAD: usize = 1460;

/// Names the stream that a packet came in on: one SSRC of one publisher session. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(pub u64);

impl SourceId {
    /// The stream that a session of this process has in this place.
    pub fn of_session(session: u64, place: usize) -> SourceId {
        SourceId((session << 8) | place as u64)
    }

    /// Whether a session of this process sends it.
    pub fn is_of(self, session: u64) -> bool {
        self.0 >> 8 == session
    }
}

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
    dependencies: Option<Dependencies>,
    dependencies_len: u8,
    len: u16,
    /// The payload, and after it the dependency descriptor.
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
            dependencies: None,
            dependencies_len: 0,
            len: 0,
            data: [0; MAX_PAYLOAD],
        }
    }

    /// The RTP payload.
    pub fn payload(&self) -> &[u8] {
        &self.data[..usize::from(self.len)]
    }

    /// What to rewrite of the dependency descriptor, and its value; none if the packet has none.
    #[inline]
    pub fn dependencies(&self) -> Option<(&Dependencies, &[u8])> {
        let from = usize::from(self.len);
        let value = self
            .data
            .get(from..from + usize::from(self.dependencies_len))?;
        Some((self.dependencies.as_ref()?, value))
    }

    /// Takes a copy of `payload`, without a dependency descriptor; false (and unchanged) if it is
    /// over [`MAX_PAYLOAD`].
    #[must_use]
    pub fn set_payload(&mut self, payload: &[u8]) -> bool {
        let Some(room) = self.data.get_mut(..payload.len()) else {
            return false;
        };
        room.copy_from_slice(payload);
        self.len = payload.len() as u16;
        self.dependencies = None;
        self.dependencies_len = 0;
        true
    }

    /// Takes a copy of a dependency descriptor beside the payload that was set; false (and
    /// unchanged) if both together are over [`MAX_PAYLOAD`].
    #[must_use]
    pub fn set_dependencies(&mut self, dependencies: Dependencies, value: &[u8]) -> bool {
        let room = self.data.get_mut(usize::from(self.len)..);
        let stored = room.and_then(|room| dependencies.store(value, room));
        let Some(Ok(len)) = stored.map(u8::try_from) else {
            return false;
        };
        self.dependencies = Some(dependencies);
        self.dependencies_len = len;
        true
    }
}
