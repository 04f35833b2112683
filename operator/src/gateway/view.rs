//! What the gateway knows of the cluster, and which pod it picks by it.
//!
//! Plain values: watches of the API server fill it, or tests by hand. What it last heard stays true for it, so
//! that rooms stay open while the API server is away.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use showrunner_protocol::RoomName;

use super::access::Access;
use super::address::{PodName, Protocol};

/// Rooms, and the pods that they are on.
#[derive(Debug, Default)]
pub struct View {
    rooms: HashMap<RoomName, Arc<Room>>,
    pods: HashMap<PodName, Known>,
}

/// A room.
#[derive(Clone, Debug)]
pub struct Room {
    /// Who may come in.
    pub access: Access,
    /// Whether the show is over, whatever the time.
    pub has_ended: bool,
    /// When it is over, in seconds since 1970.
    pub ends_at: Option<u64>,
    /// The pod that publishers send to.
    pub origin: Option<PodName>,
    /// The pods that take it from another.
    pub edges: Vec<Edge>,
}

/// A pod that takes a room from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Which.
    pub pod: PodName,
    /// Whether it is connected to that one.
    pub is_fed: bool,
    /// Whether its viewers are to go elsewhere.
    pub is_leaving: bool,
}

/// A media pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Where its signalling listens.
    pub address: SocketAddr,
    /// The region that its site is in; empty if it has none.
    pub region: String,
    /// Whether it takes new sessions.
    pub readiness: Readiness,
}

/// Whether a pod takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It answers, and stays.
    Ready,
    /// Its kubelet finds it unready. It may hang, or be cut off from its viewers, as it thinks: where no other has the
    /// room, it may be that it takes some.
    Unready,
    /// It is to go.
    Leaving,
}

/// How busy a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions on it.
    pub sessions: u32,
    /// The most that it takes; 0: it did not say.
    pub most: u32,
}

#[derive(Debug)]
struct Known {
    pod: Pod,
    /// What it last said of itself.
    load: Load,
    /// Viewers sent there since it last said how many it has: without them, all that come between two reports would go
    /// to the same pod.
    sent: u32,
}

/// A pod that a request may go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its name.
    pub pod: PodName,
    /// Where its signalling listens.
    pub address: SocketAddr,
}

impl Candidate {
    fn new(pod: &PodName, known: &Known) -> Candidate {
        Candidate {
            pod: pod.clone(),
            address: known.pod.address,
        }
    }
}

/// Why a room can't be joined now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It has no pod yet.
    #[error("the room is being set up")]
    NotPlaced,
    /// It has pods, but none takes sessions.
    #[error("the room's media pods take no sessions now")]
    NoPodReady,
}

/// How a pod stands with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Hosts publish to it.
    Origin,
    /// It has the room from another.
    Edge,
    /// It is to have it from another, and is not connected to that one.
    Unfed,
    /// Its viewers are to go elsewhere.
    Leaving,
}

impl Known {
    fn sessions(&self) -> u32 {
        self.load.sessions.saturating_add(self.sent)
    }

    fn is_full(&self) -> bool {
        self.load.most > 0 && self.sessions() >= self.load.most
    }
}

impl Room {
    fn pods(&self) -> impl Iterator<Item = (Standing, &PodName)> {
        let origin = self.origin.iter().map(|pod| (Standing::Origin, pod));
        let edges = self.edges.iter().map(|edge| {
            let standing = match (edge.is_leaving, edge.is_fed) {
                (true, _) => Standing::Leaving,
                (false, true) => Standing::Edge,
                (false, false) => Standing::Unfed,
            };
            (standing, &edge.pod)
        });
        origin.chain(edges)
    }

    /// Whether the show is over at a time, in seconds since 1970. The gateway's own clock says so while the API server,
    /// which would, is away.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        self.has_ended || self.ends_at.is_some_and(|end| end <= now)
    }
}

impl View {
    /// Learns of a room, or what is new of it.
    pub fn put_room(&mut self, name: RoomName, room: Room) {
        self.rooms.insert(name, Arc::new(room));
    }

    /// Forgets a room.
    pub fn remove_room(&mut self, name: &RoomName) {
        self.rooms.remove(name);
    }

    /// Forgets all rooms but these.
    pub fn retain_rooms(&mut self, is_there: impl Fn(&RoomName) -> bool) {
        self.rooms.retain(|name, _| is_there(name));
    }

    /// Learns of a pod, or what is new of it.
    pub fn put_pod(&mut self, name: PodName, pod: Pod) {
        let (load, sent) = match self.pods.get(&name) {
            Some(known) => (known.load, known.sent),
            None => (Load::default(), 0),
        };
        let known = Known { pod, load, sent };
        self.pods.insert(name, known);
    }

    /// Learns how busy a pod is.
    pub fn put_load(&mut self, name: &PodName, load: Load) {
        if let Some(known) = self.pods.get_mut(name) {
            (known.load, known.sent) = (load, 0);
        }
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, name: &PodName) {
        self.pods.remove(name);
    }

    /// Forgets all pods but these.
    pub fn retain_pods(&mut self, is_there: impl Fn(&PodName) -> bool) {
        self.pods.retain(|name, _| is_there(name));
    }

    /// How many rooms and pods it knows.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.rooms.len(), self.pods.len())
    }

    /// A room by its name.
    #[must_use]
    pub fn room(&self, name: &RoomName) -> Option<Arc<Room>> {
        self.rooms.get(name).cloned()
    }

    /// Where a pod's signalling listens, whether or not it takes new sessions.
    #[must_use]
    pub fn address(&self, pod: &PodName) -> Option<SocketAddr> {
        self.pods.get(pod).map(|known| known.pod.address)
    }

    /// The pods among which viewers are spread by load: those of rooms that have several.
    #[must_use]
    pub fn shared_pods(&self) -> Vec<Candidate> {
        let shared = self.rooms.values().filter(|room| !room.edges.is_empty());
        let names: HashSet<&PodName> = shared
            .flat_map(|room| room.pods().map(|(_, pod)| pod))
            .collect();
        names
            .into_iter()
            .filter_map(|name| self.pods.get_key_value(name))
            .map(|(pod, known)| Candidate::new(pod, known))
            .collect()
    }

    /// Takes note that a viewer was sent to a pod.
    pub fn sent_to(&mut self, pod: &PodName) {
        if let Some(known) = self.pods.get_mut(pod) {
            known.sent = known.sent.saturating_add(1);
        }
    }

    /// The pods that a new session may go to, best first and at least one: for a host the origin; for a viewer those of
    /// the room, first those that have it and are to keep their viewers, of these those with space, of these those
    /// in the viewer's region, and of these the least loaded. Pods that are not ready are asked only if none is.
    ///
    /// # Errors
    /// If there is none.
    pub fn candidates(
        &self,
        room: &Room,
        protocol: Protocol,
        region: &str,
    ) -> Result<Vec<Candidate>, Unavailable> {
        if room.pods().next().is_none() {
            return Err(Unavailable::NotPlaced);
        }
        let pods = room.pods().filter(|(standing, _)| match protocol {
            Protocol::Whip => *standing == Standing::Origin,
            Protocol::Whep => true,
        });
        let mut ready: Vec<_> = pods
            .filter_map(|(standing, name)| {
                let (name, known) = self.pods.get_key_value(name)?;
                Some((standing, name, known))
            })
            .filter(|(_, _, known)| known.pod.readiness != Readiness::Leaving)
            .collect();
        let is_ready = |known: &Known| known.pod.readiness == Readiness::Ready;
        if ready.iter().any(|(_, _, known)| is_ready(known)) {
            ready.retain(|(_, _, known)| is_ready(known));
        }
        ready.sort_by_key(|(standing, name, known)| {
            let detour = match standing {
                Standing::Origin | Standing::Edge => 0,
                Standing::Unfed => 1,
                Standing::Leaving => 2,
            };
            let is_elsewhere = known.pod.region != region;
            (
                detour,
                known.is_full(),
                is_elsewhere,
                known.sessions(),
                *name,
            )
        });
        ready.dedup_by_key(|(_, name, _)| *name);
        let candidates: Vec<Candidate> = ready
            .into_iter()
            .map(|(_, pod, known)| Candidate::new(pod, known))
            .collect();
        if candidates.is_empty() {
            return Err(Unavailable::NoPodReady);
        }
        Ok(candidates)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use showrunner_protocol::room::RoomUid;

    use super::super::access::Admission;
    use super::*;

    fn name(pod: &str) -> PodName {
        PodName::new("media", pod).unwrap()
    }

    fn pod(region: &str) -> Pod {
        Pod {
            address: ([10, 0, 0, 1], 8443).into(),
            region: region.to_owned(),
            readiness: Readiness::Ready,
        }
    }

    fn room(origin: Option<&str>, edges: &[&str]) -> Room {
        Room {
            access: Access {
                uid: RoomUid::new("1").unwrap(),
                publish: Admission::Anyone,
                watch: Admission::Anyone,
            },
            has_ended: false,
            ends_at: None,
            origin: origin.map(name),
            edges: edges.iter().map(|pod| edge(pod)).collect(),
        }
    }

    fn edge(pod: &str) -> Edge {
        Edge {
            pod: name(pod),
            is_fed: true,
            is_leaving: false,
        }
    }

    fn sessions(sessions: u32) -> Load {
        Load {
            sessions,
            most: 1000,
        }
    }

    /// Of pods by name, region and sessions.
    fn view(pods: &[(&str, &str, u32)]) -> View {
        let mut view = View::default();
        for (id, region, count) in pods {
            view.put_pod(name(id), pod(region));
            view.put_load(&name(id), sessions(*count));
        }
        view
    }

    fn picks(view: &View, room: &Room, protocol: Protocol, region: &str) -> Vec<String> {
        let candidates = view.candidates(room, protocol, region).unwrap_or_default();
        candidates
            .iter()
            .map(|candidate| candidate.pod.to_string())
            .collect()
    }

    #[test]
    fn hosts_go_to_the_origin_however_loaded() {
        let view = view(&[("origin", "eu", 900), ("edge", "eu", 0)]);
        let room = room(Some("origin"), &["edge"]);
        assert_eq!(picks(&view, &room, Protocol::Whip, "eu"), ["media/origin"]);
    }

    #[test]
    fn viewers_go_to_the_least_loaded_pod_of_their_region_first() {
        let view = view(&[
            ("origin", "eu", 50),
            ("a", "eu", 20),
            ("b", "us", 30),
            ("c", "us", 10),
            ("other", "us", 0),
        ]);
        let room = room(Some("origin"), &["a", "b", "c"]);
        for (region, order) in [
            ("us", ["media/c", "media/b", "media/a", "media/origin"]),
            ("eu", ["media/a", "media/origin", "media/c", "media/b"]),
            ("", ["media/c", "media/a", "media/b", "media/origin"]),
        ] {
            assert_eq!(
                picks(&view, &room, Protocol::Whep, region),
                order,
                "{region}"
            );
        }
    }

    #[test]
    fn pods_that_take_no_sessions_or_are_gone_are_passed_over() {
        let mut view = view(&[("origin", "eu", 1), ("a", "eu", 0), ("b", "eu", 5)]);
        let room = room(Some("origin"), &["a", "b"]);
        view.remove_pod(&name("b"));
        for readiness in [Readiness::Unready, Readiness::Leaving] {
            view.put_pod(name("a"), is(readiness));
            assert_eq!(picks(&view, &room, Protocol::Whep, "eu"), ["media/origin"]);
        }
    }

    fn is(readiness: Readiness) -> Pod {
        Pod {
            readiness,
            ..pod("eu")
        }
    }

    #[test]
    fn where_none_is_ready_those_that_stay_are_asked() {
        let mut view = view(&[("origin", "eu", 1), ("a", "eu", 0), ("b", "eu", 5)]);
        let room = room(Some("origin"), &["a", "b"]);
        for pod in ["origin", "b"] {
            view.put_pod(name(pod), is(Readiness::Unready));
        }
        view.put_pod(name("a"), is(Readiness::Leaving));
        let order = ["media/origin", "media/b"];
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu"), order);
        assert_eq!(picks(&view, &room, Protocol::Whip, "eu"), ["media/origin"]);
        view.put_pod(name("b"), is(Readiness::Ready));
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu"), ["media/b"]);
        for pod in ["origin", "b"] {
            view.put_pod(name(pod), is(Readiness::Leaving));
        }
        let refused = view.candidates(&room, Protocol::Whep, "eu").unwrap_err();
        assert_eq!(refused, Unavailable::NoPodReady);
    }

    #[test]
    fn viewers_go_where_the_room_is_and_stays_and_where_there_is_space() {
        let mut view = view(&[
            ("origin", "us", 999),
            ("full", "eu", 1000),
            ("new", "eu", 0),
            ("old", "eu", 0),
        ]);
        let mut room = room(Some("origin"), &["full", "new", "old"]);
        room.edges[1].is_fed = false;
        room.edges[2].is_leaving = true;
        let order = ["media/origin", "media/full", "media/new", "media/old"];
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu"), order);
        // The last place is promised to who was sent there.
        view.sent_to(&name("origin"));
        let order = ["media/full", "media/origin", "media/new", "media/old"];
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu"), order);
        assert_eq!(picks(&view, &room, Protocol::Whip, "eu"), ["media/origin"]);
    }

    #[test]
    fn it_says_why_there_is_no_pod() {
        let mut view = view(&[]);
        let reason =
            |view: &View, room: &Room| view.candidates(room, Protocol::Whep, "").unwrap_err();
        assert_eq!(reason(&view, &room(None, &[])), Unavailable::NotPlaced);
        let placed = room(Some("origin"), &[]);
        assert_eq!(reason(&view, &placed), Unavailable::NoPodReady);
        view.put_pod(name("origin"), pod(""));
        view.retain_pods(|_| false);
        assert_eq!(reason(&view, &placed), Unavailable::NoPodReady);
    }

    #[test]
    fn viewers_that_were_just_sent_somewhere_count_until_the_pod_counts_them() {
        let mut view = view(&[("a", "eu", 10), ("b", "eu", 12)]);
        let room = room(Some("a"), &["b"]);
        for expected in ["a", "a", "a", "b", "a", "b"] {
            let first = view
                .candidates(&room, Protocol::Whep, "eu")
                .unwrap()
                .remove(0)
                .pod;
            assert_eq!(first, name(expected));
            view.sent_to(&first);
        }
        // What else is new of a pod says nothing of its sessions.
        view.put_pod(name("b"), pod("eu"));
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu")[0], "media/a");
        view.put_load(&name("a"), sessions(15));
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu")[0], "media/b");
    }

    #[test]
    fn a_room_whose_origin_is_an_edge_too_names_it_once() {
        let view = view(&[("a", "eu", 0)]);
        assert_eq!(
            picks(&view, &room(Some("a"), &["a"]), Protocol::Whep, "eu"),
            ["media/a"]
        );
    }

    #[test]
    fn a_show_ends_by_word_or_by_the_clock() {
        let mut room = room(None, &[]);
        assert!(!room.is_over(u64::MAX));
        room.ends_at = Some(100);
        assert_eq!([99, 100].map(|now| room.is_over(now)), [false, true]);
        room.has_ended = true;
        assert!(room.is_over(0));
    }

    #[test]
    fn only_pods_that_share_a_room_are_asked_for_their_load() {
        let mut view = view(&[("a", "eu", 0), ("b", "eu", 0), ("c", "eu", 0)]);
        view.put_room(
            RoomName::new("shop", "one").unwrap(),
            room(Some("a"), &["b", "gone"]),
        );
        view.put_room(RoomName::new("shop", "two").unwrap(), room(Some("c"), &[]));
        let mut shared: Vec<_> = view.shared_pods().into_iter().map(|c| c.pod).collect();
        shared.sort();
        assert_eq!(shared, [name("a"), name("b")]);
    }

    proptest! {
        /// Whatever the loads, a viewer is sent to a pod of the room that takes sessions, and stays in their region if
        /// that has one.
        #[test]
        fn the_best_is_the_best(
            pods in prop::collection::vec((any::<bool>(), any::<bool>(), 0u32..5, any::<bool>()), 1..8),
        ) {
            let mut view = View::default();
            let mut room = room(None, &[]);
            let mut near = Vec::new();
            let mut all = Vec::new();
            for (index, (is_near, takes_sessions, sessions, is_edge)) in pods.into_iter().enumerate() {
                let region = if is_near { "eu" } else { "us" };
                let readiness = if takes_sessions { Readiness::Ready } else { Readiness::Leaving };
                let known = Pod { readiness, ..pod(region) };
                let pod = name(&format!("p{index}"));
                view.put_pod(pod.clone(), known);
                let load = Load { sessions, most: 1000 };
                view.put_load(&pod, load);
                if is_edge {
                    room.edges.push(Edge { pod, is_fed: true, is_leaving: false });
                    if takes_sessions {
                        all.push(sessions);
                        near.extend(is_near.then_some(sessions));
                    }
                }
            }
            let best = view.candidates(&room, Protocol::Whep, "eu").map(|c| c[0].pod.clone());
            match near.iter().min().or(all.iter().min()) {
                None => prop_assert!(best.is_err()),
                Some(least) => {
                    let best = &view.pods[&best.unwrap()];
                    prop_assert_eq!(best.sessions(), *least);
                    prop_assert!(near.is_empty() || best.pod.region == "eu");
                }
            }
        }
    }
}
