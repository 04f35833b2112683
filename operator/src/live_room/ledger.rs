//! Which room is booked on which pod. Pure.
//!
//! Only one replica places rooms, one after the other, and books each at once: however many wait and however late pods
//! report, no pod gets more than it takes. The books follow from the rooms' statuses, from which they are made anew
//! when a replica begins to lead.

use std::collections::HashMap;

use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;

use crate::pods::PodId;

/// The books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    rooms: HashMap<RoomUid, Booking>,
    pods: HashMap<PodId, Page>,
}

#[derive(Clone, Debug)]
struct Booking {
    pod: PodId,
    viewers: u32,
}

/// What is booked on one pod.
#[derive(Clone, Debug, Default)]
struct Page {
    rooms: HashMap<RoomUid, RoomName>,
    viewers: u64,
}

impl Ledger {
    /// Books a room on a pod, and nowhere else any more.
    pub fn book(&mut self, uid: &RoomUid, name: &RoomName, pod: &PodId, viewers: u32) {
        self.release(uid);
        let booking = Booking {
            pod: pod.clone(),
            viewers,
        };
        self.rooms.insert(uid.clone(), booking);
        let page = self.pods.entry(pod.clone()).or_default();
        page.rooms.insert(uid.clone(), name.clone());
        page.viewers += u64::from(viewers);
    }

    /// Forgets a room. Returns whether there was one.
    pub fn release(&mut self, uid: &RoomUid) -> bool {
        let Some(booking) = self.rooms.remove(uid) else {
            return false;
        };
        if let Some(page) = self.pods.get_mut(&booking.pod) {
            page.rooms.remove(uid);
            page.viewers -= u64::from(booking.viewers);
            if page.rooms.is_empty() {
                self.pods.remove(&booking.pod);
            }
        }
        true
    }

    /// Forgets all rooms but these.
    pub fn retain(&mut self, is_there: impl Fn(&RoomUid) -> bool) {
        let gone: Vec<RoomUid> = self
            .rooms
            .keys()
            .filter(|uid| !is_there(uid))
            .cloned()
            .collect();
        for uid in gone {
            self.release(&uid);
        }
    }

    /// The pod of a room.
    #[must_use]
    pub fn pod_of(&self, uid: &RoomUid) -> Option<&PodId> {
        self.rooms.get(uid).map(|booking| &booking.pod)
    }

    /// The rooms of a pod.
    pub fn rooms_on(&self, pod: &PodId) -> impl Iterator<Item = &RoomName> {
        self.pods
            .get(pod)
            .into_iter()
            .flat_map(|page| page.rooms.values())
    }

    /// Rooms and viewers that are booked on a pod.
    #[must_use]
    pub fn load(&self, pod: &PodId) -> (u32, u32) {
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.pods.get(pod).map_or((0, 0), |page| {
            (number(page.rooms.len() as u64), number(page.viewers))
        })
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

    proptest! {
        /// Whatever is booked and released in whatever order: sums are those of the last bookings.
        #[test]
        fn the_books_are_right(
            steps in prop::collection::vec((0..6u8, prop::option::of((0..3u8, 0..1000u32))), 0..60),
        ) {
            let mut ledger = Ledger::default();
            let mut expected: HashMap<u8, (u8, u32)> = HashMap::new();
            for (room, booking) in steps {
                match booking {
                    Some((on, viewers)) => {
                        ledger.book(&uid(room), &name(room), &pod(on), viewers);
                        expected.insert(room, (on, viewers));
                    }
                    None => {
                        let was = expected.remove(&room).is_some();
                        prop_assert_eq!(ledger.release(&uid(room)), was);
                    }
                }
            }
            for room in 0..6 {
                let on = expected.get(&room).map(|(on, _)| pod(*on));
                prop_assert_eq!(ledger.pod_of(&uid(room)), on.as_ref());
            }
            for number in 0..3 {
                let there: Vec<u32> = expected.values().filter(|(on, _)| *on == number).map(|(_, viewers)| *viewers).collect();
                let load = (u32::try_from(there.len()).unwrap(), there.iter().sum());
                prop_assert_eq!(ledger.load(&pod(number)), load);
                prop_assert_eq!(ledger.rooms_on(&pod(number)).count(), there.len());
            }
            ledger.retain(|_| false);
            prop_assert!(ledger.rooms.is_empty() && ledger.pods.is_empty());
        }
    }
}
