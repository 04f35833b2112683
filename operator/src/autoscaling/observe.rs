//! A pod as autoscaling sees it. Pure.

use std::time::Instant;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use showrunner_capacity::autoscaling::{self, Report, Stage};
use showrunner_capacity::load::Load;

use crate::pods::sight::Sight;
use crate::pods::{is_ended, is_leaving, is_ready};

/// A pod by what the API server and it itself say; none of one whose process has ended for good.
#[must_use]
pub fn pod(pod: &Pod, sight: Option<&Sight>, now: Instant) -> Option<autoscaling::Pod> {
    if is_ended(pod) {
        return None;
    }
    Some(autoscaling::Pod {
        stage: stage(pod),
        // Who should be on one that is cut off is somewhere else, or nowhere: what it says is not what is needed.
        report: sight
            .filter(|sight| !sight.is_cut_off())
            .and_then(|sight| report(sight, now)),
        ready_after: ready_after(pod),
    })
}

fn stage(pod: &Pod) -> Stage {
    if is_leaving(pod) {
        Stage::Leaving
    } else if is_ready(pod) || was_ready(pod) {
        Stage::Serving
    } else {
        Stage::Starting
    }
}

/// Whether it was ready before, with the process that runs now: it became unready after that had begun.
fn was_ready(pod: &Pod) -> bool {
    let since = ready_since(pod);
    let running = containers(pod).filter_map(|container| {
        let running = container.state.as_ref()?.running.as_ref()?;
        Some(running.started_at.as_ref()?.0.as_second())
    });
    let began = running.max();
    since.zip(began).is_some_and(|(since, began)| since > began)
}

/// Since when its readiness is what it is, in seconds since 1970.
fn ready_since(pod: &Pod) -> Option<i64> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|one| one.type_ == "Ready")?;
    Some(ready.last_transition_time.as_ref()?.0.as_second())
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let statuses = pod.status.as_ref();
    let statuses = statuses.and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten()
}

/// How long it took from its making until it was ready. One whose process began more than once says nothing of that.
fn ready_after(pod: &Pod) -> Option<u32> {
    if !is_ready(pod) || containers(pod).any(|container| container.restart_count > 0) {
        return None;
    }
    let made = pod.metadata.creation_timestamp.as_ref()?.0.as_second();
    u32::try_from(ready_since(pod)? - made).ok()
}

fn report(sight: &Sight, now: Instant) -> Option<Report> {
    let (status, heard) = (sight.status.as_ref()?, sight.heard_at?);
    let age = now.saturating_duration_since(heard).as_secs();
    let load = &status.load;
    Some(Report {
        age: u32::try_from(age).unwrap_or(u32::MAX),
        load: Load {
            viewers: status.sessions.into(),
            rooms: sight.rooms.len() as u64,
            egress_bps: load.egress_bps,
            packets: load.packets_per_second,
        },
        // Without a measurement it is not known, and nothing is given up by it.
        cpu: if load.shard_cpu.is_empty() {
            f64::NAN
        } else {
            load.peak_cpu()
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};
    use showrunner_protocol::control::{self, PodStatus};

    use super::*;
    use crate::cluster::names::annotation;
    use crate::pods::PodId;
    use crate::pods::sight::Sights;

    const MADE: &str = "2027-01-01T00:00:00Z";

    fn object(ready: (&str, &str), started: Option<&str>, restarts: u32) -> Value {
        let running = started.map_or(
            json!({"waiting": {}}),
            |at| json!({"running": {"startedAt": at}}),
        );
        json!({"metadata": {"name": "eu-0", "creationTimestamp": MADE}, "status": {
            "conditions": [{"type": "Ready", "status": ready.0, "lastTransitionTime": ready.1}],
            "containerStatuses": [{"name": "media-node", "image": "i", "imageID": "", "ready": true,
                "restartCount": restarts, "state": running}],
        }})
    }

    fn seen(object: &Value, sight: Option<&Sight>, now: Instant) -> Option<autoscaling::Pod> {
        pod(&serde_json::from_value(object.clone()).unwrap(), sight, now)
    }

    fn sight(status: PodStatus) -> Arc<Sight> {
        let id = PodId {
            namespace: "m".into(),
            name: "eu-0".into(),
        };
        let sights = Sights::default();
        sights.answered(&id, "u", status, Instant::now());
        sights.get(&id, "u").unwrap()
    }

    #[test]
    fn where_a_pod_is_in_its_life() {
        let began = Some("2027-01-01T00:00:10Z");
        let ready = object(("True", "2027-01-01T00:00:25Z"), began, 0);
        let mut leaving = ready.clone();
        leaving["metadata"]["annotations"] = json!({annotation::DRAIN_DEADLINE: "99"});
        let mut ended = ready.clone();
        ended["status"]["phase"] = json!("Failed");
        for (object, expected) in [
            (object(("False", MADE), None, 0), Some(Stage::Starting)),
            (object(("False", MADE), began, 0), Some(Stage::Starting)),
            (ready, Some(Stage::Serving)),
            // Its machine is gone, or its probe fails: sessions may be on it.
            (
                object(("False", "2027-01-01T00:10:00Z"), began, 0),
                Some(Stage::Serving),
            ),
            // Its process has begun anew.
            (
                object(
                    ("False", "2027-01-01T00:10:00Z"),
                    Some("2027-01-01T00:10:05Z"),
                    1,
                ),
                Some(Stage::Starting),
            ),
            (leaving, Some(Stage::Leaving)),
            (ended, None),
        ] {
            let stage = seen(&object, None, Instant::now()).map(|pod| pod.stage);
            assert_eq!(stage, expected, "{object}");
        }
    }

    #[test]
    fn how_long_it_took_to_get_ready() {
        let after = |object: Value| seen(&object, None, Instant::now()).unwrap().ready_after;
        let at = "2027-01-01T00:00:25Z";
        assert_eq!(after(object(("True", at), Some(MADE), 0)), Some(25));
        assert_eq!(after(object(("True", at), Some(MADE), 1)), None);
        assert_eq!(after(object(("False", at), Some(MADE), 0)), None);
    }

    #[test]
    fn what_it_says_gets_old() {
        let ready = object(("True", "2027-01-01T00:00:25Z"), Some(MADE), 0);
        let status = PodStatus {
            sessions: 7,
            load: control::Load {
                shard_cpu: vec![0.25, 0.5],
                egress_bps: 5,
                packets_per_second: 3,
            },
            ..PodStatus::default()
        };
        let sight = sight(status);
        let now = Instant::now();
        let report = seen(&ready, Some(&sight), now).unwrap().report.unwrap();
        assert_eq!((report.age, report.load.viewers, report.cpu), (0, 7, 0.5));
        let later = now + Duration::from_secs(11);
        let report = seen(&ready, Some(&sight), later).unwrap().report.unwrap();
        assert_eq!(report.age, 11);
        assert_eq!(seen(&ready, None, now).unwrap().report, None);
    }

    #[test]
    fn what_a_pod_says_that_is_cut_off_is_not_counted() {
        let ready = object(("True", "2027-01-01T00:00:25Z"), Some(MADE), 0);
        let sight = sight(PodStatus {
            cut_off: true,
            ..PodStatus::default()
        });
        let pod = seen(&ready, Some(&sight), Instant::now()).unwrap();
        assert_eq!((pod.stage, pod.report), (Stage::Serving, None));
    }

    #[test]
    fn what_was_not_measured_is_not_nothing() {
        let ready = object(("True", "2027-01-01T00:00:25Z"), Some(MADE), 0);
        let sight = sight(PodStatus::default());
        let report = seen(&ready, Some(&sight), Instant::now()).unwrap().report;
        assert!(report.unwrap().cpu.is_nan());
    }
}
