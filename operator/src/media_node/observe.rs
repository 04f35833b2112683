//! What a pod is, by all that is known of it. Pure.

use std::time::Instant;

use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use kube::ResourceExt;
use showrunner_crds::condition::site;

use super::desired::{self, Sessions, Stage};
use super::template::ordinal;
use crate::cluster::evictions::Asked;
use crate::cluster::names::annotation;
use crate::pods::sight::Sight;
use crate::pods::{drain_deadline, is_ended, is_ready};

/// Taints that machines have when they are to go, by who empties them.
const LEAVING: [&str; 3] = [
    "node.kubernetes.io/unschedulable",
    "karpenter.sh/disrupted",
    "ToBeDeletedByClusterAutoscaler",
];

/// A pod of a site as the plan needs it; none if it has a name that the site does not give.
#[must_use]
pub fn pod(
    site: &str,
    pod: &Pod,
    sight: Option<&Sight>,
    must_go: bool,
    now: Instant,
) -> Option<desired::Pod> {
    let template = template_of(pod, must_go).unwrap_or_default().to_owned();
    let created = pod
        .creation_timestamp()
        .map_or(0, |time| time.0.as_second());
    Some(desired::Pod {
        ordinal: ordinal(site, &pod.name_any())?,
        template,
        created: u64::try_from(created).unwrap_or(0),
        stage: stage(pod, sight),
        sessions: sessions(pod, sight, now),
        rooms: sight.map_or(0, |sight| {
            u32::try_from(sight.rooms.len()).unwrap_or(u32::MAX)
        }),
    })
}

/// Whether a pod is to leave its place: its machine is to go, or somebody asked for its eviction.
#[must_use]
pub fn must_go(pod: &Pod, machine: Option<&Node>, asked: &Asked) -> bool {
    let uid = pod.metadata.uid.as_ref();
    machine.is_some_and(|machine| is_to_go(machine, pod))
        || uid.is_some_and(|uid| asked.contains_key(uid))
}

/// What a pod was made from. One that must go is replaced like one of an older template: another first, then its drain.
fn template_of(pod: &Pod, must_go: bool) -> Option<&str> {
    if must_go {
        return None;
    }
    pod.annotations()
        .get(annotation::TEMPLATE)
        .map(String::as_str)
}

/// Whether a pod is to stay: it need not go, and is made from this template.
#[must_use]
pub fn is_current(pod: &Pod, must_go: bool, template: &str) -> bool {
    template_of(pod, must_go) == Some(template)
}

fn stage(pod: &Pod, sight: Option<&Sight>) -> Stage {
    if pod.metadata.deletion_timestamp.is_some() {
        Stage::Terminating
    } else if is_ended(pod) {
        Stage::Ended
    } else if let Some(deadline) = drain_deadline(pod) {
        let status = sight.and_then(|sight| sight.status.as_ref());
        let is_aware = status.is_some_and(|status| status.draining);
        Stage::Draining { deadline, is_aware }
    } else if is_ready(pod) && !sight.is_some_and(Sight::is_cut_off) {
        Stage::Ready
    } else {
        Stage::Unready
    }
}

fn sessions(pod: &Pod, sight: Option<&Sight>, now: Instant) -> Sessions {
    let status = sight
        .filter(|sight| !sight.is_lost(now))
        .and_then(|sight| sight.status.as_ref());
    match status {
        Some(status) => Sessions::Count(status.sessions),
        None if containers(pod).all(has_never_run) => Sessions::Impossible,
        None => Sessions::Unknown,
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten()
}

fn has_never_run(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    let runs = state.is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    let ran = container
        .last_state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some());
    !runs && !ran && container.restart_count == 0
}

/// Whether a machine is to go, as far as a pod minds: one that tolerates that might be put there again at once.
fn is_to_go(machine: &Node, pod: &Pod) -> bool {
    let Some(spec) = &machine.spec else {
        return false;
    };
    // Whoever marks a machine so has it tainted a moment later.
    let marked = (spec.unschedulable == Some(true)).then_some(LEAVING[0]);
    let taints = spec.taints.iter().flatten().map(|taint| taint.key.as_str());
    let mut leaving = marked
        .into_iter()
        .chain(taints)
        .filter(|key| LEAVING.contains(key));
    leaving.any(|key| !tolerates(pod, key))
}

fn tolerates(pod: &Pod, taint: &str) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    tolerations
        .into_iter()
        .flatten()
        .any(|one| match one.key.as_deref() {
            None | Some("") => one.operator.as_deref() == Some("Exists"),
            Some(key) => key == taint,
        })
}

/// What keeps a pod from running that does not pass by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In a word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What is wrong with a pod, as the scheduler and the kubelet say.
#[must_use]
pub fn trouble(pod: &Pod) -> Option<Trouble> {
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let unscheduled = conditions.into_iter().flatten().find(|one| {
        one.type_ == "PodScheduled"
            && one.status == "False"
            && one.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        let why = condition.message.clone().unwrap_or_default();
        return Some(Trouble {
            reason: site::UNSCHEDULABLE,
            message: format!("no machine takes pod {name}: {why}"),
        });
    }
    containers(pod).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let why = waiting.message.clone().unwrap_or_default();
        match waiting.reason.as_deref()? {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Some(Trouble {
                    reason: site::IMAGE_PULL,
                    message: format!(
                        "the image {} of pod {name} can't be pulled: {why}",
                        container.image
                    ),
                })
            }
            "CrashLoopBackOff" => Some(Trouble {
                reason: site::CRASH_LOOP,
                message: format!(
                    "pod {name} ends again and again: see kubectl logs --previous {name}"
                ),
            }),
            _ => None,
        }
    })
}

/// What is wrong with a pod by its own word.
#[must_use]
pub fn cut_off(pod: &Pod, sight: Option<&Sight>, now: Instant) -> Option<Trouble> {
    let sight = sight.filter(|sight| sight.is_cut_off() && !sight.is_lost(now));
    let name = pod.name_any();
    sight.map(|_| Trouble {
        reason: site::CUT_OFF,
        message: format!(
            "pod {name} is cut off from its viewers: it answers here, and hears nobody on its media ports; look at \
             firewalls, the load balancer and the network of its machine"
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use showrunner_protocol::control::PodStatus;

    use super::*;
    use crate::pods::PodId;
    use crate::pods::sight::Sights;

    fn object(meta: Value, status: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "eu-0"}, "status": status});
        pod["metadata"]
            .as_object_mut()
            .unwrap()
            .extend(meta.as_object().cloned().unwrap());
        serde_json::from_value(pod).unwrap()
    }

    fn seen(status: PodStatus) -> std::sync::Arc<Sight> {
        let (sights, id) = (
            Sights::default(),
            PodId {
                namespace: "m".into(),
                name: "eu-0".into(),
            },
        );
        sights.answered(&id, "u", status, Instant::now());
        sights.get(&id, "u").unwrap()
    }

    #[test]
    fn where_a_pod_is_in_its_life() {
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let drains = json!({"annotations": {annotation::DRAIN_DEADLINE: "99"}});
        for (meta, status, draining, expected) in [
            (json!({}), json!({}), false, Stage::Unready),
            (json!({}), ready.clone(), false, Stage::Ready),
            (
                drains.clone(),
                ready.clone(),
                false,
                Stage::Draining {
                    deadline: 99,
                    is_aware: false,
                },
            ),
            (
                drains.clone(),
                ready.clone(),
                true,
                Stage::Draining {
                    deadline: 99,
                    is_aware: true,
                },
            ),
            (
                json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                ready,
                false,
                Stage::Terminating,
            ),
            (drains, json!({"phase": "Failed"}), true, Stage::Ended),
        ] {
            let sight = seen(PodStatus {
                draining,
                ..PodStatus::default()
            });
            let pod = object(meta, status);
            let pod = super::pod("eu", &pod, Some(&sight), false, Instant::now()).unwrap();
            assert_eq!(pod.stage, expected);
        }
    }

    #[test]
    fn a_pod_that_is_cut_off_is_not_ready_and_it_is_told_which_it_is() {
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let pod = object(json!({}), ready);
        let now = Instant::now();
        for (is_cut_off, stage) in [(true, Stage::Unready), (false, Stage::Ready)] {
            let sight = seen(PodStatus {
                cut_off: is_cut_off,
                ..PodStatus::default()
            });
            let observed = super::pod("eu", &pod, Some(&sight), false, now);
            assert_eq!(observed.unwrap().stage, stage);
            let trouble = cut_off(&pod, Some(&sight), now);
            let names_it = trouble.is_some_and(|trouble| {
                trouble.reason == site::CUT_OFF && trouble.message.contains("pod eu-0")
            });
            assert_eq!(names_it, is_cut_off);
        }
        assert_eq!(cut_off(&pod, None, now), None);
    }

    #[test]
    fn what_is_known_of_its_sessions() {
        let of = |status: Value, sight: Option<&Sight>| {
            super::pod(
                "eu",
                &object(json!({}), status),
                sight,
                false,
                Instant::now(),
            )
            .unwrap()
            .sessions
        };
        let container = |state: Value, restarts: i32| {
            json!({"containerStatuses": [{"name": "media-node", "image": "i", "imageID": "", "ready": false,
                "restartCount": restarts, "state": state}]})
        };
        let sight = seen(PodStatus {
            sessions: 7,
            ..PodStatus::default()
        });
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff"}});
        let running = json!({"running": {}});
        assert_eq!(of(json!({}), None), Sessions::Impossible);
        assert_eq!(
            of(container(waiting.clone(), 0), None),
            Sessions::Impossible
        );
        assert_eq!(of(container(waiting, 2), None), Sessions::Unknown);
        assert_eq!(of(container(running.clone(), 0), None), Sessions::Unknown);
        assert_eq!(of(container(running, 0), Some(&sight)), Sessions::Count(7));
    }

    #[test]
    fn a_pod_on_a_machine_that_is_to_go_is_replaced() {
        let pod = object(
            json!({"annotations": {annotation::TEMPLATE: "t"}}),
            json!({}),
        );
        let template = |machine: Value| {
            let machine: Node = serde_json::from_value(machine).unwrap();
            let must_go = must_go(&pod, Some(&machine), &Asked::new());
            super::pod("eu", &pod, None, must_go, Instant::now())
                .unwrap()
                .template
        };
        assert_eq!(template(json!({"spec": {}})), "t");
        assert_eq!(template(json!({"spec": {"unschedulable": true}})), "");
        let taint = json!({"spec": {"taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]}});
        assert_eq!(template(taint), "");
    }

    #[test]
    fn a_pod_whose_eviction_is_asked_for_is_replaced() {
        let mut pod = object(
            json!({"annotations": {annotation::TEMPLATE: "t"}}),
            json!({}),
        );
        let asked = Asked::from([("u".to_owned(), std::sync::Arc::default())]);
        for (uid, expected) in [("u", false), ("the uid of its predecessor", true)] {
            pod.metadata.uid = Some(uid.to_owned());
            let must_go = must_go(&pod, None, &asked);
            assert_eq!(is_current(&pod, must_go, "t"), expected, "{uid}");
        }
    }

    #[test]
    fn a_pod_that_does_not_mind_stays_where_it_would_be_put_again() {
        let machine: Node =
            serde_json::from_value(json!({"spec": {"unschedulable": true}})).unwrap();
        for (toleration, expected) in [
            (json!({"operator": "Exists"}), "t"),
            (
                json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}),
                "t",
            ),
            (json!({"key": "other", "operator": "Exists"}), ""),
        ] {
            let mut pod = object(
                json!({"annotations": {annotation::TEMPLATE: "t"}}),
                json!({}),
            );
            pod.spec =
                serde_json::from_value(json!({"containers": [], "tolerations": [toleration]}))
                    .unwrap();
            let must_go = must_go(&pod, Some(&machine), &Asked::new());
            let observed = super::pod("eu", &pod, None, must_go, Instant::now()).unwrap();
            assert_eq!(observed.template, expected, "{toleration}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let waiting = |reason: &str| {
            json!({"containerStatuses": [{"name": "media-node", "image": "i:1", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "why"}}}]})
        };
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"}]});
        for (status, reason) in [
            (waiting("ImagePullBackOff"), Some(site::IMAGE_PULL)),
            (waiting("CrashLoopBackOff"), Some(site::CRASH_LOOP)),
            (waiting("ContainerCreating"), None),
            (unscheduled, Some(site::UNSCHEDULABLE)),
            (json!({}), None),
        ] {
            let found = trouble(&object(json!({}), status)).map(|trouble| trouble.reason);
            assert_eq!(found, reason);
        }
    }
}
