//! All rooms and pods as placement sees them: numbers instead of names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use showrunner_capacity::load::{Load, UNLIMITED};
use showrunner_capacity::placement::{
    self, PodIndex, PodState, Present, Reach, Region, Site, Zone,
};
use showrunner_crds::{LiveRoom, MediaNode};
use showrunner_protocol::RoomName;
use showrunner_protocol::control::RoomStatus;
use showrunner_protocol::room::RoomUid;

use super::desired::{State, Step, decide};
use super::ledger::{Booking, Ledger, Set};
use super::reach::{Unplaceable, reach};
use super::{look, status, weigh};
use crate::clock::now;
use crate::cluster::names::label;
use crate::media_node::allow::takes;
use crate::media_node::observe::{is_current, must_go};
use crate::media_node::template::template_hash;
use crate::pods::sight::Sight;
use crate::pods::{PodId, site_of};
use crate::world::World;

/// The site of a pod whose MediaNode is gone: no room may be there.
const NO_SITE: Site = Site(u16::MAX);

/// What is asked of placement.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) pods: Vec<placement::Pod>,
    pub(super) reaches: Vec<Reach>,
    pub(super) rooms: Vec<placement::Room>,
    /// Which rooms those are.
    pub(super) placed: Vec<(RoomUid, RoomName)>,
    /// Rooms that no site may have.
    pub(super) nowhere: Vec<((RoomUid, RoomName), Unplaceable)>,
    ids: Vec<PodId>,
    index: HashMap<PodId, PodIndex>,
    sights: Vec<Option<Arc<Sight>>>,
    is_open: Vec<bool>,
    /// What was found of each pod's rooms.
    found: Vec<Found>,
}

/// What a pod's rooms have there.
#[derive(Clone, Copy, Default)]
struct Found {
    rooms: u64,
    viewers: u64,
    /// Viewers, and edges that it feeds.
    sessions: u64,
    /// What the viewers would take if each had the best layer, bit/s.
    counted_bps: u64,
}

/// Hashes of the sites' templates: they change with the generation only.
#[derive(Default)]
pub(super) struct Templates(Mutex<HashMap<String, (i64, String)>>);

impl Templates {
    fn of(&self, site: &MediaNode, world: &World) -> String {
        let (uid, generation) = (
            site.uid().unwrap_or_default(),
            site.metadata.generation.unwrap_or(0),
        );
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&uid) {
            Some((of, hash)) if *of == generation => hash.clone(),
            _ => {
                let hash = template_hash(site, &world.config.pod_defaults());
                known.insert(uid, (generation, hash.clone()));
                hash
            }
        }
    }

    fn retain(&self, sites: &[Arc<MediaNode>]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > sites.len() {
            known.retain(|uid, _| sites.iter().any(|site| site.uid().as_ref() == Some(uid)));
        }
    }
}

/// Numbers for names.
#[derive(Default)]
struct Numbers<'a>(HashMap<&'a str, u16>);

impl<'a> Numbers<'a> {
    fn of(&mut self, name: &'a str) -> u16 {
        let next = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        *self.0.entry(name).or_insert(next)
    }
}

/// The sites of the moment, numbered.
struct Sites {
    all: Vec<Arc<MediaNode>>,
    index: HashMap<(String, String), usize>,
    templates: Vec<String>,
}

impl Sites {
    fn of(world: &World, templates: &Templates) -> Sites {
        let mut all = world.sites.all();
        all.retain(|site| site.metadata.deletion_timestamp.is_none());
        all.truncate(NO_SITE.0.into());
        templates.retain(&all);
        let name = |site: &MediaNode| (site.namespace().unwrap_or_default(), site.name_any());
        let index = all.iter().enumerate();
        Sites {
            index: index.map(|(at, site)| (name(site), at)).collect(),
            templates: all.iter().map(|site| templates.of(site, world)).collect(),
            all,
        }
    }

    fn number(at: usize) -> Site {
        Site(u16::try_from(at).unwrap_or(NO_SITE.0))
    }

    fn position(&self, pod: &Pod, id: &PodId) -> Option<usize> {
        let name = (id.namespace.clone(), site_of(pod)?.to_owned());
        self.index.get(&name).copied()
    }

    /// The sites with their regions, and whether they take rooms of a namespace.
    fn for_rooms_of(&self, world: &World, namespace: &str) -> Vec<(Site, &str, bool)> {
        let labels = world.namespaces.get(None, namespace);
        let labels = labels.as_ref().map(|namespace| namespace.labels());
        let sites = self.all.iter().enumerate();
        sites
            .map(|(at, site)| {
                let own = site.namespace().unwrap_or_default();
                let is_allowed = takes(&site.spec.allowed_rooms, &own, namespace, labels);
                (Sites::number(at), site.spec.region.as_str(), is_allowed)
            })
            .collect()
    }
}

impl Survey {
    /// Of all there is. Rooms that nobody knew of are entered in the books.
    pub(super) fn make(
        world: &World,
        ledger: &mut Ledger,
        templates: &Templates,
        refusals: &HashMap<(RoomUid, PodId), Instant>,
    ) -> Survey {
        let mut survey = Survey::default();
        let sites = Sites::of(world, templates);
        survey.add_pods(world, &sites);
        survey.add_rooms(world, &sites, ledger, refusals);
        survey.close(refusals);
        survey
    }

    pub(super) fn id(&self, pod: PodIndex) -> &PodId {
        &self.ids[pod.0 as usize]
    }

    fn add_pods(&mut self, world: &World, sites: &Sites) {
        let clock = Instant::now();
        let mut pods: Vec<(PodId, Arc<Pod>)> = world
            .pods
            .all()
            .into_iter()
            .map(|pod| (PodId::of(&pod), pod))
            .collect();
        pods.sort_by(|(a, _), (b, _)| a.cmp(b));
        let asked = world.evictions.asked();
        let machines = world.machines.all();
        let machines: HashMap<String, &Node> = machines
            .iter()
            .map(|machine| (machine.name_any(), &**machine))
            .collect();
        let (mut region_numbers, mut zone_numbers) = (Numbers::default(), Numbers::default());
        for (id, pod) in &pods {
            let site = sites.position(pod, id);
            let sight = pod.uid().and_then(|uid| world.sights.get(id, &uid));
            let region = pod.labels().get(label::REGION);
            let machine = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            let machine = machine.and_then(|machine| machines.get(machine).copied());
            let zone = machine.and_then(|machine| machine.labels().get(label::ZONE));
            let known = placement::Pod {
                site: site.map_or(NO_SITE, Sites::number),
                region: Region(region_numbers.of(region.map_or("", String::as_str))),
                zone: Zone(zone_numbers.of(zone.map_or("", String::as_str))),
                state: match look::state(Some(pod), sight.as_deref(), clock) {
                    State::Gone | State::Lost => PodState::Gone,
                    State::Leaving => PodState::Draining,
                    State::Serving => PodState::Ready,
                },
                is_outdated: site.is_some_and(|site| {
                    let must_go = must_go(pod, machine, &asked);
                    !is_current(pod, must_go, &sites.templates[site])
                }),
                capacity: site.map_or_else(Load::default, |site| {
                    capacity(&sites.all[site], sight.as_deref())
                }),
                other: Load::default(),
            };
            let is_open = look::is_open(pod, sight.as_deref());
            self.push(id.clone(), known, sight, is_open);
        }
    }

    fn push(
        &mut self,
        id: PodId,
        pod: placement::Pod,
        sight: Option<Arc<Sight>>,
        is_open: bool,
    ) -> PodIndex {
        let index = PodIndex(u32::try_from(self.pods.len()).unwrap_or(u32::MAX));
        self.index.insert(id.clone(), index);
        self.ids.push(id);
        self.pods.push(pod);
        self.sights.push(sight);
        self.is_open.push(is_open);
        self.found.push(Found::default());
        index
    }

    /// A pod by its name. One that is not there any more is known as gone.
    fn find(&mut self, id: &PodId) -> PodIndex {
        match self.index.get(id) {
            Some(index) => *index,
            None => {
                let gone = placement::Pod {
                    site: NO_SITE,
                    region: Region::default(),
                    zone: Zone::default(),
                    state: PodState::Gone,
                    is_outdated: false,
                    capacity: Load::default(),
                    other: Load::default(),
                };
                self.push(id.clone(), gone, None, false)
            }
        }
    }

    fn add_rooms(
        &mut self,
        world: &World,
        sites: &Sites,
        ledger: &mut Ledger,
        refusals: &HashMap<(RoomUid, PodId), Instant>,
    ) {
        type Found = Result<usize, Unplaceable>;
        let mut reaches: HashMap<(String, Vec<String>), Found> = HashMap::new();
        let mut by_namespace: HashMap<String, Vec<(Site, &str, bool)>> = HashMap::new();
        let seconds = now();
        for room in world.rooms.all() {
            let Some((uid, name)) = identity(&room).filter(|_| is_to_be(&room, seconds)) else {
                continue;
            };
            let regions = &room.spec.regions;
            let key = (name.namespace().to_owned(), regions.clone());
            let found = reaches.entry(key).or_insert_with(|| {
                let namespace = name.namespace();
                let sites = by_namespace
                    .entry(namespace.to_owned())
                    .or_insert_with(|| sites.for_rooms_of(world, namespace));
                self.reaches.push(reach(regions, sites)?);
                Ok(self.reaches.len() - 1)
            });
            match found {
                Ok(reach) => {
                    let reach = *reach;
                    let booking = ledger.enter(&uid, &name);
                    let room = self.room(&room, (&uid, booking), reach, refusals, seconds);
                    self.rooms.push(room);
                    self.placed.push((uid, name));
                }
                Err(why) => {
                    ledger.enter(&uid, &name);
                    self.nowhere.push(((uid, name), why.clone()));
                }
            }
        }
    }

    fn room(
        &mut self,
        room: &LiveRoom,
        (uid, booking): (&RoomUid, &Booking),
        reach: usize,
        refusals: &HashMap<(RoomUid, PodId), Instant>,
        seconds: u64,
    ) -> placement::Room {
        let mut present = self.present(room, (uid, booking));
        present.retain(|part| {
            refusals.is_empty()
                || !refusals.contains_key(&(uid.clone(), self.ids[part.pod.0 as usize].clone()))
        });
        let reports = present
            .iter()
            .filter_map(|part| self.report(part.pod, uid, &booking.name));
        let telling = reports.max_by_key(|report| report.active).cloned();
        let (viewer, edge) = weigh::rates(room, telling.as_ref());
        for part in &present {
            let edges = self
                .report(part.pod, uid, &booking.name)
                .map_or(0, |report| u64::from(report.edges));
            let found = &mut self.found[part.pod.0 as usize];
            let viewers = u64::from(part.viewers);
            found.rooms += 1;
            found.viewers += viewers;
            found.sessions += viewers + edges;
            found.counted_bps += viewers * viewer.egress_bps + edges * edge.egress_bps;
        }
        let there = present.iter().map(|part| part.viewers);
        let there = there.fold(0, u32::saturating_add);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        placement::Room {
            reach,
            expected: there.saturating_add(weigh::promised(room, there, seconds)),
            per_viewer: viewer,
            per_edge: edge,
            present,
        }
    }

    /// Where a room is: where it was planned to be, with what is told of it there already, and where it still is.
    fn present(&mut self, room: &LiveRoom, (uid, booking): (&RoomUid, &Booking)) -> Vec<Present> {
        let said;
        let set = match &booking.set {
            Some(set) => set,
            None => {
                said = room.status.as_ref().map_or_else(Set::default, status::set);
                &said
            }
        };
        let shares = booking.plan.iter().flat_map(|plan| &plan.shares);
        let shares = shares.map(|one| (&one.pod, &one.source, one.viewers));
        let parts = set
            .parts
            .iter()
            .map(|one| (&one.pod, &one.source, one.space));
        let mut present: Vec<Present> = Vec::with_capacity(set.parts.len());
        for (pod, source, space) in shares.chain(parts) {
            let index = self.find(pod);
            if present.iter().any(|part| part.pod == index) {
                continue;
            }
            let report = self.report(index, uid, &booking.name);
            let is_gone = self.pods[index.0 as usize].state == PodState::Gone;
            // Who was on a pod that is gone comes back.
            let viewers = match report {
                Some(report) => report.viewers,
                None if is_gone => space,
                None => 0,
            };
            let has_host = report.is_some_and(|report| report.publishers > 0);
            // What is planned comes first, and with it the origin: one that is on its way out is none any more.
            let parent = match source {
                Some(source) => Some(self.find(source)),
                None => present.first().map(|part| part.pod),
            };
            present.push(Present {
                pod: index,
                parent,
                viewers,
                reserved: space,
                has_host,
            });
        }
        present
    }

    fn report(&self, pod: PodIndex, uid: &RoomUid, name: &RoomName) -> Option<&RoomStatus> {
        let sight = self.sights[pod.0 as usize].as_ref()?;
        let report = sight.rooms.get(name)?;
        (report.uid.as_ref() == Some(uid)).then_some(report)
    }

    /// What pods do besides these rooms, and those that get no more rooms than they have.
    fn close(&mut self, refusals: &HashMap<(RoomUid, PodId), Instant>) {
        for (at, pod) in self.pods.iter_mut().enumerate() {
            let found = self.found[at];
            let status = self.sights[at]
                .as_ref()
                .and_then(|sight| sight.status.as_ref());
            if let Some(status) = status {
                pod.other.viewers = u64::from(status.sessions).saturating_sub(found.sessions);
                let percent =
                    weigh::share_percent(status.load.egress_bps, found.counted_bps, found.viewers);
                // Where its viewers take less than the best layer, or more, the pod has as much more or less to give.
                pod.capacity.egress_bps = pod.capacity.egress_bps.saturating_mul(100) / percent;
            }
            let is_refusing = refusals
                .keys()
                .any(|(_, refusing)| *refusing == self.ids[at]);
            if pod.state != PodState::Ready || (self.is_open[at] && !is_refusing) {
                continue;
            }
            if found.rooms == 0 {
                pod.state = PodState::Draining;
            } else {
                pod.capacity.rooms = pod.capacity.rooms.min(found.rooms);
            }
        }
    }
}

/// The most that a pod takes, by its site and by itself.
fn capacity(site: &MediaNode, sight: Option<&Sight>) -> Load {
    let capacity = &site.spec.capacity;
    let own = sight.and_then(|sight| sight.status.as_ref());
    let own = own.and_then(|status| status.capacity.max_rooms);
    let rooms = own.map_or(capacity.rooms, |own| own.min(capacity.rooms));
    Load {
        viewers: capacity.viewers.into(),
        rooms: rooms.into(),
        egress_bps: capacity
            .egress_mbps
            .map_or(UNLIMITED, |mbps| u64::from(mbps) * 1_000_000),
        packets: UNLIMITED,
    }
}

fn identity(room: &LiveRoom) -> Option<(RoomUid, RoomName)> {
    let meta = &room.metadata;
    let uid = RoomUid::new(meta.uid.as_deref()?).ok()?;
    let name = RoomName::new(meta.namespace.as_deref()?, meta.name.as_deref()?).ok()?;
    Some((uid, name))
}

fn is_to_be(room: &LiveRoom, seconds: u64) -> bool {
    decide(
        room.metadata.deletion_timestamp.is_some(),
        end(room),
        seconds,
    ) == Step::Keep
}

/// When a room closes, in seconds since 1970.
pub(super) fn end(room: &LiveRoom) -> Option<u64> {
    let schedule = room.spec.schedule.as_ref()?;
    let end = schedule.end.as_ref()?;
    Some(u64::try_from(end.0.as_second()).unwrap_or(0))
}
