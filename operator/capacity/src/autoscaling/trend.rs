//! Where the number of viewers is going, by the last minute, and how much it trembles.

use std::collections::VecDeque;

/// The least number of looks that make a trend.
const LEAST: usize = 5;
/// The most looks that are kept.
const MOST: usize = 600;

/// The standard deviation of what is normally distributed, as a multiple of the median distance of its steps from their
/// median: 1 / (0.6745 × √2).
const STEPS_TO_DEVIATION: f64 = 1.0484;

/// The last looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Trend(VecDeque<(i64, f64)>);

impl Trend {
    pub(super) fn add(&mut self, now: i64, viewers: f64, seconds: u32) {
        // A second look at one moment replaces the first.
        self.0.retain(|(at, _)| *at < now);
        self.0.push_back((now, viewers));
        while self.0.len() > MOST
            || self
                .0
                .front()
                .is_some_and(|(at, _)| now - at > i64::from(seconds))
        {
            self.0.pop_front();
        }
    }

    /// How far a look is from where it should be, as a standard deviation in viewers: by how much each differs from the
    /// one before, but for most of the others. So neither a rush nor a crowd that leaves at once is taken for noise.
    pub(super) fn noise(&self) -> f64 {
        if self.0.len() < LEAST {
            return 0.0;
        }
        let looks = self.0.iter().zip(self.0.iter().skip(1));
        let mut steps: Vec<f64> = looks.map(|((_, one), (_, next))| next - one).collect();
        let usual = median(&mut steps);
        steps
            .iter_mut()
            .for_each(|step| *step = (*step - usual).abs());
        median(&mut steps) * STEPS_TO_DEVIATION
    }

    /// Viewers who will have come by then if they go on coming: by the slope of the least squares, less its standard
    /// error, so that noise alone promises nobody. Never less than none.
    pub(super) fn growth(&self, seconds: u32) -> f64 {
        let count = self.0.len();
        let Some((origin, _)) = self.0.front().copied().filter(|_| count >= LEAST) else {
            return 0.0;
        };
        let number = count as f64;
        let points = || {
            let looks = self.0.iter();
            looks.map(|(at, viewers)| ((at - origin) as f64, *viewers))
        };
        let (mut time, mut level) = (0.0, 0.0);
        for (at, viewers) in points() {
            time += at / number;
            level += viewers / number;
        }
        let (mut spread, mut joint) = (0.0, 0.0);
        for (at, viewers) in points() {
            spread += (at - time) * (at - time);
            joint += (at - time) * (viewers - level);
        }
        if spread <= 0.0 {
            return 0.0;
        }
        let slope = joint / spread;
        let errors = points().map(|(at, viewers)| viewers - level - slope * (at - time));
        let variance = errors.map(|error| error * error).sum::<f64>() / (number - 2.0);
        let error = (variance / spread).sqrt();
        ((slope - error) * f64::from(seconds)).max(0.0)
    }
}

fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    *median
}
