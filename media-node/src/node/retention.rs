//! How long viewers stay in a room, and whether those who lived through stalls stay shorter. Pure: what a clock says
//! comes in.

use std::time::Duration;

use showrunner_protocol::control::Retention;

const TEN: Duration = Duration::from_secs(10 * 60);
const THIRTY: Duration = Duration::from_secs(30 * 60);

/// The viewers of one room, by how long they stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stays(Retention);

impl Stays {
    /// A viewer left after this time.
    pub(super) fn left(&mut self, after: Duration) {
        self.is_there(after);
        self.0.left10 = self.0.left10.saturating_add(u32::from(after < TEN));
        self.0.left30 = self.0.left30.saturating_add(u32::from(after < THIRTY));
    }

    /// A viewer has been there for this time, and did not leave.
    pub(super) fn is_there(&mut self, since: Duration) {
        self.0.reached10 = self.0.reached10.saturating_add(u32::from(since >= TEN));
        self.0.reached30 = self.0.reached30.saturating_add(u32::from(since >= THIRTY));
    }

    /// As the status has them.
    pub(super) fn figures(&self) -> Retention {
        self.0
    }
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    None,
    Ten,
    Thirty,
}

/// The names of the marks that count, in minutes.
const MARKS: [(Mark, Duration, &str); 2] = [(Mark::Ten, TEN, "10"), (Mark::Thirty, THIRTY, "30")];

/// One more session that reached a mark or was left before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The mark's name, in minutes.
    pub(super) minutes: &'static str,
    /// Whether it was reached.
    pub(super) stayed: bool,
    /// Whether the picture had stood still before.
    pub(super) stalled: bool,
}

impl Mark {
    /// The marks that a session of this age has newly reached. `first_stall` is its age at its first stall.
    pub(super) fn advance(&mut self, age: Duration, first_stall: Option<Duration>) -> Vec<Step> {
        let mut steps = Vec::new();
        for (mark, at, minutes) in MARKS {
            if age >= at && (*self as u8) < (mark as u8) {
                *self = mark;
                steps.push(Step {
                    minutes,
                    stayed: true,
                    stalled: first_stall.is_some_and(|stall| stall < at),
                });
            }
        }
        steps
    }

    /// The marks that a session will not reach since its viewer left.
    pub(super) fn leave(self, stalled: bool) -> impl Iterator<Item = Step> {
        let missed = MARKS
            .into_iter()
            .filter(move |(mark, ..)| (self as u8) < (*mark as u8));
        missed.map(move |(_, _, minutes)| Step {
            minutes,
            stayed: false,
            stalled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_has_reached_a_mark_or_left_before_it_or_neither() {
        let retention = |reached10, left10, reached30, left30| Retention {
            reached10,
            left10,
            reached30,
            left30,
        };
        for (seconds, of_one_who_left, of_one_who_is_there) in [
            (0, retention(0, 1, 0, 1), retention(0, 0, 0, 0)),
            (599, retention(0, 1, 0, 1), retention(0, 0, 0, 0)),
            (600, retention(1, 0, 0, 1), retention(1, 0, 0, 0)),
            (1799, retention(1, 0, 0, 1), retention(1, 0, 0, 0)),
            (1800, retention(1, 0, 1, 0), retention(1, 0, 1, 0)),
            (86_400, retention(1, 0, 1, 0), retention(1, 0, 1, 0)),
        ] {
            let time = Duration::from_secs(seconds);
            let (mut left, mut there) = (Stays::default(), Stays::default());
            left.left(time);
            there.is_there(time);
            assert_eq!(left.figures(), of_one_who_left, "{seconds} s");
            assert_eq!(there.figures(), of_one_who_is_there, "{seconds} s");
        }
    }

    #[test]
    fn stalls_count_before_the_mark() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let step = |minutes, stayed, stalled| Step {
            minutes,
            stayed,
            stalled,
        };
        let mut mark = Mark::default();
        assert_eq!(mark.advance(minutes(9), None), []);
        assert_eq!(mark.advance(minutes(10), None), [step("10", true, false)]);
        assert_eq!(mark.advance(minutes(29), Some(minutes(20))), []);
        let left: Vec<_> = mark.leave(true).collect();
        assert_eq!(left, [step("30", false, true)]);
        assert_eq!(
            mark.advance(minutes(31), Some(minutes(20))),
            [step("30", true, true)]
        );
        assert_eq!(mark.leave(true).count(), 0);
        let mut late = Mark::default();
        let both = late.advance(minutes(40), Some(minutes(15)));
        assert_eq!(both, [step("10", true, false), step("30", true, true)]);
    }

    #[test]
    fn viewers_add_up() {
        let mut stays = Stays::default();
        for minutes in [1, 2, 11, 12, 31] {
            stays.left(Duration::from_secs(minutes * 60));
        }
        stays.is_there(THIRTY);
        let expected = Retention {
            reached10: 4,
            left10: 2,
            reached30: 2,
            left30: 4,
        };
        assert_eq!(stays.figures(), expected);
    }
}
