//! The media node: the selective forwarding unit that hosts send to and viewers watch from.
//!
//! [`http`] is its door (WHIP, WHEP, status, metrics, the room page), [`node`] its memory of rooms
//! and sessions, [`shard`] the threads that carry packets, [`media`] what they do with each, [`lived`]
//! what people lived through.

mod clock;
pub mod config;
pub mod http;
pub mod lived;
mod load;
pub mod media;
pub mod metrics;
pub mod node;
pub mod room;
pub mod shard;
pub mod status;
