//! A viewer that is behind on a scalable stream, of which it is not sent all: the cursor, the
//! numbering and the layer's store together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use showrunner_rtp::codec::layering::Layering;
use showrunner_rtp::codec::{Codec, inspect};

use super::forwarder::{Begin, Copied, Forwarder, Sublayers};
use super::layer::Layer;
use super::pacer::{Budget, Cursor, Next};
use super::packet::{SourceId, StoredPacket};

const SOURCE: SourceId = SourceId(1);
const SIZE: usize = 1000;

/// A packet as it went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    index: u64,
    picture: u32,
    layering: Layering,
    marker: bool,
    picture_id: Option<u16>,
}

struct Viewer {
    cursor: Cursor,
    budget: Budget,
    numbers: Forwarder,
    sent: Vec<Sent>,
    was_behind: bool,
}

impl Viewer {
    fn new(now: Instant, path_bps: u64, first: &StoredPacket, sublayers: Sublayers) -> Self {
        let mut numbers = Forwarder::new(100, 0);
        numbers.want(sublayers);
        numbers.begin(SOURCE, first, Begin::Live);
        Self {
            cursor: Cursor::live_from(first.seq),
            budget: Budget::new(now, path_bps),
            numbers,
            sent: Vec::new(),
            was_behind: false,
        }
    }

    fn send(&mut self, packet: &StoredPacket) {
        match self.numbers.forward(SOURCE, packet) {
            Some(Copied::Media(out)) => {
                self.budget.spend(packet.payload().len());
                self.sent.push(Sent {
                    index: out.index,
                    picture: packet.timestamp,
                    layering: packet.layering,
                    marker: out.marker,
                    picture_id: out.picture_id,
                });
            }
            Some(Copied::Filler(out)) => panic!("nothing was late: {out:?}"),
            None => {}
        }
    }

    /// What waits in the layer goes out, and then what is stored.
    fn flush(&mut self, now: Instant, layer: &mut Layer) {
        self.budget.refill(now);
        for packet in std::mem::take(&mut layer.pending) {
            if self.cursor.takes(packet.seq, &self.budget) {
                self.send(&packet);
            }
        }
        self.feed(now, layer);
    }

    fn feed(&mut self, now: Instant, layer: &Layer) {
        self.budget.refill(now);
        self.was_behind |= self.cursor.is_behind();
        while self.budget.is_open() {
            match self.cursor.next(layer, now) {
                Next::Send(packet) => self.send(packet),
                Next::Skip(seq) => self.numbers.skip(SOURCE, seq),
                Next::Wait | Next::Done => return,
                Next::Lost => panic!("it is not that far behind"),
            }
        }
    }
}

/// The packets of a keyframe, of each spatial layer: more than may leave at once.
const KEYFRAME: u64 = 20;

/// A frame's packets: `per_layer` for each of the spatial layers.
fn frame(
    now: Instant,
    seq: &mut u64,
    picture: u32,
    temporal: u8,
    spatials: u8,
    per_layer: u64,
) -> Vec<Arc<StoredPacket>> {
    let mut packets = Vec::new();
    for spatial in 0..spatials {
        for at in 0..per_layer {
            let mut packet = StoredPacket::empty(now);
            (packet.seq, packet.timestamp) = (*seq, picture * 3000);
            packet.starts_keyframe = picture == 0 && spatial == 0 && at == 0;
            packet.layering = Layering {
                spatial,
                temporal,
                builds_on: 0,
                is_fresh: picture == 0,
                begins: at == 0,
                ends: at + 1 == per_layer,
            };
            packet.marker = spatial + 1 == spatials && at + 1 == per_layer;
            let mut payload = [0; SIZE];
            if spatials == 1 {
                // VP8: X and S; I; a picture id of 15 bits.
                let [hi, lo] = (picture as u16 | 0x8000).to_be_bytes();
                payload[..4].copy_from_slice(&[0x90, 0x80, hi, lo]);
                packet.codec = Codec::Vp8;
                packet.vp8 = inspect(Codec::Vp8, &payload).vp8;
            }
            assert!(packet.set_payload(&payload));
            packets.push(Arc::new(packet));
            *seq += 1;
        }
    }
    packets
}

/// Plays frames of the temporal layers 0 2 1 2 to a viewer, and padding every so often. It begins
/// with a keyframe that is too large for its path, and is told now and then what to be sent.
fn play(path_bps: u64, spatials: u8, wishes: &[Sublayers], pads: u32) -> Viewer {
    let start = Instant::now();
    let codec = if spatials == 1 {
        Codec::Vp8
    } else {
        Codec::Vp9
    };
    let mut layer = Layer::new(SOURCE, "".into(), codec, start);
    let mut seq = 7;
    let mut viewer: Option<Viewer> = None;
    for picture in 0..60u32 {
        let now = start + Duration::from_millis(33 * u64::from(picture));
        let temporal = [0, 2, 1, 2][picture as usize % 4];
        let per_layer = if picture == 0 { KEYFRAME } else { 2 };
        let packets = frame(now, &mut seq, picture, temporal, spatials, per_layer);
        let wish = wishes[picture as usize * wishes.len() / 60];
        let viewer = viewer.get_or_insert_with(|| Viewer::new(now, path_bps, &packets[0], wish));
        viewer.numbers.want(wish);
        for packet in packets {
            layer.push(packet, None);
        }
        viewer.flush(now, &mut layer);
        if pads > 0 && picture % pads == 0 {
            layer.skip(seq);
            if !viewer.cursor.is_behind() {
                viewer.numbers.skip(SOURCE, seq);
            }
            seq += 1;
        }
        for ms in (5..33).step_by(5) {
            viewer.feed(now + Duration::from_millis(ms), &layer);
        }
    }
    let mut viewer = viewer.expect("sixty pictures");
    // Nothing more comes: it gets what it is behind by.
    for ms in (0..600).step_by(5) {
        viewer.feed(start + Duration::from_millis(33 * 60 + ms), &layer);
    }
    assert!(!viewer.cursor.is_behind());
    viewer
}

/// What a receiver relies on.
fn check(viewer: &Viewer) {
    for (at, pair) in viewer.sent.windows(2).enumerate() {
        let (a, b) = (pair[0], pair[1]);
        assert_eq!(b.index, a.index + 1, "a gap after packet {at}");
        // The marker ends a picture, and only it does.
        assert_eq!(a.marker, a.picture != b.picture, "{a:?} {b:?}");
        if let (Some(before), Some(after)) = (a.picture_id, b.picture_id) {
            let step = u16::from(a.picture != b.picture);
            assert_eq!(after, before + step, "{a:?} {b:?}");
        }
    }
    assert!(viewer.sent.last().is_some_and(|last| last.marker));
}

fn sublayers(spatial: u8, temporal: u8) -> Sublayers {
    Sublayers { spatial, temporal }
}

#[test]
fn who_is_behind_is_sent_fewer_frames_without_a_gap() {
    let viewer = play(500_000, 1, &[sublayers(0, 1)], 0);
    assert!(viewer.was_behind);
    check(&viewer);
    assert!(viewer.sent.iter().all(|sent| sent.layering.temporal <= 1));
    // Half of the frames, each of two packets, and the keyframe.
    assert_eq!(viewer.sent.len() as u64, KEYFRAME + 29 * 2);
}

#[test]
fn who_is_behind_is_sent_smaller_pictures_that_end_where_they_end() {
    let viewer = play(900_000, 3, &[sublayers(1, 7), sublayers(0, 7)], 0);
    assert!(viewer.was_behind);
    check(&viewer);
    let highest = |of: &[Sent]| of.iter().map(|sent| sent.layering.spatial).max();
    let first = 2 * KEYFRAME as usize;
    assert_eq!(highest(&viewer.sent[..first]), Some(1));
    assert_eq!(highest(&viewer.sent[first + 30 * 4..]), Some(0));
}

proptest! {
    /// However slow the path and whatever is wanted meanwhile.
    #[test]
    fn being_behind_shows_in_time_alone(
        kbps in 500u64..4_000,
        spatials in 1u8..=3,
        wishes in prop::collection::vec((0u8..3, 0u8..3), 1..8),
        pads in 0u32..9,
    ) {
        // One picture's worth of path for each layer that may be sent.
        let path_bps = kbps * 1000 * u64::from(spatials);
        let wishes: Vec<_> = wishes.into_iter().map(|(s, t)| sublayers(s, t)).collect();
        check(&play(path_bps, spatials, &wishes, pads));
    }
}
