//! Many runs of datagrams, each to its own peer, with one system call.
//!
//! `sendmmsg` is called here by hand, since no library has it together with segmentation
//! (`UDP_SEGMENT`) and a source address for each message. It lowers the cost of a forwarded packet
//! by a tenth against a `sendmsg` a run, as `make bench-forward` measures it.

#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most messages of one call.
pub(super) const MAX_MESSAGES: usize = 64;

/// One message: datagrams to one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Where to.
    pub(super) peer: SocketAddr,
    /// The address of ours to send from, where the socket has several.
    pub(super) local: Option<IpAddr>,
    /// The datagrams, one after the other.
    pub(super) bytes: &'a [u8],
    /// The size of each but the last, if there are several.
    pub(super) segment: Option<u16>,
}

/// A `sockaddr_in` or `sockaddr_in6`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Address {
    bytes: [u8; 28],
    len: u32,
}

/// Ancillary data: room for a segment size and a source address.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control {
    bytes: [u8; 64],
    len: usize,
}

/// Sends messages, at most [`MAX_MESSAGES`], in their order. Returns how many went out before one
/// was refused.
///
/// # Errors
/// Why the first one was refused, if none went out.
pub(super) fn send<'a>(
    socket: BorrowedFd<'_>,
    messages: impl Iterator<Item = Message<'a>>,
) -> io::Result<usize> {
    let mut addresses = [Address::NONE; MAX_MESSAGES];
    let mut controls = [Control::NONE; MAX_MESSAGES];
    // SAFETY: both are C structs of integers and pointers, for which all zeros is a valid value.
    let (mut headers, mut vectors): ([libc::mmsghdr; MAX_MESSAGES], [libc::iovec; MAX_MESSAGES]) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut count = 0;
    for ((((message, address), control), header), vector) in messages
        .zip(&mut addresses)
        .zip(&mut controls)
        .zip(&mut headers)
        .zip(&mut vectors)
    {
        *address = Address::of(message.peer);
        control.put(message.segment, message.local);
        vector.iov_base = message.bytes.as_ptr().cast_mut().cast();
        vector.iov_len = message.bytes.len();
        let header = &mut header.msg_hdr;
        header.msg_name = (&raw mut address.bytes).cast();
        header.msg_namelen = address.len;
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        if control.len > 0 {
            header.msg_control = (&raw mut control.bytes).cast();
            header.msg_controllen = control.len as _;
        }
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers point to an address, a vector and ancillary data of the
    // lengths given, which live in this frame, and through the vector to the message's bytes,
    // which outlive the call and are only read by it.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

impl Address {
    const NONE: Self = Self {
        bytes: [0; 28],
        len: 0,
    };

    fn of(peer: SocketAddr) -> Self {
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&peer.port().to_be_bytes());
        let (family, len) = match peer {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, 16)
            }
            SocketAddr::V6(v6) => {
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, 28)
            }
        };
        bytes[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        Self { bytes, len }
    }
}

impl Control {
    const NONE: Self = Self {
        bytes: [0; 64],
        len: 0,
    };

    fn put(&mut self, segment: Option<u16>, local: Option<IpAddr>) {
        if let Some(segment) = segment {
            self.append(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        match local {
            // in_pktinfo: interface (any), the address to send from, and one that is ignored.
            Some(IpAddr::V4(ip)) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                self.append(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            // in6_pktinfo: the address, and the interface (any).
            Some(IpAddr::V6(ip)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                self.append(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
    }

    /// Appends a `cmsghdr` with its data, as cmsg(3) lays them out: length, level, type, data,
    /// and padding to the size of a word.
    fn append(&mut self, level: i32, kind: i32, data: &[u8]) {
        const WORD: usize = size_of::<usize>();
        const HEADER: usize = WORD + 2 * size_of::<i32>();
        let out = &mut self.bytes[self.len..];
        out[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        out[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        out[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        out[HEADER..HEADER + data.len()].copy_from_slice(data);
        self.len += HEADER + data.len().next_multiple_of(WORD);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let (len, _) = socket.recv_from(&mut buffer).expect("a datagram");
        buffer[..len].to_vec()
    }

    /// Two peers of a socket get what is theirs, in order, a run cut into its datagrams.
    fn carries(from: &str, to: &str, local: Option<IpAddr>) {
        let sender = UdpSocket::bind(from).expect("a socket");
        let peers = [(); 2].map(|()| UdpSocket::bind(to).expect("a socket"));
        let address = |i: usize| match peers[i].local_addr().expect("an address") {
            SocketAddr::V4(v4) if from.starts_with('[') => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            other => other,
        };
        let run: Vec<u8> = (0..=255).cycle().take(2500).collect();
        let messages = [
            (address(0), &run[..], Some(1000)),
            (address(1), b"one", None),
            (address(0), b"last", None),
        ]
        .map(|(peer, bytes, segment)| Message {
            peer,
            local,
            bytes,
            segment,
        });
        let sent = send(sender.as_fd(), messages.into_iter()).expect("sent");
        assert_eq!(sent, 3);
        let at = |i: usize| receive(&peers[i]);
        assert_eq!([at(0), at(0), at(0)].concat(), run);
        assert_eq!(at(0), b"last");
        assert_eq!(at(1), b"one");
    }

    #[test]
    fn runs_reach_their_peers_over_ipv4() {
        carries("127.0.0.1:0", "127.0.0.1:0", None);
        carries("0.0.0.0:0", "127.0.0.1:0", Some([127, 0, 0, 1].into()));
    }

    #[test]
    fn runs_reach_their_peers_over_ipv6() {
        if UdpSocket::bind("[::1]:0").is_ok() {
            carries("[::1]:0", "[::1]:0", None);
            carries(
                "[::]:0",
                "[::1]:0",
                Some("::1".parse().expect("an address")),
            );
        }
    }

    #[test]
    fn runs_of_a_socket_of_both_families_reach_ipv4_peers() {
        if UdpSocket::bind("[::]:0").is_ok() {
            carries("[::]:0", "127.0.0.1:0", Some([127, 0, 0, 1].into()));
        }
    }

    #[test]
    fn the_source_address_is_the_one_asked_for() {
        let sender = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let message = Message {
            peer: peer.local_addr().expect("an address"),
            local: Some([127, 0, 0, 9].into()),
            bytes: b"x",
            segment: None,
        };
        assert_eq!(
            send(sender.as_fd(), [message].into_iter()).expect("sent"),
            1
        );
        let (_, from) = peer.recv_from(&mut [0; 9]).expect("a datagram");
        assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 9]));
    }

    #[test]
    fn what_follows_a_refused_message_is_not_sent() {
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let too_large = [0; 70_000];
        let message = |bytes| Message {
            peer: peer.local_addr().expect("an address"),
            local: None,
            bytes,
            segment: None,
        };
        let sent = send(
            sender.as_fd(),
            [message(b"x"), message(&too_large)].into_iter(),
        );
        assert_eq!(sent.expect("the first"), 1);
        assert!(send(sender.as_fd(), [message(&too_large)].into_iter()).is_err());
    }
}
