//! How fast the number of pods may change.

use std::collections::VecDeque;

use super::Pace;

/// What the last looks wanted: the most of them, within a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes(VecDeque<(i64, u32)>);

impl Wishes {
    /// Keeps only what can still be the most: each wish is smaller than the one before it.
    pub(super) fn add(&mut self, now: i64, pods: u32, seconds: u32) {
        while self.0.back().is_some_and(|(_, older)| *older <= pods) {
            self.0.pop_back();
        }
        self.0.push_back((now, pods));
        while self
            .0
            .front()
            .is_some_and(|(at, _)| now - at > i64::from(seconds))
        {
            self.0.pop_front();
        }
    }

    pub(super) fn most(&self) -> u32 {
        self.0.front().map_or(0, |(_, pods)| *pods)
    }
}

/// Changes of the last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(VecDeque<(i64, i64)>);

/// How long changes are remembered, in seconds: the longest that a pace is about.
const REMEMBERED: i64 = 3600;

impl Changes {
    pub(super) fn add(&mut self, now: i64, before: u32, after: u32) {
        while self.0.front().is_some_and(|(at, _)| now - at > REMEMBERED) {
            self.0.pop_front();
        }
        if before != after {
            self.0
                .push_back((now, i64::from(after) - i64::from(before)));
        }
    }

    /// The most pods that there may be now.
    pub(super) fn most(&self, now: i64, replicas: u32, pace: &Pace) -> u32 {
        let added = self.within(now, pace, |change| change.max(0));
        let before = replicas.saturating_sub(added);
        before.saturating_add(step(before, pace)).max(replicas)
    }

    /// The fewest pods that there may be now.
    pub(super) fn fewest(&self, now: i64, replicas: u32, pace: &Pace) -> u32 {
        let given_up = self.within(now, pace, |change| (-change).max(0));
        let before = replicas.saturating_add(given_up);
        before.saturating_sub(step(before, pace)).min(replicas)
    }

    fn within(&self, now: i64, pace: &Pace, of: impl Fn(i64) -> i64) -> u32 {
        let recent = self.0.iter().rev();
        let recent = recent.take_while(|(at, _)| now - at < i64::from(pace.seconds));
        u32::try_from(recent.map(|(_, change)| of(*change)).sum::<i64>()).unwrap_or(u32::MAX)
    }
}

/// The larger of a number and a share of what there was; at least one pod.
fn step(before: u32, pace: &Pace) -> u32 {
    let share = u64::from(before) * u64::from(pace.percent) / 100;
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    share.max(pace.pods).max(1)
}
