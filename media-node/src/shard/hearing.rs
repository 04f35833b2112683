//! Whether a viewer is heard of, and whether it ought to be. Pure.

use std::time::{Duration, Instant};

use showrunner_rtp::bwe::Sending;

/// Who was not heard of for so long is silent. Transport-wide feedback comes every 50 to 250 ms.
pub const SILENCE: Duration = Duration::from_millis(600);
/// Media that last went out longer ago than this is acknowledged already, or lost.
const GOES_ON: Duration = Duration::from_millis(300);
/// Who was sent nothing for a while has had nothing to say, and may take so long to begin again.
const RESUMES: Duration = Duration::from_secs(1);
/// A viewer that has an answer begins with its checks within this time, or never.
const FIRST_CHECK: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(15);

/// Of how many viewers something was heard, and of how many nothing was that ought to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// Something authentic came from them a moment ago.
    pub heard: u32,
    /// Nothing did, and it should have.
    pub missed: u32,
}

impl Hearing {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Hearing) -> Hearing {
        Hearing {
            heard: self.heard + other.heard,
            missed: self.missed + other.missed,
        }
    }

    /// Counts one more.
    pub(super) fn count(&mut self, viewer: &Signs, now: Instant) {
        match viewer.is_heard(now) {
            Some(true) => self.heard += 1,
            Some(false) => self.missed += 1,
            None => {}
        }
    }
}

/// What there is to be heard of a viewer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    /// When it was let in.
    pub(super) admitted: Instant,
    /// When the last check or report came that only it can have made.
    pub(super) heard: Option<Instant>,
    /// What goes out to it, if it says many times a second what it gets.
    pub(super) acknowledges: Option<Sending>,
}

impl Signs {
    /// None if nothing follows from its silence: it has nothing to say, or says it seldom.
    fn is_heard(&self, now: Instant) -> Option<bool> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let Some(heard) = self.heard else {
            let is_due = FIRST_CHECK.contains(&since(self.admitted));
            return is_due.then_some(false);
        };
        if since(heard) < SILENCE {
            return Some(true);
        }
        let sending = self.acknowledges?;
        let is_due = since(sending.last) < GOES_ON && since(sending.began) >= RESUMES;
        is_due.then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ought_to_be_heard_and_who_is() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let sending = |began, last| {
            Some(Sending {
                began: at(began),
                last: at(last),
            })
        };
        let goes_on = sending(0, 9_990);
        for (admitted, heard, acknowledges, is_heard, why) in [
            (0, Some(9_950), goes_on, Some(true), "it acknowledges"),
            (0, Some(9_950), None, Some(true), "it checks"),
            (0, Some(9_300), goes_on, Some(false), "it ought to"),
            (0, Some(9_300), None, None, "it speaks once a second"),
            (0, Some(9_300), sending(0, 9_600), None, "nothing is sent"),
            (
                0,
                Some(5_000),
                sending(9_100, 9_990),
                None,
                "since just now",
            ),
            (
                0,
                Some(5_000),
                sending(8_900, 9_990),
                Some(false),
                "it should",
            ),
            (9_500, None, None, None, "it has just come"),
            (8_900, None, None, Some(false), "it never came"),
            (0, None, None, Some(false), "in ten seconds"),
        ] {
            let viewer = Signs {
                admitted: at(admitted),
                heard: heard.map(at),
                acknowledges,
            };
            assert_eq!(viewer.is_heard(at(10_000)), is_heard, "{why}");
        }
        let gone = Signs {
            admitted: start,
            heard: None,
            acknowledges: None,
        };
        assert_eq!(gone.is_heard(at(15_100)), None, "it is over");
    }
}
