//! Who is to look at what when something happens: news of watches and of pods come in here, rooms and sites to look at
//! go out to the controllers, while there are some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::lifecycle::v1alpha1::Eviction;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use showrunner_crds::{LiveRoom, MediaNode};

use crate::cluster::evictions::target;
use crate::cluster::names::label;
use crate::cluster::watch::News;
use crate::live_room::reconcile::{Rooms, reference};
use crate::pods::sight::Changes;
use crate::pods::{PodId, is_ended, is_leaving, is_ready, site_of};
use crate::world::{Bell, World};

/// Passes on what happens.
#[derive(Default)]
pub struct Board {
    world: OnceLock<Arc<World>>,
    /// Rooms to look at.
    pub rooms: Bell<LiveRoom>,
    /// Sites to look at.
    pub sites: Bell<MediaNode>,
    keeper: Mutex<Option<Arc<Rooms>>>,
    generations: Mutex<HashMap<String, i64>>,
}

impl Board {
    /// From now on it knows what there is.
    pub fn connect(&self, world: Arc<World>) {
        // Whoever was first has the same.
        let _ = self.world.set(world);
    }

    /// From now on this keeps the rooms; none: nobody does.
    pub fn keeper(&self, keeper: Option<Arc<Rooms>>) {
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = keeper;
    }

    /// Of a room.
    pub fn room(&self, news: News<'_, LiveRoom>) {
        let Some(world) = self.world.get() else {
            return;
        };
        match news {
            News::Changed(room) => self.rooms.ring(ObjectRef::from_obj(room)),
            News::Gone(room) => {
                if let Some(keeper) = self.kept() {
                    keeper.forget(room);
                }
            }
            News::All => {
                let rooms = world.rooms.all();
                if let Some(keeper) = self.kept() {
                    let uids: std::collections::HashSet<String> =
                        rooms.iter().filter_map(|room| room.uid()).collect();
                    keeper.retain(|uid| uids.contains(uid.as_str()));
                }
                for room in rooms {
                    self.rooms.ring(ObjectRef::from_obj(&*room));
                }
            }
        }
    }

    /// Of a site.
    pub fn site(&self, news: News<'_, MediaNode>) {
        let Some(world) = self.world.get() else {
            return;
        };
        match news {
            News::Changed(site) => {
                self.sites.ring(ObjectRef::from_obj(site));
                // A new status is nothing to rooms that wait.
                let (uid, generation) = (
                    site.uid().unwrap_or_default(),
                    site.metadata.generation.unwrap_or(0),
                );
                let mut generations = self
                    .generations
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if generations.insert(uid, generation) == Some(generation) {
                    return;
                }
                drop(generations);
                // It may take other rooms than before.
                self.ring_rooms_of(world, site);
            }
            News::Gone(site) => {
                let mut generations = self
                    .generations
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                generations.remove(&site.uid().unwrap_or_default());
            }
            News::All => {
                for site in world.sites.all() {
                    self.sites.ring(ObjectRef::from_obj(&*site));
                }
            }
        }
        world.fleet.changed();
    }

    /// Of a pod, by the API server.
    pub fn pod(&self, news: News<'_, Pod>) {
        let Some(world) = self.world.get() else {
            return;
        };
        match news {
            News::Changed(pod) => {
                self.ring_site_of(pod);
                world.fleet.changed();
                if is_leaving(pod) || is_ended(pod) || !is_ready(pod) {
                    self.ring_rooms_on(world, &PodId::of(pod));
                }
            }
            News::Gone(pod) => {
                self.ring_site_of(pod);
                world.fleet.changed();
                self.ring_rooms_on(world, &PodId::of(pod));
            }
            News::All => {
                self.ring_all(world);
                world.fleet.changed();
            }
        }
    }

    /// Of a machine.
    pub fn machine(&self, news: News<'_, Node>) {
        let Some(world) = self.world.get() else {
            return;
        };
        match news {
            News::Changed(machine) | News::Gone(machine) => {
                let name = machine.metadata.name.as_ref();
                for pod in world.pods.all() {
                    if pod
                        .spec
                        .as_ref()
                        .is_some_and(|spec| spec.node_name.as_ref() == name)
                    {
                        self.ring_site_of(&pod);
                    }
                }
            }
            News::All => self.ring_sites(world),
        }
    }

    /// Of a pod's Service.
    pub fn service(&self, news: News<'_, Service>) {
        let Some(world) = self.world.get() else {
            return;
        };
        match news {
            News::Changed(service) | News::Gone(service) => {
                if let (Some(namespace), Some(site)) =
                    (service.namespace(), service.labels().get(label::MEDIA_NODE))
                {
                    self.sites.ring(ObjectRef::new(site).within(&namespace));
                }
            }
            News::All => self.ring_sites(world),
        }
    }

    /// Of a site's HorizontalPodAutoscaler.
    pub fn autoscaler(&self, news: News<'_, HorizontalPodAutoscaler>) {
        let Some(world) = self.world.get() else {
            return;
        };
        match news {
            News::Changed(autoscaler) | News::Gone(autoscaler) => {
                if let (Some(namespace), Some(site)) = (
                    autoscaler.namespace(),
                    autoscaler.labels().get(label::MEDIA_NODE),
                ) {
                    self.sites.ring(ObjectRef::new(site).within(&namespace));
                }
            }
            News::All => self.ring_sites(world),
        }
    }

    /// Of an eviction that somebody asked for.
    pub fn eviction(&self, news: News<'_, Eviction>) {
        let Some(world) = self.world.get() else {
            return;
        };
        match news {
            News::Changed(eviction) | News::Gone(eviction) => {
                // The pod may be gone already.
                let site = target(eviction).and_then(|pod| pod.name.rsplit_once('-'));
                if let (Some(namespace), Some((site, _))) = (eviction.namespace(), site) {
                    self.sites.ring(ObjectRef::new(site).within(&namespace));
                }
            }
            News::All => self.ring_sites(world),
        }
        world.fleet.changed();
    }

    /// Of a namespace: sites may take its rooms now, or not any more.
    pub fn namespace(&self, news: News<'_, Namespace>) {
        let Some(world) = self.world.get() else {
            return;
        };
        if let News::Changed(namespace) = news {
            let rooms = world.rooms.all();
            for room in rooms
                .iter()
                .filter(|room| room.namespace() == namespace.metadata.name)
            {
                self.rooms.ring(ObjectRef::from_obj(&**room));
            }
        }
        world.fleet.changed();
    }

    /// Of a pod, by itself.
    pub fn heard(&self, pod: &PodId, changes: &Changes) {
        let Some(world) = self.world.get() else {
            return;
        };
        for room in &changes.rooms {
            self.rooms.ring(reference(room));
        }
        if changes.is_other || changes.is_lost {
            self.ring_rooms_on(world, pod);
            world.fleet.changed();
        }
        // Who counts sessions can wait, but not who waits for the last one to go.
        if let Some(pod) = world.pods.get(Some(&pod.namespace), &pod.name)
            && (changes.is_other || changes.is_lost || is_leaving(&pod))
        {
            self.ring_site_of(&pod);
        }
    }

    fn kept(&self) -> Option<Arc<Rooms>> {
        self.keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn ring_site_of(&self, pod: &Pod) {
        if let (Some(namespace), Some(site)) = (pod.namespace(), site_of(pod)) {
            self.sites.ring(ObjectRef::new(site).within(&namespace));
        }
    }

    fn ring_rooms_on(&self, world: &World, pod: &PodId) {
        let rooms: Vec<_> = world.fleet.ledger().rooms_on(pod).map(reference).collect();
        for room in rooms {
            self.rooms.ring(room);
        }
    }

    fn ring_rooms_of(&self, world: &World, site: &MediaNode) {
        let (namespace, name) = (site.namespace(), site.name_any());
        let pods = world.pods.all();
        let is_own =
            |pod: &Pod| pod.namespace() == namespace && site_of(pod) == Some(name.as_str());
        for pod in pods.iter().filter(|pod| is_own(pod)) {
            self.ring_rooms_on(world, &PodId::of(pod));
        }
    }

    fn ring_sites(&self, world: &World) {
        for site in world.sites.all() {
            self.sites.ring(ObjectRef::from_obj(&*site));
        }
    }

    fn ring_all(&self, world: &World) {
        self.ring_sites(world);
        for room in world.rooms.all() {
            self.rooms.ring(ObjectRef::from_obj(&*room));
        }
    }
}
