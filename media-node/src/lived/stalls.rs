//! When a picture stands still.
//!
//! A stall is judged as a browser judges a freeze (W3C webrtc-stats, `freezeCount`): the time from one frame to the next
//! is longer than three times the usual one, and longer than the usual one and 150 ms. All of that time counts. What the
//! node adds: time in which the source itself had no frames is no stall, and neither is video that was switched off.

use std::time::{Duration, Instant};

/// A source that has no frame for longer than this is silent: nothing is due.
const SILENCE: Duration = Duration::from_millis(500);
/// What a frame may be late beyond its usual time.
const LATE: Duration = Duration::from_millis(150);
/// The usual time between frames is a mean that takes in each new one with this weight.
const WEIGHT: u32 = 8;
/// Frames that nobody acknowledges for this long did not arrive. Receivers report once a second or so (RFC 3550 §6.2).
const UNHEARD: Duration = Duration::from_secs(3);
/// … and those that give transport-wide feedback many times a second.
const UNHEARD_OFTEN: Duration = Duration::from_secs(1);

/// How often a peer acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Often {
    /// Many times a second.
    Yes,
    /// Once a second or so.
    No,
}

/// The frames that a source has had: what is due to viewers. One for all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source {
    last: Option<Instant>,
    /// Of the last frame.
    timestamp: Option<u32>,
    usual: Usual,
    silent: Duration,
}

/// The usual time from frame to frame.
#[derive(Clone, Copy, Debug, Default)]
struct Usual(Option<Duration>);

/// How often and how long one picture stood still.
#[derive(Clone, Debug, Default)]
pub struct Stalls {
    first: Option<Instant>,
    shown: Option<Shown>,
    usual: Usual,
    /// The decoder waits for a keyframe: other frames show nothing.
    is_broken: bool,
    /// The oldest frame that nobody has acknowledged yet.
    unheard: Option<Instant>,
    /// How often the peer acknowledges; none: not at all, so far.
    hears: Option<Often>,
    count: u32,
    total: Duration,
    longest: Duration,
    first_stall: Option<Instant>,
    /// The end of the last stall, and its length so far.
    last: Option<(Instant, Duration)>,
}

/// The last frame that was shown, and what the source had been silent by then.
#[derive(Clone, Copy, Debug)]
struct Shown {
    at: Instant,
    silent: Duration,
}

impl Source {
    /// A frame is whole. Layers of one source share their timestamps, and the first of them counts.
    pub fn on_frame(&mut self, at: Instant, timestamp: u32) {
        let is_newer = |before: u32| timestamp.wrapping_sub(before) as i32 > 0;
        if !self.timestamp.is_none_or(is_newer) {
            return;
        }
        if let Some(last) = self.last {
            let gap = at.saturating_duration_since(last);
            if gap > SILENCE {
                self.silent += gap;
            } else {
                self.usual.learn(gap);
            }
        }
        self.last = Some(at);
        self.timestamp = Some(timestamp);
    }

    /// Another host begins: with timestamps, and at a pace, of its own.
    pub fn restart(&mut self) {
        self.timestamp = None;
        self.usual = Usual::default();
    }

    /// All time until now in which it had nothing.
    pub fn silent_until(&self, now: Instant) -> Duration {
        let gap = self
            .last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if gap > SILENCE {
            self.silent + gap
        } else {
            self.silent
        }
    }
}

impl Usual {
    fn learn(&mut self, gap: Duration) {
        let mean = self.0.unwrap_or(gap);
        self.0 = Some((mean * (WEIGHT - 1) + gap) / WEIGHT);
    }
}

impl Stalls {
    /// A frame was sent whole.
    pub fn on_frame(&mut self, now: Instant, is_key: bool, source: &Source) {
        self.unheard.get_or_insert(now);
        self.is_broken &= !is_key;
        if self.is_broken {
            return;
        }
        self.first.get_or_insert(now);
        if let Some(before) = self.shown {
            let gap = self.gap(before, now, source);
            if gap > self.patience(source) {
                self.add(before.at, now, gap);
            }
            self.usual.learn(gap.min(Duration::from_secs(1)));
        }
        self.shown = Some(Shown {
            at: now,
            silent: source.silent_until(now),
        });
    }

    /// The viewer's decoder asks for a keyframe: until one is sent, the picture stands.
    pub fn on_picture_lost(&mut self) {
        self.is_broken = self.shown.is_some();
    }

    /// The peer says that it has received more than it had.
    pub fn on_heard(&mut self, now: Instant, often: Often) {
        if self.hears != Some(Often::Yes) {
            self.hears = Some(often);
        }
        if let Some(since) = self.unheard.take() {
            let gap = now.saturating_duration_since(since);
            if gap > self.unheard_patience() {
                self.add(since, now, gap);
            }
        }
    }

    /// Video is switched off: nothing is due until its next frame.
    pub fn hold(&mut self) {
        self.shown = None;
        self.unheard = None;
        self.is_broken = false;
    }

    /// The session is over. Returns for how long nothing was heard of the peer, which tells of a path that is gone
    /// rather than of somebody who watched a still picture.
    pub fn finish(&mut self, now: Instant, source: &Source) -> Duration {
        let unheard = self.unheard.filter(|_| self.hears.is_some());
        let silent = unheard.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if silent > self.unheard_patience() {
            return silent;
        }
        if let Some(before) = self.shown {
            let gap = self.gap(before, now, source);
            if gap > self.patience(source) {
                self.add(before.at, now, gap);
            }
        }
        Duration::ZERO
    }

    /// When the first frame was shown.
    pub fn first(&self) -> Option<Instant> {
        self.first
    }

    /// When the picture stood still for the first time.
    pub fn first_stall(&self) -> Option<Instant> {
        self.first_stall
    }

    /// How often it stood still.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// For how long in all.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// The longest time that it did.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Time since the last frame in which the source had frames.
    fn gap(&self, before: Shown, now: Instant, source: &Source) -> Duration {
        let silent = source.silent_until(now).saturating_sub(before.silent);
        now.saturating_duration_since(before.at)
            .saturating_sub(silent)
    }

    /// A viewer of fewer temporal layers gets fewer frames than there are, so the longer mean counts.
    fn patience(&self, source: &Source) -> Duration {
        let usual = self.usual.0.max(source.usual.0).unwrap_or_default();
        (usual * 3).max(usual + LATE)
    }

    fn unheard_patience(&self) -> Duration {
        match self.hears {
            Some(Often::Yes) => UNHEARD_OFTEN,
            Some(Often::No) | None => UNHEARD,
        }
    }

    /// Counts a stall. One that begins where the last ended goes on with it; what two causes made at once counts once.
    fn add(&mut self, from: Instant, to: Instant, length: Duration) {
        let counted = self.last.map(|(end, _)| end);
        let from_here = counted.map_or(from, |end| end.max(from));
        let length = length.min(to.saturating_duration_since(from_here));
        if length.is_zero() {
            return;
        }
        let goes_on = counted.is_some_and(|end| end >= from);
        let before = match self.last {
            Some((_, length)) if goes_on => length,
            _ => {
                self.count = self.count.saturating_add(1);
                Duration::ZERO
            }
        };
        self.first_stall.get_or_insert(from);
        self.total += length;
        self.longest = self.longest.max(before + length);
        self.last = Some((to, before + length));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: u64 = 33;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A source and a viewer of it, by milliseconds.
    struct Show {
        start: Instant,
        source: Source,
        stalls: Stalls,
    }

    impl Show {
        fn new() -> Show {
            Show {
                start: Instant::now(),
                source: Source::default(),
                stalls: Stalls::default(),
            }
        }

        fn at(&self, at: u64) -> Instant {
            self.start + ms(at)
        }

        /// Frames from one time to another, each at the source and, if `sent`, at the viewer.
        fn play(&mut self, from: u64, to: u64, sent: bool) {
            for at in (from..to).step_by(FRAME as usize) {
                let now = self.at(at);
                self.source.on_frame(now, at as u32 * 90);
                if sent {
                    self.stalls.on_frame(now, false, &self.source);
                    self.stalls.on_heard(now, Often::No);
                }
            }
        }

        fn figures(&self) -> (u32, u64) {
            (self.stalls.count(), self.stalls.total().as_millis() as u64)
        }
    }

    #[test]
    fn frames_that_come_in_time_are_no_stall() {
        let mut show = Show::new();
        show.play(0, 10_000, true);
        assert_eq!(show.figures(), (0, 0));
    }

    #[test]
    fn a_gap_while_the_source_had_frames_is_one() {
        let mut show = Show::new();
        show.play(0, 990, true);
        show.play(990, 1980, false);
        show.play(1980, 3000, true);
        // From the last frame before (at 957) to the next one.
        assert_eq!(show.figures(), (1, 1023));
        assert_eq!(show.stalls.longest(), ms(1023));
        assert_eq!(show.stalls.first_stall(), Some(show.at(957)));
    }

    #[test]
    fn a_gap_shorter_than_anybody_sees_is_none() {
        let mut show = Show::new();
        show.play(0, 990, true);
        show.play(990, 1089, false);
        show.play(1089, 2000, true);
        assert_eq!(show.figures(), (0, 0));
    }

    #[test]
    fn a_source_that_has_nothing_stalls_nobody() {
        let mut show = Show::new();
        show.play(0, 990, true);
        show.play(60_060, 61_000, true);
        assert_eq!(show.figures(), (0, 0));
        let silent = show.source.silent_until(show.at(61_000));
        assert_eq!(silent, ms(60_060 - 957));
        // The next host comes with other timestamps.
        show.source.restart();
        let now = show.at(61_013);
        show.source.on_frame(now, 5);
        show.stalls.on_frame(now, true, &show.source);
        let now = show.at(61_046);
        show.source.on_frame(now, 2975);
        assert_eq!(show.source.silent_until(now), silent);
    }

    #[test]
    fn slow_pictures_are_no_stalls_for_those_who_expect_no_more() {
        let mut show = Show::new();
        for n in 0..100u64 {
            let now = show.at(n * 400);
            show.source.on_frame(now, n as u32 * 36_000);
            show.stalls.on_frame(now, false, &show.source);
        }
        assert_eq!(show.figures(), (0, 0));
    }

    #[test]
    fn a_lost_picture_stands_until_the_next_keyframe() {
        let mut show = Show::new();
        show.play(0, 990, true);
        show.stalls.on_picture_lost();
        show.play(990, 1980, true);
        let key = show.at(1980);
        show.source.on_frame(key, 1980 * 90);
        show.stalls.on_frame(key, true, &show.source);
        show.play(2013, 3000, true);
        assert_eq!(show.figures(), (1, 1023));
    }

    #[test]
    fn frames_that_nobody_acknowledges_did_not_arrive() {
        let mut show = Show::new();
        show.play(0, 990, true);
        for at in (990..6000).step_by(FRAME as usize) {
            let now = show.at(at);
            show.source.on_frame(now, at as u32 * 90);
            show.stalls.on_frame(now, false, &show.source);
        }
        show.stalls.on_heard(show.at(6000), Often::No);
        assert_eq!(show.figures(), (1, 6000 - 990));
    }

    #[test]
    fn who_acknowledges_often_is_missed_sooner() {
        for (often, stalls) in [(Often::No, (0, 0)), (Often::Yes, (1, 1500))] {
            let mut show = Show::new();
            show.play(0, 990, true);
            show.stalls.on_heard(show.at(980), often);
            for at in (990..2490).step_by(FRAME as usize) {
                let now = show.at(at);
                show.source.on_frame(now, at as u32 * 90);
                show.stalls.on_frame(now, false, &show.source);
            }
            show.stalls.on_heard(show.at(2490), often);
            assert_eq!(show.figures(), stalls, "{often:?}");
        }
    }

    #[test]
    fn what_two_causes_make_at_once_counts_once() {
        let mut show = Show::new();
        show.play(0, 990, true);
        let now = show.at(990);
        show.source.on_frame(now, 990 * 90);
        show.stalls.on_frame(now, false, &show.source);
        show.play(1023, 5940, false);
        let now = show.at(5940);
        show.source.on_frame(now, 5940 * 90);
        show.stalls.on_frame(now, false, &show.source);
        show.stalls.on_heard(show.at(6000), Often::No);
        assert_eq!(show.figures(), (1, 6000 - 990));
        assert_eq!(show.stalls.longest(), ms(6000 - 990));
    }

    #[test]
    fn a_path_that_fell_silent_is_not_somebody_who_watched_a_still() {
        let mut show = Show::new();
        show.play(0, 990, true);
        for at in (990..30_000).step_by(FRAME as usize) {
            let now = show.at(at);
            show.source.on_frame(now, at as u32 * 90);
            show.stalls.on_frame(now, false, &show.source);
        }
        let silent = show.stalls.finish(show.at(30_990), &show.source);
        assert_eq!(silent, ms(30_000));
        assert_eq!(show.figures(), (0, 0));
    }

    #[test]
    fn who_leaves_in_a_stall_has_lived_through_it() {
        let mut show = Show::new();
        show.play(0, 990, true);
        show.play(990, 2970, false);
        let silent = show.stalls.finish(show.at(2957), &show.source);
        assert_eq!((silent, show.figures()), (Duration::ZERO, (1, 2000)));
    }

    #[test]
    fn video_that_is_switched_off_does_not_stall() {
        let mut show = Show::new();
        show.play(0, 990, true);
        show.stalls.hold();
        show.play(990, 20_000, false);
        show.play(20_000, 21_000, true);
        assert_eq!(show.figures(), (0, 0));
    }

    proptest! {
        /// However frames come, stalls never add up to more than the time that went by, and the longest is one of them.
        #[test]
        fn stalls_fit_into_the_time(steps in prop::collection::vec((0u8..7, 0u64..2000), 1..200)) {
            let mut show = Show::new();
            let mut at = 0;
            for (what, step) in steps {
                at += step;
                let now = show.at(at);
                match what {
                    0 => show.source.on_frame(now, at as u32 * 90),
                    1 => show.stalls.on_picture_lost(),
                    2 => show.stalls.on_heard(now, Often::No),
                    3 => show.stalls.hold(),
                    4 => show.source.restart(),
                    key => show.stalls.on_frame(now, key == 5, &show.source),
                }
            }
            show.stalls.finish(show.at(at), &show.source);
            let (count, total) = (show.stalls.count(), show.stalls.total());
            prop_assert!(total <= ms(at), "{total:?} of {at} ms");
            prop_assert!(show.stalls.longest() <= total);
            prop_assert_eq!(count == 0, total.is_zero());
            prop_assert_eq!(count > 0, show.stalls.first_stall().is_some());
        }
    }
}
