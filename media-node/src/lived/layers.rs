//! How long somebody was on which layer.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Layers that are told apart; the time of further ones adds up under the last.
const MAX_LAYERS: usize = 16;

/// Time on one layer of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerTime {
    /// RID; empty without simulcast.
    pub rid: Arc<str>,
    /// Picture size in pixels, if known.
    pub size: Option<(u16, u16)>,
    /// How long.
    pub time: Duration,
}

/// Adds it up.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    seen: Vec<LayerTime>,
    /// Which of them it is now, and since when.
    now: Option<(usize, Instant)>,
    up: u32,
    down: u32,
}

impl Layers {
    /// This layer is on, perhaps as before.
    pub fn on(&mut self, now: Instant, rid: &Arc<str>, size: Option<(u16, u16)>) {
        let before = self.now.and_then(|(at, _)| self.seen.get(at));
        if before.is_some_and(|before| before.rid == *rid && before.size == size) {
            return;
        }
        if let Some(before) = before.filter(|before| before.rid != *rid) {
            match area(size).cmp(&area(before.size)) {
                std::cmp::Ordering::Greater => self.up = self.up.saturating_add(1),
                std::cmp::Ordering::Less => self.down = self.down.saturating_add(1),
                std::cmp::Ordering::Equal => {}
            }
        }
        self.off(now);
        let known = self
            .seen
            .iter()
            .position(|l| l.rid == *rid && l.size == size);
        let at = known.unwrap_or_else(|| {
            if self.seen.len() < MAX_LAYERS {
                self.seen.push(LayerTime {
                    rid: Arc::clone(rid),
                    size,
                    time: Duration::ZERO,
                });
            }
            self.seen.len() - 1
        });
        self.now = Some((at, now));
    }

    /// None is on.
    pub fn off(&mut self, now: Instant) {
        if let Some((at, since)) = self.now.take()
            && let Some(layer) = self.seen.get_mut(at)
        {
            layer.time += now.saturating_duration_since(since);
        }
    }

    /// Switches to a larger and to a smaller layer.
    pub fn switches(&self) -> (u32, u32) {
        (self.up, self.down)
    }

    /// The time on each, once it is [`Self::off`].
    pub fn into_times(self) -> Vec<LayerTime> {
        self.seen
    }
}

fn area(size: Option<(u16, u16)>) -> u32 {
    size.map_or(0, |(width, height)| u32::from(width) * u32::from(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_switches_add_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (q, f): (Arc<str>, Arc<str>) = ("q".into(), "f".into());
        let (small, large) = (Some((320, 180)), Some((1280, 720)));
        let mut layers = Layers::default();
        layers.on(at(0), &q, None);
        layers.on(at(1), &q, small);
        layers.on(at(3), &f, large);
        layers.on(at(4), &f, large);
        layers.off(at(7));
        layers.on(at(9), &f, large);
        layers.on(at(10), &q, small);
        layers.off(at(15));
        assert_eq!(layers.switches(), (1, 1));
        let times = layers.into_times();
        let seconds: Vec<_> = times
            .iter()
            .map(|l| (&*l.rid, l.size, l.time.as_secs()))
            .collect();
        assert_eq!(seconds, [("q", None, 1), ("q", small, 7), ("f", large, 5)]);
    }

    #[test]
    fn a_publisher_that_changes_its_size_all_the_time_costs_no_memory() {
        let now = Instant::now();
        let mut layers = Layers::default();
        for size in 0..1000 {
            layers.on(
                now + Duration::from_secs(size.into()),
                &"f".into(),
                Some((size, size)),
            );
        }
        layers.off(now + Duration::from_secs(1000));
        let times = layers.into_times();
        assert_eq!(times.len(), MAX_LAYERS);
        let total: Duration = times.iter().map(|l| l.time).sum();
        assert_eq!(total, Duration::from_secs(1000));
    }
}
