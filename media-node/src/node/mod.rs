//! The node as the signalling sees it: rooms, sessions and the events of both.
//!
//! HTTP handlers call this type; it hands sessions to the shards that carry their packets.

mod assignments;
mod cascade;
mod control;
mod ladder;
mod moving;
mod parting;
mod retention;
mod session;
mod state;
mod whep;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use showrunner_protocol::control::{Capacity, PublicAddresses};
use showrunner_protocol::room::RoomUid;
use showrunner_sdp::{
    Candidate, IceParameters, Local, Offer, Program, Publishing, Remote, accept_publish,
    accept_watch, answer_publish, answer_watch,
};
use showrunner_transport::{Fingerprint, IceCredentials};
use tokio::sync::{broadcast, mpsc, watch};

use self::assignments::Assignments;
pub use self::assignments::{AssignError, Assigned, EndRoomError, MAX_ROOMS};
pub use self::cascade::{LinkError, Peers};
pub use self::control::InvalidAddresses;
pub use self::parting::ReportError;
use self::retention::Mark;
pub use self::session::{
    Adaptation, AdaptationReason, AdaptedLayer, EndReason, IceRestarted, JoinError, Joined,
    LayerChoice, LayerInfo, Role, RoomEvent, SessionError, SessionId,
};
use self::state::{Session, State};
use crate::lived::agent::Client;
use crate::lived::record::Who;
use crate::lived::sink::Records;
use crate::load::Meter;
use crate::metrics;
use crate::room::RoomName;
use crate::shard::ShardHandle;
use crate::shard::message::{Carries, Command, NewSession, ProgramId, SessionNumber, ShardEvent};
use crate::status::NodeStatus;

/// Sessions that wait for their peer; more joins than that at once are refused.
const MAX_CONNECTING: usize = 4096;

/// What a node is made with.
pub struct NodeParts {
    /// Its shards' ways in, by index, and the ports that they have bound.
    pub shards: Vec<(ShardHandle, u16)>,
    /// SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// The most sessions.
    pub max_sessions: usize,
    /// Which rooms it takes.
    pub rooms: Rooms,
}

/// Which rooms a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rooms {
    /// Whichever somebody comes for.
    Any,
    /// Those that the operator assigns.
    Assigned {
        /// So many at a time.
        most: usize,
    },
}

/// The control plane of one node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    parts: NodeParts,
    started: Instant,
    draining: AtomicBool,
    stopped: AtomicBool,
    /// When a drain ends, once there is one.
    drain_until: watch::Sender<Option<tokio::time::Instant>>,
    random: SystemRandom,
    public: RwLock<Option<PublicAddresses>>,
    /// Tells this process from others.
    process: Box<str>,
    /// How it calls other pods, if it can.
    peers: OnceLock<Peers>,
    /// Whether all shards have ended, and said so.
    silent: watch::Sender<bool>,
    state: Mutex<State>,
}

impl Node {
    /// A node over shards that run; `events` is what they say. It takes sessions once it knows how clients reach it
    /// ([`Node::tell_addresses`]).
    pub fn new(parts: NodeParts, events: mpsc::UnboundedReceiver<ShardEvent>) -> Self {
        let state = State {
            shard_load: vec![0; parts.shards.len()],
            assigned: match parts.rooms {
                Rooms::Any => None,
                Rooms::Assigned { most } => Some(Assignments::new(most)),
            },
            ..State::default()
        };
        let node = Self(Arc::new(Inner {
            public: RwLock::default(),
            parts,
            started: Instant::now(),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            drain_until: watch::Sender::new(None),
            random: SystemRandom::new(),
            process: IceCredentials::generate().pwd.into(),
            peers: OnceLock::new(),
            silent: watch::Sender::new(false),
            state: Mutex::new(state),
        }));
        tokio::spawn(node.clone().follow(events));
        node
    }

    /// Takes a host's offer.
    ///
    /// # Errors
    /// Why the host can't come in.
    pub async fn publish(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
        offer: &Offer,
        client: Client,
    ) -> Result<Joined, JoinError> {
        let (local, ice) = self.local()?;
        let mut state = self.admit(room, uid)?;
        if !state.takes_hosts(room) {
            metrics::join_refused("edge");
            return Err(JoinError::Edge);
        }
        if state.is_pulled(room) {
            metrics::join_refused("pulled");
            return Err(JoinError::Pulled);
        }
        let publishing = accept_publish(offer, &state.publish_rules(room))
            .inspect_err(|_| metrics::join_refused("offer"))?;
        let home = match state.rooms.get(room) {
            // A host whose media stopped may have lost its network: it can be replaced.
            Some(known) if known.host.is_some() && known.active => {
                metrics::join_refused("occupied");
                return Err(JoinError::Occupied);
            }
            Some(known) => known.home,
            None => state.least_loaded(),
        };
        let answer = answer_publish(offer, &publishing, &self.local_description(local, home));
        let whose = (room, home, client);
        let id = self.add_publisher(&mut state, whose, ice, publishing, Carries::Publish)?;
        tracing::info!(room = %room, session = %id.for_logs(), shard = home, "a host joins");
        Ok(Joined { id, answer })
    }

    /// Makes the session of a room's publisher, on the shard that is the room's home.
    fn add_publisher(
        &self,
        state: &mut State,
        (room, home, client): (&RoomName, usize, Client),
        ice: IceCredentials,
        publishing: Publishing,
        carries: impl FnOnce(Publishing) -> Carries,
    ) -> Result<SessionId, JoinError> {
        let program = state.program(room, home);
        let place = Place {
            room,
            shard: home,
            home,
            program,
            client,
        };
        let publishes = Some(on_air(&publishing));
        let ends = (ice, publishing.remote.clone());
        let carries = carries(publishing);
        self.add(state, place, Role::Publisher, publishes, ends, carries)
    }

    /// Takes a viewer's offer. One that `transcodes` is to get the host's own picture.
    ///
    /// # Errors
    /// Why the viewer can't come in.
    pub async fn watch(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
        offer: &Offer,
        client: Client,
        transcodes: bool,
    ) -> Result<Joined, JoinError> {
        self.await_host(room).await;
        let (local, ice) = self.local()?;
        let mut state = self.admit(room, uid)?;
        if !state.has_place_for_viewer(room) {
            metrics::join_refused("room_full");
            let full = "the room has all the viewers that it may have on this node";
            return Err(JoinError::Overloaded(full));
        }
        let known = state.rooms.get(room);
        let Some((known, on_air)) = known.and_then(|r| Some((r, r.on_air()?))) else {
            if state.awaits_source(room) {
                metrics::join_refused("edge");
                return Err(JoinError::NoSuchRoom);
            }
            metrics::join_refused("not_live");
            return Err(JoinError::NotLive);
        };
        let (program, home) = (known.program, known.home);
        let mut ssrcs = self.ssrcs()?;
        let watching = accept_watch(offer, on_air, || ssrcs.next().unwrap_or_default())
            .inspect_err(|_| metrics::join_refused("offer"))?;
        let shard = state.least_loaded();
        let answer = answer_watch(offer, &watching, &self.local_description(local, shard));
        let remote = watching.remote.clone();
        let place = Place {
            room,
            shard,
            home,
            program,
            client,
        };
        let id = self.add(
            &mut state,
            place,
            Role::Viewer,
            None,
            (ice, remote),
            Carries::Watch {
                watching,
                transcodes,
            },
        )?;
        tracing::info!(room = %room, session = %id.for_logs(), shard, "a viewer joins");
        Ok(Joined { id, answer })
    }

    /// From now on a record of each session that ends is written.
    pub fn record(&self, records: Records) {
        self.state().records = Some(records);
    }

    /// Waits until all shards have ended, and the records of all sessions are on their way.
    pub async fn fell_silent(&self) {
        let mut silent = self.0.silent.subscribe();
        // The sender is as old as the node.
        let _ = silent.wait_for(|silent| *silent).await;
    }

    /// Which way a session's media goes, and in which room; none if there is no such session.
    pub fn place(&self, id: &SessionId) -> Option<(Role, RoomName)> {
        let state = self.state();
        let session = state.sessions.get(id)?;
        Some((session.who.role, session.who.room.clone()))
    }

    /// Gives a session new ICE credentials. The old ones work until the client uses the new.
    ///
    /// # Errors
    /// If there is no such session, or its shard is too busy.
    pub async fn restart_ice(
        &self,
        id: &SessionId,
        remote_ufrag: &str,
        remote_pwd: &str,
    ) -> Result<IceRestarted, SessionError> {
        let (number, shard) = self.find(id)?;
        let local = IceCredentials::generate();
        let restarted = IceRestarted {
            ufrag: local.ufrag.clone(),
            pwd: local.pwd.clone(),
            candidates: self.candidates(shard),
        };
        let remote = IceCredentials {
            ufrag: remote_ufrag.to_owned(),
            pwd: remote_pwd.to_owned(),
        };
        self.command(
            shard,
            Command::RestartIce {
                number,
                local,
                remote,
            },
        )?;
        Ok(restarted)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// If there is no such session, or its shard is too busy.
    pub async fn end(&self, id: &SessionId, reason: EndReason) -> Result<(), SessionError> {
        let (number, shard) = self.find(id)?;
        let mut ended = self.ended(id).ok_or(SessionError::NotFound)?;
        self.command(shard, Command::End { number, reason })?;
        // So that whoever asks next finds it gone. The sender goes with the session.
        let _ = ended.wait_for(Option::is_some).await;
        Ok(())
    }

    /// Puts a viewer on a layer.
    ///
    /// # Errors
    /// If there is no such session or layer, or the shard is too busy.
    pub async fn choose_layer(
        &self,
        id: &SessionId,
        choice: LayerChoice,
    ) -> Result<(), SessionError> {
        let (number, shard) = self.find(id)?;
        if let Some(rid) = &choice.rid {
            let layers = self.layers(id)?;
            if !layers.iter().any(|l| l.rid == *rid) {
                let on_air: Vec<&str> = layers.iter().map(|l| l.rid.as_str()).collect();
                let problem = format!("no layer {rid:?} is on air; there are {on_air:?}");
                return Err(SessionError::NoSuchLayer(problem));
            }
        }
        self.command(shard, Command::Choose { number, choice })
    }

    /// The layers that a session's room has on air.
    ///
    /// # Errors
    /// If there is no such session.
    pub fn layers(&self, id: &SessionId) -> Result<Arc<[LayerInfo]>, SessionError> {
        let state = self.state();
        let session = state.sessions.get(id).ok_or(SessionError::NotFound)?;
        Ok(state
            .rooms
            .get(&session.who.room)
            .map(|r| Arc::clone(&r.layers))
            .unwrap_or_default())
    }

    /// What a session's room is now, and what will happen in it.
    ///
    /// # Errors
    /// If there is no such session.
    pub fn events(
        &self,
        id: &SessionId,
    ) -> Result<(Vec<RoomEvent>, broadcast::Receiver<RoomEvent>), SessionError> {
        let state = self.state();
        let session = state.sessions.get(id).ok_or(SessionError::NotFound)?;
        let room = state
            .rooms
            .get(&session.who.room)
            .ok_or(SessionError::NotFound)?;
        let active = if room.active {
            RoomEvent::Active
        } else {
            RoomEvent::Inactive
        };
        let layers = RoomEvent::Layers(Arc::clone(&room.layers));
        let viewers = state.viewers_in_all(&session.who.room);
        let mut now = vec![active, layers, RoomEvent::ViewerCount(viewers)];
        if session.who.role != Role::Viewer {
            now.extend(room.wanted.clone().map(RoomEvent::Wanted));
        }
        now.extend(state.reconnect(&session.who.room));
        Ok((now, room.events.subscribe()))
    }

    /// Tells what a viewer is sent of the picture, once that is decided; none if there is no such session.
    pub fn adaptation(&self, id: &SessionId) -> Option<watch::Receiver<Option<Adaptation>>> {
        let state = self.state();
        state.sessions.get(id).map(|s| s.adaptation.subscribe())
    }

    /// Tells when a session ends, and why; none if there is no such session.
    pub fn ended(&self, id: &SessionId) -> Option<watch::Receiver<Option<EndReason>>> {
        self.state().sessions.get(id).map(|s| s.ended.subscribe())
    }

    /// Whether the node takes new sessions: it is not on its way out, and knows how clients reach it.
    pub fn is_ready(&self) -> bool {
        !self.is_leaving() && self.public().is_some()
    }

    fn is_leaving(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    fn public(&self) -> RwLockReadGuard<'_, Option<PublicAddresses>> {
        self.0.public.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node and all that is on it.
    pub fn status(&self) -> NodeStatus {
        let state = self.state();
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.is_ready(),
            draining: self.is_draining(),
            sends_on: true,
            uptime_seconds: self.0.started.elapsed().as_secs(),
            public: self.public().clone(),
            capacity: Capacity {
                max_sessions: count(self.0.parts.max_sessions),
                max_rooms: match self.0.parts.rooms {
                    Rooms::Any => None,
                    Rooms::Assigned { most } => Some(count(most)),
                },
            },
            // Who takes a room from here must find another pod first, as viewers must.
            sessions: count(state.sessions.len() + state.all_edges()),
            rooms: state.room_statuses(Instant::now()),
            load: state.load.clone(),
        }
    }

    /// Takes no more sessions, says goodbye to all, and stops the shards.
    pub fn shut_down(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.stopped.store(true, Ordering::Relaxed);
        for (shard, _) in &self.0.parts.shards {
            if shard.send(Command::Shutdown).is_err() {
                tracing::warn!("a shard is too busy to be told to stop");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic: each update below leaves the maps consistent.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more in a room that is taken here.
    fn admit(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
    ) -> Result<MutexGuard<'_, State>, JoinError> {
        let refuse = |reason, text| {
            metrics::join_refused(reason);
            Err(JoinError::Overloaded(text))
        };
        // Who is let in before a drain is told of it with the others.
        let state = self.state();
        if self.is_leaving() {
            return refuse(
                "draining",
                "the node takes no new sessions: it is about to end",
            );
        }
        if self.public().is_none() {
            return refuse(
                "not_ready",
                "the node takes no sessions yet: it was not told how clients reach it",
            );
        }
        if !state.takes(room, uid) {
            metrics::join_refused("no_such_room");
            return Err(JoinError::NoSuchRoom);
        }
        if state.rooms.get(room).is_some_and(|r| r.closing) {
            return refuse(
                "closing",
                "the room of that name before is still being closed",
            );
        }
        if state.leaving.contains_key(room) {
            return refuse("leaving", "the room goes to another pod");
        }
        if state.sessions.len() >= self.0.parts.max_sessions {
            return refuse("full", "the node has all the sessions that it may have");
        }
        if state.connecting >= MAX_CONNECTING {
            return refuse("connecting", "too many sessions are being set up at once");
        }
        Ok(state)
    }

    fn local(&self) -> Result<(IceCredentials, IceCredentials), JoinError> {
        let credentials = IceCredentials::generate();
        Ok((credentials.clone(), credentials))
    }

    fn ssrcs(&self) -> Result<impl Iterator<Item = u32> + use<>, JoinError> {
        let mut bytes = [0; 64];
        self.0
            .random
            .fill(&mut bytes)
            .map_err(|_| JoinError::Overloaded("the system has no randomness"))?;
        let numbers: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|c| c.iter().fold(0, |n, b| (n << 8) | u32::from(*b)))
            // 0 is legal but confuses clients; 1 is the SSRC of our feedback.
            .filter(|n| *n > 1)
            .collect();
        Ok(numbers.into_iter())
    }

    fn candidates(&self, shard: usize) -> Vec<Candidate> {
        let public = self.public();
        let Some(public) = public.as_ref() else {
            return Vec::new();
        };
        let bound = self.0.parts.shards.get(shard).map_or(0, |(_, port)| *port);
        let port = match (public.media_port, u16::try_from(shard)) {
            (Some(first), Ok(shard)) => first.saturating_add(shard),
            _ => bound,
        };
        let addresses = || public.addresses.iter().map(|ip| SocketAddr::new(*ip, port));
        addresses()
            .map(Candidate::udp)
            .chain(addresses().map(Candidate::tcp_passive))
            .collect()
    }

    fn local_description(&self, ice: IceCredentials, shard: usize) -> Local {
        let mut id = [0; 8];
        // The session id of an SDP only has to be unlikely to clash (RFC 8866 §5.2).
        let _ = self.0.random.fill(&mut id);
        Local {
            ice: IceParameters {
                ufrag: ice.ufrag,
                pwd: ice.pwd,
            },
            fingerprint: self.0.parts.fingerprint.0,
            candidates: self.candidates(shard),
            session_id: u64::from_be_bytes(id) >> 2,
        }
    }

    fn find(&self, id: &SessionId) -> Result<(SessionNumber, usize), SessionError> {
        let state = self.state();
        let session = state.sessions.get(id).ok_or(SessionError::NotFound)?;
        Ok((session.number, session.shard))
    }

    fn command(&self, shard: usize, command: Command) -> Result<(), SessionError> {
        let (handle, _) = self
            .0
            .parts
            .shards
            .get(shard)
            .ok_or(SessionError::NotFound)?;
        handle.send(command).map_err(|_| SessionError::Overloaded)
    }

    /// Hands a session to its shard and remembers it.
    fn add(
        &self,
        state: &mut State,
        place: Place<'_>,
        role: Role,
        publishes: Option<Program>,
        (local, remote): (IceCredentials, Remote),
        carries: Carries,
    ) -> Result<SessionId, JoinError> {
        let overloaded = || JoinError::Overloaded("the node is too busy to take the session");
        let id = SessionId::generate(&self.0.random).ok_or_else(overloaded)?;
        let number = SessionNumber(state.next_number);
        let new = NewSession {
            number,
            log_id: id.for_logs(),
            program: place.program,
            home: place.home,
            max_lines: state.max_lines(place.room),
            local,
            remote: IceCredentials {
                ufrag: remote.ice.ufrag,
                pwd: remote.ice.pwd,
            },
            fingerprint: Fingerprint(remote.fingerprint),
            carries,
        };
        let (shard, _) = self
            .0
            .parts
            .shards
            .get(place.shard)
            .ok_or_else(overloaded)?;
        if shard.send(Command::Add(Box::new(new))).is_err() {
            metrics::join_refused("shard_busy");
            state.drop_room_if_empty(place.room);
            return Err(overloaded());
        }
        state.next_number += 1;
        state.connecting += 1;
        state.shard_load[place.shard] += 1;
        if let Some(room) = state.rooms.get_mut(place.room) {
            room.sessions += 1;
        }
        state.numbers.insert(number, id.clone());
        state.sessions.insert(
            id.clone(),
            Session {
                number,
                who: Who {
                    id: id.clone(),
                    uid: state.uid(place.room),
                    room: place.room.clone(),
                    role,
                    client: place.client,
                    joined: SystemTime::now(),
                },
                joined: Instant::now(),
                shard: place.shard,
                connected: None,
                publishes,
                first_stall: None,
                mark: Mark::default(),
                report: None,
                reports: 0,
                adaptation: watch::Sender::new(None),
                ended: watch::Sender::new(None),
            },
        );
        Ok(id)
    }

    /// Tells shards what was decided.
    fn carry_out(&self, state: &mut State) {
        for (shard, command) in std::mem::take(&mut state.orders) {
            if self.command(shard, command).is_err() {
                // What links are told is told again with the next change of it, at the latest with the next bitrate.
                tracing::warn!(shard, "a shard is too busy to be told of a link");
            }
        }
    }

    /// Keeps up with what the shards say, and tells viewers' counts once a second.
    async fn follow(self, mut events: mpsc::UnboundedReceiver<ShardEvent>) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut meter = Meter::new();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        let mut state = self.state();
                        state.on_shard_event(event, Instant::now());
                        self.carry_out(&mut state);
                    }
                    None => {
                        self.state().part_with_all();
                        self.0.silent.send_replace(true);
                        return;
                    }
                },
                _ = second.tick() => {
                    let load = meter.measure();
                    let mut state = self.state();
                    state.load = load;
                    state.tell_counts();
                    let now = Instant::now();
                    state.look_at_marks(now);
                    state.part(now);
                    self.end_left(&state);
                    self.end_moved_hosts(&state);
                    self.carry_out(&mut state);
                }
            }
        }
    }
}

/// As the status writes numbers, which no node exceeds.
pub(crate) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Where a new session goes.
struct Place<'a> {
    room: &'a RoomName,
    shard: usize,
    home: usize,
    program: ProgramId,
    client: Client,
}

/// What viewers are offered of a publisher.
fn on_air(publishing: &Publishing) -> Program {
    let codec = |track: &Option<showrunner_sdp::RecvTrack>| {
        let codec = track.as_ref()?.codecs.first()?;
        Some((codec.codec, codec.fmtp.clone()))
    };
    Program {
        audio: codec(&publishing.audio).map(|(codec, _)| codec),
        video: codec(&publishing.video),
    }
}
