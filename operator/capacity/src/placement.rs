//! Which pods carry which room.
//!
//! A room is on one pod, its *origin*, as long as it fits there; a larger one is a tree of pods, in which each *edge*
//! takes the room from its parent and serves viewers of its own. One pass ([`plan`]) looks at all rooms and pods as
//! they are and says how they should be:
//!
//! - Who is somewhere stays there. A room leaves a pod only if that is gone, drains, or may not have the room any more.
//! - Each room has space for the viewers that it expects, or that it has and a few more, whichever is more.
//! - Pods are filled to a *target*, so that a room is split before its pod is hot. Only where nothing else is left they
//!   are filled up to the *limit*, and never beyond; rooms that have no pod yet go before those that want more, and
//!   viewers who are there, with a few more, before those who are only expected: what is kept for those is given up
//!   for them.
//! - A room takes no small part of a pod that it needs a large one of, since it may have only so many pods.
//! - New rooms go to the fullest pod that has space, so that others can empty, but origins of a site are spread over
//!   its zones: no zone has many more than its share.
//! - While a site replaces its pods by newer ones, rooms that must move go to those, the emptiest first: neither do they
//!   move again with the next pod, nor does the first new pod get all of them.
//! - An edge that is not needed any more gets no more viewers, and is taken off when the last one has left.
//!
//! The caller keeps the viewers that each pod was meant to have, and gives them with the next pass
//! ([`Present::reserved`]): so a pass over what the last one has said changes nothing.

mod books;
mod choose;
mod pass;
mod tree;

#[cfg(test)]
mod tests;

use crate::load::{Load, Rate};

pub use pass::plan;

/// A pod's position in the list of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodIndex(pub u32);

impl PodIndex {
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

/// A MediaNode, by a number of the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(pub u16);

/// A region, by a number of the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(pub u16);

/// What fails together (a zone of a region), by a number of the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub u16);

/// A pod that may carry rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its MediaNode.
    pub site: Site,
    /// Where that is.
    pub region: Region,
    /// What it fails with.
    pub zone: Zone,
    /// Where it is in its life.
    pub state: PodState,
    /// Whether its site is replacing it by a newer one: it takes rooms only if nothing else does.
    pub is_outdated: bool,
    /// The most that it takes.
    pub capacity: Load,
    /// What is on it besides the rooms of this pass, such as rooms that are over.
    pub other: Load,
}

/// Where a pod is in its life, as far as rooms mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It takes rooms and viewers.
    Ready,
    /// It takes no more; those on it can be handed on.
    Draining,
    /// It is not there, does not answer, or never will.
    Gone,
}

/// Which sites may carry a room: those of the first tier rather than those of the next, and no others. Rooms with the
/// same wishes share one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// A tier for each of the room's regions, in its order, with the sites there that take its namespace.
    pub tiers: Vec<Vec<Site>>,
}

/// A room that is to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Which sites may carry it: a position in the list of reaches.
    pub reach: usize,
    /// Viewers to have space for; whoever is there counts anyway, and first.
    pub expected: u32,
    /// What a viewer costs the pod that serves it.
    pub per_viewer: Rate,
    /// What an edge costs the pod that it takes the room from: all layers that are on air.
    pub per_edge: Rate,
    /// Where it is now, on pods that are gone too: whoever was there comes back.
    pub present: Vec<Present>,
}

/// A pod's part in a room, as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Which pod.
    pub pod: PodIndex,
    /// The pod that it takes the room from; none for the origin.
    pub parent: Option<PodIndex>,
    /// Viewers of the room who are there.
    pub viewers: u32,
    /// Viewers whom the last pass has meant to be there ([`Share::viewers`]).
    pub reserved: u32,
    /// Whether a host is connected there.
    pub has_host: bool,
}

/// A pod's part in a room, as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which pod.
    pub pod: PodIndex,
    /// The pod that it takes the room from; none for the origin.
    pub parent: Option<PodIndex>,
    /// Viewers of the room to have there. Where there are as many, further ones go to another; with 0 it is to
    /// empty.
    pub viewers: u32,
}

/// How rooms are to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How full pods are made, in per cent of their capacity.
    pub target_percent: u32,
    /// How full they are made when nothing else is left, in per cent. What is left above it is for edges.
    pub limit_percent: u32,
    /// Space for more viewers than there are, in per cent of them. It is for those who come until the next pass, a
    /// second later: what is kept for rooms that don't grow, rooms that do can't have.
    pub growth_percent: u32,
    /// The least space for more viewers than there are.
    pub growth_viewers: u32,
    /// The most edges that take a room from one pod.
    pub fan_out: u16,
    /// The most hops from the origin to an edge.
    pub depth: u8,
    /// The most pods of a room.
    pub pods: u16,
    /// A pod does not become an edge for fewer viewers than this share of its capacity, in per cent, unless that is all
    /// that is needed.
    pub slice_percent: u32,
    /// The same where nothing is left up to the target: what is free then is in small parts.
    pub last_slice_percent: u32,
    /// How much more than needed the rest of a room's pods must have, in per cent, before an edge is given up.
    pub spare_percent: u32,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            target_percent: 94,
            limit_percent: 98,
            growth_percent: 3,
            growth_viewers: 3,
            fan_out: 16,
            depth: 3,
            pods: 256,
            slice_percent: 5,
            last_slice_percent: 1,
            spare_percent: 25,
        }
    }
}

/// How all rooms should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the rooms.
    pub rooms: Vec<RoomPlan>,
}

/// How one room should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPlan {
    /// Its pods, each after its parent: the origin is the first. Empty if no pod takes it.
    pub shares: Vec<Share>,
    /// Viewers for whom there is no space anywhere.
    pub unmet: u32,
    /// Why that is, if it is.
    pub why: Option<Unplaceable>,
}

impl RoomPlan {
    /// The pod that hosts publish to.
    #[must_use]
    pub fn origin(&self) -> Option<PodIndex> {
        self.shares.first().map(|share| share.pod)
    }
}

/// Why a room, or a part of it, has no pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplaceable {
    /// No pod that may have it is ready.
    #[error("no media pod is ready that may have the room")]
    NoneReady,
    /// All that may have it are full.
    #[error("all media pods that may have the room are full")]
    Full,
    /// The tree has no place for another edge: fan-out and depth are exhausted, or its pods have nothing left to send.
    #[error("the room's tree of pods takes no further edge")]
    TreeFull,
}
