//! Rooms, pods and whatever happens to them, without a cluster: the cores together end in the same state by any way.

use proptest::prelude::*;
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;

use super::desired::{self, State, Step, decide};
use super::ledger::Ledger;
use super::placement::{Candidate, Need, place};
use crate::pods::PodId;

const ROOMS_PER_POD: u32 = 2;
const NOW: u64 = 100;

#[derive(Clone, Debug)]
struct Pod {
    id: PodId,
    state: State,
    /// What it has: rooms, each with or without a host.
    rooms: Vec<(usize, bool)>,
}

#[derive(Clone, Debug)]
struct Room {
    uid: RoomUid,
    name: RoomName,
    is_deleted: bool,
    end: Option<u64>,
    /// As its status says.
    origin: Option<PodId>,
    is_gone: bool,
}

#[derive(Clone, Debug)]
enum Happening {
    Reconcile(usize),
    Pod(usize, State),
    Host(usize, bool),
    Empty(usize),
    Delete(usize),
    End(usize),
    NewLeader,
    Sweep,
}

fn happening() -> impl Strategy<Value = Happening> {
    let state = prop_oneof![
        1 => Just(State::Gone),
        1 => Just(State::Lost),
        1 => Just(State::Leaving),
        4 => Just(State::Serving)
    ];
    prop_oneof![
        8 => (0..6usize).prop_map(Happening::Reconcile),
        3 => (0..3usize, state).prop_map(|(pod, state)| Happening::Pod(pod, state)),
        2 => (0..6usize, any::<bool>()).prop_map(|(room, is_on)| Happening::Host(room, is_on)),
        1 => (0..3usize).prop_map(Happening::Empty),
        1 => (0..6usize).prop_map(Happening::Delete),
        1 => (0..6usize).prop_map(Happening::End),
        1 => Just(Happening::NewLeader),
        1 => Just(Happening::Sweep),
    ]
}

#[derive(Debug)]
struct World {
    pods: Vec<Pod>,
    rooms: Vec<Room>,
    ledger: Ledger,
}

impl World {
    fn new() -> World {
        let pod = |number: usize| Pod {
            id: PodId {
                namespace: "media".into(),
                name: format!("p{number}"),
            },
            state: State::Serving,
            rooms: Vec::new(),
        };
        let room = |number: usize| Room {
            uid: RoomUid::new(&format!("u{number}")).unwrap(),
            name: RoomName::new("shop", &format!("r{number}")).unwrap(),
            is_deleted: false,
            end: None,
            origin: None,
            is_gone: false,
        };
        World {
            pods: (0..3).map(pod).collect(),
            rooms: (0..6).map(room).collect(),
            ledger: Ledger::default(),
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Reconcile(room) => self.reconcile(room),
            Happening::Pod(pod, state) => {
                self.pods[pod].state = state;
                if state == State::Gone {
                    self.pods[pod].rooms.clear();
                }
            }
            Happening::Host(room, is_on) => {
                for pod in &mut self.pods {
                    // Who drains lets nobody in.
                    let may = !is_on || pod.state == State::Serving;
                    for (there, has_host) in pod
                        .rooms
                        .iter_mut()
                        .filter(|(there, _)| *there == room && may)
                    {
                        debug_assert_eq!(*there, room);
                        *has_host = is_on;
                    }
                }
            }
            Happening::Empty(pod) => self.pods[pod].rooms.clear(),
            Happening::Delete(room) => self.rooms[room].is_deleted = true,
            Happening::End(room) => self.rooms[room].end = Some(NOW),
            Happening::NewLeader => self.new_leader(),
            Happening::Sweep => self.sweep(),
        }
    }

    fn new_leader(&mut self) {
        self.ledger = Ledger::default();
        for room in self.rooms.iter().filter(|room| !room.is_gone) {
            if let Some(origin) = &room.origin {
                self.ledger.book(&room.uid, &room.name, origin, 0);
            }
        }
    }

    fn reconcile(&mut self, number: usize) {
        let room = self.rooms[number].clone();
        if room.is_gone {
            return;
        }
        let origin = self
            .ledger
            .pod_of(&room.uid)
            .cloned()
            .or(room.origin.clone());
        let pod = origin
            .as_ref()
            .and_then(|id| self.pods.iter().find(|pod| pod.id == *id));
        let observed = desired::Room {
            is_deleted: room.is_deleted,
            end: room.end,
            pod: pod.map(|pod| desired::Pod {
                state: pod.state,
                has_host: pod.rooms.contains(&(number, true)),
                sends_on: true,
            }),
        };
        match decide(observed, NOW) {
            step @ (Step::Finish | Step::End) => {
                if let Some(origin) = origin {
                    self.end_on(&origin, number);
                }
                self.ledger.release(&room.uid);
                self.rooms[number].origin = None;
                self.rooms[number].is_gone = step == Step::Finish;
            }
            Step::Stay => self.assign(number, origin),
            Step::Place(why) => {
                let candidates = self
                    .pods
                    .iter()
                    .filter(|pod| Some(&pod.id) != origin.as_ref());
                let candidates = candidates.map(|pod| Candidate {
                    pod: &pod.id,
                    region: "eu",
                    is_allowed: true,
                    takes_rooms: pod.state == State::Serving,
                    is_current: true,
                    rooms: self.ledger.load(&pod.id).0,
                    max_rooms: Some(ROOMS_PER_POD),
                    sessions: 0,
                    max_sessions: 10,
                });
                let need = Need {
                    regions: &[],
                    viewers: 0,
                };
                match place(need, &[("eu", true)], candidates).cloned() {
                    Ok(id) => {
                        self.ledger.book(&room.uid, &room.name, &id, 0);
                        self.assign(number, Some(id));
                    }
                    Err(_) if why.may_stay() && origin.is_some() => self.assign(number, origin),
                    Err(_) => {
                        self.ledger.release(&room.uid);
                        self.rooms[number].origin = None;
                    }
                }
            }
        }
    }

    fn assign(&mut self, room: usize, id: Option<PodId>) {
        if let Some(pod) = self
            .pods
            .iter_mut()
            .find(|pod| Some(&pod.id) == id.as_ref())
            && pod.state == State::Serving
            && pod.rooms.iter().all(|(there, _)| *there != room)
        {
            pod.rooms.push((room, false));
        }
        self.rooms[room].origin = id;
    }

    fn end_on(&mut self, id: &PodId, room: usize) {
        if let Some(pod) = self
            .pods
            .iter_mut()
            .find(|pod| pod.id == *id && pod.state != State::Lost)
        {
            pod.rooms.retain(|(there, _)| *there != room);
        }
    }

    fn sweep(&mut self) {
        let World {
            pods,
            rooms,
            ledger,
        } = self;
        for pod in pods.iter_mut().filter(|pod| pod.state == State::Serving) {
            pod.rooms.retain(|(room, _)| {
                ledger
                    .pod_of(&rooms[*room].uid)
                    .is_none_or(|id| *id == pod.id)
                    && !rooms[*room].is_gone
                    && rooms[*room].end.is_none()
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happened before, in whatever order: no pod ever has more rooms booked than it takes, and once all pods
    /// serve, each room that is to be is on one pod, no other room is on any, and nothing more is done.
    #[test]
    fn any_history_ends_in_the_same_state(history in prop::collection::vec(happening(), 0..80)) {
        let mut world = World::new();
        for happening in &history {
            world.happen(happening);
            for pod in &world.pods {
                prop_assert!(world.ledger.load(&pod.id).0 <= ROOMS_PER_POD, "{happening:?} fills {}", pod.id);
            }
        }
        for pod in 0..3 {
            world.happen(&Happening::Pod(pod, State::Serving));
        }
        for _ in 0..3 {
            (0..6).for_each(|room| world.reconcile(room));
            world.sweep();
        }
        for (number, room) in world.rooms.iter().enumerate() {
            let is_wanted = !room.is_deleted && room.end.is_none();
            prop_assert_eq!(room.is_gone, room.is_deleted);
            prop_assert_eq!(room.origin.is_some(), is_wanted, "room {}", number);
            let on: Vec<_> = world.pods.iter().filter(|pod| pod.rooms.iter().any(|(there, _)| *there == number)).map(|pod| &pod.id).collect();
            prop_assert_eq!(on, room.origin.iter().collect::<Vec<_>>());
            prop_assert_eq!(world.ledger.pod_of(&room.uid), room.origin.as_ref());
        }
        let before = format!("{:?}", world.rooms);
        (0..6).for_each(|room| world.reconcile(room));
        world.sweep();
        prop_assert_eq!(before, format!("{:?}", world.rooms), "reconciling once more changes something");
    }
}
