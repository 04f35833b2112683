//! Published packets of both transforms, and what a session does with strange ones.

use super::cipher::{Cm, Gcm};
use super::*;

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|c| (c as char).to_digit(16))
        .map(|d| d as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80];

/// Both ends of a session.
fn pair(profile: Profile) -> (SrtpKeys, SrtpKeys) {
    let material: Vec<u8> = (0..60).collect();
    let keys = |client| SrtpKeys::from_keying_material(profile, client, &material).unwrap();
    (keys(true), keys(false))
}

/// Keys whose both directions are those that a published example names.
fn example(profile: Profile, key: &str, salt: &str) -> SrtpKeys {
    let material = hex(&[key, key, salt, salt].concat());
    SrtpKeys::from_keying_material(profile, true, &material).unwrap()
}

fn rtp(seq: u16) -> Vec<u8> {
    let mut packet = hex("8060 0000 00000001 cafebabe");
    packet[2..4].copy_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(b"the payload of a packet");
    packet
}

fn sealed(sender: &Sender, seq: u16, index: u64) -> Vec<u8> {
    let mut packet = rtp(seq);
    let len = packet.len();
    packet.resize(len + MAX_OVERHEAD, 0);
    let sealed = sender.seal_rtp(&mut packet, 12, len, index).unwrap();
    packet.truncate(sealed);
    packet
}

/// RFC 7714 §16.1 gives session keys, so this begins below the key derivation.
#[test]
fn gcm_rtp_packet_of_the_rfc() {
    let cipher = Cipher::Gcm(Gcm::new(
        &hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap(),
        hex("517569642070726f2071756f").try_into().unwrap(),
    ));
    let clear = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120
         696e2070 61727465 73207472 6573",
    );
    let mut packet = [clear.as_slice(), &[0; 16]].concat();
    cipher
        .seal_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b)
        .unwrap();
    let expected = hex(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
         42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
    assert_eq!(packet, expected);
    let len = cipher
        .open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b)
        .unwrap();
    assert_eq!(packet[..len], clear);
}

/// RFC 7714 §17.1.
#[test]
fn gcm_rtcp_packet_of_the_rfc() {
    let cipher = Cipher::Gcm(Gcm::new(
        &hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap(),
        hex("517569642070726f2071756f").try_into().unwrap(),
    ));
    let clear = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef
         deadbeef deadbeef deadbeef deadbeef",
    );
    let mut packet = [clear.as_slice(), &[0; 20]].concat();
    cipher
        .seal_rtcp(&mut packet, clear.len(), 0x4d61_7273, 0x5d4)
        .unwrap();
    let expected = hex(
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
         730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
    assert_eq!(packet, expected);
    let len = cipher.open_rtcp(&mut packet, 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(packet[..len], clear);
}

/// The packets that libsrtp's own test driver checks, from the master key on.
#[test]
fn packets_of_libsrtp() {
    let gcm = example(
        Profile::AeadAes128Gcm,
        "000102030405060708090a0b0c0d0e0f",
        "a0a1a2a3a4a5a6a7a8a9aaab",
    );
    let cm = example(
        Profile::Aes128CmHmacSha1_80,
        "e1f97a0d3e018be0d64fa32c06de4139",
        "0ec675ad498afeebb6960b3aabe6",
    );
    for (keys, expected) in [
        (
            &gcm,
            "800f1234 decafbad cafebabe c5002ede 04cfdd2e b91159e0 880aa06e d2976826 f796b201
             df3131a1 27e8a392",
        ),
        (
            &cm,
            "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b
             8dbb",
        ),
    ] {
        let mut packet = [
            hex("800f1234 decafbad cafebabe").as_slice(),
            &[0xab; 16],
            &[0; 16],
        ]
        .concat();
        let len = Sender::new(keys)
            .seal_rtp(&mut packet, 12, 28, 0x1234)
            .unwrap();
        assert_eq!(packet[..len], hex(expected));
    }
    let mut packet = [hex("81c8000b cafebabe").as_slice(), &[0xab; 16], &[0; 20]].concat();
    let len = Sender::new(&gcm).seal_rtcp(&mut packet, 24).unwrap();
    assert_eq!(
        packet[..len],
        hex(
            "81c8000b cafebabe c98b8b5d f0392a55 852b6c21 ac8e7025 c52c6fbe a2b3b446 ea31123b
             a88ce61e 80000001"
        )
    );
}

/// RFC 3711 appendix B.2: the key stream of the counter mode, seen through a payload of zeros.
#[test]
fn counter_mode_key_stream_of_the_rfc() {
    let cipher = Cipher::Cm(Box::new(Cm::new(
        &hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap(),
        &[0; 20],
        hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(),
    )));
    let mut packet = [0; 12 + 48 + CM_TAG];
    cipher.seal_rtp(&mut packet, 12, 0, 0).unwrap();
    assert_eq!(
        packet[12..60],
        hex(
            "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
             41E95B3BB0A2E8DD477901E4FCA894C0"
        )
    );
}
const CM_TAG: usize = 10;

#[test]
fn each_end_opens_what_the_other_sealed() {
    for profile in PROFILES {
        let (client, server) = pair(profile);
        for (from, to) in [(&client, &server), (&server, &client)] {
            let sender = Sender::new(from);
            let receiver = Receiver::new(to);
            let mut stream = StreamState::default();
            // Over the roll-over, with one packet late.
            for index in [65_534, 65_536, 65_535, 65_537_u64] {
                let mut packet = sealed(&sender, index as u16, index);
                let opened = receiver.open_rtp(&mut stream, &mut packet, 12).unwrap();
                assert_eq!(opened.index, index);
                assert_eq!(packet[..opened.len], rtp(index as u16));
            }
        }
    }
}

#[test]
fn a_forged_packet_changes_nothing() {
    for profile in PROFILES {
        let (client, server) = pair(profile);
        let (sender, receiver) = (Sender::new(&client), Receiver::new(&server));
        let mut stream = StreamState::default();
        let mut first = sealed(&sender, 10, 10);
        receiver.open_rtp(&mut stream, &mut first, 12).unwrap();
        for at in 0..sealed(&sender, 11, 11).len() {
            let mut forged = sealed(&sender, 11, 11);
            forged[at] ^= 0x40;
            assert!(
                receiver.open_rtp(&mut stream, &mut forged, 12).is_err(),
                "byte {at}"
            );
        }
        let mut genuine = sealed(&sender, 11, 11);
        assert_eq!(
            receiver
                .open_rtp(&mut stream, &mut genuine, 12)
                .unwrap()
                .index,
            11
        );
        let mut again = sealed(&sender, 11, 11);
        assert_eq!(
            receiver.open_rtp(&mut stream, &mut again, 12),
            Err(SrtpError::Replay)
        );
    }
}

#[test]
fn rtcp_is_opened_once_and_only_if_authentic() {
    let report = hex("81c90007 00000005 00000006 00000000 00000000 00000000 00000000 00000000");
    for profile in PROFILES {
        let (client, server) = pair(profile);
        let (mut sender, mut receiver) = (Sender::new(&client), Receiver::new(&server));
        let mut seal = || {
            let mut packet = report.clone();
            packet.resize(report.len() + MAX_OVERHEAD, 0);
            let len = sender.seal_rtcp(&mut packet, report.len()).unwrap();
            packet.truncate(len);
            packet
        };
        let (first, second) = (seal(), seal());
        for at in 0..second.len() {
            let mut forged = second.clone();
            forged[at] ^= 0x01;
            assert!(receiver.open_rtcp(&mut forged).is_err(), "byte {at}");
        }
        // The second overtook the first.
        for packet in [&second, &first] {
            let mut opened = packet.clone();
            let len = receiver.open_rtcp(&mut opened).unwrap();
            assert_eq!(opened[..len], report);
            assert_eq!(
                receiver.open_rtcp(&mut packet.clone()),
                Err(SrtpError::Replay)
            );
        }
    }
}

#[test]
fn rtcp_sources_are_bounded() {
    let (client, server) = pair(Profile::AeadAes128Gcm);
    let (mut sender, mut receiver) = (Sender::new(&client), Receiver::new(&server));
    let mut open = |ssrc: u32| {
        let mut packet = [hex("80c90001").as_slice(), &ssrc.to_be_bytes(), &[0; 20]].concat();
        let len = sender.seal_rtcp(&mut packet, 8).unwrap();
        receiver.open_rtcp(&mut packet[..len])
    };
    for ssrc in 0..MAX_RTCP_SOURCES as u32 {
        assert_eq!(open(ssrc), Ok(8));
    }
    assert_eq!(open(u32::MAX), Err(SrtpError::TooManySources));
    assert_eq!(open(0), Ok(8));
}

#[test]
fn short_packets_and_buffers_are_refused() {
    for profile in PROFILES {
        let (client, server) = pair(profile);
        let (mut sender, mut receiver) = (Sender::new(&client), Receiver::new(&server));
        for len in 0..22 {
            let mut packet = vec![0x80; len];
            let mut stream = StreamState::default();
            assert_eq!(
                receiver.open_rtp(&mut stream, &mut packet, 12),
                Err(SrtpError::TooShort)
            );
            assert_eq!(
                receiver.open_rtcp(&mut packet[..len.min(21)]),
                Err(SrtpError::TooShort)
            );
        }
        let mut packet = rtp(1);
        let len = packet.len();
        assert_eq!(
            sender.seal_rtp(&mut packet, 12, len, 1),
            Err(SrtpError::TooShort)
        );
        assert_eq!(
            sender.seal_rtp(&mut packet, 12, 4, 1),
            Err(SrtpError::TooShort)
        );
        assert_eq!(
            sender.seal_rtp(&mut packet, 8, 12, 1),
            Err(SrtpError::TooShort)
        );
        assert_eq!(sender.seal_rtcp(&mut packet, len), Err(SrtpError::TooShort));
        packet.resize(len + MAX_OVERHEAD, 0);
        assert_eq!(
            sender.seal_rtp(&mut packet, 12, len, 1 << 48),
            Err(SrtpError::Exhausted)
        );
    }
}

#[test]
fn keys_are_not_printed() {
    let (client, _) = pair(Profile::AeadAes128Gcm);
    let shown = format!(
        "{client:?} {:?} {:?}",
        Sender::new(&client),
        Receiver::new(&client)
    );
    assert_eq!(
        shown,
        "SrtpKeys { profile: AeadAes128Gcm, .. } srtp::Sender { .. } srtp::Receiver { .. }"
    );
}
