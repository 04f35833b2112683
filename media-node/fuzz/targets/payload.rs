//! The headers of a payload, of any codec; and VP8's, rewritten.
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_rtp::codec::{Codec, inspect, vp8};

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (picture_id, tl0, payload) = input;
    for codec in Codec::ALL {
        let info = inspect(codec, payload);
        let Some(descriptor) = info.vp8 else {
            continue;
        };
        let mut rewritten = payload.to_vec();
        vp8::rewrite(&mut rewritten, &descriptor, Some(picture_id), Some(tl0));
        let again = inspect(Codec::Vp8, &rewritten).vp8.expect("only ids were changed");
        assert_eq!(again.len, descriptor.len);
        if let Some(id) = again.picture_id {
            let mask = if id.long { 0x7fff } else { 0x7f };
            assert_eq!(id.value, picture_id & mask);
        }
        if let Some((_, index)) = again.tl0 {
            assert_eq!(index, tl0);
        }
    }
});
