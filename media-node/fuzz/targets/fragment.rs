//! A piece of SDP that a session gets later (RFC 8840).
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_sdp::fragment::Fragment;

fuzz_target!(|text: &str| {
    match Fragment::parse(text) {
        Ok(fragment) => {
            assert!(
                fragment.ice.is_some()
                    || fragment.end_of_candidates
                    || !fragment.candidates.is_empty()
                    || text.contains("a=candidate")
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
