//! One layer of a track on one shard: its recent packets, its last keyframe, and the frame that is
//! still coming in.

mod keyframe;
mod lateness;
mod parts;
mod rate;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::Codec;
use showrunner_rtp::codec::layering::SpatialSizes;

use self::keyframe::Keyframe;
use self::lateness::Lateness;
pub use self::parts::Part;
use self::rate::RateMeter;
use super::keyframes::KeyframeRequests;
use super::ladder;
use super::packet::{SourceId, StoredPacket};
use super::pool::PacketPool;

/// How many packets a layer keeps for retransmission and for new viewers. A power of two; about
/// two seconds at 4 Mbit/s.
pub const HISTORY: usize = 1024;

/// A new viewer is caught up from the stored keyframe if no more than this many packets follow.
const MAX_CATCH_UP_PACKETS: u64 = 400;

/// … and if the keyframe is no older than this.
const MAX_CATCH_UP_AGE: Duration = Duration::from_millis(1500);

/// How many numbers without media are remembered.
const MAX_PADDING: usize = 256;

/// A layer that sent nothing for this long is not on air.
pub const STALE_AFTER: Duration = Duration::from_millis(1500);

/// How a new viewer can begin on a layer right now.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// From the stored keyframe, and every packet since.
    CatchUp {
        /// Sequence number of the keyframe's first packet.
        from: u64,
    },
    /// The stored keyframe is old: show it as a still picture until the next one comes.
    Still,
    /// No keyframe yet.
    Wait,
}

/// One layer of a track.
#[derive(Debug)]
pub struct Layer {
    /// The stream it comes from.
    pub source: SourceId,
    /// RID (RFC 8851), empty without simulcast.
    pub rid: Arc<str>,
    /// Payload format.
    pub codec: Codec,
    /// Picture size in pixels, from the last keyframe that told.
    pub size: Option<(u16, u16)>,
    /// Those of its spatial layers.
    spatial_sizes: SpatialSizes,
    /// Wishes for a keyframe.
    pub keyframes: KeyframeRequests,
    /// Keys of the sessions that receive this layer, or wait to switch to it.
    pub subscribers: Vec<usize>,
    /// Packets of the frame that is coming in, not yet sent on.
    pub pending: Vec<Arc<StoredPacket>>,
    slots: Box<[Option<Arc<StoredPacket>>]>,
    /// Numbers that carry no media, the latest last.
    padding: VecDeque<u64>,
    head: Option<u64>,
    newest_timestamp: u32,
    last_arrival: Instant,
    keyframe: Keyframe,
    rate: RateMeter,
    lateness: Lateness,
}

impl Layer {
    /// A layer that has no packet yet.
    pub fn new(source: SourceId, rid: Arc<str>, codec: Codec, now: Instant) -> Self {
        Self {
            source,
            rid,
            codec,
            size: None,
            spatial_sizes: SpatialSizes::default(),
            keyframes: KeyframeRequests::default(),
            subscribers: Vec::new(),
            pending: Vec::with_capacity(64),
            slots: (0..HISTORY).map(|_| None).collect(),
            padding: VecDeque::new(),
            head: None,
            newest_timestamp: 0,
            last_arrival: now,
            keyframe: Keyframe::default(),
            rate: RateMeter::new(),
            lateness: Lateness::default(),
        }
    }

    /// Stores a packet and puts it into the frame that waits to be sent. Returns false for one
    /// that was stored before or is too old to matter. What is kept no longer goes back to `pool`,
    /// on the shard that packets come in on; on others, letting go of it is enough.
    pub fn push(&mut self, packet: Arc<StoredPacket>, mut pool: Option<&mut PacketPool>) -> bool {
        let head = self.head.unwrap_or(packet.seq);
        if !self.remembers(packet.seq) || self.get(packet.seq).is_some() {
            retire(packet, pool);
            return false;
        }
        self.rate
            .count(packet.arrival, packet.payload().len(), packet.layering);
        if let Some(sizes) = packet.spatial_sizes {
            self.spatial_sizes = sizes;
        }
        self.last_arrival = packet.arrival;
        if packet.seq >= head {
            self.head = Some(packet.seq);
            self.newest_timestamp = packet.timestamp;
        } else if let Some(next) = (packet.seq + 1..=head).find_map(|seq| self.get(seq)) {
            let by = packet.arrival.saturating_duration_since(next.arrival);
            self.lateness.on_late(by);
        }
        if packet.marker {
            self.lateness.on_picture();
        }
        let begins = self.keyframe.remember(&packet, |old| {
            let stored = self.slots[slot(old.seq)].as_ref();
            if !stored.is_some_and(|stored| Arc::ptr_eq(stored, &old)) {
                retire(old, pool.as_deref_mut());
            }
        });
        if begins {
            self.keyframes.granted();
        }
        self.pending.push(Arc::clone(&packet));
        if let Some(old) = self.slots[slot(packet.seq)].replace(packet)
            && !self.keyframe.holds(&old)
        {
            retire(old, pool);
        }
        true
    }

    /// The stored packet with this sequence number.
    pub fn get(&self, seq: u64) -> Option<&Arc<StoredPacket>> {
        self.slots[slot(seq)].as_ref().filter(|p| p.seq == seq)
    }

    /// The stored packet with this sequence number, or the one of the last keyframe, however old.
    pub fn find(&self, seq: u64) -> Option<&Arc<StoredPacket>> {
        self.get(seq).or_else(|| self.keyframe.find(seq))
    }

    /// Whether a packet with this number would still be stored, had it come.
    pub fn remembers(&self, seq: u64) -> bool {
        self.head.is_none_or(|head| seq + HISTORY as u64 > head)
    }

    /// This number carries no media.
    pub fn skip(&mut self, seq: u64) {
        if self.padding.len() == MAX_PADDING {
            self.padding.pop_front();
        }
        self.padding.push_back(seq);
    }

    /// Whether this number is known to carry no media.
    pub fn is_padding(&self, seq: u64) -> bool {
        self.padding.contains(&seq)
    }

    /// The newest sequence number.
    pub fn head(&self) -> Option<u64> {
        self.head
    }

    /// Whether a transcoder sends it.
    pub fn is_transcoded(&self) -> bool {
        ladder::is_rung(&self.rid)
    }

    /// The timestamp of the newest packet, and when one came last.
    pub fn newest(&self) -> Option<(u32, Instant)> {
        self.head
            .map(|_| (self.newest_timestamp, self.last_arrival))
    }

    /// The timestamp of the newest packet: where live is.
    pub fn newest_timestamp(&self) -> u32 {
        self.newest_timestamp
    }

    /// How a new viewer begins.
    pub fn start(&self, now: Instant) -> Start {
        let (Some(start), Some(head)) = (self.keyframe.start, self.head) else {
            return Start::Wait;
        };
        let fresh = self
            .get(start)
            .is_some_and(|first| now.saturating_duration_since(first.arrival) <= MAX_CATCH_UP_AGE);
        if fresh && head.saturating_sub(start) <= MAX_CATCH_UP_PACKETS {
            Start::CatchUp { from: start }
        } else if self.keyframe.is_whole() {
            Start::Still
        } else {
            Start::Wait
        }
    }

    /// How long ago the last keyframe began, if all since is stored.
    pub fn keyframe_age(&self, now: Instant) -> Option<Duration> {
        let first = self.get(self.keyframe.start?)?;
        Some(now.saturating_duration_since(first.arrival))
    }

    /// The packets of the last keyframe, in order.
    pub fn keyframe_packets(&self) -> &[Arc<StoredPacket>] {
        &self.keyframe.packets
    }

    /// Whether a packet is of the last keyframe.
    pub fn is_of_keyframe(&self, packet: &StoredPacket) -> bool {
        self.keyframe.has(packet)
    }

    /// Whether a decoder can do without a packet, because a later keyframe has come.
    pub fn is_superseded(&self, packet: &StoredPacket) -> bool {
        self.keyframe.is_after(packet)
    }

    /// Every stored packet from the last keyframe on, in order, for a copy on another shard.
    pub fn snapshot(&self) -> Vec<Arc<StoredPacket>> {
        let Some(head) = self.head else {
            return Vec::new();
        };
        let from = self
            .keyframe
            .start
            .unwrap_or(head)
            .max((head + 1).saturating_sub(HISTORY as u64));
        let older = self.keyframe.packets.iter().filter(|p| p.seq < from);
        let newer = (from..=head).filter_map(|seq| self.get(seq));
        older.chain(newer).cloned().collect()
    }

    /// How late pictures are because the host's path loses, if many are.
    pub fn late_by(&self) -> Duration {
        self.lateness.late_by()
    }

    /// Whether packets came in lately.
    pub fn on_air(&self, now: Instant) -> bool {
        self.head.is_some() && now.saturating_duration_since(self.last_arrival) < STALE_AFTER
    }
}

fn retire(packet: Arc<StoredPacket>, pool: Option<&mut PacketPool>) {
    if let Some(pool) = pool {
        pool.retire(packet);
    }
}

fn slot(seq: u64) -> usize {
    seq as usize % HISTORY
}
