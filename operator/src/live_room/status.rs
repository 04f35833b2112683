//! What is said of a room, and the Events that follow from a change of it. Pure.

mod pulled;

use k8s_openapi::jiff::Timestamp;
use showrunner_crds::LiveRoomStatus;
use showrunner_crds::condition::{LIVE, PLACED, PULLED, READY, room};
use showrunner_crds::live_room::{Edge, Endpoints, Phase, PodReference, Retention};
use showrunner_protocol::control::{Retention as Counts, RoomStatus};

pub use self::pulled::Pull;
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
    /// The server that it is pulled from, if it is.
    pub pull: Option<Pull>,
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
        ready(&facts.outcome, facts.pull.is_some()),
        live(&facts.outcome, is_live),
    ] {
        say(&mut status.conditions, said, facts.generation, facts.now);
    }
    match &facts.pull {
        Some(pull) => {
            if let Some(said) = pulled::pulled(pull, &facts.outcome) {
                say(&mut status.conditions, said, facts.generation, facts.now);
            }
        }
        None => status.conditions.retain(|one| one.type_ != PULLED),
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

fn ready(outcome: &Outcome<'_>, is_pulled: bool) -> Said {
    let (is, reason, message) = match outcome {
        Outcome::Ended => (false, room::ENDED, "the show is over".to_owned()),
        Outcome::Waits(why) => (false, waits(why), why.to_string()),
        Outcome::On(placed) => takes(&placed.members, is_pulled),
    };
    Said {
        of: READY,
        is,
        reason,
        message,
    }
}

/// A room is ready once its origin is; what is wrong with an edge is said, and keeps nobody out.
fn takes(members: &[Member<'_>], is_pulled: bool) -> (bool, &'static str, String) {
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
    let whom = if is_pulled {
        "viewers"
    } else {
        "hosts and viewers"
    };
    let message = format!("takes {whom}{}", edge.unwrap_or_default());
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
    all.extend(pulled(old, new));
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

/// A source that comes, or does not.
fn pulled(old: &LiveRoomStatus, new: &LiveRoomStatus) -> Option<Happening> {
    let condition = new.conditions.iter().find(|one| one.type_ == PULLED)?;
    if reason(&old.conditions, PULLED) == Some(&condition.reason) {
        return None;
    }
    let message = condition.message.clone();
    if is(&new.conditions, PULLED) {
        return Some(Happening::normal("Pulled", "Pull", message));
    }
    let is_failure = pulled::is_failure(&condition.reason);
    is_failure.then(|| Happening::warning("PullFailed", "Pull", message))
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
mod tests;
