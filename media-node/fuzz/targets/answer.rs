//! What a server answers to the offer of a node that is a viewer of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_sdp::{Codec, read_pull_answer};

fuzz_target!(|text: &str| {
    for codecs in [&[][..], &[Codec::Vp8, Codec::H264]] {
        match read_pull_answer(text, codecs) {
            Ok(pulling) => {
                assert!((1..=8).contains(&pulling.candidates.len()));
                let tracks = [&pulling.publishing.audio, &pulling.publishing.video];
                for track in tracks.into_iter().flatten() {
                    assert_eq!(track.codecs.len(), 1);
                    assert!(track.rids.is_empty());
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
