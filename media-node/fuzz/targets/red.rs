//! Redundant audio (RFC 2198) of a publisher: what is read is within the packet, and writes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_rtp::red::{Block, blocks, write};

fuzz_target!(|payload: &[u8]| {
    let Ok(all) = blocks(payload) else {
        return;
    };
    let all: Vec<Block<'_>> = all.collect();
    let Some((own, older)) = all.split_last() else {
        panic!("a packet has a frame of its own");
    };
    let mut out = vec![0; payload.len()];
    let len = write(&mut out, older.iter().copied(), *own).expect("no more than was read");
    let again: Vec<Block<'_>> = blocks(&out[..len]).expect("what was written").collect();
    assert_eq!(all, again);
});
