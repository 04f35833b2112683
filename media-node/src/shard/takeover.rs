//! A host who takes a room over that a link has brought so far. Between its handshake and its first picture lie a round
//! trip and a keyframe's way: until then the link goes on, and nobody is without a picture.

use std::time::{Duration, Instant};

use super::core::{Core, mark, relay_to};
use super::keep::{Kept, keep};
use super::message::ProgramId;
use super::sessions::Key;
use crate::media::ingest::{Media, Track};
use crate::node::EndReason;

/// How long a host may take to begin its picture. Then it is on air with what it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// A host who is connected and not on air yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Successor {
    key: Key,
    until: Instant,
}

impl Successor {
    /// Whether it is this session.
    pub(super) fn is(&self, key: Key) -> bool {
        self.key == key
    }
}

/// Whether a host's picture begins with this packet.
pub(super) fn begins(media: &Media<'_>) -> bool {
    media.track == Track::Video && media.info.starts_keyframe
}

impl Core {
    /// A host is connected. It is on air at once, unless a link brings a picture of the room.
    pub(super) fn enter(&mut self, now: Instant, key: Key) {
        self.publishers.push(key);
        let Some(program) = self.program_of(key) else {
            return;
        };
        let is_linked = program
            .publisher
            .is_some_and(|key| program.intakes.contains(&key));
        if !is_linked || !program.video.iter().any(|layer| layer.on_air(now)) {
            self.go_on_air(now, key);
            return;
        }
        let until = now + PATIENCE;
        let before = program.successor.replace(Successor { key, until });
        if let Some(before) = before {
            self.end(now, before.key, EndReason::Replaced);
        }
    }

    /// The successor's picture begins with this packet: it takes over.
    pub(super) fn take_over(&mut self, now: Instant, key: Key, first: Kept<'_>) {
        self.go_on_air(now, key);
        let Self {
            programs,
            sessions,
            pool,
            metrics,
            dirty,
            peers,
            peers_to_wake,
            ..
        } = self;
        let program = sessions.get_mut(key).map(|session| session.program);
        let Some(program) = program.and_then(|id| programs.get_mut(&id)) else {
            return;
        };
        let mut relay = |to, relay| relay_to(peers, peers_to_wake, metrics, to, relay);
        if keep(first, program, pool, now, &mut relay) {
            mark(dirty, program.id);
        }
    }

    /// A successor whose picture doesn't come, or whose link is gone, waits no more.
    pub(super) fn look_after_successor(&mut self, now: Instant, id: ProgramId) {
        let Some(program) = self.programs.get(&id) else {
            return;
        };
        if let Some(successor) = program.successor
            && (program.publisher.is_none() || successor.until <= now)
        {
            self.go_on_air(now, successor.key);
        }
    }
}
