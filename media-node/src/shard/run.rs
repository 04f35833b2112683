//! The loop of a shard: wait, take in, send on, keep time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Events;
use showrunner_transport::dtls::Identity;

use super::core::Core;
use super::feedback::Due;
use super::message::{ProgramId, ShardEvent};
use super::path::Path;
use super::session::{Publisher, Role};
use super::socket::ReceiveBuffers;
use super::sockets::Sockets;
use super::tcp::Read;
use super::{Bound, FIRST_CONNECTION, Inputs, LISTENER, RelayHandle, WAKE};
use crate::lived::layers::On;
use crate::media::layer::Layer;
use crate::metrics::ShardMetrics;

/// The shard's clock tick: retransmissions are asked for and handshakes driven at this pace.
const TICK: Duration = Duration::from_millis(10);

/// Each session is looked at once in this many ticks: a second.
const TICKS_PER_ROUND: u64 = 100;

/// Transport-wide feedback goes out once in this many ticks if there is enough to report …
const TICKS_PER_FEEDBACK: u64 = 5;

/// … which is so many packets; with fewer, every other time. Feedback takes its share of a narrow
/// downlink, and a slow stream tells little in 50 ms.
const PACKETS_PER_FEEDBACK: u64 = 12;

/// System calls that one turn spends on receiving, so that a flood can't starve everything else.
const MAX_RECEIVES: usize = 16;

/// Reads that one turn spends on a TCP connection, for the same reason.
const MAX_READS: usize = 16;

/// A shard's thread.
pub(super) struct Shard {
    inputs: Inputs,
    listener: mio::net::TcpListener,
    buffers: ReceiveBuffers,
    frame: Box<[u8]>,
    /// TCP connections that brought more than a turn takes.
    unread: Vec<usize>,
    /// Ports of UDP sockets that have something, or brought more than a turn takes.
    readable: Vec<u16>,
    core: Core,
}

impl Shard {
    pub(super) fn new(
        bound: Bound,
        identity: Arc<Identity>,
        peers: Vec<RelayHandle>,
        events: tokio::sync::mpsc::UnboundedSender<ShardEvent>,
        metrics: ShardMetrics,
    ) -> std::io::Result<Self> {
        let registry = bound.inputs.poll.registry().try_clone()?;
        let core = Core::new(
            bound.config.index,
            Sockets::new(bound.socket, bound.config.bind.ip()),
            registry,
            identity,
            peers,
            events,
            metrics,
            Instant::now(),
        );
        Ok(Self {
            inputs: bound.inputs,
            listener: bound.listener,
            buffers: ReceiveBuffers::default(),
            frame: vec![0; usize::from(u16::MAX)].into_boxed_slice(),
            unread: Vec::new(),
            readable: Vec::new(),
            core,
        })
    }

    /// Runs until told to shut down.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut next_tick = Instant::now() + TICK;
        let mut tick = 0;
        while !self.core.shut_down {
            let now = Instant::now();
            let until_tick = next_tick.saturating_duration_since(now);
            let patience = if !self.readable.is_empty() || !self.unread.is_empty() {
                Duration::ZERO
            } else {
                self.core.patience(now, until_tick)
            };
            if let Err(error) = self.inputs.poll.poll(&mut events, Some(patience))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the shard's poll failed");
                return;
            }
            let now = Instant::now();
            for key in std::mem::take(&mut self.unread) {
                self.read_connection(now, key);
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTENER => {
                        self.core
                            .connections
                            .accept(&self.listener, &self.core.registry, now)
                    }
                    token => match self.core.sockets.port_of(token) {
                        Some(port) if self.readable.contains(&port) => {}
                        Some(port) => self.readable.push(port),
                        None => self.on_connection(now, token.0 - FIRST_CONNECTION, event),
                    },
                }
            }
            self.take_commands(now);
            for at in (0..self.readable.len()).rev() {
                if !self.receive(self.readable[at]) {
                    self.readable.swap_remove(at);
                }
            }
            let now = Instant::now();
            self.core.flush_due(now);
            self.core.serve_timed(now);
            if now >= next_tick {
                next_tick = now + TICK;
                tick += 1;
                self.core.on_tick(now, tick);
            }
            self.core.send_out();
            self.core.wake_peers();
            self.core.publish_metrics();
        }
    }

    fn take_commands(&mut self, now: Instant) {
        // Bounded, so that a storm of joins leaves time for media.
        for command in self.inputs.commands.try_iter().take(64) {
            self.core.on_command(now, command);
        }
        for _ in 0..self.inputs.relayed.len() {
            if let Some(relay) = self.inputs.relayed.pop() {
                self.core.on_relay(now, relay);
            }
        }
    }

    /// Takes in datagrams from a socket. True if there may be more.
    fn receive(&mut self, port: u16) -> bool {
        for _ in 0..MAX_RECEIVES {
            // It may be closed since.
            let Some(socket) = self.core.sockets.get(port) else {
                return false;
            };
            match socket.receive(&mut self.buffers) {
                Ok(Some(count)) => {
                    let now = Instant::now();
                    for run in self.buffers.runs(count) {
                        self.core.on_received(now, port, run);
                    }
                    // The other shards can begin while this one sends.
                    self.core.wake_peers();
                    self.core.flush_due(now);
                    self.core.send_out();
                }
                Ok(None) => return false,
                Err(error) => {
                    tracing::error!(%error, "could not receive");
                    return false;
                }
            }
        }
        true
    }

    fn on_connection(&mut self, now: Instant, key: usize, event: &mio::event::Event) {
        if event.is_writable() {
            self.core.connections.write(key);
        }
        if event.is_readable() {
            self.read_connection(now, key);
        }
    }

    /// Takes in what a connection brings, up to this turn's share of it.
    fn read_connection(&mut self, now: Instant, key: usize) {
        for _ in 0..MAX_READS {
            let read = self.core.connections.read(key);
            while let Some((peer, len)) = self.core.connections.next_frame(key, &mut self.frame) {
                let path = Path::Tcp {
                    peer,
                    connection: key,
                };
                self.core
                    .on_datagram(now, now, path, &mut self.frame[..len]);
            }
            match read {
                Read::Some => {}
                Read::Nothing => return,
                Read::Over => {
                    self.core.connections.close(key, &self.core.registry);
                    return;
                }
            }
        }
        // The poll tells of new bytes only, not of those that still wait.
        if !self.unread.contains(&key) {
            self.unread.push(key);
        }
    }
}

impl Core {
    /// Everything that goes by the clock.
    fn on_tick(&mut self, now: Instant, tick: u64) {
        for at in (0..self.handshaking.len()).rev() {
            let key = self.handshaking[at];
            self.look_after(now, key);
            if self
                .sessions
                .get_mut(key)
                .is_none_or(|s| !s.is_handshaking())
            {
                self.handshaking.retain(|k| *k != key);
            }
        }
        for at in 0..self.publishers.len() {
            let due = Due {
                transport_cc: if tick.is_multiple_of(2 * TICKS_PER_FEEDBACK) {
                    Some(1)
                } else {
                    tick.is_multiple_of(TICKS_PER_FEEDBACK)
                        .then_some(PACKETS_PER_FEEDBACK)
                },
                report: tick.is_multiple_of(TICKS_PER_ROUND),
            };
            self.feed_back(now, self.publishers[at], due);
        }
        self.look_after_callers(now);
        self.look_after_links(now, tick.is_multiple_of(5));
        self.pass_on_keyframe_wishes(now);
        self.send_copies(now);
        let first = (tick % TICKS_PER_ROUND) as usize;
        for key in (first..self.sessions.key_bound()).step_by(TICKS_PER_ROUND as usize) {
            self.look_after(now, key);
            match self.sessions.get_mut(key).map(|s| &s.role) {
                Some(Role::Viewer(viewer)) => {
                    self.metrics.path_carries(viewer.way.estimate().target_bps);
                    self.report_to_viewer(now, key);
                    self.look_at_viewer(now, key);
                }
                Some(Role::Feed(_)) => self.report_to_feed(now, key),
                Some(Role::Publisher(_)) | None => {}
            }
        }
        if tick.is_multiple_of(10) {
            self.look_after_ways(now);
            for id in self.programs.keys().copied().collect::<Vec<_>>() {
                self.look_after_successor(now, id);
                self.look_on_air(now, id);
                self.look_at_wishes(now, id);
                if tick.is_multiple_of(TICKS_PER_ROUND) {
                    self.look_at_senders(now, id);
                    self.tell_on_air(now, id);
                }
            }
        }
        if tick.is_multiple_of(TICKS_PER_ROUND) {
            self.connections.close_idle(now, &self.registry);
        }
    }

    /// Drives a session's handshake and ends it if it is over.
    fn look_after(&mut self, now: Instant, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        match session.on_tick(now) {
            Ok(()) => self.send_dtls(key, None),
            Err(reason) => self.end(now, key, reason),
        }
    }

    /// What is noted of a viewer once a second: sizes change within a layer, and the control plane is told of stalls.
    fn look_at_viewer(&mut self, now: Instant, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let number = session.number;
        let Role::Viewer(viewer) = &mut session.role else {
            return;
        };
        let program = self.programs.get(&session.program);
        match viewer.current.or(viewer.target) {
            None => viewer.lived.on_no_layer(now),
            // It may still be shown another one, or a picture of this one that has come to a stand.
            Some(_) if viewer.current.is_none() => {}
            Some(source) => {
                if let Some(layer) = program.and_then(|program| program.layer_of(source)) {
                    viewer.note_layer(now, layer);
                }
            }
        }
        if let Some(at) = viewer.lived.take_first_stall() {
            self.tell(ShardEvent::Stalled { number, at });
        }
    }

    /// What is noted of a host, and of those who add layers to its picture, once a second: what each has on air.
    fn look_at_senders(&mut self, now: Instant, id: ProgramId) {
        let Some(program) = self.programs.get(&id) else {
            return;
        };
        for key in program.publisher.iter().chain(&program.transcoders) {
            let sender = self.sessions.get_mut(*key);
            if let Some(Role::Publisher(sender)) = sender.map(|session| &mut session.role) {
                let Publisher { ingest, lived, .. } = &mut **sender;
                let is_its = |layer: &&Layer| ingest.ssrc_of(layer.source).is_some();
                let on_air = program.video.iter().filter(|layer| layer.on_air(now));
                let pictures = on_air.filter(is_its).flat_map(|layer| {
                    let of_layer = layer.pictures();
                    of_layer.map(|(spatial, size, bitrate_bps)| {
                        let rid = &layer.rid;
                        (On { rid, spatial, size }, bitrate_bps)
                    })
                });
                lived.on_layers(now, pictures);
            }
        }
    }

    /// Makes this turn's counts visible.
    fn publish_metrics(&mut self) {
        let sent = self.outbox.take_sent();
        self.metrics
            .publish(sent, self.sessions.len(), self.pool.allocated());
    }
}
