//! Takes off objects what nobody here needs, before they are kept in memory.

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, NodeSpec, NodeStatus, Pod, PodSpec, Service};
use k8s_openapi::api::lifecycle::v1alpha1::Eviction;
use kube::ResourceExt;
use showrunner_crds::{LiveRoom, MediaNode};

use super::names::label;

/// What `kubectl apply` keeps for itself: as large as the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Of a room.
pub fn room(room: &mut LiveRoom) {
    room.annotations_mut().remove(LAST_APPLIED);
}

/// Of a site.
pub fn site(site: &mut MediaNode) {
    site.annotations_mut().remove(LAST_APPLIED);
}

/// Of a pod: of what it is made from, only where it is and what it tolerates is looked at again.
pub fn pod(pod: &mut Pod) {
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        node_name: spec.node_name,
        tolerations: spec.tolerations,
        ..PodSpec::default()
    });
}

/// Of a HorizontalPodAutoscaler: what it should be is known; what it says is not.
pub fn autoscaler(autoscaler: &mut HorizontalPodAutoscaler) {
    autoscaler.spec = HorizontalPodAutoscalerSpec::default();
    if let Some(status) = &mut autoscaler.status {
        status.current_metrics = None;
    }
}

/// Of an eviction: who asked for it, and what became of it, others look at.
pub fn eviction(eviction: &mut Eviction) {
    if let Some(status) = &mut eviction.status {
        (status.conditions, status.requesters) = (None, None);
    }
}

/// Of a Service.
pub fn service(service: &mut Service) {
    service.annotations_mut().remove(LAST_APPLIED);
}

/// Of a machine: all but whether it is to go, its zone and its addresses.
pub fn machine(machine: &mut Node) {
    machine.metadata.annotations = None;
    machine.labels_mut().retain(|key, _| key == label::ZONE);
    machine.spec = machine.spec.take().map(|spec| NodeSpec {
        unschedulable: spec.unschedulable,
        taints: spec.taints,
        ..NodeSpec::default()
    });
    machine.status = machine.status.take().map(|status| NodeStatus {
        addresses: status.addresses,
        ..NodeStatus::default()
    });
}

/// Of a namespace: all but its labels.
pub fn namespace(namespace: &mut Namespace) {
    namespace.metadata.annotations = None;
    (namespace.spec, namespace.status) = (None, None);
}
