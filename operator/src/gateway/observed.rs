//! Resources of Kubernetes as the [`super::view`] has them: of each only what requests are judged and sent on by.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use showrunner_crds::LiveRoom;
use showrunner_crds::live_room::{self as crds, Admission as Admitted, Phase, PodReference};
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;

use super::access::{Access, Admission};
use super::address::PodName;
use super::view::{Edge, Pod, Readiness, Room};
use crate::cluster::names::{POD_HTTPS, annotation, label};

/// The name of a room's resource.
#[must_use]
pub fn room_name(resource: &ObjectMeta) -> Option<RoomName> {
    RoomName::new(resource.namespace.as_deref()?, resource.name.as_deref()?).ok()
}

/// The name of a pod's resource.
#[must_use]
pub fn pod_name(resource: &ObjectMeta) -> Option<PodName> {
    PodName::new(resource.namespace.as_deref()?, resource.name.as_deref()?)
}

/// A room; none if it has no uid, which the API server gives to all.
#[must_use]
pub fn room(resource: &LiveRoom) -> Option<Room> {
    let LiveRoom {
        metadata,
        spec,
        status,
    } = resource;
    let status = status.as_ref();
    let ends = spec
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.end.as_ref());
    Some(Room {
        access: Access {
            uid: RoomUid::new(metadata.uid.as_deref()?).ok()?,
            publish: admission(spec.access.publish),
            watch: admission(spec.access.watch),
        },
        has_ended: metadata.deletion_timestamp.is_some()
            || status.is_some_and(|status| status.phase == Some(Phase::Ended)),
        ends_at: ends.map(|end| u64::try_from(end.0.as_second()).unwrap_or_default()),
        origin: status.and_then(|status| reference(status.origin.as_ref()?)),
        edges: status
            .map(|status| status.edges.iter().filter_map(edge).collect())
            .unwrap_or_default(),
    })
}

fn admission(admitted: Admitted) -> Admission {
    match admitted {
        Admitted::Token => Admission::Token,
        Admitted::Anyone => Admission::Anyone,
    }
}

fn reference(pod: &PodReference) -> Option<PodName> {
    PodName::new(&pod.namespace, &pod.pod)
}

fn edge(edge: &crds::Edge) -> Option<Edge> {
    Some(Edge {
        pod: PodName::new(&edge.namespace, &edge.pod)?,
        is_fed: edge.connected,
        is_leaving: edge.leaving,
    })
}

/// A media pod; none as long as it has no address, and once its processes have ended.
#[must_use]
pub fn pod(resource: &core::Pod) -> Option<Pod> {
    let metadata = &resource.metadata;
    let status = resource.status.as_ref()?;
    let phase = status.phase.as_deref();
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let ip: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    let region = metadata
        .labels
        .as_ref()
        .and_then(|all| all.get(label::REGION));
    let is_draining = metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(annotation::DRAIN_DEADLINE));
    let readiness = if is_draining || metadata.deletion_timestamp.is_some() {
        Readiness::Leaving
    } else if is_ready(status) {
        Readiness::Ready
    } else {
        Readiness::Unready
    };
    Some(Pod {
        address: (ip, signalling_port(resource)?).into(),
        region: region.cloned().unwrap_or_default(),
        readiness,
    })
}

fn signalling_port(resource: &core::Pod) -> Option<u16> {
    let containers = &resource.spec.as_ref()?.containers;
    let ports = containers.iter().filter_map(|c| c.ports.as_ref()).flatten();
    let port = ports
        .into_iter()
        .find(|port| port.name.as_deref() == Some(POD_HTTPS))?;
    u16::try_from(port.container_port).ok()
}

fn is_ready(status: &core::PodStatus) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn live_room(changes: Value) -> LiveRoom {
        let mut resource = json!({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "LiveRoom",
            "metadata": {"namespace": "shop", "name": "sale", "uid": "u-1"},
            "spec": {},
        });
        merge(&mut resource, changes);
        serde_json::from_value(resource).unwrap()
    }

    fn media_pod(changes: Value) -> core::Pod {
        let mut resource = json!({
            "metadata": {
                "namespace": "media",
                "name": "eu-0",
                "labels": {"showrunner.dev/region": "eu"},
            },
            "spec": {"containers": [{"name": "media-node", "ports": [
                {"name": "media", "containerPort": 7000},
                {"name": "https", "containerPort": 8443},
            ]}]},
            "status": {
                "phase": "Running",
                "podIP": "10.1.2.3",
                "conditions": [
                    {"type": "Initialized", "status": "True"},
                    {"type": "Ready", "status": "True"},
                ],
            },
        });
        merge(&mut resource, changes);
        serde_json::from_value(resource).unwrap()
    }

    /// JSON Merge Patch (RFC 7396).
    fn merge(into: &mut Value, changes: Value) {
        match changes {
            Value::Object(changes) => {
                if !into.is_object() {
                    *into = json!({});
                }
                let into = into.as_object_mut().unwrap();
                for (name, change) in changes {
                    if change.is_null() {
                        into.remove(&name);
                    } else {
                        merge(into.entry(name).or_insert(Value::Null), change);
                    }
                }
            }
            other => *into = other,
        }
    }

    #[test]
    fn a_new_room_wants_a_token_of_hosts_and_has_no_pod() {
        let resource = live_room(json!({}));
        assert_eq!(
            room_name(&resource.metadata),
            RoomName::new("shop", "sale").ok()
        );
        let room = room(&resource).unwrap();
        assert_eq!(room.access.uid.as_str(), "u-1");
        assert_eq!(
            (room.access.publish, room.access.watch),
            (Admission::Token, Admission::Anyone)
        );
        assert_eq!((room.origin, room.edges), (None, vec![]));
        assert!(!room.has_ended && room.ends_at.is_none());
    }

    #[test]
    fn a_placed_room_has_its_pods() {
        let at = |pod: &str| {
            json!({"namespace": "media", "mediaNode": "eu", "pod": pod, "region": "eu",
                "source": "media/eu-0", "connected": true})
        };
        let room = room(&live_room(json!({
            "spec": {"access": {"publish": "Anyone", "watch": "Token"}},
            "status": {"phase": "Live", "origin": at("eu-0"), "edges": [at("eu-1"), at("not a name")]},
        })))
        .unwrap();
        let edge = Edge {
            pod: PodName::new("media", "eu-1").unwrap(),
            is_fed: true,
            is_leaving: false,
        };
        assert_eq!(
            (room.access.publish, room.access.watch),
            (Admission::Anyone, Admission::Token)
        );
        assert_eq!(room.origin, PodName::new("media", "eu-0"));
        assert_eq!(room.edges, [edge]);
        assert!(!room.has_ended);
    }

    #[test]
    fn a_room_ends_by_phase_deletion_or_schedule() {
        for (changes, has_ended, ends_at) in [
            (json!({"status": {"phase": "Ended"}}), true, None),
            (json!({"status": {"phase": "Scheduled"}}), false, None),
            (
                json!({"metadata": {"deletionTimestamp": "2026-11-11T00:00:00Z"}}),
                true,
                None,
            ),
            (
                json!({"spec": {"schedule": {"end": "2026-11-11T00:00:00Z"}}}),
                false,
                Some(1_794_355_200),
            ),
            (
                json!({"spec": {"schedule": {"end": "1950-01-01T00:00:00Z"}}}),
                false,
                Some(0),
            ),
        ] {
            let room = room(&live_room(changes.clone())).unwrap();
            assert_eq!(
                (room.has_ended, room.ends_at),
                (has_ended, ends_at),
                "{changes}"
            );
        }
    }

    #[test]
    fn what_has_no_identity_is_no_room() {
        assert!(room(&live_room(json!({"metadata": {"uid": null}}))).is_none());
        assert!(room(&live_room(json!({"metadata": {"uid": "no/uid"}}))).is_none());
        assert!(room_name(&live_room(json!({"metadata": {"namespace": null}})).metadata).is_none());
    }

    #[test]
    fn a_pod_that_is_ready_takes_sessions() {
        let resource = media_pod(json!({}));
        assert_eq!(pod_name(&resource.metadata), PodName::new("media", "eu-0"));
        let expected = Pod {
            address: ([10, 1, 2, 3], 8443).into(),
            region: "eu".to_owned(),
            readiness: Readiness::Ready,
        };
        assert_eq!(pod(&resource), Some(expected));
        let v6 = pod(&media_pod(json!({"status": {"podIP": "fd00::7"}}))).unwrap();
        assert_eq!(v6.address.to_string(), "[fd00::7]:8443");
    }

    #[test]
    fn a_pod_that_drains_goes_or_is_not_ready_takes_none() {
        let drains = json!({"annotations": {"showrunner.dev/drain-deadline": "1800000000"}});
        let goes = json!({"deletionTimestamp": "2026-11-11T00:00:00Z"});
        let unready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        for (changes, readiness) in [
            (json!({"metadata": drains}), Readiness::Leaving),
            (json!({"metadata": goes}), Readiness::Leaving),
            (
                json!({"metadata": drains, "status": unready}),
                Readiness::Leaving,
            ),
            (json!({"status": unready}), Readiness::Unready),
            (json!({"status": {"conditions": null}}), Readiness::Unready),
        ] {
            let pod = pod(&media_pod(changes.clone()));
            assert_eq!(pod.map(|pod| pod.readiness), Some(readiness), "{changes}");
        }
    }

    #[test]
    fn a_pod_without_address_is_none() {
        for changes in [
            json!({"status": null}),
            json!({"status": {"podIP": null}}),
            json!({"status": {"podIP": ""}}),
            json!({"status": {"phase": "Failed"}}),
            json!({"status": {"phase": "Succeeded"}}),
            json!({"spec": {"containers": [{"name": "media-node"}]}}),
        ] {
            assert_eq!(pod(&media_pod(changes.clone())), None, "{changes}");
        }
    }
}
