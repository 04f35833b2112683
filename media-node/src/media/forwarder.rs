//! One outgoing track of one viewer: which packet of which source gets which sequence number,
//! timestamp, VP8 picture id and AV1 frame number, so that the viewer sees one unbroken stream whatever the source,
//! and whichever of its layers are left out.
//!
//! A run of packets from one source is a *segment*: within it the outgoing number is the incoming
//! one plus a constant. Changing layer or host, starting from a stored keyframe, or leaving packets
//! out opens a new segment. The last few segments are kept, and are all that is needed to find a
//! packet again when the viewer asks for its retransmission: nothing is stored per packet.
//!
//! A packet that is missing when later ones go out has a place left for it. If it turns out to be
//! of a layer that this viewer is not sent, a filler takes the place, so that nobody waits for it.

use std::collections::VecDeque;

use showrunner_rtp::codec::layering::Layering;

use super::packet::{SourceId, StoredPacket};

/// How many segments are remembered for retransmissions. Where upper layers are left out, each
/// picture may end one: these are two seconds of 60 pictures, as long as packets are kept.
const MAX_SEGMENTS: usize = 128;

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
    /// Ends the picture: the highest spatial layer that this viewer is sent ends here.
    pub marker: bool,
    /// VP8 PictureID and TL0PICIDX, if the packet has them.
    pub picture_id: Option<u16>,
    /// See `picture_id`.
    pub tl0_picture_index: Option<u8>,
    /// Frame number and active decode targets, if the packet has a dependency descriptor.
    pub dependencies: Option<Numbered>,
}

/// What a viewer's copy of a dependency descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The frame's number in the viewer's stream.
    pub frame_number: u16,
    /// The decode targets that the viewer gets all frames of, by bit.
    pub active_targets: u32,
}

/// What goes out for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The packet, with these numbers.
    Media(Outgoing),
    /// Padding in the place that was left for it, since its layer is not sent to this viewer.
    Filler(Outgoing),
}

/// The layers of a scalable stream that a viewer is sent: these and all below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sublayers {
    /// Highest spatial layer.
    pub spatial: u8,
    /// Highest temporal layer.
    pub temporal: u8,
}

impl Sublayers {
    /// The whole stream.
    pub const ALL: Self = Self {
        spatial: u8::MAX,
        temporal: u8::MAX,
    };

    #[inline]
    fn takes(self, layering: &Layering) -> bool {
        layering.spatial <= self.spatial && layering.temporal <= self.temporal
    }
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
    /// What is sent, from the picture of this (incoming) time on.
    sublayers: Sublayers,
    since: u32,
    picture_id_offset: u16,
    tl0_offset: u8,
    frame_number_offset: u16,
}

impl Segment {
    fn timestamp(&self, packet: &StoredPacket) -> u32 {
        match self.time {
            TimeMap::Live { offset } => packet.timestamp.wrapping_add(offset),
            TimeMap::CatchUp { offset, live } => {
                squeezed(packet.timestamp, live).wrapping_add(offset)
            }
            TimeMap::Still { at } => at,
        }
    }

    fn outgoing(&self, packet: &StoredPacket, sublayers: Sublayers) -> Outgoing {
        let vp8 = packet.vp8.as_ref();
        let layering = &packet.layering;
        Outgoing {
            index: self.out_start + (packet.seq - self.in_start),
            timestamp: self.timestamp(packet),
            marker: packet.marker || (layering.ends && layering.spatial == sublayers.spatial),
            picture_id: vp8
                .and_then(|d| d.picture_id)
                .map(|id| id.value.wrapping_add(self.picture_id_offset)),
            tl0_picture_index: vp8
                .and_then(|d| d.tl0)
                .map(|(_, index)| index.wrapping_add(self.tl0_offset)),
            dependencies: packet.dependencies().map(|(dependencies, _)| Numbered {
                frame_number: dependencies
                    .frame_number
                    .wrapping_add(self.frame_number_offset),
                active_targets: dependencies.targets_up_to(sublayers.spatial, sublayers.temporal),
            }),
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
    wanted: Sublayers,
    /// Incoming timestamp of the picture that came last.
    picture: u32,
    /// Incoming id of the VP8 picture that was left out last.
    left_out: Option<u16>,
}

/// The furthest that the outgoing stream has got.
#[derive(Clone, Copy, Debug)]
struct Newest {
    timestamp: u32,
    picture_id: Option<u16>,
    tl0_picture_index: Option<u8>,
    frame_number: Option<u16>,
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
            wanted: Sublayers::ALL,
            picture: 0,
            left_out: None,
        }
    }

    /// The source that is being forwarded.
    pub fn source(&self) -> Option<SourceId> {
        self.segments.back().map(|s| s.source)
    }

    /// Says which layers to send: fewer from the next picture on; more temporal layers as each
    /// can begin; more spatial ones from the next keyframe on.
    pub fn want(&mut self, sublayers: Sublayers) {
        self.wanted = sublayers;
    }

    /// The layers that are being sent.
    pub fn sublayers(&self) -> Sublayers {
        self.segments.back().map_or(self.wanted, |s| s.sublayers)
    }

    /// Whether only a keyframe brings the spatial layers that are wanted.
    pub fn waits_for_keyframe(&self) -> bool {
        self.wanted.spatial > self.sublayers().spatial
    }

    /// Begins, or goes on, with another source (or anew with the same) at `packet`.
    pub fn begin(&mut self, source: SourceId, packet: &StoredPacket, begin: Begin) {
        let first = match begin {
            Begin::Live => packet.timestamp,
            Begin::CatchUp { live } => squeezed(packet.timestamp, live),
            Begin::Still { live } => live,
        };
        self.time_offset = self.offset_for(first);
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
        let frame_number_offset = match (
            self.newest.and_then(|n| n.frame_number),
            packet.dependencies(),
        ) {
            (Some(last), Some((first, _))) => last.wrapping_add(1).wrapping_sub(first.frame_number),
            _ => 0,
        };
        self.picture = packet.timestamp;
        self.left_out = None;
        self.open(Segment {
            source,
            in_start: packet.seq,
            out_start: self.next_index,
            time,
            sublayers: self.wanted,
            since: packet.timestamp,
            picture_id_offset,
            tl0_offset,
            frame_number_offset,
        });
    }

    /// Numbers the next packet of the current source, or a late one that a place was left for.
    /// None for packets that are left out, and for late ones from before the source was begun.
    pub fn forward(&mut self, source: SourceId, packet: &StoredPacket) -> Option<Copied> {
        let last = self.segments.back()?;
        if last.source != source || packet.seq < last.in_start {
            return self.late(source, packet);
        }
        let next_in = last.in_start + (self.next_index - last.out_start);
        if packet.seq >= next_in {
            self.follow(packet, next_in);
            if !self.sublayers().takes(&packet.layering) {
                self.leave_out(packet);
                return None;
            }
        }
        let copied = self.copy(self.segments.len() - 1, packet);
        if let Copied::Media(out) = copied
            && out.index >= self.next_index
        {
            self.next_index = out.index + 1;
            let before = self.newest;
            let frame_number = out.dependencies.map(|numbered| numbered.frame_number);
            self.newest = Some(Newest {
                timestamp: out.timestamp,
                picture_id: out.picture_id.or(before.and_then(|n| n.picture_id)),
                tl0_picture_index: out
                    .tl0_picture_index
                    .or(before.and_then(|n| n.tl0_picture_index)),
                frame_number: frame_number.or(before.and_then(|n| n.frame_number)),
            });
        }
        Some(copied)
    }

    /// Leaves out a number that carries no media (padding), without a gap in the numbering.
    pub fn skip(&mut self, source: SourceId, seq: u64) {
        if self.source() == Some(source) {
            self.pass(seq, 0);
        }
    }

    /// Finds again what went out under a sequence number: the source and its sequence number.
    pub fn sent(&self, seq: u16) -> Option<(SourceId, u64)> {
        let (at, number) = self.find(seq)?;
        Some((self.segments[at].source, number))
    }

    /// Numbers once more a packet that [`Self::sent`] found.
    pub fn again(&self, source: SourceId, packet: &StoredPacket, seq: u16) -> Option<Copied> {
        let (at, number) = self.find(seq)?;
        let is_it = self.segments[at].source == source && packet.seq == number;
        is_it.then(|| self.copy(at, packet))
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

    /// Looks whether the layers that are sent change with the next packet, `next_in` or one behind it.
    fn follow(&mut self, packet: &StoredPacket, next_in: u64) {
        let (layering, wanted) = (&packet.layering, self.wanted);
        let before = self.sublayers();
        let mut now = before;
        let is_new = std::mem::replace(&mut self.picture, packet.timestamp) != packet.timestamp;
        if is_new && packet.starts_keyframe && self.would_run_back(packet) {
            // More is known by now of when its pictures are taken.
            if let Some(source) = self.source() {
                self.begin(source, packet, Begin::Live);
            }
            return;
        }
        if layering.is_fresh && layering.spatial == 0 {
            now = wanted;
        } else if is_new {
            now.spatial = now.spatial.min(wanted.spatial);
            now.temporal = now.temporal.min(wanted.temporal);
        }
        // One temporal layer after the other, each with its first frame that needs none of it, and
        // whole: its first packet is here.
        if layering.begins
            && layering.spatial == 0
            && now.temporal.checked_add(1) == Some(layering.temporal)
            && layering.temporal <= wanted.temporal
            && layering.builds_on <= now.temporal
        {
            now.temporal = layering.temporal;
        }
        if now == before {
            return;
        }
        let Some(last) = self.segments.back() else {
            return;
        };
        // Those before it that are missing keep their places.
        self.next_index += packet.seq - next_in;
        self.open(Segment {
            in_start: packet.seq,
            out_start: self.next_index,
            sublayers: now,
            since: packet.timestamp,
            ..last.clone()
        });
    }

    /// Whether a packet's time would not be after all that went out.
    fn would_run_back(&self, packet: &StoredPacket) -> bool {
        let (Some(segment), Some(newest)) = (self.segments.back(), self.newest) else {
            return false;
        };
        let timestamp = segment.timestamp(packet);
        let is_still = matches!(segment.time, TimeMap::Still { .. });
        !is_still && timestamp.wrapping_sub(newest.timestamp) as i32 <= 0
    }

    /// Leaves out a packet whose layer is not sent.
    fn leave_out(&mut self, packet: &StoredPacket) {
        let id = packet.vp8.and_then(|d| d.picture_id).map(|id| id.value);
        let is_new = id.is_some() && self.left_out != id;
        if is_new {
            self.left_out = id;
        }
        self.pass(packet.seq, u16::from(is_new));
    }

    /// Goes on behind a number that is not sent. Those before it that are missing keep their
    /// places. So many VP8 pictures fewer are counted from there on.
    fn pass(&mut self, seq: u64, pictures: u16) {
        let Some(last) = self.segments.back() else {
            return;
        };
        let next_in = last.in_start + (self.next_index - last.out_start);
        if seq < next_in {
            return;
        }
        let mut after = last.clone();
        self.next_index += seq - next_in;
        after.in_start = seq + 1;
        after.out_start = self.next_index;
        after.picture_id_offset = after.picture_id_offset.wrapping_sub(pictures);
        self.open(after);
    }

    /// A packet from before the newest segment: the place left for it, if there is one.
    fn late(&self, source: SourceId, packet: &StoredPacket) -> Option<Copied> {
        let mut end = self.next_index;
        for (at, segment) in self.segments.iter().enumerate().rev() {
            let len = end - segment.out_start;
            end = segment.out_start;
            let is_in = (segment.in_start..segment.in_start + len).contains(&packet.seq);
            if segment.source == source && is_in {
                return Some(self.copy(at, packet));
            }
        }
        None
    }

    /// The copy of a packet whose place is in a segment.
    fn copy(&self, at: usize, packet: &StoredPacket) -> Copied {
        let segment = &self.segments[at];
        // What was missing when the layers changed may be of the picture that they changed with.
        let later = self.segments.iter().skip(at + 1).take_while(|s| {
            s.source == segment.source && packet.timestamp.wrapping_sub(s.since) as i32 >= 0
        });
        let sublayers = later.last().unwrap_or(segment).sublayers;
        let out = segment.outgoing(packet, sublayers);
        if sublayers.takes(&packet.layering) {
            Copied::Media(out)
        } else {
            Copied::Filler(out)
        }
    }

    /// The segment and the incoming number of a sequence number that went out.
    fn find(&self, seq: u16) -> Option<(usize, u64)> {
        let newest = self.next_index.checked_sub(1)?;
        let behind = u64::from((newest as u16).wrapping_sub(seq));
        let index = newest.checked_sub(behind)?;
        let at = self.segments.partition_point(|s| s.out_start <= index);
        let segment = self.segments.get(at.checked_sub(1)?)?;
        Some((at - 1, segment.in_start + (index - segment.out_start)))
    }

    fn open(&mut self, segment: Segment) {
        // One that nothing went out in leaves no trace, unless it says which layers pictures had that packets may still
        // come of.
        let leaves_no_trace = |last: &Segment| {
            let is_change = last.source == segment.source && last.sublayers != segment.sublayers;
            last.out_start == segment.out_start && !is_change
        };
        if self.segments.back().is_some_and(leaves_no_trace) {
            self.segments.pop_back();
        }
        if self.segments.len() == MAX_SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }

    /// The usual offset, unless time would not go on from there: then one that puts what is sent
    /// `first` one frame (1/30 s at 90 kHz) after what was sent last.
    fn offset_for(&self, first: u32) -> u32 {
        const FORWARD_JUMP: i32 = 90_000 * 10;
        const FRAME: u32 = 3000;
        let Some(newest) = self.newest else {
            return self.time_offset;
        };
        let ahead = first
            .wrapping_add(self.time_offset)
            .wrapping_sub(newest.timestamp) as i32;
        if (1..FORWARD_JUMP).contains(&ahead) {
            self.time_offset
        } else {
            newest.timestamp.wrapping_add(FRAME).wrapping_sub(first)
        }
    }
}

/// The time of a packet while its viewer catches up to `live`.
fn squeezed(timestamp: u32, live: u32) -> u32 {
    let behind = live.wrapping_sub(timestamp);
    match behind as i32 > 0 {
        true => live.wrapping_sub(behind.div_ceil(CATCH_UP_SPEED)),
        false => timestamp,
    }
}

#[cfg(test)]
mod tests;
