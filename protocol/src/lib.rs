//! What the parts of Showrunner say to one another: types, and how they are written. No I/O, no clock.
//!
//! Readers skip members that they don't know, so that an older pod and a newer operator understand each other; what
//! must not be skipped (the role of a pod in a room) is an enum, and an unknown one is refused.

pub mod control;
pub mod room;
pub mod token;

pub use room::{InvalidRoomName, RoomName};
