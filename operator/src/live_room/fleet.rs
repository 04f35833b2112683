//! Where rooms go: the books, and the passes of placement over all rooms and pods.
//!
//! A pass begins with what there is (resources, and what pods say of themselves) and what was decided of it; what it
//! finds is booked, and done room by room by [`super::reconcile`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use showrunner_capacity::placement::{self, Rules};
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;
use tokio::sync::Notify;

use super::ledger::{Ledger, Plan};
use super::survey::{Survey, Templates};
use crate::pods::PodId;
use crate::world::World;

/// A pod that does not want a room gets none for this long.
const AVOID_FOR: Duration = Duration::from_secs(30);

/// Places rooms.
#[derive(Default)]
pub struct Fleet {
    ledger: Mutex<Ledger>,
    refusals: Mutex<HashMap<(RoomUid, PodId), Instant>>,
    templates: Templates,
    wanted: Notify,
}

impl Fleet {
    /// Something changed that decides where rooms are: a pass is due.
    pub fn changed(&self) {
        self.wanted.notify_one();
    }

    /// Waits until a pass is due.
    pub async fn due(&self) {
        self.wanted.notified().await;
    }

    /// The books.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Strikes a room off the books. Others may have its place.
    pub fn release(&self, uid: &RoomUid) {
        self.ledger().release(uid);
        self.changed();
    }

    /// A pod does not want a room: it has no place for it, or is to go.
    pub fn refuse(&self, uid: &RoomUid, pod: &PodId) {
        self.ledger().strike(uid, pod);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.insert((uid.clone(), pod.clone()), Instant::now());
        drop(refusals);
        self.changed();
    }

    /// One pass over all rooms. Returns those for which something is to be done.
    pub fn pass(&self, world: &World) -> Vec<RoomName> {
        let refusals = self.refusals();
        let survey = {
            let mut ledger = self.ledger();
            if ledger.len() > world.rooms.len() {
                ledger.retain(|uid, name| is_there(world, uid, name));
            }
            Survey::make(world, &mut ledger, &self.templates, &refusals)
        };
        let plan = placement::plan(
            &survey.pods,
            &survey.reaches,
            &survey.rooms,
            &Rules::default(),
        );
        let placed = survey.placed.iter().zip(plan.rooms);
        let placed = placed.map(|(room, found)| {
            let plan = Plan::of(found, |index| survey.id(index).clone());
            (room, plan)
        });
        let nowhere = survey.nowhere.iter().map(|(room, why)| {
            let plan = Plan {
                shares: Vec::new(),
                why: Some(why.clone()),
            };
            (room, plan)
        });
        let mut ledger = self.ledger();
        placed
            .chain(nowhere)
            .filter_map(|((uid, name), plan)| ledger.plan(uid, plan).then(|| name.clone()))
            .collect()
    }

    fn refusals(&self) -> HashMap<(RoomUid, PodId), Instant> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.retain(|_, at| at.elapsed() < AVOID_FOR);
        refusals.clone()
    }
}

/// A room that is deleted between two looks at the store is forgotten late.
fn is_there(world: &World, uid: &RoomUid, name: &RoomName) -> bool {
    let room = world.rooms.get(Some(name.namespace()), name.name());
    room.is_some_and(|room| room.metadata.uid.as_deref() == Some(uid.as_str()))
        || world.rooms.is_unreadable(name.namespace(), name.name())
}
