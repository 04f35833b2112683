//! Does for a room what is to be done. [`say`] writes its status, [`token`] the Secret of its host, [`end`] ends it,
//! [`former`] sees to the pods that it was on.

mod end;
mod former;
mod say;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action as Next;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use showrunner_crds::live_room::{Phase, PodReference};
use showrunner_crds::{LiveRoom, LiveRoomStatus};
use showrunner_protocol::RoomName;
use showrunner_protocol::control::{PodRole, RoomAssignment, RoomStatus};
use showrunner_protocol::room::RoomUid;

use super::assignment::assignment;
use super::desired::{self, State, Step, Why, decide};
use super::fleet::Wish;
use super::handover;
use super::placement::{Need, Unplaceable};
use super::status::{self, OnPod, Outcome};
use super::strays;
use crate::clock::now;
use crate::cluster::names::label;
use crate::cluster::write::WriteError;
use crate::media_node::allow::takes;
use crate::metrics::Metrics;
use crate::pods::control::ControlError;
use crate::pods::sight::Sight;
use crate::pods::{self, PodId, address, is_leaving, is_ready, site_of};
use crate::run::back_off;
use crate::world::World;

/// Counts of all rooms that are written each second.
const COUNTS_PER_SECOND: f64 = 40.0;
/// Rest of a room that no pod takes now. It is also looked at when pods change.
const WAIT_FOR_PODS: Duration = Duration::from_secs(30);
/// Rest of a room that no site takes. It is also looked at when sites change.
const WAIT_FOR_SITES: Duration = Duration::from_secs(300);
/// A pod that does not want a room is not asked again for this long.
const AVOID_FOR: Duration = Duration::from_secs(30);
/// Rest until a write of ours is seen.
const SEE_SOON: Duration = Duration::from_secs(2);

/// Keeps rooms.
pub struct Rooms {
    world: Arc<World>,
    memory: Mutex<HashMap<RoomUid, Memory>>,
    waiting: Mutex<HashMap<RoomName, For>>,
    counts: Mutex<(f64, Instant)>,
}

/// What a room waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// A pod with space.
    Pods,
    /// A site that takes it.
    Sites,
}

/// What is remembered of a room between two looks: nothing that a new leader would miss.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// What is watched is older than what was written, up to this version.
    version: u64,
    status_written: Option<Instant>,
    token_due: Option<Instant>,
    not: Option<(PodId, Instant)>,
    failures: u32,
    /// Since when its origin is to take it from the pod before.
    taking_since: Option<Instant>,
}

/// A room as it is worked on.
struct Work<'a> {
    room: &'a LiveRoom,
    name: RoomName,
    uid: RoomUid,
    old: LiveRoomStatus,
}

/// A pod that a room is on.
struct Origin {
    id: PodId,
    pod: Option<Arc<Pod>>,
    sight: Option<Arc<Sight>>,
}

impl Rooms {
    /// Of this world, with the books made from what is watched.
    #[must_use]
    pub fn new(world: Arc<World>) -> Rooms {
        let rooms = Rooms {
            world,
            memory: Mutex::default(),
            waiting: Mutex::default(),
            counts: Mutex::new((COUNTS_PER_SECOND, Instant::now())),
        };
        let mut ledger = rooms.world.fleet.ledger();
        ledger.retain(|_| false);
        for room in rooms.world.rooms.all() {
            if let Some(work) = Work::of(&room)
                && let Some(origin) = &work.old.origin
            {
                ledger.book(&work.uid, &work.name, &id_of(origin), demand(&room));
            }
        }
        drop(ledger);
        rooms
    }

    /// One look at a room, and what follows from it.
    ///
    /// # Errors
    /// If something can't be written.
    pub async fn reconcile(&self, room: &LiveRoom) -> Result<Next, WriteError> {
        let Some(work) = Work::of(room) else {
            tracing::error!(
                "LiveRoom {} has a name or uid that can't be used",
                room.name_any()
            );
            return Ok(Next::await_change());
        };
        if !self.world.hand.may_write() {
            return Err(WriteError::NotLeader);
        }
        // What was written is on its way here: it is looked at then.
        let seen = version_of(room);
        if self.remember(&work.uid, |memory| seen < memory.version) {
            return Ok(Next::requeue(SEE_SOON));
        }
        let origin = self.origin(&work);
        let step = decide(self.observe(&work, origin.as_ref()), now());
        match step {
            Step::Finish => self.finish(&work, origin).await,
            Step::End => self.end(&work, origin).await,
            Step::Stay | Step::Place(_) => {
                let why = match step {
                    Step::Place(why) => Some(why),
                    _ => None,
                };
                self.keep(&work, origin, why).await
            }
        }
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.world.metrics
    }

    /// A room is gone for good.
    pub fn forget(&self, room: &LiveRoom) {
        if let Some(work) = Work::of(room) {
            self.drop(&work);
        }
    }

    /// Only these rooms are there.
    pub fn retain(&self, is_there: impl Fn(&RoomUid) -> bool) {
        self.world.fleet.ledger().retain(&is_there);
        self.memory().retain(|uid, _| is_there(uid));
    }

    /// How long to rest after a failure.
    #[must_use]
    pub fn back_off(&self, room: &LiveRoom) -> Duration {
        let Some(work) = Work::of(room) else {
            return WAIT_FOR_SITES;
        };
        back_off(self.remember(&work.uid, |memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        }))
    }

    /// The rooms that wait for this.
    #[must_use]
    pub fn waiting(&self, for_what: For) -> Vec<RoomName> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = waiting.iter().filter(|(_, what)| **what == for_what);
        wanted.map(|(name, _)| name.clone()).collect()
    }

    /// Ends the rooms of a pod that should not be there.
    pub async fn end_strays(&self, id: &PodId) {
        let pod = self.world.pods.get(Some(&id.namespace), &id.name);
        let Some((pod, address)) = pod.and_then(|pod| address(&pod).map(|address| (pod, address)))
        else {
            return;
        };
        let Some(sight) = pod.uid().and_then(|uid| self.world.sights.get(id, &uid)) else {
            return;
        };
        let found = strays::strays(sight.rooms.values(), |name, uid| self.known(id, name, uid));
        for (name, uid) in found {
            if !self.world.hand.may_write() {
                return;
            }
            match self.world.control.end(address, &name, &uid).await {
                Ok(()) => {
                    tracing::info!(pod = %id, room = String::from(name), "ended a room that does not belong there")
                }
                Err(error) => {
                    tracing::warn!(pod = %id, "a room that does not belong there can't be ended: {error}")
                }
            }
        }
    }

    fn known(&self, pod: &PodId, name: &RoomName, uid: &RoomUid) -> strays::Known {
        if self
            .world
            .rooms
            .is_unreadable(name.namespace(), name.name())
        {
            return strays::Known::Here;
        }
        let room = self.world.rooms.get(Some(name.namespace()), name.name());
        let Some(room) = room.filter(|room| room.uid().as_deref() == Some(uid.as_str())) else {
            return strays::Known::Gone;
        };
        let is_over = room
            .status
            .as_ref()
            .is_some_and(|status| status.phase == Some(Phase::Ended));
        match self.world.fleet.ledger().pod_of(uid) {
            Some(booked) if booked == pod => strays::Known::Here,
            Some(_) => strays::Known::Elsewhere,
            None if is_over => strays::Known::Gone,
            None => strays::Known::Here,
        }
    }

    fn observe(&self, work: &Work<'_>, origin: Option<&Origin>) -> desired::Room {
        let room = work.room;
        let schedule = room.spec.schedule.as_ref();
        let end = schedule.and_then(|schedule| schedule.end.as_ref());
        desired::Room {
            is_deleted: room.metadata.deletion_timestamp.is_some(),
            end: end.map(|end| u64::try_from(end.0.as_second()).unwrap_or(0)),
            pod: origin.map(|origin| {
                let sight = origin.sight.as_ref();
                let report = sight.and_then(|sight| sight.rooms.get(&work.name));
                desired::Pod {
                    state: self.state(work, origin),
                    has_host: report.is_some_and(|report| report.publishers > 0),
                    sends_on: sight
                        .and_then(|sight| sight.status.as_ref())
                        .is_some_and(|status| status.sends_on),
                }
            }),
        }
    }

    fn state(&self, work: &Work<'_>, origin: &Origin) -> State {
        let Some(pod) = origin.pod.as_ref().filter(|pod| !pods::is_ended(pod)) else {
            return State::Gone;
        };
        let is_being_deleted = pod.metadata.deletion_timestamp.is_some();
        // One that has an address and was not asked yet may well answer.
        let was_asked = origin.sight.is_some() || address(pod).is_none();
        // One that its kubelet finds ready may only be cut off from us for a moment.
        let is_confirmed = is_being_deleted || !is_ready(pod) || is_dead(origin);
        if is_lost(origin) && was_asked && is_confirmed {
            State::Lost
        } else if is_leaving(pod) || drains(origin) || !self.is_wanted(work, pod) {
            State::Leaving
        } else {
            State::Serving
        }
    }

    /// Whether a room may be on a pod, by its own spec and the site's, as they are now.
    fn is_wanted(&self, work: &Work<'_>, pod: &Pod) -> bool {
        let regions = &work.room.spec.regions;
        let region = pod.labels().get(label::REGION);
        let is_in_region =
            regions.is_empty() || region.is_none_or(|region| regions.contains(region));
        let (own, site) = (pod.namespace().unwrap_or_default(), site_of(pod));
        let site = site.and_then(|site| self.world.sites.get(Some(&own), site));
        let namespace = work.name.namespace();
        let labels = self.world.namespaces.get(None, namespace);
        let labels = labels.as_ref().map(|namespace| namespace.labels());
        let is_allowed =
            site.is_none_or(|site| takes(&site.spec.allowed_rooms, &own, namespace, labels));
        is_in_region && is_allowed
    }

    /// Where a room is: by the books, which know of it first, or by its status.
    fn origin(&self, work: &Work<'_>) -> Option<Origin> {
        let booked = self.world.fleet.ledger().pod_of(&work.uid).cloned();
        let not = self.not(&work.uid);
        let said = work
            .old
            .origin
            .as_ref()
            .map(id_of)
            .filter(|id| Some(id) != not.as_ref());
        Some(self.find(booked.or(said)?))
    }

    fn find(&self, id: PodId) -> Origin {
        let pod = self.world.pods.get(Some(&id.namespace), &id.name);
        let uid = pod.as_ref().and_then(|pod| pod.uid());
        let sight = uid.and_then(|uid| self.world.sights.get(&id, &uid));
        Origin { id, pod, sight }
    }

    /// A room that is to be on a pod.
    async fn keep(
        &self,
        work: &Work<'_>,
        origin: Option<Origin>,
        why: Option<Why>,
    ) -> Result<Next, WriteError> {
        let mut waits = None;
        let chosen = match why {
            None => origin.ok_or(Unplaceable::NoneReady),
            Some(why) => match (self.place(work, origin.as_ref()), origin) {
                (Ok(id), _) => Ok(self.find(id)),
                // It stays until another has space for it.
                (Err(_), Some(origin)) if why.may_stay() => {
                    waits = Some(For::Pods);
                    Ok(origin)
                }
                (Err(unplaceable), _) => Err(unplaceable),
            },
        };
        if let Err(unplaceable) = &chosen {
            waits = Some(waits_for(unplaceable));
        }
        self.set_waiting(work, waits);
        let version = self.add_finalizer(work).await?;
        match chosen {
            Ok(origin) => self.serve(work, origin, why, version).await,
            Err(unplaceable) => self.wait(work, why, unplaceable, version).await,
        }
    }

    fn place(&self, work: &Work<'_>, from: Option<&Origin>) -> Result<PodId, Unplaceable> {
        let not = self.not(&work.uid);
        let wish = Wish {
            uid: &work.uid,
            name: &work.name,
            need: Need {
                regions: &work.room.spec.regions,
                viewers: demand(work.room),
            },
            not: not.as_ref().or(from.map(|from| &from.id)),
        };
        let placed = self.world.fleet.place(&self.world, &wish);
        self.world.metrics.placed(match &placed {
            Ok(_) => "placed",
            Err(unplaceable) => status::waits(unplaceable),
        });
        placed
    }

    /// The pod that does not want a room.
    fn not(&self, uid: &RoomUid) -> Option<PodId> {
        let clock = Instant::now();
        self.remember(uid, |memory| {
            memory
                .not
                .take_if(|(_, at)| clock.saturating_duration_since(*at) >= AVOID_FOR);
            memory.not.clone().map(|(pod, _)| pod)
        })
    }

    async fn wait(
        &self,
        work: &Work<'_>,
        why: Option<Why>,
        unplaceable: Unplaceable,
        version: Option<String>,
    ) -> Result<Next, WriteError> {
        self.world.fleet.ledger().release(&work.uid);
        let rest = match waits_for(&unplaceable) {
            For::Sites => WAIT_FOR_SITES,
            For::Pods => WAIT_FOR_PODS,
        };
        let late = self
            .say(work, Outcome::Waits(unplaceable), why, None, version)
            .await?;
        Ok(Next::requeue(self.next_turn(work, rest.min(late))))
    }

    /// Tells the pod of the room, if it does not know, writes the Secret of the host, if it is time, and says so.
    async fn serve(
        &self,
        work: &Work<'_>,
        origin: Origin,
        why: Option<Why>,
        version: Option<String>,
    ) -> Result<Next, WriteError> {
        let report = origin
            .sight
            .as_ref()
            .and_then(|sight| sight.rooms.get(&work.name))
            .cloned();
        let report = report.filter(|report| report.uid.as_ref() == Some(&work.uid));
        let formers = self.formers(work, &origin.id);
        let placement = work.placement(&origin.id);
        let part = self.part(work, placement, report.as_ref(), &formers);
        let is_origin = part.role == PodRole::Origin;
        let origin_address = origin.pod.as_ref().and_then(|pod| address(pod));
        let wanted = assignment(work.room, &work.uid, part);
        let knows = report.as_ref().is_some_and(|report| {
            let is_spec_known = report
                .generation
                .is_some_and(|known| known >= wanted.generation);
            // One of an earlier release counts no placements.
            let is_part_known = report.revision.is_none_or(|known| known >= wanted.revision);
            is_spec_known && is_part_known
        });
        let (told, secret) = tokio::join!(
            async {
                if knows && !is_lost(&origin) {
                    Ok(())
                } else {
                    self.assign(&origin, work, &wanted).await
                }
            },
            self.renew_token(work),
        );
        let said = formers.iter().filter_map(|one| one.report(work));
        let all = handover::together(report.as_ref(), said);
        let (reference, on) = match (self.reference(work, &origin), told) {
            (Some(reference), Ok(())) => (reference, OnPod::Has(all.as_ref())),
            (Some(reference), Err(ControlError::Refused(code, why))) => {
                // It has no place for it, or is to go: another may have.
                if code == 503 {
                    self.remember(&work.uid, |memory| {
                        memory.not = Some((origin.id.clone(), Instant::now()))
                    });
                    self.world.fleet.ledger().release(&work.uid);
                    self.world.fleet.changed();
                }
                (reference, OnPod::Refused(why))
            }
            (
                Some(reference),
                Err(
                    ControlError::Gone(why)
                    | ControlError::Unreachable(why)
                    | ControlError::NoKeys(why),
                ),
            ) => (reference, OnPod::Unreachable(why)),
            // The pod went in the meantime.
            (None, _) => return Ok(Next::requeue(Duration::from_secs(1))),
        };
        let is_good = matches!(on, OnPod::Has(_));
        let given_up = matches!(on, OnPod::Refused(_))
            && self.world.fleet.ledger().pod_of(&work.uid).is_none();
        let late = if given_up {
            // Not said: it is about to be somewhere else.
            Duration::ZERO
        } else {
            self.say(work, Outcome::On(reference, on), why, secret, version)
                .await?
        };
        if is_good {
            self.remember(&work.uid, |memory| memory.failures = 0);
            // Now that gateways hear where the room is, and it can be had there.
            if let Some(address) = origin_address.filter(|_| is_origin) {
                self.see_off(work, placement, address, &formers).await;
            }
            // That it is the origin is due sooner or later, whether it is heard of or not.
            let late = if is_origin { late } else { SEE_SOON.min(late) };
            return Ok(Next::requeue(self.next_turn(work, late)));
        }
        let rest = self.back_off(work.room);
        Ok(Next::requeue(self.next_turn(work, rest)))
    }

    async fn assign(
        &self,
        origin: &Origin,
        work: &Work<'_>,
        wanted: &RoomAssignment,
    ) -> Result<(), ControlError> {
        let address = origin.pod.as_ref().and_then(|pod| address(pod));
        let address =
            address.ok_or_else(|| ControlError::Unreachable("it has no address".to_owned()))?;
        self.world
            .control
            .assign(address, &work.name, wanted)
            .await?;
        if let Some(uid) = origin.pod.as_ref().and_then(|pod| pod.uid()) {
            let known = RoomStatus {
                uid: Some(work.uid.clone()),
                generation: Some(wanted.generation),
                ..RoomStatus::of(work.name.clone())
            };
            self.world.sights.assigned(&origin.id, &uid, known);
        }
        Ok(())
    }

    fn drop(&self, work: &Work<'_>) {
        self.memory().remove(&work.uid);
        self.set_waiting(work, None);
        self.world.fleet.release(&work.uid);
    }

    fn set_waiting(&self, work: &Work<'_>, waits: Option<For>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waits {
            Some(what) => waiting.insert(work.name.clone(), what),
            None => waiting.remove(&work.name),
        };
    }

    /// When time alone changes something, or the Secret is to be written; not later than `rest` from now.
    fn next_turn(&self, work: &Work<'_>, rest: Duration) -> Duration {
        let clock = Instant::now();
        let token = self.remember(&work.uid, |memory| memory.token_due);
        let token = token.map(|due| due.saturating_duration_since(clock));
        let schedule = work.room.spec.schedule.as_ref();
        let times = schedule
            .into_iter()
            .flat_map(|schedule| [&schedule.start, &schedule.end]);
        let now = Timestamp::now();
        let times = times.flatten().filter(|time| time.0 > now).map(|time| {
            let seconds = (time.0.as_second() - now.as_second()).max(0);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0) + 1)
        });
        let least = Duration::from_millis(200);
        times
            .chain(token)
            .fold(rest, Duration::min)
            .clamp(least, Duration::from_secs(3600))
    }

    fn api(&self, work: &Work<'_>) -> Api<LiveRoom> {
        Api::namespaced(self.world.hand.client(), work.name.namespace())
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, HashMap<RoomUid, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember<R>(&self, uid: &RoomUid, change: impl FnOnce(&mut Memory) -> R) -> R {
        change(self.memory().entry(uid.clone()).or_default())
    }
}

impl Work<'_> {
    fn of(room: &LiveRoom) -> Option<Work<'_>> {
        Some(Work {
            room,
            name: RoomName::new(&room.namespace()?, &room.name_any()).ok()?,
            uid: RoomUid::new(&room.uid()?).ok()?,
            old: room.status.clone().unwrap_or_default(),
        })
    }

    /// The number of its placement on a pod.
    fn placement(&self, on: &PodId) -> u64 {
        let was = self.old.origin.as_ref().map(id_of);
        handover::placement(self.old.placements, was.as_ref() == Some(on))
    }
}

/// The reference of a room, as controllers name it.
#[must_use]
pub fn reference(name: &RoomName) -> ObjectRef<LiveRoom> {
    ObjectRef::new(name.name()).within(name.namespace())
}

fn waits_for(unplaceable: &Unplaceable) -> For {
    match unplaceable {
        Unplaceable::NoSuchRegion(_) | Unplaceable::NotAllowed => For::Sites,
        Unplaceable::NoneReady | Unplaceable::Full => For::Pods,
    }
}

/// Whether it says that it is to go: a machine that shuts down ends its pods without a word to the API server.
fn drains(origin: &Origin) -> bool {
    let sight = origin.sight.as_ref();
    let status = sight.and_then(|sight| sight.status.as_ref());
    status.is_some_and(|status| status.draining)
}

fn is_dead(origin: &Origin) -> bool {
    let sight = origin.sight.as_ref();
    sight.is_some_and(|sight| sight.is_dead(Instant::now()))
}

fn is_lost(origin: &Origin) -> bool {
    origin
        .sight
        .as_ref()
        .is_none_or(|sight| sight.is_lost(Instant::now()))
}

fn id_of(origin: &PodReference) -> PodId {
    PodId {
        namespace: origin.namespace.clone(),
        name: origin.pod.clone(),
    }
}

/// Viewers to make room for.
fn demand(room: &LiveRoom) -> u32 {
    room.spec
        .schedule
        .as_ref()
        .map_or(0, |schedule| schedule.expected_viewers)
}

/// Versions of one kind grow with each write.
fn version_of(room: &LiveRoom) -> u64 {
    room.resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(u64::MAX)
}
