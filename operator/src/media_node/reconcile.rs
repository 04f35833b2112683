//! Does for a site what its plan says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::Action as Next;
use kube::{Api, ResourceExt};
use serde_json::json;
use showrunner_crds::MediaNode;
use showrunner_crds::condition::site as reasons;
use tokio::sync::Mutex as AsyncMutex;

use super::autoscaler::Autoscalers;
use super::desired::{Action, DeleteReason, DrainReason, Plan, Site, plan};
use super::marks::Marks;
use super::observe::{self, Trouble};
use super::responder::Responder;
use super::status::{self, Facts};
use super::{address, service, template};
use crate::autoscaling::keep::{self, Scaler};
use crate::autoscaling::observe as scaling;
use crate::clock::now;
use crate::cluster::events::Happening;
use crate::cluster::names::{MANAGER, annotation, label};
use crate::cluster::write::WriteError;
use crate::keys::Keyring;
use crate::media_node::keys_secret;
use crate::metrics::Metrics;
use crate::patch::merge_patch;
use crate::pods::{self, PodId, sight::Sight};
use crate::world::World;

/// How often a site is looked at if nothing is heard, for its counts above all.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Rest before something that did not work is tried again.
const REST: Duration = Duration::from_secs(5);
/// Counts alone are not written more often than this.
const COUNTS_EVERY: Duration = Duration::from_secs(5);
/// How often what may have been deleted by hand and is not watched is written again.
const REFRESH_EVERY: Duration = Duration::from_secs(600);
/// The longest message of a trouble, in characters.
const MAX_MESSAGE: usize = 500;

/// Keeps sites.
pub struct Sites {
    world: Arc<World>,
    memory: Mutex<HashMap<String, Memory>>,
    secrets: AsyncMutex<HashMap<String, Written>>,
    autoscalers: Autoscalers,
    marks: Marks,
    responder: Responder,
    scaler: Scaler,
}

/// What is remembered of a site between two looks: nothing that a new leader would miss.
#[derive(Clone, Debug, Default)]
struct Memory {
    budget_written: Option<Instant>,
    status_written: Option<Instant>,
    /// What the API server said when it last refused a pod.
    refused: Option<(String, Instant)>,
    failures: u32,
}

struct Written {
    keyring: Arc<Keyring>,
    owners: Vec<String>,
    at: Instant,
}

/// A pod with all that is known of it.
struct Known {
    pod: Arc<Pod>,
    id: PodId,
    ordinal: u32,
    sight: Option<Arc<Sight>>,
    machine: Option<Arc<Node>>,
}

impl Sites {
    /// Of this world.
    #[must_use]
    pub fn new(world: Arc<World>) -> Sites {
        Sites {
            autoscalers: Autoscalers::new(Arc::clone(&world)),
            marks: Marks::new(Arc::clone(&world)),
            responder: Responder::new(Arc::clone(&world)),
            scaler: Scaler::new(Arc::clone(&world)),
            world,
            memory: Mutex::default(),
            secrets: AsyncMutex::default(),
        }
    }

    /// One look at a site, and what follows from it.
    ///
    /// # Errors
    /// If something can't be written.
    pub async fn reconcile(&self, site: &MediaNode) -> Result<Next, WriteError> {
        // Its pods go with it: they drain as long as their grace period lets them.
        if site.metadata.deletion_timestamp.is_some() {
            self.scaler.forget(&site.uid().unwrap_or_default());
            return Ok(Next::await_change());
        }
        let (Some(keyring), Some(namespace)) = (self.world.keys(), site.namespace()) else {
            return Ok(Next::requeue(REST));
        };
        self.keep_keys(&namespace, keyring).await?;
        self.keep_budget(site, &namespace).await?;
        let known = self.pods_of(site, &namespace);
        let asked = self.world.evictions.asked();
        let clock = Instant::now();
        let seen = known
            .iter()
            .filter_map(|one| scaling::pod(&one.pod, one.sight.as_deref(), clock));
        let scaled = self.scaler.wish(site, seen).await?;
        let wish = Site {
            replicas: scaled.replicas,
            template: template::template_hash(site, &self.world.config.pod_defaults()),
            drain_seconds: site.spec.drain.deadline_seconds,
        };
        let site_name = site.name_any();
        let observed: Vec<_> = known
            .iter()
            .filter_map(|one| {
                let must_go = observe::must_go(&one.pod, one.machine.as_deref(), &asked);
                let sight = one.sight.as_deref();
                observe::pod(&site_name, &one.pod, sight, must_go, clock)
            })
            .collect();
        let plan = plan(&wish, &observed, now());
        let refused = self.act(site, &namespace, &plan, &known).await?;
        let sessions = observed.iter().map(|one| one.sessions);
        let pods = known.iter().map(|one| &*one.pod).zip(sessions);
        self.marks.keep(pods, clock).await?;
        let pods = known.iter().map(|one| &*one.pod).zip(&observed);
        self.responder
            .answer((&namespace, &site_name), &asked, pods)
            .await;
        let by_kubernetes = self.autoscalers.keep(site).await?;
        self.keep_services(site, &namespace, &known).await?;
        let unreached = self.tell_addresses(site, &known).await;
        let invalid = scaled.invalid.as_ref().map(|message| Trouble {
            reason: reasons::INVALID_SCHEDULE,
            message: message.clone(),
        });
        let mut troubles: Vec<Trouble> = refused
            .into_iter()
            .chain(known.iter().filter_map(|one| observe::trouble(&one.pod)))
            .chain(
                known
                    .iter()
                    .filter_map(|one| observe::cut_off(&one.pod, one.sight.as_deref(), clock)),
            )
            .chain(unreached)
            .chain(by_kubernetes.trouble)
            .chain(invalid)
            .collect();
        for trouble in &mut troubles {
            trouble.message = trouble.message.chars().take(MAX_MESSAGE).collect();
        }
        let is_scaled = scaled.status.is_some();
        let scaled = keep::Wish {
            status: scaled.status.or(by_kubernetes.status),
            ..scaled
        };
        self.say(site, &namespace, (&plan, scaled), troubles)
            .await?;
        let rest = rest(&plan);
        Ok(Next::requeue(if is_scaled {
            rest.min(keep::LOOK_EVERY)
        } else {
            rest
        }))
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.world.metrics
    }

    /// How long to rest after a failure.
    #[must_use]
    pub fn back_off(&self, site: &MediaNode) -> Duration {
        let failures = self.remember(site, |memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        });
        crate::run::back_off(failures)
    }

    fn remember<R>(&self, site: &MediaNode, change: impl FnOnce(&mut Memory) -> R) -> R {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(memory.entry(site.uid().unwrap_or_default()).or_default())
    }

    /// The site's own pods, with those that have a name of another kind left out.
    fn pods_of(&self, site: &MediaNode, namespace: &str) -> Vec<Known> {
        let (name, uid) = (site.name_any(), site.uid());
        let is_own = |pod: &Pod| {
            let owner = pod
                .owner_references()
                .iter()
                .find(|owner| owner.controller == Some(true));
            pod.metadata.namespace.as_deref() == Some(namespace)
                && owner.map(|owner| &owner.uid) == uid.as_ref()
        };
        let all = self.world.pods.all().into_iter().filter(|pod| is_own(pod));
        let mut known: Vec<Known> = all
            .filter_map(|pod| {
                let id = PodId::of(&pod);
                let machine = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
                Some(Known {
                    ordinal: template::ordinal(&name, &id.name)?,
                    sight: self.world.sights.get(&id, &pod.uid()?),
                    machine: machine.and_then(|machine| self.world.machines.get(None, machine)),
                    id,
                    pod,
                })
            })
            .collect();
        known.sort_by_key(|one| one.ordinal);
        known
    }

    /// Does what is planned. Returns what the API server said if it refused a pod.
    async fn act(
        &self,
        site: &MediaNode,
        namespace: &str,
        plan: &Plan,
        known: &[Known],
    ) -> Result<Option<Trouble>, WriteError> {
        let pod = |ordinal| known.iter().find(|one| one.ordinal == ordinal);
        let mut tried = false;
        for action in &plan.actions {
            match *action {
                Action::Create(ordinal) => {
                    if !tried || self.remember(site, |memory| memory.refused.is_none()) {
                        tried = true;
                        self.create(site, namespace, ordinal).await?;
                    }
                }
                Action::Drain {
                    ordinal,
                    deadline,
                    why,
                } => {
                    if let Some(known) = pod(ordinal) {
                        self.drain(site, known, deadline, why).await?;
                    }
                }
                Action::TellDrain { ordinal, seconds } => {
                    if let Some(address) = pod(ordinal).and_then(|known| pods::address(&known.pod))
                    {
                        // It is told again as long as it does not say that it drains.
                        let _ = self.world.control.drain(address, seconds).await;
                    }
                }
                Action::Delete { ordinal, why } => {
                    if let Some(known) = pod(ordinal) {
                        self.delete(site, known, why).await?;
                    }
                }
            }
        }
        let refused = self.remember(site, |memory| {
            memory.failures = 0;
            if !tried {
                memory.refused = None;
            }
            memory.refused.clone()
        });
        Ok(refused.map(|(message, _)| Trouble {
            reason: reasons::POD_REFUSED,
            message: format!("the API server refuses to make a pod: {message}"),
        }))
    }

    async fn create(
        &self,
        site: &MediaNode,
        namespace: &str,
        ordinal: u32,
    ) -> Result<(), WriteError> {
        let api: Api<Pod> = Api::namespaced(self.world.hand.client(), namespace);
        let answers_evictions = self.world.evictions.are_served();
        let defaults = self.world.config.pod_defaults();
        let pod = template::pod(site, &defaults, ordinal, answers_evictions);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let created = self
            .world
            .hand
            .write("pods", api.create(&params, &pod))
            .await;
        let refused = match created {
            Ok(made) => {
                let note = format!("pod {} is made", pod.name_any());
                self.world.reports.tell(
                    site,
                    Happening::normal("PodCreated", "Create", note).about(&made),
                );
                None
            }
            // It is there, and will be seen.
            Err(error) if error.is_conflict() => None,
            Err(error) if matches!(error.status(), Some(400..=499)) => Some(error.message()),
            Err(error) => return Err(error),
        };
        let is_news = self.remember(site, |memory| {
            let before = memory.refused.take().map(|(message, _)| message);
            memory.refused = refused.clone().map(|message| (message, Instant::now()));
            before.is_none()
        });
        if let (Some(message), true) = (refused, is_news) {
            self.world.reports.tell(
                site,
                Happening::warning(reasons::POD_REFUSED, "Create", message),
            );
        }
        Ok(())
    }

    async fn drain(
        &self,
        site: &MediaNode,
        known: &Known,
        deadline: u64,
        why: DrainReason,
    ) -> Result<(), WriteError> {
        let api: Api<Pod> = Api::namespaced(self.world.hand.client(), &known.id.namespace);
        let patch = json!({"metadata": {
            "uid": known.pod.uid(),
            "annotations": {annotation::DRAIN_DEADLINE: deadline.to_string()},
        }});
        let (name, params) = (&known.id.name, PatchParams::default());
        let patched = self
            .world
            .hand
            .write("pods", api.patch(name, &params, &Patch::Merge(&patch)))
            .await;
        ignore_gone(patched)?;
        let why = match why {
            DrainReason::ScaleIn => "there are more than are wanted",
            DrainReason::Rollout => {
                "it is of an older template, its machine is to go, or its eviction is asked for"
            }
        };
        let note = format!("pod {} drains: {why}", known.id.name);
        self.world.reports.tell(
            site,
            Happening::normal("PodDrains", "Drain", note).about(&*known.pod),
        );
        if let Some(address) = pods::address(&known.pod) {
            let seconds = u32::try_from(deadline.saturating_sub(now())).unwrap_or(u32::MAX);
            // The plan has it told again until it says that it drains.
            let _ = self.world.control.drain(address, seconds).await;
        }
        Ok(())
    }

    async fn delete(
        &self,
        site: &MediaNode,
        known: &Known,
        why: DeleteReason,
    ) -> Result<(), WriteError> {
        let api: Api<Pod> = Api::namespaced(self.world.hand.client(), &known.id.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: known.pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        ignore_gone(
            self.world
                .hand
                .write("pods", api.delete(&known.id.name, &params))
                .await,
        )?;
        let (is_warning, text) = match why {
            DeleteReason::Drained => (false, "is deleted: its last session is gone"),
            DeleteReason::Deadline => (
                true,
                "is deleted: its drain took too long, and its last sessions are cut off",
            ),
            DeleteReason::NeverRan => {
                (false, "is deleted: it is not wanted any more and never ran")
            }
            DeleteReason::Ended => (true, "is deleted and made again: it ended by itself"),
        };
        let note = format!("pod {} {text}", known.id.name);
        let happening = if is_warning {
            Happening::warning
        } else {
            Happening::normal
        };
        self.world.reports.tell(
            site,
            happening("PodDeleted", "Delete", note).about(&*known.pod),
        );
        Ok(())
    }

    /// Makes the Services of pods, and lets those go whose pods are gone.
    async fn keep_services(
        &self,
        site: &MediaNode,
        namespace: &str,
        known: &[Known],
    ) -> Result<(), WriteError> {
        let api: Api<Service> = Api::namespaced(self.world.hand.client(), namespace);
        let mut wanted = Vec::new();
        for one in known
            .iter()
            .filter(|one| one.pod.metadata.deletion_timestamp.is_none())
        {
            let Some(service) = service::service(site, one.ordinal) else {
                break;
            };
            let there = self.world.services.get(Some(namespace), &one.id.name);
            if !there.is_some_and(|there| is_as_wanted(&there, &service)) {
                let params = PatchParams::apply(MANAGER).force();
                let name = &one.id.name;
                self.world
                    .hand
                    .write(
                        "services",
                        api.patch(name, &params, &Patch::Apply(&service)),
                    )
                    .await?;
            }
            wanted.push(one.id.name.clone());
        }
        let name = site.name_any();
        let is_own = |service: &Service| {
            service.metadata.namespace.as_deref() == Some(namespace)
                && service.labels().get(label::MEDIA_NODE) == Some(&name)
                && service
                    .owner_references()
                    .iter()
                    .any(|owner| Some(&owner.uid) == site.uid().as_ref())
        };
        for service in self.world.services.all() {
            if is_own(&service) && !wanted.contains(&service.name_any()) {
                let (name, params) = (service.name_any(), DeleteParams::default());
                ignore_gone(
                    self.world
                        .hand
                        .write("services", api.delete(&name, &params))
                        .await,
                )?;
            }
        }
        Ok(())
    }

    /// Tells pods how clients reach them. Returns why one can't be told.
    async fn tell_addresses(&self, site: &MediaNode, known: &[Known]) -> Option<Trouble> {
        let mut trouble = None;
        for one in known
            .iter()
            .filter(|one| one.pod.metadata.deletion_timestamp.is_none())
        {
            let service = self
                .world
                .services
                .get(Some(&one.id.namespace), &one.id.name);
            let public = address::public(
                &site.spec.reach,
                &one.pod,
                one.machine.as_deref(),
                service.as_deref(),
            );
            let status = one
                .sight
                .as_ref()
                .filter(|sight| sight.answers())
                .and_then(|sight| sight.status.as_ref());
            match (public, pods::address(&one.pod), status) {
                (Ok(public), Some(address), Some(status))
                    if status.public.as_ref() != Some(&public) =>
                {
                    if let Err(error) = self.world.control.tell_addresses(address, &public).await {
                        tracing::warn!(pod = %one.id, "a media pod can't be told its addresses: {error}");
                    }
                }
                (Err(error), Some(_), _) if !error.is_passing() => {
                    let message = format!(
                        "the public address of pod {} can't be found: {error}",
                        one.id.name
                    );
                    trouble = trouble.or(Some(Trouble {
                        reason: reasons::NO_ADDRESS,
                        message,
                    }));
                }
                _ => {}
            }
        }
        trouble
    }

    /// Writes the status, if it says something new. What is not urgent waits.
    async fn say(
        &self,
        site: &MediaNode,
        namespace: &str,
        (plan, scaled): (&Plan, keep::Wish),
        troubles: Vec<Trouble>,
    ) -> Result<(), WriteError> {
        let old = site.status.clone().unwrap_or_default();
        let facts = Facts {
            generation: site.metadata.generation,
            replicas: scaled.replicas,
            autoscaling: scaled.status,
            summary: plan.summary,
            selector: format!("{}={}", label::MEDIA_NODE, site.name_any()),
            troubles,
            now: Timestamp::now(),
        };
        let new = status::next(&old, &facts);
        let Some(patch) = merge_patch(&old, &new) else {
            return Ok(());
        };
        let clock = Instant::now();
        let is_recent = self.remember(site, |memory| {
            memory
                .status_written
                .is_some_and(|at| clock.saturating_duration_since(at) < COUNTS_EVERY)
        });
        if is_recent && !status::is_urgent(&old, &new) {
            return Ok(());
        }
        let api: Api<MediaNode> = Api::namespaced(self.world.hand.client(), namespace);
        let patch = json!({"status": patch});
        let (name, params) = (site.name_any(), PatchParams::default());
        let patch = Patch::Merge(&patch);
        let patched = self
            .world
            .hand
            .write(
                "medianodes/status",
                api.patch_status(&name, &params, &patch),
            )
            .await;
        ignore_gone(patched)?;
        self.remember(site, |memory| memory.status_written = Some(clock));
        let reason = |status: &showrunner_crds::MediaNodeStatus| {
            crate::condition::reason(&status.conditions, showrunner_crds::condition::DEGRADED)
                .map(str::to_owned)
        };
        if let (Some(trouble), true) = (facts.troubles.first(), reason(&old) != reason(&new))
            && trouble.reason != reasons::POD_REFUSED
        {
            self.world.reports.tell(
                site,
                Happening::warning(trouble.reason, "Observe", trouble.message.clone()),
            );
        }
        Ok(())
    }

    /// The disruption budget is not watched, and seldom gone.
    async fn keep_budget(&self, site: &MediaNode, namespace: &str) -> Result<(), WriteError> {
        let clock = Instant::now();
        let is_due = self.remember(site, |memory| {
            memory
                .budget_written
                .is_none_or(|at| clock.saturating_duration_since(at) >= REFRESH_EVERY)
        });
        if !is_due {
            return Ok(());
        }
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.world.hand.client(), namespace);
        let budget = service::disruption_budget(site);
        let (name, params) = (site.name_any(), PatchParams::apply(MANAGER).force());
        let budget = Patch::Apply(&budget);
        self.world
            .hand
            .write("poddisruptionbudgets", api.patch(&name, &params, &budget))
            .await?;
        self.remember(site, |memory| memory.budget_written = Some(clock));
        Ok(())
    }

    /// The Secret with what pods need, in a namespace that has sites. It can't be read, so it is written from time to
    /// time.
    async fn keep_keys(&self, namespace: &str, keyring: Arc<Keyring>) -> Result<(), WriteError> {
        let mut owners: Vec<Arc<MediaNode>> = self.world.sites.all();
        owners.retain(|site| {
            site.metadata.namespace.as_deref() == Some(namespace)
                && site.metadata.deletion_timestamp.is_none()
        });
        owners.sort_by_key(|site| site.name_any());
        let uids: Vec<String> = owners.iter().filter_map(|site| site.uid()).collect();
        let clock = Instant::now();
        let mut secrets = self.secrets.lock().await;
        if let Some(written) = secrets.get(namespace)
            && Arc::ptr_eq(&written.keyring, &keyring)
            && written.owners == uids
            && clock.saturating_duration_since(written.at) < keys_secret::REFRESH_EVERY
        {
            return Ok(());
        }
        let secret = keys_secret::secret(namespace, &keyring.control, &owners);
        let api: Api<Secret> = Api::namespaced(self.world.hand.client(), namespace);
        let (name, params) = (secret.name_any(), PatchParams::apply(MANAGER).force());
        self.world
            .hand
            .write("secrets", api.patch(&name, &params, &Patch::Apply(&secret)))
            .await?;
        secrets.insert(
            namespace.to_owned(),
            Written {
                keyring,
                owners: uids,
                at: clock,
            },
        );
        Ok(())
    }
}

/// When to look again.
fn rest(plan: &Plan) -> Duration {
    let is_telling = |action: &Action| matches!(action, Action::TellDrain { .. });
    if plan.actions.iter().any(is_telling) {
        return Duration::from_secs(1);
    }
    let until = plan
        .wake_at
        .map(|at| Duration::from_secs(at.saturating_sub(now()).max(1)));
    until.map_or(LOOK_EVERY, |until| until.min(LOOK_EVERY))
}

/// Whether a Service has what is wanted of it, whatever others and the API server added.
fn is_as_wanted(there: &Service, wanted: &Service) -> bool {
    let (Some(there_spec), Some(spec)) = (&there.spec, &wanted.spec) else {
        return false;
    };
    let ports = |spec: &k8s_openapi::api::core::v1::ServiceSpec| -> Vec<_> {
        let ports = spec.ports.iter().flatten();
        ports
            .map(|port| (port.name.clone(), port.port, port.protocol.clone()))
            .collect()
    };
    let wants_ports = spec
        .ports
        .iter()
        .flatten()
        .zip(there_spec.ports.iter().flatten());
    let has_node_ports = wants_ports
        .into_iter()
        .all(|(wanted, there)| wanted.node_port.is_none() || wanted.node_port == there.node_port);
    let annotations = wanted.annotations();
    there_spec.type_ == spec.type_
        && there_spec.selector == spec.selector
        && ports(there_spec) == ports(spec)
        && has_node_ports
        && annotations
            .iter()
            .all(|(key, value)| there.annotations().get(key) == Some(value))
}

/// What is gone needs nothing any more.
fn ignore_gone<T>(written: Result<T, WriteError>) -> Result<(), WriteError> {
    match written {
        // 409: another pod has the name now.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        written => written.map(drop),
    }
}
