//! The values of pods, sites and rooms of a namespace, by what all pods said. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use showrunner_crds::{LiveRoom, MediaNode};
use showrunner_protocol::RoomName;

use super::answer::{Described, Labelled};
use super::catalog::{External, Measure, Subject};
use super::reading::{self, Known, Moment, Part, Value};
use crate::pods::sight::Sight;
use crate::pods::{PodId, site_of};

/// A media pod and what is known of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pod: Arc<Pod>,
    sight: Option<Arc<Sight>>,
    known: Known,
}

impl Seen {
    /// By what it last said.
    #[must_use]
    pub fn new(pod: Arc<Pod>, sight: Option<Arc<Sight>>, now: Moment) -> Seen {
        let known = reading::known(&pod, sight.as_deref(), now);
        Seen { pod, sight, known }
    }
}

/// All that there is at a moment.
pub struct Population {
    /// All media pods of the cluster.
    pub pods: Vec<Seen>,
    /// All sites.
    pub sites: Vec<Arc<MediaNode>>,
    /// All rooms.
    pub rooms: Vec<Arc<LiveRoom>>,
    /// When.
    pub now: Moment,
}

/// Which objects are meant.
#[derive(Clone, Debug)]
pub enum Which<'a> {
    /// The one of this name.
    Named(&'a str),
    /// All that have such labels.
    Selected(Selector),
}

impl Which<'_> {
    fn has<K: kube::Resource>(&self, object: &K) -> bool {
        match self {
            Which::Named(name) => object.meta().name.as_deref() == Some(*name),
            Which::Selected(selector) => selector.matches(object.labels()),
        }
    }
}

impl Population {
    /// Objects whose value is known; none if there is no such object.
    #[must_use]
    pub fn described(
        &self,
        (subject, measure): (Subject, Measure),
        namespace: &str,
        which: &Which<'_>,
    ) -> Vec<Described> {
        let described = |name: String, value: Option<Value>| {
            Some(Described {
                name,
                value: value?,
            })
        };
        match subject {
            Subject::Pod => {
                let pods = self.pods_in(namespace).filter(|seen| which.has(&*seen.pod));
                let values = pods.map(|seen| described(seen.pod.name_any(), of_pod(seen, measure)));
                values.flatten().collect()
            }
            Subject::MediaNode => {
                let sites = self.sites_in(namespace).filter(|site| which.has(&***site));
                let value = |site: &Arc<MediaNode>| self.of_site(site, measure);
                let values = sites.map(|site| described(site.name_any(), value(site)));
                values.flatten().collect()
            }
            Subject::LiveRoom => {
                let rooms = self.rooms_in(namespace).filter(|room| which.has(&***room));
                let values = rooms.map(|room| described(room.name_any(), self.of_room(room)));
                values.flatten().collect()
            }
        }
    }

    /// Everything of a namespace that has a metric, with its labels.
    #[must_use]
    pub fn labelled(&self, metric: External, namespace: &str) -> Vec<Labelled> {
        let labelled = |name: (&str, String), region: Option<String>, value| {
            let region = region.map(|region| ("region", region));
            let labels = std::iter::once(name).chain(region);
            Labelled {
                labels: labels.map(|(key, value)| (key.to_owned(), value)).collect(),
                value,
            }
        };
        match metric.subject {
            Subject::Pod => Vec::new(),
            Subject::MediaNode => self
                .sites_in(namespace)
                .map(|site| {
                    let region = Some(site.spec.region.clone());
                    let value = self.of_site(site, metric.measure);
                    labelled(("medianode", site.name_any()), region, value)
                })
                .collect(),
            Subject::LiveRoom => self
                .rooms_in(namespace)
                .map(|room| {
                    let status = room.status.as_ref();
                    let origin = status.and_then(|status| status.origin.as_ref());
                    let region = origin.map(|origin| origin.region.clone());
                    labelled(("liveroom", room.name_any()), region, self.of_room(room))
                })
                .collect(),
        }
    }

    fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Seen> {
        let all = self.pods.iter();
        all.filter(move |seen| seen.pod.metadata.namespace.as_deref() == Some(namespace))
    }

    fn sites_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<MediaNode>> {
        let all = self.sites.iter();
        all.filter(move |site| site.metadata.namespace.as_deref() == Some(namespace))
    }

    fn rooms_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<LiveRoom>> {
        let all = self.rooms.iter();
        all.filter(move |room| room.metadata.namespace.as_deref() == Some(namespace))
    }

    fn of_site(&self, site: &MediaNode, measure: Measure) -> Option<Value> {
        let (namespace, name) = (site.metadata.namespace.as_deref()?, site.name_any());
        let pods = self.pods_in(namespace);
        let own = pods.filter(|seen| site_of(&seen.pod) == Some(name.as_str()));
        let known: Vec<Known> = own.map(|seen| seen.known).collect();
        reading::of_site(measure, &known, self.now)
    }

    fn of_room(&self, room: &LiveRoom) -> Option<Value> {
        let namespace = room.metadata.namespace.as_deref()?;
        let name = RoomName::new(namespace, &room.name_any()).ok()?;
        let parts = self.pods.iter().filter_map(|seen| {
            let sight = seen.sight.as_deref()?;
            Some(Part {
                viewers: reading::viewers_on(sight, &name, room.metadata.uid.as_deref())?,
                pod: PodId::of(&seen.pod),
                known: seen.known,
            })
        });
        reading::of_room(room, &parts.collect::<Vec<_>>(), self.now)
    }
}

fn of_pod(seen: &Seen, measure: Measure) -> Option<Value> {
    match &seen.known {
        Known::Says(reading) => Some(Value {
            at: reading.at,
            quantity: measure.of(reading),
        }),
        Known::Empty | Known::Nothing => None,
    }
}

/// Labels of nothing: custom metrics have none of their own.
#[must_use]
pub fn selects_unlabelled(selector: &Selector) -> bool {
    selector.matches(&BTreeMap::new())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use showrunner_protocol::control::{PodStatus, RoomStatus};
    use showrunner_protocol::room::RoomUid;

    use super::super::catalog::Measure::{Rooms, Viewers};
    use super::super::selector::parse;
    use super::*;
    use crate::pods::sight::Sights;

    /// Two sites: `eu` with two pods of which the second is silent for so long, and `us` with one.
    fn population(silence: Duration) -> Population {
        let (sights, mut now) = (Sights::default(), Moment::now());
        let mut pods = Vec::new();
        for (index, (name, site)) in [("eu-0", "eu"), ("eu-1", "eu"), ("us-0", "us")]
            .iter()
            .enumerate()
        {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "media", "uid": name, "labels": {"showrunner.dev/media-node": site}},
                "status": {"containerStatuses": [{"name": "media-node", "image": "i", "imageID": "", "ready": true,
                    "restartCount": 0, "state": {"running": {}}}]},
            }))
            .unwrap();
            let room = RoomStatus {
                viewers: 5,
                uid: Some(RoomUid::new("sale-uid").unwrap()),
                ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
            };
            let status = PodStatus {
                rooms: vec![room],
                ..PodStatus::default()
            };
            let heard = now.clock + if index == 1 { Duration::ZERO } else { silence };
            sights.answered(&PodId::of(&pod), name, status, heard);
            pods.push(Arc::new(pod));
        }
        now.clock += silence;
        let object = |kind: &str, name: &str, namespace: &str, spec| {
            json!({"apiVersion": "showrunner.dev/v1alpha1", "kind": kind, "spec": spec,
                "metadata": {"name": name, "namespace": namespace, "uid": format!("{name}-uid"), "labels": {"is": name}}})
        };
        let site = |name: &str| {
            object(
                "MediaNode",
                name,
                "media",
                json!({"region": format!("{name}-west")}),
            )
        };
        let seen = pods.into_iter().map(|pod| {
            let sight = sights.get(&PodId::of(&pod), &pod.name_any());
            Seen::new(pod, sight, now)
        });
        Population {
            pods: seen.collect(),
            sites: ["eu", "us"]
                .map(|name| Arc::new(serde_json::from_value(site(name)).unwrap()))
                .into(),
            rooms: vec![Arc::new(
                serde_json::from_value(object("LiveRoom", "sale", "shop", json!({}))).unwrap(),
            )],
            now,
        }
    }

    fn values(
        of: &Population,
        what: (Subject, Measure),
        namespace: &str,
        which: &Which<'_>,
    ) -> Vec<String> {
        let all = of.described(what, namespace, which).into_iter();
        all.map(|one| format!("{}={}", one.name, one.value.quantity))
            .collect()
    }

    #[test]
    fn every_object_has_its_value_in_its_namespace() {
        let all = population(Duration::from_secs(1));
        let any = Which::Selected(Selector::default());
        let of_eu = Which::Selected(parse("showrunner.dev/media-node=eu").unwrap());
        assert_eq!(
            values(&all, (Subject::Pod, Viewers), "media", &of_eu),
            ["eu-0=5", "eu-1=5"]
        );
        assert_eq!(
            values(&all, (Subject::Pod, Rooms), "media", &Which::Named("us-0")),
            ["us-0=1"]
        );
        assert_eq!(
            values(&all, (Subject::MediaNode, Viewers), "media", &any),
            ["eu=10", "us=5"]
        );
        assert_eq!(
            values(
                &all,
                (Subject::LiveRoom, Viewers),
                "shop",
                &Which::Named("sale")
            ),
            ["sale=15"]
        );
        for subject in [Subject::Pod, Subject::MediaNode, Subject::LiveRoom] {
            assert!(values(&all, (subject, Viewers), "other", &any).is_empty());
            assert!(values(&all, (subject, Viewers), "media", &Which::Named("no")).is_empty());
        }
    }

    #[test]
    fn what_a_silent_pod_has_to_do_with_has_no_value() {
        let all = population(Duration::from_secs(6));
        let any = Which::Selected(Selector::default());
        assert_eq!(
            values(&all, (Subject::Pod, Viewers), "media", &any),
            ["eu-0=5", "us-0=5"]
        );
        assert_eq!(
            values(&all, (Subject::MediaNode, Viewers), "media", &any),
            ["us=5"]
        );
        assert!(values(&all, (Subject::LiveRoom, Viewers), "shop", &any).is_empty());
    }

    #[test]
    fn metrics_without_objects_are_found_by_labels() {
        let all = population(Duration::from_secs(6));
        let metric = External::named("showrunner_medianode_viewers").unwrap();
        let found = all.labelled(metric, "media");
        let regions: Vec<_> = found
            .iter()
            .map(|one| (one.labels["region"].as_str(), one.value.is_some()))
            .collect();
        assert_eq!(regions, [("eu-west", false), ("us-west", true)]);
        assert!(all.labelled(metric, "shop").is_empty());
        let metric = External::named("showrunner_liveroom_viewers").unwrap();
        assert_eq!(all.labelled(metric, "shop")[0].labels["liveroom"], "sale");
    }
}
