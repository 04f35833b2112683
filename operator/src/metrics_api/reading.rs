//! What is known of pods, and what follows for sites and rooms. Pure.
//!
//! What is not known is missing, never zero: whoever scales by it then leaves all as it is. A pod that is silent is not
//! known, nor is one that is cut off from its viewers; one in which nothing runs is known to carry nothing.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use showrunner_crds::LiveRoom;
use showrunner_protocol::RoomName;

use super::catalog::Measure;
use super::quantity::Quantity;
use crate::pods::sight::Sight;
use crate::pods::{PodId, is_ended};

/// What a pod said is not so any more after this long. It is asked each second.
pub const STALE_AFTER: Duration = Duration::from_secs(3);

/// What a pod said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// Connected viewers of all its rooms.
    pub viewers: u64,
    /// Sessions of all kinds.
    pub sessions: u64,
    /// Its rooms.
    pub rooms: u64,
    /// Media sent, bit/s.
    pub egress_bps: u64,
    /// Media packets sent each second.
    pub packets_per_second: u64,
    /// The busiest shard's share of its core: 0 to 1.
    pub peak_cpu: f64,
}

/// The same moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the one that never goes back.
    pub clock: Instant,
    /// By the one on the wall.
    pub wall: Timestamp,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Moment {
        Moment {
            clock: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    fn earlier_by(self, age: Duration) -> Timestamp {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        self.wall.checked_sub(age).unwrap_or(Timestamp::MIN)
    }
}

/// What is known of a pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// It said so a moment ago.
    Says(Reading),
    /// No process runs in it, or it is being deleted and does not answer any more: nobody is on it.
    Empty,
    /// It may carry anything.
    Nothing,
}

/// What is known of a pod.
#[must_use]
pub fn known(pod: &Pod, sight: Option<&Sight>, now: Moment) -> Known {
    if is_ended(pod) {
        return Known::Empty;
    }
    match sight.and_then(|sight| reading(sight, now)) {
        Some(reading) => Known::Says(reading),
        None if pod.metadata.deletion_timestamp.is_some() || !runs(pod) => Known::Empty,
        None => Known::Nothing,
    }
}

fn reading(sight: &Sight, now: Moment) -> Option<Reading> {
    let (status, heard_at) = (sight.status.as_ref()?, sight.heard_at?);
    if status.cut_off {
        return None;
    }
    let age = now.clock.saturating_duration_since(heard_at);
    let viewers = sight.rooms.values().map(|room| u64::from(room.viewers));
    (age < STALE_AFTER).then(|| Reading {
        at: now.earlier_by(age),
        viewers: viewers.sum(),
        sessions: status.sessions.into(),
        rooms: sight.rooms.len() as u64,
        egress_bps: status.load.egress_bps,
        packets_per_second: status.load.packets_per_second,
        peak_cpu: status.load.peak_cpu(),
    })
}

/// Whether a process runs in it, as the kubelet says.
fn runs(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().any(|container| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.running.is_some())
    })
}

/// A value and when it was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// When.
    pub at: Timestamp,
    /// What.
    pub quantity: Quantity,
}

/// Of a site, by what is known of all its pods. None if one of them may carry anything, or none of them says a thing:
/// then it isn't known why.
#[must_use]
pub fn of_site(measure: Measure, pods: &[Known], now: Moment) -> Option<Value> {
    let mut readings = Vec::new();
    for pod in pods {
        match pod {
            Known::Says(reading) => readings.push(reading),
            Known::Empty => {}
            Known::Nothing => return None,
        }
    }
    let oldest = readings.iter().map(|reading| reading.at).min();
    Some(Value {
        at: match oldest {
            Some(oldest) => oldest,
            None if pods.is_empty() => now.wall,
            None => return None,
        },
        quantity: measure.of_all(&readings),
    })
}

/// A pod that has a room.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub pod: PodId,
    /// What is known of it.
    pub known: Known,
    /// Viewers of the room on it.
    pub viewers: u32,
}

/// The viewers of a room, by all pods that have it. None if one of them, or one that should have it, may carry anything.
#[must_use]
pub fn of_room(room: &LiveRoom, parts: &[Part], now: Moment) -> Option<Value> {
    let status = room.status.as_ref();
    let origin = status.and_then(|status| status.origin.as_ref());
    let origin = origin.map(|origin| (&origin.namespace, &origin.pod));
    let edges = status.into_iter().flat_map(|status| &status.edges);
    let edges = edges.map(|edge| (&edge.namespace, &edge.pod));
    let mut expected = origin.into_iter().chain(edges);
    if !expected.all(|(namespace, name)| {
        let mut parts = parts.iter();
        parts.any(|part| part.pod.namespace == *namespace && part.pod.name == *name)
    }) {
        return None;
    }
    let (mut at, mut viewers) = (now.wall, 0);
    for part in parts {
        match part.known {
            Known::Says(reading) => {
                at = at.min(reading.at);
                viewers += u64::from(part.viewers);
            }
            Known::Empty => {}
            Known::Nothing => return None,
        }
    }
    let quantity = Quantity::whole(viewers);
    Some(Value { at, quantity })
}

/// The viewers of a room on a pod, if it is this room and not another of its name.
#[must_use]
pub fn viewers_on(sight: &Sight, name: &RoomName, uid: Option<&str>) -> Option<u32> {
    let room = sight.rooms.get(name)?;
    let is_it = room.uid.as_ref().map(|uid| uid.as_str()) == uid;
    is_it.then_some(room.viewers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use showrunner_protocol::control::{Load, PodStatus, RoomStatus};
    use showrunner_protocol::room::RoomUid;

    use super::*;
    use crate::pods::sight::Sights;

    fn pod(meta: Json, state: &str, phase: &str) -> Pod {
        let mut pod = json!({"metadata": {"name": "eu-0", "namespace": "m"}, "status": {"phase": phase,
            "containerStatuses": [{"name": "media-node", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "state": {state: {}}}]}});
        if let (Some(pod), Some(meta)) = (pod["metadata"].as_object_mut(), meta.as_object()) {
            pod.extend(meta.clone());
        }
        serde_json::from_value(pod).unwrap()
    }

    fn sale() -> RoomName {
        RoomName::new("shop", "sale").unwrap()
    }

    fn status() -> PodStatus {
        let room = |name: &str, viewers| RoomStatus {
            viewers,
            uid: Some(RoomUid::new("u").unwrap()),
            ..RoomStatus::of(RoomName::new("shop", name).unwrap())
        };
        PodStatus {
            sessions: 9,
            rooms: vec![room("sale", 5), room("other", 2)],
            load: Load {
                shard_cpu: vec![0.25, 0.5],
                egress_bps: 8_000_000,
                packets_per_second: 900,
            },
            ..PodStatus::default()
        }
    }

    /// A moment, and what a pod said so long before.
    fn heard(age: Duration) -> (Moment, std::sync::Arc<Sight>) {
        let start = Instant::now();
        let (sights, id) = (Sights::default(), PodId::of(&pod(json!({}), "running", "")));
        sights.answered(&id, "u", status(), start);
        let now = Moment {
            clock: start + age,
            wall: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        (now, sights.get(&id, "u").unwrap())
    }

    #[test]
    fn a_pod_says_all_that_is_measured_and_when() {
        let (now, sight) = heard(Duration::from_secs(2));
        let running = pod(json!({}), "running", "Running");
        let Known::Says(reading) = known(&running, Some(&sight), now) else {
            panic!("it said so");
        };
        let values = super::super::catalog::MEASURES.map(|measure| measure.of(&reading));
        let values = values.map(|value| value.to_string());
        assert_eq!(values, ["7", "9", "2", "8M", "900", "500m"]);
        assert_eq!(reading.at.as_second(), 1_799_999_998);
    }

    #[test]
    fn what_a_silent_pod_said_is_not_so_any_more() {
        let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let (now, sight) = heard(STALE_AFTER);
        for (meta, state, phase, expected) in [
            (json!({}), "running", "Running", Known::Nothing),
            (json!({}), "waiting", "Running", Known::Empty),
            (json!({}), "terminated", "Running", Known::Empty),
            (json!({}), "running", "Failed", Known::Empty),
            (gone, "running", "Running", Known::Empty),
        ] {
            let pod = pod(meta, state, phase);
            assert_eq!(
                known(&pod, Some(&sight), now),
                expected,
                "{state} in {phase}"
            );
            assert_eq!(known(&pod, None, now), expected);
        }
    }

    #[test]
    fn what_a_pod_says_that_is_cut_off_tells_nothing() {
        let running = pod(json!({}), "running", "Running");
        let (sights, now) = (Sights::default(), Moment::now());
        let cut_off = PodStatus {
            cut_off: true,
            ..status()
        };
        sights.answered(&PodId::of(&running), "u", cut_off, now.clock);
        let sight = sights.get(&PodId::of(&running), "u");
        assert_eq!(known(&running, sight.as_deref(), now), Known::Nothing);
    }

    #[test]
    fn one_pod_of_a_site_that_is_not_known_hides_its_value_and_no_zero_is_made_up() {
        let (now, sight) = heard(Duration::from_secs(1));
        let says = known(&pod(json!({}), "running", "Running"), Some(&sight), now);
        let viewers = |pods: &[Known]| of_site(Measure::Viewers, pods, now);
        let value = viewers(&[says, says, Known::Empty]).unwrap();
        assert_eq!(value.quantity, Quantity::whole(14));
        assert_eq!(value.at.as_second(), 1_799_999_999);
        assert_eq!(viewers(&[says, Known::Nothing]), None);
        assert_eq!(viewers(&[Known::Empty]), None, "its pods crash, say");
        let none = viewers(&[]).unwrap();
        assert_eq!((none.at, none.quantity), (now.wall, Quantity::default()));
    }

    #[test]
    fn a_room_has_the_viewers_of_all_its_pods() {
        let (now, sight) = heard(Duration::from_secs(1));
        let running = pod(json!({}), "running", "Running");
        let says = known(&running, Some(&sight), now);
        let part = |name: &str, known, viewers| Part {
            pod: PodId {
                namespace: "m".into(),
                name: name.into(),
            },
            known,
            viewers,
        };
        let reference =
            |pod: &str| json!({"namespace": "m", "mediaNode": "eu", "region": "eu", "pod": pod});
        let room = |status: Json| -> LiveRoom {
            serde_json::from_value(
                json!({"apiVersion": "showrunner.dev/v1alpha1", "kind": "LiveRoom",
                "metadata": {"name": "sale", "namespace": "shop"}, "spec": {}, "status": status}),
            )
            .unwrap()
        };
        let viewers = |status: Json, parts: &[Part]| {
            of_room(&room(status), parts, now).map(|value| value.quantity.to_string())
        };
        let on = |pods: &[&str]| {
            let edges: Vec<_> = pods[1..].iter().map(|pod| reference(pod)).collect();
            json!({"origin": reference(pods[0]), "edges": edges})
        };
        let (origin, edge) = (part("eu-0", says, 5), part("eu-1", says, 7));
        let both = [origin.clone(), edge.clone()];
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(viewers(on(&["eu-0", "eu-1"]), &both), of("12"));
        assert_eq!(viewers(on(&["eu-0"]), &both), of("12"), "one is to end it");
        assert_eq!(
            viewers(on(&["eu-0", "eu-2"]), &both),
            None,
            "it is not there yet"
        );
        let silent = [origin, part("eu-1", Known::Nothing, 7)];
        assert_eq!(viewers(on(&["eu-0"]), &silent), None);
        assert_eq!(viewers(json!({}), &[]), of("0"), "nobody can be in it");
    }

    #[test]
    fn another_room_of_the_name_is_not_this_one() {
        let (_, sight) = heard(Duration::ZERO);
        assert_eq!(viewers_on(&sight, &sale(), Some("u")), Some(5));
        assert_eq!(viewers_on(&sight, &sale(), Some("new")), None);
    }
}
