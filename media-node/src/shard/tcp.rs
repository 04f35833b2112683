//! ICE over TCP (RFC 6544, passive): for viewers whose network lets no UDP through. Frames are
//! those of RFC 4571.

use std::io::{self, Read as _, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use showrunner_transport::framing;
use slab::Slab;

use super::FIRST_CONNECTION;
use super::socket::canonical;

/// The most connections of a shard.
const MAX_CONNECTIONS: usize = 4096;

/// A connection on which ICE has not succeeded by then is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// The most bytes that wait for a slow peer; what comes on top is dropped, as a full queue of a
/// network would do.
const MAX_BACKLOG: usize = 256 << 10;

/// What reading from a connection brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes; there may be more.
    Some,
    /// Nothing for now.
    Nothing,
    /// The end, or bytes that can't be frames.
    Over,
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    reader: framing::Reader,
    backlog: Vec<u8>,
    since: Instant,
    in_use: bool,
}

/// A shard's TCP connections.
#[derive(Default)]
pub(crate) struct Connections {
    slab: Slab<Connection>,
}

impl Connections {
    /// Takes in waiting connections, up to the limit.
    pub(super) fn accept(&mut self, listener: &TcpListener, registry: &Registry, now: Instant) {
        loop {
            let (mut stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if self.slab.len() >= MAX_CONNECTIONS {
                continue; // dropped: closed
            }
            let _ = stream.set_nodelay(true);
            let entry = self.slab.vacant_entry();
            let token = Token(FIRST_CONNECTION + entry.key());
            if registry
                .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
                .is_ok()
            {
                entry.insert(Connection {
                    stream,
                    peer: canonical(peer),
                    reader: framing::Reader::default(),
                    backlog: Vec::new(),
                    since: now,
                    in_use: false,
                });
            }
        }
    }

    /// Reads once. Frames must be taken before the next read, so that no more than one read's worth
    /// of them is ever kept.
    pub(super) fn read(&mut self, key: usize) -> Read {
        let Some(connection) = self.slab.get_mut(key) else {
            return Read::Over;
        };
        let mut buffer = [0; 16 << 10];
        match connection.stream.read(&mut buffer) {
            Ok(0) => Read::Over,
            Ok(len) => match connection.reader.push(&buffer[..len]) {
                Ok(()) => Read::Some,
                Err(_) => Read::Over,
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Read::Some,
            Err(_) => Read::Over,
        }
    }

    /// The next whole frame of a connection, copied into `frame`: whose it is, and its length.
    pub(super) fn next_frame(
        &mut self,
        key: usize,
        frame: &mut [u8],
    ) -> Option<(SocketAddr, usize)> {
        let connection = self.slab.get_mut(key)?;
        Some((connection.peer, connection.reader.next_frame(frame)?))
    }

    /// Goes on with what waits for a peer that can take more.
    pub(super) fn write(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key) {
            // A broken connection shows when it is read.
            let _ = connection.drain();
        }
    }

    /// Sends one frame, or keeps it for later.
    ///
    /// # Errors
    /// `WouldBlock` if the peer is too slow, `NotConnected` if the connection is gone.
    pub(super) fn send(&mut self, key: usize, frame: &[u8]) -> io::Result<()> {
        let connection = self.slab.get_mut(key).ok_or(io::ErrorKind::NotConnected)?;
        if connection.backlog.len() + frame.len() > MAX_BACKLOG {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        framing::write(frame, &mut connection.backlog).map_err(|_| io::ErrorKind::InvalidData)?;
        connection.drain()
    }

    /// A session uses the connection: it may stay.
    pub(super) fn keep(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key) {
            connection.in_use = true;
        }
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, key: usize, registry: &Registry) {
        if let Some(mut connection) = self.slab.try_remove(key) {
            let _ = registry.deregister(&mut connection.stream);
        }
    }

    /// Closes connections that no session came to use.
    pub(super) fn close_idle(&mut self, now: Instant, registry: &Registry) {
        self.slab.retain(|_, connection| {
            let keep =
                connection.in_use || now.saturating_duration_since(connection.since) < IDLE_LIMIT;
            if !keep {
                let _ = registry.deregister(&mut connection.stream);
            }
            keep
        });
    }
}

impl Connection {
    fn drain(&mut self) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            if written == self.backlog.len() {
                break Ok(());
            }
            match self.stream.write(&self.backlog[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => written += len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.backlog.drain(..written);
        result
    }
}
