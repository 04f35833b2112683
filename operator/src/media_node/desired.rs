//! What is to be done for a site: from its spec and its pods as they are, to pods created, drained and deleted.
//!
//! Pure: no clock, no I/O. All that is decided here follows from what is observed, so it doesn't matter what came
//! before, nor how often it is asked. Pods have ordinals, and a new one takes the next that is free after the newest
//! one's: who decides twice by an old view asks for the same pod twice, not for two pods.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Pods made in one pass; more follow in the next.
const MAX_CREATED: usize = 64;
/// How long a pod that ended by itself keeps its place, in seconds of its age: what fails at once is not made again at
/// once, forever.
const REST_SECONDS: u64 = 10;

/// What a site is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Pods that are to take sessions.
    pub replicas: u32,
    /// Names what its pods are made from: a pod with another hash is replaced.
    pub template: String,
    /// How long a drained pod may take until its sessions are ended, in seconds.
    pub drain_seconds: u32,
}

/// A pod of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The number in its name.
    pub ordinal: u32,
    /// What it was made from.
    pub template: String,
    /// Seconds since 1970 when it was made.
    pub created: u64,
    /// Where it is in its life.
    pub stage: Stage,
    /// The sessions on it.
    pub sessions: Sessions,
    /// Rooms that are on it.
    pub rooms: u32,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Takes no sessions, or not yet.
    Unready,
    /// Takes sessions.
    Ready,
    /// Is to go.
    Draining {
        /// Seconds since 1970 when it goes even with sessions on it.
        deadline: u64,
        /// Whether the pod itself says that it drains: from then on no session comes.
        is_aware: bool,
    },
    /// Its process ended, and nobody will start it again.
    Ended,
    /// Is being deleted.
    Terminating,
}

/// What is known of the sessions on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// No process of the pod has ever run.
    Impossible,
    /// It said so a moment ago.
    Count(u32),
    /// It does not answer, but may carry sessions.
    Unknown,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a pod with this ordinal.
    Create(u32),
    /// Write the deadline onto the pod, so that whoever decides next knows, and tell it.
    Drain {
        /// Which.
        ordinal: u32,
        /// Seconds since 1970.
        deadline: u64,
        /// For people.
        why: DrainReason,
    },
    /// Tell it again: it does not know of its deadline.
    TellDrain {
        /// Which.
        ordinal: u32,
        /// Seconds that are left.
        seconds: u32,
    },
    /// Delete a pod.
    Delete {
        /// Which.
        ordinal: u32,
        /// For people.
        why: DeleteReason,
    },
}

/// Why a pod is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReason {
    /// There are more than are wanted.
    ScaleIn,
    /// It is of an older template, its machine is to go, or its eviction is asked for, and a newer pod is ready.
    Rollout,
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReason {
    /// It was drained, and its last session is gone.
    Drained,
    /// It was drained, and its time is over.
    Deadline,
    /// It is not wanted, and never ran.
    NeverRan,
    /// It ended by itself.
    Ended,
}

/// All that is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Seconds since 1970 when to ask again even if nothing changes.
    pub wake_at: Option<u64>,
    /// How the site is now.
    pub summary: Summary,
}

/// How many pods of which kind a site has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Pods that serve or are about to.
    pub replicas: u32,
    /// Of those, the ready.
    pub ready: u32,
    /// Of those, the ones of the present template.
    pub updated: u32,
    /// Pods that are to go.
    pub draining: u32,
    /// Sessions on all pods.
    pub sessions: u32,
    /// Rooms on all pods.
    pub rooms: u32,
}

impl Summary {
    /// Whether the site is as it should be.
    #[must_use]
    pub fn is_complete(&self, replicas: u32) -> bool {
        [self.replicas, self.ready, self.updated] == [replicas; 3]
    }
}

/// Decides what is to be done now.
#[must_use]
pub fn plan(site: &Site, pods: &[Pod], now: u64) -> Plan {
    let mut plan = Plan {
        summary: summarize(site, pods),
        ..Plan::default()
    };
    for pod in pods {
        plan.see_off(pod, now);
    }
    let serving = Serving::find(site, pods);
    let resting = pods.iter().filter(|pod| is_resting(pod, now)).count();
    plan.let_go(&serving, site, now);
    plan.create(&serving, site, pods, resting);
    plan
}

/// The pods that serve or are about to.
struct Serving<'a> {
    all: Vec<&'a Pod>,
    has_old: bool,
    all_ready: bool,
    rollout_waits: bool,
}

impl<'a> Serving<'a> {
    fn find(site: &Site, pods: &'a [Pod]) -> Serving<'a> {
        let all: Vec<&Pod> = pods.iter().filter(|pod| is_serving(pod)).collect();
        let is_old = |pod: &Pod| pod.template != site.template;
        Serving {
            has_old: all.iter().any(|pod| is_old(pod)),
            // An old pod that isn't ready holds nothing up: it is the first to go.
            all_ready: all
                .iter()
                .all(|pod| pod.stage == Stage::Ready || is_old(pod)),
            rollout_waits: pods.iter().any(|pod| is_old(pod) && is_leaving(pod)),
            all,
        }
    }
}

impl Plan {
    /// Pods on their way out, and those that ended by themselves.
    fn see_off(&mut self, pod: &Pod, now: u64) {
        let ordinal = pod.ordinal;
        match pod.stage {
            Stage::Draining { deadline, is_aware } => {
                let why = match pod.sessions {
                    Sessions::Impossible => Some(DeleteReason::NeverRan),
                    Sessions::Count(0) if is_aware => Some(DeleteReason::Drained),
                    _ if deadline <= now => Some(DeleteReason::Deadline),
                    _ => None,
                };
                match why {
                    Some(why) => self.actions.push(Action::Delete { ordinal, why }),
                    None => self.await_drain(ordinal, deadline, is_aware, now),
                }
            }
            Stage::Ended if is_resting(pod, now) => {
                self.wake(pod.created.saturating_add(REST_SECONDS));
            }
            Stage::Ended => self.actions.push(Action::Delete {
                ordinal,
                why: DeleteReason::Ended,
            }),
            Stage::Unready | Stage::Ready | Stage::Terminating => {}
        }
    }

    fn await_drain(&mut self, ordinal: u32, deadline: u64, is_aware: bool, now: u64) {
        self.wake(deadline);
        if !is_aware {
            let seconds = u32::try_from(deadline.saturating_sub(now)).unwrap_or(u32::MAX);
            self.actions.push(Action::TellDrain { ordinal, seconds });
        }
    }

    /// Drains those that are too many: the emptiest first. A site that changes its template has one more for a while;
    /// once that is ready, one of the old goes, and the next only when it is gone.
    fn let_go(&mut self, serving: &Serving<'_>, site: &Site, now: u64) {
        let excess = serving.all.len().saturating_sub(site.replicas as usize);
        let (count, why) = match (excess, serving.has_old) {
            (0, _) => return,
            (1, true) if site.replicas > 0 => {
                let may_go = serving.all_ready && !serving.rollout_waits;
                (usize::from(may_go), DrainReason::Rollout)
            }
            (_, true) if site.replicas > 0 => (excess - 1, DrainReason::ScaleIn),
            _ => (excess, DrainReason::ScaleIn),
        };
        let mut order = serving.all.clone();
        order.sort_by_key(|pod| rank(site, pod));
        for pod in order.into_iter().take(count) {
            let ordinal = pod.ordinal;
            self.actions.push(if pod.sessions == Sessions::Impossible {
                let why = DeleteReason::NeverRan;
                Action::Delete { ordinal, why }
            } else {
                let deadline = now.saturating_add(site.drain_seconds.into());
                Action::Drain {
                    ordinal,
                    deadline,
                    why,
                }
            });
        }
    }

    fn create(&mut self, serving: &Serving<'_>, site: &Site, pods: &[Pod], resting: usize) {
        let surge = usize::from(serving.has_old && !serving.rollout_waits && site.replicas > 0);
        let wanted = site.replicas as usize + surge;
        let missing = wanted.saturating_sub(serving.all.len() + resting);
        let new = free_ordinals(pods, wanted).take(missing.min(MAX_CREATED));
        self.actions.extend(new.map(Action::Create));
    }

    fn wake(&mut self, at: u64) {
        self.wake_at = Some(self.wake_at.map_or(at, |already| already.min(at)));
    }
}

/// Names for new pods, in the order in which they are taken: round and round among twice as many as there are to be.
/// The name of a pod that has just gone is not used again at once. Who empties a machine (`kubectl drain`) asks for
/// evictions by name, again and again until the pod is gone, and would hit the one that took its place; no budget
/// protects a pod that has not started yet.
fn free_ordinals(pods: &[Pod], wanted: usize) -> impl Iterator<Item = u32> {
    let taken: BTreeSet<u32> = pods.iter().map(|pod| pod.ordinal).collect();
    let newest = pods.iter().max_by_key(|pod| (pod.created, pod.ordinal));
    let end = u32::try_from(2 * wanted + 1).unwrap_or(u32::MAX);
    let next = newest.map_or(0, |pod| pod.ordinal.saturating_add(1).min(end));
    let round = (next..end).chain(0..next).chain(end..=u32::MAX);
    round.filter(move |ordinal| !taken.contains(ordinal))
}

/// Who goes first: pods of an older template, then those that serve nobody, then the emptiest, then the newest.
fn rank(site: &Site, pod: &Pod) -> (bool, bool, u32, u32, Reverse<u32>) {
    let sessions = match pod.sessions {
        Sessions::Impossible => 0,
        Sessions::Count(count) => count,
        Sessions::Unknown => u32::MAX,
    };
    let is_current = pod.template == site.template;
    // One that is not ready may be so for a moment only: who are on it count.
    let serves = pod.stage == Stage::Ready || matches!(pod.sessions, Sessions::Count(1..));
    (
        is_current,
        serves,
        sessions,
        pod.rooms,
        Reverse(pod.ordinal),
    )
}

fn is_serving(pod: &Pod) -> bool {
    matches!(pod.stage, Stage::Unready | Stage::Ready)
}

fn is_leaving(pod: &Pod) -> bool {
    matches!(pod.stage, Stage::Draining { .. } | Stage::Terminating)
}

fn is_resting(pod: &Pod, now: u64) -> bool {
    pod.stage == Stage::Ended && now < pod.created.saturating_add(REST_SECONDS)
}

fn summarize(site: &Site, pods: &[Pod]) -> Summary {
    let count = |is: &dyn Fn(&Pod) -> bool| {
        u32::try_from(pods.iter().filter(|pod| is(pod)).count()).unwrap_or(u32::MAX)
    };
    let sum = |of: &dyn Fn(&Pod) -> u32| pods.iter().map(of).fold(0, u32::saturating_add);
    Summary {
        replicas: count(&is_serving),
        ready: count(&|pod| pod.stage == Stage::Ready),
        updated: count(&|pod| is_serving(pod) && pod.template == site.template),
        draining: count(&is_leaving),
        sessions: sum(&|pod| match pod.sessions {
            Sessions::Count(count) => count,
            Sessions::Impossible | Sessions::Unknown => 0,
        }),
        rooms: sum(&|pod| pod.rooms),
    }
}

#[cfg(test)]
mod tests;
