//! What joining, being in and leaving a session mean to the one who signals.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use showrunner_sdp::OfferError;

use crate::media::ladder::MAX_RUNGS;

/// Whose media a session carries, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends to the node (WHIP).
    Publisher,
    /// Sends the node further layers of a publisher's picture (WHIP).
    Transcoder,
    /// Receives from the node (WHEP).
    Viewer,
}

/// A session's unguessable name: 128 random bits in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

/// Why a session could not be made. Each maps to one HTTP status.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The offer was refused (400 or 422, as the error says).
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The room is not one of this node's, or it has not got it yet from the pod that it is to take it from (404).
    #[error("this node does not have the room")]
    NoSuchRoom,
    /// A host came to a pod that takes the room from another (404: another pod has it for hosts).
    #[error("this node takes no hosts of the room: it has it from another")]
    Edge,
    /// A host came to a room whose show comes from another server (403).
    #[error("nobody can publish in this room: its show is pulled from another server")]
    Pulled,
    /// A viewer came before the host (409 + Retry-After).
    #[error("nobody is on air in this room yet")]
    NotLive,
    /// Another host is on air (409 + Retry-After).
    #[error("another host is on air in this room")]
    Occupied,
    /// A transcoder came to a host who sends sound alone (409 + Retry-After).
    #[error("the host on air sends no picture")]
    NoPicture,
    /// Transcoders add as many layers as they may already (409 + Retry-After).
    #[error("transcoders may add {MAX_RUNGS} layers to a room, and this offer would make it more")]
    LadderFull,
    /// The node is full, draining, or its shards are behind (503 + Retry-After).
    #[error("{0}")]
    Overloaded(&'static str),
}

/// A new session and the answer to its offer.
pub struct Joined {
    /// Names the session resource.
    pub id: SessionId,
    /// The SDP answer.
    pub answer: String,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client sent DELETE.
    Deleted,
    /// No authenticated consent for 30 s (RFC 7675), or never connected.
    ConsentExpired,
    /// The peer closed DTLS.
    ClosedByPeer,
    /// Transport failure: DTLS error, certificate mismatch …
    TransportFailed,
    /// The node is going away.
    Shutdown,
    /// The room is over.
    RoomEnded,
    /// Taken over by the same host publishing anew.
    Replaced,
    /// It added layers to the picture of a host who is gone.
    OffAir,
}

/// What happens in a room that its viewers may be told (WHEP server-sent events).
#[derive(Clone, Debug, PartialEq)]
pub enum RoomEvent {
    /// A host is on air.
    Active,
    /// The host is off air.
    Inactive,
    /// The layers that can be chosen changed.
    Layers(Arc<[LayerInfo]>),
    /// What this viewer is sent of the picture changed.
    Adaptation(Adaptation),
    /// How many watch now.
    ViewerCount(u32),
    /// Move to another node.
    Reconnect {
        /// Where to POST a new offer; none: the same endpoint.
        url: Option<String>,
        /// Each viewer is told at a moment of its own in this time, so that not all move at once.
        within: Duration,
    },
    /// The room is over.
    Ended,
    /// Of the layers that its host sends, these are wanted, by RID; the others need not be sent. To hosts alone.
    Wanted(Arc<[Arc<str>]>),
}

/// What a viewer is sent of the picture, and why it is no better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adaptation {
    /// The layer; none: the picture is paused, and comes back by itself.
    pub layer: Option<AdaptedLayer>,
    /// Why it is no better.
    pub reason: AdaptationReason,
    /// What the viewer's path carries, in bit/s.
    pub estimate_bps: u64,
}

/// The layer that a viewer is to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptedLayer {
    /// Its RID, empty without simulcast.
    pub rid: Arc<str>,
    /// Picture size in pixels, if known.
    pub size: Option<(u16, u16)>,
}

/// Why a viewer is sent no better picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdaptationReason {
    /// There is no better on air.
    Best,
    /// The viewer's choice or the room allows no better.
    Limit,
    /// The path carries no better, or is not known to.
    Path,
}

impl AdaptationReason {
    /// As events name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Best => "none",
            Self::Limit => "choice",
            Self::Path => "network",
        }
    }
}

/// One simulcast layer on air.
pub use showrunner_protocol::control::Layer as LayerInfo;

/// What a viewer asked for by the layer extension.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LayerChoice {
    /// This RID, if on air.
    pub rid: Option<String>,
    /// No higher spatial layer than this.
    pub max_spatial: Option<u8>,
    /// No higher temporal layer than this.
    pub max_temporal: Option<u8>,
    /// No larger than this width, in pixels; 0: no video.
    pub max_width: Option<u16>,
    /// No larger than this height, in pixels; 0: no video.
    pub max_height: Option<u16>,
}

impl LayerChoice {
    /// Whether no picture at all is asked for: none is 0 pixels wide or high.
    #[must_use]
    pub fn is_no_video(&self) -> bool {
        [self.max_width, self.max_height].contains(&Some(0))
    }
}

/// Why an operation on a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No such session (404): it ended or never was.
    #[error("no such session: it has ended or never existed")]
    NotFound,
    /// The layer asked for is not on air (404/400).
    #[error("{0}")]
    NoSuchLayer(String),
    /// More reports than a session may send (429).
    #[error("a session's reports come too often: one every few seconds is enough")]
    TooManyReports,
    /// The shard is too busy (503).
    #[error("the node is overloaded")]
    Overloaded,
}

/// New ICE parameters after a restart, for the `trickle-ice-sdpfrag` answer.
pub struct IceRestarted {
    /// New local ufrag.
    pub ufrag: String,
    /// New local password.
    pub pwd: String,
    /// The node's candidates, as in the answer.
    pub candidates: Vec<showrunner_sdp::Candidate>,
}

impl SessionId {
    pub(super) fn generate(random: &SystemRandom) -> Option<Self> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes).ok()?;
        Some(Self(URL_SAFE_NO_PAD.encode(bytes).into()))
    }

    /// Reads a session's name from a URL.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 22 && URL_SAFE_NO_PAD.decode(text).is_ok()).then(|| Self(text.into()))
    }

    /// The part that logs may show: enough to tell sessions apart, too little to use one.
    pub(super) fn for_logs(&self) -> Arc<str> {
        self.0.get(..6).unwrap_or_default().into()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Role {
    /// As metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Transcoder => "transcoder",
            Self::Viewer => "viewer",
        }
    }
}

impl EndReason {
    /// As metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::ConsentExpired => "consent_expired",
            Self::ClosedByPeer => "closed_by_peer",
            Self::TransportFailed => "transport_failed",
            Self::Shutdown => "shutdown",
            Self::RoomEnded => "room_ended",
            Self::Replaced => "replaced",
            Self::OffAir => "off_air",
        }
    }
}
