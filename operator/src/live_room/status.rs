//! What is said of a room, and the Events that follow from a change of it. Pure.

use k8s_openapi::jiff::Timestamp;
use showrunner_crds::LiveRoomStatus;
use showrunner_crds::condition::{LIVE, PLACED, READY, room};
use showrunner_crds::live_room::{Endpoints, Phase, PodReference, Retention};
use showrunner_protocol::control::{Retention as Counts, RoomStatus};

use super::desired::Why;
use super::placement::Unplaceable;
use crate::cluster::events::Happening;
use crate::condition::{Said, is, reason, say};

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
    /// The number of its placement.
    pub placement: u64,
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
    /// It is on a pod.
    On(PodReference, OnPod<'a>),
}

/// How a pod takes a room.
#[derive(Clone, Debug)]
pub enum OnPod<'a> {
    /// It has it, and says this of it.
    Has(Option<&'a RoomStatus>),
    /// It does not answer.
    Unreachable(String),
    /// It does not take it.
    Refused(String),
}

/// The status of a room that had another one.
#[must_use]
pub fn next(old: &LiveRoomStatus, facts: &Facts<'_>) -> LiveRoomStatus {
    let mut status = LiveRoomStatus {
        observed_generation: facts.generation,
        endpoints: Some(facts.endpoints.clone()),
        host_token_secret: facts.host_token_secret.clone(),
        origin: None,
        publishers: 0,
        viewers: 0,
        ..old.clone()
    };
    match &facts.outcome {
        Outcome::Ended => status.phase = Some(Phase::Ended),
        Outcome::Waits(_) => status.phase = Some(Phase::Pending),
        Outcome::On(origin, on) => {
            status.origin = Some(origin.clone());
            status.placements = facts.placement;
            match on {
                OnPod::Has(report) => count(&mut status, *report),
                // What was last heard of it is most likely still so.
                OnPod::Unreachable(_) => {
                    (status.publishers, status.viewers) = (old.publishers, old.viewers)
                }
                OnPod::Refused(_) => {}
            }
            status.phase = Some(phase(old, on, facts.is_early));
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

fn count(status: &mut LiveRoomStatus, report: Option<&RoomStatus>) {
    let Some(report) = report else {
        return;
    };
    status.publishers = report.publishers;
    status.viewers = report.viewers;
    status.peak_viewers = status.peak_viewers.max(report.viewers);
    if let Some(retention) = retention(report.retention) {
        status.retention = Some(retention);
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

fn phase(old: &LiveRoomStatus, on: &OnPod<'_>, is_early: bool) -> Phase {
    match on {
        OnPod::Has(Some(report)) if report.active => Phase::Live,
        OnPod::Has(_) if is_early => Phase::Scheduled,
        OnPod::Has(_) => Phase::Ready,
        OnPod::Unreachable(_) => old
            .phase
            .filter(|phase| *phase != Phase::Ended)
            .unwrap_or(Phase::Pending),
        OnPod::Refused(_) => Phase::Pending,
    }
}

fn placed(outcome: &Outcome<'_>) -> Said {
    let (is, reason, message) = match outcome {
        Outcome::Ended => (false, room::ENDED, "the show is over".to_owned()),
        Outcome::Waits(why) => (false, waits(why), why.to_string()),
        Outcome::On(origin, _) => (true, room::PLACED, format!("on pod {}", origin.pod)),
    };
    Said {
        of: PLACED,
        is,
        reason,
        message,
    }
}

fn ready(outcome: &Outcome<'_>) -> Said {
    let (is, reason, message) = match outcome {
        Outcome::Ended => (false, room::ENDED, "the show is over".to_owned()),
        Outcome::Waits(why) => (false, waits(why), why.to_string()),
        Outcome::On(_, OnPod::Has(_)) => {
            (true, room::ASSIGNED, "takes hosts and viewers".to_owned())
        }
        Outcome::On(origin, OnPod::Unreachable(why)) => (
            false,
            room::POD_UNREACHABLE,
            format!("pod {}: {why}", origin.pod),
        ),
        Outcome::On(origin, OnPod::Refused(why)) => (
            false,
            room::POD_REFUSED,
            format!("pod {}: {why}", origin.pod),
        ),
    };
    Said {
        of: READY,
        is,
        reason,
        message,
    }
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
        Unplaceable::Full => room::NO_CAPACITY,
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
        ..status.clone()
    };
    without_counts(old) != without_counts(new)
}

/// What a person would want to know of a change.
#[must_use]
pub fn happenings(old: &LiveRoomStatus, new: &LiveRoomStatus, why: Option<Why>) -> Vec<Happening> {
    let mut all = Vec::new();
    if let Some(origin) = &old.origin {
        let lost =
            |text| Happening::warning("PodLost", "Place", format!("pod {} {text}", origin.pod));
        match why {
            Some(Why::Gone) => all.push(lost("is gone")),
            Some(Why::Lost) if new.origin.as_ref() != Some(origin) => {
                all.push(lost("does not answer any more"))
            }
            _ => {}
        }
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

    use super::*;

    fn origin(pod: &str) -> PodReference {
        PodReference {
            namespace: "media".into(),
            media_node: "eu".into(),
            pod: pod.into(),
            region: "eu".into(),
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
            placement: 1,
            host_token_secret: Some("sale-host-token".into()),
            now: Timestamp::from_second(100).unwrap(),
        }
    }

    fn after(old: &LiveRoomStatus, outcome: Outcome<'_>) -> LiveRoomStatus {
        next(old, &facts(outcome))
    }

    fn reasons(happenings: &[Happening]) -> Vec<&str> {
        happenings.iter().map(|one| one.reason).collect()
    }

    #[test]
    fn phases_and_conditions() {
        let (off, on) = (report(false, 0), report(true, 5));
        let say = |text: &str| text.to_owned();
        for (outcome, phase, placed, ready) in [
            (Outcome::Ended, Phase::Ended, "Ended", "Ended"),
            (
                Outcome::Waits(Unplaceable::Full),
                Phase::Pending,
                "NoCapacity",
                "NoCapacity",
            ),
            (
                Outcome::On(origin("a"), OnPod::Has(None)),
                Phase::Ready,
                "Placed",
                "Assigned",
            ),
            (
                Outcome::On(origin("a"), OnPod::Has(Some(&off))),
                Phase::Ready,
                "Placed",
                "Assigned",
            ),
            (
                Outcome::On(origin("a"), OnPod::Has(Some(&on))),
                Phase::Live,
                "Placed",
                "Assigned",
            ),
            (
                Outcome::On(origin("a"), OnPod::Refused(say("no"))),
                Phase::Pending,
                "Placed",
                "PodRefused",
            ),
            (
                Outcome::On(origin("a"), OnPod::Unreachable(say("no"))),
                Phase::Pending,
                "Placed",
                "PodUnreachable",
            ),
        ] {
            let status = after(&LiveRoomStatus::default(), outcome);
            assert_eq!(status.phase, Some(phase));
            assert_eq!(reason(&status.conditions, PLACED), Some(placed));
            assert_eq!(reason(&status.conditions, READY), Some(ready));
            assert_eq!(is(&status.conditions, LIVE), phase == Phase::Live);
        }
        let mut early = facts(Outcome::On(origin("a"), OnPod::Has(Some(&off))));
        early.is_early = true;
        assert_eq!(
            next(&LiveRoomStatus::default(), &early).phase,
            Some(Phase::Scheduled)
        );
    }

    #[test]
    fn counts_wait_and_what_is_not_heard_stays() {
        let (few, many) = (report(true, 5), report(true, 9));
        let first = after(
            &LiveRoomStatus::default(),
            Outcome::On(origin("a"), OnPod::Has(Some(&many))),
        );
        let second = after(&first, Outcome::On(origin("a"), OnPod::Has(Some(&few))));
        assert_eq!((second.viewers, second.peak_viewers), (5, 9));
        assert!(second != first && !is_urgent(&first, &second));
        let silent = after(
            &second,
            Outcome::On(origin("a"), OnPod::Unreachable("x".into())),
        );
        assert_eq!((silent.viewers, silent.phase), (5, Some(Phase::Live)));
        assert!(is_urgent(&second, &silent));
        let again = after(
            &silent,
            Outcome::On(origin("a"), OnPod::Unreachable("x".into())),
        );
        assert_eq!(again, silent);
        assert_eq!(happenings(&silent, &again, None), []);
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
        let waits = after(
            &none,
            Outcome::Waits(Unplaceable::NoSuchRegion("mars".into())),
        );
        assert_eq!(
            reasons(&happenings(&none, &waits, Some(Why::New))),
            ["NoSuchRegion"]
        );
        assert_eq!(happenings(&waits, &waits, Some(Why::New)), []);
        let (off, on) = (report(false, 0), report(true, 1));
        let there = after(&waits, Outcome::On(origin("a"), OnPod::Has(Some(&off))));
        assert_eq!(
            reasons(&happenings(&waits, &there, Some(Why::New))),
            ["Placed"]
        );
        let live = after(&there, Outcome::On(origin("a"), OnPod::Has(Some(&on))));
        assert_eq!(reasons(&happenings(&there, &live, None)), ["OnAir"]);
        let moved = after(&live, Outcome::On(origin("b"), OnPod::Has(None)));
        assert_eq!(
            reasons(&happenings(&live, &moved, Some(Why::Gone))),
            ["PodLost", "Moved", "OffAir"]
        );
        let stays = after(
            &live,
            Outcome::On(origin("a"), OnPod::Unreachable("x".into())),
        );
        assert_eq!(
            reasons(&happenings(&live, &stays, Some(Why::Lost))),
            ["PodUnreachable"]
        );
        let ended = after(&live, Outcome::Ended);
        assert_eq!(reasons(&happenings(&live, &ended, None)), ["Ended"]);
        assert_eq!(ended.origin, None);
    }
}
