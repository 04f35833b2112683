use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

mod shortage;

const RATE: Rate = Rate {
    egress_bps: 2_000_000,
    packets: 250,
};

fn rules() -> Rules {
    Rules {
        target_percent: 90,
        growth_percent: 10,
        growth_viewers: 10,
        ..Rules::default()
    }
}

fn pod(zone: u16) -> Pod {
    Pod {
        site: Site(0),
        region: Region(0),
        zone: Zone(zone),
        state: PodState::Ready,
        is_outdated: false,
        capacity: Load {
            viewers: 1000,
            rooms: 100,
            egress_bps: 4_000_000_000,
            packets: 500_000,
        },
        other: Load::default(),
    }
}

fn room(expected: u32) -> Room {
    Room {
        reach: 0,
        expected,
        per_viewer: RATE,
        per_edge: RATE,
        present: Vec::new(),
    }
}

fn on(pod: u32, viewers: u32) -> Present {
    Present {
        pod: PodIndex(pod),
        parent: None,
        viewers,
        reserved: viewers,
        has_host: false,
    }
}

fn anywhere() -> Vec<Reach> {
    vec![Reach {
        tiers: vec![vec![Site(0)]],
    }]
}

fn planned(pods: &[Pod], rooms: &[Room]) -> Plan {
    plan(pods, &anywhere(), rooms, &rules())
}

/// The rooms as they are once all is done as planned, with the viewers that were there, and those of pods that are left
/// where there is space.
fn done(rooms: &[Room], plan: &Plan) -> Vec<Room> {
    let mut rooms = rooms.to_vec();
    for (room, planned) in rooms.iter_mut().zip(&plan.rooms) {
        let before = std::mem::take(&mut room.present);
        let mut homeless = 0;
        for part in &before {
            if !planned.shares.iter().any(|share| share.pod == part.pod) {
                homeless += part.viewers;
            }
        }
        room.present = planned
            .shares
            .iter()
            .map(|share| {
                let was = before.iter().find(|part| part.pod == share.pod);
                let viewers = was.map_or(0, |part| part.viewers);
                let more = homeless.min(share.viewers.saturating_sub(viewers));
                homeless -= more;
                Present {
                    pod: share.pod,
                    parent: share.parent,
                    viewers: viewers + more,
                    reserved: share.viewers,
                    has_host: was.is_some_and(|part| part.has_host),
                }
            })
            .collect();
    }
    rooms
}

/// What the plan puts on each pod, and what was there anyway.
fn loads(pods: &[Pod], rooms: &[Room], plan: &Plan) -> Vec<(Load, Load)> {
    let mut loads: Vec<(Load, Load)> = pods.iter().map(|pod| (pod.other, pod.other)).collect();
    for (room, planned) in rooms.iter().zip(&plan.rooms) {
        let served = |viewers: u32| Load {
            rooms: 1,
            ..room.per_viewer.of(viewers.into())
        };
        for share in &planned.shares {
            let was = room.present.iter().find(|part| part.pod == share.pod);
            let there = was.map_or(0, |part| part.viewers);
            let load = &mut loads[share.pod.at()];
            load.0 = load.0.plus(&served(share.viewers.max(there)));
            if was.is_some() {
                load.1 = load.1.plus(&served(there));
            }
            if let Some(parent) = share.parent {
                let edge = room.per_edge.of(1);
                loads[parent.at()].0 = loads[parent.at()].0.plus(&edge);
                loads[parent.at()].1 = loads[parent.at()].1.plus(&edge);
            }
        }
    }
    loads
}

#[test]
fn the_fullest_pod_with_space_takes_a_room() {
    let mut pods = vec![pod(0), pod(0), pod(0)];
    pods[1].other.viewers = 500;
    pods[2].other.viewers = 850;
    for (expected, on) in [(50, 2), (51, 1), (400, 1), (401, 0), (900, 0)] {
        let plan = planned(&pods, &[room(expected)]);
        assert_eq!(plan.rooms[0].origin(), Some(PodIndex(on)), "{expected}");
        assert_eq!(plan.rooms[0].shares.len(), 1);
    }
}

#[test]
fn a_room_larger_than_a_pod_spans_pods() {
    let pods = vec![pod(0); 8];
    let plan = planned(&pods, &[room(5000)]);
    let room = &plan.rooms[0];
    assert_eq!((room.shares.len(), room.unmet), (6, 0));
    let viewers: u32 = room.shares.iter().map(|share| share.viewers).sum();
    assert_eq!(viewers, 5000);
    assert!(
        room.shares[1..]
            .iter()
            .all(|edge| edge.parent == room.origin())
    );
}

#[test]
fn a_room_is_split_before_its_pod_is_hot() {
    let pods = vec![pod(0); 2];
    let mut one = room(0);
    one.present = vec![on(0, 818)];
    assert_eq!(
        planned(&pods, std::slice::from_ref(&one)).rooms[0]
            .shares
            .len(),
        1
    );
    // 819 and a tenth more is beyond 90 % of 1000.
    one.present[0].viewers = 830;
    let plan = planned(&pods, &[one]);
    assert_eq!(plan.rooms[0].shares.len(), 2);
    assert_eq!(plan.rooms[0].shares[1].parent, Some(PodIndex(0)));
}

#[test]
fn it_says_why_there_is_no_pod() {
    let mut draining = pod(0);
    draining.state = PodState::Draining;
    let plan = planned(&[draining], &[room(1)]);
    assert_eq!(plan.rooms[0].why, Some(Unplaceable::NoneReady));
    let mut full = pod(0);
    full.other.rooms = 100;
    let plan = planned(&[full], &[room(1)]);
    assert_eq!(plan.rooms[0].why, Some(Unplaceable::Full));
    let narrow = Rules {
        fan_out: 1,
        depth: 1,
        ..rules()
    };
    let plan = super::plan(&vec![pod(0); 4], &anywhere(), &[room(4000)], &narrow);
    assert_eq!(plan.rooms[0].why, Some(Unplaceable::TreeFull));
    assert_eq!(plan.rooms[0].shares.len(), 2);
    let few = Rules { pods: 3, ..rules() };
    let plan = super::plan(&vec![pod(0); 9], &anywhere(), &[room(9000)], &few);
    assert_eq!(plan.rooms[0].why, Some(Unplaceable::TreeFull));
    assert_eq!(plan.rooms[0].shares.len(), 3);
}

#[test]
fn regions_are_tried_in_order_and_edges_stay_near_their_origin() {
    let far = Pod {
        site: Site(1),
        region: Region(1),
        ..pod(0)
    };
    let pods = [far.clone(), far, pod(0), pod(0)];
    let reach = vec![Reach {
        tiers: vec![vec![Site(0)], vec![Site(1)]],
    }];
    let of = |expected| {
        let plan = super::plan(&pods, &reach, &[room(expected)], &rules());
        let shares = plan.rooms[0].shares.iter();
        shares.map(|share| share.pod.0).collect::<Vec<_>>()
    };
    assert_eq!(of(10), [2]);
    assert_eq!(of(1800), [2, 3]);
    assert_eq!(of(2500), [2, 3, 0]);
    // A room that has an origin far away grows there.
    let mut there = room(1500);
    there.present = vec![on(0, 900)];
    let plan = super::plan(&pods, &reach, &[there], &rules());
    assert_eq!(plan.rooms[0].shares[1].pod, PodIndex(1));
}

#[test]
fn origins_are_spread_over_zones() {
    let pods: Vec<Pod> = (0..9).map(|at| pod(at % 3)).collect();
    let plan = planned(&pods, &vec![room(20); 90]);
    let mut by_zone: BTreeMap<u16, u32> = BTreeMap::new();
    for room in &plan.rooms {
        let origin = room.origin().unwrap();
        *by_zone.entry(pods[origin.at()].zone.0).or_default() += 1;
    }
    let most = by_zone.values().max().unwrap();
    assert!(*most <= 30 * 5 / 4 + 2, "{by_zone:?}");
    // They are packed all the same: 90 × 20 viewers need two pods, and zones want three.
    let used: BTreeSet<_> = plan.rooms.iter().map(|room| room.origin()).collect();
    assert!(used.len() <= 4, "{used:?}");
}

#[test]
fn when_the_origin_dies_an_edge_takes_its_place() {
    let mut pods = vec![pod(0); 4];
    let mut one = room(0);
    let edge = |pod, parent, viewers| Present {
        parent: Some(PodIndex(parent)),
        ..on(pod, viewers)
    };
    one.present = vec![on(0, 800), edge(1, 0, 700), edge(2, 1, 300)];
    pods[0].state = PodState::Gone;
    let plan = planned(&pods, &[one]);
    let shares = &plan.rooms[0].shares;
    assert_eq!(shares[0].pod, PodIndex(1));
    assert!(shares.iter().any(|share| share.pod == PodIndex(2)));
    assert!(shares[1..].iter().all(|share| share.parent.is_some()));
    let space: u32 = shares.iter().map(|share| share.viewers).sum();
    assert!(space >= 1800, "there is space for those who were on it");
}

#[test]
fn an_edge_that_is_not_needed_empties_and_goes() {
    let pods = vec![pod(0); 3];
    let mut one = room(0);
    one.present = vec![
        on(0, 300),
        Present {
            parent: Some(PodIndex(0)),
            ..on(1, 20)
        },
    ];
    let first = planned(&pods, std::slice::from_ref(&one));
    assert_eq!(first.rooms[0].shares[1].viewers, 0, "it gets no more");
    assert_eq!(
        first.rooms[0].shares[1].pod,
        PodIndex(1),
        "but keeps its own"
    );
    one.present[1].viewers = 0;
    assert_eq!(planned(&pods, &[one]).rooms[0].shares.len(), 1);
}

#[test]
fn a_rollout_spreads_rooms_over_the_new_pods() {
    // Eight pods with ten rooms each are replaced one after the other.
    let mut pods = vec![pod(0); 16];
    for (at, pod) in pods.iter_mut().enumerate() {
        pod.is_outdated = at < 8;
        pod.state = if at < 8 {
            PodState::Ready
        } else {
            PodState::Gone
        };
    }
    let mut rooms: Vec<Room> = (0..80)
        .map(|at| {
            let mut one = room(0);
            one.present = vec![on(at / 10, 50)];
            one
        })
        .collect();
    let mut moves = 0;
    for step in 0..8 {
        pods[8 + step].state = PodState::Ready;
        pods[step].state = PodState::Draining;
        let plan = planned(&pods, &rooms);
        let after = done(&rooms, &plan);
        let moved = rooms.iter().zip(&after);
        moves += moved
            .filter(|(a, b)| a.present[0].pod != b.present[0].pod)
            .count();
        rooms = after;
        pods[step].state = PodState::Gone;
    }
    assert_eq!(moves, 80, "each room moves once");
    let mut per_pod: BTreeMap<u32, u32> = BTreeMap::new();
    for room in &rooms {
        *per_pod.entry(room.present[0].pod.0).or_default() += 1;
    }
    assert!(per_pod.keys().all(|pod| *pod >= 8));
    assert!(per_pod.len() >= 7, "{per_pod:?}");
    assert!(per_pod.values().all(|rooms| *rooms <= 18), "{per_pod:?}");
}

/// Pods of two sites in two regions and three zones, some of them not there for rooms.
fn any_pods() -> impl Strategy<Value = Vec<Pod>> {
    let one = (0..2u16, 0..3u16, 0..10u8, any::<bool>(), 0..1100u64);
    prop::collection::vec(one, 1..14).prop_map(|pods| {
        let pods = pods.into_iter();
        pods.map(|(site, zone, state, is_outdated, other)| Pod {
            site: Site(site),
            region: Region(site),
            state: match state {
                0 => PodState::Gone,
                1 => PodState::Draining,
                _ => PodState::Ready,
            },
            is_outdated,
            other: Load {
                // Most pods have nothing besides rooms.
                viewers: other.saturating_sub(800),
                ..Load::default()
            },
            ..pod(zone)
        })
        .collect()
    })
}

/// Rooms that are already somewhere, in trees or what is left of them, and new ones.
fn any_rooms() -> impl Strategy<Value = Vec<Room>> {
    let part = (
        0..14u32,
        prop::option::of(0..14u32),
        0..500u32,
        0..600u32,
        any::<bool>(),
    );
    let one = (
        0..3usize,
        0..3000u32,
        1..4u64,
        prop::collection::vec(part, 0..5),
    );
    prop::collection::vec(one, 0..12).prop_map(|mut rooms| {
        for (.., present) in &mut rooms {
            let mut seen = BTreeSet::new();
            present.retain(|part| seen.insert(part.0));
        }
        let rooms = rooms.into_iter();
        rooms
            .map(|(reach, expected, mbps, present)| Room {
                reach,
                expected,
                per_viewer: Rate {
                    egress_bps: mbps * 1_000_000,
                    packets: mbps * 125,
                },
                per_edge: RATE,
                present: present
                    .into_iter()
                    .map(|(pod, parent, viewers, reserved, has_host)| Present {
                        pod: PodIndex(pod),
                        parent: parent.map(PodIndex),
                        viewers,
                        reserved,
                        has_host,
                    })
                    .collect(),
            })
            .collect()
    })
}

fn any_reach() -> Vec<Reach> {
    let (a, b) = (Site(0), Site(1));
    let tiers = [vec![vec![a, b]], vec![vec![a], vec![b]], vec![vec![b]]];
    tiers.into_iter().map(|tiers| Reach { tiers }).collect()
}

fn is_ready(pods: &[Pod], pod: PodIndex) -> bool {
    pods.get(pod.at())
        .is_some_and(|pod| pod.state == PodState::Ready)
}

fn may_have(pods: &[Pod], reach: &Reach, pod: PodIndex) -> bool {
    is_ready(pods, pod)
        && reach
            .tiers
            .iter()
            .flatten()
            .any(|site| *site == pods[pod.at()].site)
}

proptest! {
    /// No pod gets more than it takes. Where there is more already, it gets nothing.
    #[test]
    fn never_over_capacity(pods in any_pods(), rooms in any_rooms()) {
        let plan = plan(&pods, &any_reach(), &rooms, &rules());
        for (pod, (after, before)) in pods.iter().zip(loads(&pods, &rooms, &plan)) {
            if pod.state == PodState::Ready {
                let most = pod.capacity.plus(&before.minus(&pod.capacity));
                prop_assert!(after.fits(&most), "{after:?} {before:?} {pod:?}");
            }
        }
    }

    /// Pods that drain, are gone, or may not have a room get nothing of it.
    #[test]
    fn only_pods_that_may_have_a_room_get_it(pods in any_pods(), rooms in any_rooms()) {
        let reaches = any_reach();
        let plan = plan(&pods, &reaches, &rooms, &rules());
        for (room, planned) in rooms.iter().zip(&plan.rooms) {
            for share in &planned.shares {
                prop_assert!(may_have(&pods, &reaches[room.reach], share.pod));
            }
        }
    }

    /// Whoever watches on a pod that may go on serving the room stays there.
    #[test]
    fn nobody_moves_without_need(pods in any_pods(), rooms in any_rooms()) {
        let reaches = any_reach();
        let plan = plan(&pods, &reaches, &rooms, &rules());
        for (room, planned) in rooms.iter().zip(&plan.rooms) {
            for part in &room.present {
                if part.viewers > 0 && may_have(&pods, &reaches[room.reach], part.pod) {
                    prop_assert!(planned.shares.iter().any(|share| share.pod == part.pod));
                }
            }
        }
    }

    /// A pass over what the last one said changes nothing.
    #[test]
    fn what_is_planned_stays_planned(pods in any_pods(), rooms in any_rooms()) {
        let reaches = any_reach();
        let first = plan(&pods, &reaches, &rooms, &rules());
        let mut rooms = done(&rooms, &first);
        // Edges that empty go one after the other.
        for _ in 0..4 {
            let next = plan(&pods, &reaches, &rooms, &rules());
            rooms = done(&rooms, &next);
        }
        let once = plan(&pods, &reaches, &rooms, &rules());
        let twice = plan(&pods, &reaches, &done(&rooms, &once), &rules());
        prop_assert_eq!(once, twice);
    }

    /// A few viewers more or less move no room, and at most add or close an edge.
    #[test]
    fn small_changes_change_little(
        rooms in prop::collection::vec(10..1500u32, 1..20),
        noise in prop::collection::vec(-3..4i32, 20),
    ) {
        let pods: Vec<Pod> = (0..30).map(|at| pod(at % 3)).collect();
        let rooms: Vec<Room> = rooms.into_iter().map(room).collect();
        let mut rooms = done(&rooms, &planned(&pods, &rooms));
        for (room, noise) in rooms.iter_mut().zip(&noise) {
            room.expected = room.expected.saturating_add_signed(*noise);
        }
        let plan = planned(&pods, &rooms);
        for (room, planned) in rooms.iter().zip(&plan.rooms) {
            prop_assert_eq!(planned.origin(), Some(room.present[0].pod));
            prop_assert!(planned.shares.len().abs_diff(room.present.len()) <= 1);
            prop_assert_eq!(planned.unmet, 0);
        }
    }

    /// Every room is one tree, within its limits, each pod after its parent.
    #[test]
    fn rooms_are_trees(pods in any_pods(), rooms in any_rooms(), fan_out in 1..4u16, depth in 1..4u8) {
        let rules = Rules { fan_out, depth, ..rules() };
        let plan = plan(&pods, &any_reach(), &rooms, &rules);
        for planned in &plan.rooms {
            let mut depths: BTreeMap<PodIndex, u8> = BTreeMap::new();
            let mut children: BTreeMap<PodIndex, u16> = BTreeMap::new();
            for (at, share) in planned.shares.iter().enumerate() {
                prop_assert_eq!(share.parent.is_none(), at == 0);
                let own = match share.parent {
                    None => 0,
                    Some(parent) => {
                        *children.entry(parent).or_default() += 1;
                        prop_assert!(depths.contains_key(&parent), "its parent is before it");
                        depths[&parent] + 1
                    }
                };
                prop_assert!(own <= depth);
                prop_assert!(depths.insert(share.pod, own).is_none(), "a pod has one part");
            }
            prop_assert!(children.values().all(|count| *count <= fan_out));
        }
    }

    /// What a pod that died carried is placed again, all of it where there is space.
    #[test]
    fn rooms_of_a_dead_pod_are_placed_again(rooms in prop::collection::vec(1..700u32, 1..12), dead in 0..12usize) {
        let mut pods = vec![pod(0); 12];
        let rooms: Vec<Room> = rooms.into_iter().map(room).collect();
        let mut rooms = done(&rooms, &planned(&pods, &rooms));
        for room in &mut rooms {
            room.present[0].viewers = room.expected;
            room.expected = 0;
        }
        pods[dead].state = PodState::Gone;
        // One more stands by.
        pods.push(pod(0));
        let plan = planned(&pods, &rooms);
        for planned in &plan.rooms {
            prop_assert!(planned.origin().is_some());
            prop_assert_eq!(planned.unmet, 0);
        }
    }

    /// What finds no space says so, and there is none: no pod that may have the room has space for a slice of it.
    #[test]
    fn nothing_is_left_out_while_there_is_space(pods in any_pods(), rooms in any_rooms()) {
        let reaches = any_reach();
        let plan = plan(&pods, &reaches, &rooms, &rules());
        let loads = loads(&pods, &rooms, &plan);
        for (room, planned) in rooms.iter().zip(&plan.rooms) {
            prop_assert_eq!(planned.unmet > 0 || planned.shares.is_empty(), planned.why.is_some());
            if planned.why == Some(Unplaceable::Full) {
                for (at, pod) in pods.iter().enumerate() {
                    let index = PodIndex(u32::try_from(at).unwrap());
                    if !may_have(&pods, &reaches[room.reach], index)
                        || planned.shares.iter().any(|share| share.pod == index) {
                        continue;
                    }
                    let free = pod.capacity.percent(98).minus(&loads[at].0);
                    let slice = room.per_viewer.of(u64::from(planned.unmet).clamp(1, 50));
                    prop_assert!(!Load { rooms: 1, ..slice }.fits(&free), "{free:?} {planned:?}");
                }
            }
        }
    }
}
