//! A mobile network's capacity, made from a seed.
//!
//! Its logarithm wanders around what is typical and is pulled back to it, which gives the long
//! tails that measured traces have; on top of that comes fast fading, and every half minute or so
//! a handover, with little for a moment and another typical rate after it. It is like a real
//! network in what matters to a sender: it halves or doubles within seconds, never stands still,
//! and now and then all but ends.

use std::time::Duration;

use fastrand::Rng;

use crate::capacity::Capacity;

/// How often the rate changes.
pub const STEP: Duration = Duration::from_millis(100);

/// Longer than any run: then the last rate stays.
const LENGTH: Duration = Duration::from_secs(3600);

/// Seconds after which half of a deviation is left.
const HALF_LIFE: f64 = 4.0;
/// Standard deviation of the logarithm, in the long run: about a factor of 1.6 each way.
const SLOW_SPREAD: f64 = 0.45;
/// Of the fading that each step draws anew.
const FAST_SPREAD: f64 = 0.12;
/// Seconds from one handover to the next, on average.
const HANDOVER_EVERY: f64 = 30.0;
/// How long a handover takes.
const HANDOVER: Duration = Duration::from_millis(600);
/// By how much another cell's typical rate differs, as a standard deviation of the logarithm.
const CELL_SPREAD: f64 = 0.35;

/// Bounds of the rate, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Never less; a handover has this.
    pub lowest: u64,
    /// What it wanders around.
    pub typical: u64,
    /// Never more.
    pub highest: u64,
}

/// An hour of it. The same seed gives the same.
pub fn capacity(bounds: Bounds, seed: u64) -> Capacity {
    let mut rng = Rng::with_seed(seed);
    let step = STEP.as_secs_f64();
    let kept = 0.5f64.powf(step / HALF_LIFE);
    // So that the wandering has its spread in the long run.
    let kick = SLOW_SPREAD * (1.0 - kept * kept).sqrt();
    let (mut slow, mut cell, mut handover_until) = (0.0, 0.0, Duration::ZERO);
    let mut capacity = Capacity::new(Some(bounds.typical));
    let mut at = STEP;
    while at < LENGTH {
        slow = slow * kept + kick * normal(&mut rng);
        if rng.f64() < step / HANDOVER_EVERY {
            cell = CELL_SPREAD * normal(&mut rng);
            handover_until = at + HANDOVER;
        }
        let fast = FAST_SPREAD * normal(&mut rng);
        let rate = bounds.typical as f64 * f64::exp(slow + cell + fast);
        let rate = if at < handover_until {
            bounds.lowest
        } else {
            (rate as u64).clamp(bounds.lowest, bounds.highest)
        };
        capacity.push(at, rate);
        at += STEP;
    }
    capacity
}

/// A number of the standard normal distribution (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        lowest: 300_000,
        typical: 2_500_000,
        highest: 8_000_000,
    };

    #[test]
    fn it_stays_in_its_bounds_around_what_is_typical() {
        for seed in 0..8 {
            let capacity = capacity(BOUNDS, seed);
            let rates: Vec<u64> = capacity.steps().iter().filter_map(|s| s.1).collect();
            assert_eq!(rates.len(), 36_000);
            assert!(
                rates
                    .iter()
                    .all(|r| (BOUNDS.lowest..=BOUNDS.highest).contains(r))
            );
            let mean = capacity.mean(Duration::ZERO, LENGTH).unwrap();
            assert!((1.5e6..4.5e6).contains(&mean), "seed {seed}: {mean}");
        }
    }

    #[test]
    fn it_halves_within_four_seconds_time_and_again() {
        let capacity = capacity(BOUNDS, 1);
        let second = |n| {
            let from = Duration::from_secs(n);
            capacity.mean(from, from + Duration::from_secs(1)).unwrap()
        };
        let drops = (0..296)
            .filter(|n| second(n + 4) < second(*n) / 2.0)
            .count();
        assert!(drops >= 10, "{drops} in five minutes");
    }

    #[test]
    fn a_seed_gives_the_same_every_time() {
        assert_eq!(capacity(BOUNDS, 3), capacity(BOUNDS, 3));
        assert_ne!(capacity(BOUNDS, 3), capacity(BOUNDS, 4));
    }
}
