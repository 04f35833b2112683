//! The rooms that a node was told to take. A node without such a list takes any.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use showrunner_protocol::control::RoomAssignment;
use showrunner_protocol::room::RoomUid;

use crate::room::RoomName;

/// The most rooms of a node, unless it is told otherwise: as many as a status is sure to fit.
pub const MAX_ROOMS: usize = 10_000;

/// What an assignment changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// The room is new here.
    New,
    /// The room was here, with this generation or an older one.
    Known,
    /// The room was here and is another one now: the sessions of the old one end.
    Replaced,
}

/// Why an assignment was not taken.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AssignError {
    /// The node has heard of a newer one (409).
    #[error("the node has generation {0} of this room, which is newer")]
    Stale(u64),
    /// The node has heard of a later change of the room's pods (409).
    #[error("the node has revision {0} of this room's pods, which is newer")]
    Superseded(u64),
    /// The node takes no new rooms (503).
    #[error("the node is draining and takes no new rooms")]
    Draining,
    /// The node has all the rooms that it may have (503).
    #[error("the node has {0} rooms, which is all that it may have")]
    Full(usize),
    /// The node is none of a cluster (409).
    #[error("the node takes any room and is assigned none")]
    TakesAny,
}

/// Why a room was not ended.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EndRoomError {
    /// It is not here (404).
    #[error("the node has no such room")]
    NotFound,
    /// Another room of that name is here (409).
    #[error("the node has another room of that name")]
    OtherUid,
}

/// The rooms of a node, by name.
#[derive(Debug)]
pub(super) struct Assignments {
    most: usize,
    known: HashMap<RoomName, RoomAssignment>,
}

impl Assignments {
    /// None yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Assignments {
        let known = HashMap::new();
        Assignments { most, known }
    }

    /// Takes an assignment. While draining, only rooms that are here already are changed.
    pub(super) fn put(
        &mut self,
        name: RoomName,
        assignment: RoomAssignment,
        draining: bool,
    ) -> Result<Assigned, AssignError> {
        let full = self.known.len() >= self.most;
        let mut known = match self.known.entry(name) {
            Entry::Occupied(known) => known,
            Entry::Vacant(_) if draining => return Err(AssignError::Draining),
            Entry::Vacant(_) if full => return Err(AssignError::Full(self.most)),
            Entry::Vacant(new) => {
                new.insert(assignment);
                return Ok(Assigned::New);
            }
        };
        let RoomAssignment {
            uid,
            generation,
            revision,
            ..
        } = known.get();
        if *uid != assignment.uid {
            if draining {
                return Err(AssignError::Draining);
            }
            known.insert(assignment);
            return Ok(Assigned::Replaced);
        }
        if *generation > assignment.generation {
            return Err(AssignError::Stale(*generation));
        }
        if *revision > assignment.revision {
            return Err(AssignError::Superseded(*revision));
        }
        known.insert(assignment);
        Ok(Assigned::Known)
    }

    /// Forgets a room, if it is the one meant.
    pub(super) fn remove(&mut self, name: &RoomName, uid: &RoomUid) -> Result<(), EndRoomError> {
        let known = self.known.get(name).ok_or(EndRoomError::NotFound)?;
        if known.uid != *uid {
            return Err(EndRoomError::OtherUid);
        }
        self.known.remove(name);
        Ok(())
    }

    pub(super) fn get(&self, name: &RoomName) -> Option<&RoomAssignment> {
        self.known.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &RoomName> {
        self.known.keys()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use showrunner_protocol::control::{HostSource, PodRole, RoomLimits, Title, VideoRules};

    use super::*;

    fn name() -> RoomName {
        RoomName::new("shop", "sale").unwrap()
    }

    fn of(uid: &str, generation: u64) -> RoomAssignment {
        RoomAssignment {
            uid: RoomUid::new(uid).unwrap(),
            generation,
            revision: 0,
            title: Title::default(),
            role: PodRole::Origin,
            limits: RoomLimits::default(),
            leave: None,
            awaits_host: false,
            host: HostSource::Publish,
            video: VideoRules::default(),
        }
    }

    #[test]
    fn a_change_of_pods_that_comes_late_changes_nothing() {
        let mut rooms = Assignments::new(MAX_ROOMS);
        let at = |generation, revision| RoomAssignment {
            revision,
            ..of("a", generation)
        };
        for (assignment, expected) in [
            (at(1, 5), Ok(Assigned::New)),
            (at(1, 5), Ok(Assigned::Known)),
            (at(1, 4), Err(AssignError::Superseded(5))),
            (at(2, 4), Err(AssignError::Superseded(5))),
            (at(2, 6), Ok(Assigned::Known)),
        ] {
            assert_eq!(rooms.put(name(), assignment, false), expected);
        }
        assert_eq!(rooms.get(&name()).map(|known| known.revision), Some(6));
    }

    #[test]
    fn what_is_older_changes_nothing() {
        let mut rooms = Assignments::new(MAX_ROOMS);
        for (uid, generation, expected) in [
            ("a", 2, Ok(Assigned::New)),
            ("a", 2, Ok(Assigned::Known)),
            ("a", 3, Ok(Assigned::Known)),
            ("a", 2, Err(AssignError::Stale(3))),
            ("b", 1, Ok(Assigned::Replaced)),
            ("b", 0, Err(AssignError::Stale(1))),
        ] {
            let answer = rooms.put(name(), of(uid, generation), false);
            assert_eq!(answer, expected, "{uid} {generation}");
        }
        assert_eq!(rooms.get(&name()), Some(&of("b", 1)));
    }

    #[test]
    fn a_late_end_does_not_hit_the_next_room() {
        let mut rooms = Assignments::new(MAX_ROOMS);
        let (old, new) = (of("a", 1), of("b", 1));
        rooms.put(name(), new.clone(), false).unwrap();
        assert_eq!(rooms.remove(&name(), &old.uid), Err(EndRoomError::OtherUid));
        assert_eq!(rooms.remove(&name(), &new.uid), Ok(()));
        assert_eq!(rooms.remove(&name(), &new.uid), Err(EndRoomError::NotFound));
    }

    #[test]
    fn a_draining_node_keeps_its_rooms_and_takes_no_others() {
        let mut rooms = Assignments::new(MAX_ROOMS);
        rooms.put(name(), of("a", 1), false).unwrap();
        assert_eq!(rooms.put(name(), of("a", 2), true), Ok(Assigned::Known));
        assert_eq!(
            rooms.put(name(), of("b", 1), true),
            Err(AssignError::Draining)
        );
        let other = RoomName::new("shop", "other").unwrap();
        assert_eq!(
            rooms.put(other, of("c", 1), true),
            Err(AssignError::Draining)
        );
        assert_eq!(rooms.get(&name()), Some(&of("a", 2)));
    }

    #[test]
    fn rooms_are_bounded() {
        const MOST: usize = 3;
        let mut rooms = Assignments::new(MOST);
        let numbered = |n: usize| RoomName::new("shop", &n.to_string()).unwrap();
        for n in 0..MOST {
            rooms.put(numbered(n), of("a", 1), false).unwrap();
        }
        assert_eq!(
            rooms.put(numbered(MOST), of("a", 1), false),
            Err(AssignError::Full(MOST))
        );
        assert_eq!(
            rooms.put(numbered(0), of("a", 2), false),
            Ok(Assigned::Known)
        );
    }

    proptest! {
        /// In whatever order the generations of one room arrive, the newest stays.
        #[test]
        fn the_newest_stays(generations in prop::collection::vec(0u64..20, 1..20)) {
            let mut rooms = Assignments::new(MAX_ROOMS);
            for generation in &generations {
                let _ = rooms.put(name(), of("a", *generation), false);
            }
            let kept = rooms.get(&name()).map(|known| known.generation);
            prop_assert_eq!(kept, generations.into_iter().max());
        }
    }
}
