//! How long somebody was on which layer, and what it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Layers that are told apart; the time of further ones adds up under the last.
const MAX_LAYERS: usize = 16;

/// A layer that somebody is on.
#[derive(Clone, Copy, Debug)]
pub struct On<'a> {
    /// RID; empty without simulcast.
    pub rid: &'a Arc<str>,
    /// Spatial layer, of a stream that has several.
    pub spatial: Option<u8>,
    /// Picture size in pixels, if known.
    pub size: Option<(u16, u16)>,
}

/// Time on one layer of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerTime {
    /// RID; empty without simulcast.
    pub rid: Arc<str>,
    /// Spatial layer, of a stream that has several.
    pub spatial: Option<u8>,
    /// Picture size in pixels, if known.
    pub size: Option<(u16, u16)>,
    /// How long.
    pub time: Duration,
    /// Payload in that time: of a viewer with the layers that this one builds on, of a host alone.
    pub bytes: u64,
}

impl LayerTime {
    pub(super) fn new(on: On<'_>) -> Self {
        Self {
            rid: Arc::clone(on.rid),
            spatial: on.spatial,
            size: on.size,
            time: Duration::ZERO,
            bytes: 0,
        }
    }

    pub(super) fn is(&self, on: &On<'_>) -> bool {
        self.is_layer(on) && self.size == on.size
    }

    fn is_layer(&self, on: &On<'_>) -> bool {
        self.rid == *on.rid && self.spatial == on.spatial
    }
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
    pub fn on(&mut self, now: Instant, on: On<'_>) {
        let before = self.now.and_then(|(at, _)| self.seen.get(at));
        if before.is_some_and(|before| before.is(&on)) {
            return;
        }
        if let Some(before) = before.filter(|before| !before.is_layer(&on)) {
            match area(on.size).cmp(&area(before.size)) {
                std::cmp::Ordering::Greater => self.up = self.up.saturating_add(1),
                std::cmp::Ordering::Less => self.down = self.down.saturating_add(1),
                std::cmp::Ordering::Equal => {}
            }
        }
        self.off(now);
        let known = self.seen.iter().position(|layer| layer.is(&on));
        let at = known.unwrap_or_else(|| {
            if self.seen.len() < MAX_LAYERS {
                self.seen.push(LayerTime::new(on));
            }
            self.seen.len() - 1
        });
        self.now = Some((at, now));
    }

    /// So many bytes of it were sent.
    pub fn count(&mut self, bytes: usize) {
        if let Some((at, _)) = self.now
            && let Some(layer) = self.seen.get_mut(at)
        {
            layer.bytes += bytes as u64;
        }
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

    fn on<'a>(rid: &'a Arc<str>, spatial: Option<u8>, size: Option<(u16, u16)>) -> On<'a> {
        On { rid, spatial, size }
    }

    #[test]
    fn time_bytes_and_switches_add_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (q, f): (Arc<str>, Arc<str>) = ("q".into(), "f".into());
        let (small, large) = (Some((320, 180)), Some((1280, 720)));
        let mut layers = Layers::default();
        layers.count(999);
        layers.on(at(0), on(&q, None, None));
        layers.on(at(1), on(&q, None, small));
        layers.count(10);
        layers.on(at(3), on(&f, None, large));
        layers.count(100);
        layers.on(at(4), on(&f, None, large));
        layers.off(at(7));
        layers.on(at(9), on(&f, None, large));
        layers.on(at(10), on(&q, None, small));
        layers.count(20);
        layers.off(at(15));
        assert_eq!(layers.switches(), (1, 1));
        let times = layers.into_times();
        let figures: Vec<_> = times
            .iter()
            .map(|l| (&*l.rid, l.size, l.time.as_secs(), l.bytes))
            .collect();
        assert_eq!(
            figures,
            [("q", None, 1, 0), ("q", small, 7, 30), ("f", large, 5, 100)]
        );
    }

    #[test]
    fn layers_of_one_scalable_stream_are_told_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rid: Arc<str> = "".into();
        let (small, large) = (Some((320, 180)), Some((1280, 720)));
        let mut layers = Layers::default();
        layers.on(at(0), on(&rid, Some(0), small));
        layers.on(at(2), on(&rid, Some(2), large));
        layers.on(at(5), on(&rid, Some(0), small));
        layers.off(at(6));
        assert_eq!(layers.switches(), (1, 1));
        let times = layers.into_times();
        let seconds: Vec<_> = times
            .iter()
            .map(|l| (l.spatial, l.time.as_secs()))
            .collect();
        assert_eq!(seconds, [(Some(0), 3), (Some(2), 3)]);
    }

    #[test]
    fn a_publisher_that_changes_its_size_all_the_time_costs_no_memory() {
        let now = Instant::now();
        let mut layers = Layers::default();
        for size in 0..1000 {
            layers.on(
                now + Duration::from_secs(size.into()),
                on(&"f".into(), None, Some((size, size))),
            );
        }
        layers.off(now + Duration::from_secs(1000));
        let times = layers.into_times();
        assert_eq!(times.len(), MAX_LAYERS);
        let total: Duration = times.iter().map(|l| l.time).sum();
        assert_eq!(total, Duration::from_secs(1000));
    }
}
