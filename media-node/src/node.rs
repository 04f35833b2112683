//! The node as the signalling sees it: rooms, sessions and the events of both.
//!
//! HTTP handlers call this type; it hands sessions to the shards that carry their packets.

use std::sync::Arc;

use showrunner_sdp::{Offer, OfferError};
use tokio::sync::{broadcast, watch};

use crate::room::RoomName;

/// Whose media a session carries, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends to the node (WHIP).
    Publisher,
    /// Receives from the node (WHEP).
    Viewer,
}

/// A session's unguessable name: 128 random bits in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

/// Why a session could not be made. Each maps to one HTTP status.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The offer was refused (400, 406 or 422, as the error says).
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// A viewer came before the host (409 + Retry-After).
    #[error("nobody is on air in this room yet")]
    NotLive,
    /// Another host is on air (409 + Retry-After).
    #[error("another host is on air in this room")]
    Occupied,
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
    /// The node or the room is going away.
    Shutdown,
    /// Taken over by the same host publishing anew.
    Replaced,
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
    /// How many watch now.
    ViewerCount(u32),
    /// Move to another node.
    Reconnect {
        /// Where to POST a new offer; none: the same endpoint.
        url: Option<String>,
    },
}

/// One simulcast layer on air.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LayerInfo {
    /// RID; empty without simulcast.
    pub rid: String,
    /// Picture size in pixels, once known.
    pub size: Option<(u16, u16)>,
    /// Measured bitrate, bit/s.
    pub bitrate_bps: u64,
}

/// What a viewer asked for by the layer extension.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LayerChoice {
    /// This RID, if on air.
    pub rid: Option<String>,
    /// No larger than this width, in pixels.
    pub max_width: Option<u16>,
    /// No larger than this height, in pixels.
    pub max_height: Option<u16>,
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
// impl Node (Clone):
//   pub async fn publish(&self, room: &RoomName, offer: &Offer) -> Result<Joined, JoinError>
//   pub async fn watch(&self, room: &RoomName, offer: &Offer) -> Result<Joined, JoinError>
//   pub fn role(&self, id: &SessionId) -> Option<Role>
//   pub async fn restart_ice(&self, id: &SessionId, remote_ufrag: &str, remote_pwd: &str) -> Result<IceRestarted, SessionError>
//   pub async fn end(&self, id: &SessionId, reason: EndReason) -> Result<(), SessionError>
//   pub async fn choose_layer(&self, id: &SessionId, choice: LayerChoice) -> Result<(), SessionError>
//   pub fn layers(&self, id: &SessionId) -> Result<Arc<[LayerInfo]>, SessionError>
//   pub fn events(&self, id: &SessionId) -> Result<(Vec<RoomEvent> /*state now*/, broadcast::Receiver<RoomEvent>), SessionError>
//   pub fn ended(&self, id: &SessionId) -> Option<watch::Receiver<Option<EndReason>>>
//   pub fn status(&self) -> crate::status::NodeStatus (Serialize); pub fn is_ready(&self) -> bool
// SessionId: Display, FromStr-like `SessionId::parse(&str) -> Option`.
// RoomName (crate::room): `RoomName::new(namespace: &str, name: &str) -> Result<RoomName, InvalidRoomName>`, Display "namespace/name".
