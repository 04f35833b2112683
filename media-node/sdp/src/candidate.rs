//! Host candidates of the node (RFC 8839 §5.1, RFC 6544 §4.5).

use std::fmt;
use std::net::SocketAddr;

/// How a client reaches a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateTransport {
    /// Datagrams.
    Udp,
    /// The client opens a TCP connection (RFC 6544), with RFC 4571 framing.
    TcpPassive,
}

/// An address of the node at which a client finds its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// UDP, or TCP that the client opens.
    pub transport: CandidateTransport,
    /// Where.
    pub addr: SocketAddr,
}

impl Candidate {
    /// A UDP candidate.
    #[must_use]
    pub fn udp(addr: SocketAddr) -> Candidate {
        Candidate {
            transport: CandidateTransport::Udp,
            addr,
        }
    }

    /// A passive TCP candidate.
    #[must_use]
    pub fn tcp_passive(addr: SocketAddr) -> Candidate {
        Candidate {
            transport: CandidateTransport::TcpPassive,
            addr,
        }
    }

    /// RFC 8445 §5.1.2.1 and, for TCP, RFC 6544 §4.2: `rank` is the candidate's place in the node's list.
    ///
    /// UDP comes before TCP, and within one transport the list's order holds, so that a client on two address families
    /// tries them in the order the operator gave.
    fn priority(&self, rank: usize) -> u32 {
        const HOST_UDP: u32 = 126;
        const HOST_TCP: u32 = 90;
        const PASSIVE_DIRECTION: u32 = 4;
        let rank = u32::try_from(rank).unwrap_or(u32::MAX).min(8191);
        let (type_preference, local_preference) = match self.transport {
            CandidateTransport::Udp => (HOST_UDP, 65_535 - rank),
            CandidateTransport::TcpPassive => (HOST_TCP, (PASSIVE_DIRECTION << 13) + 8191 - rank),
        };
        (type_preference << 24) + (local_preference << 8) + 255
    }

    /// Writes the attribute, without `a=` and line end: `candidate:1 1 udp 2130706431 192.0.2.1 7000 typ host`.
    ///
    /// Component 1 only, for RTCP is multiplexed. The foundation is the place in the list: every address and transport
    /// is a path of its own.
    pub(crate) fn attribute(&self, rank: usize) -> impl fmt::Display + use<> {
        let foundation = rank + 1;
        let priority = self.priority(rank);
        let (ip, port) = (self.addr.ip(), self.addr.port());
        let (transport, suffix) = match self.transport {
            CandidateTransport::Udp => ("udp", ""),
            CandidateTransport::TcpPassive => ("tcp", " tcptype passive"),
        };
        format!("candidate:{foundation} 1 {transport} {priority} {ip} {port} typ host{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_udp_host_candidate_has_the_highest_priority_there_is() {
        let c = Candidate::udp("192.0.2.1:7000".parse().expect("address"));
        assert_eq!(
            c.attribute(0).to_string(),
            "candidate:1 1 udp 2130706431 192.0.2.1 7000 typ host"
        );
    }

    #[test]
    fn tcp_is_passive_and_comes_after_every_udp_candidate() {
        let addr = "[2001:db8::1]:7000".parse().expect("address");
        let tcp = Candidate::tcp_passive(addr);
        assert_eq!(
            tcp.attribute(1).to_string(),
            "candidate:2 1 tcp 1520434943 2001:db8::1 7000 typ host tcptype passive"
        );
        assert!(tcp.priority(0) < Candidate::udp(addr).priority(usize::MAX));
    }

    #[test]
    fn earlier_candidates_are_preferred() {
        let addr = "192.0.2.1:7000".parse().expect("address");
        for candidate in [Candidate::udp(addr), Candidate::tcp_passive(addr)] {
            assert!(candidate.priority(0) > candidate.priority(1));
        }
    }
}
