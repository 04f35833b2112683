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

/// How often a shard listens …
const EVERY: Duration = Duration::from_millis(100);
/// … and by how much later it may: else it had no time. Clients wait for longer than that before they go elsewhere.
const LATE: Duration = Duration::from_millis(900);

/// When a shard listened. One that was not on its core for a while (it was frozen, or its machine was) does not know who
/// went meanwhile, so it misses nobody whom it has not heard since: nor whose last words waited for it.
#[derive(Debug, Default)]
pub(super) struct Ear {
    listened: Option<Instant>,
    /// Who was not heard later than this is not known to be there.
    awake_since: Option<Instant>,
}

impl Ear {
    /// It listens. Since when it has without a break, if there was one.
    pub(super) fn listen(&mut self, now: Instant) -> Option<Instant> {
        let before = self.listened.replace(now);
        if before.is_some_and(|at| now.saturating_duration_since(at) > EVERY + LATE) {
            self.awake_since = Some(now + SILENCE);
        }
        self.awake_since
    }
}

/// Of how many viewers something was heard, and of how many nothing was that ought to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// Something authentic came from them a moment ago.
    pub heard: u32,
    /// Nothing did, and it should have.
    pub missed: u32,
    /// They are sent nothing any more, and answered what they were sent last; or they have just been asked.
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

    /// Counts one more, by one who has listened without a break since then. True if it has nothing to say and must be
    /// asked for more to be known of it.
    pub(super) fn count(
        &mut self,
        viewer: &Signs,
        awake_since: Option<Instant>,
        now: Instant,
    ) -> bool {
        let verdict = viewer.judge(awake_since, now);
        match verdict {
            Some(Verdict::Heard) => self.heard += 1,
            Some(Verdict::Missed) => self.missed += 1,
            Some(Verdict::Answered) => self.answered += 1,
            None => {}
        }
        verdict == Some(Verdict::Answered) && !viewer.is_asked()
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
    /// A single packet after a pause: it is the question whether it is there.
    fn is_asked(&self) -> bool {
        self.sending
            .is_some_and(|sending| sending.last == sending.began)
    }

    /// None if nothing follows from its silence: it has nothing to say, or says it seldom.
    fn judge(&self, awake_since: Option<Instant>, now: Instant) -> Option<Verdict> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_known = awake_since.is_none_or(|from| self.heard.unwrap_or(self.admitted) >= from);
        let Some(heard) = self.heard else {
            let is_due = is_known && FIRST_CHECK.contains(&since(self.admitted));
            return is_due.then_some(Verdict::Missed);
        };
        if since(heard) < SILENCE {
            return Some(Verdict::Heard);
        }
        if !is_known {
            return None;
        }
        let sending = self.sending?;
        let idle = since(sending.last);
        if self.is_asked() && idle < SILENCE {
            return Some(Verdict::Answered);
        }
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
            (
                0,
                Some(9_000),
                sending(9_700, 9_700, false),
                answered,
                "it has just been asked",
            ),
            (
                0,
                Some(8_000),
                sending(9_300, 9_300, false),
                missed,
                "it was asked, and does not answer",
            ),
            (9_500, None, None, None, "it has just come"),
            (8_900, None, None, missed, "it never came"),
            (0, None, None, missed, "in ten seconds"),
        ] {
            let viewer = Signs {
                admitted: at(admitted),
                heard: last_heard.map(at),
                sending,
            };
            assert_eq!(viewer.judge(None, at(10_000)), verdict, "{why}");
        }
        let gone = Signs {
            admitted: start,
            heard: None,
            sending: None,
        };
        assert_eq!(gone.judge(None, at(15_100)), None, "it is over");
    }

    #[test]
    fn who_has_nothing_to_say_is_asked_once() {
        let start = Instant::now();
        let now = start + Duration::from_secs(10);
        let is_to_be_asked = |heard, began, last, is_reported| {
            let at = |millis: u64| start + Duration::from_millis(millis);
            let viewer = Signs {
                admitted: start,
                heard: Some(at(heard)),
                sending: Some(Sending {
                    began: at(began),
                    last: at(last),
                    is_reported,
                }),
            };
            Hearing::default().count(&viewer, None, now)
        };
        assert!(is_to_be_asked(9_300, 0, 9_250, true));
        assert!(!is_to_be_asked(9_500, 0, 9_450, true), "it is heard");
        assert!(!is_to_be_asked(9_300, 0, 9_300, false), "it is missed");
        assert!(!is_to_be_asked(9_000, 9_700, 9_700, false), "it has been");
        assert!(!is_to_be_asked(9_350, 9_300, 9_300, true), "it answered");
    }

    #[test]
    fn who_may_have_gone_while_nobody_listened_is_not_missed() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut ear = Ear::default();
        let listened: Vec<_> = [0, 100, 1_100, 1_200]
            .map(|millis| ear.listen(at(millis)))
            .into();
        assert_eq!(listened, [None; 4], "a moment later is nothing");
        let awake = ear.listen(at(5_000));
        assert_eq!(awake, Some(at(5_600)));
        assert_eq!(ear.listen(at(5_100)), awake);
        let viewer = |admitted, heard: Option<u64>| Signs {
            admitted: at(admitted),
            heard: heard.map(at),
            sending: Some(Sending {
                began: start,
                last: at(9_990),
                is_reported: false,
            }),
        };
        for (admitted, heard, verdict, why) in [
            (0, Some(500), None, "before"),
            (0, Some(5_010), None, "by what waited for it"),
            (
                0,
                Some(5_700),
                Some(Verdict::Missed),
                "it was there after that",
            ),
            (0, Some(9_900), Some(Verdict::Heard), "it is there"),
            (5_500, None, None, "it was let in before"),
            (
                5_700,
                None,
                Some(Verdict::Missed),
                "it was let in after that",
            ),
        ] {
            let judged = viewer(admitted, heard).judge(awake, at(10_000));
            assert_eq!(judged, verdict, "{why}");
        }
    }
}
