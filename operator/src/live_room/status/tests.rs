use showrunner_protocol::RoomName;
use showrunner_protocol::control::SourceStatus;

use super::*;

fn part(pod: &str, source: Option<&str>) -> Part {
    let id = |name: &str| PodId {
        namespace: "media".into(),
        name: name.into(),
    };
    Part {
        pod: id(pod),
        source: source.map(id),
        space: 100,
        leaves: false,
    }
}

fn report(active: bool, viewers: u32) -> RoomStatus {
    RoomStatus {
        active,
        viewers,
        publishers: u32::from(active),
        ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
    }
}

/// What an edge says.
fn relayed(viewers: u32, connected: bool) -> RoomStatus {
    RoomStatus {
        publishers: 0,
        source: Some(SourceStatus {
            address: ([10, 0, 0, 1], 8443).into(),
            connected,
            hops: Some(0),
        }),
        ..report(connected, viewers)
    }
}

fn facts(outcome: Outcome<'_>) -> Facts<'_> {
    Facts {
        generation: Some(2),
        outcome,
        is_early: false,
        endpoints: Endpoints {
            publish: "p".into(),
            watch: "w".into(),
            page: "r".into(),
        },
        pull: None,
        host_token_secret: Some("sale-host-token".into()),
        now: Timestamp::from_second(100).unwrap(),
    }
}

fn after(old: &LiveRoomStatus, outcome: Outcome<'_>) -> LiveRoomStatus {
    next(old, &facts(outcome))
}

/// On these pods.
fn on(old: &LiveRoomStatus, pods: Vec<(Part, OnPod<'_>)>) -> LiveRoomStatus {
    let members = pods.iter().map(|(part, on)| Member {
        at: PodReference {
            namespace: part.pod.namespace.clone(),
            media_node: "eu".into(),
            pod: part.pod.name.clone(),
            region: "eu".into(),
        },
        part,
        on: on.clone(),
    });
    let placed = Placed {
        revision: 4,
        members: members.collect(),
        short: None,
    };
    after(old, Outcome::On(placed))
}

/// On one pod.
fn alone(old: &LiveRoomStatus, pod: &str, how: OnPod<'_>) -> LiveRoomStatus {
    on(old, vec![(part(pod, None), how)])
}

fn reasons(happenings: &[Happening]) -> Vec<&str> {
    happenings.iter().map(|one| one.reason).collect()
}

fn say_of(text: &str) -> String {
    text.to_owned()
}

#[test]
fn phases_and_conditions() {
    let none = LiveRoomStatus::default();
    let (off, live) = (report(false, 0), report(true, 5));
    for (status, phase, placed, ready) in [
        (after(&none, Outcome::Ended), Phase::Ended, "Ended", "Ended"),
        (
            after(&none, Outcome::Waits(Unplaceable::Full)),
            Phase::Pending,
            "NoCapacity",
            "NoCapacity",
        ),
        (
            alone(&none, "a", OnPod::Told(None)),
            Phase::Pending,
            "Placed",
            "Assigning",
        ),
        (
            alone(&none, "a", OnPod::Has(None)),
            Phase::Ready,
            "Placed",
            "Assigned",
        ),
        (
            alone(&none, "a", OnPod::Has(Some(&off))),
            Phase::Ready,
            "Placed",
            "Assigned",
        ),
        (
            alone(&none, "a", OnPod::Has(Some(&live))),
            Phase::Live,
            "Placed",
            "Assigned",
        ),
        (
            alone(&none, "a", OnPod::Refused(say_of("no"))),
            Phase::Pending,
            "Placed",
            "PodRefused",
        ),
        (
            alone(&none, "a", OnPod::Unreachable(say_of("no"))),
            Phase::Pending,
            "Placed",
            "PodUnreachable",
        ),
    ] {
        assert_eq!(status.phase, Some(phase));
        assert_eq!(reason(&status.conditions, PLACED), Some(placed));
        assert_eq!(reason(&status.conditions, READY), Some(ready));
        assert_eq!(is(&status.conditions, LIVE), phase == Phase::Live);
    }
    let part = part("a", None);
    let early = Facts {
        is_early: true,
        ..facts(Outcome::On(Placed {
            revision: 1,
            members: vec![Member {
                at: none_at(),
                part: &part,
                on: OnPod::Has(Some(&off)),
            }],
            short: None,
        }))
    };
    assert_eq!(next(&none, &early).phase, Some(Phase::Scheduled));
}

fn none_at() -> PodReference {
    PodReference {
        namespace: "media".into(),
        media_node: "eu".into(),
        pod: "a".into(),
        region: "eu".into(),
    }
}

#[test]
fn a_room_on_several_pods_counts_each_viewer_once() {
    let none = LiveRoomStatus::default();
    let (live, near, far) = (report(true, 5), relayed(20, true), relayed(3, false));
    let mut old_part = part("c", Some("b"));
    old_part.leaves = true;
    let first = on(
        &none,
        vec![
            (part("a", None), OnPod::Has(Some(&live))),
            (part("b", Some("a")), OnPod::Has(Some(&near))),
            (old_part.clone(), OnPod::Has(Some(&far))),
        ],
    );
    assert_eq!(
        (first.viewers, first.publishers, first.revision),
        (28, 1, 4)
    );
    assert_eq!(
        first.origin.as_ref().map(|origin| origin.pod.as_str()),
        Some("a")
    );
    let edges: Vec<_> = first
        .edges
        .iter()
        .map(|edge| {
            (
                edge.pod.as_str(),
                edge.source.as_str(),
                edge.connected,
                edge.viewers,
                edge.leaving,
            )
        })
        .collect();
    assert_eq!(
        edges,
        [
            ("b", "media/a", true, 20, false),
            ("c", "media/b", false, 3, true)
        ]
    );
    let of = |status: &LiveRoomStatus| set(status).parts;
    let mut parts = vec![part("a", None), part("b", Some("a")), old_part];
    parts[0].space = 0;
    assert_eq!(of(&first), parts, "a new leader reads the same");
    // An origin that is silent keeps what was heard of it; the room is live for those who see it.
    let silent = on(
        &first,
        vec![
            (part("a", None), OnPod::Unreachable(say_of("x"))),
            (part("b", Some("a")), OnPod::Has(Some(&near))),
        ],
    );
    assert_eq!((silent.viewers, silent.publishers), (25, 1));
    assert_eq!(silent.phase, Some(Phase::Live));
    assert_eq!(reason(&silent.conditions, READY), Some("PodUnreachable"));
    // And an edge.
    let silent = on(
        &first,
        vec![
            (part("a", None), OnPod::Has(Some(&live))),
            (part("b", Some("a")), OnPod::Unreachable(say_of("x"))),
        ],
    );
    assert_eq!(silent.viewers, 25);
    assert!(is(&silent.conditions, READY));
    let said = silent
        .conditions
        .iter()
        .find(|one| one.type_ == READY)
        .unwrap();
    assert_eq!(said.message, "takes hosts and viewers; pod b: x");
}

#[test]
fn counts_wait_and_what_is_not_heard_stays() {
    let (few, many) = (report(true, 5), report(true, 9));
    let first = alone(&LiveRoomStatus::default(), "a", OnPod::Has(Some(&many)));
    let second = alone(&first, "a", OnPod::Has(Some(&few)));
    assert_eq!((second.viewers, second.peak_viewers), (5, 9));
    assert!(second != first && !is_urgent(&first, &second));
    let silent = alone(&second, "a", OnPod::Unreachable("x".into()));
    assert_eq!((silent.viewers, silent.phase), (5, Some(Phase::Live)));
    assert!(is_urgent(&second, &silent));
    let again = alone(&silent, "a", OnPod::Unreachable("x".into()));
    assert_eq!(again, silent);
    assert_eq!(happenings(&silent, &again, &[]), []);
    let spread = |viewers, space, connected| {
        let mut edge = part("b", Some("a"));
        edge.space = space;
        let report = relayed(viewers, connected);
        on(
            &first,
            vec![
                (part("a", None), OnPod::Has(Some(&many))),
                (edge, OnPod::Has(Some(&report))),
            ],
        )
    };
    assert!(!is_urgent(&spread(1, 5, true), &spread(2, 6, true)));
    assert!(is_urgent(&spread(1, 5, true), &spread(1, 5, false)));
}

#[test]
fn who_stays_is_told_in_percent() {
    let counts = |reached10, left10| Counts {
        reached10,
        left10,
        ..Counts::default()
    };
    assert_eq!(retention(Counts::default()), None);
    assert_eq!(
        retention(counts(2, 1)).unwrap().stayed_10_minutes_percent,
        Some(66)
    );
    assert_eq!(
        retention(counts(u32::MAX, 0))
            .unwrap()
            .stayed_10_minutes_percent,
        Some(100)
    );
    assert_eq!(
        retention(counts(0, 3)).unwrap().stayed_30_minutes_percent,
        None
    );
}

#[test]
fn events_tell_of_what_changed_once() {
    let none = LiveRoomStatus::default();
    let lost = [part("a", None).pod];
    let waits = after(
        &none,
        Outcome::Waits(Unplaceable::NoSuchRegion("mars".into())),
    );
    assert_eq!(reasons(&happenings(&none, &waits, &[])), ["NoSuchRegion"]);
    assert_eq!(happenings(&waits, &waits, &[]), []);
    let (off, live) = (report(false, 0), report(true, 1));
    let there = alone(&waits, "a", OnPod::Has(Some(&off)));
    assert_eq!(reasons(&happenings(&waits, &there, &[])), ["Placed"]);
    let on_air = alone(&there, "a", OnPod::Has(Some(&live)));
    assert_eq!(reasons(&happenings(&there, &on_air, &[])), ["OnAir"]);
    let moved = alone(&on_air, "b", OnPod::Has(None));
    assert_eq!(
        reasons(&happenings(&on_air, &moved, &lost)),
        ["PodLost", "Moved", "OffAir"]
    );
    let stays = alone(&on_air, "a", OnPod::Unreachable("x".into()));
    assert_eq!(
        reasons(&happenings(&on_air, &stays, &[])),
        ["PodUnreachable"]
    );
    let ended = after(&on_air, Outcome::Ended);
    assert_eq!(reasons(&happenings(&on_air, &ended, &[])), ["Ended"]);
    assert_eq!(ended.origin, None);
}

#[test]
fn events_tell_of_edges_in_one_line() {
    let none = LiveRoomStatus::default();
    let live = report(true, 1);
    let with = |edges: &[&str]| {
        let first = (part("a", None), OnPod::Has(Some(&live)));
        let edges = edges
            .iter()
            .map(|pod| (part(pod, Some("a")), OnPod::Has(None)));
        on(&none, std::iter::once(first).chain(edges).collect())
    };
    let told = |from: &[&str], to: &[&str]| -> Vec<String> {
        let all = happenings(&with(from), &with(to), &[]);
        all.into_iter().map(|one| one.note).collect()
    };
    assert_eq!(told(&[], &["b"]), ["also on b"]);
    assert_eq!(told(&["b"], &["c"]), ["also on c", "not on b any more"]);
    let many = ["b", "c", "d", "e", "f", "g", "h"];
    assert_eq!(told(&[], &many), ["also on b, c, d, e, f and 2 more"]);
    assert!(told(&many, &many).is_empty());
}
