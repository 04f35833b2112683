//! The rooms and sessions of a node, and how what the shards report changes them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use showrunner_protocol::control::{Load, VideoRules};
use showrunner_protocol::room::RoomUid;
use showrunner_sdp::{Codec, Program, PublishRules};
use tokio::sync::{broadcast, watch};

use super::assignments::Assignments;
use super::cascade::{Link, Pulls};
use super::cutoff::{Change, CutOff};
use super::ladder::Ladder;
use super::moving::Leaving;
use super::parting::{Parting, Partings};
use super::retention::{Mark, Stays, Step};
use super::session::{Adaptation, EndReason, LayerInfo, Role, RoomEvent, SessionId};
use super::whep::Pulled;
use crate::lived::Lived;
use crate::lived::record::{Times, Who};
use crate::lived::report::Report;
use crate::lived::sink::Records;
use crate::metrics;
use crate::room::RoomName;
use crate::shard::message::{Announced, Command, ProgramId, SessionNumber, ShardEvent};
use crate::status::RoomStatus;

/// How long a viewer may lag behind its room's events before it misses some.
const EVENT_BACKLOG: usize = 64;

#[derive(Default)]
pub(super) struct State {
    pub(super) rooms: HashMap<RoomName, Room>,
    pub(super) programs: HashMap<ProgramId, RoomName>,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) numbers: HashMap<SessionNumber, SessionId>,
    pub(super) shard_load: Vec<usize>,
    pub(super) connecting: usize,
    pub(super) next_number: u64,
    /// The rooms that the node takes; none: any.
    pub(super) assigned: Option<Assignments>,
    pub(super) load: Load,
    /// How long viewers stayed, of the rooms that are assigned or that somebody is in.
    pub(super) stays: HashMap<RoomName, Stays>,
    pub(super) partings: Partings,
    /// Rooms whose clients are sent on.
    pub(super) leaving: HashMap<RoomName, Leaving>,
    /// Rooms whose host is on its way here, and since when that is known.
    pub(super) expecting: HashMap<RoomName, tokio::time::Instant>,
    /// A host came, or what another pod sends.
    pub(super) came: watch::Sender<()>,
    /// Where records go.
    pub(super) records: Option<Records>,
    /// Ends of links to other pods.
    pub(super) links: HashMap<SessionNumber, Link>,
    /// The rooms that are taken from other pods.
    pub(super) pulls: Pulls,
    /// The rooms whose show is pulled from another server.
    pub(super) pulled: Pulled,
    /// Whether it is cut off from its viewers.
    pub(super) cut_off: CutOff,
    /// What shards are to be told, and which: what was decided and not carried out yet.
    pub(super) orders: Vec<(usize, Command)>,
}

pub(super) struct Room {
    pub(super) program: ProgramId,
    pub(super) home: usize,
    /// Who is on air, and with which codecs.
    pub(super) host: Option<(SessionNumber, Program)>,
    /// The same of what comes from another pod.
    pub(super) relayed: Option<Program>,
    /// Who adds layers to the host's picture.
    pub(super) ladder: Ladder,
    /// What its home shard was told that the other pod has.
    pub(super) announced: Option<Arc<[Announced]>>,
    /// What other pods can take of it.
    pub(super) streams: Arc<[Announced]>,
    /// Ends of links of it.
    pub(super) links: usize,
    pub(super) active: bool,
    /// The room is over; it goes with its last session, and nobody comes in until then.
    pub(super) closing: bool,
    pub(super) viewers: u32,
    /// What everybody was told of the viewers last; none when somebody has heard another number since.
    pub(super) told_viewers: Option<u32>,
    pub(super) layers: Arc<[LayerInfo]>,
    pub(super) told_layers: Arc<[LayerInfo]>,
    /// The layers that the host need send; none: all.
    pub(super) wanted: Option<Arc<[Arc<str>]>>,
    pub(super) sessions: usize,
    pub(super) events: broadcast::Sender<RoomEvent>,
}

pub(super) struct Session {
    pub(super) number: SessionNumber,
    pub(super) who: Who,
    pub(super) joined: Instant,
    pub(super) shard: usize,
    /// Since when its peer is there.
    pub(super) connected: Option<Instant>,
    /// The codecs that a publisher will be on air with.
    pub(super) publishes: Option<Program>,
    /// When a viewer's picture stood still for the first time.
    pub(super) first_stall: Option<Instant>,
    pub(super) mark: Mark,
    /// What its page said last, and how often it has said something.
    pub(super) report: Option<Report>,
    pub(super) reports: u32,
    /// What a viewer is sent of the picture.
    pub(super) adaptation: watch::Sender<Option<Adaptation>>,
    pub(super) ended: watch::Sender<Option<EndReason>>,
}

impl Room {
    pub(super) fn status(&self, name: &RoomName) -> RoomStatus {
        let on_air = self.on_air();
        RoomStatus {
            active: self.active,
            publishers: u32::from(self.host.is_some()),
            viewers: self.viewers,
            audio_codec: on_air
                .and_then(|p| p.audio)
                .map(|codec| codec.name().to_owned()),
            video_codec: on_air
                .and_then(|p| p.video.as_ref())
                .map(|(codec, _)| codec.name().to_owned()),
            layers: self.layers.to_vec(),
            ..RoomStatus::of(name.clone())
        }
    }

    pub(super) fn tell(&self, event: RoomEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

fn count_step(step: Step) {
    metrics::retention(step.minutes, step.stayed, step.stalled);
}

/// Whether viewers need not be told of a change: same layers and sizes, much the same bitrates.
fn looks_alike(told: &[LayerInfo], now: &[LayerInfo]) -> bool {
    told.len() == now.len()
        && told.iter().zip(now).all(|(a, b)| {
            let close = a.bitrate_bps.abs_diff(b.bitrate_bps) <= a.bitrate_bps / 4;
            let key = |l: &LayerInfo| (l.spatial_layer_id, l.temporal_layer_id, l.size);
            a.rid == b.rid && key(a) == key(b) && close
        })
}

impl State {
    pub(super) fn least_loaded(&self) -> usize {
        let by_load = self
            .shard_load
            .iter()
            .enumerate()
            .min_by_key(|(_, load)| **load);
        by_load.map_or(0, |(shard, _)| shard)
    }

    /// The shard that a room's host comes in on: for one that nobody is in yet, the one that is to be.
    pub(super) fn home(&self, name: &RoomName) -> usize {
        let known = self.rooms.get(name);
        known.map_or_else(|| self.least_loaded(), |room| room.home)
    }

    /// Whether a room is one of this node's. Who comes to a node with a list must say which room of a name is meant.
    pub(super) fn takes(&self, name: &RoomName, uid: Option<&RoomUid>) -> bool {
        match &self.assigned {
            None => true,
            Some(rooms) => rooms.get(name).is_some_and(|known| Some(&known.uid) == uid),
        }
    }

    /// Which room of its name it is.
    pub(super) fn uid(&self, name: &RoomName) -> Option<RoomUid> {
        let rooms = self.assigned.as_ref()?;
        rooms.get(name).map(|known| known.uid.clone())
    }

    /// What a room lets its hosts send.
    pub(super) fn publish_rules(&self, name: &RoomName) -> PublishRules {
        let video = self.video_rules(name);
        let named = video.iter().flat_map(|video| &video.codecs);
        PublishRules {
            codecs: named.filter_map(|name| Codec::from_name(name)).collect(),
            max_layers: video.and_then(|video| video.max_layers),
        }
    }

    /// The longest that the shorter side of a room's picture may be, in pixels; none: any.
    pub(super) fn max_lines(&self, name: &RoomName) -> Option<u16> {
        self.video_rules(name)?.max_lines
    }

    fn video_rules(&self, name: &RoomName) -> Option<&VideoRules> {
        let assignment = self.assigned.as_ref()?.get(name)?;
        Some(&assignment.video)
    }

    /// Whether a room's own limit lets one more viewer in. Those that still connect count.
    pub(super) fn has_place_for_viewer(&self, name: &RoomName) -> bool {
        let assignment = self.assigned.as_ref().and_then(|rooms| rooms.get(name));
        let Some(most) = assignment.and_then(|known| known.limits.max_viewers) else {
            return true;
        };
        let here = self.rooms.get(name).map_or(0, |room| {
            let senders = usize::from(room.host.is_some()) + room.ladder.len();
            room.sessions.saturating_sub(senders)
        });
        here < most as usize
    }

    /// The rooms that were assigned, and those that somebody is in, by name.
    pub(super) fn room_statuses(&self, now: Instant) -> Vec<RoomStatus> {
        let stays = self.stays_until(now);
        let names: BTreeSet<&RoomName> = self
            .assigned
            .iter()
            .flat_map(Assignments::names)
            .chain(self.rooms.keys())
            .collect();
        names
            .into_iter()
            .map(|name| RoomStatus {
                retention: stays.get(name).map(Stays::figures).unwrap_or_default(),
                ..self.room_status(name)
            })
            .collect()
    }

    /// How long viewers stayed, those who are still there included.
    fn stays_until(&self, now: Instant) -> HashMap<&RoomName, Stays> {
        let ended = self.stays.iter();
        let mut stays: HashMap<&RoomName, Stays> = ended.map(|(name, s)| (name, *s)).collect();
        for session in self.sessions.values() {
            let is_closing = || self.rooms.get(&session.who.room).is_none_or(|r| r.closing);
            if let (Role::Viewer, Some(since)) = (session.who.role, session.connected)
                && !is_closing()
            {
                let stays = stays.entry(&session.who.room).or_default();
                stays.is_there(now.saturating_duration_since(since));
            }
        }
        stays
    }

    fn room_status(&self, name: &RoomName) -> RoomStatus {
        let status = match self.rooms.get(name) {
            Some(room) => room.status(name),
            None => RoomStatus::of(name.clone()),
        };
        let assignment = self.assigned.as_ref().and_then(|rooms| rooms.get(name));
        RoomStatus {
            uid: assignment.map(|known| known.uid.clone()),
            generation: assignment.map(|known| known.generation),
            revision: assignment.map(|known| known.revision),
            leaving: self.leaving.contains_key(name),
            source: self.source_status(name),
            edges: self.edges(name),
            pull: self.pull_status(name),
            ..status
        }
    }

    pub(super) fn program(&mut self, name: &RoomName, home: usize) -> ProgramId {
        if let Some(room) = self.rooms.get(name) {
            return room.program;
        }
        let program = ProgramId(self.next_number);
        self.next_number += 1;
        self.programs.insert(program, name.clone());
        self.rooms.insert(
            name.clone(),
            Room {
                program,
                home,
                host: None,
                ladder: Ladder::default(),
                relayed: None,
                announced: None,
                streams: Arc::default(),
                links: 0,
                active: false,
                closing: false,
                viewers: 0,
                told_viewers: None,
                layers: Arc::default(),
                told_layers: Arc::default(),
                wanted: None,
                sessions: 0,
                events: broadcast::Sender::new(EVENT_BACKLOG),
            },
        );
        program
    }

    pub(super) fn drop_room_if_empty(&mut self, name: &RoomName) {
        if let Some(room) = self.rooms.get(name)
            && room.sessions == 0
            && room.links == 0
        {
            self.programs.remove(&room.program);
            self.rooms.remove(name);
            let is_assigned = |rooms: &Assignments| rooms.get(name).is_some();
            if !self.assigned.as_ref().is_some_and(is_assigned) {
                self.stays.remove(name);
            }
        }
    }

    pub(super) fn on_shard_event(&mut self, event: ShardEvent, now: Instant) {
        match event {
            ShardEvent::Connected { number } => {
                if !self.on_link_up(number) {
                    self.on_connected(number, now);
                }
            }
            ShardEvent::Ended {
                number,
                reason,
                lived,
            } => {
                if !self.on_link_ended(number, reason) {
                    self.on_ended(number, reason, lived, now);
                }
            }
            ShardEvent::Note { number, note } => self.on_note(number, &note),
            ShardEvent::CaughtUp { number } => self.on_caught_up(number),
            ShardEvent::Stalled { number, at } => self.on_stalled(number, at),
            ShardEvent::Wanted { program, rids } => {
                if let Some(name) = self.programs.get(&program).cloned() {
                    self.on_wanted(&name, rids);
                }
            }
            ShardEvent::OnAir {
                program,
                active,
                layers,
                streams,
            } => {
                self.on_air(program, active, layers);
                self.on_streams(program, streams);
            }
            ShardEvent::Adapted { number, adaptation } => self.on_adapted(number, adaptation),
            ShardEvent::Hears { shard, at, hearing } => {
                if let Some(change) = self.cut_off.on_hearing(at, shard, hearing) {
                    self.on_cut_off(change);
                }
            }
        }
    }

    fn on_cut_off(&self, change: Change) {
        metrics::set_cut_off(self.cut_off.is_so());
        match change {
            Change::CutOff { missed } => {
                tracing::warn!(
                    missed,
                    "the node is cut off from its viewers: it hears none of those whom it should hear"
                );
            }
            Change::Heard => {
                tracing::info!("the node hears a viewer again: it is not cut off any more")
            }
            Change::Rested(rest) => {
                let seconds = rest.as_secs();
                tracing::info!(
                    seconds,
                    "nobody has tried to watch: the node may not be cut off any more"
                );
            }
        }
    }

    fn on_adapted(&mut self, number: SessionNumber, adaptation: Adaptation) {
        let id = self.numbers.get(&number);
        if let Some(session) = id.and_then(|id| self.sessions.get(id)) {
            session.adaptation.send_replace(Some(adaptation));
        }
    }

    fn on_connected(&mut self, number: SessionNumber, now: Instant) {
        let Some(session) = self
            .numbers
            .get(&number)
            .and_then(|id| self.sessions.get_mut(id))
        else {
            return;
        };
        if session.connected.is_some() {
            return;
        }
        session.connected = Some(now);
        self.connecting = self.connecting.saturating_sub(1);
        let Some(room) = self.rooms.get_mut(&session.who.room) else {
            return;
        };
        match session.who.role {
            Role::Publisher => {
                room.host = session.publishes.take().map(|program| (number, program));
                let name = session.who.room.clone();
                self.expecting.remove(&name);
                self.came.send_replace(());
                self.host_changed(&name);
            }
            // What it has on air is told by its packets.
            Role::Transcoder => {}
            Role::Viewer => room.viewers += 1,
        }
    }

    fn on_ended(
        &mut self,
        number: SessionNumber,
        reason: EndReason,
        lived: Box<Lived>,
        now: Instant,
    ) {
        let Some(session) = self
            .numbers
            .remove(&number)
            .and_then(|id| self.sessions.remove(&id))
        else {
            return;
        };
        tracing::info!(room = %session.who.room, number = number.0, role = session.who.role.name(), reason = reason.name(), "a session ended");
        metrics::session_ended(session.who.role.name(), reason.name());
        self.shard_load[session.shard] = self.shard_load[session.shard].saturating_sub(1);
        if session.connected.is_none() {
            self.connecting = self.connecting.saturating_sub(1);
        }
        let mut host_left = false;
        if let Some(room) = self.rooms.get_mut(&session.who.room) {
            room.sessions = room.sessions.saturating_sub(1);
            match session.who.role {
                Role::Publisher => {
                    if room.host.as_ref().is_some_and(|(host, _)| *host == number) {
                        room.host = None;
                        host_left = true;
                    }
                }
                Role::Transcoder => room.ladder.leave(number),
                Role::Viewer => {
                    if let Some(since) = session.connected {
                        room.viewers = room.viewers.saturating_sub(1);
                        // The viewers of a room that ends or moves, or of a node that does, did not choose to leave.
                        if !room.closing {
                            let stayed = now.saturating_duration_since(since);
                            let stays = self.stays.entry(session.who.room.clone()).or_default();
                            match reason {
                                EndReason::Shutdown => stays.is_there(stayed),
                                _ if self.leaving.contains_key(&session.who.room) => {
                                    stays.is_there(stayed);
                                }
                                _ => {
                                    stays.left(stayed);
                                    let stalled = lived.stalls > 0;
                                    session.mark.leave(stalled).for_each(count_step);
                                }
                            }
                        }
                    }
                }
            }
        }
        session.ended.send_replace(Some(reason));
        if host_left {
            self.host_changed(&session.who.room);
        }
        self.drop_room_if_empty(&session.who.room);
        let since_joined = |at: Instant| at.saturating_duration_since(session.joined);
        self.part_with(Parting {
            joined: session.joined,
            times: Times {
                connected: session.connected.map(since_joined),
                left: since_joined(now),
            },
            reason,
            lived,
            report: session.report,
            reports: session.reports,
            since: now,
            who: session.who,
        });
    }

    fn on_air(&mut self, program: ProgramId, active: bool, layers: Arc<[LayerInfo]>) {
        let Some(room) = self
            .programs
            .get(&program)
            .and_then(|name| self.rooms.get_mut(name))
        else {
            return;
        };
        if room.active != active {
            room.active = active;
            room.tell(if active {
                RoomEvent::Active
            } else {
                RoomEvent::Inactive
            });
        }
        room.layers = Arc::clone(&layers);
        if !looks_alike(&room.told_layers, &layers) {
            room.told_layers = Arc::clone(&layers);
            room.tell(RoomEvent::Layers(layers));
        }
    }

    fn on_streams(&mut self, program: ProgramId, streams: Arc<[Announced]>) {
        if let Some(name) = self.programs.get(&program).cloned()
            && let Some(room) = self.rooms.get_mut(&name)
            && room.streams != streams
        {
            room.streams = streams;
            self.tell_links(&name);
        }
    }

    fn on_stalled(&mut self, number: SessionNumber, at: Instant) {
        let id = self.numbers.get(&number);
        if let Some(session) = id.and_then(|id| self.sessions.get_mut(id)) {
            session.first_stall = Some(at);
        }
    }

    /// Counts the viewers that have reached a mark of retention.
    pub(super) fn look_at_marks(&mut self, now: Instant) {
        let viewers = self.sessions.values_mut();
        for session in viewers.filter(|s| s.who.role == Role::Viewer) {
            if let Some(connected) = session.connected {
                let age = |at: Instant| at.saturating_duration_since(connected);
                let steps = session.mark.advance(age(now), session.first_stall.map(age));
                steps.into_iter().for_each(count_step);
            }
        }
    }

    pub(super) fn tell_counts(&mut self) {
        let active = self.rooms.values().filter(|room| room.active).count();
        self.tell_viewers();
        metrics::set_rooms(self.rooms.len(), active);
        for role in [Role::Publisher, Role::Transcoder, Role::Viewer] {
            let of_role = || self.sessions.values().filter(|s| s.who.role == role);
            let connected = of_role().filter(|s| s.connected.is_some()).count();
            metrics::set_sessions(role.name(), of_role().count() - connected, connected);
        }
    }
}
