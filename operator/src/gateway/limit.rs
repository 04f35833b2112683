//! How often one may ask: a token bucket a key, in bounded memory.
//!
//! A bucket is kept as one instant, that at which it is full again (the generic cell rate algorithm of ITU-T I.371); a
//! full bucket needs no memory. Time is an input.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A steady rate, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time in which one token comes back.
    interval: Duration,
    /// Time in which all of them do.
    depth: Duration,
}

/// A text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a rate: write requests a second and how many may come at once, for example 50:200"
)]
pub struct InvalidRate(String);

/// Counts for each key by itself.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    capacity: usize,
    recent: HashMap<K, Instant>,
    /// The keys before those. When `recent` is full it takes their place, so that the least recent are forgotten.
    older: HashMap<K, Instant>,
}

impl Rate {
    /// `rate` a second, `burst` at once.
    #[must_use]
    pub fn new(rate: NonZeroU32, burst: NonZeroU32) -> Rate {
        let interval = Duration::from_secs(1) / rate.get();
        Rate {
            interval,
            depth: interval * burst.get(),
        }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Rate, InvalidRate> {
        let parse = || {
            let (rate, burst) = text.split_once(':')?;
            Some(Rate::new(rate.parse().ok()?, burst.parse().ok()?))
        };
        parse().ok_or_else(|| InvalidRate(text.to_owned()))
    }
}

impl<K: Eq + Hash> Limiter<K> {
    /// Remembers at least the last `capacity` keys and at most twice as many. Whom it forgets may begin anew, so the
    /// capacity bounds what it withstands: more askers than that at once are another defence's work.
    #[must_use]
    pub fn new(rate: Rate, capacity: usize) -> Limiter<K> {
        Limiter {
            rate,
            capacity,
            recent: HashMap::new(),
            older: HashMap::new(),
        }
    }

    /// Takes a token of the key's bucket.
    ///
    /// # Errors
    /// If there is none: how long until there is one. Nothing is taken then.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        let full_at = self.recall(&key).map_or(now, |at| at.max(now));
        let next = full_at + self.rate.interval;
        let wait = next.saturating_duration_since(now + self.rate.depth);
        let is_allowed = wait.is_zero();
        self.remember(key, if is_allowed { next } else { full_at });
        if is_allowed { Ok(()) } else { Err(wait) }
    }

    fn recall(&mut self, key: &K) -> Option<Instant> {
        self.recent
            .get(key)
            .copied()
            .or_else(|| self.older.remove(key))
    }

    fn remember(&mut self, key: K, full_at: Instant) {
        if self.recent.len() >= self.capacity && !self.recent.contains_key(&key) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, full_at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limiter(rate: &str, capacity: usize) -> Limiter<u32> {
        Limiter::new(rate.parse().unwrap(), capacity)
    }

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (mut limiter, start) = (limiter("10:3", 8), Instant::now());
        for _ in 0..3 {
            assert_eq!(limiter.take(1, start), Ok(()));
        }
        assert_eq!(limiter.take(1, start), Err(ms(100)));
        assert_eq!(limiter.take(1, start + ms(40)), Err(ms(60)));
        assert_eq!(limiter.take(1, start + ms(100)), Ok(()));
        assert_eq!(limiter.take(1, start + ms(100)), Err(ms(100)));
    }

    #[test]
    fn a_bucket_fills_to_its_depth_and_no_more() {
        let (mut limiter, start) = (limiter("10:2", 8), Instant::now());
        assert_eq!(limiter.take(1, start), Ok(()));
        let later = start + Duration::from_secs(3600);
        for _ in 0..2 {
            assert_eq!(limiter.take(1, later), Ok(()));
        }
        assert_eq!(limiter.take(1, later), Err(ms(100)));
    }

    #[test]
    fn keys_do_not_disturb_one_another() {
        let (mut limiter, now) = (limiter("1:1", 8), Instant::now());
        assert_eq!(limiter.take(1, now), Ok(()));
        assert_eq!(limiter.take(2, now), Ok(()));
        assert!(limiter.take(1, now).is_err());
    }

    #[test]
    fn who_keeps_asking_is_not_forgotten_among_newcomers() {
        let (mut limiter, now) = (limiter("1:1", 4), Instant::now());
        assert_eq!(limiter.take(0, now), Ok(()));
        for newcomer in 1..100 {
            assert_eq!(limiter.take(newcomer, now), Ok(()));
            assert!(limiter.take(0, now).is_err(), "{newcomer}");
        }
    }

    #[test]
    fn a_clock_that_stands_or_jumps_back_is_harmless() {
        let (mut limiter, start) = (limiter("10:1", 8), Instant::now());
        let later = start + ms(500);
        assert_eq!(limiter.take(1, later), Ok(()));
        assert_eq!(limiter.take(1, start), Err(ms(600)));
        assert_eq!(limiter.take(1, later + ms(100)), Ok(()));
    }

    #[test]
    fn rates_are_read_strictly() {
        assert_eq!(
            "50:200".parse(),
            Ok(Rate {
                interval: ms(20),
                depth: Duration::from_secs(4)
            })
        );
        for text in [
            "", "50", "50:", ":1", "0:1", "1:0", "-1:1", "1:1:1", "1.5:2", " 1:1",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let largest = Rate::new(NonZeroU32::MIN, NonZeroU32::MAX);
        assert_eq!(Limiter::new(largest, 1).take((), Instant::now()), Ok(()));
    }

    proptest! {
        /// Over any stretch no more passes than the burst and what the rate brings; what is refused may come back
        /// when it was told to.
        #[test]
        fn the_limit_holds(gaps in prop::collection::vec(0u64..300, 1..200)) {
            let mut limiter = limiter("10:5", 8);
            let start = Instant::now();
            let (mut now, mut passed) = (start, 0u128);
            for gap in gaps {
                now += ms(gap);
                match limiter.take(1, now) {
                    Ok(()) => passed += 1,
                    Err(wait) => {
                        prop_assert!(limiter.take(1, now + wait - Duration::from_nanos(1)).is_err());
                        now += wait;
                        prop_assert_eq!(limiter.take(1, now), Ok(()));
                        passed += 1;
                    }
                }
                prop_assert!(passed <= 5 + (now - start).as_millis() / 100);
            }
        }

        #[test]
        fn memory_is_bounded(keys in prop::collection::vec(any::<u32>(), 0..400)) {
            let mut limiter = limiter("1:1", 16);
            let now = Instant::now();
            for key in keys {
                let _ = limiter.take(key, now);
                prop_assert!(limiter.recent.len() <= 16 && limiter.older.len() <= 16);
            }
        }
    }
}
