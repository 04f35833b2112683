//! Gathers what a shard sends, and sends it with few system calls, where most of a packet's cost
//! lies: equal-sized datagrams to one peer are one run (UDP generic segmentation offload), and
//! many runs go out at once.

use std::io;
use std::ops::Range;
use std::time::Instant;

use prometheus::Histogram;

use super::batch::{MAX_MESSAGES, Message};
use super::path::Path;
use super::sockets::Sockets;
use super::tcp::Connections;
use crate::media::link::MAX_PACKET;

/// The most bytes of one run: what an IP packet can hold before the kernel cuts it up.
const MAX_RUN: usize = 65_000;

/// The most bytes that are gathered: as much as stays in a core's cache.
const CAPACITY: usize = 256 << 10;

/// What was sent and what was lost on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams, or frames over TCP.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// System calls.
    pub calls: u64,
    /// Packets dropped because the kernel's buffer, or a TCP peer's, was full.
    pub dropped: u64,
}

impl Sent {
    fn count(&mut self, packets: usize, bytes: usize, went_out: bool) {
        if went_out {
            self.packets += packets as u64;
            self.bytes += bytes as u64;
        } else {
            self.dropped += packets as u64;
        }
    }
}

/// Datagrams to one peer, all of the first one's size but the last, which may be smaller.
struct Run {
    path: Path,
    bytes: Range<usize>,
    segment: usize,
    count: usize,
}

impl Run {
    fn takes(&self, path: Path, len: usize, max_segments: usize) -> bool {
        // A smaller datagram than the others was the last.
        let is_open = self.bytes.len() == self.count * self.segment;
        is_open
            && self.path == path
            && len <= self.segment
            && self.count < max_segments
            && self.bytes.len() + len <= MAX_RUN
    }
}

/// What waits to be sent.
pub struct Outbox {
    buffer: Box<[u8]>,
    filled: usize,
    runs: Vec<Run>,
    /// When the oldest live packet among them came in.
    oldest: Option<Instant>,
    residence: Histogram,
    sent: Sent,
}

/// The ways out of a shard.
pub(crate) struct Links<'a> {
    pub(crate) sockets: &'a Sockets,
    pub(crate) connections: &'a mut Connections,
}

impl Outbox {
    /// An empty one. `residence` is told how long packets stayed in the node, in seconds.
    pub fn new(residence: Histogram) -> Self {
        Self {
            buffer: vec![0; CAPACITY].into_boxed_slice(),
            filled: 0,
            runs: Vec::with_capacity(MAX_MESSAGES),
            oldest: None,
            residence,
            sent: Sent::default(),
        }
    }

    /// Room for the next packet.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..self.filled + MAX_PACKET]
    }

    /// Notes when a packet that is about to be written came in.
    pub(crate) fn came_in(&mut self, arrival: Instant) {
        self.oldest = Some(self.oldest.map_or(arrival, |oldest| oldest.min(arrival)));
    }

    /// Takes the packet that was written to [`Self::room`].
    pub(crate) fn commit(&mut self, len: usize, path: Path, links: &mut Links<'_>) {
        let end = self.filled + len;
        if let Path::Tcp { connection, .. } = path {
            let frame = &self.buffer[self.filled..end];
            let result = links.connections.send(connection, frame);
            self.sent.calls += 1;
            self.sent.count(1, len, result.is_ok());
            return;
        }
        match self.runs.last_mut() {
            Some(run) if run.takes(path, len, links.sockets.max_segments()) => {
                run.bytes.end = end;
                run.count += 1;
            }
            _ => self.runs.push(Run {
                path,
                bytes: self.filled..end,
                segment: len,
                count: 1,
            }),
        }
        self.filled = end;
        if self.filled + MAX_PACKET > CAPACITY || self.runs.len() == MAX_MESSAGES {
            self.send(links);
        }
    }

    /// Takes a packet that was written elsewhere.
    pub(crate) fn put(&mut self, bytes: &[u8], path: Path, links: &mut Links<'_>) {
        let Some(room) = self.room().get_mut(..bytes.len()) else {
            debug_assert!(false, "a packet larger than any");
            return;
        };
        room.copy_from_slice(bytes);
        self.commit(bytes.len(), path, links);
    }

    /// Sends all that waits. What the kernel has no room for is lost.
    pub(crate) fn send(&mut self, links: &mut Links<'_>) {
        let mut runs = std::mem::take(&mut self.runs);
        let mut rest = &runs[..];
        while let Some(first) = rest.first() {
            let port = first.path.port();
            let count = rest
                .iter()
                .take_while(|run| run.path.port() == port)
                .count();
            let messages = rest[..count].iter().filter_map(|run| {
                let Path::Udp { peer, local, .. } = run.path else {
                    return None;
                };
                Some(Message {
                    peer,
                    local,
                    bytes: &self.buffer[run.bytes.clone()],
                    segment: (run.count > 1).then_some(run.segment as u16),
                })
            });
            let socket = port.and_then(|port| links.sockets.get(port));
            let result = match socket {
                Some(socket) => socket.send(messages),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            self.sent.calls += 1;
            let done = match &result {
                Ok(sent) => *sent,
                // There is no room for the others either.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => count,
                Err(error) => {
                    tracing::debug!(%error, peer = %first.path.peer(), "could not send");
                    1
                }
            };
            let (these, others) = rest.split_at(done.clamp(1, rest.len()));
            for run in these {
                self.sent.count(run.count, run.bytes.len(), result.is_ok());
            }
            rest = others;
        }
        runs.clear();
        self.runs = runs;
        self.filled = 0;
        if let Some(oldest) = self.oldest.take() {
            self.residence.observe(oldest.elapsed().as_secs_f64());
        }
    }

    /// What was sent since the last call.
    pub fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }
}
