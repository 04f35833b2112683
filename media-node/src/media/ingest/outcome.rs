//! What becomes of a publisher's packet: media with all that is known of it, padding, or the reason why it was dropped.

use std::sync::Arc;

use showrunner_rtp::codec::dependency::Dependencies;
use showrunner_rtp::codec::layering::{Layering, SpatialSizes};
use showrunner_rtp::codec::{Codec, PayloadInfo};

use crate::media::packet::SourceId;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// The audio track.
    Audio,
    /// The video track.
    Video,
}

impl Track {
    /// Ticks a second of its RTP timestamps.
    pub(super) fn clock_rate(self) -> u32 {
        match self {
            Self::Audio => 48_000,
            Self::Video => 90_000,
        }
    }
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Not RTP, or cut off.
    Malformed,
    /// Failed authentication or was replayed.
    Unauthentic,
    /// An SSRC or payload type that was not negotiated, or too many of them.
    Unknown,
    /// Retransmission of a packet that was not missing, or a bandwidth probe.
    Redundant,
    /// Larger than the node forwards.
    TooLarge,
}

/// What a packet turned out to be.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all is media, and a box would allocate for each packet"
)]
pub enum Ingested<'a> {
    /// Media, to be stored and forwarded.
    Media(Media<'a>),
    /// Padding: nothing to forward, but its number must not look lost to viewers.
    Padding {
        /// The stream.
        source: SourceId,
        /// Its extended sequence number.
        seq: u64,
    },
}

/// A media packet of a bound stream.
#[derive(Debug)]
pub struct Media<'a> {
    /// Which track.
    pub track: Track,
    /// Which stream.
    pub source: SourceId,
    /// RID, empty without simulcast.
    pub rid: &'a Arc<str>,
    /// Payload format.
    pub codec: Codec,
    /// Extended sequence number.
    pub seq: u64,
    /// Timestamp on the track's common timeline.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// Orientation extension, if present.
    pub orientation: Option<u8>,
    /// What the payload header says.
    pub info: PayloadInfo,
    /// Which layer of a scalable stream it is of.
    pub layering: Layering,
    /// Picture sizes of the spatial layers, where they are told here.
    pub spatial_sizes: Option<SpatialSizes>,
    /// Its dependency descriptor, as it came, and what of it is rewritten.
    pub dependencies: Option<(Dependencies, &'a [u8])>,
    /// The payload.
    pub payload: &'a [u8],
}
