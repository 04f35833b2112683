//! A viewer's numbering, over switches, losses, disorder and layers that are left out.

use std::time::Instant;

use proptest::prelude::*;
use showrunner_rtp::codec::layering::LayerTracker;
use showrunner_rtp::codec::{Codec, PayloadInfo, inspect};

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

/// The first packets of an AV1 stream's frames (L1T3), as Chromium sends them: a structure, then
/// temporal layers 2, 1 and 2.
fn av1(seq: u64, first_frame: u16) -> Vec<StoredPacket> {
    let values: [&[u8]; 4] = [
        &[
            0x80, 0, 1, 0x80, 0x02, 0x14, 0xea, 0xa8, 0x60, 0x41, 0x4d, 0x14, 0x10, 0x20, 0x84,
            0x27, 0x01, 0x3f, 0x00, 0xb3,
        ],
        &[0xc3, 0, 2],
        &[0xc2, 0, 3],
        &[0xc4, 0, 4],
    ];
    let mut tracker = LayerTracker::default();
    let frames = (0u16..).zip(values);
    frames
        .map(|(at, value)| {
            let mut value = value.to_vec();
            value[1..3].copy_from_slice(&first_frame.wrapping_add(at).to_be_bytes());
            let seq = seq + u64::from(at);
            let mut p = packet(seq, seq as u32 * 3000);
            let placed = tracker.place(&PayloadInfo::default(), Some(&value), p.timestamp);
            p.codec = Codec::Av1;
            p.layering = placed.layering;
            assert!(p.set_dependencies(placed.dependencies.unwrap(), &value));
            p
        })
        .collect()
}

/// Numbers of a packet that goes out as it is.
fn media(copied: Option<Copied>) -> Outgoing {
    match copied {
        Some(Copied::Media(out)) => out,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_layer_switch_leaves_no_gap_in_numbers_and_time() {
    let mut out = Forwarder::new(100, 0);
    let first = vp8(7, 90_000, 500, 9);
    out.begin(Q, &first, Begin::Live);
    let a = media(out.forward(Q, &first));
    let b = media(out.forward(Q, &vp8(8, 93_000, 501, 10)));
    let key = vp8(60_000, 96_000, 12, 200);
    out.begin(F, &key, Begin::Live);
    let c = media(out.forward(F, &key));
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
fn what_is_squeezed_is_later_than_all_before() {
    let mut out = Forwarder::new(0, 0);
    out.begin(Q, &packet(1, 90_000), Begin::Live);
    let before = media(out.forward(Q, &packet(1, 90_000)));
    // The newest of the other layer is a little later, and its keyframe half a second older.
    let key = packet(1, 90_100 - 45_000);
    out.begin(F, &key, Begin::CatchUp { live: 90_100 });
    let after = media(out.forward(F, &key));
    assert_eq!(after.timestamp, before.timestamp + 3000);
    let live = media(out.forward(F, &packet(2, 90_100)));
    assert_eq!(live.timestamp, after.timestamp + 45_000_u32.div_ceil(64));
}

#[test]
fn a_stream_whose_time_steps_back_at_a_keyframe_runs_on_for_viewers() {
    for begin in [Begin::Live, Begin::CatchUp { live: 70_000 }] {
        let mut out = Forwarder::new(0, 0);
        out.begin(Q, &packet(1, 60_000), begin);
        out.forward(Q, &packet(1, 60_000));
        let before = media(out.forward(Q, &packet(2, 93_000)));
        let mut key = packet(4, 78_000);
        key.starts_keyframe = true;
        let after = media(out.forward(Q, &key));
        assert_eq!(after.timestamp, before.timestamp + 3000);
        // Nobody waits for what is lost before it.
        assert_eq!(after.index, before.index + 1);
        let next = media(out.forward(Q, &packet(5, 81_000)));
        assert_eq!(next.index, after.index + 1);
        assert_eq!(next.timestamp, after.timestamp + 3000);
        // Reports go by it.
        assert_eq!(out.live_timestamp(81_000), next.timestamp);
        assert_eq!(out.sent(after.index as u16), Some((Q, 4)));
    }
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
    assert_eq!(media(out.forward(Q, &packet(12, 0))).index, 2);
    assert_eq!(media(out.forward(Q, &packet(11, 0))).index, 1);
    assert_eq!(media(out.forward(Q, &packet(13, 0))).index, 3);
}

#[test]
fn catching_up_squeezes_stored_time_and_ends_live() {
    let mut out = Forwarder::new(0, 1_000);
    let live = 90_000;
    let key = packet(1, 0);
    out.begin(F, &key, Begin::CatchUp { live });
    let mut last = None;
    for (i, ts) in (0..=90_000u32).step_by(3000).enumerate() {
        let o = media(out.forward(F, &packet(1 + i as u64, ts)));
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
    let next = media(out.forward(F, &packet(32, 93_000)));
    assert_eq!(next.timestamp, 94_000);
}

#[test]
fn another_host_with_any_timestamp_goes_on_where_the_last_ended() {
    let mut out = Forwarder::new(0, 0);
    out.begin(Q, &packet(1, 50_000), Begin::Live);
    out.forward(Q, &packet(1, 50_000));
    out.begin(F, &packet(9, 3_000_000_000), Begin::Live);
    let o = media(out.forward(F, &packet(9, 3_000_000_000)));
    assert_eq!((o.index, o.timestamp), (1, 53_000));
}

#[test]
fn padding_leaves_no_gap() {
    let mut out = Forwarder::new(0, 0);
    out.begin(Q, &packet(1, 0), Begin::Live);
    assert_eq!(media(out.forward(Q, &packet(1, 0))).index, 0);
    out.skip(Q, 2);
    out.skip(Q, 3);
    assert_eq!(media(out.forward(Q, &packet(4, 0))).index, 1);
    assert_eq!(out.sent(1), Some((Q, 4)));
    assert_eq!(out.sent(0), Some((Q, 1)));
}

/// Frame number and active decode targets of what goes out.
fn numbered(out: &mut Forwarder, source: SourceId, packets: &[StoredPacket]) -> Vec<(u16, u32)> {
    let forwarded = packets.iter().filter_map(|p| out.forward(source, p));
    let numbers = forwarded.map(|copied| media(Some(copied)).dependencies.unwrap());
    numbers
        .map(|n| (n.frame_number, n.active_targets))
        .collect()
}

#[test]
fn frame_numbers_go_on_over_a_switch_and_keep_their_differences() {
    let mut out = Forwarder::new(0, 0);
    let (first, second) = (av1(0, 0xfffe), av1(100, 7));
    out.begin(Q, &first[0], Begin::Live);
    let all = 0b111;
    assert_eq!(
        numbered(&mut out, Q, &first),
        [(0xfffe, all), (0xffff, all), (0, all), (1, all)]
    );
    out.begin(F, &second[0], Begin::Live);
    assert_eq!(
        numbered(&mut out, F, &second),
        [(2, all), (3, all), (4, all), (5, all)]
    );
}

#[test]
fn a_viewer_of_fewer_frames_is_told_so_and_others_keep_their_numbers() {
    let mut out = Forwarder::new(0, 0);
    let packets = av1(0, 10);
    out.want(sublayers(0, 1));
    out.begin(Q, &packets[0], Begin::Live);
    assert_eq!(numbered(&mut out, Q, &packets), [(10, 0b11), (12, 0b11)]);
    assert_eq!(
        out.again(Q, &packets[2], 1)
            .map(|c| media(Some(c)).dependencies),
        Some(Some(Numbered {
            frame_number: 12,
            active_targets: 0b11
        }))
    );
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
                _ => if let Some(Copied::Media(o)) = out.forward(*source, &p) {
                    prop_assert!(sent.iter().all(|(s, ..)| s.index != o.index));
                    sent.push((o, *source, p));
                }
            }
        }
        let Some((last, ..)) = sent.last() else { return Ok(()) };
        for (o, source, p) in sent.iter().filter(|(o, ..)| last.index - o.index < 100) {
            // Only what older segments hold may be forgotten.
            if out.sent(o.index as u16) == Some((*source, p.seq)) {
                prop_assert_eq!(out.again(*source, p, o.index as u16), Some(Copied::Media(*o)));
            }
        }
    }
}

/// A packet of a scalable stream.
fn layered(seq: u64, timestamp: u32, layering: Layering, marker: bool) -> StoredPacket {
    let mut p = packet(seq, timestamp);
    p.layering = layering;
    p.marker = marker;
    p
}

/// A frame of a temporal layer in one packet; `builds_on` what it refers to.
fn temporal(seq: u64, temporal: u8, builds_on: u8) -> StoredPacket {
    let layering = Layering {
        temporal,
        builds_on,
        begins: true,
        ends: true,
        ..Layering::default()
    };
    layered(seq, seq as u32 * 3000, layering, true)
}

/// A picture of three spatial layers, each of two packets; its numbers begin at `seq`.
fn picture(seq: u64, is_fresh: bool) -> Vec<StoredPacket> {
    let of = |at: u64| {
        let layering = Layering {
            spatial: (at / 2) as u8,
            is_fresh,
            begins: at.is_multiple_of(2),
            ends: !at.is_multiple_of(2),
            ..Layering::default()
        };
        layered(seq + at, seq as u32 * 500, layering, at == 5)
    };
    (0..6).map(of).collect()
}

fn sublayers(spatial: u8, temporal: u8) -> Sublayers {
    Sublayers { spatial, temporal }
}

/// Numbers and markers of what goes out.
fn sent(out: &mut Forwarder, packets: &[StoredPacket]) -> Vec<(u64, bool)> {
    let forwarded = packets.iter().filter_map(|p| out.forward(Q, p));
    forwarded
        .map(|copied| match copied {
            Copied::Media(o) => (o.index, o.marker),
            Copied::Filler(o) => panic!("filler {o:?}"),
        })
        .collect()
}

#[test]
fn temporal_layers_are_left_out_at_once_without_a_gap() {
    let mut out = Forwarder::new(0, 0);
    let pattern = [(0, 0), (2, 0), (1, 0), (2, 2)];
    let packets: Vec<_> = (0..12)
        .map(|seq| {
            let (t, builds_on) = pattern[seq as usize % 4];
            temporal(seq, t, builds_on)
        })
        .collect();
    out.begin(Q, &packets[0], Begin::Live);
    assert_eq!(sent(&mut out, &packets[..4]).len(), 4);
    out.want(sublayers(0, 0));
    assert_eq!(sent(&mut out, &packets[4..]), [(4, true), (5, true)]);
    assert_eq!(out.sent(4), Some((Q, 4)));
    assert_eq!(out.sent(5), Some((Q, 8)));
}

#[test]
fn a_temporal_layer_is_taken_up_where_it_can_begin_one_after_the_other() {
    let mut out = Forwarder::new(0, 0);
    out.want(sublayers(0, 0));
    out.begin(Q, &temporal(0, 0, 0), Begin::Live);
    assert_eq!(sent(&mut out, &[temporal(0, 0, 0)]).len(), 1);
    out.want(sublayers(0, 2));
    for (p, goes) in [
        (temporal(1, 2, 0), false),
        (temporal(2, 1, 1), false),
        (temporal(3, 0, 0), true),
        (temporal(4, 1, 0), true),
        (temporal(5, 2, 2), false),
        (temporal(6, 2, 1), true),
        (temporal(7, 2, 2), true),
    ] {
        assert_eq!(out.forward(Q, &p).is_some(), goes, "{}", p.seq);
    }
    assert_eq!(out.sublayers(), sublayers(0, 2));
}

#[test]
fn spatial_layers_end_with_the_next_picture_and_its_highest_that_is_sent_ends_it() {
    let mut out = Forwarder::new(0, 0);
    let first = picture(0, true);
    out.begin(Q, &first[0], Begin::Live);
    assert_eq!(sent(&mut out, &first[..4]).len(), 4);
    out.want(sublayers(0, 7));
    assert_eq!(sent(&mut out, &first[4..]), [(4, false), (5, true)]);
    assert_eq!(sent(&mut out, &picture(6, false)), [(6, false), (7, true)]);
    out.want(sublayers(1, 7));
    assert!(out.waits_for_keyframe());
    assert_eq!(sent(&mut out, &picture(12, false)).len(), 2);
    let four = sent(&mut out, &picture(18, true));
    let markers: Vec<_> = four.iter().map(|(_, marker)| *marker).collect();
    assert_eq!(markers, [false, false, false, true]);
    assert!(!out.waits_for_keyframe());
    assert_eq!(four[0].0, 10);
}

#[test]
fn picture_ids_go_on_without_those_left_out() {
    let mut out = Forwarder::new(0, 0);
    let frame = |seq, id, temporal| {
        let mut p = vp8(seq, u32::from(id) * 3000, id, 0);
        p.layering.temporal = temporal;
        p
    };
    let first = frame(0, 0x7ffe, 0);
    out.want(sublayers(0, 0));
    out.begin(Q, &first, Begin::Live);
    let mut ids = vec![media(out.forward(Q, &first)).picture_id];
    // One that is left out has two packets.
    for (seq, id, temporal) in [
        (1, 0x7fff, 1),
        (2, 0x7fff, 1),
        (3, 0, 0),
        (4, 1, 2),
        (5, 2, 0),
    ] {
        let copied = out.forward(Q, &frame(seq, id, temporal));
        if temporal == 0 {
            ids.push(media(copied).picture_id);
        } else {
            assert_eq!(copied, None);
        }
    }
    let ids: Vec<_> = ids.into_iter().flatten().map(|id| id & 0x7fff).collect();
    assert_eq!(ids, [0x7ffe, 0x7fff, 0]);
}

#[test]
fn a_place_that_was_left_for_a_layer_that_is_not_sent_is_filled() {
    let mut out = Forwarder::new(0, 0);
    out.want(sublayers(0, 0));
    out.begin(Q, &temporal(0, 0, 0), Begin::Live);
    assert!(out.forward(Q, &temporal(0, 0, 0)).is_some());
    // 1, 2 and 4 are missing.
    assert_eq!(media(out.forward(Q, &temporal(3, 0, 0))).index, 3);
    assert_eq!(out.forward(Q, &temporal(5, 1, 0)), None);
    assert_eq!(media(out.forward(Q, &temporal(6, 0, 0))).index, 5);
    let late = out.forward(Q, &temporal(1, 1, 0));
    assert!(
        matches!(late, Some(Copied::Filler(o)) if o.index == 1),
        "{late:?}"
    );
    assert_eq!(media(out.forward(Q, &temporal(2, 0, 0))).index, 2);
    let late = out.forward(Q, &temporal(4, 2, 0));
    assert!(
        matches!(late, Some(Copied::Filler(o)) if o.index == 4),
        "{late:?}"
    );
    assert_eq!(out.again(Q, &temporal(4, 2, 0), 4), late);
}

#[test]
fn the_lost_head_of_a_picture_that_is_left_out_is_filled_and_the_tail_of_the_last_is_sent() {
    let mut out = Forwarder::new(0, 0);
    let (first, second) = (picture(0, true), picture(6, false));
    out.begin(Q, &first[0], Begin::Live);
    assert_eq!(sent(&mut out, &first[..5]).len(), 5);
    out.want(sublayers(0, 7));
    // Number 5, of the picture before, and 6, the first of this one, are missing; and so are all
    // of its other layers but the last packet.
    assert_eq!(media(out.forward(Q, &second[1])).index, 7);
    assert_eq!(out.forward(Q, &second[5]), None);
    let tail = media(out.forward(Q, &first[5]));
    assert_eq!((tail.index, tail.marker), (5, true));
    let head = media(out.forward(Q, &second[0]));
    assert_eq!((head.index, head.marker), (6, false));
    for at in [2, 3, 4] {
        let copied = out.forward(Q, &second[at]);
        assert!(matches!(copied, Some(Copied::Filler(o)) if o.index == 6 + at as u64));
    }
}

#[test]
fn what_is_late_of_a_picture_is_of_its_layers_though_they_have_changed_again() {
    let mut out = Forwarder::new(0, 0);
    let (first, second, third) = (picture(0, true), picture(6, false), picture(12, false));
    out.begin(Q, &first[0], Begin::Live);
    assert_eq!(sent(&mut out, &first).len(), 6);
    // All that comes of the second picture in its place is left out, and the layers change with the third.
    out.want(sublayers(1, 7));
    assert_eq!(out.forward(Q, &second[5]), None);
    out.want(sublayers(0, 7));
    assert_eq!(media(out.forward(Q, &third[0])).index, 11);
    assert_eq!(
        sent(&mut out, &second[..4]),
        [(6, false), (7, false), (8, false), (9, true)]
    );
    let upper = out.forward(Q, &second[4]);
    assert!(
        matches!(upper, Some(Copied::Filler(o)) if o.index == 10),
        "{upper:?}"
    );
}

/// What happens next in the life of a thinned stream.
#[derive(Clone, Debug)]
enum Step {
    /// A picture: its temporal layer, whether it is a keyframe, how many packets each of its
    /// spatial layers has.
    Picture(u8, bool, [u8; 3]),
    Want(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let picture = (
        0u8..3,
        prop::bool::weighted(0.1),
        prop::array::uniform3(1u8..3),
    )
        .prop_map(|(t, key, sizes)| Step::Picture(if key { 0 } else { t }, key, sizes));
    let want = (0u8..3, 0u8..3).prop_map(|(s, t)| Step::Want(s, t));
    prop::collection::vec(prop_oneof![4 => picture, 1 => want], 1..60)
}

proptest! {
    /// However packets are disordered and layers changed: every number goes out once, a place that
    /// was left is filled, a frame goes out whole or not at all, and what went out is found again.
    #[test]
    fn thinning_leaves_no_gap_and_no_piece_of_a_frame(steps in steps(), disorder in prop::collection::vec(0usize..5, 1..40)) {
        let mut out = Forwarder::new(0x7ff0, 5);
        let (mut seq, mut timestamp) = (1_000u64, 0u32);
        // What comes in, and the wishes that come in between.
        let mut queue: Vec<Result<StoredPacket, Sublayers>> = Vec::new();
        for step in &steps {
            let Step::Picture(temporal, is_fresh, sizes) = step else {
                let Step::Want(spatial, temporal) = step else { continue };
                queue.push(Err(sublayers(*spatial, *temporal)));
                continue;
            };
            timestamp += 3000;
            for (spatial, size) in sizes.iter().enumerate() {
                for at in 0..*size {
                    let layering = Layering {
                        spatial: spatial as u8,
                        temporal: *temporal,
                        builds_on: 0,
                        is_fresh: *is_fresh,
                        begins: at == 0,
                        ends: at + 1 == *size,
                    };
                    let marker = spatial == 2 && layering.ends;
                    queue.push(Ok(layered(seq, timestamp, layering, marker)));
                    seq += 1;
                }
            }
        }
        // The first packet stays: the viewer begins with it.
        let mut at = 1;
        for by in disorder {
            at += 2;
            if at + by < queue.len() {
                queue.swap(at, at + by);
            }
        }
        let Some(first) = queue.iter().find_map(|e| e.as_ref().ok()).cloned() else { return Ok(()) };
        if first.seq != 1_000 { return Ok(()) }
        out.begin(Q, &first, Begin::Live);
        let mut places = std::collections::BTreeMap::new();
        let mut frames = std::collections::BTreeMap::<(u32, u8), (u32, u32)>::new();
        for event in &queue {
            let packet = match event {
                Err(wanted) => { out.want(*wanted); continue; }
                Ok(packet) => packet,
            };
            let copied = out.forward(Q, packet);
            let frame = frames.entry((packet.timestamp, packet.layering.spatial)).or_default();
            frame.0 += 1;
            if let Some(copied) = copied {
                let (Copied::Media(o) | Copied::Filler(o)) = copied;
                prop_assert!(places.insert(o.index, ()).is_none(), "{} twice", o.index);
                prop_assert_eq!(out.again(Q, packet, o.index as u16), Some(copied));
                frame.1 += u32::from(matches!(copied, Copied::Media(_)));
            }
        }
        let indices: Vec<u64> = places.into_keys().collect();
        prop_assert!(indices.windows(2).all(|w| w[1] == w[0] + 1), "{indices:?}");
        for (frame, (came, went)) in frames {
            prop_assert!(went == 0 || went == came, "{frame:?}: {went} of {came}");
        }
    }
}
