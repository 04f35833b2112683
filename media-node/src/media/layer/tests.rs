//! A layer that packets come into, of one picture and of a scalable one.

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
