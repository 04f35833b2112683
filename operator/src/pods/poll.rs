//! Asks every pod how it is, once a second.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use super::control::{Control, ControlError};
use super::sight::{Changes, Sights};
use super::{PodId, address};
use crate::cluster::watch::Watched;

const EVERY: Duration = Duration::from_secs(1);
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
    let asked: Arc<Mutex<HashSet<PodId>>> = Arc::default();
    let tell = Arc::new(tell);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pods.completed().await;
    loop {
        ticks.tick().await;
        let all = pods.all();
        let there: HashSet<PodId> = all.iter().map(|pod| PodId::of(pod)).collect();
        sights.retain(|pod| there.contains(pod));
        for pod in all {
            let (Some(address), Some(uid)) = (address(&pod), pod.uid()) else {
                continue;
            };
            let id = PodId::of(&pod);
            // One that takes its time is not asked twice.
            if !lock(&asked).insert(id.clone()) {
                continue;
            }
            let (control, sights, tell) = (control.clone(), Arc::clone(&sights), Arc::clone(&tell));
            let (places, asked) = (Arc::clone(&places), Arc::clone(&asked));
            tokio::spawn(async move {
                let _place = places.acquire().await;
                let changes = match control.status(address).await {
                    Ok(status) => sights.answered(&id, &uid, status, Instant::now()),
                    // Nothing can be said of a pod that can't be asked.
                    Err(ControlError::NoKeys(_)) => Changes::default(),
                    Err(error) => {
                        let changes = sights.silent(&id, &uid, Instant::now());
                        if changes.is_some() {
                            tracing::warn!(pod = %id, "a media pod: {error}");
                        }
                        changes
                    }
                };
                lock(&asked).remove(&id);
                if changes.is_some() {
                    tell(&id, &changes);
                }
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
