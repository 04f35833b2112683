//! What a shard knows and does, apart from waiting: sessions, programs, and where datagrams go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use mio::Registry;
use showrunner_rtp::packet::is_rtcp;
use showrunner_transport::dtls::Identity;
use showrunner_transport::stun;

use super::RelayHandle;
use super::adaptation::Timed;
use super::hearing::Ear;
use super::keep::{Kept, keep};
use super::message::{Command, NewSession, ProgramId, Relay, SessionNumber, ShardEvent};
use super::outbox::{Links, Outbox};
use super::path::Path;
use super::program::Program;
use super::session::{Publisher, Role, Seeds, Session};
use super::sessions::{Key, Sessions};
use super::socket::Received;
use super::sockets::Sockets;
use super::takeover;
use super::tcp::Connections;
use crate::media::ingest::{Ingested, Track};
use crate::media::pool::PacketPool;
use crate::media::sync::NodeClock;
use crate::metrics::ShardMetrics;
use crate::node::EndReason;

/// The first byte of a datagram says which protocol it is (RFC 7983 §7).
enum Protocol {
    Stun,
    Dtls,
    Media,
    Other,
}

fn protocol(datagram: &[u8]) -> Protocol {
    match datagram.first() {
        Some(0..=3) => Protocol::Stun,
        Some(20..=63) => Protocol::Dtls,
        Some(128..=191) => Protocol::Media,
        _ => Protocol::Other,
    }
}

/// A shard's state and its ways out.
pub(super) struct Core {
    pub(super) index: usize,
    pub(super) sockets: Sockets,
    pub(super) connections: Connections,
    pub(super) registry: Registry,
    pub(super) outbox: Outbox,
    pub(super) sessions: Sessions,
    pub(super) programs: HashMap<ProgramId, Program>,
    pub(super) publishers: Vec<Key>,
    /// Ends of links to other pods, connected or not.
    pub(super) links: Vec<Key>,
    /// Sessions that this end begins, connected or not.
    pub(super) callers: Vec<Key>,
    pub(super) handshaking: Vec<Key>,
    /// Viewers to whom something is to be sent once more.
    pub(super) copying: Vec<Key>,
    /// Programs that have packets to send on.
    pub(super) dirty: Vec<ProgramId>,
    /// Viewers that are behind or probed.
    pub(super) timed: Timed,
    pub(super) pool: PacketPool,
    pub(super) clock: NodeClock,
    pub(super) metrics: ShardMetrics,
    pub(super) peers: Vec<RelayHandle>,
    pub(super) peers_to_wake: Vec<bool>,
    pub(super) ear: Ear,
    pub(super) identity: Arc<Identity>,
    pub(super) events: tokio::sync::mpsc::UnboundedSender<ShardEvent>,
    random: SystemRandom,
    /// A random number; see [`super::session::Seeds`].
    secret: Option<u64>,
    pub(super) shut_down: bool,
}

impl Core {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts that a shard is put together from"
    )]
    pub(super) fn new(
        index: usize,
        sockets: Sockets,
        registry: Registry,
        identity: Arc<Identity>,
        peers: Vec<RelayHandle>,
        events: tokio::sync::mpsc::UnboundedSender<ShardEvent>,
        metrics: ShardMetrics,
        now: Instant,
    ) -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            index,
            sockets,
            connections: Connections::default(),
            registry,
            outbox: Outbox::new(metrics.residence()),
            sessions: Sessions::default(),
            programs: HashMap::new(),
            publishers: Vec::new(),
            links: Vec::new(),
            callers: Vec::new(),
            handshaking: Vec::new(),
            copying: Vec::new(),
            dirty: Vec::new(),
            timed: Timed::default(),
            pool: PacketPool::default(),
            clock: NodeClock::new(now, unix),
            metrics,
            peers_to_wake: vec![false; peers.len()],
            ear: Ear::default(),
            peers,
            identity,
            events,
            random: SystemRandom::new(),
            secret: None,
            shut_down: false,
        }
    }

    /// What hosts' streams are named by on links.
    pub(super) fn secret(&self) -> u64 {
        // There is no program before there was a session.
        self.secret.unwrap_or_default()
    }

    /// Tells the control plane.
    pub(super) fn tell(&self, event: ShardEvent) {
        // The control plane is gone only when the process ends.
        let _ = self.events.send(event);
    }

    /// Tells another shard; it is woken at the end of the turn.
    pub(super) fn relay(&mut self, to: usize, relay: Relay) {
        relay_to(
            &self.peers,
            &mut self.peers_to_wake,
            &self.metrics,
            to,
            relay,
        );
    }

    /// Wakes the shards that were told something this turn.
    pub(super) fn wake_peers(&mut self) {
        for (peer, wake) in self.peers.iter().zip(&mut self.peers_to_wake) {
            if std::mem::take(wake) {
                peer.wake();
            }
        }
    }

    /// Takes a command of the control plane.
    pub(super) fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Add(new) => self.add(now, *new),
            Command::RestartIce {
                number,
                local,
                remote,
            } => {
                if let Some(key) = self.sessions.by_number(number) {
                    self.sessions.add_ufrag(local.ufrag.clone(), key);
                    if let Some(session) = self.sessions.get_mut(key) {
                        session.ice.restart(local, remote);
                    }
                }
            }
            Command::End { number, reason } => {
                if let Some(key) = self.sessions.by_number(number) {
                    self.end(now, key, reason);
                }
            }
            Command::Choose { number, choice } => {
                if let Some(key) = self.sessions.by_number(number) {
                    self.choose_layer(now, key, choice);
                }
            }
            Command::Want { number, wants } => self.want(now, number, wants),
            Command::Say { number, note } => self.say(now, number, note),
            Command::Announce { program, layers } => self.announce(now, program, layers),
            Command::Shutdown => {
                for key in self.sessions.keys() {
                    self.end(now, key, EndReason::Shutdown);
                }
                self.shut_down = true;
            }
        }
    }

    fn add(&mut self, now: Instant, new: NewSession) {
        let (program, home) = (new.program, new.home);
        let mut seeds = [0; 24];
        if self.random.fill(&mut seeds).is_err() {
            tracing::error!("the system has no randomness: session refused");
            self.refuse(new.number);
            return;
        }
        let port = match new.carries.call().is_some() {
            true => match self.sockets.open(&self.registry) {
                Ok(port) => Some(port),
                Err(error) => {
                    tracing::error!(%error, "the system has no socket: session refused");
                    self.refuse(new.number);
                    return;
                }
            },
            false => None,
        };
        let seed = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| seeds[at + i]));
        self.programs
            .entry(program)
            .or_insert_with(|| Program::new(program, home));
        let seeds = Seeds {
            session: [seed(0), seed(8)],
            process: *self.secret.get_or_insert(seed(16)),
        };
        let session = Session::new(new, seeds, port, now);
        let (is_link, is_caller) = (session.role.is_link(), session.caller.is_some());
        let key = self.sessions.insert(session);
        if is_link {
            self.links.push(key);
        }
        if is_caller {
            self.callers.push(key);
        }
    }

    /// Says that a session can't be.
    fn refuse(&self, number: SessionNumber) {
        self.tell(ShardEvent::Ended {
            number,
            reason: EndReason::TransportFailed,
            lived: Box::default(),
        });
    }

    /// Takes one run of datagrams from the UDP socket of a port.
    pub(super) fn on_received(&mut self, now: Instant, port: u16, run: Received<'_>) {
        let path = Path::Udp {
            peer: run.peer,
            local: run.local,
            port,
        };
        let arrival = run
            .timestamp
            .map_or(now, |unix| self.clock.instant(unix, now));
        for datagram in run.datagrams {
            self.on_datagram(now, arrival, path, datagram);
        }
    }

    /// Takes one datagram, or one frame of a TCP connection.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        arrival: Instant,
        path: Path,
        datagram: &mut [u8],
    ) {
        self.metrics.received.packets += 1;
        self.metrics.received.bytes += datagram.len() as u64;
        match protocol(datagram) {
            Protocol::Stun => self.on_stun(now, path, datagram),
            Protocol::Dtls => match self.sessions.by_path(&path) {
                Some(key) => self.on_dtls(now, key, path, datagram),
                None => self.metrics.dropped.unknown_path += 1,
            },
            Protocol::Media => match self.sessions.by_path(&path) {
                Some(key) if is_rtcp(datagram) => self.on_rtcp(now, key, datagram),
                Some(key) => self.on_rtp(now, arrival, key, datagram),
                None => self.metrics.dropped.unknown_path += 1,
            },
            Protocol::Other => self.metrics.dropped.malformed += 1,
        }
    }

    /// ICE: a check that proves it knows the session's password opens its path.
    fn on_stun(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let Some((local, _)) = stun::username(datagram) else {
            self.on_stun_answer(now, path, datagram);
            return;
        };
        let key = self.sessions.by_ufrag(local);
        let Some(session) = key.and_then(|key| self.sessions.get_mut(key)) else {
            self.metrics.dropped.unknown_path += 1;
            return;
        };
        let mut reply = [0; 256];
        match session
            .ice
            .handle(now, path, path.peer(), datagram, &mut reply)
        {
            Ok(outcome) => {
                if outcome.selected_changed {
                    tracing::debug!(session = %session.log_id, peer = %path.peer(), "path selected");
                }
                let validated = session.ice.is_validated(path);
                let mut links = Links {
                    sockets: &self.sockets,
                    connections: &mut self.connections,
                };
                let reply = &reply[..outcome.reply_len];
                self.outbox.put(reply, path, &mut links);
                if let (true, Some(key)) = (validated, key) {
                    self.sessions.bind_path(path, key);
                    if let Path::Tcp { connection, .. } = path {
                        self.connections.keep(connection);
                    }
                    self.greet(now, key, path);
                }
            }
            Err(_) => self.metrics.dropped.unauthentic += 1,
        }
    }

    /// A peer has passed ICE on a path: where the handshake begins with us, it begins now.
    pub(super) fn greet(&mut self, now: Instant, key: Key, path: Path) {
        self.shake_hands(now, key, path, |session, identity| {
            session.greet(now, identity).map(|()| false)
        });
    }

    fn on_dtls(&mut self, now: Instant, key: Key, path: Path, datagram: &[u8]) {
        self.shake_hands(now, key, path, |session, identity| {
            session.on_dtls(now, datagram, identity)
        });
    }

    /// A step of a session's handshake. It says whether media can flow from now on.
    fn shake_hands(
        &mut self,
        now: Instant,
        key: Key,
        path: Path,
        step: impl FnOnce(&mut Session, &Identity) -> Result<bool, EndReason>,
    ) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let was_handshaking = session.is_handshaking();
        let result = step(session, &self.identity);
        if session.is_handshaking() && !was_handshaking {
            self.handshaking.push(key);
        }
        self.send_dtls(key, Some(path));
        match result {
            Ok(true) => self.on_connected(now, key),
            Ok(false) => {}
            Err(reason) => self.end(now, key, reason),
        }
    }

    /// Sends what DTLS has to say: to where it was asked from, else to the selected path.
    pub(super) fn send_dtls(&mut self, key: Key, path: Option<Path>) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let Some(path) = path.or_else(|| session.ice.selected()) else {
            return;
        };
        while let Some(datagram) = session.poll_dtls() {
            let mut links = Links {
                sockets: &self.sockets,
                connections: &mut self.connections,
            };
            self.outbox.put(&datagram, path, &mut links);
        }
    }

    fn on_connected(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let number = session.number;
        tracing::debug!(session = %session.log_id, "connected");
        self.metrics
            .joined(now.saturating_duration_since(session.created()));
        match &session.role {
            Role::Publisher(publisher) if publisher.intake.is_some() => {
                self.attach_intake(now, key);
            }
            Role::Publisher(publisher) if publisher.adds_to.is_some() => {
                self.attach_transcoder(now, key);
            }
            // Told of once it is on air.
            Role::Publisher(_) => return self.enter(now, key),
            Role::Viewer(_) => self.attach(now, key),
            Role::Feed(_) => self.attach_feed(now, key),
        }
        self.tell(ShardEvent::Connected { number });
    }

    /// A connected publisher takes the air; whoever had it before is done. What a link brings is put off.
    pub(super) fn go_on_air(&mut self, now: Instant, key: Key) {
        let Some(program) = self.program_of(key) else {
            return;
        };
        let id = program.id;
        program.successor = None;
        let before = program.publisher.replace(key);
        let before = before.filter(|before| !program.intakes.contains(before));
        if program.has_media() {
            self.clear_everywhere(now, id);
        }
        if let Some(program) = self.program_of(key) {
            program.publisher = Some(key);
        }
        self.end_ladder(now, id);
        if let Some(before) = before {
            self.end(now, before, EndReason::Replaced);
        }
        if let Some(session) = self.sessions.get_mut(key) {
            let number = session.number;
            self.tell(ShardEvent::Connected { number });
        }
    }

    pub(super) fn program_of(&mut self, key: Key) -> Option<&mut Program> {
        let id = self.sessions.get_mut(key)?.program;
        self.programs.get_mut(&id)
    }

    fn on_rtp(&mut self, now: Instant, arrival: Instant, key: Key, datagram: &mut [u8]) {
        let Self {
            sessions,
            programs,
            pool,
            metrics,
            dirty,
            peers,
            peers_to_wake,
            events,
            ..
        } = self;
        let Some(session) = sessions.get_mut(key) else {
            return;
        };
        let (Role::Publisher(publisher), Some(srtp)) = (&mut session.role, &session.srtp) else {
            metrics.dropped.unknown_path += 1;
            return;
        };
        let Some(program) = programs.get_mut(&session.program) else {
            return;
        };
        let succeeds = program.successor.is_some_and(|next| next.is(key));
        if !succeeds && !program.takes_from(key) {
            return;
        }
        let bytes = datagram.len();
        let Publisher {
            ingest,
            lived,
            intake,
            adds_to,
            ..
        } = &mut **publisher;
        if adds_to.is_some() {
            // Before the host has a picture, nothing can be made of it.
            let Some(timeline) = program.timeline() else {
                return;
            };
            ingest.align_to(timeline);
        }
        let mut taken = ingest.on_rtp(now, arrival, datagram, &srtp.receiver);
        if matches!(taken, Ok(Ingested::Media(_))) {
            lived.on_packet(arrival, bytes);
        }
        if succeeds {
            if let Ok(Ingested::Media(media)) = taken
                && takeover::begins(&media)
            {
                let rid = Arc::clone(media.rid);
                let first = Kept::copy(media, pool, now, arrival).detach(&rid);
                self.take_over(now, key, first);
            }
            return;
        }
        if let (Some(intake), Ok(taken)) = (intake, &taken) {
            metrics.linked.received += 1;
            intake.notes.on_packet(now);
            if let Ingested::Media(media) = taken {
                let (source, seq) = (media.source, media.seq);
                let on_air = program.on_air_sources(now);
                if intake.caught_up(source, program.is_newest(source, seq), on_air) {
                    let number = session.number;
                    let _ = events.send(ShardEvent::CaughtUp { number });
                }
                // It came by another link before, or that other link's show is another one.
                if program.publisher != Some(key) && !program.misses(source, seq) {
                    return;
                }
            }
        }
        let mut relay = |to, relay| relay_to(peers, peers_to_wake, metrics, to, relay);
        loop {
            match taken {
                Ok(Ingested::Media(media)) => {
                    if media.marker && media.track == Track::Video {
                        lived.on_frame(arrival, media.timestamp);
                    }
                    let kept = Kept::copy(media, pool, now, arrival);
                    if keep(kept, program, pool, now, &mut relay) {
                        mark(dirty, program.id);
                    }
                }
                Ok(Ingested::Padding { source, seq }) => {
                    let id = program.id;
                    for to in &program.replicas {
                        let program = id;
                        relay(
                            *to,
                            Relay::Padding {
                                program,
                                source,
                                seq,
                            },
                        );
                    }
                    self.skip(id, source, seq);
                    return;
                }
                Err(dropped) => {
                    metrics.dropped.count(dropped);
                    return;
                }
            }
            match ingest.next_recovered(datagram) {
                Some(media) => taken = Ok(Ingested::Media(media)),
                None => return,
            }
        }
    }

    /// Ends a session: says goodbye, forgets it, tells the control plane.
    pub(super) fn end(&mut self, now: Instant, key: Key, reason: EndReason) {
        let mut lived = Box::default();
        if let Some(session) = self.sessions.get_mut(key) {
            session.close(now);
            let frames = self.programs.get(&session.program).map(|p| p.frames);
            lived = Box::new(session.lived(now, &frames.unwrap_or_default()));
        }
        self.send_dtls(key, None);
        self.detach_link(key);
        self.callers.retain(|k| *k != key);
        self.take_off_air(now, key);
        self.detach_transcoder(now, key);
        self.detach(key);
        self.publishers.retain(|k| *k != key);
        self.handshaking.retain(|k| *k != key);
        self.copying.retain(|k| *k != key);
        let Some(session) = self.sessions.remove(key) else {
            return;
        };
        for path in &session.paths {
            if let Path::Tcp { connection, .. } = path {
                self.connections.close(*connection, &self.registry);
            }
        }
        if let Some(caller) = &session.caller {
            // Its goodbye still waits to be sent.
            self.send_out();
            self.sockets.close(caller.port());
        }
        tracing::debug!(session = %session.log_id, ?reason, "ended");
        self.drop_idle_program(session.program);
        self.tell(ShardEvent::Ended {
            number: session.number,
            reason,
            lived,
        });
    }

    /// How long a turn may wait for events.
    pub(super) fn patience(&self, now: Instant, until_tick: Duration) -> Duration {
        let until_tick = until_tick.min(self.timed.patience(now));
        if self.dirty.is_empty() {
            until_tick
        } else {
            until_tick.min(super::program::MAX_HOLD / 2)
        }
    }
}

/// Marks a program as having packets to send.
pub(super) fn mark(dirty: &mut Vec<ProgramId>, id: ProgramId) {
    if !dirty.contains(&id) {
        dirty.push(id);
    }
}

pub(super) fn relay_to(
    peers: &[RelayHandle],
    peers_to_wake: &mut [bool],
    metrics: &ShardMetrics,
    to: usize,
    relay: Relay,
) {
    let (Some(peer), Some(wake)) = (peers.get(to), peers_to_wake.get_mut(to)) else {
        return;
    };
    *wake = true;
    if !peer.push(relay) {
        metrics.shed_relay();
    }
}
