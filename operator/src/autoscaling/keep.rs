//! Decides how many pods sites have, and asks for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use showrunner_capacity::autoscaling::{Decision, Observation, Pod, State, decide};
use showrunner_crds::autoscaling::AutoscalingStatus;
use showrunner_crds::{LiveRoom, MediaNode};
use showrunner_protocol::RoomName;

use super::demand::{Demand, SiteName, demand};
use super::rules::{Rules, rules};
use super::say::{self, Told, happenings};
use crate::clock::now;
use crate::cluster::write::WriteError;
use crate::media_node::allow::takes;
use crate::pods::PodId;
use crate::world::World;

/// How often a site is looked at. Pods are asked once a second: half a second after the last of them has answered, what
/// follows from it is done.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who owns the number of pods.
const MANAGER: &str = "showrunner-autoscaler";
/// How old what rooms announce may be.
const DEMAND_EVERY: Duration = Duration::from_secs(1);

/// Scales sites.
pub struct Scaler {
    world: Arc<World>,
    memory: Mutex<HashMap<String, Memory>>,
    demand: Mutex<Option<AllDemand>>,
}

/// What comes to all sites, with when that was found out.
type AllDemand = (Instant, Arc<HashMap<SiteName, Demand>>);

/// What is remembered of a site between two looks. A new leader begins without it, and gives up nothing until it has
/// seen enough.
#[derive(Clone, Default)]
struct Memory {
    rules: Option<(i64, Arc<Rules>)>,
    state: State,
    told: Told,
    /// What was last written, with the version of the resource from which on it has it.
    written: Option<(u64, u32)>,
    scaled: Option<Time>,
}

/// How many pods a site is to have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// So many.
    pub replicas: u32,
    /// What is said of it; none if the site is not scaled.
    pub status: Option<AutoscalingStatus>,
    /// What is wrong with the spec, in a sentence.
    pub invalid: Option<String>,
}

impl Scaler {
    /// Of this world.
    #[must_use]
    pub fn new(world: Arc<World>) -> Scaler {
        Scaler {
            world,
            memory: Mutex::default(),
            demand: Mutex::default(),
        }
    }

    /// Decides for a site, and writes what it decided into its `spec.replicas`.
    ///
    /// # Errors
    /// If that can't be written. Then it is as if nothing had been decided.
    pub async fn wish(
        &self,
        site: &MediaNode,
        pods: impl Iterator<Item = Pod>,
    ) -> Result<Wish, WriteError> {
        let uid = site.uid().unwrap_or_default();
        let Some(rules) = self.rules(site, &uid) else {
            self.memory().remove(&uid);
            return Ok(Wish {
                replicas: site.spec.replicas,
                ..Wish::default()
            });
        };
        let (replicas, state, scaled) = self.remember(&uid, |memory| {
            let seen = version(site.resource_version());
            memory.written.take_if(|(version, _)| seen >= *version);
            let written = memory.written.map(|(_, replicas)| replicas);
            let said = site.status.as_ref();
            let said = said.and_then(|status| status.autoscaling.as_ref());
            let scaled = said.and_then(|said| said.last_scale_time.clone());
            (
                written.unwrap_or(site.spec.replicas),
                memory.state.clone(),
                memory.scaled.clone().or(scaled),
            )
        });
        let invalid = rules.invalid.clone();
        if replicas == 0 {
            self.remember(&uid, |memory| memory.state = State::default());
            return Ok(Wish {
                replicas,
                status: Some(say::stopped(scaled)),
                invalid,
            });
        }
        let pods: Vec<Pod> = pods.collect();
        let demand = self.demand(site);
        let seen = Observation {
            now: i64::try_from(now()).unwrap_or(i64::MAX),
            replicas,
            capacity: rules.capacity,
            pods: &pods,
            rooms: &demand.announced,
            waiting_rooms: demand.waiting,
        };
        let (decision, state) = decide(&rules.policy, &seen, state);
        let is_dry_run = rules.policy.is_dry_run;
        let is_change = !is_dry_run && decision.replicas != replicas;
        let written = if is_change {
            let version = self.write(site, decision.replicas).await?;
            self.world.metrics.scaled(&decision, replicas);
            Some((version, decision.replicas))
        } else {
            None
        };
        let scaled = self.remember(&uid, |memory| {
            memory.state = state;
            if let Some(written) = written {
                memory.written = Some(written);
                memory.scaled = Some(Time(Timestamp::now()));
            }
            memory.scaled.clone().or(scaled)
        });
        self.tell(site, &uid, (&decision, replicas, is_dry_run));
        Ok(Wish {
            replicas: if is_change {
                decision.replicas
            } else {
                replicas
            },
            status: Some(say::status(&decision, scaled)),
            invalid,
        })
    }

    /// A site is gone.
    pub fn forget(&self, uid: &str) {
        self.memory().remove(uid);
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, HashMap<String, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember<R>(&self, uid: &str, change: impl FnOnce(&mut Memory) -> R) -> R {
        change(self.memory().entry(uid.to_owned()).or_default())
    }

    /// The rules of a spec are read once.
    fn rules(&self, site: &MediaNode, uid: &str) -> Option<Arc<Rules>> {
        let generation = site.metadata.generation.unwrap_or(0);
        let known = self
            .memory()
            .get(uid)
            .and_then(|memory| memory.rules.clone());
        if let Some((_, known)) = known.filter(|(known, _)| *known == generation) {
            return Some(known);
        }
        let rules = Arc::new(rules(&site.spec)?);
        self.remember(uid, |memory| {
            memory.rules = Some((generation, Arc::clone(&rules)))
        });
        Some(rules)
    }

    /// Writes it as an autoscaler does, through `scale`. If somebody has written the site since it was seen, such as
    /// to set it to none, nothing is written, and it is looked at anew. It is a merge patch, since the API server can't
    /// apply the `scale` of a custom resource (1.36: "request to convert CR to an invalid group/version"), and leave to
    /// patch the whole MediaNode would be leave to change all of its spec.
    async fn write(&self, site: &MediaNode, replicas: u32) -> Result<u64, WriteError> {
        let namespace = site.namespace().unwrap_or_default();
        let name = site.name_any();
        let api: Api<MediaNode> = Api::namespaced(self.world.hand.client(), &namespace);
        let scale = json!({
            "metadata": {"resourceVersion": site.resource_version()},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&scale);
        let request = api.patch_scale(&name, &params, &patch);
        let written = self.world.hand.write("medianodes/scale", request).await?;
        Ok(version(written.metadata.resource_version))
    }

    fn tell(
        &self,
        site: &MediaNode,
        uid: &str,
        (decision, replicas, is_dry_run): (&Decision, u32, bool),
    ) {
        let happened = self.remember(uid, |memory| {
            happenings(&mut memory.told, decision, replicas, is_dry_run)
        });
        for happening in happened {
            tracing::info!(
                site = site.name_any(),
                "{}: {}",
                happening.reason,
                happening.note
            );
            self.world.reports.tell(site, happening);
        }
    }

    /// What rooms announce to a site, a moment ago.
    fn demand(&self, site: &MediaNode) -> Demand {
        let clock = Instant::now();
        let mut kept = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |made: &Instant| clock.saturating_duration_since(*made) >= DEMAND_EVERY;
        let all = match &*kept {
            Some((made, all)) if !is_old(made) => Arc::clone(all),
            _ => {
                let all = Arc::new(self.all_demand());
                *kept = Some((clock, Arc::clone(&all)));
                all
            }
        };
        drop(kept);
        let name = (site.namespace().unwrap_or_default(), site.name_any());
        all.get(&name).cloned().unwrap_or_default()
    }

    fn all_demand(&self) -> HashMap<SiteName, Demand> {
        let world = &self.world;
        let mut sites = world.sites.all();
        sites.retain(|site| site.metadata.deletion_timestamp.is_none());
        let may_take = |site: &MediaNode, room: &LiveRoom| {
            let namespace = room.namespace().unwrap_or_default();
            let labels = world.namespaces.get(None, &namespace);
            let labels = labels.as_ref().map(|namespace| namespace.labels());
            let own = site.namespace().unwrap_or_default();
            takes(&site.spec.allowed_rooms, &own, &namespace, labels)
        };
        let now = i64::try_from(now()).unwrap_or(i64::MAX);
        demand(
            &world.rooms.all(),
            &sites,
            may_take,
            |room| self.viewers(room),
            now,
        )
    }

    /// Who are in a room, as its pod says; or as its status does, if the pod says nothing.
    fn viewers(&self, room: &LiveRoom) -> u32 {
        let Some(status) = &room.status else {
            return 0;
        };
        let on_pod = || {
            let origin = status.origin.as_ref()?;
            let id = PodId {
                namespace: origin.namespace.clone(),
                name: origin.pod.clone(),
            };
            let pod = self.world.pods.get(Some(&id.namespace), &id.name)?;
            let sight = self.world.sights.get(&id, &pod.uid()?)?;
            let name = RoomName::new(&room.namespace()?, &room.name_any()).ok()?;
            sight.rooms.get(&name).map(|one| one.viewers)
        };
        if status.edges.is_empty() {
            on_pod().unwrap_or(status.viewers)
        } else {
            status.viewers
        }
    }
}

/// Versions of one kind grow with each write.
fn version(version: Option<String>) -> u64 {
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}
