//! Descriptors as Chromium 156 sends them with AV1.

use proptest::prelude::*;

use super::super::PayloadInfo;
use super::super::layering::LayerTracker;
use super::*;

/// L3T3_KEY: a keyframe, of which the highest spatial layer is not sent yet; what comes after it.
const L3T3_KEY: [&str; 6] = [
    "c00001c0081485214eaaaaa8000600004000100002aa80a8000600004000100002a000a800060000400016d549241b5\
     524906d54923157e001974ca864330e222396eca8655304224390eca87753013f00b3027f016704ff02cf1f80",
    "850002",
    "450002",
    "c300031a20100800",
    "c800041a20181000",
    "c200051a60201800",
];

/// L3T3: the same where every layer builds on the one below, with fields of the frames' own.
const L3T3: [&str; 4] = [
    "c10001c0081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e08\
     2b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca87753013f00b3027f016704ff02cf\
     1f80",
    "860002",
    "c300031a20100800",
    "c200055ffd30100c0c",
];

/// L1T3.
const L1T3: [&str; 3] = [
    "800001800214eaa860414d1410208427013f00b3",
    "400001",
    "c30002",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|c| digit(c[0]) << 4 | digit(c[1]))
        .collect()
}

/// Each value of a stream with what a forwarder needs of it.
fn placed(stream: &[&str]) -> Vec<(Vec<u8>, Dependencies)> {
    let mut tracker = LayerTracker::default();
    let values = stream.iter().map(|hex| bytes(hex));
    values
        .map(|value| {
            let placed = tracker.place(&PayloadInfo::default(), Some(&value), 0);
            let dependencies = placed.dependencies.unwrap();
            (value, dependencies)
        })
        .collect()
}

fn stored(value: &[u8], dependencies: &Dependencies) -> Vec<u8> {
    let mut out = [0xff; MAX_LEN];
    let len = dependencies.store(value, &mut out).unwrap();
    assert!(len <= value.len() + MAX_GROWTH);
    out[..len].to_vec()
}

#[test]
fn a_structure_tells_the_sizes_and_what_each_target_needs() {
    let value = bytes(L3T3_KEY[0]);
    let descriptor = Descriptor::parse(&value, None).unwrap();
    let structure = descriptor.structure.unwrap();
    let sizes = structure.sizes().unwrap();
    assert_eq!(sizes[..3], [(320, 180), (640, 360), (1280, 720)]);
    let needs = &structure.needs[..usize::from(structure.targets)];
    let expected: Vec<_> = (0..3).flat_map(|s| (0..3).map(move |t| (s, t))).collect();
    assert_eq!(needs, expected);
    assert_eq!(descriptor.active_targets, Some(0b0_0011_1111));
}

#[test]
fn a_copy_says_the_same_but_for_what_was_rewritten() {
    for stream in [&L3T3_KEY[..], &L3T3, &L1T3] {
        let mut known: Option<Structure> = None;
        for (value, dependencies) in placed(stream) {
            let before = Descriptor::parse(&value, known.as_ref()).unwrap();
            let mut copy = stored(&value, &dependencies);
            dependencies.rewrite(&mut copy, 0xabcd, 0b101);
            let after = Descriptor::parse(&copy, known.as_ref()).unwrap();
            assert_eq!(after.frame_number, 0xabcd);
            assert_eq!((after.begins, after.ends), (before.begins, before.ends));
            assert_eq!(after.frame, before.frame);
            assert_eq!(after.structure, before.structure);
            let is_first = before.begins && before.frame.unwrap().spatial == 0;
            let expected = (is_first || before.active_targets.is_some()).then_some(0b101);
            assert_eq!(after.active_targets, expected);
            known = before.structure.or(known);
        }
    }
}

#[test]
fn the_fields_after_the_targets_are_kept() {
    let streams = placed(&L3T3);
    let (value, dependencies) = &streams[2];
    let copy = stored(value, dependencies);
    // The flags: references and chains of its own, as before, and now active targets.
    assert_eq!(value[3] >> 3, 0b00011);
    assert_eq!(copy[3] >> 3, value[3] >> 3 | 0b01000);
    // The rest is the same, nine bits later.
    let rest = |bytes: &[u8], from: usize| {
        let mut bits = Bits::new(bytes);
        for _ in 0..from {
            bits.bit();
        }
        std::iter::from_fn(|| bits.bit())
            .take(8 * value.len() - 29)
            .collect::<Vec<_>>()
    };
    assert_eq!(rest(&copy, 29 + 9), rest(value, 29));
}

#[test]
fn a_viewer_of_fewer_layers_is_told_of_fewer_targets() {
    let streams = placed(&L3T3_KEY);
    let (_, key) = &streams[0];
    // By the sender's own word the three of the highest spatial layer are not there.
    assert_eq!(key.targets_up_to(u8::MAX, u8::MAX), 0b00_0011_1111);
    assert_eq!(key.targets_up_to(1, 1), 0b0_0001_1011);
    assert_eq!(key.targets_up_to(0, 0), 0b1);
    let (_, upper) = &streams[1];
    assert_eq!(
        upper.targets_up_to(0, 0),
        0,
        "of a higher layer, which tells nothing"
    );
    let (_, later) = &streams[3];
    assert_eq!(later.targets_up_to(0, 2), 0b111);
}

#[test]
fn a_stream_that_is_not_known_yet_is_left_as_it_is() {
    let value = bytes(L3T3_KEY[1]);
    let placed = LayerTracker::default().place(&PayloadInfo::default(), Some(&value), 0);
    let dependencies = placed.dependencies.unwrap();
    let mut copy = stored(&value, &dependencies);
    assert_eq!(copy, value);
    dependencies.rewrite(&mut copy, 7, 0);
    assert_eq!(copy, [0x85, 0, 7]);
}

#[test]
fn without_room_nothing_is_stored() {
    let streams = placed(&L1T3);
    let (value, dependencies) = &streams[2];
    assert_eq!(dependencies.store(value, &mut [0; 3]), None);
    assert_eq!(dependencies.store(value, &mut [0; 4]), Some(4));
}

proptest! {
    #[test]
    fn no_value_makes_it_panic(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..260), 1..8), key in any::<bool>()) {
        let mut tracker = LayerTracker::default();
        if key {
            tracker.place(&PayloadInfo::default(), Some(&bytes(L3T3_KEY[0])), 0);
        }
        for value in values.iter().filter(|value| value.len() <= MAX_LEN) {
            let placed = tracker.place(&PayloadInfo::default(), Some(value), 0);
            if let Some(dependencies) = placed.dependencies {
                let mut copy = stored(value, &dependencies);
                dependencies.rewrite(&mut copy, 1, dependencies.targets_up_to(1, 1));
            }
        }
    }
}
