//! A shard: one thread, a UDP socket and a TCP listener on the same port number, and all the
//! sessions that were given that port. It is the thin shell around [`crate::media`].
//!
//! Reading order: [`run`] is the loop, [`sockets`] and [`socket`] bring datagrams in, [`session`] is what each
//! belongs to, [`program`] is a room's media on this shard, [`audience`] says which layer each viewer is on, [`delivery`]
//! sends what came in to them, [`outbox`] gathers and [`batch`] sends.

mod adaptation;
mod audience;
mod batch;
mod caller;
mod cascade;
pub(crate) mod choice;
mod core;
mod delivery;
mod feed;
mod feedback;
pub mod hearing;
mod intake;
mod keep;
mod ladder;
pub mod message;
mod on_air;
pub mod outbox;
mod outlet;
pub(crate) mod path;
mod program;
mod reach;
mod relay;
mod repeats;
mod run;
mod session;
mod sessions;
pub mod socket;
pub(crate) mod sockets;
mod takeover;
mod tcp;
mod viewer;
mod way;
pub(crate) mod wishes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;
use mio::{Poll, Token, Waker};
use showrunner_transport::dtls::Identity;

use self::message::{Command, Relay, ShardEvent};
use crate::metrics::ShardMetrics;

/// The most commands that wait for a shard before joins are refused.
const MAX_COMMANDS: usize = 4096;

/// The most packets that wait for a shard on their way from another.
const MAX_RELAYED: usize = 8192;

const WAKE: Token = Token(0);
const UDP: Token = Token(1);
const LISTENER: Token = Token(2);
/// Tokens from here on are further UDP sockets, by their ports; …
const FIRST_SOCKET: usize = 3;
/// … and from here on TCP connections.
const FIRST_CONNECTION: usize = FIRST_SOCKET + (1 << 16);

/// Another shard's way into this one: never blocks, never allocates.
#[derive(Clone)]
pub struct RelayHandle {
    queue: Arc<ArrayQueue<Relay>>,
    waker: Arc<Waker>,
}

impl RelayHandle {
    /// Queues a message. Sheds in this order as the queue fills: above three quarters all video
    /// but keyframes, then, when full, everything. False if it was shed.
    pub fn push(&self, relay: Relay) -> bool {
        if relay.is_sheddable() && self.queue.len() * 4 > self.queue.capacity() * 3 {
            return false;
        }
        self.queue.push(relay).is_ok()
    }

    /// Wakes the shard after pushing.
    pub fn wake(&self) {
        // Fails only if the poll behind it is gone: the shard has ended.
        let _ = self.waker.wake();
    }
}

/// The control plane's way into a shard.
#[derive(Clone)]
pub struct ShardHandle {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
}

/// The shard's queue is full or the shard has ended.
#[derive(Debug)]
pub struct Busy;

impl ShardHandle {
    /// Queues a command.
    ///
    /// # Errors
    /// If the shard is too far behind to take it.
    pub fn send(&self, command: Command) -> Result<(), Busy> {
        match self.commands.try_send(command) {
            Ok(()) => {
                let _ = self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }
}

/// What a shard is made with.
pub struct ShardConfig {
    /// Position among the node's shards.
    pub index: usize,
    /// Where its sockets listen.
    pub bind: SocketAddr,
    /// The core to stay on, if pinned.
    pub core: Option<core_affinity::CoreId>,
}

/// The ends that [`run`] holds.
struct Inputs {
    poll: Poll,
    commands: Receiver<Command>,
    relayed: Arc<ArrayQueue<Relay>>,
}

/// A shard whose sockets are bound and whose thread is not started yet.
pub struct Bound {
    config: ShardConfig,
    inputs: Inputs,
    socket: socket::MediaSocket,
    listener: mio::net::TcpListener,
    handle: ShardHandle,
    relay: RelayHandle,
}

impl Bound {
    /// Binds a shard's UDP socket and TCP listener.
    ///
    /// # Errors
    /// If the port is taken or the kernel refuses.
    pub fn bind(config: ShardConfig) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (mut socket, mut listener) = bind_both(config.bind)?;
        socket.register(poll.registry(), UDP)?;
        poll.registry()
            .register(&mut listener, LISTENER, mio::Interest::READABLE)?;
        let (sender, commands) = sync_channel(MAX_COMMANDS);
        let relayed = Arc::new(ArrayQueue::new(MAX_RELAYED));
        Ok(Self {
            config,
            socket,
            listener,
            handle: ShardHandle {
                commands: sender,
                waker: Arc::clone(&waker),
            },
            relay: RelayHandle {
                queue: Arc::clone(&relayed),
                waker,
            },
            inputs: Inputs {
                poll,
                commands,
                relayed,
            },
        })
    }

    /// The port of both sockets.
    pub fn port(&self) -> u16 {
        self.socket.port()
    }

    /// The control plane's way in.
    pub fn handle(&self) -> ShardHandle {
        self.handle.clone()
    }

    /// The other shards' way in.
    pub fn relay(&self) -> RelayHandle {
        self.relay.clone()
    }

    /// Starts the thread. `peers` are all shards' relays, this one's included, by index.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(
        self,
        identity: Arc<Identity>,
        peers: Vec<RelayHandle>,
        events: tokio::sync::mpsc::UnboundedSender<ShardEvent>,
        metrics: ShardMetrics,
    ) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(format!("shard-{}", self.config.index))
            .spawn(move || {
                if let Some(core) = self.config.core
                    && !core_affinity::set_for_current(core)
                {
                    tracing::warn!(core = core.id, "could not pin the shard to its core");
                }
                match run::Shard::new(self, identity, peers, events, metrics) {
                    Ok(shard) => shard.run(),
                    Err(error) => tracing::error!(%error, "the shard could not start"),
                }
            })
    }
}

/// Binds UDP and TCP to one port number. If any will do (0), one that the kernel found free for UDP
/// may be taken for TCP; then another is tried.
fn bind_both(addr: SocketAddr) -> std::io::Result<(socket::MediaSocket, mio::net::TcpListener)> {
    const TRIES: usize = 64;
    let mut left = if addr.port() == 0 { TRIES } else { 1 };
    loop {
        left -= 1;
        let socket = socket::MediaSocket::bind(addr)?;
        match socket::bind_tcp(SocketAddr::new(addr.ip(), socket.port())) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && left > 0 => {}
            result => return Ok((socket, result?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use showrunner_rtp::codec::Codec;

    use super::message::ProgramId;
    use super::*;
    use crate::media::packet::{SourceId, StoredPacket};

    fn packet(codec: Codec, starts_keyframe: bool) -> Relay {
        let mut packet = StoredPacket::empty(Instant::now());
        packet.codec = codec;
        packet.starts_keyframe = starts_keyframe;
        Relay::Packet {
            program: ProgramId(1),
            source: SourceId(1),
            packet: Arc::new(packet),
        }
    }

    #[test]
    fn a_filling_queue_sheds_pictures_then_everything() {
        let poll = Poll::new().expect("a poll");
        let handle = RelayHandle {
            queue: Arc::new(ArrayQueue::new(100)),
            waker: Arc::new(Waker::new(poll.registry(), WAKE).expect("a waker")),
        };
        let takes = |relay: &dyn Fn() -> Relay| (0..1000).filter(|_| handle.push(relay())).count();
        assert_eq!(
            takes(&|| packet(Codec::Vp8, false)),
            76,
            "to three quarters"
        );
        for relay in [
            packet(Codec::Opus, false),
            packet(Codec::Vp8, true),
            Relay::OffAir {
                program: ProgramId(1),
            },
        ] {
            assert!(handle.push(relay));
        }
        assert_eq!(
            takes(&|| packet(Codec::Opus, false)),
            21,
            "until it is full"
        );
        assert!(!handle.push(packet(Codec::Vp8, true)));
    }
}
