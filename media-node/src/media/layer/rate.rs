//! What a layer takes on the wire.

use std::time::{Duration, Instant};

use showrunner_rtp::codec::layering::{Layering, MAX_SPATIAL, MAX_TEMPORAL};

/// A new layer's bitrate is taken over no less than this: it begins with a keyframe.
const SHORTEST_WINDOW: Duration = Duration::from_millis(250);

/// Bitrate over windows of a second, of each spatial and temporal layer by itself.
#[derive(Debug)]
pub(super) struct RateMeter {
    /// When the first packet of the window came: a copy on another shard begins with what came before it was made.
    since: Option<Instant>,
    bytes: [[u64; MAX_TEMPORAL]; MAX_SPATIAL],
    /// Of the window before; until there is one, of what there is.
    pub(super) bps: [[u64; MAX_TEMPORAL]; MAX_SPATIAL],
    settled: bool,
}

impl RateMeter {
    pub(super) fn new() -> Self {
        Self {
            since: None,
            bytes: Default::default(),
            bps: Default::default(),
            settled: false,
        }
    }

    pub(super) fn count(&mut self, now: Instant, bytes: usize, layering: Layering) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= Duration::from_secs(1) {
            let elapsed = elapsed.as_secs_f64();
            self.bps = self
                .bytes
                .map(|of_spatial| of_spatial.map(|b| (b as f64 * 8.0 / elapsed) as u64));
            self.bytes = Default::default();
            self.since = Some(now);
            self.settled = true;
        }
        let spatial = usize::from(layering.spatial).min(MAX_SPATIAL - 1);
        let temporal = usize::from(layering.temporal).min(MAX_TEMPORAL - 1);
        let counted = &mut self.bytes[spatial][temporal];
        *counted += bytes as u64;
        if !self.settled {
            let elapsed = elapsed.max(SHORTEST_WINDOW).as_secs_f64();
            self.bps = self
                .bytes
                .map(|of_spatial| of_spatial.map(|b| (b as f64 * 8.0 / elapsed) as u64));
        }
    }

    /// Of a layer with all below it.
    pub(super) fn up_to(&self, spatial: usize, temporal: usize) -> u64 {
        let of_spatial = self.bps.iter().take(spatial + 1);
        of_spatial
            .flat_map(|bps| bps.iter().take(temporal + 1))
            .sum()
    }

    pub(super) fn highest_spatial(&self) -> usize {
        let is_there = |bps: &[u64; MAX_TEMPORAL]| bps.iter().any(|bps| *bps > 0);
        self.bps.iter().rposition(is_there).unwrap_or(0)
    }
}
