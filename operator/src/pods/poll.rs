//! Asks every pod how it is, once a second, and four times as often whether it is there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use showrunner_protocol::control::RoomStatus;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use super::control::{Control, ControlError};
use super::sight::{Changes, Sights, Silence};
use super::{PodId, address, is_leaving};
use crate::cluster::watch::Watched;

/// How often a pod is asked whether it is there: it answers in a few bytes.
const EVERY: Duration = Duration::from_millis(250);
/// Every so many times it is asked for all that it has; one that is to go, or sends clients on, each time.
const STATUS_EVERY: u32 = 4;
/// Pods that are asked at the same time. Each answers within moments or not at all.
const AT_A_TIME: usize = 128;

/// Asks for ever, and tells what is new.
pub async fn poll(
    pods: Watched<Pod>,
    control: Control,
    sights: Arc<Sights>,
    tell: impl Fn(&PodId, &Changes) + Send + Sync + 'static,
) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let asked: Arc<Mutex<HashSet<(PodId, bool)>>> = Arc::default();
    let tell = Arc::new(tell);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pods.completed().await;
    for tick in 0u32.. {
        ticks.tick().await;
        let all = pods.all();
        let there: HashSet<PodId> = all.iter().map(|pod| PodId::of(pod)).collect();
        sights.retain(|pod| there.contains(pod));
        for (index, pod) in (0u32..).zip(all) {
            let (Some(address), Some(uid)) = (address(&pod), pod.uid()) else {
                continue;
            };
            let id = PodId::of(&pod);
            // Not all in the same moment.
            let is_turn = tick.wrapping_add(index).is_multiple_of(STATUS_EVERY);
            let wants_all = is_turn || is_leaving(&pod) || is_in_motion(&sights, &id, &uid);
            // One that takes its time with all that it has is asked meanwhile whether it is there.
            let question = [(id.clone(), wants_all), (id.clone(), false)];
            let Some(question) = lock_new(&asked, question) else {
                continue;
            };
            let wants_all = question.1;
            let (control, sights, tell) = (control.clone(), Arc::clone(&sights), Arc::clone(&tell));
            let (places, asked) = (Arc::clone(&places), Arc::clone(&asked));
            tokio::spawn(async move {
                let _place = places.acquire().await;
                let since = Instant::now();
                let answer = if wants_all {
                    let status = control.status(address).await;
                    status.map(|status| sights.answered(&id, &uid, status, Instant::now()))
                } else {
                    let there = control.is_there(address).await;
                    there.map(|()| sights.is_there(&id, &uid))
                };
                let silent = |how| sights.silent(&id, &uid, how, since, Instant::now());
                let changes = answer.unwrap_or_else(|error| {
                    let changes = match &error {
                        // Nothing can be said of a pod that can't be asked.
                        ControlError::NoKeys(_) => Changes::default(),
                        ControlError::Gone(_) => silent(Silence::Refused),
                        ControlError::Unreachable(_) | ControlError::Refused(..) => {
                            silent(Silence::Silent)
                        }
                    };
                    if changes.is_some() {
                        tracing::warn!(pod = %id, "a media pod: {error}");
                    }
                    changes
                });
                lock(&asked).remove(&question);
                if changes.is_some() {
                    tell(&id, &changes);
                }
            });
        }
    }
}

/// Whether a room comes to a pod or goes from it: the next step waits for what the pod says, or for it to be there at
/// all.
fn is_in_motion(sights: &Sights, id: &PodId, uid: &str) -> bool {
    let is_coming = |room: &RoomStatus| {
        let source = room.source.as_ref();
        source.is_some_and(|source| !source.connected)
    };
    sights.get(id, uid).is_none_or(|sight| {
        let mut rooms = sight.rooms.values();
        sight.status.is_none() || rooms.any(|room| room.leaving || is_coming(room))
    })
}

/// The first of these questions that is not under way already; from now on it is.
fn lock_new(
    asked: &Mutex<HashSet<(PodId, bool)>>,
    questions: [(PodId, bool); 2],
) -> Option<(PodId, bool)> {
    let mut asked = lock(asked);
    questions
        .into_iter()
        .find(|question| asked.insert(question.clone()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
