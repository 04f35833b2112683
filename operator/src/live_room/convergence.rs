//! Rooms, pods and whatever happens to them, without a cluster: the cores together end in the same state by any way.

use proptest::prelude::*;
use showrunner_capacity::load::{Load, Rate};
use showrunner_capacity::placement::{
    self, PodIndex, PodState, Present, Reach, Region, Rules, Site, Zone,
};
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;

use super::desired::{Look, Part, State, Step, decide, parts};
use super::ledger::{Ledger, Plan, Set};
use crate::pods::PodId;

const PODS: usize = 4;
const ROOMS: usize = 6;
const ROOMS_PER_POD: u64 = 4;
const VIEWERS_PER_POD: u64 = 100;
const NOW: u64 = 100;

#[derive(Clone, Debug)]
struct Pod {
    id: PodId,
    state: State,
    rooms: Vec<There>,
}

/// A room on a pod.
#[derive(Clone, Debug)]
struct There {
    room: usize,
    revision: u64,
    source: Option<PodId>,
    viewers: u32,
    has_host: bool,
}

#[derive(Clone, Debug)]
struct Room {
    uid: RoomUid,
    name: RoomName,
    is_deleted: bool,
    end: Option<u64>,
    expected: u32,
    /// As its status says.
    said: Set,
    is_gone: bool,
}

#[derive(Clone, Debug)]
enum Happening {
    Pass,
    Reconcile(usize),
    /// A leader writes the status, and is gone before it tells a pod.
    Interrupted(usize),
    Pod(usize, State),
    Host(usize, usize, bool),
    Viewers(usize, usize, u32),
    Expected(usize, u32),
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
    let (room, pod) = (0..ROOMS, 0..PODS);
    prop_oneof![
        6 => Just(Happening::Pass),
        8 => room.clone().prop_map(Happening::Reconcile),
        1 => room.clone().prop_map(Happening::Interrupted),
        3 => (pod.clone(), state).prop_map(|(pod, state)| Happening::Pod(pod, state)),
        2 => (pod.clone(), room.clone(), any::<bool>()).prop_map(|(pod, room, is_on)| Happening::Host(pod, room, is_on)),
        3 => (pod.clone(), room.clone(), 0..60u32).prop_map(|(pod, room, viewers)| Happening::Viewers(pod, room, viewers)),
        2 => (room.clone(), 0..150u32).prop_map(|(room, viewers)| Happening::Expected(room, viewers)),
        1 => pod.prop_map(Happening::Empty),
        1 => room.clone().prop_map(Happening::Delete),
        1 => room.prop_map(Happening::End),
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
            expected: 0,
            said: Set::default(),
            is_gone: false,
        };
        World {
            pods: (0..PODS).map(pod).collect(),
            rooms: (0..ROOMS).map(room).collect(),
            ledger: Ledger::default(),
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Pass => self.pass(),
            Happening::Reconcile(room) => self.reconcile(room, true),
            Happening::Interrupted(room) => {
                self.reconcile(room, false);
                self.new_leader();
            }
            Happening::Pod(pod, state) => {
                self.pods[pod].state = state;
                if state == State::Gone {
                    self.pods[pod].rooms.clear();
                }
            }
            // Who drains lets nobody in.
            Happening::Host(pod, room, is_on) => {
                let may = !is_on || self.pods[pod].state == State::Serving;
                if let Some(there) = self.there(pod, room).filter(|_| may) {
                    there.has_host = is_on && there.source.is_none();
                }
            }
            Happening::Viewers(pod, room, viewers) => {
                let serves = self.pods[pod].state == State::Serving;
                if let Some(there) = self.there(pod, room) {
                    there.viewers = if serves {
                        viewers
                    } else {
                        there.viewers.min(viewers)
                    };
                }
            }
            Happening::Expected(room, viewers) => self.rooms[room].expected = viewers,
            Happening::Empty(pod) => self.pods[pod].rooms.clear(),
            Happening::Delete(room) => self.rooms[room].is_deleted = true,
            Happening::End(room) => self.rooms[room].end = Some(NOW),
            Happening::NewLeader => self.new_leader(),
            Happening::Sweep => self.sweep(),
        }
    }

    fn there(&mut self, pod: usize, room: usize) -> Option<&mut There> {
        let rooms = self.pods[pod].rooms.iter_mut();
        rooms.into_iter().find(|there| there.room == room)
    }

    fn at(&self, id: &PodId) -> usize {
        self.pods.iter().position(|pod| pod.id == *id).unwrap()
    }

    fn new_leader(&mut self) {
        self.ledger = Ledger::default();
        for room in self.rooms.iter().filter(|room| !room.is_gone) {
            self.ledger
                .book(&room.uid, &room.name, Some(room.said.clone()));
        }
    }

    /// As `survey` asks and `fleet` books.
    fn pass(&mut self) {
        let open: Vec<usize> = (0..ROOMS)
            .filter(|number| {
                let room = &self.rooms[*number];
                !room.is_gone && decide(room.is_deleted, room.end, NOW) == Step::Keep
            })
            .collect();
        let pods = self.pods.iter().map(|pod| placement::Pod {
            site: Site(0),
            region: Region(0),
            zone: Zone(0),
            state: match pod.state {
                State::Gone | State::Lost => PodState::Gone,
                State::Leaving => PodState::Draining,
                State::Serving => PodState::Ready,
            },
            is_outdated: false,
            capacity: Load {
                viewers: VIEWERS_PER_POD,
                rooms: ROOMS_PER_POD,
                ..Load::UNLIMITED
            },
            other: Load::default(),
        });
        let pods: Vec<_> = pods.collect();
        let rooms: Vec<_> = open.iter().map(|number| self.asked(*number)).collect();
        // What a new leader finds in status may be more than was ever meant to be there at once: the pods that a room
        // leaves are in it beside those that others were given in its place.
        let mut most = vec![ROOMS_PER_POD; PODS];
        for (at, most) in most.iter_mut().enumerate() {
            let is_on =
                |room: &&placement::Room| room.present.iter().any(|one| one.pod.0 as usize == at);
            *most = (rooms.iter().filter(is_on).count() as u64).max(*most);
        }
        let reaches = [Reach {
            tiers: vec![vec![Site(0)]],
        }];
        let plan = placement::plan(&pods, &reaches, &rooms, &Rules::default());
        let id = |index: PodIndex| self.pods[index.0 as usize].id.clone();
        let mut booked = vec![0; PODS];
        for (number, plan) in open.iter().zip(plan.rooms) {
            for share in &plan.shares {
                booked[share.pod.0 as usize] += 1;
            }
            let plan = Plan::of(plan, id);
            self.ledger.plan(&self.rooms[*number].uid, plan);
        }
        assert!(
            booked
                .iter()
                .zip(&most)
                .all(|(booked, most)| booked <= most),
            "{booked:?} of {most:?}"
        );
    }

    fn asked(&mut self, number: usize) -> placement::Room {
        let room = self.rooms[number].clone();
        let booking = self.ledger.enter(&room.uid, &room.name).clone();
        let set = booking.set.unwrap_or(room.said);
        let shares = booking.plan.into_iter().flat_map(|plan| plan.shares);
        let shares = shares.map(|share| (share.pod, share.source, share.viewers));
        let known = set.parts.into_iter();
        let known = known.map(|part| (part.pod, part.source, part.space));
        let mut present: Vec<Present> = Vec::new();
        for (pod, source, space) in shares.chain(known) {
            let at = self.at(&pod);
            let index = |at: usize| PodIndex(at as u32);
            if present.iter().any(|one| one.pod == index(at)) {
                continue;
            }
            let parent = match &source {
                Some(source) => Some(index(self.at(source))),
                None => present.first().map(|first| first.pod),
            };
            let there = self.there(at, number);
            present.push(Present {
                pod: index(at),
                parent,
                viewers: there.as_ref().map_or(0, |there| there.viewers),
                reserved: space,
                has_host: there.is_some_and(|there| there.has_host),
            });
        }
        placement::Room {
            reach: 0,
            expected: room.expected,
            per_viewer: Rate::default(),
            per_edge: Rate::default(),
            present,
        }
    }

    fn reconcile(&mut self, number: usize, tells: bool) {
        let room = self.rooms[number].clone();
        if room.is_gone {
            return;
        }
        let booking = self.ledger.get(&room.uid).cloned();
        let booked = booking.as_ref().and_then(|booking| booking.set.clone());
        let now = booked.unwrap_or(room.said);
        match decide(room.is_deleted, room.end, NOW) {
            step @ (Step::Finish | Step::End) => {
                for part in &now.parts {
                    self.end_on(&part.pod, number);
                }
                self.ledger.release(&room.uid);
                self.rooms[number].said.parts.clear();
                self.rooms[number].is_gone = step == Step::Finish;
            }
            Step::Keep => {
                let Some(plan) = booking.and_then(|booking| booking.plan) else {
                    return;
                };
                let mut next = Set {
                    revision: now.revision,
                    parts: parts(&now.parts, &plan.shares, |id| self.look(id, number)),
                };
                let of = |set: &Set| -> Vec<_> {
                    let parts = set.parts.iter();
                    parts
                        .map(|part| (part.pod.clone(), part.source.clone(), part.leaves))
                        .collect()
                };
                if of(&next) != of(&now) {
                    next.revision += 1;
                }
                self.ledger.book(&room.uid, &room.name, Some(next.clone()));
                self.rooms[number].said = next.clone();
                if tells {
                    for part in &next.parts {
                        self.tell(number, part, next.revision);
                    }
                    for part in now
                        .parts
                        .iter()
                        .filter(|part| next.parts.iter().all(|one| one.pod != part.pod))
                    {
                        self.end_on(&part.pod, number);
                    }
                }
            }
        }
    }

    fn look(&self, id: &PodId, room: usize) -> Look {
        let pod = &self.pods[self.at(id)];
        let there = pod.rooms.iter().find(|there| there.room == room);
        let source = there.and_then(|there| there.source.as_ref());
        let feeds = |source: &PodId| {
            let pod = &self.pods[self.at(source)];
            pod.state.is_alive() && pod.rooms.iter().any(|there| there.room == room)
        };
        Look {
            state: pod.state,
            viewers: there.map_or(0, |there| there.viewers),
            has_host: there.is_some_and(|there| there.has_host),
            may_feed: pod.state.is_alive(),
            sends_on: true,
            is_fed: source.is_some_and(feeds),
        }
    }

    fn tell(&mut self, room: usize, part: &Part, revision: u64) {
        let at = self.at(&part.pod);
        let pod = &mut self.pods[at];
        match pod.rooms.iter_mut().find(|there| there.room == room) {
            _ if !pod.state.is_alive() => {}
            Some(there) if there.revision > revision => {}
            Some(there) => (there.revision, there.source) = (revision, part.source.clone()),
            None if pod.state == State::Serving => pod.rooms.push(There {
                room,
                revision,
                source: part.source.clone(),
                viewers: 0,
                has_host: false,
            }),
            None => {}
        }
    }

    fn end_on(&mut self, id: &PodId, room: usize) {
        let at = self.at(id);
        let pod = &mut self.pods[at];
        if pod.state != State::Lost {
            pod.rooms.retain(|there| there.room != room);
        }
    }

    fn sweep(&mut self) {
        let World {
            pods,
            rooms,
            ledger,
        } = self;
        for pod in pods.iter_mut().filter(|pod| pod.state == State::Serving) {
            pod.rooms.retain(|there| {
                let room = &rooms[there.room];
                let set = ledger
                    .get(&room.uid)
                    .and_then(|booking| booking.set.as_ref());
                let is_here = set.is_none_or(|set| {
                    set.parts.is_empty() || set.parts.iter().any(|part| part.pod == pod.id)
                });
                is_here && !room.is_gone && room.end.is_none()
            });
        }
    }

    fn settle(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.pass();
            (0..ROOMS).for_each(|room| self.reconcile(room, true));
            self.sweep();
        }
    }

    /// Whether each pod has as many rooms as it takes, or space for as many viewers as it may be given.
    fn is_full(&self) -> bool {
        let most = VIEWERS_PER_POD * u64::from(Rules::default().limit_percent) / 100;
        self.pods.iter().all(|pod| {
            let there = |room: usize| pod.rooms.iter().find(|there| there.room == room);
            let of = |(number, room): (usize, &Room)| {
                let part = room.said.parts.iter().find(|part| part.pod == pod.id)?;
                let viewers = there(number).map_or(0, |there| there.viewers);
                Some(u64::from(part.space.max(viewers)))
            };
            let parts: Vec<u64> = self.rooms.iter().enumerate().filter_map(of).collect();
            // Each edge that takes a room from here is as much as a viewer.
            let all = self.rooms.iter().flat_map(|room| &room.said.parts);
            let edges = all.filter(|part| part.source.as_ref() == Some(&pod.id));
            let taken = parts.iter().sum::<u64>() + edges.count() as u64;
            parts.len() as u64 >= ROOMS_PER_POD || taken >= most
        })
    }

    /// The pods that act as a room's origin: those that serve, and take it from nobody.
    fn origins(&self, room: usize) -> Vec<&PodId> {
        let pods = self.pods.iter().filter(|pod| pod.state.is_alive());
        let is_origin = |pod: &&Pod| {
            pod.rooms
                .iter()
                .any(|there| there.room == room && there.source.is_none())
        };
        pods.filter(is_origin).map(|pod| &pod.id).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happened before, in whatever order: no pod is ever planned to have more rooms than it takes, and once
    /// all pods serve, each room that is to be has one origin and edges that lead to it, unless all pods are full, no
    /// other room is on any pod, and nothing more is done.
    #[test]
    fn any_history_ends_in_the_same_state(history in prop::collection::vec(happening(), 0..80)) {
        let mut world = World::new();
        for happening in &history {
            world.happen(happening);
        }
        for pod in 0..PODS {
            world.happen(&Happening::Pod(pod, State::Serving));
        }
        world.settle(8);
        for number in 0..ROOMS {
            let room = &world.rooms[number];
            let is_wanted = !room.is_deleted && room.end.is_none();
            prop_assert_eq!(room.is_gone, room.is_deleted);
            let mut on: Vec<PodId> = world.pods.iter().filter(|pod| pod.rooms.iter().any(|there| there.room == number)).map(|pod| pod.id.clone()).collect();
            let mut said: Vec<PodId> = room.said.parts.iter().map(|part| part.pod.clone()).collect();
            let origin = said.first().cloned();
            on.sort();
            said.sort();
            prop_assert_eq!(&on, &said, "room {}", number);
            prop_assert!(is_wanted || on.is_empty(), "room {}", number);
            prop_assert!(!is_wanted || !on.is_empty() || world.is_full(), "room {}", number);
            prop_assert_eq!(world.origins(number), origin.iter().collect::<Vec<_>>());
            for part in &room.said.parts {
                let source = |id: &PodId| room.said.parts.iter().find(|one| one.pod == *id).and_then(|one| one.source.clone());
                let way = std::iter::successors(Some(part.pod.clone()), source).take(PODS + 1);
                prop_assert_eq!(way.last(), origin.clone(), "{:?}", &room.said);
            }
        }
        let before = format!("{:?}{:?}", world.rooms, world.pods);
        world.settle(1);
        prop_assert_eq!(before, format!("{:?}{:?}", world.rooms, world.pods), "once more changes something");
    }

    /// While nothing fails, no client of a room loses its pod: not as pods drain, nor as rooms grow and shrink.
    #[test]
    fn nobody_is_cut_off(
        history in prop::collection::vec((0..PODS, 0..ROOMS, 0..60u32, any::<bool>(), 0..8u8), 1..60),
    ) {
        let mut world = World::new();
        world.settle(1);
        for (pod, room, viewers, is_on, what) in history {
            match what {
                0 => world.happen(&Happening::Pod(pod, State::Leaving)),
                1 => world.happen(&Happening::Pod(pod, State::Serving)),
                2 => world.happen(&Happening::Expected(room, viewers * 3)),
                3 => world.happen(&Happening::Host(pod, room, is_on)),
                _ => world.happen(&Happening::Viewers(pod, room, viewers)),
            }
            let clients = |world: &World| -> Vec<(PodId, usize, u32, bool)> {
                let all = world.pods.iter().flat_map(|pod| pod.rooms.iter().map(|there| {
                    (pod.id.clone(), there.room, there.viewers, there.has_host)
                }));
                all.filter(|(_, _, viewers, has_host)| *viewers > 0 || *has_host).collect()
            };
            let before = clients(&world);
            world.settle(2);
            prop_assert_eq!(&before, &clients(&world));
            for number in 0..ROOMS {
                prop_assert!(world.origins(number).len() <= 1);
            }
        }
    }
}
