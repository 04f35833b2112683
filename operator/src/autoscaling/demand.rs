//! What rooms announce: viewers whom they expect, and themselves where no pod has space for them. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use showrunner_capacity::autoscaling::Announcement;
use showrunner_crds::condition::{LIVE, PLACED, room as reasons};
use showrunner_crds::live_room::Phase;
use showrunner_crds::{LiveRoom, MediaNode};

use crate::condition::reason;

/// The longest before its beginning that a room counts, in seconds: longer than pods take.
const AHEAD: i64 = 1800;

/// A site's namespace and name.
pub type SiteName = (String, String);

/// What comes to one site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Rooms that begin soon or have begun.
    pub announced: Vec<Announcement>,
    /// Rooms that no pod has space for.
    pub waiting: u32,
}

/// What comes to each site: a room that has a pod belongs to that one's site, another to the first that may take it.
pub fn demand(
    rooms: &[Arc<LiveRoom>],
    sites: &[Arc<MediaNode>],
    takes: impl Fn(&MediaNode, &LiveRoom) -> bool,
    viewers: impl Fn(&LiveRoom) -> u32,
    now: i64,
) -> HashMap<SiteName, Demand> {
    let mut all: HashMap<SiteName, Demand> = HashMap::new();
    for room in rooms.iter().filter(|room| is_open(room)) {
        let waits = is_waiting(room);
        let start = start(room).filter(|start| *start <= now + AHEAD);
        if !waits && start.is_none() {
            continue;
        }
        let Some(site) = site_of(room, sites, &takes) else {
            continue;
        };
        let demand = all.entry(site).or_default();
        demand.waiting += u32::from(waits);
        demand.announced.extend(start.map(|start| Announcement {
            start,
            on_air: on_air(room),
            expected: expected(room),
            viewers: viewers(room),
        }));
    }
    all
}

fn is_open(room: &LiveRoom) -> bool {
    let phase = room.status.as_ref().and_then(|status| status.phase);
    room.metadata.deletion_timestamp.is_none() && phase != Some(Phase::Ended)
}

fn conditions(room: &LiveRoom) -> &[Condition] {
    room.status
        .as_ref()
        .map_or(&[], |status| &status.conditions)
}

fn is_waiting(room: &LiveRoom) -> bool {
    let why = reason(conditions(room), PLACED);
    matches!(why, Some(reasons::NO_CAPACITY | reasons::NO_POD_READY))
}

fn expected(room: &LiveRoom) -> u32 {
    let schedule = room.spec.schedule.as_ref();
    schedule.map_or(0, |schedule| schedule.expected_viewers)
}

/// When its viewers are expected, in seconds since 1970: without a time, from its making on. None if it expects nobody.
fn start(room: &LiveRoom) -> Option<i64> {
    let schedule = room.spec.schedule.as_ref()?;
    let made = room.metadata.creation_timestamp.as_ref();
    let start = schedule.start.as_ref().or(made)?;
    (schedule.expected_viewers > 0).then_some(start.0.as_second())
}

fn on_air(room: &LiveRoom) -> Option<i64> {
    let mut live = conditions(room).iter();
    let live = live.find(|one| one.type_ == LIVE && one.status == "True")?;
    Some(live.last_transition_time.0.as_second())
}

fn site_of(
    room: &LiveRoom,
    sites: &[Arc<MediaNode>],
    takes: &impl Fn(&MediaNode, &LiveRoom) -> bool,
) -> Option<SiteName> {
    let status = room.status.as_ref();
    if let Some(origin) = status.and_then(|status| status.origin.as_ref()) {
        return Some((origin.namespace.clone(), origin.media_node.clone()));
    }
    let regions = &room.spec.regions;
    let ranked = sites.iter().filter_map(|site| {
        let rank = if regions.is_empty() {
            0
        } else {
            let region = &site.spec.region;
            regions.iter().position(|wanted| wanted == region)?
        };
        let name = (site.namespace().unwrap_or_default(), site.name_any());
        takes(site, room).then_some((is_at_its_end(site), rank, name))
    });
    ranked.min().map(|(_, _, name)| name)
}

/// Whether a site can't grow.
fn is_at_its_end(site: &MediaNode) -> bool {
    let scaling = site.spec.autoscaling.as_ref();
    scaling.is_none_or(|scaling| site.spec.replicas >= scaling.max_replicas)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// 2027-01-01.
    const NOW: i64 = 1_798_761_600;

    fn site(name: &str, region: &str, replicas: u32) -> Arc<MediaNode> {
        let site = json!({
            "apiVersion": "showrunner.dev/v1alpha1", "kind": "MediaNode",
            "metadata": {"name": name, "namespace": "media"},
            "spec": {"region": region, "replicas": replicas, "autoscaling": {"maxReplicas": 5}},
        });
        Arc::new(serde_json::from_value(site).unwrap())
    }

    fn room(spec: Value, status: Value) -> Arc<LiveRoom> {
        let room = json!({
            "apiVersion": "showrunner.dev/v1alpha1", "kind": "LiveRoom",
            "metadata": {"name": "sale", "namespace": "shop", "creationTimestamp": "2026-12-31T23:00:00Z"},
            "spec": spec, "status": status,
        });
        Arc::new(serde_json::from_value(room).unwrap())
    }

    fn condition(of: &str, status: &str, reason: &str) -> Value {
        json!({"type": of, "status": status, "reason": reason, "message": "",
            "lastTransitionTime": "2026-12-31T23:59:00Z"})
    }

    fn of(rooms: &[Arc<LiveRoom>]) -> HashMap<SiteName, Demand> {
        let sites = [site("b", "eu", 1), site("a", "eu", 5), site("c", "us", 1)];
        let takes = |site: &MediaNode, _: &LiveRoom| site.name_any() != "c";
        demand(rooms, &sites, takes, |_| 7, NOW)
    }

    fn name(site: &str) -> SiteName {
        ("media".to_owned(), site.to_owned())
    }

    #[test]
    fn a_room_with_a_pod_belongs_to_its_site() {
        let spec = json!({"schedule": {"start": "2027-01-01T00:20:00Z", "expectedViewers": 500}});
        let origin = json!({"namespace": "media", "mediaNode": "a", "pod": "a-0", "region": "eu"});
        let off_air = json!({"origin": origin});
        let on_air = json!({"origin": origin, "conditions": [condition(LIVE, "True", "OnAir")]});
        let ended = json!({"origin": origin, "phase": "Ended"});
        for (status, expected) in [
            (off_air, Some(None)),
            (on_air, Some(Some(NOW - 60))),
            (ended, None),
        ] {
            let found = of(&[room(spec.clone(), status)]);
            let announced = found.get(&name("a")).map(|demand| demand.announced[0]);
            let expected = expected.map(|on_air| Announcement {
                start: NOW + 1200,
                on_air,
                expected: 500,
                viewers: 7,
            });
            assert_eq!(announced, expected);
        }
    }

    #[test]
    fn a_room_that_waits_counts_for_a_site_that_can_grow() {
        let waits = |reason| {
            let status = json!({"conditions": [condition(PLACED, "False", reason)]});
            of(&[room(json!({"regions": ["eu", "us"]}), status)])
        };
        for reason in [reasons::NO_CAPACITY, reasons::NO_POD_READY] {
            assert_eq!(waits(reason)[&name("b")].waiting, 1);
        }
        assert!(waits(reasons::NO_SUCH_REGION).is_empty());
        let nowhere = json!({"conditions": [condition(PLACED, "False", reasons::NO_CAPACITY)]});
        assert!(
            of(&[room(json!({"regions": ["us"]}), nowhere)]).is_empty(),
            "it may not"
        );
    }

    #[test]
    fn what_is_far_away_or_expects_nobody_does_not_count() {
        for schedule in [
            json!({"start": "2027-01-01T00:31:00Z", "expectedViewers": 500}),
            json!({"start": "2027-01-01T00:10:00Z"}),
            Value::Null,
        ] {
            assert!(of(&[room(json!({"schedule": schedule}), json!({}))]).is_empty());
        }
        // Without a time it expects them now.
        let found = of(&[room(
            json!({"schedule": {"expectedViewers": 500}}),
            json!({}),
        )]);
        assert_eq!(found[&name("b")].announced[0].start, NOW - 3600);
    }
}
