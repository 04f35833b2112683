//! Which pods are asked whether another one answers them, and what follows from what they say. Pure.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::sight::Sights;
use super::{PodId, address, site_of};

/// So many are asked: one of them may hang as well.
const AT_MOST: usize = 2;

/// Neighbours of a pod that answer us: of its own site, since no NetworkPolicy is between them, and best on other
/// machines than it.
#[must_use]
pub fn witnesses(of: &Pod, all: &[Arc<Pod>], sights: &Sights) -> Vec<SocketAddr> {
    let machine = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let id = PodId::of(of);
    let can_tell = |pod: &Pod| {
        let other = PodId::of(pod);
        let sight = sights.get(&other, &pod.uid()?)?;
        let is_neighbour = other != id && other.namespace == id.namespace;
        (is_neighbour && site_of(pod) == site_of(of) && sight.answers()).then_some(())?;
        Some((machine(pod) == machine(of), address(pod)?))
    };
    let mut found: Vec<_> = all.iter().filter_map(|pod| can_tell(pod)).collect();
    found.sort();
    found.truncate(AT_MOST);
    found.into_iter().map(|(_, address)| address).collect()
}

/// Whether it answers anybody; none if nobody could tell.
#[must_use]
pub fn verdict(answers: impl Iterator<Item = bool>) -> Option<bool> {
    answers.reduce(|any, one| any || one)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;
    use showrunner_protocol::control::PodStatus;

    use super::*;
    use crate::cluster::names::label;
    use crate::pods::sight::Silence;

    fn pod(name: &str, site: &str, machine: &str, ip: &str) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"namespace": "media", "name": name, "uid": "1", "labels": {label::MEDIA_NODE: site}},
            "spec": {"nodeName": machine, "containers": []},
            "status": {"podIP": ip},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn neighbours_that_answer_are_asked_and_those_of_other_machines_first() {
        let (sights, now) = (Sights::default(), Instant::now());
        let all = [
            pod("eu-0", "eu", "a", "10.0.0.10"),
            pod("eu-1", "eu", "a", "10.0.0.11"),
            pod("eu-2", "eu", "b", "10.0.0.12"),
            pod("eu-3", "eu", "b", "10.0.0.13"),
            pod("us-0", "us", "c", "10.0.0.14"),
        ];
        let asked = || {
            let found = witnesses(&all[0], &all, &sights);
            let ips = found.iter().map(|address| address.ip().to_string());
            ips.collect::<Vec<_>>()
        };
        assert!(asked().is_empty(), "nothing is known of anybody");
        for pod in &all {
            sights.answered(&PodId::of(pod), "1", PodStatus::default(), now);
        }
        assert_eq!(asked(), ["10.0.0.12", "10.0.0.13"]);
        sights.silent(&PodId::of(&all[2]), "1", Silence::Silent, now, now);
        assert_eq!(asked(), ["10.0.0.13", "10.0.0.11"]);
    }

    #[test]
    fn who_answers_anybody_is_there() {
        assert_eq!(verdict([].into_iter()), None);
        assert_eq!(verdict([false].into_iter()), Some(false));
        assert_eq!(verdict([false, true].into_iter()), Some(true));
    }
}
