//! The packet path without sockets or clocks: what comes in from a publisher, how it is kept, and
//! how each viewer's copy is made.
//!
//! A packet's way: [`ingest`] opens and names it, [`layer`] stores it once, [`forwarder`] gives it
//! the sequence number and timestamp that one viewer expects next, [`writer`] makes the bytes.

pub mod allocation;
#[cfg(test)]
mod behind;
pub mod deadline;
pub mod forwarder;
pub mod hiding;
pub mod ingest;
pub mod keyframes;
pub mod ladder;
pub mod layer;
pub mod link;
pub mod notes;
pub mod pacer;
pub mod packet;
pub mod playout;
pub mod pool;
pub mod quality;
pub mod redundancy;
pub mod sync;
pub mod writer;
