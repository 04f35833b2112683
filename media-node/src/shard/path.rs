//! The way a datagram came, and so the way back.

use std::net::{IpAddr, SocketAddr};

/// One peer address on one of our addresses, or one TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Path {
    /// A UDP 5-tuple; `local` is the address that the datagram was sent to.
    Udp {
        /// The peer, an IPv4 one in IPv4 form.
        peer: SocketAddr,
        /// Our address, to answer from.
        local: Option<IpAddr>,
        /// Our port.
        port: u16,
    },
    /// An ICE-TCP connection (RFC 6544), by its key.
    Tcp {
        /// The peer.
        peer: SocketAddr,
        /// Key among the shard's connections.
        connection: usize,
    },
}

impl Path {
    /// The peer's address, as ICE sees it.
    pub(crate) fn peer(&self) -> SocketAddr {
        match self {
            Self::Udp { peer, .. } | Self::Tcp { peer, .. } => *peer,
        }
    }

    /// Our UDP port.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Udp { port, .. } => Some(*port),
            Self::Tcp { .. } => None,
        }
    }
}
