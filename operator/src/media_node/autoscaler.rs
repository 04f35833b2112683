//! Keeps the HorizontalPodAutoscalers of sites.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use showrunner_crds::MediaNode;
use showrunner_crds::autoscaling::AutoscalingStatus;
use showrunner_crds::condition::site as reasons;
use tokio::sync::OnceCell;

use super::horizontal::{self, Wanted, knows_tolerance};
use super::observe::Trouble;
use crate::cluster::names::MANAGER;
use crate::cluster::write::WriteError;
use crate::world::World;

/// How often one is written that nobody changed, as far as is known: what somebody else wrote into it goes.
const REFRESH_EVERY: Duration = Duration::from_secs(600);

/// Keeps them.
pub struct Autoscalers {
    world: Arc<World>,
    has_tolerance: OnceCell<bool>,
    written: Mutex<HashMap<String, (HorizontalPodAutoscaler, Instant)>>,
}

/// What follows for the status of a site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// What Kubernetes says that it does.
    pub status: Option<AutoscalingStatus>,
    /// What is wrong.
    pub trouble: Option<Trouble>,
}

impl Autoscalers {
    /// Of this world.
    #[must_use]
    pub fn new(world: Arc<World>) -> Autoscalers {
        Autoscalers {
            world,
            has_tolerance: OnceCell::new(),
            written: Mutex::default(),
        }
    }

    /// Makes the one of a site, or removes it where none is wanted any more.
    ///
    /// # Errors
    /// If it can't be written.
    pub async fn keep(&self, site: &MediaNode) -> Result<Said, WriteError> {
        let (namespace, uid) = (
            site.namespace().unwrap_or_default(),
            site.uid().unwrap_or_default(),
        );
        let there = self
            .world
            .autoscalers
            .get(Some(&namespace), &site.name_any());
        let own = there.filter(|there| {
            there
                .owner_references()
                .iter()
                .any(|owner| owner.uid == uid)
        });
        match horizontal::wanted(site, self.has_tolerance().await) {
            Wanted::This(wanted) => self.put(&namespace, &uid, *wanted, own.as_deref()).await,
            none => {
                self.written().remove(&uid);
                if let Some(own) = own {
                    self.remove(&namespace, &own).await?;
                }
                let trouble = (none == Wanted::NoTarget).then(|| Trouble {
                    reason: reasons::AUTOSCALER,
                    message: "autoscaling.targets are all 0, so a HorizontalPodAutoscaler has nothing to go by: set one"
                        .to_owned(),
                });
                Ok(Said {
                    status: None,
                    trouble,
                })
            }
        }
    }

    async fn put(
        &self,
        namespace: &str,
        uid: &str,
        wanted: HorizontalPodAutoscaler,
        own: Option<&HorizontalPodAutoscaler>,
    ) -> Result<Said, WriteError> {
        let said = Said {
            status: own.and_then(horizontal::status),
            trouble: None,
        };
        let clock = Instant::now();
        let is_recent = |(written, at): &(HorizontalPodAutoscaler, Instant)| {
            *written == wanted && clock.saturating_duration_since(*at) < REFRESH_EVERY
        };
        if own.is_some() && self.written().get(uid).is_some_and(is_recent) {
            return Ok(said);
        }
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.world.hand.client(), namespace);
        // One that somebody else made is not taken from them: what they set stays theirs, and is said so.
        let params = PatchParams::apply(MANAGER);
        let params = if own.is_some() {
            params.force()
        } else {
            params
        };
        let (name, patch) = (wanted.name_any(), Patch::Apply(&wanted));
        let request = api.patch(&name, &params, &patch);
        match self
            .world
            .hand
            .write("horizontalpodautoscalers", request)
            .await
        {
            Ok(_) => {
                self.written().insert(uid.to_owned(), (wanted, clock));
                Ok(said)
            }
            Err(error) if own.is_none() && error.is_conflict() => Ok(Said {
                trouble: Some(Trouble {
                    reason: reasons::AUTOSCALER,
                    message: format!(
                        "the HorizontalPodAutoscaler {name} is somebody else's: delete it, or change autoscaling.mode: {}",
                        error.message()
                    ),
                }),
                ..said
            }),
            Err(error) => Err(error),
        }
    }

    async fn remove(
        &self,
        namespace: &str,
        own: &HorizontalPodAutoscaler,
    ) -> Result<(), WriteError> {
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.world.hand.client(), namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: own.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = own.name_any();
        let deleted = self
            .world
            .hand
            .write("horizontalpodautoscalers", api.delete(&name, &params))
            .await;
        match deleted {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Asked once; as long as there is no answer, as if it didn't know.
    async fn has_tolerance(&self) -> bool {
        let asked = self.has_tolerance.get_or_try_init(|| async {
            let version = self.world.hand.client().apiserver_version().await?;
            Ok::<bool, kube::Error>(knows_tolerance(&version.major, &version.minor))
        });
        asked.await.is_ok_and(|knows| *knows)
    }

    fn written(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<String, (HorizontalPodAutoscaler, Instant)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
