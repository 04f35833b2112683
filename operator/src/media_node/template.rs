//! The pod that a site is made of. Pure.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EvictionResponder, HTTPGetAction,
    Pod, PodSecurityContext, PodSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext,
    Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use showrunner_crds::MediaNode;
use showrunner_crds::media_node::{ImagePullPolicy, Mode};

use crate::cluster::names::{
    EVICTION_RESPONDER, MANAGER, POD_HTTPS, POD_HTTPS_PORT, PODS_SECRET, annotation, label,
};
use crate::keys::material::CA_CERTIFICATE;

/// The user that media-node runs as: `nonroot`, as most images have it.
const USER: i64 = 65532;
/// Longer than a drain takes, so that the process ends by itself.
const GRACE: i64 = 30;
/// How long a machine may be gone, in seconds.
const MACHINE_PATIENCE: i64 = 30;
/// What Kubernetes has those say of whom a pod is.
const EVICTION_PRIORITY: i32 = 10_000;
const KEYS_DIR: &str = "/etc/showrunner";

/// What the pods of all sites have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDefaults {
    /// The image, where a site names none.
    pub image: String,
    /// Whether they write a record of each session to their standard output.
    pub session_records: bool,
}

/// The pod with this ordinal. Who answers for its eviction is no part of the template: pods that are there can't be told
/// any more, and would all be replaced.
#[must_use]
pub fn pod(site: &MediaNode, defaults: &PodDefaults, ordinal: u32, answers_evictions: bool) -> Pod {
    let mut pod = plain(site, defaults);
    let hash = hash(&pod);
    let name = pod_name(&site.name_any(), ordinal);
    let meta = &mut pod.metadata;
    meta.labels
        .get_or_insert_default()
        .insert(label::POD.to_owned(), name.clone());
    meta.name = Some(name);
    meta.annotations
        .get_or_insert_default()
        .insert(annotation::TEMPLATE.to_owned(), hash);
    meta.owner_references = site.controller_owner_ref(&()).map(|owner| vec![owner]);
    if let (Some(spec), true) = (&mut pod.spec, answers_evictions) {
        spec.eviction_responders = Some(vec![EvictionResponder {
            name: EVICTION_RESPONDER.to_owned(),
            priority: EVICTION_PRIORITY,
        }]);
    }
    pod
}

/// Names what the pods of a site are made from.
#[must_use]
pub fn template_hash(site: &MediaNode, defaults: &PodDefaults) -> String {
    hash(&plain(site, defaults))
}

/// The name of a pod.
#[must_use]
pub fn pod_name(site: &str, ordinal: u32) -> String {
    format!("{site}-{ordinal}")
}

/// The number in the name of a pod of a site.
#[must_use]
pub fn ordinal(site: &str, pod: &str) -> Option<u32> {
    let number = pod.strip_prefix(site)?.strip_prefix('-')?;
    let ordinal = number.parse().ok()?;
    (pod_name(site, ordinal) == pod).then_some(ordinal)
}

/// What is the same for all pods of a site.
fn plain(site: &MediaNode, defaults: &PodDefaults) -> Pod {
    let template = &site.spec.template;
    let mut labels = template.labels.clone();
    let ours = [
        (label::NAME, label::SHOWRUNNER),
        (label::COMPONENT, label::MEDIA_POD),
        (label::MANAGED_BY, MANAGER),
        (label::REGION, &site.spec.region),
        (label::MEDIA_NODE, &site.name_any()),
    ];
    labels.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut annotations = template.annotations.clone();
    annotations.insert(annotation::SAFE_TO_EVICT.to_owned(), "false".to_owned());
    Pod {
        metadata: ObjectMeta {
            namespace: site.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(spec(site, defaults)),
        status: None,
    }
}

fn spec(site: &MediaNode, defaults: &PodDefaults) -> PodSpec {
    let template = &site.spec.template;
    let uses_host = site.spec.reach.mode == Mode::HostNetwork;
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        host_network: uses_host.then_some(true),
        dns_policy: uses_host.then(|| "ClusterFirstWithHostNet".to_owned()),
        termination_grace_period_seconds: Some(i64::from(site.spec.drain.deadline_seconds) + GRACE),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(site, defaults)],
        volumes: Some(vec![keys_volume(), scratch_volume()]),
        image_pull_secrets: listed(&template.image_pull_secrets),
        node_selector: Some(template.node_selector.clone()).filter(|selector| !selector.is_empty()),
        tolerations: Some(tolerations(&template.tolerations)),
        affinity: template.affinity.clone(),
        topology_spread_constraints: Some(spread(site)),
        priority_class_name: template.priority_class_name.clone(),
        ..PodSpec::default()
    }
}

/// One machine, or one zone, should not take all of a site with it, unless the spec says otherwise. Soft: a pod that can
/// run nowhere else is worth more. Kubernetes has such defaults too, but only for pods of its own workloads.
fn spread(site: &MediaNode) -> Vec<TopologySpreadConstraint> {
    let given = &site.spec.template.topology_spread_constraints;
    if !given.is_empty() {
        return given.clone();
    }
    let of_site = (label::MEDIA_NODE.to_owned(), site.name_any());
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(BTreeMap::from([of_site.clone()])),
                match_expressions: None,
            }),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

/// A machine that is gone gives its pods up after half a minute and not after five, unless the spec says otherwise.
fn tolerations(given: &[Toleration]) -> Vec<Toleration> {
    let ours = [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    .map(|key| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(MACHINE_PATIENCE),
        value: None,
    });
    let is_given = |key: &Option<String>| given.iter().any(|one| one.key == *key);
    let ours = ours.into_iter().filter(|one| !is_given(&one.key));
    given.iter().cloned().chain(ours).collect()
}

fn container(site: &MediaNode, defaults: &PodDefaults) -> Container {
    let template = &site.spec.template;
    Container {
        name: "media-node".to_owned(),
        image: Some(
            template
                .image
                .clone()
                .unwrap_or_else(|| defaults.image.clone()),
        ),
        image_pull_policy: template.image_pull_policy.map(|policy| {
            match policy {
                ImagePullPolicy::Always => "Always",
                ImagePullPolicy::IfNotPresent => "IfNotPresent",
                ImagePullPolicy::Never => "Never",
            }
            .to_owned()
        }),
        command: Some(vec!["/usr/bin/media-node".to_owned()]),
        args: Some(arguments(site, defaults)),
        ports: Some(ports(site)),
        resources: template.resources.clone(),
        // A pod that hangs is to be known within two seconds: its rooms go elsewhere then.
        readiness_probe: Some(probe("/readyz", 1, 1, 1)),
        liveness_probe: Some(probe("/healthz", 10, 2, 3)),
        startup_probe: Some(probe("/healthz", 1, 2, 60)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            VolumeMount {
                name: "keys".to_owned(),
                mount_path: KEYS_DIR.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: "tmp".to_owned(),
                mount_path: "/tmp".to_owned(),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    }
}

fn arguments(site: &MediaNode, defaults: &PodDefaults) -> Vec<String> {
    let (reach, capacity) = (&site.spec.reach, &site.spec.capacity);
    let drain = site.spec.drain.deadline_seconds;
    let records = ("--session-records", "-".to_owned());
    let records = defaults.session_records.then_some(records);
    // Publishers are sessions too: one or so for each room.
    let sessions = capacity.viewers.saturating_add(capacity.rooms);
    [
        ("--http", format!("[::]:{POD_HTTPS_PORT}")),
        ("--tls-cert-file", format!("{KEYS_DIR}/tls.crt")),
        ("--tls-key-file", format!("{KEYS_DIR}/tls.key")),
        ("--control-key-file", format!("{KEYS_DIR}/control-keys")),
        ("--control-ca-file", format!("{KEYS_DIR}/{CA_CERTIFICATE}")),
        ("--media-port", reach.media_port.to_string()),
        ("--shards", reach.shards.to_string()),
        ("--max-sessions", sessions.to_string()),
        ("--max-rooms", capacity.rooms.to_string()),
        ("--drain-seconds", drain.to_string()),
        ("--log-format", "json".to_owned()),
    ]
    .into_iter()
    .chain(records)
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

fn ports(site: &MediaNode) -> Vec<ContainerPort> {
    let reach = &site.spec.reach;
    let uses_host_ports = matches!(reach.mode, Mode::HostPort | Mode::HostNetwork);
    let https_on_host = reach.mode == Mode::HostNetwork;
    let port = |name: String, number: u16, protocol: &str, on_host: bool| ContainerPort {
        name: Some(name),
        container_port: number.into(),
        protocol: Some(protocol.to_owned()),
        host_port: on_host.then_some(number.into()),
        host_ip: None,
    };
    let https = port(POD_HTTPS.to_owned(), POD_HTTPS_PORT, "TCP", https_on_host);
    let media = media_ports(reach.media_port, reach.shards).flat_map(|(shard, number)| {
        [
            port(format!("udp-{shard}"), number, "UDP", uses_host_ports),
            port(format!("tcp-{shard}"), number, "TCP", uses_host_ports),
        ]
    });
    std::iter::once(https).chain(media).collect()
}

/// The media port of each shard.
pub(super) fn media_ports(first: u16, shards: u16) -> impl Iterator<Item = (u16, u16)> {
    (0..shards).map(move |shard| (shard, first.saturating_add(shard)))
}

fn probe(path: &str, period: i32, timeout: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(POD_HTTPS.to_owned()),
            scheme: Some("HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn keys_volume() -> Volume {
    Volume {
        name: "keys".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(PODS_SECRET.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn scratch_volume() -> Volume {
    Volume {
        name: "tmp".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn listed<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

fn hash(pod: &Pod) -> String {
    // A map with sorted keys, so that the text follows from the contents alone.
    let contents: BTreeMap<String, serde_json::Value> = serde_json::to_value(pod)
        .and_then(serde_json::from_value)
        .unwrap_or_default();
    let text = serde_json::to_vec(&contents).unwrap_or_default();
    let hash = digest(&SHA256, &text);
    hash.as_ref()
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(spec: serde_json::Value) -> MediaNode {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "MediaNode",
            "metadata": {"name": "eu", "namespace": "media", "uid": "u"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn of(image: &str) -> PodDefaults {
        PodDefaults {
            image: image.to_owned(),
            session_records: false,
        }
    }

    #[test]
    fn pods_write_session_records_if_they_are_to() {
        let site = site(serde_json::json!({"region": "eu"}));
        let args = |session_records| {
            let defaults = PodDefaults {
                session_records,
                ..of("i")
            };
            let spec = pod(&site, &defaults, 0, false).spec.unwrap();
            spec.containers[0].args.clone().unwrap().join(" ")
        };
        assert!(!args(false).contains("session-records"));
        assert!(args(true).ends_with("--session-records -"));
    }

    #[test]
    fn the_hash_follows_what_pods_are_made_from_and_nothing_else() {
        use serde_json::json;
        let plain = site(json!({"region": "eu"}));
        let hash = |site: &MediaNode| template_hash(site, &of("showrunner:1"));
        assert_eq!(
            hash(&plain),
            hash(&site(json!({"region": "eu", "replicas": 7})))
        );
        assert_eq!(
            hash(&plain),
            hash(&site(
                json!({"region": "eu", "allowedRooms": {"from": "All"}})
            ))
        );
        for changed in [
            json!({"region": "us"}),
            json!({"region": "eu", "template": {"image": "x"}}),
            json!({"region": "eu", "template": {"labels": {"a": "b"}}}),
            json!({"region": "eu", "capacity": {"viewers": 5}}),
            json!({"region": "eu", "reach": {"shards": 1}}),
            json!({"region": "eu", "drain": {"deadlineSeconds": 5}}),
        ] {
            assert_ne!(hash(&plain), hash(&site(changed.clone())), "{changed}");
        }
        assert_ne!(hash(&plain), template_hash(&plain, &of("showrunner:2")));
        let made = pod(&plain, &of("showrunner:1"), 3, false);
        assert_eq!(made.annotations()[annotation::TEMPLATE], hash(&plain));
        assert_eq!(made.spec.as_ref().unwrap().eviction_responders, None);
        let answered = pod(&plain, &of("showrunner:1"), 3, true);
        assert_eq!(answered.annotations()[annotation::TEMPLATE], hash(&plain));
        let responder = &answered.spec.unwrap().eviction_responders.unwrap()[0];
        assert_eq!(
            (responder.name.as_str(), responder.priority),
            (EVICTION_RESPONDER, 10_000)
        );
        assert_eq!(made.name_any(), "eu-3");
        assert_eq!(made.owner_references()[0].uid, "u");
    }

    #[test]
    fn ordinals_are_in_names() {
        assert_eq!(ordinal("eu", "eu-12"), Some(12));
        for other in [
            "eu",
            "eu-",
            "eu-x",
            "us-1",
            "eu-west-1",
            "eu-01",
            "eu--1",
            "eu-4294967296",
        ] {
            assert_eq!(ordinal("eu", other), None, "{other}");
        }
    }

    #[test]
    fn ports_of_the_machine_are_used_where_clients_come_by_it() {
        for (mode, media, https) in [
            ("HostPort", Some(7001), None),
            ("HostNetwork", Some(7001), Some(8443)),
            ("PodIP", None, None),
            ("NodePort", None, None),
        ] {
            let site = site(serde_json::json!({"region": "eu", "reach": {"mode": mode}}));
            let made = pod(&site, &of("i"), 0, false);
            let ports = made.spec.unwrap().containers.remove(0).ports.unwrap();
            let on_host = |name: &str| {
                ports
                    .iter()
                    .find(|port| port.name.as_deref() == Some(name))
                    .unwrap()
                    .host_port
            };
            assert_eq!(
                (on_host("udp-1"), on_host("https")),
                (media, https),
                "{mode}"
            );
            assert_eq!(ports.len(), 5);
        }
    }

    #[test]
    fn pods_spread_over_machines_and_zones_unless_the_spec_says_otherwise() {
        let constraints = |template: serde_json::Value| {
            let site = site(serde_json::json!({"region": "eu", "template": template}));
            let spec = pod(&site, &of("i"), 0, false).spec.unwrap();
            spec.topology_spread_constraints.unwrap()
        };
        let ours = constraints(serde_json::json!({}));
        let keys: Vec<_> = ours.iter().map(|one| one.topology_key.as_str()).collect();
        assert_eq!(
            keys,
            ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        );
        for one in &ours {
            assert_eq!(one.when_unsatisfiable, "ScheduleAnyway");
            let labels = one.label_selector.clone().unwrap().match_labels.unwrap();
            assert_eq!(labels[label::MEDIA_NODE], "eu");
        }
        let theirs = serde_json::json!([
            {"maxSkew": 3, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"},
        ]);
        let given = constraints(serde_json::json!({"topologySpreadConstraints": theirs}));
        assert_eq!(serde_json::to_value(given).unwrap(), theirs);
    }

    #[test]
    fn pods_have_no_more_rights_than_they_need() {
        let site = site(serde_json::json!({"region": "eu"}));
        let made = pod(&site, &of("i"), 0, false).spec.unwrap();
        assert_eq!(made.automount_service_account_token, Some(false));
        assert_eq!(made.termination_grace_period_seconds, Some(3630));
        let context = made.containers[0].security_context.clone().unwrap();
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.capabilities.unwrap().drop.unwrap(), ["ALL"]);
    }
}
