//! MediaNode: a site of media pods in one region.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::autoscaling::{Autoscaling, AutoscalingStatus};
use crate::rule::Rule;
use crate::schema;

/// What a site is to be.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "showrunner.dev",
    version = "v1alpha1",
    kind = "MediaNode",
    namespaced,
    doc = "A site: a set of identical media pods in one region.",
    status = "MediaNodeStatus",
    derive = "PartialEq",
    shortname = "mn",
    category = "showrunner",
    annotation("helm.sh/resource-policy", "keep"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name has other than lower case letters, digits and hyphens, or more than 40 characters: its pods are named after it"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.drainingReplicas"),
    printcolumn(name = "Load%", type_ = "integer", json_path = ".status.autoscaling.loadPercent"),
    printcolumn(name = "Rooms", type_ = "integer", json_path = ".status.rooms"),
    printcolumn(name = "Sessions", type_ = "integer", json_path = ".status.sessions"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.autoscaling.nextSchedule.message",
        priority = "1"
    ),
    printcolumn(
        name = "Scaling",
        type_ = "string",
        json_path = ".status.autoscaling.message",
        priority = "1"
    ),
    printcolumn(
        name = "Why",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct MediaNodeSpec {
    /// Where it is, as rooms name it.
    #[schemars(length(min = 1, max = 63))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "a region has lower case letters, digits and hyphens, as in eu-west: correct region",
    )]))]
    pub region: String,
    /// How many pods take sessions. With `autoscaling` this follows from the load, and 0 stops it.
    #[serde(default = "one")]
    #[schemars(range(max = 1000))]
    pub replicas: u32,
    /// Has `replicas` follow from what is on the pods and from what is announced. Without it they stay as they are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Whose rooms it takes.
    #[serde(default)]
    pub allowed_rooms: AllowedRooms,
    /// How clients reach its pods.
    #[serde(default)]
    pub reach: Reach,
    /// The most that one pod takes.
    #[serde(default)]
    pub capacity: Capacity,
    /// How its pods leave.
    #[serde(default)]
    pub drain: Drain,
    /// What its pods are made from.
    #[serde(default)]
    pub template: PodTemplate,
}

const fn one() -> u32 {
    1
}

/// Whose rooms a site takes.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "(self.from == 'Selector') == has(self.selector)",
        "allowedRooms.selector goes with from: Selector, and from: Selector needs it: add or remove one of them",
    )]))]
pub struct AllowedRooms {
    /// From which namespaces: `Same` as the MediaNode's, `All`, or those that `Selector` finds.
    pub from: From,
    /// Finds namespaces by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
}

/// From which namespaces rooms may come.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    /// The MediaNode's own.
    #[default]
    Same,
    /// All.
    All,
    /// Those that the selector finds.
    Selector,
}

/// How clients reach pods.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "(self.address == 'Fixed') == (size(self.fixedAddresses) > 0)",
        "reach.fixedAddresses goes with address: Fixed, and address: Fixed needs it: add or remove one of them",
    ),
    Rule::new(
        "self.address != 'ServiceStatus' || self.mode == 'LoadBalancer'",
        "reach.address: ServiceStatus needs mode: LoadBalancer, whose Service has an address: change one of them",
    ),
    Rule::new(
        "self.address != 'PodIP' || self.mode in ['PodIP', 'HostNetwork']",
        "reach.address: PodIP needs mode: PodIP or HostNetwork: change one of them",
    ),
    Rule::new(
        "self.mode != 'PodIP' || self.address in ['Default', 'PodIP', 'Fixed']",
        "with reach.mode: PodIP clients reach pods at their own addresses: leave out address, or list fixedAddresses",
    ),
    Rule::new(
        "self.mode == 'NodePort' || !has(self.nodePort)",
        "reach.nodePort goes with mode: NodePort: change one of them",
    ),
    Rule::new(
        "self.mediaPort + self.shards <= 65536",
        "reach.shards ports from mediaPort on go beyond 65535: make one of them smaller",
    )]))]
pub struct Reach {
    /// By which kind of port: `HostPort` (a port of the machine is the pod's), `HostNetwork` (the pod has the machine's
    /// network), `LoadBalancer` (a Service for each pod, with an address of its own), `NodePort` (a Service for each
    /// pod, on a port of all machines), `PodIP` (pods are reached directly).
    pub mode: Mode,
    /// Where the address that clients are told comes from. `Default` is the Service's for LoadBalancer, the pod's for
    /// PodIP, and else the machine's: its ExternalIP, or its InternalIP if it has none.
    pub address: AddressSource,
    /// With `address: Fixed`: what clients are told.
    #[schemars(length(max = 8), inner(length(max = 45)))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.all(a, isIP(a))",
        "a fixed address is no IP address: correct reach.fixedAddresses",
    )]))]
    pub fixed_addresses: Vec<String>,
    /// The first media port, for UDP and TCP; each further shard has the next.
    #[schemars(range(min = 1024, max = 65535))]
    pub media_port: u16,
    /// Threads that carry media, each with a port of its own: as many as a pod has cores.
    #[schemars(range(min = 1, max = 64))]
    pub shards: u16,
    /// With `mode: NodePort`: the first port of the machines; pod N has `nodePort + N × shards` and those after it,
    /// where N goes up to twice the site's pods and two more. Without it Kubernetes chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    pub node_port: Option<u16>,
    /// With `mode: LoadBalancer`: annotations of the Services, as the cloud wants them.
    #[schemars(extend("maxProperties" = 32))]
    pub service_annotations: BTreeMap<String, String>,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach {
            mode: Mode::HostPort,
            address: AddressSource::Default,
            fixed_addresses: Vec::new(),
            media_port: 7000,
            shards: 2,
            node_port: None,
            service_annotations: BTreeMap::new(),
        }
    }
}

/// By which kind of port clients reach pods.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// A port of the machine is the pod's.
    HostPort,
    /// The pod has the machine's network.
    HostNetwork,
    /// A Service for each pod, with an address of its own.
    LoadBalancer,
    /// A Service for each pod, on a port of all machines.
    NodePort,
    /// Pods are reached directly.
    #[serde(rename = "PodIP")]
    PodIp,
}

/// Where the address that clients are told comes from.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressSource {
    /// By the mode.
    Default,
    /// The machine's address of this type.
    #[serde(rename = "NodeExternalIP")]
    NodeExternalIp,
    /// The machine's address of this type.
    #[serde(rename = "NodeInternalIP")]
    NodeInternalIp,
    /// The address of the pod's Service.
    ServiceStatus,
    /// The pod's own.
    #[serde(rename = "PodIP")]
    PodIp,
    /// Those of the spec.
    Fixed,
}

/// The most that one pod takes.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// Viewers.
    #[schemars(range(min = 1, max = 100_000))]
    pub viewers: u32,
    /// Rooms.
    #[schemars(range(min = 1, max = 10_000))]
    pub rooms: u32,
    /// Media sent, in Mbit/s. Beyond it a pod gets no more rooms. None: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub egress_mbps: Option<u32>,
}

impl Default for Capacity {
    fn default() -> Capacity {
        Capacity {
            viewers: 1000,
            rooms: 100,
            egress_mbps: None,
        }
    }
}

/// How pods leave.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// How long a pod that is to go keeps sessions that don't move, in seconds: up to a day.
    #[schemars(range(max = 86400))]
    pub deadline_seconds: u32,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain {
            deadline_seconds: 3600,
        }
    }
}

/// What pods are made from, where it differs from the defaults.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// The image of `media-node`; without it, the one that came with the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When the image is pulled; without it, as Kubernetes decides by its tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets for pulling it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::references")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// What a pod needs and may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,
    /// Labels of the machines that pods may run on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that pods don't mind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Where pods would rather run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::passed_on")]
    pub affinity: Option<Affinity>,
    /// How pods spread over zones and machines. Without any: as evenly over both as there is space (`ScheduleAnyway`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::all_passed_on")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// How important pods are to the scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Further labels of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.all(k, !k.startsWith('showrunner.dev/') && !k.startsWith('app.kubernetes.io/'))",
        "labels that begin with showrunner.dev/ or app.kubernetes.io/ are the operator's: choose another name",
    )]))]
    pub labels: BTreeMap<String, String>,
    /// Further annotations of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.all(k, !k.startsWith('showrunner.dev/'))",
        "annotations that begin with showrunner.dev/ are the operator's: choose another name",
    )]))]
    pub annotations: BTreeMap<String, String>,
}

/// When an image is pulled.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    /// Each time a pod starts.
    Always,
    /// If the machine doesn't have it.
    IfNotPresent,
    /// The machine must have it.
    Never,
}

/// How a site is.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MediaNodeStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that serve or are about to.
    pub replicas: u32,
    /// Of those, the ready.
    pub ready_replicas: u32,
    /// Of those, the ones of the present template.
    pub updated_replicas: u32,
    /// Pods that are to go.
    pub draining_replicas: u32,
    /// Finds its pods: for `kubectl scale` and autoscalers.
    pub selector: String,
    /// Sessions on all of its pods.
    pub sessions: u32,
    /// Rooms on all of its pods.
    pub rooms: u32,
    /// What autoscaling has decided, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,
    /// What is so and what is not: Ready, Progressing, Degraded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
