//! The end of a link that takes in: how this pod gets a room from another.
//!
//! To the rest of the shard it is a publisher, whose media is another pod's.

use std::time::Instant;

use crate::media::notes::Notes;
use crate::media::packet::SourceId;

/// What a publisher is that is another pod.
pub(super) struct Intake {
    pub(super) notes: Notes,
    /// Of the layers that are on air, those of which the link has brought the newest packet.
    live: Vec<SourceId>,
    is_live: bool,
}

impl Intake {
    /// An intake of a link that begins.
    pub(super) fn new(now: Instant) -> Intake {
        Intake {
            notes: Notes::new(now),
            live: Vec::new(),
            is_live: false,
        }
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
