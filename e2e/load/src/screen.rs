//! What somebody saw over all of their sessions, one after the other: how long the picture stood still.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::report::say;

/// Nothing for this long is a reason to ask the node, as for pages.
const SILENCE: Duration = Duration::from_millis(600);
/// A node that says that all is well is not asked again for this long.
const REST: Duration = Duration::from_secs(5);

/// Frames after which a picture runs.
const RUNS_AFTER: u32 = 15;
/// A screen without a new frame for this long is off.
const OFF: Duration = Duration::from_secs(3);
/// A picture that stood still for so long is spoken of.
const LONG: Duration = Duration::from_secs(1);

/// One person's.
#[derive(Debug, Default)]
pub struct Screen {
    whose: String,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    last: Option<Instant>,
    longest: Duration,
}

impl Screen {
    /// Of somebody, for people who read of it.
    #[must_use]
    pub fn new(whose: String) -> Screen {
        Screen {
            whose,
            ..Screen::default()
        }
    }

    /// A whole frame is there, of the session of this number.
    pub fn show(&self, session: u32, now: Instant) {
        let mut seen = self.seen();
        let gap = seen.last.map(|last| now.saturating_duration_since(last));
        seen.longest = seen.longest.max(gap.unwrap_or_default());
        seen.last = Some(now);
        drop(seen);
        if let Some(gap) = gap.filter(|gap| *gap >= LONG) {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            say(format_args!(
                "{}: no new frame for {} ms until {:.3}, then by session {session}",
                self.whose,
                gap.as_millis(),
                since_epoch.unwrap_or_default().as_secs_f64(),
            ));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with the longest gap: what was before is told.
    pub fn reset(&self) {
        let mut seen = self.seen();
        seen.longest = Duration::ZERO;
    }

    /// Whether there is a picture.
    pub fn is_on(&self, now: Instant) -> bool {
        self.still(now).is_some_and(|since| since < OFF)
    }

    /// For how long there has been no new frame; none if there never was one.
    pub fn still(&self, now: Instant) -> Option<Duration> {
        let seen = self.seen();
        seen.last.map(|last| now.saturating_duration_since(last))
    }

    /// The longest time without a new frame, up to now; none if there never was one.
    pub fn longest_gap(&self, now: Instant) -> Option<Duration> {
        let seen = self.seen();
        let since_last = now.saturating_duration_since(seen.last?);
        Some(seen.longest.max(since_last))
    }
}

/// What a session says to the person whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its picture runs: one may be a still.
    Plays,
    /// Nothing comes any more.
    Silent,
    /// The node wants it to go elsewhere.
    Told,
    /// Its event stream broke.
    Broken,
    /// It is over.
    Over,
}

/// Looks at one session for a person.
#[derive(Debug)]
pub struct Spectator {
    /// Which of the person's sessions.
    pub number: u32,
    /// Where the person hears.
    pub tell: Sender<(u32, Said)>,
    screen: Arc<Screen>,
    last: Option<Instant>,
    frames: u32,
    rests_until: Option<Instant>,
}

impl Spectator {
    /// Of a new session.
    #[must_use]
    pub fn new(number: u32, tell: Sender<(u32, Said)>, screen: Arc<Screen>) -> Spectator {
        Spectator {
            number,
            tell,
            screen,
            last: None,
            frames: 0,
            rests_until: None,
        }
    }

    /// A whole frame of the picture is there.
    pub fn on_frame(&mut self, now: Instant) {
        self.frames = self.frames.saturating_add(1);
        if self.frames == RUNS_AFTER {
            self.say(Said::Plays);
        }
        self.last = Some(now);
        self.screen.show(self.number, now);
    }

    /// Some times a second.
    pub fn on_time(&mut self, now: Instant) {
        let is_silent = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) >= SILENCE);
        if is_silent && self.rests_until.is_none_or(|until| until <= now) {
            self.rests_until = Some(now + REST);
            self.say(Said::Silent);
        }
    }

    /// Tells the person.
    pub fn say(&self, said: Said) {
        // A person who has left needs to know nothing.
        let _ = self.tell.send((self.number, said));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_longest_gap_spans_sessions() {
        let (screen, start) = (Arc::new(Screen::default()), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(screen.longest_gap(at(0)), None);
        let (tell, said) = mpsc::channel();
        let mut first = Spectator::new(1, tell.clone(), Arc::clone(&screen));
        let mut second = Spectator::new(2, tell, Arc::clone(&screen));
        first.on_frame(at(0));
        first.on_frame(at(33));
        second.on_frame(at(183));
        second.on_frame(at(216));
        assert_eq!(
            screen.longest_gap(at(220)),
            Some(Duration::from_millis(150))
        );
        assert_eq!(
            screen.longest_gap(at(516)),
            Some(Duration::from_millis(300))
        );
        assert_eq!(screen.still(at(516)), Some(Duration::from_millis(300)));
        first.on_time(at(700));
        first.on_time(at(800));
        let said: Vec<_> = said.try_iter().collect();
        assert_eq!(said, [(1, Said::Silent)]);
    }

    #[test]
    fn a_still_is_no_picture_that_runs() {
        let (screen, start) = (Arc::new(Screen::default()), Instant::now());
        let (tell, said) = mpsc::channel();
        let mut session = Spectator::new(1, tell, screen);
        for frame in 1..RUNS_AFTER {
            session.on_frame(start + Duration::from_millis(33) * frame);
        }
        assert_eq!(said.try_iter().count(), 0);
        session.on_frame(start + Duration::from_millis(33) * RUNS_AFTER);
        session.on_frame(start + Duration::from_millis(33) * (RUNS_AFTER + 1));
        let said: Vec<_> = said.try_iter().collect();
        assert_eq!(said, [(1, Said::Plays)], "it is said once");
    }
}
