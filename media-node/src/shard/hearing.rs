//! Whether a viewer is heard of, and whether it ought to be. Pure.

use std::time::{Duration, Instant};

use showrunner_rtp::bwe::Sending;

/// Who was not heard of for so long is silent. Transport-wide feedback comes every 50 to 250 ms.
pub const SILENCE: Duration = Duration::from_millis(600);
/// As long as the last packet is no older, more is on its way.
const GOES_ON: Duration = Duration::from_millis(300);
/// Who was sent nothing for a while has had nothing to say, and may take so long to begin again.
const RESUMES: Duration = Duration::from_secs(1);
/// For so long after the last packet it tells something whether that was answered.
const TELLS: Duration = Duration::from_secs(5);
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
    /// They are sent nothing any more, and answered what they were sent last.
    pub answered: u32,
}

impl Hearing {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Hearing) -> Hearing {
        Hearing {
            heard: self.heard + other.heard,
            missed: self.missed + other.missed,
            answered: self.answered + other.answered,
        }
    }

    /// Counts one more.
    pub(super) fn count(&mut self, viewer: &Signs, now: Instant) {
        match viewer.judge(now) {
            Some(Verdict::Heard) => self.heard += 1,
            Some(Verdict::Missed) => self.missed += 1,
            Some(Verdict::Answered) => self.answered += 1,
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
    /// What has left for it, if it says many times a second what it gets.
    pub(super) sending: Option<Sending>,
}

/// See [`Hearing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Heard,
    Missed,
    Answered,
}

impl Signs {
    /// None if nothing follows from its silence: it has nothing to say, or says it seldom.
    fn judge(&self, now: Instant) -> Option<Verdict> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let Some(heard) = self.heard else {
            let is_due = FIRST_CHECK.contains(&since(self.admitted));
            return is_due.then_some(Verdict::Missed);
        };
        if since(heard) < SILENCE {
            return Some(Verdict::Heard);
        }
        let sending = self.sending?;
        let idle = since(sending.last);
        if idle < GOES_ON {
            return (since(sending.began) >= RESUMES).then_some(Verdict::Missed);
        }
        // Where its host is cut off as well, nothing is sent any more: then the last packets tell. Somebody may always
        // have lost the very last one, so they count only together.
        let was_heard_later = heard > sending.last + GOES_ON;
        if sending.is_reported || was_heard_later {
            return (idle < TELLS).then_some(Verdict::Answered);
        }
        (SILENCE..TELLS).contains(&idle).then_some(Verdict::Missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ought_to_be_heard_and_who_is() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let sending = |began, last, is_reported| {
            Some(Sending {
                began: at(began),
                last: at(last),
                is_reported,
            })
        };
        let goes_on = sending(0, 9_990, false);
        let (heard, missed, answered) = (
            Some(Verdict::Heard),
            Some(Verdict::Missed),
            Some(Verdict::Answered),
        );
        for (admitted, last_heard, sending, verdict, why) in [
            (0, Some(9_950), goes_on, heard, "it answers"),
            (0, Some(9_950), None, heard, "it checks"),
            (0, Some(9_300), goes_on, missed, "it ought to"),
            (0, Some(9_300), None, None, "it speaks once a second"),
            (
                0,
                Some(5_000),
                sending(9_100, 9_990, false),
                None,
                "it has just begun",
            ),
            (
                0,
                Some(5_000),
                sending(8_900, 9_990, false),
                missed,
                "it should by now",
            ),
            (
                0,
                Some(9_300),
                sending(0, 9_500, false),
                None,
                "it may still answer",
            ),
            (
                0,
                Some(9_300),
                sending(0, 9_300, false),
                missed,
                "the last are not answered",
            ),
            (
                0,
                Some(9_300),
                sending(0, 9_250, true),
                answered,
                "they are",
            ),
            (
                0,
                Some(9_300),
                sending(0, 8_900, false),
                answered,
                "it was there after them",
            ),
            (
                0,
                Some(4_900),
                sending(0, 4_900, false),
                None,
                "that was long ago",
            ),
            (0, Some(4_900), sending(0, 4_900, true), None, "so was this"),
            (9_500, None, None, None, "it has just come"),
            (8_900, None, None, missed, "it never came"),
            (0, None, None, missed, "in ten seconds"),
        ] {
            let viewer = Signs {
                admitted: at(admitted),
                heard: last_heard.map(at),
                sending,
            };
            assert_eq!(viewer.judge(at(10_000)), verdict, "{why}");
        }
        let gone = Signs {
            admitted: start,
            heard: None,
            sending: None,
        };
        assert_eq!(gone.judge(at(15_100)), None, "it is over");
    }
}
