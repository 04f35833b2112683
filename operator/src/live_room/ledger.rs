//! Which room is on which pods, and which it is planned to be on. Pure.
//!
//! Only one replica decides, and books each decision at once: so the next pass knows of it before its status is
//! written. The books follow from the rooms' statuses, from which they are made anew when a replica begins to lead.

use std::collections::{HashMap, HashSet};

use showrunner_capacity::placement::{PodIndex, RoomPlan};
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;

use super::desired::Part;
use super::reach::Unplaceable;
use crate::pods::PodId;

/// The pods of a room, as they were decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Rises with each change of pods.
    pub revision: u64,
    /// The origin first.
    pub parts: Vec<Part>,
}

/// A pod's part in a room, as placement has it in mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which pod.
    pub pod: PodId,
    /// The pod that it takes the room from; none for the origin.
    pub source: Option<PodId>,
    /// Viewers to have there; 0 on an edge: it is to empty.
    pub viewers: u32,
}

/// Where placement wants a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The origin first; empty: no pod takes it.
    pub shares: Vec<Share>,
    /// Why there is no pod, or not space for all viewers who are expected.
    pub why: Option<Unplaceable>,
}

/// What is booked of a room.
#[derive(Clone, Debug)]
pub struct Booking {
    /// Its name.
    pub name: RoomName,
    /// Its pods; none: as its status says.
    pub set: Option<Set>,
    /// What the last pass found; none: there was none yet that knew the room.
    pub plan: Option<Plan>,
}

/// The books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    rooms: HashMap<RoomUid, Booking>,
    pods: HashMap<PodId, HashSet<RoomUid>>,
}

impl Plan {
    /// What a pass found for a room, where `id` says which pod is which.
    #[must_use]
    pub fn of(found: RoomPlan, id: impl Fn(PodIndex) -> PodId) -> Plan {
        let shares = found.shares.iter().map(|share| Share {
            pod: id(share.pod),
            source: share.parent.map(&id),
            viewers: share.viewers,
        });
        Plan {
            shares: shares.collect(),
            why: found.why.map(Into::into),
        }
    }

    /// Whether something is to be done by this plan that was not by the other: space for viewers alone is nothing that
    /// anybody is told.
    #[must_use]
    pub fn differs(&self, other: &Plan) -> bool {
        let of = |plan: &Plan| {
            let shares = plan.shares.iter();
            let shares = shares.map(|one| (one.pod.clone(), one.source.clone(), one.viewers == 0));
            (shares.collect::<Vec<_>>(), plan.why.clone())
        };
        of(self) != of(other)
    }
}

impl Ledger {
    /// Takes note that there is a room.
    pub fn enter(&mut self, uid: &RoomUid, name: &RoomName) -> &Booking {
        self.rooms.entry(uid.clone()).or_insert_with(|| Booking {
            name: name.clone(),
            set: None,
            plan: None,
        })
    }

    /// What is booked of a room.
    #[must_use]
    pub fn get(&self, uid: &RoomUid) -> Option<&Booking> {
        self.rooms.get(uid)
    }

    /// Books the pods of a room; none: as its status says.
    pub fn book(&mut self, uid: &RoomUid, name: &RoomName, set: Option<Set>) {
        self.enter(uid, name);
        self.change(uid, |booking| booking.set = set);
    }

    /// Books what is planned for a room. Returns whether something is to be done by it. A room that was forgotten
    /// meanwhile stays so.
    pub fn plan(&mut self, uid: &RoomUid, plan: Plan) -> bool {
        let Some(booking) = self.rooms.get(uid) else {
            return false;
        };
        let is_news = booking.plan.as_ref().is_none_or(|old| plan.differs(old));
        if is_news {
            self.change(uid, |booking| booking.plan = Some(plan));
        } else if let Some(booking) = self.rooms.get_mut(uid) {
            booking.plan = Some(plan);
        }
        is_news
    }

    /// Strikes a pod off a room's plan: it does not want it.
    pub fn strike(&mut self, uid: &RoomUid, pod: &PodId) {
        self.change(uid, |booking| {
            if let Some(plan) = &mut booking.plan {
                plan.shares.retain(|share| share.pod != *pod);
            }
        });
    }

    /// Forgets a room.
    pub fn release(&mut self, uid: &RoomUid) {
        self.unlist(uid);
        self.rooms.remove(uid);
    }

    /// Forgets all rooms but these.
    pub fn retain(&mut self, is_there: impl Fn(&RoomUid, &RoomName) -> bool) {
        let rooms = self.rooms.iter();
        let gone = rooms.filter(|(uid, booking)| !is_there(uid, &booking.name));
        let gone: Vec<RoomUid> = gone.map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.release(&uid);
        }
    }

    /// How many rooms are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether no room is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// The rooms that are on a pod, or planned to be.
    pub fn rooms_on(&self, pod: &PodId) -> impl Iterator<Item = &RoomName> {
        let uids = self.pods.get(pod).into_iter().flatten();
        uids.filter_map(|uid| self.rooms.get(uid).map(|booking| &booking.name))
    }

    fn change(&mut self, uid: &RoomUid, change: impl FnOnce(&mut Booking)) {
        self.unlist(uid);
        if let Some(booking) = self.rooms.get_mut(uid) {
            change(booking);
            for pod in booking.pods() {
                self.pods
                    .entry(pod.clone())
                    .or_default()
                    .insert(uid.clone());
            }
        }
    }

    fn unlist(&mut self, uid: &RoomUid) {
        for pod in self.rooms.get(uid).into_iter().flat_map(Booking::pods) {
            if let Some(rooms) = self.pods.get_mut(pod) {
                rooms.remove(uid);
                if rooms.is_empty() {
                    self.pods.remove(pod);
                }
            }
        }
    }
}

impl Booking {
    fn pods(&self) -> impl Iterator<Item = &PodId> {
        let parts = self.set.iter().flat_map(|set| &set.parts);
        let shares = self.plan.iter().flat_map(|plan| &plan.shares);
        let parts = parts.map(|part| &part.pod);
        parts.chain(shares.map(|share| &share.pod))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uid(room: u8) -> RoomUid {
        RoomUid::new(&format!("u{room}")).unwrap()
    }

    fn name(room: u8) -> RoomName {
        RoomName::new("shop", &format!("r{room}")).unwrap()
    }

    fn pod(number: u8) -> PodId {
        PodId {
            namespace: "media".into(),
            name: format!("p{number}"),
        }
    }

    fn set(pods: &[u8]) -> Set {
        let parts = pods.iter().map(|number| Part {
            pod: pod(*number),
            source: None,
            space: 0,
            leaves: false,
        });
        Set {
            revision: 1,
            parts: parts.collect(),
        }
    }

    fn plan(pods: &[u8]) -> Plan {
        let shares = pods.iter().map(|number| Share {
            pod: pod(*number),
            source: None,
            viewers: 1,
        });
        Plan {
            shares: shares.collect(),
            why: None,
        }
    }

    #[derive(Clone, Debug)]
    enum Change {
        Book(Vec<u8>),
        Plan(Vec<u8>),
        Strike(u8),
        Release,
    }

    fn change() -> impl Strategy<Value = Change> {
        let pods = || prop::collection::vec(0..3u8, 0..3);
        prop_oneof![
            pods().prop_map(Change::Book),
            pods().prop_map(Change::Plan),
            (0..3u8).prop_map(Change::Strike),
            Just(Change::Release),
        ]
    }

    #[test]
    fn space_alone_is_no_news() {
        let mut ledger = Ledger::default();
        assert!(!ledger.plan(&uid(1), plan(&[1])), "nobody knows the room");
        ledger.enter(&uid(1), &name(1));
        assert!(ledger.plan(&uid(1), plan(&[1])));
        let mut more = plan(&[1]);
        more.shares[0].viewers = 7;
        assert!(!ledger.plan(&uid(1), more.clone()));
        assert_eq!(ledger.get(&uid(1)).unwrap().plan, Some(more.clone()));
        more.shares[0].viewers = 0;
        assert!(ledger.plan(&uid(1), more), "it is to empty");
        assert!(ledger.plan(&uid(1), plan(&[])));
    }

    proptest! {
        /// Whatever is booked, planned and released in whatever order: each pod's list has the rooms whose last word
        /// names it.
        #[test]
        fn the_books_are_right(steps in prop::collection::vec((0..4u8, change()), 0..60)) {
            let mut ledger = Ledger::default();
            for (room, change) in steps {
                match change {
                    Change::Book(pods) => ledger.book(&uid(room), &name(room), Some(set(&pods))),
                    Change::Plan(pods) => {
                        ledger.enter(&uid(room), &name(room));
                        ledger.plan(&uid(room), plan(&pods));
                    }
                    Change::Strike(number) => ledger.strike(&uid(room), &pod(number)),
                    Change::Release => ledger.release(&uid(room)),
                }
                for number in 0..3 {
                    let mut listed: Vec<_> = ledger.rooms_on(&pod(number)).cloned().map(String::from).collect();
                    let mut expected: Vec<_> = ledger.rooms.values()
                        .filter(|booking| booking.pods().any(|one| *one == pod(number)))
                        .map(|booking| String::from(booking.name.clone())).collect();
                    listed.sort();
                    expected.sort();
                    prop_assert_eq!(listed, expected);
                }
            }
            ledger.retain(|_, _| false);
            prop_assert!(ledger.is_empty() && ledger.pods.is_empty());
        }
    }
}
