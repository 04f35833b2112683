//! The end of a session that begins it: it sends the connectivity checks (it is controlling, RFC 8445), since it knows
//! where the other end may be reached and not the other way round.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use showrunner_transport::IceCredentials;
use showrunner_transport::ice::IceClient;

use super::path::Path;

/// Who knocks.
pub(super) struct Caller {
    client: IceClient,
    /// Where the other end may be reached, the best first.
    candidates: Vec<SocketAddr>,
    /// The port that it knocks from, which is this session's alone.
    port: u16,
    /// When it is given up, unless media can flow.
    until: Instant,
}

impl Caller {
    /// One that will knock from a port as soon as it is asked to, for so long.
    pub(super) fn new(
        local: IceCredentials,
        remote: IceCredentials,
        candidates: Vec<SocketAddr>,
        port: u16,
        now: Instant,
        patience: Duration,
    ) -> Caller {
        Caller {
            client: IceClient::new(local, remote),
            candidates,
            port,
            until: now + patience,
        }
    }

    /// The port that it knocks from.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Writes a connectivity check if one is due; its length.
    pub(super) fn poll_check(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        // It fits: the buffer is larger than any check.
        self.client.poll_transmit(now, out).ok().flatten()
    }

    /// Where a check goes: on the path that is in use, or everywhere.
    pub(super) fn paths(&self, selected: Option<Path>) -> impl Iterator<Item = Path> {
        let everywhere = self.candidates.iter().map(|peer| Path::Udp {
            peer: *peer,
            local: None,
            port: self.port,
        });
        let is_open = selected.is_some();
        selected
            .into_iter()
            .chain(everywhere.filter(move |_| !is_open))
    }

    /// Takes what may be an answer to a check. True if it is one.
    pub(super) fn on_answer(&mut self, now: Instant, datagram: &[u8]) -> bool {
        self.client.handle(now, datagram)
    }

    /// Whether the other end was not reached in time.
    pub(super) fn has_failed(&self, now: Instant, is_up: bool) -> bool {
        !is_up && now > self.until
    }
}
