//! One outgoing track of one viewer: which packet of which source gets which sequence number,
//! timestamp and VP8 picture id, so that the viewer sees one unbroken stream whatever the source.
//!
//! A run of packets from one source is a *segment*: within it the outgoing number is the incoming
//! one plus a constant. Changing layer or host, or starting from a stored keyframe, opens a new
//! segment. The last few segments are kept, and are all that is needed to find a packet again when
//! the viewer asks for its retransmission: nothing is stored per packet.

use std::collections::VecDeque;

use super::packet::{SourceId, StoredPacket};

/// How many segments are remembered for retransmissions.
const MAX_SEGMENTS: usize = 32;

/// While a viewer catches up, media time runs this many times faster, so that what is stored does
/// not become delay: a second and a half of stored frames is shown within 25 ms.
const CATCH_UP_SPEED: u32 = 64;

/// What the outgoing copy of a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Extended sequence number: the SRTP index, whose low 16 bits go into the header.
    pub index: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// VP8 PictureID and TL0PICIDX, if the packet has them.
    pub picture_id: Option<u16>,
    /// See `picture_id`.
    pub tl0_picture_index: Option<u8>,
}

/// How a segment's timestamps become the viewer's. All arithmetic wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeMap {
    /// Live: incoming plus a constant.
    Live { offset: u32 },
    /// Catching up to `live` (incoming time): older frames are squeezed to just before it.
    CatchUp { offset: u32, live: u32 },
    /// A still picture: all its packets have this time.
    Still { at: u32 },
}

#[derive(Clone, Debug)]
struct Segment {
    source: SourceId,
    in_start: u64,
    out_start: u64,
    time: TimeMap,
    picture_id_offset: u16,
    tl0_offset: u8,
}

impl Segment {
    fn outgoing(&self, packet: &StoredPacket) -> Outgoing {
        let timestamp = match self.time {
            TimeMap::Live { offset } => packet.timestamp.wrapping_add(offset),
            TimeMap::CatchUp { offset, live } => {
                let behind = live.wrapping_sub(packet.timestamp);
                let squeezed = if (behind as i32) > 0 {
                    live.wrapping_sub(behind.div_ceil(CATCH_UP_SPEED))
                } else {
                    packet.timestamp
                };
                squeezed.wrapping_add(offset)
            }
            TimeMap::Still { at } => at,
        };
        let vp8 = packet.vp8.as_ref();
        Outgoing {
            index: self.out_start + (packet.seq - self.in_start),
            timestamp,
            picture_id: vp8
                .and_then(|d| d.picture_id)
                .map(|id| id.value.wrapping_add(self.picture_id_offset)),
            tl0_picture_index: vp8
                .and_then(|d| d.tl0)
                .map(|(_, index)| index.wrapping_add(self.tl0_offset)),
        }
    }
}

/// Where a viewer begins on a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With this packet, live.
    Live,
    /// With this packet, an old one; live is at this incoming timestamp.
    CatchUp {
        /// Timestamp of the newest packet of the source.
        live: u32,
    },
    /// With this packet of a still picture; live is at this incoming timestamp.
    Still {
        /// Timestamp of the newest packet of the source.
        live: u32,
    },
}

/// The numbering of one outgoing track.
#[derive(Debug)]
pub struct Forwarder {
    segments: VecDeque<Segment>,
    next_index: u64,
    /// Added to incoming timestamps when live. Kept over layer switches, since the layers of a
    /// track share one timeline; chosen anew only where that would make time stand or run back.
    time_offset: u32,
    newest: Option<Newest>,
}

/// The furthest that the outgoing stream has got.
#[derive(Clone, Copy, Debug)]
struct Newest {
    timestamp: u32,
    picture_id: Option<u16>,
    tl0_picture_index: Option<u8>,
}

impl Forwarder {
    /// A track whose first sequence number is `first_seq`; below 2^15, so that the first packets
    /// cannot straddle a rollover that the receiver has not seen (RFC 3711 §3.3.1).
    pub fn new(first_seq: u16, time_offset: u32) -> Self {
        Self {
            segments: VecDeque::new(),
            next_index: u64::from(first_seq & 0x7fff),
            time_offset,
            newest: None,
        }
    }

    /// The source that is being forwarded.
    pub fn source(&self) -> Option<SourceId> {
        self.segments.back().map(|s| s.source)
    }

    /// Begins, or goes on, with another source (or anew with the same) at `packet`.
    pub fn begin(&mut self, source: SourceId, packet: &StoredPacket, begin: Begin) {
        let live = match begin {
            Begin::Live => packet.timestamp,
            Begin::CatchUp { live } | Begin::Still { live } => live,
        };
        self.time_offset = self.offset_for(live);
        let offset = self.time_offset;
        let time = match begin {
            Begin::Live => TimeMap::Live { offset },
            Begin::CatchUp { live } => TimeMap::CatchUp { offset, live },
            Begin::Still { live } => TimeMap::Still {
                at: live.wrapping_add(offset).wrapping_sub(1),
            },
        };
        let vp8 = packet.vp8.as_ref();
        let picture_id_offset = match (
            self.newest.and_then(|n| n.picture_id),
            vp8.and_then(|d| d.picture_id),
        ) {
            (Some(last), Some(first)) => last.wrapping_add(1).wrapping_sub(first.value),
            _ => 0,
        };
        let tl0_offset = match (
            self.newest.and_then(|n| n.tl0_picture_index),
            vp8.and_then(|d| d.tl0),
        ) {
            (Some(last), Some((_, first))) => last.wrapping_add(1).wrapping_sub(first),
            _ => 0,
        };
        self.open(Segment {
            source,
            in_start: packet.seq,
            out_start: self.next_index,
            time,
            picture_id_offset,
            tl0_offset,
        });
    }

    /// Numbers the next packet of the current source. None for packets from before the segment,
    /// and for such late ones as were given up when a newer segment began.
    pub fn forward(&mut self, source: SourceId, packet: &StoredPacket) -> Option<Outgoing> {
        let segment = self.segments.back()?;
        if segment.source != source || packet.seq < segment.in_start {
            return None;
        }
        let out = segment.outgoing(packet);
        if out.index >= self.next_index {
            self.next_index = out.index + 1;
            self.newest = Some(Newest {
                timestamp: out.timestamp,
                picture_id: out.picture_id.or(self.newest.and_then(|n| n.picture_id)),
                tl0_picture_index: out
                    .tl0_picture_index
                    .or(self.newest.and_then(|n| n.tl0_picture_index)),
            });
        }
        Some(out)
    }

    /// Leaves out a packet that carries no media (padding), without a gap in the numbering.
    pub fn skip(&mut self, source: SourceId, seq: u64) {
        let Some(segment) = self.segments.back() else {
            return;
        };
        let next_in = segment.in_start + (self.next_index.saturating_sub(segment.out_start));
        if segment.source != source || seq != next_in {
            return;
        }
        let mut after = segment.clone();
        after.in_start = seq + 1;
        after.out_start = self.next_index;
        self.open(after);
    }

    /// Finds again what went out under a sequence number: the source and its sequence number.
    pub fn sent(&self, seq: u16) -> Option<(SourceId, u64)> {
        let newest = self.next_index.checked_sub(1)?;
        let behind = u64::from((newest as u16).wrapping_sub(seq));
        let index = newest.checked_sub(behind)?;
        let segment = self.segments.iter().rev().find(|s| s.out_start <= index)?;
        Some((
            segment.source,
            segment.in_start + (index - segment.out_start),
        ))
    }

    /// Numbers once more a packet that [`Self::sent`] found.
    pub fn again(&self, source: SourceId, packet: &StoredPacket, seq: u16) -> Option<Outgoing> {
        self.segments
            .iter()
            .rev()
            .filter(|s| s.source == source && s.in_start <= packet.seq)
            .map(|s| s.outgoing(packet))
            .find(|out| out.index as u16 == seq)
    }

    /// The sequence number that went out last, if any did.
    pub fn newest(&self) -> Option<u16> {
        self.newest.map(|_| self.next_index.wrapping_sub(1) as u16)
    }

    /// The furthest timestamp that went out.
    pub fn newest_timestamp(&self) -> u32 {
        self.newest.map_or(0, |newest| newest.timestamp)
    }

    /// How many numbers of the current source came before this one since it began.
    pub fn since_begin(&self, seq: u64) -> u64 {
        let start = self.segments.back().map_or(seq, |s| s.in_start);
        seq.saturating_sub(start)
    }

    /// The outgoing timestamp of an incoming one, live.
    pub fn live_timestamp(&self, incoming: u32) -> u32 {
        incoming.wrapping_add(self.time_offset)
    }

    fn open(&mut self, segment: Segment) {
        if self.segments.len() == MAX_SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }

    /// The usual offset, unless time would not go on from there: then one that puts `live` one
    /// frame (1/30 s at 90 kHz) after what was sent last.
    fn offset_for(&self, live: u32) -> u32 {
        const FORWARD_JUMP: i32 = 90_000 * 10;
        const FRAME: u32 = 3000;
        let Some(newest) = self.newest else {
            return self.time_offset;
        };
        let ahead = live
            .wrapping_add(self.time_offset)
            .wrapping_sub(newest.timestamp) as i32;
        if (1..FORWARD_JUMP).contains(&ahead) {
            self.time_offset
        } else {
            newest.timestamp.wrapping_add(FRAME).wrapping_sub(live)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;
    use showrunner_rtp::codec::{Codec, inspect};

    use super::*;

    const Q: SourceId = SourceId(1);
    const F: SourceId = SourceId(2);

    fn packet(seq: u64, timestamp: u32) -> StoredPacket {
        let mut packet = StoredPacket::empty(Instant::now());
        packet.seq = seq;
        packet.timestamp = timestamp;
        packet
    }

    fn vp8(seq: u64, timestamp: u32, picture_id: u16, tl0: u8) -> StoredPacket {
        let mut p = packet(seq, timestamp);
        p.codec = Codec::Vp8;
        // X and S set; I and L set; 15-bit picture id; TL0PICIDX; an inter frame.
        let [hi, lo] = (picture_id | 0x8000).to_be_bytes();
        let payload = [0x90, 0xc0, hi, lo, tl0, 0x01, 0, 0];
        p.vp8 = inspect(Codec::Vp8, &payload).vp8;
        assert!(p.vp8.is_some());
        p
    }

    #[test]
    fn a_layer_switch_leaves_no_gap_in_numbers_and_time() {
        let mut out = Forwarder::new(100, 0);
        let first = vp8(7, 90_000, 500, 9);
        out.begin(Q, &first, Begin::Live);
        let a = out.forward(Q, &first).unwrap();
        let b = out.forward(Q, &vp8(8, 93_000, 501, 10)).unwrap();
        let key = vp8(60_000, 96_000, 12, 200);
        out.begin(F, &key, Begin::Live);
        let c = out.forward(F, &key).unwrap();
        assert_eq!((a.index, b.index, c.index), (100, 101, 102));
        assert_eq!(
            (a.timestamp, b.timestamp, c.timestamp),
            (90_000, 93_000, 96_000)
        );
        assert_eq!((b.picture_id, c.picture_id), (Some(501), Some(502)));
        assert_eq!(
            (b.tl0_picture_index, c.tl0_picture_index),
            (Some(10), Some(11))
        );
    }

    #[test]
    fn packets_of_the_layer_that_was_left_are_not_forwarded() {
        let mut out = Forwarder::new(0, 0);
        out.begin(Q, &packet(1, 0), Begin::Live);
        out.begin(F, &packet(1, 0), Begin::Live);
        assert_eq!(out.forward(Q, &packet(2, 3000)), None);
        assert_eq!(out.forward(F, &packet(0, 0)), None);
    }

    #[test]
    fn a_late_packet_takes_the_place_left_for_it() {
        let mut out = Forwarder::new(0, 0);
        out.begin(Q, &packet(10, 0), Begin::Live);
        out.forward(Q, &packet(10, 0));
        assert_eq!(out.forward(Q, &packet(12, 0)).unwrap().index, 2);
        assert_eq!(out.forward(Q, &packet(11, 0)).unwrap().index, 1);
        assert_eq!(out.forward(Q, &packet(13, 0)).unwrap().index, 3);
    }

    #[test]
    fn catching_up_squeezes_stored_time_and_ends_live() {
        let mut out = Forwarder::new(0, 1_000);
        let live = 90_000;
        let key = packet(1, 0);
        out.begin(F, &key, Begin::CatchUp { live });
        let mut last = None;
        for (i, ts) in (0..=90_000u32).step_by(3000).enumerate() {
            let o = out.forward(F, &packet(1 + i as u64, ts)).unwrap();
            if let Some(last) = last {
                assert!(o.timestamp > last, "time goes on");
            } else {
                assert!(o.timestamp >= live + 1_000 - 90_000 / CATCH_UP_SPEED - 1);
            }
            last = Some(o.timestamp);
        }
        assert_eq!(
            last,
            Some(live + 1_000),
            "the newest frame has its own time"
        );
        let next = out.forward(F, &packet(32, 93_000)).unwrap();
        assert_eq!(next.timestamp, 94_000);
    }

    #[test]
    fn another_host_with_any_timestamp_goes_on_where_the_last_ended() {
        let mut out = Forwarder::new(0, 0);
        out.begin(Q, &packet(1, 50_000), Begin::Live);
        out.forward(Q, &packet(1, 50_000));
        out.begin(F, &packet(9, 3_000_000_000), Begin::Live);
        let o = out.forward(F, &packet(9, 3_000_000_000)).unwrap();
        assert_eq!((o.index, o.timestamp), (1, 53_000));
    }

    #[test]
    fn padding_leaves_no_gap() {
        let mut out = Forwarder::new(0, 0);
        out.begin(Q, &packet(1, 0), Begin::Live);
        assert_eq!(out.forward(Q, &packet(1, 0)).unwrap().index, 0);
        out.skip(Q, 2);
        out.skip(Q, 3);
        assert_eq!(out.forward(Q, &packet(4, 0)).unwrap().index, 1);
        assert_eq!(out.sent(1), Some((Q, 4)));
        assert_eq!(out.sent(0), Some((Q, 1)));
    }

    proptest! {
        /// Whatever is lost, late or switched, outgoing numbers never repeat, and each one that
        /// went out is found again with the same number and time.
        #[test]
        fn every_sent_packet_is_found_again(steps in prop::collection::vec((0u8..10, 1u64..4), 1..200)) {
            let mut out = Forwarder::new(0x7fff, 77);
            let mut sources = [(Q, 65_530u64), (F, 10u64)];
            let mut current = 0;
            let begin = packet(sources[0].1, 0);
            out.begin(Q, &begin, Begin::Live);
            let mut sent: Vec<(Outgoing, SourceId, StoredPacket)> = Vec::new();
            for (what, step) in steps {
                let (source, seq) = &mut sources[current];
                *seq += step;
                let p = packet(*seq, (*seq as u32) * 3000);
                match what {
                    0 => {
                        current = 1 - current;
                        let (source, seq) = sources[current];
                        let p = packet(seq + 1, (seq as u32 + 1) * 3000);
                        out.begin(source, &p, Begin::Live);
                    }
                    1 => out.skip(*source, *seq),
                    _ => if let Some(o) = out.forward(*source, &p) {
                        prop_assert!(sent.iter().all(|(s, ..)| s.index != o.index));
                        sent.push((o, *source, p));
                    }
                }
            }
            let Some((last, ..)) = sent.last() else { return Ok(()) };
            for (o, source, p) in sent.iter().filter(|(o, ..)| last.index - o.index < 100) {
                // Only what older segments hold may be forgotten.
                if out.sent(o.index as u16) == Some((*source, p.seq)) {
                    prop_assert_eq!(out.again(*source, p, o.index as u16), Some(*o));
                }
            }
        }
    }
}
