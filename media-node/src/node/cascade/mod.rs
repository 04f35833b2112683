//! Rooms that span pods: the links of this one to others, and what follows from what they say.
//!
//! A room comes from a host of this pod, or by a link from another one. All that is decided here is a function of who is
//! on air here, of the pod's role, and of what the links' other ends have said last; it is decided anew whenever one of
//! that changes, and doing so twice changes nothing.

mod feed;
mod note;
mod peers;
mod pull;

use std::sync::Arc;

use showrunner_protocol::control::{PodRole, RelaySource, SourceStatus};
use showrunner_rtp::codec::Kind;
use showrunner_sdp::Program;
use tokio::sync::watch;

pub use self::feed::LinkError;
use self::note::{Down, Up};
pub use self::peers::Peers;
pub(super) use self::pull::Pulls;
use super::session::{EndReason, RoomEvent};
use super::state::{Room, State};
use crate::room::RoomName;
use crate::shard::message::{Announced, Command, SessionNumber};

/// The most pods between a pod and the host. What comes from further comes from itself.
const MAX_HOPS: u8 = 8;

/// One end of a link.
pub(super) struct Link {
    room: RoomName,
    shard: usize,
    /// The process at the other end.
    peer: String,
    is_up: bool,
    end: End,
    /// What the other end was told last.
    said: Option<Arc<[u8]>>,
    ended: watch::Sender<bool>,
}

enum End {
    /// Another pod takes the room from here.
    Feed(Up),
    /// This pod takes it from another.
    Take {
        source: RelaySource,
        down: Option<Down>,
        /// It has brought the newest of all that is on air.
        is_live: bool,
        /// It was told to end.
        is_ending: bool,
    },
}

/// A link that brings a room here and is up, with what its other end said last.
struct Uplink<'a> {
    number: SessionNumber,
    link: &'a Link,
    down: &'a Down,
    is_live: bool,
}

impl State {
    /// Whether hosts of a room are to come to this node.
    pub(super) fn takes_hosts(&self, name: &RoomName) -> bool {
        !matches!(self.role(name), Some(PodRole::Edge { .. }))
    }

    /// Whether this node has yet to hear what is on air in a room: other pods know.
    pub(super) fn awaits_source(&self, name: &RoomName) -> bool {
        !self.takes_hosts(name) && self.uplink(name).is_none()
    }

    /// Hosts who are on air at the pod that their room is taken from now, and whom nobody watches here any more.
    pub(super) fn moved_hosts(&self) -> Vec<(SessionNumber, usize)> {
        let is_moved = |name: &RoomName, room: &Room| {
            let is_there = |uplink: Uplink<'_>| uplink.down.hops == Some(0);
            // Those who are about to watch count.
            let is_alone = room.sessions == 1 && self.viewers_below(room, name, None) == 0;
            is_alone && !self.takes_hosts(name) && self.uplink(name).is_some_and(is_there)
        };
        let rooms = self.rooms.iter();
        let moved = rooms.filter(|(name, room)| is_moved(name, room));
        let hosts = moved.filter_map(|(_, room)| Some((room.host.as_ref()?.0, room.home)));
        hosts.collect()
    }

    fn role(&self, name: &RoomName) -> Option<&PodRole> {
        let assignment = self.assigned.as_ref()?.get(name)?;
        Some(&assignment.role)
    }

    /// Who watches a room, on whichever pod, as far as is known here.
    pub(super) fn viewers_in_all(&self, name: &RoomName) -> u32 {
        let Some(room) = self.rooms.get(name).filter(|room| room.links > 0) else {
            return self.rooms.get(name).map_or(0, |room| room.viewers);
        };
        let below = self.viewers_below(room, name, None);
        match (self.takes_hosts(name), self.uplink(name)) {
            // Those who have just come are not in the other's count yet.
            (false, Some(uplink)) => uplink.down.viewers.max(below),
            _ => below,
        }
    }

    /// Viewers on this pod, and on those that take the room from it, but for those behind one process.
    fn viewers_below(&self, room: &Room, name: &RoomName, but: Option<&str>) -> u32 {
        let feeds = self.links.values().filter(|link| link.room == *name);
        let there = feeds.map(|link| match &link.end {
            End::Feed(up) if Some(&*link.peer) != but => up.viewers,
            End::Feed(_) | End::Take { .. } => 0,
        });
        there.fold(room.viewers, u32::saturating_add)
    }

    /// The links that bring a room here, the oldest first.
    fn uplinks(&self, name: &RoomName) -> Vec<Uplink<'_>> {
        let of_room = self.links.iter().filter(|(_, link)| link.room == *name);
        let mut uplinks: Vec<Uplink<'_>> = of_room
            .filter_map(|(number, link)| match &link.end {
                End::Take {
                    down: Some(down),
                    is_live,
                    is_ending: false,
                    ..
                } if link.is_up => Some(Uplink {
                    number: *number,
                    link,
                    down,
                    is_live: *is_live,
                }),
                End::Take { .. } | End::Feed(_) => None,
            })
            .collect();
        uplinks.sort_by_key(|uplink| uplink.number);
        uplinks
    }

    /// The link that says what a room is: the oldest that has somebody on air, which makes place for a newer one as
    /// soon as that does as well.
    fn uplink(&self, name: &RoomName) -> Option<Uplink<'_>> {
        let mut uplinks = self.uplinks(name);
        let best = uplinks.iter().position(|uplink| is_on_air(uplink.down));
        let best = best.or(uplinks.len().checked_sub(1))?;
        Some(uplinks.swap_remove(best))
    }

    /// Pods between this one and the host of a room; none: nobody is on air.
    fn hops(&self, name: &RoomName) -> Option<u8> {
        if self.rooms.get(name)?.host.is_some() {
            return Some(0);
        }
        let uplink = self.uplink(name)?;
        uplink
            .down
            .hops
            .filter(|_| is_on_air(uplink.down))
            .map(|hops| hops + 1)
    }

    /// Whether the pod that a room is taken from has a host itself.
    pub(super) fn comes_from_a_host(&self, name: &RoomName) -> bool {
        self.uplink(name)
            .is_some_and(|uplink| uplink.down.hops == Some(0))
    }

    /// How this pod stands with the one that it takes a room from.
    pub(super) fn source_status(&self, name: &RoomName) -> Option<SourceStatus> {
        let uplink = self.uplink(name);
        let told = match self.role(name) {
            Some(PodRole::Edge { source }) => Some(source),
            Some(PodRole::Origin) | None => None,
        };
        let used = uplink.as_ref().and_then(|uplink| match &uplink.link.end {
            End::Take { source, .. } => Some(source),
            End::Feed(_) => None,
        });
        let source = told.or(used)?;
        let uplink = uplink.filter(|_| used == Some(source));
        Some(SourceStatus {
            address: source.address,
            connected: uplink.is_some(),
            hops: uplink.and_then(|uplink| uplink.down.hops),
        })
    }

    /// How many pods take a room from this one.
    pub(super) fn edges(&self, name: &RoomName) -> u32 {
        let is_feed =
            |link: &&Link| link.room == *name && link.is_up && matches!(link.end, End::Feed(_));
        super::count(self.links.values().filter(is_feed).count())
    }

    /// How many pods take any room from this one, or are about to.
    pub(super) fn all_edges(&self) -> usize {
        let links = self.links.values();
        links
            .filter(|link| matches!(link.end, End::Feed(_)))
            .count()
    }

    /// A link is up. False if the session is none.
    pub(super) fn on_link_up(&mut self, number: SessionNumber) -> bool {
        let Some(link) = self.links.get_mut(&number) else {
            return false;
        };
        link.is_up = true;
        let room = link.room.clone();
        self.look_at_links(&room);
        true
    }

    /// A link is over. False if the session is none.
    pub(super) fn on_link_ended(&mut self, number: SessionNumber, reason: EndReason) -> bool {
        let Some(link) = self.links.remove(&number) else {
            return false;
        };
        let end = match link.end {
            End::Feed(_) => "a pod that took it",
            End::Take { .. } => "the pod it comes from",
        };
        tracing::info!(room = %link.room, number = number.0, reason = reason.name(), "the link to {end} is over");
        self.shard_load[link.shard] = self.shard_load[link.shard].saturating_sub(1);
        if let Some(room) = self.rooms.get_mut(&link.room) {
            room.links = room.links.saturating_sub(1);
        }
        link.ended.send_replace(true);
        self.look_at_links(&link.room);
        self.drop_room_if_empty(&link.room);
        true
    }

    /// The other end of a link says something.
    pub(super) fn on_note(&mut self, number: SessionNumber, text: &[u8]) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        let room = link.room.clone();
        match &mut link.end {
            End::Take { down, .. } => {
                let Some(said) = note::read(text) else { return };
                *down = Some(said);
            }
            End::Feed(up) => {
                let Some(said) = note::read::<Up>(text) else {
                    return;
                };
                if up.wants != said.wants {
                    let rids = said.wants.as_ref();
                    let wants =
                        rids.map(|rids| rids.iter().map(|rid| rid.as_str().into()).collect());
                    self.orders
                        .push((link.shard, Command::Want { number, wants }));
                }
                *up = said;
            }
        }
        self.look_at_links(&room);
        // Viewers may wait for what is on air now.
        self.came.send_replace(());
    }

    /// A link has brought the newest of all that is on air.
    pub(super) fn on_caught_up(&mut self, number: SessionNumber) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if let End::Take { is_live, .. } = &mut link.end {
            *is_live = true;
        }
        let room = link.room.clone();
        self.look_at_links(&room);
    }

    /// Decides anew what follows from the links of a room: what is on air, which links can go, and what the others are
    /// told.
    pub(super) fn look_at_links(&mut self, name: &RoomName) {
        let has_links = self.rooms.get(name).is_some_and(|room| room.links > 0);
        if !has_links {
            self.forget_relayed(name);
            return;
        }
        self.end_spare_uplinks(name);
        let relayed = self.uplink(name).map(|uplink| uplink.down.clone());
        let takes_hosts = self.takes_hosts(name);
        if let Some(room) = self.rooms.get_mut(name) {
            match relayed {
                Some(down) => {
                    room.relayed = down.program().filter(|_| is_on_air(&down));
                    let streams = down.streams().filter(|_| is_on_air(&down));
                    let video = streams.filter(|stream| stream.codec.kind() == Kind::Video);
                    let layers: Arc<[Announced]> = video.collect();
                    if room.host.is_none() && room.announced.as_ref() != Some(&layers) {
                        room.announced = Some(Arc::clone(&layers));
                        let program = room.program;
                        let order = Command::Announce { program, layers };
                        self.orders.push((room.home, order));
                    }
                }
                // An edge whose link broke will have another one soon, and its viewers need not be sent away for that.
                None if takes_hosts => room.relayed = None,
                None => {}
            }
        }
        self.tell_links(name);
    }

    /// A room without links has nothing from other pods, unless it waits for one.
    fn forget_relayed(&mut self, name: &RoomName) {
        if self.takes_hosts(name)
            && let Some(room) = self.rooms.get_mut(name)
        {
            room.relayed = None;
            room.announced = None;
        }
    }

    /// Ends the links that nothing more is to be had from.
    fn end_spare_uplinks(&mut self, name: &RoomName) {
        let has_host = self.rooms.get(name).is_some_and(|room| room.host.is_some());
        let takes_hosts = self.takes_hosts(name);
        let uplinks = self.uplinks(name);
        let Some(newest) = uplinks.last() else { return };
        let is_spare = |uplink: &Uplink<'_>| {
            if takes_hosts {
                // What it was an edge of goes on until a host is here, or there is none any more.
                return has_host || !is_on_air(uplink.down);
            }
            let is_older = uplink.number != newest.number;
            let is_same_show = uplink.down.is_same_show(newest.down);
            let is_replaced = is_on_air(newest.down) && (newest.is_live || !is_same_show);
            is_older && (is_replaced || !is_on_air(uplink.down))
        };
        let spare = uplinks.iter().filter(|uplink| is_spare(uplink));
        let spare: Vec<SessionNumber> = spare.map(|uplink| uplink.number).collect();
        for number in spare {
            if let Some(link) = self.links.get_mut(&number)
                && let End::Take { is_ending, .. } = &mut link.end
            {
                *is_ending = true;
                let reason = EndReason::Replaced;
                self.orders
                    .push((link.shard, Command::End { number, reason }));
            }
        }
    }

    /// Tells the other ends of a room's links how things stand here.
    pub(super) fn tell_links(&mut self, name: &RoomName) {
        let notes: Vec<(SessionNumber, Option<Arc<[u8]>>)> = self
            .links
            .iter()
            .filter(|(_, link)| link.room == *name && link.is_up)
            .map(|(number, link)| {
                let note = match &link.end {
                    End::Feed(_) => note::write(&self.down(name)),
                    End::Take { down, .. } => note::write(&self.up(name, &link.peer, down)),
                };
                (*number, note)
            })
            .collect();
        for (number, note) in notes {
            let Some(link) = self.links.get_mut(&number) else {
                continue;
            };
            let Some(note) = note else {
                tracing::warn!(room = %name, "the names of the layers are too long to be told to other pods");
                continue;
            };
            if link.said.as_ref() != Some(&note) {
                link.said = Some(Arc::clone(&note));
                self.orders
                    .push((link.shard, Command::Say { number, note }));
            }
        }
    }

    fn down(&self, name: &RoomName) -> Down {
        let Some(room) = self.rooms.get(name) else {
            return Down::default();
        };
        let source = self.hops(name).zip(room.on_air());
        Down::new(source, &room.streams, self.viewers_in_all(name))
    }

    fn up(&self, name: &RoomName, peer: &str, down: &Option<Down>) -> Up {
        let room = self.rooms.get(name);
        let has_host = room.is_none_or(|room| room.host.is_some());
        let is_wanted = !has_host && down.as_ref().is_some_and(is_on_air);
        let wanted = room
            .and_then(|room| room.wanted.as_deref())
            .unwrap_or_default();
        let rids = || wanted.iter().map(|rid| rid.as_ref().to_owned()).collect();
        Up {
            wants: is_wanted.then(rids),
            // An origin's viewers are counted by itself.
            viewers: match room {
                Some(room) if !self.takes_hosts(name) => self.viewers_below(room, name, Some(peer)),
                Some(_) | None => 0,
            },
        }
    }

    /// Viewers' counts, once a second.
    pub(super) fn tell_viewers(&mut self) {
        let names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        for name in names {
            let has_links = self.rooms.get(&name).is_some_and(|room| room.links > 0);
            let viewers = self.viewers_in_all(&name);
            if let Some(room) = self.rooms.get_mut(&name)
                && room.told_viewers != Some(viewers)
            {
                room.told_viewers = Some(viewers);
                room.tell(RoomEvent::ViewerCount(viewers));
            }
            if has_links {
                self.tell_links(&name);
            }
        }
    }

    /// The links of a room that is over.
    pub(super) fn links_of(&self, name: &RoomName) -> Vec<(SessionNumber, usize)> {
        let of_room = self.links.iter().filter(|(_, link)| link.room == *name);
        of_room
            .map(|(number, link)| (*number, link.shard))
            .collect()
    }

    /// A host begins or ends: what was wanted of the one before is void.
    pub(super) fn host_changed(&mut self, name: &RoomName) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.wanted = None;
            room.announced = None;
        }
        self.look_at_links(name);
    }
}

impl Room {
    /// What is on air, of a host of this pod or of another.
    pub(super) fn on_air(&self) -> Option<&Program> {
        let host = self.host.as_ref().map(|(_, program)| program);
        host.or(self.relayed.as_ref())
    }
}

fn is_on_air(down: &Down) -> bool {
    down.hops.is_some_and(|hops| hops < MAX_HOPS)
}
