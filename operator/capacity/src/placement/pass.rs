//! One pass over all rooms.

use super::books::{Books, Level};
use super::choose::{Candidates, Part};
use super::tree::Tree;
use super::{
    Plan, Pod, PodIndex, PodState, Present, Reach, Region, Room, RoomPlan, Rules, Share,
    Unplaceable,
};
use crate::load::Load;

/// How all rooms should be, by how they and the pods are.
#[must_use]
pub fn plan(pods: &[Pod], reaches: &[Reach], rooms: &[Room], rules: &Rules) -> Plan {
    let mut pass = Pass {
        pods,
        reaches,
        rules,
        books: Books::new(pods, rules),
        candidates: Candidates::new(pods, reaches),
    };
    let mut works: Vec<Work<'_>> = rooms.iter().map(|room| pass.stay(room)).collect();
    for work in &mut works {
        pass.keep_reserved(work);
    }
    for work in &mut works {
        pass.shrink(work);
        pass.stretch(work, Level::Target);
    }
    let mut waiting: Vec<usize> = (0..works.len())
        .filter(|at| works[*at].left > 0 || works[*at].tree.nodes.is_empty())
        .collect();
    // Those who were cut off first, then the largest, for which there is the least choice.
    waiting.sort_by_key(|at| (!works[*at].is_cut_off, u32::MAX - works[*at].left, *at));
    for at in &waiting {
        pass.extend(&mut works[*at], Level::Target);
    }
    // Nothing is left up to the targets. Rooms that have no pod at all go first: without one nobody can watch. Then
    // come viewers who are there, at last those who are only expected.
    waiting.sort_by_key(|at| !works[*at].tree.nodes.is_empty());
    let lenders = pass.serve_present(&mut works, &waiting);
    for at in waiting.iter().chain(&lenders) {
        pass.fill(&mut works[*at], Level::Limit);
    }
    Plan {
        rooms: works.iter().map(Work::finish).collect(),
    }
}

struct Pass<'a> {
    pods: &'a [Pod],
    reaches: &'a [Reach],
    rules: &'a Rules,
    books: Books,
    candidates: Candidates,
}

/// A room in work.
struct Work<'a> {
    room: &'a Room,
    tree: Tree,
    /// Viewers to have space for.
    need: u32,
    /// Of those, the ones who are only expected: they come last.
    promised: u32,
    /// Of all, the ones for whom there is no space yet.
    left: u32,
    /// Whether viewers of it were on a pod that is gone.
    is_cut_off: bool,
    why: Option<Unplaceable>,
}

impl Pass<'_> {
    /// What stays where it is: viewers on pods that serve, and the links between these.
    fn stay<'r>(&mut self, room: &'r Room) -> Work<'r> {
        let mut stay: Vec<(Present, Region)> = Vec::with_capacity(room.present.len());
        for part in &room.present {
            if self.may_stay(room, part.pod) && !stay.iter().any(|(one, _)| one.pod == part.pod) {
                stay.push((*part, self.candidates.region(part.pod)));
            }
        }
        let tree = Tree::rebuild(&stay, self.rules);
        for node in &tree.nodes {
            self.books.book(node.pod, &served(room, node.present, 1));
            if let Some(parent) = node.parent {
                let edge = room.per_edge.of(1);
                self.books.book(tree.nodes[parent].pod, &edge);
            }
        }
        if let Some(origin) = tree.nodes.first() {
            self.candidates.count_origin(origin.pod);
        }
        let (need, promised) = self.need(room);
        let there = tree.nodes.iter().map(|node| node.present);
        Work {
            left: there.fold(need, u32::saturating_sub),
            is_cut_off: room.present.iter().any(|part| self.is_gone(part)),
            room,
            tree,
            need,
            promised,
            why: None,
        }
    }

    fn may_stay(&self, room: &Room, pod: PodIndex) -> bool {
        let Some(pod) = self.pods.get(pod.at()) else {
            return false;
        };
        let reach = self.reaches.get(room.reach);
        let is_allowed = reach.is_some_and(|reach| {
            let mut sites = reach.tiers.iter().flatten();
            sites.any(|site| *site == pod.site)
        });
        pod.state == PodState::Ready && is_allowed
    }

    fn is_gone(&self, part: &Present) -> bool {
        let pod = self.pods.get(part.pod.at());
        pod.is_none_or(|pod| pod.state == PodState::Gone)
    }

    /// Viewers to have space for: those who are expected, or those who are there and some more. And how many of them are
    /// only expected.
    fn need(&self, room: &Room) -> (u32, u32) {
        let there = room.present.iter().map(|part| part.viewers);
        let there = there.fold(0, u32::saturating_add);
        let growth = u64::from(there) * u64::from(self.rules.growth_percent) / 100;
        let growth = u32::try_from(growth).unwrap_or(u32::MAX);
        let grown = there.saturating_add(growth.max(self.rules.growth_viewers));
        let need = room.expected.max(grown);
        (need, need - grown)
    }

    /// Space up to the limit for viewers who are there: where nothing is left, what is kept for those who are only
    /// expected. Returns the rooms that had to give some of that away.
    fn serve_present(&mut self, works: &mut [Work<'_>], waiting: &[usize]) -> Vec<usize> {
        for at in waiting {
            self.fill_for_present(&mut works[*at], Level::Limit);
        }
        let is_short = |at: &usize| works[*at].lacks_present();
        let short: Vec<usize> = waiting.iter().copied().filter(is_short).collect();
        if short.is_empty() {
            return Vec::new();
        }
        let lent: Vec<Vec<(usize, u32)>> = works.iter_mut().map(|work| self.lend(work)).collect();
        for level in [Level::Target, Level::Limit] {
            for at in &short {
                self.fill_for_present(&mut works[*at], level);
            }
        }
        let mut lenders = Vec::new();
        for (at, lent) in lent.into_iter().enumerate() {
            let work = &mut works[at];
            let lacked = work.left;
            let all: u32 = lent.iter().map(|(_, viewers)| viewers).sum();
            for (node, viewers) in lent {
                self.reserve(work, node, Level::Limit, viewers);
            }
            if lacked - work.left < all {
                lenders.push(at);
            }
        }
        lenders
    }

    /// Gives what is kept for viewers who are only expected back to the pods. Returns for how many it was, by node.
    fn lend(&mut self, work: &mut Work<'_>) -> Vec<(usize, u32)> {
        let mut lent = Vec::new();
        for at in (0..work.tree.nodes.len()).rev() {
            let node = work.tree.nodes[at];
            let spare = work.promised.saturating_sub(work.left);
            let viewers = spare.min(node.viewers - node.present);
            if viewers > 0 {
                self.books.release(node.pod, &served(work.room, viewers, 0));
                work.tree.nodes[at].viewers -= viewers;
                work.left += viewers;
                lent.push((at, viewers));
            }
        }
        lent
    }

    /// As [`Self::fill`], for viewers who are there and those who come next.
    fn fill_for_present(&mut self, work: &mut Work<'_>, level: Level) {
        let promised = work.promised.min(work.left);
        work.left -= promised;
        self.fill(work, level);
        work.left += promised;
    }

    /// Uses what is free on the room's own pods, then others.
    fn fill(&mut self, work: &mut Work<'_>, level: Level) {
        self.stretch(work, level);
        self.extend(work, level);
    }

    /// What the last pass kept free for the room stays so, as far as it is needed: beyond the target too, or what one
    /// gives up another would take.
    fn keep_reserved(&mut self, work: &mut Work<'_>) {
        for at in 0..work.tree.nodes.len() {
            let node = &work.tree.nodes[at];
            let reserved = node.reserved.saturating_sub(node.viewers);
            self.reserve(work, at, Level::Limit, reserved);
        }
    }

    /// Uses what is free on the room's own pods.
    fn stretch(&mut self, work: &mut Work<'_>, level: Level) {
        for at in 0..work.tree.nodes.len() {
            if !work.tree.nodes[at].closes {
                self.reserve(work, at, level, u32::MAX);
            }
        }
    }

    fn reserve(&mut self, work: &mut Work<'_>, at: usize, level: Level, most: u32) {
        let wanted = most.min(work.left);
        if wanted == 0 {
            return;
        }
        let pod = work.tree.nodes[at].pod;
        let taken = wanted.min(self.books.space(pod, level, &work.room.per_viewer));
        self.books.book(pod, &served(work.room, taken, 0));
        work.tree.nodes[at].viewers += taken;
        work.left -= taken;
    }

    /// Gives up edges that the room does not need: those without viewers at once, and one more when its viewers have
    /// left.
    fn shrink(&mut self, work: &mut Work<'_>) {
        while let Some(at) = self.spare_edge(work) {
            let node = work.tree.nodes[at];
            let surplus = node.viewers - node.present;
            self.books.release(node.pod, &served(work.room, surplus, 0));
            work.left += surplus;
            if node.present > 0 {
                let node = &mut work.tree.nodes[at];
                node.viewers = node.present;
                node.closes = true;
                return;
            }
            work.tree.remove(at);
            self.books.release(node.pod, &served(work.room, 0, 1));
            if let Some(parent) = node.parent {
                let edge = work.room.per_edge.of(1);
                self.books.release(work.tree.nodes[parent].pod, &edge);
            }
        }
    }

    /// The edge with the fewest viewers, if the room's other pods could do without it.
    fn spare_edge(&self, work: &Work<'_>) -> Option<usize> {
        let tree = &work.tree;
        let edges = (1..tree.nodes.len())
            .rev()
            .filter(|at| tree.is_leaf(*at) && !tree.nodes[*at].has_host);
        let at = edges.min_by_key(|at| tree.nodes[*at].present)?;
        let needed = u64::from(work.need) * u64::from(100 + self.rules.spare_percent) / 100;
        let rate = &work.room.per_viewer;
        let nodes = tree.nodes.iter().enumerate();
        let others = nodes.filter(|(other, _)| *other != at);
        let space = others
            .map(|(_, node)| {
                let free = self.books.space(node.pod, Level::Target, rate);
                u64::from(node.viewers) + u64::from(free)
            })
            .fold(0, u64::saturating_add);
        (space >= needed).then_some(at)
    }

    /// Adds pods to a room for as long as it needs some and there are some.
    fn extend(&mut self, work: &mut Work<'_>, level: Level) {
        work.why = None;
        while work.left > 0 || work.tree.nodes.is_empty() {
            if let Err(why) = self.add_pod(work, level) {
                work.why = Some(why);
                return;
            }
        }
    }

    fn add_pod(&mut self, work: &mut Work<'_>, level: Level) -> Result<(), Unplaceable> {
        if work.tree.nodes.len() >= usize::from(self.rules.pods) {
            return Err(Unplaceable::TreeFull);
        }
        let Some(pod) = self.find(work, level) else {
            return Err(if self.candidates.has_any(work.room.reach) {
                Unplaceable::Full
            } else {
                Unplaceable::NoneReady
            });
        };
        let region = self.candidates.region(pod);
        let edge = work.room.per_edge.of(1);
        let parent = if work.tree.nodes.is_empty() {
            self.candidates.count_origin(pod);
            None
        } else {
            let can = |pod| self.books.fits(pod, Level::Capacity, &edge);
            let parent = work.tree.parent_for(region, self.rules, can);
            let parent = parent.ok_or(Unplaceable::TreeFull)?;
            self.books.book(work.tree.nodes[parent].pod, &edge);
            Some(parent)
        };
        self.books.book(pod, &served(work.room, 0, 1));
        work.tree.add(pod, region, parent);
        self.reserve(work, work.tree.nodes.len() - 1, level, u32::MAX);
        Ok(())
    }

    /// The pod for the most of what is left.
    fn find(&self, work: &Work<'_>, level: Level) -> Option<PodIndex> {
        let room = work.room;
        let origin = work.tree.nodes.first();
        let part = origin.map_or(Part::Origin, |origin| Part::Edge(origin.region));
        let is_last_resort = part == Part::Origin && level == Level::Limit;
        let is_taken = |pod| work.tree.find(pod).is_some();
        let least = work.left.max(1);
        let whole = served(room, least, 1);
        let is_worth_it = |pod: PodIndex| {
            let slice = if is_last_resort {
                1
            } else {
                self.slice(pod, level).min(least).max(self.share(pod, work))
            };
            self.books.fits(pod, level, &served(room, slice, 1)) && !is_taken(pod)
        };
        let (candidates, books) = (&self.candidates, &self.books);
        candidates
            .whole(room.reach, part, (&whole, level), books, is_taken)
            .or_else(|| {
                let with = (&room.per_viewer, level);
                candidates.largest(room.reach, part, with, books, is_worth_it)
            })
    }

    /// The fewest viewers for whom a pod becomes an edge.
    fn slice(&self, pod: PodIndex, level: Level) -> u32 {
        let viewers = self.pods[pod.at()].capacity.viewers;
        let percent = match level {
            Level::Target => self.rules.slice_percent,
            Level::Limit | Level::Capacity => self.rules.last_slice_percent,
        };
        let slice = viewers.saturating_mul(percent.into()) / 100;
        u32::try_from(slice).unwrap_or(u32::MAX).max(1)
    }

    /// The fewest viewers for whom a room takes one of the pods that it may still have: with as many on each all that
    /// are left have a place. A pod that can be half the room's is always worth it.
    fn share(&self, pod: PodIndex, work: &Work<'_>) -> u32 {
        let places = usize::from(self.rules.pods).saturating_sub(work.tree.nodes.len());
        let places = u32::try_from(places).unwrap_or(u32::MAX).max(1);
        let all = work
            .room
            .per_viewer
            .viewers_in(&self.pods[pod.at()].capacity);
        let half = u32::try_from(all / 2).unwrap_or(u32::MAX);
        (work.left / places).min(half)
    }
}

/// What a room costs a pod that serves so many of its viewers.
fn served(room: &Room, viewers: u32, rooms: u64) -> Load {
    Load {
        rooms,
        ..room.per_viewer.of(viewers.into())
    }
}

impl Work<'_> {
    /// Whether there is no space for viewers who are there and those who come next, or no pod at all.
    fn lacks_present(&self) -> bool {
        self.left > self.promised || self.tree.nodes.is_empty()
    }

    fn finish(&self) -> RoomPlan {
        let nodes = &self.tree.nodes;
        let shares = nodes.iter().map(|node| Share {
            pod: node.pod,
            parent: node.parent.map(|parent| nodes[parent].pod),
            viewers: if node.closes { 0 } else { node.viewers },
        });
        RoomPlan {
            shares: shares.collect(),
            unmet: self.left,
            why: self.why,
        }
    }
}
