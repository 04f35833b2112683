//! Dependency descriptors one after the other, as a publisher may send them: what is stored for
//! viewers says the same as what came, but for what is rewritten.
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_rtp::codec::PayloadInfo;
use showrunner_rtp::codec::dependency::{MAX_GROWTH, MAX_LEN};
use showrunner_rtp::codec::layering::{LayerTracker, Placed};

fuzz_target!(|values: Vec<(u32, u8, u8, &[u8])>| {
    let (mut sent, mut received) = (LayerTracker::default(), LayerTracker::default());
    let info = PayloadInfo::default();
    for (timestamp, spatial, temporal, value) in values {
        if value.len() > MAX_LEN {
            continue;
        }
        let placed = sent.place(&info, Some(value), timestamp);
        let Some(dependencies) = placed.dependencies else {
            // The receiver would not be sent it.
            assert_eq!(placed, Placed::default());
            continue;
        };
        let mut room = [0xff; MAX_LEN];
        let len = dependencies.store(value, &mut room).expect("it fits any extension");
        assert!(len <= value.len() + MAX_GROWTH);
        let copy = &mut room[..len];
        let targets = dependencies.targets_up_to(spatial, temporal);
        assert_eq!(targets & !dependencies.targets_up_to(u8::MAX, u8::MAX), 0);
        dependencies.rewrite(copy, dependencies.frame_number, targets);
        let again = received.place(&info, Some(copy), timestamp);
        assert_eq!((again.layering, again.sizes), (placed.layering, placed.sizes));
        let written = again.dependencies.expect("what was written can be read");
        assert_eq!(written.frame_number, dependencies.frame_number);
        assert_eq!(written.targets_up_to(spatial, temporal), targets);
    }
});
