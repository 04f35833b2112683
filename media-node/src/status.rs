//! What a node says of itself at `GET /v1/status`.

use serde::Serialize;

use crate::node::LayerInfo;

/// A node and all that is on it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The program's version.
    pub version: &'static str,
    /// Whether it takes new sessions.
    pub ready: bool,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Sessions of all kinds.
    pub sessions: usize,
    /// Its rooms, by name.
    pub rooms: Vec<RoomStatus>,
}

/// One room.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomStatus {
    /// `namespace/name`.
    pub name: String,
    /// Whether a host is on air.
    pub active: bool,
    /// Connected viewers.
    pub viewers: u32,
    /// Codec of the audio, if any.
    pub audio_codec: Option<&'static str>,
    /// Codec of the video, if any.
    pub video_codec: Option<&'static str>,
    /// Video layers on air, best first.
    pub layers: Vec<LayerInfo>,
}
