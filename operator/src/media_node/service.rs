//! What stands beside pods: a Service for each where clients come by one, and a disruption budget for all. Pure.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use showrunner_crds::MediaNode;
use showrunner_crds::media_node::{Mode, Reach};

use super::template::{media_ports, pod_name};
use crate::cluster::names::{MANAGER, label};

/// The Service of the pod with this ordinal; none where clients need none.
#[must_use]
pub fn service(site: &MediaNode, ordinal: u32) -> Option<Service> {
    let reach = &site.spec.reach;
    let kind = match reach.mode {
        Mode::LoadBalancer => "LoadBalancer",
        Mode::NodePort => "NodePort",
        Mode::HostPort | Mode::HostNetwork | Mode::PodIp => return None,
    };
    let pod = pod_name(&site.name_any(), ordinal);
    let mut meta = meta(site, pod.clone());
    if reach.mode == Mode::LoadBalancer && !reach.service_annotations.is_empty() {
        meta.annotations = Some(reach.service_annotations.clone());
    }
    let selector = [
        (label::MEDIA_NODE.to_owned(), site.name_any()),
        (label::POD.to_owned(), pod),
    ];
    Some(Service {
        metadata: meta,
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            // Clients' packets stay as they are, and on the machine that they come to; who is not ready still has those
            // who are there.
            external_traffic_policy: (reach.mode == Mode::LoadBalancer).then(|| "Local".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector.into()),
            ports: Some(ports(reach, ordinal)),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// With a port that Kubernetes chooses there is one, for UDP: clients are told one number for both protocols, and
/// Kubernetes would choose two.
fn ports(reach: &Reach, ordinal: u32) -> Vec<ServicePort> {
    let chosen = reach.mode == Mode::NodePort && reach.node_port.is_none();
    let first = reach
        .node_port
        .and_then(|first| node_port(first, reach.shards, ordinal));
    let port = |shard: u16, number: u16, protocol: &str| ServicePort {
        name: Some(format!("{}-{shard}", protocol.to_lowercase())),
        port: number.into(),
        target_port: Some(IntOrString::Int(number.into())),
        protocol: Some(protocol.to_owned()),
        node_port: first.map(|first| i32::from(first.saturating_add(shard))),
        app_protocol: None,
    };
    media_ports(reach.media_port, reach.shards)
        .take(if chosen { 1 } else { usize::MAX })
        .flat_map(|(shard, number)| {
            let tcp = (!chosen).then(|| port(shard, number, "TCP"));
            [Some(port(shard, number, "UDP")), tcp]
        })
        .flatten()
        .collect()
}

/// The machines' port of a pod's first shard; none if there are too many pods for the numbers.
fn node_port(first: u16, shards: u16, ordinal: u32) -> Option<u16> {
    let offset = u32::from(shards).checked_mul(ordinal)?;
    u16::try_from(u32::from(first).checked_add(offset)?).ok()
}

/// Nobody but the operator makes pods with sessions go: who empties a machine marks it first, the operator sees that, and
/// drains the pods that are on it once others can take their place. Pods without sessions are marked as idle, and hold
/// nobody up.
#[must_use]
pub fn disruption_budget(site: &MediaNode) -> PodDisruptionBudget {
    let selector = [(label::MEDIA_NODE.to_owned(), site.name_any())];
    PodDisruptionBudget {
        metadata: meta(site, site.name_any()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(0)),
            selector: Some(LabelSelector {
                match_labels: Some(selector.into()),
                match_expressions: Some(vec![LabelSelectorRequirement {
                    key: label::IDLE.to_owned(),
                    operator: "DoesNotExist".to_owned(),
                    values: None,
                }]),
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// Of what a site has but for its pods.
pub(super) fn meta(site: &MediaNode, name: String) -> ObjectMeta {
    let labels = [
        (label::NAME, label::SHOWRUNNER.to_owned()),
        (label::COMPONENT, label::MEDIA_POD.to_owned()),
        (label::MANAGED_BY, MANAGER.to_owned()),
        (label::MEDIA_NODE, site.name_any()),
    ];
    ObjectMeta {
        name: Some(name),
        namespace: site.namespace(),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        owner_references: site.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports_of(reach: serde_json::Value, ordinal: u32) -> Vec<(String, Option<i32>)> {
        let site: MediaNode = serde_json::from_value(serde_json::json!({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "MediaNode",
            "metadata": {"name": "eu", "namespace": "media", "uid": "u"},
            "spec": {"region": "eu", "reach": reach},
        }))
        .unwrap();
        let service = service(&site, ordinal);
        let ports = service
            .and_then(|service| service.spec?.ports)
            .unwrap_or_default();
        ports
            .into_iter()
            .map(|port| (port.name.unwrap_or_default(), port.node_port))
            .collect()
    }

    #[test]
    fn each_pod_has_ports_of_its_own() {
        use serde_json::json;
        assert_eq!(ports_of(json!({"mode": "HostPort"}), 0), []);
        assert_eq!(
            ports_of(json!({"mode": "LoadBalancer", "shards": 1}), 3),
            [("udp-0".to_owned(), None), ("tcp-0".to_owned(), None)]
        );
        let third = ports_of(json!({"mode": "NodePort", "nodePort": 30000}), 3);
        let numbers: Vec<_> = third.iter().map(|(_, port)| port.unwrap()).collect();
        assert_eq!(numbers, [30006, 30006, 30007, 30007]);
        assert_eq!(
            ports_of(json!({"mode": "NodePort"}), 3),
            [("udp-0".to_owned(), None)]
        );
    }
}
