//! The last keyframe of a layer, which outlives the packets around it: whoever comes begins on it.

use std::sync::Arc;

use crate::media::packet::StoredPacket;

/// The most packets of one keyframe that are kept as a still picture.
const MAX_KEYFRAME_PACKETS: usize = 512;

/// The last keyframe, whole or still coming in.
#[derive(Debug, Default)]
pub(super) struct Keyframe {
    /// The number of its first packet; none: there was no keyframe yet.
    pub(super) start: Option<u64>,
    timestamp: u32,
    /// In order.
    pub(super) packets: Vec<Arc<StoredPacket>>,
}

impl Keyframe {
    /// Keeps a packet, if it is of the last keyframe. True if it begins a new one, which takes the place of the one
    /// before; `let_go` gets the packets of that.
    pub(super) fn remember(
        &mut self,
        packet: &Arc<StoredPacket>,
        let_go: impl FnMut(Arc<StoredPacket>),
    ) -> bool {
        let is_same = self.has(packet);
        let begins = packet.starts_keyframe && !is_same;
        if begins {
            if self.is_after(packet) {
                return false; // an older keyframe, late
            }
            self.start = Some(packet.seq);
            self.timestamp = packet.timestamp;
            self.packets.drain(..).for_each(let_go);
        } else if !is_same {
            return false;
        } else if packet.starts_keyframe {
            self.start = self.start.map(|start| start.min(packet.seq));
        }
        if self.packets.len() < MAX_KEYFRAME_PACKETS {
            let at = self.packets.partition_point(|p| p.seq < packet.seq);
            self.packets.insert(at, Arc::clone(packet));
        }
        begins
    }

    /// Whether a packet is of it, kept or not.
    pub(super) fn has(&self, packet: &StoredPacket) -> bool {
        self.start.is_some() && self.timestamp == packet.timestamp
    }

    /// Whether it began after a packet.
    pub(super) fn is_after(&self, packet: &StoredPacket) -> bool {
        self.start.is_some_and(|start| packet.seq < start)
    }

    /// Whether this very packet is kept.
    pub(super) fn holds(&self, packet: &Arc<StoredPacket>) -> bool {
        packet.timestamp == self.timestamp && self.packets.iter().any(|p| Arc::ptr_eq(p, packet))
    }

    /// The packet that is kept with this sequence number.
    pub(super) fn find(&self, seq: u64) -> Option<&Arc<StoredPacket>> {
        let at = self.packets.partition_point(|p| p.seq < seq);
        self.packets.get(at).filter(|p| p.seq == seq)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.packets.first().map(|p| p.seq) == self.start
            && self.packets.last().is_some_and(|p| p.marker)
            && self.packets.windows(2).all(|w| w[1].seq == w[0].seq + 1)
    }
}
