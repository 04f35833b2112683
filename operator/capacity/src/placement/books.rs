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
    /// What is free up to each level.
    free: Vec<[Free; 3]>,
}

/// What is free, with what is owed where there is too much.
#[derive(Clone, Copy, Default)]
struct Free {
    left: Load,
    owed: Load,
}

impl Books {
    pub(super) fn new(pods: &[Pod], rules: &Rules) -> Books {
        let free = pods.iter().map(|pod| {
            let capacity = match pod.state {
                PodState::Ready => pod.capacity,
                PodState::Draining | PodState::Gone => Load::default(),
            };
            let up_to = |percent| {
                let mut free = Free {
                    left: capacity.percent(percent),
                    owed: Load::default(),
                };
                free.book(&pod.other);
                free
            };
            [
                up_to(rules.target_percent),
                up_to(rules.limit_percent),
                up_to(100),
            ]
        });
        Books {
            free: free.collect(),
        }
    }

    pub(super) fn free(&self, pod: PodIndex, level: Level) -> &Load {
        &self.free[pod.at()][level as usize].left
    }

    /// How many more viewers of this rate a pod takes.
    pub(super) fn space(&self, pod: PodIndex, level: Level, rate: &Rate) -> u32 {
        let free = rate.viewers_in(self.free(pod, level));
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    pub(super) fn book(&mut self, pod: PodIndex, load: &Load) {
        for free in &mut self.free[pod.at()] {
            free.book(load);
        }
    }

    pub(super) fn release(&mut self, pod: PodIndex, load: &Load) {
        for free in &mut self.free[pod.at()] {
            free.release(load);
        }
    }
}

impl Free {
    fn book(&mut self, load: &Load) {
        self.owed = self.owed.plus(&load.minus(&self.left));
        self.left = self.left.minus(load);
    }

    fn release(&mut self, load: &Load) {
        self.left = self.left.plus(&load.minus(&self.owed));
        self.owed = self.owed.minus(load);
    }
}
