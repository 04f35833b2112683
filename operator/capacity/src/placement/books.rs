//! What is on each pod, and what is free.

use super::{Pod, PodIndex, PodState, Rules};
use crate::load::{Load, Rate};

/// How full a pod may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As full as it should be.
    Target,
    /// As full as viewers may make it.
    Limit,
    /// As full as it can be: for edges, which cost little and let others serve many.
    Capacity,
}

/// The books of all pods.
pub(super) struct Books {
    used: Vec<Load>,
    /// What may be used, by level.
    most: [Vec<Load>; 3],
    /// Sessions that are free, by level: close together, since a search looks at those of all pods.
    sessions: [Vec<u32>; 3],
}

impl Books {
    pub(super) fn new(pods: &[Pod], rules: &Rules) -> Books {
        let capacity = |pod: &Pod| match pod.state {
            PodState::Ready => pod.capacity,
            PodState::Draining | PodState::Gone => Load::default(),
        };
        let percents = [rules.target_percent, rules.limit_percent, 100];
        let mut books = Books {
            used: vec![Load::default(); pods.len()],
            most: percents.map(|percent| {
                let pods = pods.iter();
                pods.map(|pod| capacity(pod).percent(percent)).collect()
            }),
            sessions: [(); 3].map(|()| vec![0; pods.len()]),
        };
        for (pod, index) in pods.iter().zip((0..).map(PodIndex)) {
            books.book(index, &pod.other);
        }
        books
    }

    /// Sessions that are free on a pod.
    pub(super) fn sessions(&self, pod: PodIndex, level: Level) -> u32 {
        self.sessions[level as usize][pod.at()]
    }

    pub(super) fn fits(&self, pod: PodIndex, level: Level, load: &Load) -> bool {
        let most = &self.most[level as usize][pod.at()];
        self.used[pod.at()].plus(load).fits(most)
    }

    pub(super) fn free(&self, pod: PodIndex, level: Level) -> Load {
        self.most[level as usize][pod.at()].minus(&self.used[pod.at()])
    }

    /// How many more viewers of this rate a pod takes.
    pub(super) fn space(&self, pod: PodIndex, level: Level, rate: &Rate) -> u32 {
        let free = rate.viewers_in(&self.free(pod, level));
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    pub(super) fn book(&mut self, pod: PodIndex, load: &Load) {
        self.set(pod, self.used[pod.at()].plus(load));
    }

    pub(super) fn release(&mut self, pod: PodIndex, load: &Load) {
        self.set(pod, self.used[pod.at()].minus(load));
    }

    fn set(&mut self, pod: PodIndex, used: Load) {
        self.used[pod.at()] = used;
        for (sessions, most) in self.sessions.iter_mut().zip(&self.most) {
            let free = most[pod.at()].viewers.saturating_sub(used.viewers);
            sessions[pod.at()] = u32::try_from(free).unwrap_or(u32::MAX);
        }
    }
}
