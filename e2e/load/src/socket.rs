//! A client's UDP socket: a run of datagrams that the node sent at once is read at once.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// Enough for a stored keyframe and what comes after it, as long as the thread is busy elsewhere.
const RECEIVE_BUFFER: usize = 512 << 10;

/// A buffer for one run of datagrams.
const RUN: usize = 64 << 10;

/// Runs that are read with one system call: sound, a frame, and what comes seldom.
const BATCH: usize = 4;

/// Buffers that all sockets of a thread share.
pub struct Buffers {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH],
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCH * RUN].into(),
            metas: [RecvMeta::default(); BATCH],
        }
    }
}

/// One UDP socket, to one address of the node.
pub struct ClientSocket {
    io: mio::net::UdpSocket,
    state: UdpSocketState,
    peer: SocketAddr,
}

impl ClientSocket {
    /// Opens a socket to the first of `candidates` that this machine has a way to.
    ///
    /// # Errors
    /// If there is none, or the system has no more sockets to give.
    pub fn connect(
        candidates: &[SocketAddr],
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for peer in candidates {
            match open(*peer) {
                Ok(socket) => return Self::new(socket, *peer, registry, token),
                Err(e) => error = e,
            }
        }
        Err(error)
    }

    fn new(
        socket: Socket,
        peer: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut io = mio::net::UdpSocket::from_std(socket.into());
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // Best effort: the kernel caps it at net.core.rmem_max.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), RECEIVE_BUFFER);
        registry.register(&mut io, token, Interest::READABLE)?;
        Ok(Self { io, state, peer })
    }

    /// Receives everything that waits, each datagram with the kernel's time of its arrival, since
    /// the Unix epoch.
    pub fn receive(
        &self,
        buffers: &mut Buffers,
        mut each: impl FnMut(Option<Duration>, &mut [u8]),
    ) {
        loop {
            let mut chunks = buffers.bytes.chunks_mut(RUN);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let reference = UdpSockRef::from(&self.io);
            // Nothing waits, or the node's port is closed, which silence will show, too.
            let Ok(count) = self.state.recv(reference, &mut slices, &mut buffers.metas) else {
                return;
            };
            for (run, meta) in buffers.bytes.chunks_mut(RUN).zip(&buffers.metas[..count]) {
                run[..meta.len]
                    .chunks_mut(meta.stride.max(1))
                    .for_each(|datagram| each(meta.timestamp, datagram));
            }
            // With fewer than could be had, the socket was empty, and what comes now wakes us again.
            if count < BATCH {
                return;
            }
        }
    }

    /// The most datagrams that one send may carry.
    pub fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends a datagram, or a run of datagrams of `segment` bytes each. What the kernel has no room
    /// for is lost, as on any network.
    pub fn send(&self, bytes: &[u8], segment: Option<usize>) {
        let transmit = Transmit {
            destination: self.peer,
            ecn: None,
            contents: bytes,
            segment_size: segment,
            src_ip: None,
        };
        let _ = self.state.try_send(UdpSockRef::from(&self.io), &transmit);
    }

    /// Stops being told of datagrams.
    pub fn deregister(&mut self, registry: &Registry) {
        let _ = registry.deregister(&mut self.io);
    }
}

fn open(peer: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.connect(&peer.into())?;
    Ok(socket)
}
