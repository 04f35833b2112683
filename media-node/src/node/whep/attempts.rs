//! When a server is asked again. Pure.

use std::time::Duration;

use showrunner_protocol::control::PullFailure;

/// Rest after the first failure; doubles with each.
const FIRST_REST: Duration = Duration::from_millis(500);
/// The longest rest while the server may be there any moment …
const LONGEST_REST: Duration = Duration::from_secs(15);
/// … and when somebody has to do something first.
const LONGEST_REST_OF_REFUSED: Duration = Duration::from_secs(60);
/// A show that was there for so long did not fail at once: the next rest is the first again.
const LASTED: Duration = Duration::from_secs(10);
/// What a server may ask for (`Retry-After`).
const RETRY_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: u32,
}

impl Attempts {
    /// How long to rest after a failure. `lasted` is how long the show was there before, `retry_after` what the server
    /// asks for. `jitter` is between 0 and 1: pods that lost one server together don't come back together.
    pub(super) fn rest(
        &mut self,
        failure: PullFailure,
        lasted: Duration,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Duration {
        if lasted >= LASTED {
            self.failures = 0;
        }
        let longest = match failure {
            PullFailure::Invalid | PullFailure::Unauthorized | PullFailure::BadAnswer => {
                LONGEST_REST_OF_REFUSED
            }
            _ => LONGEST_REST,
        };
        let growing = FIRST_REST.saturating_mul(1 << self.failures.min(16));
        let growing = growing.min(longest);
        self.failures = self.failures.saturating_add(1);
        let asked = retry_after.map(|asked| asked.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end()));
        let rest = match (asked, failure) {
            // It knows best when somebody may be on air.
            (Some(asked), PullFailure::NotLive) => asked,
            (Some(asked), _) => asked.max(growing),
            (None, _) => growing,
        };
        rest.mul_f64(1.0 + 0.25 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(100);

    fn rests(failure: PullFailure, count: usize) -> Vec<u128> {
        let mut attempts = Attempts::default();
        let rest = |_| attempts.rest(failure, MOMENT, None, 0.0).as_millis();
        (0..count).map(rest).collect()
    }

    #[test]
    fn rests_grow_up_to_a_bound() {
        let unreachable = rests(PullFailure::Unreachable, 8);
        assert_eq!(
            unreachable,
            [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]
        );
        let refused = rests(PullFailure::Unauthorized, 100);
        assert_eq!((refused[5], refused[99]), (16_000, 60_000));
    }

    #[test]
    fn a_show_that_lasted_is_asked_for_soon() {
        let mut attempts = Attempts::default();
        for _ in 0..5 {
            attempts.rest(PullFailure::Unreachable, MOMENT, None, 0.0);
        }
        let rest = attempts.rest(PullFailure::Ended, Duration::from_secs(60), None, 0.0);
        assert_eq!(rest, FIRST_REST);
        let next = attempts.rest(PullFailure::Ended, MOMENT, None, 0.0);
        assert_eq!(next, 2 * FIRST_REST, "one that ends at once does not");
    }

    #[test]
    fn what_the_server_asks_for_counts_within_bounds() {
        let after = |failure, seconds| {
            let asked = Some(Duration::from_secs(seconds));
            let mut attempts = Attempts { failures: 3 };
            attempts.rest(failure, MOMENT, asked, 0.0).as_secs()
        };
        assert_eq!(after(PullFailure::NotLive, 2), 2);
        assert_eq!(after(PullFailure::NotLive, 0), 1);
        assert_eq!(after(PullFailure::NotLive, 86_400), 60);
        assert_eq!(after(PullFailure::Refused, 2), 4, "it is overloaded");
        assert_eq!(after(PullFailure::Refused, 20), 20);
    }

    #[test]
    fn pods_don_t_come_back_together() {
        let rest = |jitter| {
            let mut attempts = Attempts::default();
            attempts.rest(PullFailure::Unreachable, MOMENT, None, jitter)
        };
        assert_eq!(rest(1.0), Duration::from_millis(625));
        assert!(rest(0.0) < rest(0.5));
    }
}
