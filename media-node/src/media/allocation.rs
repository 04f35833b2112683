//! Shares out what a viewer's path carries: audio first, then the smallest picture of every video
//! track, then better ones by priority. Says for each track which of its rungs to send, or that it
//! pauses, and what the next better thing would take, so that the path can be probed for it.
//!
//! Down at once, up with care: a rung that fits must go on fitting for a moment, with something to
//! spare, and one that did not last is tried again later and later. Pure: time, rates and what is
//! on air go in, a decision comes out.

mod track;

#[cfg(test)]
mod tests;

use std::time::Instant;

use super::packet::SourceId;
use track::TrackState;

/// What a better picture must leave to spare: a path is never known to the bit, and many change.
const UP_MARGIN: f64 = 1.1;

/// What it must leave in the beginning, when a mistake costs little.
const UP_MARGIN_IN_BEGINNING: f64 = 1.06;

/// Shorter side of the largest picture for viewers who ask for less data, in pixels.
const REDUCED_LINES: u16 = 480;

/// One way to send a track: a simulcast layer, or a part of a scalable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The layer it is of.
    pub source: SourceId,
    /// Spatial layer; those below are sent with it.
    pub spatial: u8,
    /// Temporal layer; those below are sent with it.
    pub temporal: u8,
    /// Width of the picture in pixels; 0 if not known.
    pub width: u16,
    /// Height of the picture in pixels; 0 if not known.
    pub height: u16,
    /// Bit/s that it takes, with all that it builds on.
    pub bitrate_bps: u64,
}

impl Rung {
    /// Better is larger, then of more frames, then of more bits.
    fn rank(&self) -> (u32, u8, u64) {
        let pixels = u32::from(self.width) * u32::from(self.height);
        (pixels, self.temporal, self.bitrate_bps)
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.source, self.spatial, self.temporal) == (other.source, other.spatial, other.temporal)
    }
}

/// What a viewer lets a track be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// No wider picture than this, in pixels.
    pub max_width: Option<u16>,
    /// No higher picture than this, in pixels.
    pub max_height: Option<u16>,
    /// No longer shorter side than this, in pixels (a room's rule).
    pub max_lines: Option<u16>,
    /// The viewer asks for less data.
    pub reduced_data: bool,
    /// No higher spatial layer than this.
    pub max_spatial: Option<u8>,
    /// No higher temporal layer than this.
    pub max_temporal: Option<u8>,
    /// The layer that the viewer chose by hand: nothing better than it, and what it carries of it.
    pub chosen: Option<SourceId>,
}

/// A video track that a viewer can be sent.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// What is on air, in any order. Empty: nothing.
    pub rungs: &'a [Rung],
    /// What the viewer lets it be.
    pub limits: Limits,
}

/// What there is to share out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Bit/s that the path carries.
    pub estimate_bps: u64,
    /// Bit/s of audio, with its redundancy.
    pub audio_bps: u64,
    /// What retransmission and redundancy add to video, as a share of it: 0.1 is a tenth more.
    pub overhead: f64,
}

impl Budget {
    /// Bit/s that a rung takes on the path.
    fn cost(&self, bitrate_bps: f64) -> f64 {
        bitrate_bps * (1.0 + self.overhead.clamp(0.0, 4.0))
    }
}

/// Why a track is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is nothing better on air.
    Best,
    /// The viewer's window, choice or wish for less data, or the room's rule, allows no better.
    Limit,
    /// The path carries no better, or is not known to.
    Path,
    /// A better one did not last, and is not yet tried again.
    BackOff,
    /// Nothing is on air.
    OffAir,
}

/// What a track is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The rung to send; none: the track pauses.
    pub rung: Option<Rung>,
    /// The better rung that waits for the path to carry it.
    pub next: Option<Rung>,
    /// Why it is no better.
    pub why: Why,
}

/// What all tracks together take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Bit/s of what was decided, audio and overhead included.
    pub wanted_bps: u64,
    /// Bit/s that the path must carry for the first track that waits for a better rung; none if
    /// none waits.
    pub goal_bps: Option<u64>,
}

/// Decides for one viewer.
#[derive(Debug, Default)]
pub struct Allocator {
    tracks: Vec<TrackState>,
}

impl Allocator {
    /// Decides anew. `offers` are by priority, the most important first, and each keeps its place
    /// from call to call; `each` is called once for every offer, in that order.
    pub fn decide(
        &mut self,
        now: Instant,
        budget: &Budget,
        offers: &[Offer<'_>],
        mut each: impl FnMut(usize, Decision),
    ) -> Total {
        self.tracks.resize_with(offers.len(), TrackState::default);
        let mut left_bps = budget.estimate_bps.saturating_sub(budget.audio_bps) as f64;
        // The smallest pictures of all come before a better one of the first.
        let mut reserved_bps: f64 = offers.iter().map(|offer| least_cost(budget, offer)).sum();
        let mut wanted_bps = budget.audio_bps as f64;
        let mut raise_bps = None;
        for (at, (track, offer)) in self.tracks.iter_mut().zip(offers).enumerate() {
            let least_bps = least_cost(budget, offer);
            reserved_bps -= least_bps;
            // … but not before its own smallest.
            let share_bps = (left_bps - reserved_bps).max(left_bps.min(UP_MARGIN * least_bps));
            let decision = track.decide(now, share_bps, budget, offer);
            let cost_bps = track.cost_bps(budget);
            left_bps = (left_bps - cost_bps).max(0.0);
            wanted_bps += cost_bps;
            if let Some(next) = decision.next {
                let next_bps = track.proof() * budget.cost(next.bitrate_bps as f64);
                raise_bps.get_or_insert(next_bps - cost_bps);
            }
            each(at, decision);
        }
        Total {
            wanted_bps: wanted_bps as u64,
            goal_bps: raise_bps.map(|raise| (wanted_bps + raise).max(0.0) as u64),
        }
    }
}

/// What the cheapest rung of an offer costs.
fn least_cost(budget: &Budget, offer: &Offer<'_>) -> f64 {
    let least = offer.rungs.iter().map(|rung| rung.bitrate_bps).min();
    budget.cost(least.unwrap_or(0) as f64)
}
