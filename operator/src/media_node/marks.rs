//! Marks pods for those who empty machines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};

use super::desired::Sessions;
use super::idle::{self, Mark};
use crate::cluster::write::WriteError;
use crate::world::World;

/// The most pods of a site that are marked as idle in one look: when a sale ends, thousands may be. Busy ones don't wait.
const MOST_IDLE: usize = 16;

/// Marks pods.
pub struct Marks {
    world: Arc<World>,
    /// Since when pods have no sessions, by their uid. Whoever leads next waits once more.
    idle_since: Mutex<HashMap<String, Instant>>,
}

impl Marks {
    /// Of this world.
    #[must_use]
    pub fn new(world: Arc<World>) -> Marks {
        Marks {
            world,
            idle_since: Mutex::default(),
        }
    }

    /// Marks the pods of a site that are to be marked otherwise than they are.
    ///
    /// # Errors
    /// If one can't be written.
    pub async fn keep<'a>(
        &self,
        pods: impl Iterator<Item = (&'a Pod, Sessions)>,
        now: Instant,
    ) -> Result<(), WriteError> {
        let mut idle = 0;
        for (pod, sessions) in pods {
            let Some(mark) = self.mark(pod, sessions, now) else {
                continue;
            };
            let Some(patch) = idle::patch(pod, mark) else {
                continue;
            };
            if mark == Mark::Idle {
                idle += 1;
                if idle > MOST_IDLE {
                    continue;
                }
            }
            let namespace = pod.namespace().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(self.world.hand.client(), &namespace);
            let (name, params) = (pod.name_any(), PatchParams::default());
            let patch = Patch::Merge(&patch);
            let request = api.patch(&name, &params, &patch);
            match self.world.hand.write("pods", request).await {
                // It is gone, or another pod has the name now.
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                written => drop(written?),
            }
        }
        self.forget();
        Ok(())
    }

    fn mark(&self, pod: &Pod, sessions: Sessions, now: Instant) -> Option<Mark> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let uid = pod.uid()?;
        let mut idle_since = self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let idle_for = match sessions {
            Sessions::Count(0) | Sessions::Impossible => {
                let since = *idle_since.entry(uid).or_insert(now);
                Some(now.saturating_duration_since(since))
            }
            Sessions::Count(_) | Sessions::Unknown => {
                idle_since.remove(&uid);
                None
            }
        };
        idle::mark(sessions, idle_for)
    }

    /// Forgets pods that are gone, once there are many.
    fn forget(&self) {
        let mut idle_since = self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if idle_since.len() > 2 * self.world.pods.len() + MOST_IDLE {
            let all = self.world.pods.all();
            let there: std::collections::HashSet<String> =
                all.iter().filter_map(|pod| pod.uid()).collect();
            idle_since.retain(|uid, _| there.contains(uid));
        }
    }
}
