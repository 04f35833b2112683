//! Does for a room what is to be done. [`tell`] tells its pods, [`say`] writes its status, [`token`] the Secret of its
//! host, [`source`] reads what it is pulled from, [`end`] ends it.

mod end;
mod say;
mod source;
mod tell;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action as Next;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use showrunner_crds::live_room::Phase;
use showrunner_crds::{LiveRoom, LiveRoomStatus};
use showrunner_protocol::RoomName;
use showrunner_protocol::control::{PodStatus, RoomStatus};
use showrunner_protocol::room::RoomUid;

use self::tell::Told;
use super::desired::{Look, Part, State, Step, decide, parts};
use super::ledger::{Plan, Set};
use super::reach::Unplaceable;
use super::status::{self, Outcome};
use super::survey::end;
use super::{look, strays};
use crate::clock::now;
use crate::cluster::write::WriteError;
use crate::metrics::Metrics;
use crate::pods::sight::Sight;
use crate::pods::{PodId, address};
use crate::run::back_off;
use crate::world::World;

/// Counts of all rooms that are written each second.
const COUNTS_PER_SECOND: f64 = 40.0;
/// Rest of a room that no pod takes now. It is also looked at when a pass finds one.
const WAIT_FOR_PODS: Duration = Duration::from_secs(300);
/// How long a pod may try to take a room from the origin before it, while the host is there …
const TAKING: Duration = Duration::from_secs(3);
/// … and from one that does not answer us: it may only be cut off from us.
const TAKING_FROM_SILENT: Duration = Duration::from_millis(800);
/// Rest while that goes on.
const TAKING_REST: Duration = Duration::from_millis(400);
/// Rest of a room that no pass has seen yet. It is also looked at when one has.
const WAIT_FOR_PASS: Duration = Duration::from_secs(2);
/// Rest until a write of ours is seen.
const SEE_SOON: Duration = Duration::from_secs(2);

/// Keeps rooms.
pub struct Rooms {
    world: Arc<World>,
    memory: Mutex<HashMap<RoomUid, Memory>>,
    counts: Mutex<(f64, Instant)>,
}

/// What is remembered of a room between two looks: nothing that a new leader would miss.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// What is watched is older than what was written, up to this version.
    version: u64,
    status_written: Option<Instant>,
    token_due: Option<Instant>,
    failures: u32,
    /// Since when a pod that is to be the origin takes the room from the one that is.
    taking: Option<(PodId, Instant)>,
    /// What it is pulled from.
    source: Option<source::Read>,
}

/// A room as it is worked on.
struct Work<'a> {
    room: &'a LiveRoom,
    name: RoomName,
    uid: RoomUid,
    old: LiveRoomStatus,
}

/// A pod as it is known.
#[derive(Clone)]
struct Known {
    id: PodId,
    pod: Option<Arc<Pod>>,
    sight: Option<Arc<Sight>>,
    state: State,
}

/// The pods that a room is on or is to be on.
struct Pods(HashMap<PodId, Known>);

impl Rooms {
    /// Of this world, with the books made from what is watched.
    #[must_use]
    pub fn new(world: Arc<World>) -> Rooms {
        let rooms = Rooms {
            world,
            memory: Mutex::default(),
            counts: Mutex::new((COUNTS_PER_SECOND, Instant::now())),
        };
        let mut ledger = rooms.world.fleet.ledger();
        ledger.retain(|_, _| false);
        for room in rooms.world.rooms.all() {
            if let Some(work) = Work::of(&room) {
                let set = status::set(&work.old);
                ledger.book(&work.uid, &work.name, Some(set));
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
        let is_deleted = room.metadata.deletion_timestamp.is_some();
        match decide(is_deleted, end(room), now()) {
            Step::Finish => self.finish(&work).await,
            Step::End => self.end(work).await,
            Step::Keep => self.keep(work).await,
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
        self.world.fleet.ledger().retain(|uid, _| is_there(uid));
        self.memory().retain(|uid, _| is_there(uid));
    }

    /// How long to rest after a failure.
    #[must_use]
    pub fn back_off(&self, room: &LiveRoom) -> Duration {
        let Some(work) = Work::of(room) else {
            return WAIT_FOR_PODS;
        };
        back_off(self.remember(&work.uid, |memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        }))
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
        let ledger = self.world.fleet.ledger();
        let set = ledger.get(uid).and_then(|booking| booking.set.as_ref());
        match set.filter(|set| !set.parts.is_empty()) {
            Some(set) if set.parts.iter().any(|part| part.pod == *pod) => strays::Known::Here,
            Some(_) => strays::Known::Elsewhere,
            None if is_over => strays::Known::Gone,
            None => strays::Known::Here,
        }
    }

    /// The pods of a room, as they were decided last: by the books, which know of it first, or by its status.
    fn set(&self, work: &Work<'_>) -> Set {
        let ledger = self.world.fleet.ledger();
        let booked = ledger
            .get(&work.uid)
            .and_then(|booking| booking.set.clone());
        booked.unwrap_or_else(|| status::set(&work.old))
    }

    fn find(&self, id: &PodId) -> Known {
        let pod = self.world.pods.get(Some(&id.namespace), &id.name);
        let uid = pod.as_ref().and_then(|pod| pod.uid());
        let sight = uid.and_then(|uid| self.world.sights.get(id, &uid));
        Known {
            state: look::state(pod.as_deref(), sight.as_deref(), Instant::now()),
            id: id.clone(),
            pod,
            sight,
        }
    }

    fn find_all<'a>(&self, ids: impl Iterator<Item = &'a PodId>) -> Pods {
        let mut pods = HashMap::new();
        for id in ids {
            if !pods.contains_key(id) {
                pods.insert(id.clone(), self.find(id));
            }
        }
        Pods(pods)
    }

    /// A room that is to be on pods.
    async fn keep(&self, mut work: Work<'_>) -> Result<Next, WriteError> {
        let now = self.set(&work);
        let plan = self.plan(&work);
        let Some(plan) = plan else {
            self.world.fleet.changed();
            return Ok(Next::requeue(WAIT_FOR_PASS));
        };
        let shares = plan.shares.iter().map(|share| &share.pod);
        let with_it = self.world.sights.pods_with(&work.name);
        let known = now.parts.iter().map(|part| &part.pod);
        let pods = self.find_all(known.chain(shares).chain(&with_it));
        let there = pods.all_that_have_it(&now, &with_it, &work);
        let mut next = Set {
            revision: now.revision,
            parts: self.parts((&now, &there), &plan, &pods, &work),
        };
        next.revision = pods.number(&next, &now, &work);
        let lost: Vec<PodId> = now
            .parts
            .iter()
            .filter(|part| !pods.is_alive(&part.pod) && !next.has(&part.pod))
            .map(|part| part.pod.clone())
            .collect();
        let version = self.add_finalizer(&work).await?;
        let source = self.source(&work).await;
        self.world
            .fleet
            .ledger()
            .book(&work.uid, &work.name, Some(next.clone()));
        if next.parts.is_empty() {
            let why = plan.why.unwrap_or(Unplaceable::NoneReady);
            return self.wait(work, why, &lost, version).await;
        }
        if now.origin() != next.origin() {
            self.world.metrics.placed("placed");
        }
        let left: Vec<&Known> = there
            .iter()
            .filter(|part| pods.is_alive(&part.pod) && !next.has(&part.pod))
            .filter_map(|part| pods.get(&part.pod))
            .collect();
        let told = Told {
            now: &now,
            next: &next,
            plan: &plan,
            pods: &pods,
            left,
            lost,
            source: &source,
        };
        self.serve(&mut work, &told, version).await
    }

    /// The pods that the room has next, with the patience that a handover takes.
    fn parts(
        &self,
        (now, there): (&Set, &[Part]),
        plan: &Plan,
        pods: &Pods,
        work: &Work<'_>,
    ) -> Vec<Part> {
        let clock = Instant::now();
        let next = plan.shares.first().map(|share| &share.pod);
        let next = next.filter(|next| now.origin().is_some_and(|origin| origin != *next));
        let since = self.remember(&work.uid, |memory| {
            let known = memory.taking.take();
            memory.taking = next.map(|next| match known {
                Some((pod, since)) if pod == *next => (pod, since),
                _ => (next.clone(), clock),
            });
            memory.taking.as_ref().map(|(_, since)| *since)
        });
        let is_origin_alive = now.origin().is_some_and(|origin| pods.is_alive(origin));
        let patience = if is_origin_alive {
            TAKING
        } else {
            TAKING_FROM_SILENT
        };
        let gives_up =
            since.is_some_and(|since| clock.saturating_duration_since(since) >= patience);
        parts(there, &plan.shares, |id| {
            let look = pods.look(id, work);
            Look {
                is_fed: look.is_fed || (gives_up && Some(id) == next),
                ..look
            }
        })
    }

    fn plan(&self, work: &Work<'_>) -> Option<Plan> {
        let ledger = self.world.fleet.ledger();
        ledger
            .get(&work.uid)
            .and_then(|booking| booking.plan.clone())
    }

    async fn wait(
        &self,
        mut work: Work<'_>,
        why: Unplaceable,
        lost: &[PodId],
        version: Option<String>,
    ) -> Result<Next, WriteError> {
        self.world.metrics.placed(status::waits(&why));
        let late = self
            .say(&mut work, Outcome::Waits(why), lost, (None, version))
            .await?;
        Ok(Next::requeue(
            self.next_turn(&work, WAIT_FOR_PODS.min(late)),
        ))
    }

    fn drop(&self, work: &Work<'_>) {
        self.memory().remove(&work.uid);
        self.world.fleet.release(&work.uid);
    }

    /// When time alone changes something, or the Secret is to be written; not later than `rest` from now.
    fn next_turn(&self, work: &Work<'_>, rest: Duration) -> Duration {
        let clock = Instant::now();
        let token = self.remember(&work.uid, |memory| memory.token_due);
        let source = self.remember(&work.uid, |memory| {
            memory.source.as_ref().map(|read| read.due)
        });
        let due = token.into_iter().chain(source);
        let due = due.map(|due| due.saturating_duration_since(clock));
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
            .chain(due)
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
}

/// The reference of a room, as controllers name it.
#[must_use]
pub fn reference(name: &RoomName) -> ObjectRef<LiveRoom> {
    ObjectRef::new(name.name()).within(name.namespace())
}

impl Set {
    fn origin(&self) -> Option<&PodId> {
        self.parts.first().map(|part| &part.pod)
    }

    fn has(&self, pod: &PodId) -> bool {
        self.parts.iter().any(|part| part.pod == *pod)
    }
}

impl Pods {
    fn get(&self, id: &PodId) -> Option<&Known> {
        self.0.get(id)
    }

    fn is_alive(&self, id: &PodId) -> bool {
        self.get(id).is_some_and(|known| known.state.is_alive())
    }

    fn look(&self, id: &PodId, work: &Work<'_>) -> Look {
        let known = self.get(id);
        let report = known.and_then(|known| known.report(work));
        let source = report.and_then(|report| report.source.as_ref());
        let status = known.and_then(Known::status);
        Look {
            state: known.map_or(State::Gone, |known| known.state),
            viewers: report.map_or(0, |report| report.viewers),
            has_host: report.is_some_and(|report| report.publishers > 0),
            may_feed: known.is_some_and(Known::may_feed),
            sends_on: status.is_some_and(|status| status.sends_on),
            is_fed: source.is_some_and(|source| source.connected && source.hops.is_some()),
        }
    }

    /// All pods that have a room: those of its set, and others that say they have it. They were in an earlier one, and
    /// did not hear that they are no more.
    fn all_that_have_it(&self, now: &Set, with_it: &[PodId], work: &Work<'_>) -> Vec<Part> {
        let others = with_it.iter().filter(|pod| !now.has(pod));
        let others = others.filter(|pod| {
            self.get(pod)
                .is_some_and(|known| known.report(work).is_some())
        });
        let others = others.map(|pod| Part {
            pod: pod.clone(),
            source: now.origin().cloned(),
            space: 0,
            leaves: true,
        });
        now.parts.iter().cloned().chain(others).collect()
    }

    /// The number of a set: one of its own if it is another than now, above those that any of its pods knows.
    fn number(&self, next: &Set, now: &Set, work: &Work<'_>) -> u64 {
        let of = |part: &Part| (part.pod.clone(), part.source.clone(), part.leaves);
        let is_same = next.parts.len() == now.parts.len()
            && next
                .parts
                .iter()
                .zip(&now.parts)
                .all(|(a, b)| of(a) == of(b));
        let reports = next
            .parts
            .iter()
            .filter_map(|part| self.get(&part.pod)?.report(work));
        let newest = reports
            .filter_map(|report| report.revision)
            .max()
            .unwrap_or(0);
        if is_same && newest <= now.revision {
            now.revision
        } else {
            now.revision.max(newest) + 1
        }
    }
}

impl Known {
    /// What it says of a room.
    fn report(&self, work: &Work<'_>) -> Option<&RoomStatus> {
        let report = self.sight.as_ref()?.rooms.get(&work.name)?;
        (report.uid.as_ref() == Some(&work.uid)).then_some(report)
    }

    fn status(&self) -> Option<&PodStatus> {
        self.sight.as_ref()?.status.as_deref()
    }

    fn may_feed(&self) -> bool {
        look::may_feed(self.pod.as_deref(), self.sight.as_deref(), Instant::now())
    }
}

/// Versions of one kind grow with each write.
fn version_of(room: &LiveRoom) -> u64 {
    room.resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(u64::MAX)
}
