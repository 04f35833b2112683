//! What a link carries, over time.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// Bits a second as a step function of the time since the scenario began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// From when on, how much; none is without a limit. The first begins at zero, times rise.
    steps: Vec<(Duration, Option<u64>)>,
}

impl Capacity {
    /// One that is `first` from the beginning.
    pub fn new(first: Option<u64>) -> Self {
        Self {
            steps: vec![(Duration::ZERO, first)],
        }
    }

    /// From `at` on it is `rate`. Steps that were after `at` are forgotten.
    pub fn then(&mut self, at: Duration, rate: Option<u64>) {
        self.steps.retain(|(since, _)| *since < at);
        self.steps.push((at, rate));
    }

    /// A further step; `at` must be after all others.
    pub(crate) fn push(&mut self, at: Duration, rate: u64) {
        self.steps.push((at, Some(rate)));
    }

    /// The steps: from when on, how many bits a second.
    pub fn steps(&self) -> &[(Duration, Option<u64>)] {
        &self.steps
    }

    fn index(&self, at: Duration) -> usize {
        self.steps
            .partition_point(|(since, _)| *since <= at)
            .saturating_sub(1)
    }

    /// Bits a second at a time; none is without a limit.
    pub fn at(&self, at: Duration) -> Option<u64> {
        self.steps.get(self.index(at)).and_then(|step| step.1)
    }

    /// When a packet of `bytes` has passed whose first bit starts at `start`, rounded up to a
    /// nanosecond. None if it never does, since nothing is carried any more.
    pub fn finish(&self, start: Duration, bytes: usize) -> Option<Duration> {
        // In billionths of a bit, so that nothing is rounded on the way.
        let mut left = bytes as u128 * 8 * NANOS;
        let mut at = start;
        for (n, (_, rate)) in self.steps.iter().enumerate().skip(self.index(start)) {
            let Some(rate) = rate.map(u128::from) else {
                return Some(at);
            };
            let end = self.steps.get(n + 1).map(|step| step.0);
            let carried = end.map(|end| end.saturating_sub(at).as_nanos() * rate);
            if rate > 0 && carried.is_none_or(|carried| left <= carried) {
                let nanos = u64::try_from(left.div_ceil(rate)).ok()?;
                return at.checked_add(Duration::from_nanos(nanos));
            }
            left -= carried?.min(left);
            at = end?.max(at);
        }
        None
    }

    /// Mean bits a second from `from` to `to`; none if it was without a limit at any time.
    pub fn mean(&self, from: Duration, to: Duration) -> Option<f64> {
        let mut sum = 0.0;
        for (n, (since, rate)) in self.steps.iter().enumerate() {
            let begin = (*since).max(from);
            let end = self.steps.get(n + 1).map_or(to, |step| step.0).min(to);
            if begin < end {
                sum += (*rate)? as f64 * (end - begin).as_secs_f64();
            }
        }
        Some(sum / to.saturating_sub(from).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_packet_takes_its_bits_over_the_rate() {
        let capacity = Capacity::new(Some(1_000_000));
        assert_eq!(capacity.finish(ms(3), 1250), Some(ms(13)));
        assert_eq!(Capacity::new(None).finish(ms(3), 1250), Some(ms(3)));
        assert_eq!(Capacity::new(Some(0)).finish(ms(3), 1250), None);
    }

    #[test]
    fn a_packet_that_is_half_through_goes_on_at_the_new_rate() {
        let mut capacity = Capacity::new(Some(1_000_000));
        capacity.then(ms(5), Some(0));
        capacity.then(ms(100), Some(500_000));
        capacity.then(ms(200), None);
        assert_eq!(capacity.finish(ms(0), 1250), Some(ms(110)));
        assert_eq!(capacity.finish(ms(199), 1_000_000), Some(ms(200)));
        assert_eq!(capacity.mean(ms(0), ms(100)), Some(50_000.0));
        assert_eq!(capacity.mean(ms(0), ms(201)), None);
        assert_eq!(capacity.at(ms(150)), Some(500_000));
    }

    proptest! {
        /// Back to back packets pass exactly as the integral of the rate says, but for a
        /// nanosecond each.
        #[test]
        fn what_passes_is_the_integral_of_the_rate(
            steps in prop::collection::vec((1u64..2000, 0u64..20_000_000), 1..20),
            sizes in prop::collection::vec(1usize..1500, 1..200),
        ) {
            let mut capacity = Capacity::new(Some(100_000));
            let mut at = Duration::ZERO;
            for (gap, rate) in steps {
                at += ms(gap);
                capacity.then(at, Some(rate));
            }
            capacity.then(at + ms(1000), Some(1_000_000));
            let mut now = Duration::ZERO;
            for size in &sizes {
                now = capacity.finish(now, *size).expect("it ends with a rate");
            }
            let bits = sizes.iter().sum::<usize>() as f64 * 8.0;
            let carried = capacity.mean(Duration::ZERO, now).unwrap() * now.as_secs_f64();
            // A nanosecond at 20 Mbit/s a packet, and what floats are off.
            let bound = sizes.len() as f64 * 0.02 + bits * 1e-9;
            prop_assert!(carried >= bits - bound && carried <= bits + bound, "{carried} of {bits}");
        }
    }
}
