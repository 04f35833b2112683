//! What is said of a decision: the status, and Events when something changes. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use showrunner_capacity::autoscaling::{Decision, Floor, Hold, Next};
use showrunner_crds::autoscaling::{AutoscalingStatus, NextSchedule};

use crate::cluster::events::Happening;

/// What autoscaling does for an Event, in a word.
const ACTION: &str = "Scale";

/// The status of a site that is scaled.
#[must_use]
pub fn status(decision: &Decision, last_scale_time: Option<Time>) -> AutoscalingStatus {
    AutoscalingStatus {
        desired_replicas: decision.replicas,
        signal: decision.signal.name().to_owned(),
        hold: decision.hold.map(|hold| hold.name().to_owned()),
        message: decision.why.clone(),
        load_percent: decision.load_percent,
        lead_seconds: decision.lead_seconds,
        silent_pods: decision.silent,
        last_scale_time,
        next_schedule: decision.next.as_ref().and_then(next),
    }
}

/// The status of a site that somebody has set to no pods.
#[must_use]
pub fn stopped(last_scale_time: Option<Time>) -> AutoscalingStatus {
    AutoscalingStatus {
        signal: "Stopped".to_owned(),
        message: "replicas is 0, so nothing is scaled: set it to 1 or more".to_owned(),
        last_scale_time,
        ..AutoscalingStatus::default()
    }
}

fn next(next: &Next) -> Option<NextSchedule> {
    let time = Timestamp::from_second(next.at).ok()?;
    let does = match next.floor {
        Floor::Pods(1) => "at least 1 pod".to_owned(),
        Floor::Pods(pods) => format!("at least {pods} pods"),
        Floor::Viewers(viewers) => format!("pods for {viewers} viewers"),
    };
    Some(NextSchedule {
        name: next.name.clone(),
        time: Time(time),
        message: format!("{time} {}: {does}", next.name),
    })
}

/// A part of the status that is written at once when it changes; the rest can wait.
#[must_use]
pub fn urgent(status: &AutoscalingStatus) -> AutoscalingStatus {
    AutoscalingStatus {
        last_scale_time: status.last_scale_time.clone(),
        next_schedule: status.next_schedule.clone(),
        ..AutoscalingStatus::default()
    }
}

/// What was last told of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    hold: Option<Hold>,
    dry: Option<u32>,
}

/// What is told of a decision for a site that has so many pods. What was told before is not told again.
pub fn happenings(
    told: &mut Told,
    decision: &Decision,
    replicas: u32,
    is_dry_run: bool,
) -> Vec<Happening> {
    let mut happenings = Vec::new();
    let (to, why) = (decision.replicas, &decision.why);
    if is_dry_run {
        let dry = (to != replicas).then_some(to);
        if dry.is_some() && dry != told.dry {
            let note = format!("it would be scaled from {replicas} to {to}: {why}");
            happenings.push(Happening::normal("WouldScale", ACTION, note));
        }
        told.dry = dry;
    } else if to != replicas {
        let note = format!("scaled from {replicas} to {to}: {why}");
        happenings.push(Happening::normal("Scaled", ACTION, note));
    }
    // What holds back for a moment only is in the status.
    let hold = decision
        .hold
        .filter(|hold| matches!(hold, Hold::Silent | Hold::Maximum));
    if let Some(hold) = hold.filter(|hold| told.hold != Some(*hold)) {
        happenings.push(Happening::warning(hold.name(), ACTION, why.clone()));
    }
    told.hold = hold;
    happenings
}

#[cfg(test)]
mod tests {
    use showrunner_capacity::autoscaling::Signal;

    use super::*;

    fn decision(replicas: u32, hold: Option<Hold>) -> Decision {
        Decision {
            replicas,
            wanted: replicas,
            signal: Signal::Viewers,
            hold,
            why: "5 pods for 4000 viewers, 900 a pod".to_owned(),
            lead_seconds: 35,
            silent: 0,
            load_percent: Some(89),
            next: Some(Next {
                name: "sale".to_owned(),
                at: 1_798_761_600,
                floor: Floor::Pods(30),
            }),
        }
    }

    fn reasons(happenings: &[Happening]) -> Vec<&'static str> {
        happenings.iter().map(|one| one.reason).collect()
    }

    #[test]
    fn what_is_decided_is_said() {
        let said = status(&decision(5, Some(Hold::Recent)), None);
        assert_eq!(
            (said.desired_replicas, said.signal.as_str()),
            (5, "Viewers")
        );
        assert_eq!(said.hold.as_deref(), Some("Stabilizing"));
        let next = said.next_schedule.clone().unwrap();
        assert_eq!(next.message, "2027-01-01T00:00:00Z sale: at least 30 pods");
        let mut later = said.clone();
        (later.load_percent, later.message) = (Some(90), String::new());
        assert_eq!(urgent(&later), urgent(&said));
    }

    #[test]
    fn changes_are_told() {
        let mut told = Told::default();
        let happened = happenings(&mut told, &decision(5, None), 4, false);
        assert_eq!(reasons(&happened), ["Scaled"]);
        assert_eq!(
            happened[0].note,
            "scaled from 4 to 5: 5 pods for 4000 viewers, 900 a pod"
        );
        assert!(happenings(&mut told, &decision(5, None), 5, false).is_empty());
    }

    #[test]
    fn a_hold_is_told_once() {
        let mut told = Told::default();
        for (hold, expected) in [
            (Some(Hold::Silent), &["MissingMetrics"][..]),
            (Some(Hold::Silent), &[]),
            (Some(Hold::Maximum), &["Maximum"]),
            (None, &[]),
            (Some(Hold::Silent), &["MissingMetrics"]),
            (Some(Hold::Recent), &[]),
        ] {
            let happened = happenings(&mut told, &decision(5, hold), 5, false);
            assert_eq!(reasons(&happened), expected);
        }
    }

    #[test]
    fn a_dry_run_tells_what_it_would_do_once() {
        let mut told = Told::default();
        for (replicas, expected) in [(5, 1), (5, 0), (6, 1), (4, 0), (5, 1)] {
            let happened = happenings(&mut told, &decision(replicas, None), 4, true);
            assert_eq!(happened.len(), expected, "{replicas}");
            assert!(happened.iter().all(|one| one.reason == "WouldScale"));
        }
    }
}
