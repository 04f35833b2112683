//! One layer of a track on one shard: its recent packets, its last keyframe, and the frame that is
//! still coming in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::Codec;
use showrunner_rtp::codec::layering::{Layering, MAX_SPATIAL, MAX_TEMPORAL, SpatialSizes};

use super::forwarder::Sublayers;
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

/// The most packets of one keyframe that are kept as a still picture.
const MAX_KEYFRAME_PACKETS: usize = 512;

/// A new layer's bitrate is taken over no less than this: it begins with a keyframe.
const SHORTEST_WINDOW: Duration = Duration::from_millis(250);

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
}

/// The last keyframe, whole or still coming in.
#[derive(Debug, Default)]
struct Keyframe {
    start: Option<u64>,
    timestamp: u32,
    packets: Vec<Arc<StoredPacket>>,
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
        }
        self.remember_keyframe(&packet, pool.as_deref_mut());
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
        self.get(seq).or_else(|| {
            let packets = &self.keyframe.packets;
            let at = packets.partition_point(|p| p.seq < seq);
            packets.get(at).filter(|p| p.seq == seq)
        })
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
        } else if self.keyframe_is_whole() {
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
        self.keyframe.start.is_some() && self.keyframe.timestamp == packet.timestamp
    }

    /// Whether a decoder can do without a packet, because a later keyframe has come.
    pub fn is_superseded(&self, packet: &StoredPacket) -> bool {
        self.keyframe.start.is_some_and(|start| packet.seq < start)
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

    /// Whether packets came in lately.
    pub fn on_air(&self, now: Instant) -> bool {
        self.head.is_some() && now.saturating_duration_since(self.last_arrival) < STALE_AFTER
    }

    /// Bits a second over the last second or so.
    pub fn bitrate_bps(&self) -> u64 {
        self.rate.bps.iter().flatten().sum()
    }

    /// What can be sent of it, each with all that it builds on: one for every spatial and temporal
    /// layer that came in lately. A layer that isn't scalable has one part, itself.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let highest = self.rate.highest_spatial();
        (0..MAX_SPATIAL).flat_map(move |spatial| {
            (0..MAX_TEMPORAL)
                .filter(move |temporal| {
                    (spatial, *temporal) == (0, 0) || self.rate.bps[spatial][*temporal] > 0
                })
                .map(move |temporal| Part {
                    sublayers: Sublayers {
                        spatial: spatial as u8,
                        temporal: temporal as u8,
                    },
                    size: match self.spatial_sizes[spatial] {
                        (0, 0) => self.size.filter(|_| spatial == highest),
                        size => Some(size),
                    },
                    bitrate_bps: self.rate.up_to(spatial, temporal),
                })
        })
    }

    /// Its pictures, the smallest first: spatial layer if it has several, size, and bit/s of that
    /// layer alone.
    pub fn pictures(&self) -> impl Iterator<Item = (Option<u8>, Option<(u16, u16)>, u64)> {
        let highest = self.rate.highest_spatial();
        (0..=highest).map(move |spatial| {
            let size = match self.spatial_sizes[spatial] {
                (0, 0) => self.size.filter(|_| spatial == highest),
                size => Some(size),
            };
            if highest == 0 {
                return (None, size.or(self.size), self.bitrate_bps());
            }
            let bitrate_bps = self.rate.bps[spatial].iter().sum();
            (Some(spatial as u8), size, bitrate_bps)
        })
    }

    /// Which of its pictures one sees who is sent spatial layers up to this one, and its size.
    pub fn picture(&self, up_to: u8) -> (Option<u8>, Option<(u16, u16)>) {
        let seen = self
            .pictures()
            .take(usize::from(up_to).saturating_add(1))
            .last();
        seen.map_or((None, self.size), |(spatial, size, _)| (spatial, size))
    }

    fn remember_keyframe(&mut self, packet: &Arc<StoredPacket>, mut pool: Option<&mut PacketPool>) {
        let keyframe = &mut self.keyframe;
        let same_frame = keyframe.start.is_some() && keyframe.timestamp == packet.timestamp;
        if packet.starts_keyframe && !same_frame {
            if keyframe.start.is_some_and(|start| packet.seq < start) {
                return; // an older keyframe, late
            }
            keyframe.start = Some(packet.seq);
            keyframe.timestamp = packet.timestamp;
            for old in keyframe.packets.drain(..) {
                let is_stored = self.slots[slot(old.seq)]
                    .as_ref()
                    .is_some_and(|stored| Arc::ptr_eq(stored, &old));
                if !is_stored {
                    retire(old, pool.as_deref_mut());
                }
            }
            self.keyframes.granted();
        } else if !same_frame {
            return;
        } else if packet.starts_keyframe {
            keyframe.start = keyframe.start.map(|start| start.min(packet.seq));
        }
        if keyframe.packets.len() < MAX_KEYFRAME_PACKETS {
            let at = keyframe.packets.partition_point(|p| p.seq < packet.seq);
            keyframe.packets.insert(at, Arc::clone(packet));
        }
    }

    fn keyframe_is_whole(&self) -> bool {
        let packets = &self.keyframe.packets;
        packets.first().map(|p| p.seq) == self.keyframe.start
            && packets.last().is_some_and(|p| p.marker)
            && packets.windows(2).all(|w| w[1].seq == w[0].seq + 1)
    }
}

impl Keyframe {
    fn holds(&self, packet: &Arc<StoredPacket>) -> bool {
        packet.timestamp == self.timestamp && self.packets.iter().any(|p| Arc::ptr_eq(p, packet))
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

/// A part of a scalable layer that can be sent alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its highest spatial and temporal layer.
    pub sublayers: Sublayers,
    /// Picture size in pixels, if known.
    pub size: Option<(u16, u16)>,
    /// Bits a second, with all that it builds on.
    pub bitrate_bps: u64,
}

/// Bitrate over windows of a second, of each spatial and temporal layer by itself.
#[derive(Debug)]
struct RateMeter {
    /// When the first packet of the window came: a copy on another shard begins with what came before it was made.
    since: Option<Instant>,
    bytes: [[u64; MAX_TEMPORAL]; MAX_SPATIAL],
    /// Of the window before; until there is one, of what there is.
    bps: [[u64; MAX_TEMPORAL]; MAX_SPATIAL],
    settled: bool,
}

impl RateMeter {
    fn new() -> Self {
        Self {
            since: None,
            bytes: Default::default(),
            bps: Default::default(),
            settled: false,
        }
    }

    fn count(&mut self, now: Instant, bytes: usize, layering: Layering) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= Duration::from_secs(1) {
            let elapsed = elapsed.as_secs_f64();
            self.bps = self
                .bytes
                .map(|of_spatial| of_spatial.map(|b| (b as f64 * 8.0 / elapsed) as u64));
            self.bytes = Default::default();
            self.since = Some(now);
            self.settled = true;
        }
        let spatial = usize::from(layering.spatial).min(MAX_SPATIAL - 1);
        let temporal = usize::from(layering.temporal).min(MAX_TEMPORAL - 1);
        let counted = &mut self.bytes[spatial][temporal];
        *counted += bytes as u64;
        if !self.settled {
            let elapsed = elapsed.max(SHORTEST_WINDOW).as_secs_f64();
            self.bps = self
                .bytes
                .map(|of_spatial| of_spatial.map(|b| (b as f64 * 8.0 / elapsed) as u64));
        }
    }

    /// Of a layer with all below it.
    fn up_to(&self, spatial: usize, temporal: usize) -> u64 {
        let of_spatial = self.bps.iter().take(spatial + 1);
        of_spatial
            .flat_map(|bps| bps.iter().take(temporal + 1))
            .sum()
    }

    fn highest_spatial(&self) -> usize {
        let is_there = |bps: &[u64; MAX_TEMPORAL]| bps.iter().any(|bps| *bps > 0);
        self.bps.iter().rposition(is_there).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64, timestamp: u32, key: bool, marker: bool, at: Instant) -> Arc<StoredPacket> {
        let mut packet = StoredPacket::empty(at);
        packet.seq = seq;
        packet.timestamp = timestamp;
        packet.starts_keyframe = key;
        packet.marker = marker;
        assert!(packet.set_payload(&[1; 100]));
        Arc::new(packet)
    }

    fn layer(now: Instant) -> (Layer, PacketPool) {
        (
            Layer::new(SourceId(1), "f".into(), Codec::Vp8, now),
            PacketPool::default(),
        )
    }

    #[test]
    fn a_new_viewer_catches_up_from_a_fresh_keyframe() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        assert_eq!(layer.start(now), Start::Wait);
        layer.push(packet(10, 0, true, false, now), Some(&mut pool));
        layer.push(packet(11, 0, false, true, now), Some(&mut pool));
        layer.push(packet(12, 3000, false, true, now), Some(&mut pool));
        assert_eq!(layer.start(now), Start::CatchUp { from: 10 });
    }

    #[test]
    fn an_old_keyframe_is_shown_as_a_still() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        layer.push(packet(10, 0, true, false, now), Some(&mut pool));
        layer.push(packet(11, 0, false, true, now), Some(&mut pool));
        let later = now + Duration::from_secs(60);
        for seq in 12..12 + 3 * HISTORY as u64 {
            layer.push(
                packet(seq, 3000 * seq as u32, false, true, later),
                Some(&mut pool),
            );
        }
        assert_eq!(layer.start(later), Start::Still);
        let kept: Vec<u64> = layer.keyframe_packets().iter().map(|p| p.seq).collect();
        assert_eq!(kept, [10, 11]);
    }

    #[test]
    fn an_old_keyframe_with_a_hole_is_no_start() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        layer.push(packet(10, 0, true, false, now), Some(&mut pool));
        layer.push(packet(12, 0, false, true, now), Some(&mut pool));
        assert_eq!(layer.start(now + Duration::from_secs(10)), Start::Wait);
        layer.push(packet(11, 0, false, false, now), Some(&mut pool));
        assert_eq!(layer.start(now + Duration::from_secs(10)), Start::Still);
    }

    #[test]
    fn duplicates_and_ancient_packets_are_not_forwarded() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        assert!(layer.push(packet(5000, 0, true, true, now), Some(&mut pool)));
        assert!(!layer.push(packet(5000, 0, true, true, now), Some(&mut pool)));
        assert!(!layer.push(
            packet(5000 - HISTORY as u64, 0, false, true, now),
            Some(&mut pool)
        ));
        assert!(layer.push(packet(4999, 0, false, true, now), Some(&mut pool)));
        assert_eq!(layer.head(), Some(5000));
    }

    /// A browser sends keyframes only when asked, so one may be kept for hours.
    #[test]
    fn packets_are_used_again_while_a_keyframe_is_kept_and_another_shard_lags() {
        const LAG: usize = 20;
        let now = Instant::now();
        let (mut home, mut pool) = layer(now);
        let (mut away, _) = layer(now);
        let mut on_the_way = std::collections::VecDeque::new();
        let mut allocated = 0;
        for seq in 1..20 * HISTORY as u64 {
            let mut packet = pool.take(now);
            let fresh = Arc::get_mut(&mut packet).expect("nobody else has it");
            *fresh = StoredPacket::empty(now);
            fresh.seq = seq;
            // Keyframes of 40 packets, with ever more time between them.
            let key = 1 << seq.ilog2();
            fresh.starts_keyframe = seq == key;
            fresh.timestamp = if seq < key + 40 { key } else { seq } as u32;
            on_the_way.push_back(Arc::clone(&packet));
            home.push(packet, Some(&mut pool));
            home.pending.clear();
            if on_the_way.len() > LAG {
                away.push(on_the_way.pop_front().expect("some"), None);
                away.pending.clear();
            }
            if seq == 4 * HISTORY as u64 {
                allocated = pool.allocated();
            }
        }
        assert!(allocated <= (HISTORY + 4 * LAG + 40) as u64, "{allocated}");
        assert_eq!(pool.allocated(), allocated, "no more in steady state");
    }

    #[test]
    fn a_keyframe_supersedes_what_came_before_it() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        let packets = [
            packet(10, 0, true, true, now),
            packet(11, 3000, false, true, now),
            packet(12, 6000, true, false, now),
            packet(13, 6000, false, true, now),
            packet(14, 9000, false, true, now),
        ];
        for packet in &packets {
            layer.push(Arc::clone(packet), Some(&mut pool));
        }
        let of = |is: fn(&Layer, &StoredPacket) -> bool| packets.each_ref().map(|p| is(&layer, p));
        assert_eq!(of(Layer::is_superseded), [true, true, false, false, false]);
        assert_eq!(of(Layer::is_of_keyframe), [false, false, true, true, false]);
    }

    #[test]
    fn the_parts_of_a_scalable_layer_are_told_with_all_that_they_build_on() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        let mut seq = 1;
        let mut push = |at: Instant, spatial: u8, temporal: u8, len: usize| {
            let mut packet = StoredPacket::empty(at);
            packet.seq = seq;
            packet.timestamp = seq as u32;
            packet.layering.spatial = spatial;
            packet.layering.temporal = temporal;
            let sizes = [(320, 180), (640, 360), (0, 0), (0, 0)];
            packet.spatial_sizes = (seq == 1).then_some(sizes);
            assert!(packet.set_payload(&vec![1; len]));
            layer.push(Arc::new(packet), Some(&mut pool));
            seq += 1;
        };
        for temporal in [0, 1] {
            push(now, 0, temporal, 100);
            push(now, 1, temporal, 400);
        }
        push(now + Duration::from_secs(1), 0, 0, 100);
        let parts: Vec<_> = layer
            .parts()
            .map(|p| {
                (
                    p.sublayers.spatial,
                    p.sublayers.temporal,
                    p.size,
                    p.bitrate_bps,
                )
            })
            .collect();
        let (small, large) = (Some((320, 180)), Some((640, 360)));
        let expected = [
            (0, 0, small, 800),
            (0, 1, small, 1600),
            (1, 0, large, 4000),
            (1, 1, large, 8000),
        ];
        assert_eq!(parts, expected);
        assert_eq!(layer.bitrate_bps(), 8000);
        let pictures: Vec<_> = layer.pictures().collect();
        assert_eq!(pictures, [(Some(0), small, 1600), (Some(1), large, 6400)]);
        assert_eq!(layer.picture(0), (Some(0), small));
        assert_eq!(layer.picture(u8::MAX), (Some(1), large));
    }

    #[test]
    fn a_layer_that_is_not_scalable_is_its_only_part() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        layer.size = Some((640, 360));
        layer.push(packet(1, 0, true, true, now), Some(&mut pool));
        let parts: Vec<_> = layer.parts().collect();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].size, Some((640, 360)));
        assert_eq!(parts[0].bitrate_bps, 3200);
        assert_eq!(layer.picture(u8::MAX), (None, Some((640, 360))));
    }

    #[test]
    fn a_copy_that_begins_with_what_is_stored_knows_its_bitrate() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        // 100 bytes each 10 ms, of the half second before.
        for n in 0..=50 {
            let at = now - Duration::from_millis(500 - 10 * n);
            layer.push(packet(n, n as u32, n == 0, true, at), Some(&mut pool));
        }
        assert_eq!(layer.bitrate_bps(), 81_600);
    }

    #[test]
    fn a_silent_layer_is_off_air() {
        let now = Instant::now();
        let (mut layer, mut pool) = layer(now);
        assert!(!layer.on_air(now));
        layer.push(packet(1, 0, true, true, now), Some(&mut pool));
        assert!(layer.on_air(now));
        assert!(!layer.on_air(now + STALE_AFTER));
    }
}
