//! A shard's UDP socket: many datagrams a system call in both directions.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::{Interest, Registry, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::batch::{self, Message};

/// Kernel buffer sizes asked for, in bytes. A keyframe for a thousand viewers must fit.
const SOCKET_BUFFER: usize = 8 << 20;

/// One receive buffer: the most that generic receive offload puts together.
const RECEIVE_BUFFER: usize = 64 << 10;

/// One UDP socket, bound to all addresses of both families.
pub struct MediaSocket {
    io: mio::net::UdpSocket,
    state: UdpSocketState,
    v6: bool,
    /// Bound to one address: there is no other to send from, and the kernel need not be told.
    has_one_address: bool,
    /// The system was seen to refuse runs of datagrams.
    refuses_runs: Cell<bool>,
    port: u16,
}

/// Where received datagrams are put: apart from the socket, so that it can send while they are read.
pub struct ReceiveBuffers {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCH_SIZE * RECEIVE_BUFFER].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

impl ReceiveBuffers {
    /// The runs that the last [`MediaSocket::receive`] brought, of which there are `count`.
    pub fn runs(&mut self, count: usize) -> impl Iterator<Item = Received<'_>> {
        self.bytes
            .chunks_mut(RECEIVE_BUFFER)
            .zip(&self.metas)
            .take(count)
            .filter(|(_, meta)| meta.len > 0)
            .map(|(buffer, meta)| Received {
                peer: canonical(meta.addr),
                local: meta.dst_ip.map(|ip| ip.to_canonical()),
                timestamp: meta.timestamp,
                datagrams: buffer[..meta.len].chunks_mut(meta.stride.max(1)),
            })
    }
}

/// A run of datagrams from one peer, all of `stride` bytes but the last.
pub struct Received<'a> {
    /// The peer, an IPv4 one in IPv4 form.
    pub peer: SocketAddr,
    /// The address that it sent to.
    pub local: Option<IpAddr>,
    /// The kernel's time of arrival, since the Unix epoch.
    pub timestamp: Option<Duration>,
    /// The datagrams.
    pub datagrams: std::slice::ChunksMut<'a, u8>,
}

impl MediaSocket {
    /// Binds to `addr`; for the unspecified IPv6 address, to IPv4 as well.
    ///
    /// # Errors
    /// If the port is taken or the kernel refuses.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        let io = mio::net::UdpSocket::from_std(socket.into());
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        let reference = UdpSockRef::from(&io);
        // Best effort: the kernel caps both at net.core.{r,w}mem_max.
        let _ = state.set_recv_buffer_size(reference, SOCKET_BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), SOCKET_BUFFER);
        let port = io.local_addr()?.port();
        Ok(Self {
            io,
            state,
            v6: addr.is_ipv6(),
            has_one_address: !addr.ip().is_unspecified(),
            refuses_runs: Cell::new(false),
            port,
        })
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks to be told when datagrams come in.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.io, token, Interest::READABLE)
    }

    /// Receives what is there with one system call. Returns how many runs of datagrams came, none
    /// when nothing waits.
    ///
    /// # Errors
    /// If the socket is broken.
    pub fn receive(&self, buffers: &mut ReceiveBuffers) -> io::Result<Option<usize>> {
        let mut chunks = buffers.bytes.chunks_mut(RECEIVE_BUFFER);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        match self
            .state
            .recv(UdpSockRef::from(&self.io), &mut slices, &mut buffers.metas)
        {
            Ok(count) => Ok(Some(count)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // An ICMP error that some peer's host sent: nothing of ours is wrong.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(Some(0)),
            Err(e) => Err(e),
        }
    }

    /// The most datagrams that one run may have.
    pub fn max_segments(&self) -> usize {
        if self.refuses_runs.get() {
            1
        } else {
            self.state.max_gso_segments()
        }
    }

    /// Sends messages in their order with one system call; how many went out.
    ///
    /// # Errors
    /// Why the first one was refused, if none went out: `WouldBlock` if the kernel's buffer is full.
    pub(super) fn send<'a>(
        &self,
        messages: impl Iterator<Item = Message<'a>> + Clone,
    ) -> io::Result<usize> {
        let socket = self.io.as_fd();
        let messages = messages.map(|message| self.addressed(message));
        let result = batch::send(socket, messages.clone());
        match (&result, messages.clone().next()) {
            // A network card that can't do checksums can't cut runs either (udp(7)).
            (
                Err(error),
                Some(Message {
                    bytes,
                    segment: Some(segment),
                    ..
                }),
            ) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {
                tracing::warn!(%error, "the system doesn't segment datagrams: sending them one by one");
                self.refuses_runs.set(true);
                for datagram in bytes.chunks(usize::from(segment.max(1))) {
                    let single = messages.clone().take(1).map(|run| Message {
                        bytes: datagram,
                        segment: None,
                        ..run
                    });
                    batch::send(socket, single)?;
                }
                Ok(1)
            }
            _ => result,
        }
    }

    /// A message with its addresses in the form that this socket takes.
    fn addressed<'a>(&self, message: Message<'a>) -> Message<'a> {
        Message {
            peer: if self.v6 {
                mapped(message.peer)
            } else {
                message.peer
            },
            local: message.local.filter(|_| !self.has_one_address),
            ..message
        }
    }
}

/// Binds the TCP listener that shares a shard's port number.
///
/// # Errors
/// If the port is taken or the kernel refuses.
pub fn bind_tcp(addr: SocketAddr) -> io::Result<mio::net::TcpListener> {
    const BACKLOG: i32 = 256;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// An IPv4 peer of a socket of both families, in its own form.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) => {
            let ip: Ipv6Addr = v4.ip().to_ipv6_mapped();
            SocketAddr::V6(SocketAddrV6::new(ip, v4.port(), 0, 0))
        }
        SocketAddr::V6(_) => addr,
    }
}
