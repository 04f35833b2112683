//! What a node says of itself at `GET /v1/status`: the types of the protocol.

pub use showrunner_protocol::control::{PodStatus as NodeStatus, RoomStatus};
