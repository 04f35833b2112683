//! Answers those who asked for the eviction of a pod: says how far it is, and when it is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::lifecycle::v1alpha1::{Eviction, EvictionPodReference, ResponderStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::desired;
use super::eviction::{self, Target};
use super::template::ordinal;
use crate::cluster::evictions::{API_VERSION, Asked, said, target};
use crate::cluster::names::MANAGER;
use crate::cluster::write::WriteError;
use crate::world::World;

/// Rest before the same is said again if the watch does not show it: it was refused, or the watch is late.
const REST: Duration = Duration::from_secs(10);

/// Answers.
pub struct Responder {
    world: Arc<World>,
    /// What was last said, by the uids of the evictions.
    tried: Mutex<HashMap<String, (Instant, ResponderStatus)>>,
}

impl Responder {
    /// Of this world.
    #[must_use]
    pub fn new(world: Arc<World>) -> Responder {
        Responder {
            world,
            tried: Mutex::default(),
        }
    }

    /// Answers where there is something new to say of a site's pods. What can't be said now is tried again later, and
    /// keeps nothing else from being done.
    pub async fn answer<'a>(
        &self,
        (namespace, site): (&str, &str),
        asked: &Asked,
        pods: impl Iterator<Item = (&'a Pod, &'a desired::Pod)> + Clone,
    ) {
        for eviction in asked.values() {
            let (Some(said), Some(reference)) = (said(eviction), target(eviction)) else {
                continue;
            };
            let is_here = eviction.metadata.namespace.as_deref() == Some(namespace);
            let is_over = said.completion_time.is_some();
            if is_over || !is_here || ordinal(site, &reference.name).is_none() {
                continue;
            }
            let mut pods = pods.clone();
            let found = pods.find(|(pod, _)| pod.metadata.uid.as_ref() == Some(&reference.uid));
            let target = match found {
                Some((pod, known)) => there(pod, known),
                None if self.is_gone(namespace, reference).await => Target::Gone,
                None => continue,
            };
            if let Some(next) = eviction::next(said, &target, Timestamp::now()) {
                self.say(eviction, next).await;
            }
        }
        self.forget(asked);
    }

    /// What the watch does not show may be new to it: the API server is asked.
    async fn is_gone(&self, namespace: &str, reference: &EvictionPodReference) -> bool {
        let api: Api<Pod> = Api::namespaced(self.world.hand.client(), namespace);
        let found = tokio::time::timeout(REST, api.get_metadata_opt(&reference.name)).await;
        match found {
            Ok(Ok(found)) => {
                found.is_none_or(|pod| pod.metadata.uid.as_ref() != Some(&reference.uid))
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn say(&self, eviction: &Eviction, next: ResponderStatus) {
        let uid = eviction.uid().unwrap_or_default();
        if self.is_tried(&uid, &next) {
            return;
        }
        let (name, namespace) = (
            eviction.name_any(),
            eviction.namespace().unwrap_or_default(),
        );
        let api: Api<Eviction> = Api::namespaced(self.world.hand.client(), &namespace);
        let answer = answer(&name, &next);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&answer);
        let request = api.patch_status(&name, &params, &patch);
        match self.world.hand.write("evictions/status", request).await {
            Ok(_) | Err(WriteError::NotLeader) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!("Eviction {namespace}/{name} can't be answered: {error}"),
        }
    }

    /// Whether the same was said a moment ago. From now on it was.
    fn is_tried(&self, uid: &str, next: &ResponderStatus) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_tried = tried.get(uid).is_some_and(|(at, said)| {
            now.saturating_duration_since(*at) < REST
                && said.message == next.message
                && said.expected_completion_time == next.expected_completion_time
        });
        if !is_tried {
            tried.insert(uid.to_owned(), (now, next.clone()));
        }
        is_tried
    }

    /// Forgets evictions that nobody asks for any more.
    fn forget(&self, asked: &Asked) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() > asked.len() {
            tried.retain(|uid, _| asked.values().any(|one| one.uid().as_ref() == Some(uid)));
        }
    }
}

/// What is applied: of the Eviction's status only what is this program's to say.
fn answer(name: &str, next: &ResponderStatus) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "Eviction",
        "metadata": {"name": name},
        "status": {"responders": [next]},
    })
}

fn there(pod: &Pod, known: &desired::Pod) -> Target {
    Target::There {
        stage: known.stage,
        sessions: known.sessions,
        ends: pod.metadata.deletion_timestamp.as_ref().map(|at| at.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::names::EVICTION_RESPONDER;

    #[test]
    fn no_more_is_applied_than_is_said() {
        let said = ResponderStatus {
            name: EVICTION_RESPONDER.to_owned(),
            ..ResponderStatus::default()
        };
        let now: Timestamp = "2026-11-27T20:00:00.5Z".parse().unwrap();
        let next = eviction::next(&said, &Target::Gone, now).unwrap();
        let expected = json!({
            "apiVersion": "lifecycle.k8s.io/v1alpha1",
            "kind": "Eviction",
            "metadata": {"name": "e"},
            "status": {"responders": [{
                "name": "showrunner.dev/drain",
                "heartbeatTime": "2026-11-27T20:00:00Z",
                "completionTime": "2026-11-27T20:00:00Z",
                "message": "the pod is gone",
            }]},
        });
        assert_eq!(answer("e", &next), expected);
    }
}
