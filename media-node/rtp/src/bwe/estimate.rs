//! What an estimate begins with, what it is told, and what it says.

use std::time::{Duration, Instant};

use super::probe::ClusterId;
use super::trend::Usage;

/// Bounds of the estimate, and where it begins, in bit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Never less than this.
    pub min_bps: u64,
    /// What is assumed of a path that nothing is known of.
    pub start_bps: u64,
    /// Never more than this.
    pub max_bps: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_bps: 50_000,
            start_bps: 600_000,
            max_bps: 30_000_000,
        }
    }
}

/// What a packet is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Media, for the first time.
    Media,
    /// Media once more.
    Retransmission,
    /// A probe's cluster.
    Probe(ClusterId),
}

/// What the estimate stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nothing has been heard yet: it is the starting value.
    Nothing,
    /// Transport-wide feedback.
    TransportWide,
    /// The peer's own estimate (REMB).
    Remb,
    /// Loss and round trip of receiver reports.
    ReceiverReports,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Bit/s that may be sent, everything counted: audio, video, retransmissions, probes.
    pub target_bps: u64,
    /// Bit/s that came through lately.
    pub acknowledged_bps: u64,
    /// Round trip, the time that the peer collects its feedback included.
    pub rtt: Option<Duration>,
    /// Share of packets lost lately, 0 to 1.
    pub loss: f32,
    /// The part of it that the path loses whatever is sent, 0 to 1.
    pub inherent_loss: f32,
    /// How long every packet waits in the path's queue.
    pub queue_delay: Duration,
    /// What the delay does.
    pub usage: Usage,
    /// The path has just become so narrow that its queue fills, and nobody has seen yet how far.
    pub is_filling: bool,
    /// A probe is on the way.
    pub is_probing: bool,
    /// What all this stands on.
    pub basis: Basis,
}

/// What has left for a peer that gives transport-wide feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Since when packets have without a pause.
    pub began: Instant,
    /// When the last one did.
    pub last: Instant,
    /// Whether feedback has come up to that one.
    pub is_reported: bool,
}
