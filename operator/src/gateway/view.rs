//! What the gateway knows of the cluster, and which pod it picks by it.
//!
//! Plain values: watches of the API server fill it, or tests by hand. What it last heard stays true for it, so
//! that rooms stay open while the API server is away.

use std::collections::HashMap;
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
    /// Whether the show is over.
    pub is_over: bool,
    /// The pod that publishers send to.
    pub origin: Option<PodName>,
    /// The pods that relay it.
    pub edges: Vec<PodName>,
}

/// A media pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Where its signalling listens.
    pub address: SocketAddr,
    /// The region that its site is in; empty if it has none.
    pub region: String,
    /// Whether it takes new sessions: it answers and does not drain.
    pub takes_sessions: bool,
    /// Sessions on it, as it last said.
    pub sessions: u32,
}

#[derive(Debug)]
struct Known {
    pod: Pod,
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
        let sent = match self.pods.get(&name) {
            Some(known) if known.pod.sessions == pod.sessions => known.sent,
            _ => 0,
        };
        self.pods.insert(name, Known { pod, sent });
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

    /// Takes note that a viewer was sent to a pod.
    pub fn sent_to(&mut self, pod: &PodName) {
        if let Some(known) = self.pods.get_mut(pod) {
            known.sent = known.sent.saturating_add(1);
        }
    }

    /// The pods that a new session may go to, best first and at least one: for a host the origin, for a viewer those
    /// of the room with the nearest first, and of those the least loaded.
    ///
    /// # Errors
    /// If there is none.
    pub fn candidates(
        &self,
        room: &Room,
        protocol: Protocol,
        region: &str,
    ) -> Result<Vec<Candidate>, Unavailable> {
        let edges: &[PodName] = match protocol {
            Protocol::Whip => &[],
            Protocol::Whep => &room.edges,
        };
        let names: Vec<&PodName> = room.origin.iter().chain(edges).collect();
        if names.is_empty() {
            return Err(Unavailable::NotPlaced);
        }
        let mut ready: Vec<_> = names
            .into_iter()
            .filter_map(|name| self.pods.get_key_value(name))
            .filter(|(_, known)| known.pod.takes_sessions)
            .collect();
        ready.sort_by_key(|(name, known)| {
            let is_elsewhere = known.pod.region != region;
            let load = known.pod.sessions.saturating_add(known.sent);
            (is_elsewhere, load, *name)
        });
        ready.dedup_by_key(|(name, _)| *name);
        let candidates: Vec<Candidate> = ready
            .into_iter()
            .map(|(pod, known)| Candidate {
                pod: pod.clone(),
                address: known.pod.address,
            })
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

    fn pod(region: &str, sessions: u32) -> Pod {
        Pod {
            address: ([10, 0, 0, 1], 8443).into(),
            region: region.to_owned(),
            takes_sessions: true,
            sessions,
        }
    }

    fn room(origin: Option<&str>, edges: &[&str]) -> Room {
        Room {
            access: Access {
                uid: RoomUid::new("1").unwrap(),
                publish: Admission::Anyone,
                watch: Admission::Anyone,
                verifier: Arc::default(),
            },
            is_over: false,
            origin: origin.map(name),
            edges: edges.iter().map(|edge| name(edge)).collect(),
        }
    }

    fn view(pods: &[(&str, Pod)]) -> View {
        let mut view = View::default();
        for (pod, known) in pods {
            view.put_pod(name(pod), known.clone());
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
        let view = view(&[("origin", pod("eu", 900)), ("edge", pod("eu", 0))]);
        let room = room(Some("origin"), &["edge"]);
        assert_eq!(picks(&view, &room, Protocol::Whip, "eu"), ["media/origin"]);
    }

    #[test]
    fn viewers_go_to_the_least_loaded_pod_of_their_region_first() {
        let view = view(&[
            ("origin", pod("eu", 50)),
            ("a", pod("eu", 20)),
            ("b", pod("us", 30)),
            ("c", pod("us", 10)),
            ("other", pod("us", 0)),
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
        let mut view = view(&[
            ("origin", pod("eu", 1)),
            ("a", pod("eu", 0)),
            ("b", pod("eu", 5)),
        ]);
        let room = room(Some("origin"), &["a", "b"]);
        view.put_pod(
            name("a"),
            Pod {
                takes_sessions: false,
                ..pod("eu", 0)
            },
        );
        view.remove_pod(&name("b"));
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu"), ["media/origin"]);
    }

    #[test]
    fn it_says_why_there_is_no_pod() {
        let mut view = view(&[]);
        let reason =
            |view: &View, room: &Room| view.candidates(room, Protocol::Whep, "").unwrap_err();
        assert_eq!(reason(&view, &room(None, &[])), Unavailable::NotPlaced);
        let placed = room(Some("origin"), &[]);
        assert_eq!(reason(&view, &placed), Unavailable::NoPodReady);
        view.put_pod(name("origin"), pod("", 0));
        view.retain_pods(|_| false);
        assert_eq!(reason(&view, &placed), Unavailable::NoPodReady);
    }

    #[test]
    fn viewers_that_were_just_sent_somewhere_count_until_the_pod_counts_them() {
        let mut view = view(&[("a", pod("eu", 10)), ("b", pod("eu", 12))]);
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
        view.put_pod(name("b"), pod("eu", 12));
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu")[0], "media/a");
        view.put_pod(name("a"), pod("eu", 15));
        assert_eq!(picks(&view, &room, Protocol::Whep, "eu")[0], "media/b");
    }

    #[test]
    fn a_room_whose_origin_is_an_edge_too_names_it_once() {
        let view = view(&[("a", pod("eu", 0))]);
        assert_eq!(
            picks(&view, &room(Some("a"), &["a"]), Protocol::Whep, "eu"),
            ["media/a"]
        );
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
                let known = Pod { takes_sessions, ..pod(region, sessions) };
                let pod = name(&format!("p{index}"));
                view.put_pod(pod.clone(), known);
                if is_edge {
                    room.edges.push(pod);
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
                    let best = &view.pods[&best.unwrap()].pod;
                    prop_assert_eq!(best.sessions, *least);
                    prop_assert!(near.is_empty() || best.region == "eu");
                }
            }
        }
    }
}
