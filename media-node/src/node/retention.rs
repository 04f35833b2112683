//! How long viewers stay in a room. Pure: what a clock says comes in.

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
