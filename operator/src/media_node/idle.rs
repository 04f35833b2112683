//! Whether those who empty machines may take a pod along: marks on pods that are idle, and on those that are not. Pure.
//!
//! The cluster's autoscaler, Karpenter and the site's disruption budget all go by them. A pod is marked busy with its
//! first session, and idle only after a while without one: two writes a minute at the most, whatever comes and goes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::desired::Sessions;
use crate::cluster::names::{annotation, label};

/// How long a pod is without sessions before it counts as idle.
pub const IDLE_AFTER: Duration = Duration::from_secs(60);

/// What a pod is to be marked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nobody may take it along.
    Busy,
    /// Anybody may.
    Idle,
}

/// What a pod is to be marked as, by its sessions and for how long it has had none.
#[must_use]
pub fn mark(sessions: Sessions, idle_for: Option<Duration>) -> Option<Mark> {
    match (sessions, idle_for) {
        (Sessions::Count(0) | Sessions::Impossible, Some(since)) => {
            (since >= IDLE_AFTER).then_some(Mark::Idle)
        }
        (Sessions::Count(0) | Sessions::Impossible, None) => None,
        (Sessions::Count(_) | Sessions::Unknown, _) => Some(Mark::Busy),
    }
}

/// What is to be written onto a pod for its mark; none if it bears it.
#[must_use]
pub fn patch(pod: &Pod, mark: Mark) -> Option<Value> {
    let is_idle = mark == Mark::Idle;
    let (evictable, kept, idle) = (
        if is_idle { "true" } else { "false" },
        (!is_idle).then_some("true"),
        is_idle.then_some("true"),
    );
    let annotations = pod.annotations();
    let is_marked = annotations
        .get(annotation::SAFE_TO_EVICT)
        .map(String::as_str)
        == Some(evictable)
        && annotations
            .get(annotation::DO_NOT_DISRUPT)
            .map(String::as_str)
            == kept
        && pod.labels().get(label::IDLE).map(String::as_str) == idle;
    (!is_marked).then(|| {
        json!({"metadata": {
            "uid": pod.uid(),
            "labels": {label::IDLE: idle},
            "annotations": {annotation::SAFE_TO_EVICT: evictable, annotation::DO_NOT_DISRUPT: kept},
        }})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_busy_at_once_and_idle_after_a_while() {
        let (short, long) = (Duration::from_secs(59), IDLE_AFTER);
        for (sessions, idle_for, expected) in [
            (Sessions::Count(1), None, Some(Mark::Busy)),
            (Sessions::Unknown, Some(long), Some(Mark::Busy)),
            (Sessions::Count(0), None, None),
            (Sessions::Count(0), Some(short), None),
            (Sessions::Count(0), Some(long), Some(Mark::Idle)),
            (Sessions::Impossible, Some(long), Some(Mark::Idle)),
        ] {
            assert_eq!(
                mark(sessions, idle_for),
                expected,
                "{sessions:?} {idle_for:?}"
            );
        }
    }

    #[test]
    fn marks_are_written_once() {
        let mut pod = Pod::default();
        pod.metadata.uid = Some("u".to_owned());
        for mark in [Mark::Busy, Mark::Idle, Mark::Busy] {
            let patch = super::patch(&pod, mark).unwrap();
            assert_eq!(patch["metadata"]["uid"], "u");
            apply(&mut pod, &patch["metadata"]);
            assert_eq!(super::patch(&pod, mark), None);
            let is_idle = pod.labels().contains_key(label::IDLE);
            assert_eq!(is_idle, mark == Mark::Idle);
            assert_eq!(
                pod.annotations().contains_key(annotation::DO_NOT_DISRUPT),
                !is_idle
            );
        }
    }

    /// A merge patch (RFC 7386) of labels and annotations.
    fn apply(pod: &mut Pod, patch: &Value) {
        for (key, value) in patch["labels"].as_object().unwrap() {
            match value.as_str() {
                Some(value) => drop(pod.labels_mut().insert(key.clone(), value.to_owned())),
                None => drop(pod.labels_mut().remove(key)),
            }
        }
        for (key, value) in patch["annotations"].as_object().unwrap() {
            match value.as_str() {
                Some(value) => drop(pod.annotations_mut().insert(key.clone(), value.to_owned())),
                None => drop(pod.annotations_mut().remove(key)),
            }
        }
    }
}
