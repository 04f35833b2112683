//! What is said of a room, and the Events that follow from a change of it. Pure.

use k8s_openapi::jiff::Timestamp;
use showrunner_crds::LiveRoomStatus;
use showrunner_crds::condition::{LIVE, PLACED, READY, room};
use showrunner_crds::live_room::{Edge, Endpoints, Phase, PodReference, Retention};
use showrunner_protocol::control::{Retention as Counts, RoomStatus};

use super::desired::Part;
use super::ledger::Set;
use super::reach::Unplaceable;
use crate::cluster::events::Happening;
use crate::condition::{Said, is, reason, say};
use crate::pods::PodId;

/// What is known of a room.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Of the spec that was looked at.
    pub generation: Option<i64>,
    /// What became of it.
    pub outcome: Outcome<'a>,
    /// Whether it begins later.
    pub is_early: bool,
    /// Where it is found.
    pub endpoints: Endpoints,
    /// The Secret of its host, once that is written.
    pub host_token_secret: Option<String>,
    /// When.
    pub now: Timestamp,
}

/// What became of a room.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// It is over.
    Ended,
    /// It waits for a pod.
    Waits(Unplaceable),
    /// It is on pods.
    On(Placed<'a>),
}

/// A room on its pods.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// Of the set of its pods.
    pub revision: u64,
    /// Its pods, the origin first and at least that.
    pub members: Vec<Member<'a>>,
    /// Why it has not space for all viewers who are expected, if it has not.
    pub short: Option<Unplaceable>,
}

/// A pod of a room.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Where it is.
    pub at: PodReference,
    /// Its part.
    pub part: &'a Part,
    /// How it takes it.
    pub on: OnPod<'a>,
}

/// How a pod takes a room.
#[derive(Clone, Debug)]
pub enum OnPod<'a> {
    /// It has it, and says this of it.
    Has(Option<&'a RoomStatus>),
    /// It is about to be told.
    Told(Option<&'a RoomStatus>),
    /// It does not answer.
    Unreachable(String),
    /// It does not take it.
    Refused(String),
}

impl<'a> OnPod<'a> {
    fn report(&self) -> Option<&'a RoomStatus> {
        match self {
            OnPod::Has(report) | OnPod::Told(report) => *report,
            OnPod::Unreachable(_) | OnPod::Refused(_) => None,
        }
    }
}

/// The pods of a room, as its status has them.
#[must_use]
pub fn set(status: &LiveRoomStatus) -> Set {
    let origin = status.origin.iter().map(|origin| Part {
        pod: PodId {
            namespace: origin.namespace.clone(),
            name: origin.pod.clone(),
        },
        source: None,
        space: 0,
        leaves: false,
    });
    let edges = status.edges.iter().map(|edge| Part {
        pod: PodId {
            namespace: edge.namespace.clone(),
            name: edge.pod.clone(),
        },
        source: edge.source.parse().ok(),
        space: edge.space,
        leaves: edge.leaving,
    });
    Set {
        revision: status.revision,
        parts: origin.chain(edges).collect(),
    }
}

/// The status of a room that had another one.
#[must_use]
pub fn next(old: &LiveRoomStatus, facts: &Facts<'_>) -> LiveRoomStatus {
    let mut status = LiveRoomStatus {
        observed_generation: facts.generation,
        endpoints: Some(facts.endpoints.clone()),
        host_token_secret: facts.host_token_secret.clone(),
        origin: None,
        edges: Vec::new(),
        publishers: 0,
        viewers: 0,
        ..old.clone()
    };
    match &facts.outcome {
        Outcome::Ended => status.phase = Some(Phase::Ended),
        Outcome::Waits(_) => status.phase = Some(Phase::Pending),
        Outcome::On(placed) => {
            status.revision = placed.revision;
            count(&mut status, old, &placed.members);
            status.phase = Some(phase(old, &placed.members, facts.is_early));
        }
    }
    let is_live = status.phase == Some(Phase::Live);
    for said in [
        placed(&facts.outcome),
        ready(&facts.outcome),
        live(&facts.outcome, is_live),
    ] {
        say(&mut status.conditions, said, facts.generation, facts.now);
    }
    status
}

/// Each viewer is connected to one pod, so the room's are the sum.
fn count(status: &mut LiveRoomStatus, old: &LiveRoomStatus, members: &[Member<'_>]) {
    let (mut counts, mut is_any_heard) = (Counts::default(), false);
    // A host who moves publishes to both pods for a while.
    let mut moving = 0;
    for member in members {
        let report = member.on.report();
        // What was last heard of one that is silent is most likely still so.
        let is_silent = matches!(member.on, OnPod::Unreachable(_));
        let known = if is_silent {
            heard(old, &member.at)
        } else {
            Heard::default()
        };
        let viewers = report.map_or(known.viewers, |report| report.viewers);
        let publishers = report.map_or(known.publishers, |report| report.publishers);
        status.viewers = status.viewers.saturating_add(viewers);
        if member.part.leaves {
            moving = publishers.max(moving);
        } else {
            status.publishers = status.publishers.saturating_add(publishers);
        }
        if let Some(report) = report {
            is_any_heard = true;
            let more = report.retention;
            counts = Counts {
                reached10: counts.reached10.saturating_add(more.reached10),
                left10: counts.left10.saturating_add(more.left10),
                reached30: counts.reached30.saturating_add(more.reached30),
                left30: counts.left30.saturating_add(more.left30),
            };
        }
        let Some(source) = &member.part.source else {
            status.origin = Some(member.at.clone());
            continue;
        };
        let PodReference {
            namespace,
            media_node,
            pod,
            region,
        } = member.at.clone();
        let link = report.and_then(|report| report.source.as_ref());
        status.edges.push(Edge {
            namespace,
            media_node,
            pod,
            region,
            source: source.to_string(),
            connected: link.is_some_and(|link| link.connected),
            viewers,
            space: member.part.space,
            leaving: member.part.leaves,
        });
    }
    status.publishers = status.publishers.max(moving);
    status.peak_viewers = status.peak_viewers.max(status.viewers);
    if let Some(retention) = retention(counts).filter(|_| is_any_heard) {
        status.retention = Some(retention);
    }
}

/// What a pod of a room had of it.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    publishers: u32,
    viewers: u32,
}

fn heard(old: &LiveRoomStatus, at: &PodReference) -> Heard {
    let edge = |edge: &&Edge| edge.namespace == at.namespace && edge.pod == at.pod;
    if let Some(edge) = old.edges.iter().find(edge) {
        return Heard {
            publishers: 0,
            viewers: edge.viewers,
        };
    }
    if old.origin.as_ref() != Some(at) {
        return Heard::default();
    }
    let edges = old.edges.iter().map(|edge| edge.viewers);
    Heard {
        publishers: old.publishers,
        viewers: edges.fold(old.viewers, u32::saturating_sub),
    }
}

/// None if there is nobody to tell by: what an earlier pod knew then stays.
fn retention(counts: Counts) -> Option<Retention> {
    let retention = Retention {
        stayed_10_minutes_percent: percent(counts.reached10, counts.left10),
        stayed_30_minutes_percent: percent(counts.reached30, counts.left30),
    };
    (retention != Retention::default()).then_some(retention)
}

fn percent(stayed: u32, left: u32) -> Option<u8> {
    let all = u64::from(stayed) + u64::from(left);
    u8::try_from((u64::from(stayed) * 100).checked_div(all)?).ok()
}

fn phase(old: &LiveRoomStatus, members: &[Member<'_>], is_early: bool) -> Phase {
    let mut reports = members.iter().filter_map(|member| member.on.report());
    if reports.any(|report| report.active) {
        return Phase::Live;
    }
    let before = || old.phase.filter(|phase| *phase != Phase::Ended);
    match members.first().map(|origin| &origin.on) {
        Some(OnPod::Has(_)) if is_early => Phase::Scheduled,
        Some(OnPod::Has(_)) => Phase::Ready,
        Some(OnPod::Unreachable(_) | OnPod::Told(_)) => before().unwrap_or(Phase::Pending),
        Some(OnPod::Refused(_)) | None => Phase::Pending,
    }
}

fn placed(outcome: &Outcome<'_>) -> Said {
    let (is, reason, message) = match outcome {
        Outcome::Ended => (false, room::ENDED, "the show is over".to_owned()),
        Outcome::Waits(why) => (false, waits(why), why.to_string()),
        Outcome::On(placed) => (true, room::PLACED, where_it_is(placed)),
    };
    Said {
        of: PLACED,
        is,
        reason,
        message,
    }
}

fn where_it_is(placed: &Placed<'_>) -> String {
    let mut members = placed.members.iter();
    let origin = members.next().map_or("", |origin| origin.at.pod.as_str());
    let edges = match members.len() {
        0 => String::new(),
        1 => " and one edge".to_owned(),
        more => format!(" and {more} edges"),
    };
    let short = placed.short.as_ref();
    let short = short.map_or(String::new(), |why| {
        format!("; there is no space for all viewers who are expected: {why}")
    });
    format!("on pod {origin}{edges}{short}")
}

fn ready(outcome: &Outcome<'_>) -> Said {
    let (is, reason, message) = match outcome {
        Outcome::Ended => (false, room::ENDED, "the show is over".to_owned()),
        Outcome::Waits(why) => (false, waits(why), why.to_string()),
        Outcome::On(placed) => takes(&placed.members),
    };
    Said {
        of: READY,
        is,
        reason,
        message,
    }
}

/// A room is ready once its origin is; what is wrong with an edge is said, and keeps nobody out.
fn takes(members: &[Member<'_>]) -> (bool, &'static str, String) {
    let trouble = |member: &Member<'_>| {
        let (reason, why) = match &member.on {
            OnPod::Has(_) => return None,
            OnPod::Told(_) => (room::ASSIGNING, "is about to be told of the room"),
            OnPod::Unreachable(why) => (room::POD_UNREACHABLE, why.as_str()),
            OnPod::Refused(why) => (room::POD_REFUSED, why.as_str()),
        };
        Some((reason, format!("pod {}: {why}", member.at.pod)))
    };
    if let Some((reason, message)) = members.first().and_then(trouble) {
        return (false, reason, message);
    }
    let edges = members.iter().skip(1).filter_map(trouble);
    let edge = edges.map(|(_, message)| format!("; {message}")).next();
    let message = format!("takes hosts and viewers{}", edge.unwrap_or_default());
    (true, room::ASSIGNED, message)
}

fn live(outcome: &Outcome<'_>, is: bool) -> Said {
    let (reason, message) = match (outcome, is) {
        (Outcome::Ended, _) => (room::ENDED, "the show is over"),
        (_, true) => (room::ON_AIR, "a host is on air"),
        (_, false) => (room::OFF_AIR, "no host is on air"),
    };
    let message = message.to_owned();
    Said {
        of: LIVE,
        is,
        reason,
        message,
    }
}

/// The reason of a room that waits, in a word.
#[must_use]
pub fn waits(why: &Unplaceable) -> &'static str {
    match why {
        Unplaceable::NoSuchRegion(_) => room::NO_SUCH_REGION,
        Unplaceable::NotAllowed => room::NOT_ALLOWED,
        Unplaceable::NoneReady => room::NO_POD_READY,
        Unplaceable::Full | Unplaceable::TooLarge => room::NO_CAPACITY,
    }
}

/// Whether a status says something else than how many people there are.
#[must_use]
pub fn is_urgent(old: &LiveRoomStatus, new: &LiveRoomStatus) -> bool {
    let without_counts = |status: &LiveRoomStatus| LiveRoomStatus {
        publishers: 0,
        viewers: 0,
        peak_viewers: 0,
        retention: None,
        edges: status
            .edges
            .iter()
            .map(|edge| Edge {
                viewers: 0,
                space: 0,
                ..edge.clone()
            })
            .collect(),
        ..status.clone()
    };
    without_counts(old) != without_counts(new)
}

/// What a person would want to know of a change, after pods of the room were lost.
#[must_use]
pub fn happenings(old: &LiveRoomStatus, new: &LiveRoomStatus, lost: &[PodId]) -> Vec<Happening> {
    let mut all = Vec::new();
    if let Some(pod) = lost.first() {
        let others = match lost.len() {
            1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        let note = format!(
            "pod {}{others} is gone or does not answer any more",
            pod.name
        );
        all.push(Happening::warning("PodLost", "Place", note));
    }
    match (&old.origin, &new.origin) {
        (Some(from), Some(to)) if from != to => {
            let note = format!("from pod {} to pod {} in {}", from.pod, to.pod, to.region);
            all.push(Happening::normal("Moved", "Place", note));
        }
        (None, Some(to)) => {
            let note = format!("on pod {} in {}", to.pod, to.region);
            all.push(Happening::normal("Placed", "Place", note));
        }
        _ => {}
    }
    if new.phase == Some(Phase::Ended) {
        if old.phase != new.phase {
            all.push(Happening::normal(
                "Ended",
                "End",
                "the show is over".to_owned(),
            ));
        }
        return all;
    }
    all.extend(spread(old, new));
    for of in [PLACED, READY] {
        let (before, now) = (reason(&old.conditions, of), reason(&new.conditions, of));
        let condition = new.conditions.iter().find(|one| one.type_ == of);
        if let (Some(condition), Some(name)) = (condition, now.and_then(warning))
            && before != now
            && all.iter().all(|told| told.reason != name)
        {
            all.push(Happening::warning(name, "Place", condition.message.clone()));
        }
    }
    match (is(&old.conditions, LIVE), is(&new.conditions, LIVE)) {
        (false, true) => all.push(Happening::normal(
            "OnAir",
            "Watch",
            "a host is on air".to_owned(),
        )),
        (true, false) => all.push(Happening::normal(
            "OffAir",
            "Watch",
            "no host is on air any more".to_owned(),
        )),
        _ => {}
    }
    all
}

/// Edges that came and went.
fn spread(old: &LiveRoomStatus, new: &LiveRoomStatus) -> Vec<Happening> {
    let is_in = |status: &LiveRoomStatus, edge: &Edge| {
        let same = |namespace: &str, pod: &str| edge.namespace == namespace && edge.pod == pod;
        let origin = status.origin.as_ref();
        origin.is_some_and(|origin| same(&origin.namespace, &origin.pod))
            || status
                .edges
                .iter()
                .any(|one| same(&one.namespace, &one.pod))
    };
    let listed = |of: &LiveRoomStatus, others: &LiveRoomStatus| {
        let mut names = of
            .edges
            .iter()
            .filter(|edge| !is_in(others, edge))
            .map(|edge| edge.pod.as_str());
        let first: Vec<&str> = names.by_ref().take(LISTED).collect();
        let more = names.count();
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        (!first.is_empty()).then(|| format!("{}{rest}", first.join(", ")))
    };
    let came = listed(new, old)
        .map(|pods| Happening::normal("EdgesAdded", "Place", format!("also on {pods}")));
    let went = listed(old, new)
        .map(|pods| Happening::normal("EdgesRemoved", "Place", format!("not on {pods} any more")));
    came.into_iter().chain(went).collect()
}

/// Pods that an Event names.
const LISTED: usize = 5;

/// Reasons that somebody should hear of.
fn warning(reason: &str) -> Option<&'static str> {
    [
        room::NO_SUCH_REGION,
        room::NOT_ALLOWED,
        room::NO_POD_READY,
        room::NO_CAPACITY,
        room::POD_UNREACHABLE,
        room::POD_REFUSED,
    ]
    .into_iter()
    .find(|one| *one == reason)
}

#[cfg(test)]
mod tests {
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
}
