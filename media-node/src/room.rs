//! The names of rooms: those of the protocol.

pub use showrunner_protocol::room::{InvalidRoomName, RoomName};
