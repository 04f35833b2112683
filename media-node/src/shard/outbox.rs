//! Sends a session's packets in runs: equal-sized datagrams to one peer go out with one system
//! call (UDP generic segmentation offload), where most of a packet's cost lies.

use std::io;

use super::path::Path;
use super::socket::MediaSocket;
use super::tcp::Connections;
use crate::media::writer::MAX_PACKET;

/// The most bytes of one run: what an IP packet can hold before the kernel cuts it up.
const MAX_RUN: usize = 65_000;

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

/// The bytes of the run that is being put together.
pub struct Outbox {
    buffer: Box<[u8]>,
    filled: usize,
    segment: usize,
    count: usize,
    sent: Sent,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            buffer: vec![0; MAX_RUN + 2 * MAX_PACKET].into_boxed_slice(),
            filled: 0,
            segment: 0,
            count: 0,
            sent: Sent::default(),
        }
    }
}

/// The ways out of a shard.
pub(crate) struct Links<'a> {
    pub(crate) socket: &'a MediaSocket,
    pub(crate) connections: &'a mut Connections,
}

impl Outbox {
    /// Room for the next packet of the run to `path`.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..self.filled + MAX_PACKET]
    }

    /// Takes the packet that was written to [`Self::room`]. All packets of a run have the size of
    /// the first; a smaller one ends the run, a larger one begins the next.
    pub(crate) fn commit(&mut self, len: usize, path: Path, links: &mut Links<'_>) {
        if self.count > 0 && len > self.segment {
            let at = self.filled;
            self.flush(path, links);
            self.buffer.copy_within(at..at + len, 0);
        }
        if self.count == 0 {
            self.segment = len;
        }
        self.filled += len;
        self.count += 1;
        let full =
            self.count >= links.socket.max_segments() || self.filled + self.segment > MAX_RUN;
        if len < self.segment || full || matches!(path, Path::Tcp { .. }) {
            self.flush(path, links);
        }
    }

    /// Sends what is there. Must be called before packets for another path are written.
    pub(crate) fn flush(&mut self, path: Path, links: &mut Links<'_>) {
        if self.count == 0 {
            return;
        }
        let bytes = &self.buffer[..self.filled];
        let result = match path {
            Path::Udp { peer, local } => {
                let segment = (self.count > 1).then_some(self.segment);
                links.socket.send(peer, local, bytes, segment)
            }
            Path::Tcp { connection, .. } => links.connections.send(connection, bytes),
        };
        match result {
            Ok(()) => {
                self.sent.packets += self.count as u64;
                self.sent.bytes += self.filled as u64;
            }
            Err(e) => {
                self.sent.dropped += self.count as u64;
                if e.kind() != io::ErrorKind::WouldBlock {
                    tracing::debug!(error = %e, peer = %path.peer(), "could not send");
                }
            }
        }
        self.sent.calls += 1;
        self.filled = 0;
        self.count = 0;
    }

    /// Sends one datagram at once.
    pub(crate) fn send_now(&mut self, bytes: &[u8], path: Path, links: &mut Links<'_>) {
        debug_assert_eq!(self.count, 0, "a run was left open");
        let Some(room) = self.buffer.get_mut(..bytes.len()) else {
            return;
        };
        room.copy_from_slice(bytes);
        self.filled = bytes.len();
        self.segment = bytes.len();
        self.count = 1;
        self.flush(path, links);
    }

    /// What was sent since the last call.
    pub fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }
}
