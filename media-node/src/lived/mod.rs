//! What people lived through: how long they watched, how often and how long the picture stood still, in which sizes they
//! saw it, and why they left.
//!
//! Pure: clocks are inputs. A shard notes what it sees of a session in a [`Viewing`] or a [`Hosting`], at a cost of a
//! few comparisons a frame; a page adds what only it can know in a [`report::Report`]; when the session is over, both
//! become one [`record::Record`], which [`sink`] writes. `docs/session-records.md` defines each figure.

pub mod agent;
pub mod hosting;
pub mod layers;
pub mod record;
pub mod report;
pub mod sink;
pub mod stalls;
pub mod viewing;

pub use hosting::Hosting;
pub use viewing::Viewing;

use std::time::Duration;

use self::layers::LayerTime;

/// What a shard saw of a session, from its first packet to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lived {
    /// From the offer to the first frame that was sent to a viewer, or the first packet that came from a host.
    pub first_media: Option<Duration>,
    /// From then to the end, without [`Self::off_air`] and [`Self::silent`].
    pub present: Duration,
    /// Time in which nobody sent frames.
    pub off_air: Duration,
    /// Time before the end in which nothing told that the peer was still there.
    pub silent: Duration,
    /// How often the picture stood still.
    pub stalls: u32,
    /// For how long in all.
    pub stalled: Duration,
    /// … and at the worst time.
    pub longest_stall: Duration,
    /// From the first frame to the first stall.
    pub first_stall: Option<Duration>,
    /// Time without video because the path carried none.
    pub paused: Duration,
    /// Time without video because the viewer wanted none.
    pub off: Duration,
    /// Switches to a larger layer.
    pub switches_up: u32,
    /// Switches to a smaller layer.
    pub switches_down: u32,
    /// How long on which layer.
    pub layers: Vec<LayerTime>,
    /// Datagrams of media, retransmissions included.
    pub packets: u64,
    /// Their bytes, without UDP and IP headers.
    pub bytes: u64,
    /// Packets that did not arrive at the first try.
    pub lost: u64,
    /// Packets that were sent again to a viewer, or recovered from a host.
    pub retransmitted: u64,
    /// Keyframes that were asked for.
    pub keyframe_requests: u32,
    /// Mean and longest round trip; none if nothing told.
    pub round_trip: Option<RoundTrip>,
}

/// Round trips of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    /// Of all measured ones.
    pub mean: Duration,
    /// The longest.
    pub longest: Duration,
}
