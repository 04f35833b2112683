//! All pods that rooms could go to, and the books of those that did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use showrunner_crds::MediaNode;
use showrunner_protocol::RoomName;
use showrunner_protocol::room::RoomUid;
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::placement::{Candidate, Need, Unplaceable, place};
use crate::media_node::allow::takes;
use crate::media_node::observe::is_current;
use crate::media_node::template::template_hash;
use crate::pods::sight::Sight;
use crate::pods::{PodId, is_leaving, is_ready, site_of};
use crate::world::World;

/// How old the list of pods may be if nothing is said to have changed: loads change all the time.
const FRESH: Duration = Duration::from_secs(1);

/// Places rooms.
#[derive(Default)]
pub struct Fleet {
    ledger: Mutex<Ledger>,
    list: Mutex<Option<Arc<List>>>,
    version: AtomicU64,
    freed: Notify,
}

struct List {
    version: u64,
    made: Instant,
    sites: Vec<Arc<MediaNode>>,
    pods: Vec<Listed>,
}

struct Listed {
    pod: PodId,
    site: usize,
    takes_rooms: bool,
    is_current: bool,
    max_rooms: Option<u32>,
    sessions: u32,
    max_sessions: u32,
}

/// A room that needs a pod.
pub struct Wish<'a> {
    /// Which room.
    pub uid: &'a RoomUid,
    /// Its name.
    pub name: &'a RoomName,
    /// What it needs.
    pub need: Need<'a>,
    /// A pod that it shall not have.
    pub not: Option<&'a PodId>,
}

impl Fleet {
    /// Something changed that decides which pods take rooms.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// The books.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Strikes a room off the books. Another may have its place.
    pub fn release(&self, uid: &RoomUid) {
        if self.ledger().release(uid) {
            self.freed.notify_one();
        }
    }

    /// Waits until a room's place is free for another.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Finds a pod for a room, and books it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn place(&self, world: &World, wish: &Wish<'_>) -> Result<PodId, Unplaceable> {
        let list = self.list(world);
        let namespace = wish.name.namespace();
        let labels = world.namespaces.get(None, namespace);
        let labels = labels.as_ref().map(|namespace| namespace.labels());
        let sites: Vec<(&str, bool)> = list
            .sites
            .iter()
            .map(|site| {
                let own = site.namespace().unwrap_or_default();
                let is_allowed = takes(&site.spec.allowed_rooms, &own, namespace, labels);
                (site.spec.region.as_str(), is_allowed)
            })
            .collect();
        let mut ledger = self.ledger();
        let candidates = list
            .pods
            .iter()
            .filter(|one| Some(&one.pod) != wish.not)
            .map(|one| {
                let (rooms, booked) = ledger.load(&one.pod);
                let (region, is_allowed) = sites[one.site];
                Candidate {
                    pod: &one.pod,
                    region,
                    is_allowed,
                    takes_rooms: one.takes_rooms,
                    is_current: one.is_current,
                    rooms,
                    max_rooms: one.max_rooms,
                    sessions: one.sessions.max(booked),
                    max_sessions: one.max_sessions,
                }
            });
        let pod = place(wish.need, &sites, candidates)?.clone();
        ledger.book(wish.uid, wish.name, &pod, wish.need.viewers);
        Ok(pod)
    }

    fn list(&self, world: &World) -> Arc<List> {
        let version = self.version.load(Ordering::Relaxed);
        let now = Instant::now();
        let mut kept = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = &*kept
            && list.version == version
            && now.saturating_duration_since(list.made) < FRESH
        {
            return Arc::clone(list);
        }
        let list = Arc::new(make(world, version, now));
        *kept = Some(Arc::clone(&list));
        list
    }
}

fn make(world: &World, version: u64, now: Instant) -> List {
    let mut sites = world.sites.all();
    sites.retain(|site| site.metadata.deletion_timestamp.is_none());
    let index: std::collections::HashMap<(String, String), usize> = sites
        .iter()
        .enumerate()
        .map(|(index, site)| {
            (
                (site.namespace().unwrap_or_default(), site.name_any()),
                index,
            )
        })
        .collect();
    let defaults = world.config.pod_defaults();
    let templates: Vec<String> = sites
        .iter()
        .map(|site| template_hash(site, &defaults))
        .collect();
    let pods = world.pods.all().into_iter().filter_map(|pod| {
        let id = PodId::of(&pod);
        let site = *index.get(&(id.namespace.clone(), site_of(&pod)?.to_owned()))?;
        let capacity = &sites[site].spec.capacity;
        let sight = world.sights.get(&id, &pod.uid()?);
        let is_open = is_ready(&pod) && !is_leaving(&pod);
        let limit = capacity.egress_mbps.map(|mbps| u64::from(mbps) * 1_000_000);
        let takes_rooms = is_open && sight.as_ref().is_some_and(|sight| takes_more(sight, limit));
        let status = sight.as_ref().and_then(|sight| sight.status.as_ref());
        let machine = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let machine = machine.and_then(|machine| world.machines.get(None, machine));
        let own_limit = status.and_then(|status| status.capacity.max_rooms);
        Some(Listed {
            pod: id,
            site,
            takes_rooms,
            is_current: is_current(&pod, machine.as_deref(), &templates[site]),
            max_rooms: Some(own_limit.map_or(capacity.rooms, |own| own.min(capacity.rooms))),
            sessions: status.map_or(0, |status| status.sessions),
            max_sessions: capacity.viewers,
        })
    });
    let pods = pods.collect();
    List {
        version,
        made: now,
        sites,
        pods,
    }
}

/// Whether a pod says that it takes rooms, and sends less than it may.
fn takes_more(sight: &Sight, egress_limit: Option<u64>) -> bool {
    let Some(status) = sight.status.as_ref().filter(|_| sight.answers()) else {
        return false;
    };
    status.ready
        && !status.draining
        && egress_limit.is_none_or(|limit| status.load.egress_bps < limit)
}
