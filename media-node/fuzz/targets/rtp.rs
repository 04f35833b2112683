//! An RTP packet, before and after decryption: header, extensions, payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use showrunner_rtp::packet::{Header, is_rtcp, payload};

fuzz_target!(|packet: &[u8]| {
    let _ = is_rtcp(packet);
    let Ok(header) = Header::parse(packet) else {
        return;
    };
    assert!(header.len <= packet.len());
    for (_, value) in header.extensions(packet) {
        assert!(value.len() <= packet.len());
    }
    // What the shard does with RTX (RFC 4588): the first two bytes are the original number.
    if let Ok(payload) = payload(packet, &header) {
        assert!(payload.len() + header.len <= packet.len());
        let _ = payload.split_first_chunk::<2>();
    }
    // A header that was read from one buffer is never used on a shorter one by mistake, but must
    // not panic there.
    for cut in [0, packet.len() / 2] {
        let _ = header.extensions(&packet[..cut]).count();
        let _ = showrunner_rtp::packet::payload(&packet[..cut], &header);
    }
});
