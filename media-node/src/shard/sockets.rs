//! A shard's UDP sockets: the one that its port is known by, and one more for each session that this end begins.
//!
//! A session is found by the 5-tuple that its datagrams come by. Whoever joins has a port of its own; but if shards
//! called each other from the ports that they are known by, all rooms between two of them would have one 5-tuple.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::{Registry, Token};

use super::socket::MediaSocket;
use super::{FIRST_CONNECTION, FIRST_SOCKET, UDP};

/// The sockets, by their ports.
pub(crate) struct Sockets {
    known: MediaSocket,
    address: IpAddr,
    own: HashMap<u16, MediaSocket>,
}

impl Sockets {
    /// Those of a shard that is known by one, bound to an address.
    pub(super) fn new(known: MediaSocket, address: IpAddr) -> Sockets {
        Sockets {
            known,
            address,
            own: HashMap::new(),
        }
    }

    /// Opens a socket for a session that this end begins; its port.
    ///
    /// # Errors
    /// If there are no more, or the kernel refuses.
    pub(super) fn open(&mut self, registry: &Registry) -> io::Result<u16> {
        let mut socket = MediaSocket::bind(SocketAddr::new(self.address, 0))?;
        let port = socket.port();
        socket.register(registry, Token(FIRST_SOCKET + usize::from(port)))?;
        self.own.insert(port, socket);
        Ok(port)
    }

    /// Closes one that was opened. The poll forgets it with that.
    pub(super) fn close(&mut self, port: u16) {
        self.own.remove(&port);
    }

    /// The port of the socket that an event is of.
    pub(super) fn port_of(&self, token: Token) -> Option<u16> {
        match token {
            UDP => Some(self.known.port()),
            Token(FIRST_SOCKET..FIRST_CONNECTION) => u16::try_from(token.0 - FIRST_SOCKET).ok(),
            _ => None,
        }
    }

    /// The socket of a port, unless it was closed.
    #[inline]
    pub(super) fn get(&self, port: u16) -> Option<&MediaSocket> {
        if port == self.known.port() {
            return Some(&self.known);
        }
        self.own.get(&port)
    }

    /// The most datagrams that one run may have.
    #[inline]
    pub(super) fn max_segments(&self) -> usize {
        self.known.max_segments()
    }
}

#[cfg(test)]
mod tests {
    use mio::Poll;

    use super::*;

    #[test]
    fn each_session_that_is_begun_has_a_port_of_its_own() {
        let poll = Poll::new().unwrap();
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let known = MediaSocket::bind(SocketAddr::new(localhost, 0)).unwrap();
        let known_port = known.port();
        let mut sockets = Sockets::new(known, localhost);
        let ports = [(); 2].map(|()| sockets.open(poll.registry()).unwrap());
        assert_ne!(ports[0], ports[1]);
        for port in [ports[0], ports[1], known_port] {
            assert_eq!(sockets.get(port).map(MediaSocket::port), Some(port));
        }
        let token = Token(FIRST_SOCKET + usize::from(ports[0]));
        assert_eq!(sockets.port_of(token), Some(ports[0]));
        assert_eq!(sockets.port_of(UDP), Some(known_port));
        assert_eq!(sockets.port_of(Token(FIRST_CONNECTION)), None);
        sockets.close(ports[0]);
        assert!(sockets.get(ports[0]).is_none());
    }
}
