//! How late the host's losses make its pictures: what is missing comes a round trip later.

use std::time::Duration;

/// What is only out of order isn't late.
const DISORDER: Duration = Duration::from_millis(20);

/// Fewer late pictures than this are a lesser evil than delay for all.
const RARE: f32 = 0.03;

/// Share of one picture in the mean: two seconds of them count.
const PICTURE: f32 = 1.0 / 64.0;

/// Share of one late picture in what late ones are late by.
const LATE_PICTURE: f32 = 1.0 / 8.0;

/// Of one layer.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// A packet came late since the last picture ended.
    is_late: bool,
    /// Share of pictures.
    share: f32,
    /// In seconds.
    by: Option<f32>,
}

impl Lateness {
    /// A packet came this long after one that follows it.
    pub(super) fn on_late(&mut self, by: Duration) {
        if by <= DISORDER || self.is_late {
            return;
        }
        self.is_late = true;
        let mean = self.by.get_or_insert(by.as_secs_f32());
        *mean += (by.as_secs_f32() - *mean) * LATE_PICTURE;
    }

    /// A picture has ended.
    pub(super) fn on_picture(&mut self) {
        let late = if std::mem::take(&mut self.is_late) {
            1.0
        } else {
            0.0
        };
        self.share += (late - self.share) * PICTURE;
    }

    /// How late they are, if so many are that it counts.
    pub(super) fn late_by(&self) -> Duration {
        let by = self.by.filter(|_| self.share > RARE);
        by.map_or(Duration::ZERO, Duration::from_secs_f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of which each `nth` is late.
    fn after(pictures: usize, nth: usize, by: Duration) -> Duration {
        let mut lateness = Lateness::default();
        for picture in 1..=pictures {
            if picture % nth == 0 {
                lateness.on_late(by);
                lateness.on_late(by);
            }
            lateness.on_picture();
        }
        lateness.late_by()
    }

    #[test]
    fn many_late_pictures_count_soon_and_few_never() {
        let by = Duration::from_millis(120);
        assert!(after(60, 10, by).abs_diff(by) < Duration::from_millis(1));
        assert_eq!(after(1_000, 100, by), Duration::ZERO);
        assert_eq!(after(1_000, 4, Duration::from_millis(5)), Duration::ZERO);
    }

    #[test]
    fn what_was_is_forgotten() {
        let mut lateness = Lateness::default();
        for _ in 0..100 {
            lateness.on_late(Duration::from_millis(100));
            lateness.on_picture();
        }
        assert!(lateness.late_by() > Duration::ZERO);
        (0..300).for_each(|_| lateness.on_picture());
        assert_eq!(lateness.late_by(), Duration::ZERO);
    }
}
