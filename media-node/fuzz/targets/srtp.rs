//! Datagrams to SRTP: packets of strangers, and packets of the peer changed on their way, are
//! refused and leave no trace.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use showrunner_transport::srtp::{MAX_OVERHEAD, Profile, Receiver, Sender, SrtpKeys, StreamState};

const HEADER: usize = 12;

static KEYS: LazyLock<[(SrtpKeys, SrtpKeys); 2]> = LazyLock::new(|| {
    [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80].map(|profile| {
        let keys = |client| {
            SrtpKeys::from_keying_material(profile, client, &[7; 60]).expect("enough material")
        };
        (keys(true), keys(false))
    })
});

fuzz_target!(|input: (u8, u64, u16, u8, &[u8])| {
    let (header_len, index, at, flip, packet) = input;
    for (client, server) in KEYS.iter() {
        let mut receiver = Receiver::new(server);
        let mut stream = StreamState::default();
        let mut copy = packet.to_vec();
        assert!(
            receiver
                .open_rtp(&mut stream, &mut copy, header_len.into())
                .is_err()
        );
        assert!(receiver.open_rtcp(&mut packet.to_vec()).is_err());

        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + MAX_OVERHEAD, 0);
        let Ok(len) = Sender::new(client).seal_rtp(&mut sealed, HEADER, packet.len(), index) else {
            continue;
        };
        sealed.truncate(len);
        let mut changed = sealed.clone();
        changed[usize::from(at) % len] ^= flip;
        let opened = receiver.open_rtp(&mut stream, &mut changed, HEADER);
        assert!(flip == 0 || opened.is_err());

        // What wasn't changed opens, if it is at the beginning of its stream.
        let first = index == u64::from(u16::from_be_bytes([sealed[2], sealed[3]]));
        if first && flip != 0 {
            let opened = receiver
                .open_rtp(&mut stream, &mut sealed, HEADER)
                .expect("genuine");
            assert_eq!(sealed[..opened.len], *packet);
        }
    }
});
