//! A room's pods as a tree: the origin, and edges that take the room from a parent.

use super::{PodIndex, Present, Region, Rules};

/// A room's pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) pod: PodIndex,
    pub(super) region: Region,
    /// Its parent's position in the tree; none for the origin.
    pub(super) parent: Option<usize>,
    depth: u8,
    children: u16,
    /// Viewers who are there.
    pub(super) present: u32,
    /// Viewers whom the last pass has meant to be there.
    pub(super) reserved: u32,
    /// Viewers who should be there.
    pub(super) viewers: u32,
    pub(super) has_host: bool,
    /// It gets no more viewers.
    pub(super) closes: bool,
}

/// The pods of a room, each after its parent.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

impl Tree {
    /// A tree of the parts that stay, with as many of its links as hold. Parts that no parent has a place for are left
    /// out: nobody could feed them.
    pub(super) fn rebuild(stay: &[(Present, Region)], rules: &Rules) -> Tree {
        let mut tree = Tree::default();
        let Some(origin) = origin(stay) else {
            return tree;
        };
        tree.push(&stay[origin].0, stay[origin].1, None);
        let mut rest: Vec<&(Present, Region)> = stay
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != origin)
            .map(|(_, part)| part)
            .collect();
        while !rest.is_empty() {
            rest.retain(|(part, region)| {
                let parent = part.parent.and_then(|parent| tree.find(parent));
                let takes = parent.filter(|parent| tree.takes_child(*parent, rules));
                if takes.is_some() {
                    tree.push(part, *region, takes);
                }
                takes.is_none()
            });
            // What lost its parent brings its own edges along: those are linked in the next round.
            let Some(orphan) = largest(&rest) else {
                break;
            };
            let (part, region) = *rest.swap_remove(orphan);
            if let Some(parent) = tree.parent_for(region, rules, |_| true) {
                tree.push(&part, region, Some(parent));
            }
        }
        tree
    }

    fn push(&mut self, part: &Present, region: Region, parent: Option<usize>) {
        self.link(Node {
            pod: part.pod,
            region,
            parent,
            depth: 0,
            children: 0,
            present: part.viewers,
            reserved: part.reserved,
            viewers: part.viewers,
            has_host: part.has_host,
            closes: false,
        });
    }

    /// A further pod, that serves nobody yet.
    pub(super) fn add(&mut self, pod: PodIndex, region: Region, parent: Option<usize>) {
        let part = Present {
            pod,
            parent: None,
            viewers: 0,
            reserved: 0,
            has_host: false,
        };
        self.push(&part, region, parent);
    }

    fn link(&mut self, mut node: Node) {
        if let Some(parent) = node.parent {
            node.depth = self.nodes[parent].depth + 1;
            self.nodes[parent].children += 1;
        }
        self.nodes.push(node);
    }

    /// Takes a leaf off.
    pub(super) fn remove(&mut self, at: usize) -> Node {
        let node = self.nodes.remove(at);
        for other in &mut self.nodes {
            if let Some(parent) = other.parent.as_mut().filter(|parent| **parent > at) {
                *parent -= 1;
            }
        }
        if let Some(parent) = node.parent {
            self.nodes[parent].children -= 1;
        }
        node
    }

    pub(super) fn find(&self, pod: PodIndex) -> Option<usize> {
        self.nodes.iter().position(|node| node.pod == pod)
    }

    pub(super) fn is_leaf(&self, at: usize) -> bool {
        self.nodes[at].children == 0
    }

    fn takes_child(&self, at: usize, rules: &Rules) -> bool {
        let node = &self.nodes[at];
        node.children < rules.fan_out && node.depth < rules.depth
    }

    /// The best parent for an edge in this region that `can` feed it: one of the region, then the nearest to the
    /// origin, then the one with the fewest edges.
    pub(super) fn parent_for(
        &self,
        region: Region,
        rules: &Rules,
        can: impl Fn(PodIndex) -> bool,
    ) -> Option<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(at, node)| self.takes_child(*at, rules) && !node.closes && can(node.pod))
            .min_by_key(|(at, node)| (node.region != region, node.depth, node.children, *at))
            .map(|(at, _)| at)
    }
}

/// Who is the origin: the one that is, or else the edge with a host, with edges of its own, with the most viewers.
fn origin(stay: &[(Present, Region)]) -> Option<usize> {
    let mut origins = (0..stay.len()).filter(|at| stay[*at].0.parent.is_none());
    if let (Some(origin), None) = (origins.next(), origins.next()) {
        return Some(origin);
    }
    let is_parent = |pod| stay.iter().any(|(part, _)| part.parent == Some(pod));
    let parts = stay.iter().enumerate();
    parts
        .min_by_key(|(at, (part, _))| {
            (
                part.parent.is_some(),
                !part.has_host,
                !is_parent(part.pod),
                u32::MAX - part.viewers,
                *at,
            )
        })
        .map(|(at, _)| at)
}

/// The part to link first of those without a parent.
fn largest(rest: &[&(Present, Region)]) -> Option<usize> {
    let is_parent = |pod| rest.iter().any(|(part, _)| part.parent == Some(pod));
    let parts = rest.iter().enumerate();
    parts
        .min_by_key(|(at, (part, _))| (!is_parent(part.pod), u32::MAX - part.viewers, *at))
        .map(|(at, _)| at)
}
