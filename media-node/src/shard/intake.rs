//! The end of a link that takes in: how this pod gets a room from another.
//!
//! To the rest of the shard it is a publisher, whose media is another pod's. It is the client of the link: it sends the
//! connectivity checks and begins the DTLS handshake.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use showrunner_transport::IceCredentials;
use showrunner_transport::ice::IceClient;

use super::path::Path;
use crate::media::notes::Notes;
use crate::media::packet::SourceId;

/// A link that is not up by then won't be: the other pod is next door.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What a publisher is that is another pod.
pub(super) struct Intake {
    client: IceClient,
    /// Where the other pod may be reached, the best first.
    candidates: Vec<SocketAddr>,
    began: Instant,
    pub(super) notes: Notes,
    /// Of the layers that are on air, those of which the link has brought the newest packet.
    live: Vec<SourceId>,
    is_live: bool,
}

impl Intake {
    /// An intake that will knock as soon as it is asked to.
    pub(super) fn new(
        local: IceCredentials,
        remote: IceCredentials,
        candidates: Vec<SocketAddr>,
        now: Instant,
    ) -> Intake {
        Intake {
            client: IceClient::new(local, remote),
            candidates,
            began: now,
            notes: Notes::new(now),
            live: Vec::new(),
            is_live: false,
        }
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

    /// Whether the link never came up.
    pub(super) fn has_failed(&self, now: Instant, is_up: bool) -> bool {
        !is_up && now.saturating_duration_since(self.began) > CONNECT_LIMIT
    }

    /// A packet of a layer came, which is (or isn't) the newest of it. True once: when the link has brought the newest
    /// packet of each of the layers that are on air, so that another link can go.
    pub(super) fn caught_up(
        &mut self,
        source: SourceId,
        is_newest: bool,
        mut on_air: impl Iterator<Item = SourceId>,
    ) -> bool {
        if self.is_live || !is_newest {
            return false;
        }
        if !self.live.contains(&source) {
            self.live.push(source);
        }
        self.is_live = on_air.all(|source| self.live.contains(&source));
        self.is_live
    }
}
