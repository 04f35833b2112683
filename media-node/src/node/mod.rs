//! The node as the signalling sees it: rooms, sessions and the events of both.
//!
//! HTTP handlers call this type; it hands sessions to the shards that carry their packets.

mod addresses;
mod assignments;
mod cascade;
mod control;
mod cutoff;
mod joining;
mod ladder;
mod moving;
mod parting;
mod retention;
mod session;
mod state;
mod wanted;
mod whep;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use showrunner_protocol::control::{Capacity, PublicAddresses};
use showrunner_transport::{Fingerprint, IceCredentials};
use tokio::sync::{broadcast, mpsc, watch};

pub use self::addresses::InvalidAddresses;
use self::assignments::Assignments;
pub use self::assignments::{AssignError, Assigned, EndRoomError, MAX_ROOMS};
pub use self::cascade::{LinkError, Peers};
use self::cutoff::CutOff;
pub use self::parting::ReportError;
pub use self::session::{
    Adaptation, AdaptationReason, AdaptedLayer, EndReason, IceRestarted, JoinError, Joined,
    LayerChoice, LayerInfo, Role, RoomEvent, SessionError, SessionId,
};
use self::state::State;
use crate::lived::sink::Records;
use crate::load::Meter;
use crate::room::RoomName;
use crate::shard::ShardHandle;
use crate::shard::message::{Command, SessionNumber, ShardEvent};
use crate::status::NodeStatus;

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

/// Why no new sessions are to come to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It does not take any, for good or not yet.
    #[error("the node takes no new sessions")]
    Closed,
    /// Those who watch don't reach it.
    #[error(
        "the node is cut off: it hears none of its viewers on its media ports; let their packets through, or take it away"
    )]
    CutOff,
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
            cut_off: CutOff::of(parts.shards.len()),
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
        let mut state = self.state();
        let who = &state.sessions.get(id).ok_or(SessionError::NotFound)?.who;
        let (name, role) = (who.room.clone(), who.role);
        let viewers = state.viewers_in_all(&name);
        let reconnect = state.reconnect(&name);
        let room = state.rooms.get_mut(&name).ok_or(SessionError::NotFound)?;
        if room.told_viewers != Some(viewers) {
            // Should it be the old number again by the time that all are told, this one has to be as well.
            room.told_viewers = None;
        }
        let active = if room.active {
            RoomEvent::Active
        } else {
            RoomEvent::Inactive
        };
        let layers = RoomEvent::Layers(Arc::clone(&room.layers));
        let mut now = vec![active, layers, RoomEvent::ViewerCount(viewers)];
        if role != Role::Viewer {
            now.extend(room.wanted.clone().map(RoomEvent::Wanted));
        }
        now.extend(reconnect);
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

    /// Whether new sessions are to come to the node: it is not on its way out, knows how clients reach it, and they do.
    /// Where there is no other node to go to, whether they do says nothing.
    ///
    /// # Errors
    /// Why they are not.
    pub fn is_ready(&self) -> Result<(), NotReady> {
        if self.is_leaving() || self.public().is_none() {
            return Err(NotReady::Closed);
        }
        let is_of_a_cluster = self.0.parts.rooms != Rooms::Any;
        if is_of_a_cluster && self.is_cut_off() {
            return Err(NotReady::CutOff);
        }
        Ok(())
    }

    /// Whether the node hears nobody of those who watch.
    pub fn is_cut_off(&self) -> bool {
        self.state().cut_off.is_so()
    }

    fn is_leaving(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// The node and all that is on it.
    pub fn status(&self) -> NodeStatus {
        let ready = self.is_ready().is_ok();
        let state = self.state();
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready,
            draining: self.is_draining(),
            cut_off: state.cut_off.is_so(),
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
