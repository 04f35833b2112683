//! The node as the signalling sees it: rooms, sessions and the events of both.
//!
//! HTTP handlers call this type; it hands sessions to the shards that carry their packets.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use showrunner_sdp::{
    Candidate, Codec, IceParameters, Local, Offer, OfferError, Program, Publishing, Remote,
    accept_publish, accept_watch, answer_publish, answer_watch,
};
use showrunner_transport::{Fingerprint, IceCredentials};
use tokio::sync::{broadcast, mpsc, watch};

use crate::metrics;
use crate::room::RoomName;
use crate::shard::ShardHandle;
use crate::shard::message::{Carries, Command, NewSession, ProgramId, SessionNumber, ShardEvent};
use crate::status::{NodeStatus, RoomStatus};

/// Whose media a session carries, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends to the node (WHIP).
    Publisher,
    /// Receives from the node (WHEP).
    Viewer,
}

/// A session's unguessable name: 128 random bits in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

/// Why a session could not be made. Each maps to one HTTP status.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The offer was refused (400, 406 or 422, as the error says).
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// A viewer came before the host (409 + Retry-After).
    #[error("nobody is on air in this room yet")]
    NotLive,
    /// Another host is on air (409 + Retry-After).
    #[error("another host is on air in this room")]
    Occupied,
    /// The node is full, draining, or its shards are behind (503 + Retry-After).
    #[error("{0}")]
    Overloaded(&'static str),
}

/// A new session and the answer to its offer.
pub struct Joined {
    /// Names the session resource.
    pub id: SessionId,
    /// The SDP answer.
    pub answer: String,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client sent DELETE.
    Deleted,
    /// No authenticated consent for 30 s (RFC 7675), or never connected.
    ConsentExpired,
    /// The peer closed DTLS.
    ClosedByPeer,
    /// Transport failure: DTLS error, certificate mismatch …
    TransportFailed,
    /// The node or the room is going away.
    Shutdown,
    /// Taken over by the same host publishing anew.
    Replaced,
}

/// What happens in a room that its viewers may be told (WHEP server-sent events).
#[derive(Clone, Debug, PartialEq)]
pub enum RoomEvent {
    /// A host is on air.
    Active,
    /// The host is off air.
    Inactive,
    /// The layers that can be chosen changed.
    Layers(Arc<[LayerInfo]>),
    /// How many watch now.
    ViewerCount(u32),
    /// Move to another node.
    Reconnect {
        /// Where to POST a new offer; none: the same endpoint.
        url: Option<String>,
    },
}

/// One simulcast layer on air.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerInfo {
    /// RID; empty without simulcast.
    pub rid: String,
    /// Picture size in pixels, once known.
    pub size: Option<(u16, u16)>,
    /// Measured bitrate, bit/s.
    pub bitrate_bps: u64,
}

/// What a viewer asked for by the layer extension.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LayerChoice {
    /// This RID, if on air.
    pub rid: Option<String>,
    /// No larger than this width, in pixels.
    pub max_width: Option<u16>,
    /// No larger than this height, in pixels.
    pub max_height: Option<u16>,
}

/// Why an operation on a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No such session (404): it ended or never was.
    #[error("no such session: it has ended or never existed")]
    NotFound,
    /// The layer asked for is not on air (404/400).
    #[error("{0}")]
    NoSuchLayer(String),
    /// The shard is too busy (503).
    #[error("the node is overloaded")]
    Overloaded,
}

/// New ICE parameters after a restart, for the `trickle-ice-sdpfrag` answer.
pub struct IceRestarted {
    /// New local ufrag.
    pub ufrag: String,
    /// New local password.
    pub pwd: String,
    /// The node's candidates, as in the answer.
    pub candidates: Vec<showrunner_sdp::Candidate>,
}

/// How long a viewer may lag behind its room's events before it misses some.
const EVENT_BACKLOG: usize = 64;

/// Sessions that wait for their peer; more joins than that at once are refused.
const MAX_CONNECTING: usize = 4096;

impl SessionId {
    fn generate(random: &SystemRandom) -> Option<Self> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes).ok()?;
        Some(Self(URL_SAFE_NO_PAD.encode(bytes).into()))
    }

    /// Reads a session's name from a URL.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 22 && URL_SAFE_NO_PAD.decode(text).is_ok()).then(|| Self(text.into()))
    }

    /// The part that logs may show: enough to tell sessions apart, too little to use one.
    fn for_logs(&self) -> Arc<str> {
        self.0.get(..6).unwrap_or_default().into()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Role {
    /// As metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Viewer => "viewer",
        }
    }
}

impl EndReason {
    /// As metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::ConsentExpired => "consent_expired",
            Self::ClosedByPeer => "closed_by_peer",
            Self::TransportFailed => "transport_failed",
            Self::Shutdown => "shutdown",
            Self::Replaced => "replaced",
        }
    }
}

/// What a node is made with.
pub struct NodeParts {
    /// Its shards' ways in, by index, and their ports.
    pub shards: Vec<(ShardHandle, u16)>,
    /// Addresses that clients are told.
    pub addresses: Vec<IpAddr>,
    /// SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// The most sessions.
    pub max_sessions: usize,
}

/// The control plane of one node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    parts: NodeParts,
    started: Instant,
    draining: AtomicBool,
    random: SystemRandom,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<RoomName, Room>,
    programs: HashMap<ProgramId, RoomName>,
    sessions: HashMap<SessionId, Session>,
    numbers: HashMap<SessionNumber, SessionId>,
    shard_load: Vec<usize>,
    connecting: usize,
    next_number: u64,
}

struct Room {
    program: ProgramId,
    home: usize,
    /// Who is on air, and with which codecs.
    host: Option<(SessionNumber, Program)>,
    active: bool,
    viewers: u32,
    told_viewers: u32,
    layers: Arc<[LayerInfo]>,
    told_layers: Arc<[LayerInfo]>,
    sessions: usize,
    events: broadcast::Sender<RoomEvent>,
}

struct Session {
    number: SessionNumber,
    role: Role,
    room: RoomName,
    shard: usize,
    connected: bool,
    /// The codecs that a publisher will be on air with.
    publishes: Option<Program>,
    ended: watch::Sender<Option<EndReason>>,
}

impl Node {
    /// A node over shards that run; `events` is what they say.
    pub fn new(parts: NodeParts, events: mpsc::UnboundedReceiver<ShardEvent>) -> Self {
        let state = State {
            shard_load: vec![0; parts.shards.len()],
            ..State::default()
        };
        let node = Self(Arc::new(Inner {
            parts,
            started: Instant::now(),
            draining: AtomicBool::new(false),
            random: SystemRandom::new(),
            state: Mutex::new(state),
        }));
        tokio::spawn(node.clone().follow(events));
        node
    }

    /// Takes a host's offer.
    ///
    /// # Errors
    /// Why the host can't come in.
    pub async fn publish(&self, room: &RoomName, offer: &Offer) -> Result<Joined, JoinError> {
        let publishing = accept_publish(offer).inspect_err(|_| metrics::join_refused("offer"))?;
        let (local, ice) = self.local()?;
        let mut state = self.admit()?;
        let home = match state.rooms.get(room) {
            // A host whose media stopped may have lost its network: it can be replaced.
            Some(known) if known.host.is_some() && known.active => {
                metrics::join_refused("occupied");
                return Err(JoinError::Occupied);
            }
            Some(known) => known.home,
            None => state.least_loaded(),
        };
        let program = state.program(room, home);
        let answer_for = self.local_description(local, home);
        let answer = answer_publish(offer, &publishing, &answer_for);
        let remote = publishing.remote.clone();
        let publishes = Some(on_air(&publishing));
        let carries = Carries::Publish(publishing);
        let place = Place {
            room,
            shard: home,
            home,
            program,
        };
        let id = self.add(
            &mut state,
            place,
            Role::Publisher,
            publishes,
            (ice, remote),
            carries,
        )?;
        tracing::info!(room = %room, session = %id.for_logs(), shard = home, "a host joins");
        Ok(Joined { id, answer })
    }

    /// Takes a viewer's offer.
    ///
    /// # Errors
    /// Why the viewer can't come in.
    pub async fn watch(&self, room: &RoomName, offer: &Offer) -> Result<Joined, JoinError> {
        let (local, ice) = self.local()?;
        let mut state = self.admit()?;
        let Some((known, on_air)) = state
            .rooms
            .get(room)
            .and_then(|r| Some((r, &r.host.as_ref()?.1)))
        else {
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
        };
        let id = self.add(
            &mut state,
            place,
            Role::Viewer,
            None,
            (ice, remote),
            Carries::Watch(watching),
        )?;
        tracing::info!(room = %room, session = %id.for_logs(), shard, "a viewer joins");
        Ok(Joined { id, answer })
    }

    /// Which way a session's media goes; none if there is no such session.
    pub fn role(&self, id: &SessionId) -> Option<Role> {
        self.state().sessions.get(id).map(|s| s.role)
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
            .get(&session.room)
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
            .get(&session.room)
            .ok_or(SessionError::NotFound)?;
        let active = if room.active {
            RoomEvent::Active
        } else {
            RoomEvent::Inactive
        };
        let layers = RoomEvent::Layers(Arc::clone(&room.layers));
        let now = vec![active, layers, RoomEvent::ViewerCount(room.viewers)];
        Ok((now, room.events.subscribe()))
    }

    /// Tells when a session ends, and why; none if there is no such session.
    pub fn ended(&self, id: &SessionId) -> Option<watch::Receiver<Option<EndReason>>> {
        self.state().sessions.get(id).map(|s| s.ended.subscribe())
    }

    /// Whether the node takes new sessions.
    pub fn is_ready(&self) -> bool {
        !self.0.draining.load(Ordering::Relaxed)
    }

    /// The node and all that is on it.
    pub fn status(&self) -> NodeStatus {
        let state = self.state();
        let mut rooms: Vec<RoomStatus> = state
            .rooms
            .iter()
            .map(|(name, room)| room.status(name))
            .collect();
        rooms.sort_by(|a, b| a.name.cmp(&b.name));
        NodeStatus {
            version: env!("CARGO_PKG_VERSION"),
            ready: self.is_ready(),
            uptime_seconds: self.0.started.elapsed().as_secs(),
            sessions: state.sessions.len(),
            rooms,
        }
    }

    /// Takes no more sessions, says goodbye to all, and stops the shards.
    pub fn shut_down(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
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

    /// Whether there is room for one more.
    fn admit(&self) -> Result<MutexGuard<'_, State>, JoinError> {
        let refuse = |reason, text| {
            metrics::join_refused(reason);
            Err(JoinError::Overloaded(text))
        };
        if !self.is_ready() {
            return refuse("draining", "the node is shutting down");
        }
        let state = self.state();
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
        let port = self.0.parts.shards.get(shard).map_or(0, |(_, port)| *port);
        let addresses = || {
            self.0
                .parts
                .addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, port))
        };
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
                role,
                room: place.room.clone(),
                shard: place.shard,
                connected: false,
                publishes,
                ended: watch::Sender::new(None),
            },
        );
        Ok(id)
    }

    /// Keeps up with what the shards say, and tells viewers' counts once a second.
    async fn follow(self, mut events: mpsc::UnboundedReceiver<ShardEvent>) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.state().on_shard_event(event),
                    None => return,
                },
                _ = second.tick() => self.state().tell_counts(),
            }
        }
    }
}

/// Where a new session goes.
struct Place<'a> {
    room: &'a RoomName,
    shard: usize,
    home: usize,
    program: ProgramId,
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

impl Room {
    fn status(&self, name: &RoomName) -> RoomStatus {
        let on_air = self.host.as_ref().map(|(_, program)| program);
        RoomStatus {
            name: name.to_string(),
            active: self.active,
            viewers: self.viewers,
            audio_codec: on_air.and_then(|p| p.audio).map(Codec::name),
            video_codec: on_air
                .and_then(|p| p.video.as_ref())
                .map(|(codec, _)| codec.name()),
            layers: self.layers.to_vec(),
        }
    }

    fn tell(&self, event: RoomEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

/// Whether viewers need not be told of a change: same layers and sizes, much the same bitrates.
fn looks_alike(told: &[LayerInfo], now: &[LayerInfo]) -> bool {
    told.len() == now.len()
        && told.iter().zip(now).all(|(a, b)| {
            let close = a.bitrate_bps.abs_diff(b.bitrate_bps) <= a.bitrate_bps / 4;
            a.rid == b.rid && a.size == b.size && close
        })
}

impl State {
    fn least_loaded(&self) -> usize {
        let by_load = self
            .shard_load
            .iter()
            .enumerate()
            .min_by_key(|(_, load)| **load);
        by_load.map_or(0, |(shard, _)| shard)
    }

    fn program(&mut self, name: &RoomName, home: usize) -> ProgramId {
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
                active: false,
                viewers: 0,
                told_viewers: 0,
                layers: Arc::default(),
                told_layers: Arc::default(),
                sessions: 0,
                events: broadcast::Sender::new(EVENT_BACKLOG),
            },
        );
        program
    }

    fn drop_room_if_empty(&mut self, name: &RoomName) {
        if let Some(room) = self.rooms.get(name)
            && room.sessions == 0
        {
            self.programs.remove(&room.program);
            self.rooms.remove(name);
        }
    }

    fn on_shard_event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Connected { number } => self.on_connected(number),
            ShardEvent::Ended { number, reason } => self.on_ended(number, reason),
            ShardEvent::OnAir {
                program,
                active,
                layers,
            } => self.on_air(program, active, layers),
        }
    }

    fn on_connected(&mut self, number: SessionNumber) {
        let Some(session) = self
            .numbers
            .get(&number)
            .and_then(|id| self.sessions.get_mut(id))
        else {
            return;
        };
        session.connected = true;
        self.connecting = self.connecting.saturating_sub(1);
        let Some(room) = self.rooms.get_mut(&session.room) else {
            return;
        };
        match session.role {
            Role::Publisher => {
                room.host = session.publishes.take().map(|program| (number, program))
            }
            Role::Viewer => room.viewers += 1,
        }
    }

    fn on_ended(&mut self, number: SessionNumber, reason: EndReason) {
        let Some(session) = self
            .numbers
            .remove(&number)
            .and_then(|id| self.sessions.remove(&id))
        else {
            return;
        };
        tracing::info!(room = %session.room, number = number.0, role = session.role.name(), reason = reason.name(), "a session ended");
        metrics::session_ended(session.role.name(), reason.name());
        self.shard_load[session.shard] = self.shard_load[session.shard].saturating_sub(1);
        if !session.connected {
            self.connecting = self.connecting.saturating_sub(1);
        }
        if let Some(room) = self.rooms.get_mut(&session.room) {
            room.sessions = room.sessions.saturating_sub(1);
            match session.role {
                Role::Publisher => {
                    if room.host.as_ref().is_some_and(|(host, _)| *host == number) {
                        room.host = None;
                    }
                }
                Role::Viewer if session.connected => room.viewers = room.viewers.saturating_sub(1),
                Role::Viewer => {}
            }
        }
        session.ended.send_replace(Some(reason));
        self.drop_room_if_empty(&session.room);
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

    fn tell_counts(&mut self) {
        let mut active = 0;
        for room in self.rooms.values_mut() {
            active += usize::from(room.active);
            if room.viewers != room.told_viewers {
                room.told_viewers = room.viewers;
                room.tell(RoomEvent::ViewerCount(room.viewers));
            }
        }
        metrics::set_rooms(self.rooms.len(), active);
        for role in [Role::Publisher, Role::Viewer] {
            let of_role = || self.sessions.values().filter(|s| s.role == role);
            let connected = of_role().filter(|s| s.connected).count();
            metrics::set_sessions(role.name(), of_role().count() - connected, connected);
        }
    }
}
