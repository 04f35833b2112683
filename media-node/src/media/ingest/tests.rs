//! A host's packets by SRTP, as they may come: in layers, lost, again, strange.

use std::time::Duration;

use showrunner_rtp::codec::layering::LayerTracker;
use showrunner_rtp::codec::{Codec, PayloadInfo};
use showrunner_rtp::packet::HeaderWriter;
use showrunner_rtp::red;
use showrunner_rtp::rtcp::{Packet, Writer, packets};
use showrunner_sdp::{ExtensionIds, IceParameters, NegotiatedCodec, Remote, Setup};
use showrunner_transport::srtp::{MAX_OVERHEAD, Profile, Sender, SrtpKeys};

use super::binding::MAX_STREAMS;
use super::*;
use crate::media::packet::StoredPacket;

const VP8: u8 = 96;
const RTX: u8 = 97;
const OPUS: u8 = 111;
const RED: u8 = 63;
const RID: u8 = 10;
const REPAIRED: u8 = 11;
const TWCC: u8 = 4;
const RTT: Duration = Duration::from_millis(50);

fn codec(codec: Codec, payload_type: u8, rtx: Option<u8>) -> NegotiatedCodec {
    NegotiatedCodec {
        codec,
        payload_type,
        rtx_payload_type: rtx,
        red_payload_type: (codec == Codec::Opus).then_some(RED),
        fmtp: String::new(),
    }
}

fn publishing(rids: &[&str]) -> Publishing {
    let track = |mid: &str, codec, rids: &[&str]| RecvTrack {
        mid: mid.into(),
        codecs: vec![codec],
        extensions: ExtensionIds {
            rid: Some(RID),
            repaired_rid: Some(REPAIRED),
            transport_cc: Some(TWCC),
            ..ExtensionIds::default()
        },
        rids: rids.iter().map(|rid| (*rid).into()).collect(),
    };
    Publishing {
        remote: Remote {
            ice: IceParameters::new("abcd", "0123456789012345678901").unwrap(),
            fingerprint: [0; 32],
            setup: Setup::ActPass,
            knows_gcm: false,
        },
        audio: Some(track("0", codec(Codec::Opus, OPUS, None), &[])),
        video: Some(track("1", codec(Codec::Vp8, VP8, Some(RTX)), rids)),
    }
}

/// A host, and the node's end of its session.
struct Host {
    sender: Sender,
    receiver: Receiver,
    ingest: Ingest,
    now: Instant,
}

/// What became of a packet, by what it says.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    /// Track, RID, number, last byte of the payload.
    Media(Track, String, u64, u8),
    Padding(u64),
    Dropped(Dropped),
}

impl From<Result<Ingested<'_>, Dropped>> for Got {
    fn from(result: Result<Ingested<'_>, Dropped>) -> Got {
        match result {
            Ok(Ingested::Media(media)) => Got::Media(
                media.track,
                media.rid.to_string(),
                media.seq,
                *media.payload.last().unwrap(),
            ),
            Ok(Ingested::Padding { seq, .. }) => Got::Padding(seq),
            Err(dropped) => Got::Dropped(dropped),
        }
    }
}

impl Host {
    fn with_layers(rids: &[&str]) -> Host {
        let keys = |client| {
            let profile = Profile::AeadAes128Gcm;
            SrtpKeys::from_keying_material(profile, client, &[7; 56]).unwrap()
        };
        let now = Instant::now();
        Host {
            sender: Sender::new(&keys(true)),
            receiver: Receiver::new(&keys(false)),
            ingest: Ingest::new(&publishing(rids), 3, now),
            now,
        }
    }

    fn sealed(&self, ssrc: u32, pt: u8, seq: u16, named: &[(u8, &[u8])], body: &[u8]) -> Vec<u8> {
        let header = HeaderWriter {
            marker: true,
            payload_type: pt,
            sequence_number: seq,
            timestamp: u32::from(seq) * 3000,
            ssrc,
        };
        let mut packet = vec![0; 100 + body.len() + MAX_OVERHEAD];
        let header_len = header.write_with(&mut packet, named).unwrap();
        let len = header_len + body.len();
        packet[header_len..len].copy_from_slice(body);
        let sealed = self
            .sender
            .seal_rtp(&mut packet, header_len, len, seq.into());
        packet.truncate(sealed.unwrap());
        packet
    }

    fn take(&mut self, mut datagram: Vec<u8>) -> Got {
        let (now, arrival) = (self.now, self.now);
        Got::from(
            self.ingest
                .on_rtp(now, arrival, &mut datagram, &self.receiver),
        )
    }

    fn sends(&mut self, ssrc: u32, pt: u8, seq: u16, named: &[(u8, &[u8])], body: &[u8]) -> Got {
        let datagram = self.sealed(ssrc, pt, seq, named, body);
        self.take(datagram)
    }

    /// Sends frames of sound in one packet, the last its own: (age in timestamp units, frame). What
    /// comes out: the packet, and (number, timestamp, last byte) of what was lost before.
    fn sends_redundantly(
        &mut self,
        seq: u16,
        frames: &[(u32, &[u8])],
    ) -> (Got, Vec<(u64, u32, u8)>) {
        let block = |(offset, frame): &(u32, &'static [u8])| red::Block {
            payload_type: OPUS,
            offset: *offset,
            frame,
        };
        let frames: Vec<(u32, &'static [u8])> = frames
            .iter()
            .map(|(offset, frame)| (*offset, frame.to_vec().leak() as &'static [u8]))
            .collect();
        let (own, older) = frames.split_last().unwrap();
        let mut body = [0; 500];
        let len = red::write(&mut body, older.iter().map(block), block(own)).unwrap();
        let mut datagram = self.sealed(30, RED, seq, &[], &body[..len]);
        let (now, arrival) = (self.now, self.now);
        let got = Got::from(
            self.ingest
                .on_rtp(now, arrival, &mut datagram, &self.receiver),
        );
        let mut recovered = Vec::new();
        while let Some(media) = self.ingest.next_recovered(&datagram) {
            assert_eq!((media.track, media.codec), (Track::Audio, Codec::Opus));
            recovered.push((media.seq, media.timestamp, *media.payload.last().unwrap()));
        }
        (got, recovered)
    }

    /// Asks for what is missing: (SSRC, numbers).
    fn asked(&mut self) -> Vec<(u32, Vec<u16>)> {
        let mut buffer = [0; 1200];
        let mut writer = Writer::new(&mut buffer);
        self.ingest.write_nacks(self.now, RTT, &mut writer).unwrap();
        let len = writer.finish();
        packets(&buffer[..len])
            .map(|packet| match packet.unwrap() {
                Packet::Nack {
                    media_ssrc,
                    entries,
                    ..
                } => (media_ssrc, entries.collect()),
                _ => panic!("nothing else was written"),
            })
            .collect()
    }
}

fn video(rid: &str, seq: u64, last: u8) -> Got {
    Got::Media(Track::Video, rid.into(), seq, last)
}

#[test]
fn layers_are_told_apart_by_rid_and_stay_so_when_it_is_no_longer_sent() {
    let mut host = Host::with_layers(&["q", "h"]);
    assert_eq!(
        host.sends(10, VP8, 1, &[(RID, b"q")], b"x"),
        video("q", 1, b'x')
    );
    assert_eq!(
        host.sends(20, VP8, 9, &[(RID, b"h")], b"y"),
        video("h", 9, b'y')
    );
    assert_eq!(host.sends(10, VP8, 2, &[], b"z"), video("q", 2, b'z'));
    let sources = [10, 20].map(|ssrc| {
        let stream = host.ingest.streams.iter().find(|s| s.ssrc == ssrc);
        stream.unwrap().source
    });
    assert_eq!(
        sources.map(|source| host.ingest.ssrc_of(source)),
        [Some(10), Some(20)]
    );
}

#[test]
fn without_simulcast_the_payload_type_says_it() {
    let mut host = Host::with_layers(&[]);
    assert_eq!(host.sends(10, VP8, 1, &[], b"x"), video("", 1, b'x'));
    let sound = Got::Media(Track::Audio, String::new(), 5, b's');
    assert_eq!(host.sends(30, OPUS, 5, &[], b"s"), sound);
}

#[test]
fn a_stream_that_does_not_say_which_layer_it_is_is_dropped() {
    let mut host = Host::with_layers(&["q", "h"]);
    for (pt, named) in [
        (VP8, &[][..]),
        (VP8, &[(RID, &b"other"[..])]),
        (VP8, &[(REPAIRED, b"q")]),
        (RTX, &[(RID, b"q")]),
        (98, &[(RID, b"q")]),
    ] {
        assert_eq!(
            host.sends(10, pt, 1, named, b"x"),
            Got::Dropped(Dropped::Unknown)
        );
    }
    assert!(host.ingest.streams.is_empty());
}

#[test]
fn nothing_is_remembered_of_a_stream_that_is_not_authentic() {
    let mut host = Host::with_layers(&[]);
    let mut forged = host.sealed(10, VP8, 1, &[], b"x");
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(host.take(forged), Got::Dropped(Dropped::Unauthentic));
    assert!(host.ingest.streams.is_empty());
    assert_eq!(host.sends(10, VP8, 1, &[], b"x"), video("", 1, b'x'));
    let again = Got::Dropped(Dropped::Unauthentic);
    assert_eq!(host.sends(10, VP8, 1, &[], b"x"), again, "a replay");
}

#[test]
fn streams_are_bounded() {
    let mut host = Host::with_layers(&[]);
    let taken = (0..100)
        .filter(|ssrc| host.sends(*ssrc, VP8, 1, &[], b"x") == video("", 1, b'x'))
        .count();
    assert_eq!(taken, MAX_STREAMS);
}

#[test]
fn what_is_missing_is_asked_for_and_its_retransmission_takes_its_place() {
    let mut host = Host::with_layers(&["q", "h"]);
    host.sends(10, VP8, 1, &[(RID, b"q")], b"x");
    host.sends(20, VP8, 1, &[(RID, b"h")], b"y");
    host.sends(20, VP8, 4, &[], b"y");
    assert_eq!(host.asked(), [(20, vec![2, 3])]);
    assert_eq!(host.asked(), [], "not again at once");

    // The first retransmission says which layer it repairs; later ones need not.
    let repaired = host.sends(21, RTX, 1, &[(REPAIRED, b"h")], b"\0\x02m");
    assert_eq!(repaired, video("h", 2, b'm'));
    host.now += RTT;
    assert_eq!(host.asked(), [(20, vec![3])]);
    assert_eq!(host.sends(21, RTX, 2, &[], b"\0\x03n"), video("h", 3, b'n'));
    host.now += RTT;
    assert_eq!(host.asked(), []);
    let counters = host.ingest.take_counters();
    assert_eq!((counters.recovered, counters.nacked), (2, 3));
}

#[test]
fn numbers_are_found_across_the_wrap() {
    let mut host = Host::with_layers(&[]);
    host.sends(10, VP8, 65_534, &[], b"x");
    let datagram = {
        let header = HeaderWriter {
            marker: true,
            payload_type: VP8,
            sequence_number: 1,
            timestamp: 0,
            ssrc: 10,
        };
        let mut packet = vec![0; 13 + MAX_OVERHEAD];
        header.write(&mut packet).unwrap();
        let len = host.sender.seal_rtp(&mut packet, 12, 13, 65_537);
        packet.truncate(len.unwrap());
        packet
    };
    assert!(matches!(host.take(datagram), Got::Media(_, _, 65_537, _)));
    assert_eq!(host.asked(), [(10, vec![65_535, 0])]);
    let repaired = host.sends(11, RTX, 1, &[], b"\xff\xffm");
    assert_eq!(repaired, video("", 65_535, b'm'));
    assert_eq!(
        host.sends(11, RTX, 2, &[], b"\0\0n"),
        video("", 65_536, b'n')
    );
}

#[test]
fn retransmissions_of_what_is_there_and_probes_are_not_forwarded() {
    let mut host = Host::with_layers(&[]);
    let redundant = Got::Dropped(Dropped::Redundant);
    let early = host.sends(11, RTX, 1, &[], b"\0\x01x");
    assert_eq!(early, redundant, "of no stream");
    host.sends(10, VP8, 1, &[], b"x");
    for (seq, body) in [(2, &b"\0\x01x"[..]), (3, b"\0\x07x"), (4, b"\0"), (5, b"")] {
        assert_eq!(host.sends(11, RTX, seq, &[], body), redundant);
    }
    assert_eq!(host.ingest.take_counters().recovered, 0);
}

#[test]
fn padding_is_not_lost() {
    let mut host = Host::with_layers(&[]);
    host.sends(10, VP8, 1, &[], b"x");
    assert_eq!(host.sends(10, VP8, 2, &[], b""), Got::Padding(2));
    host.sends(10, VP8, 3, &[], b"x");
    assert_eq!(host.asked(), []);
}

#[test]
fn sound_is_not_asked_for_again() {
    let mut host = Host::with_layers(&[]);
    host.sends(30, OPUS, 1, &[], b"s");
    host.sends(30, OPUS, 3, &[], b"s");
    assert_eq!(host.asked(), []);
}

/// A frame of 20 ms.
const TOC: u8 = 31 << 3;
/// Its length in timestamp units.
const FRAME: u32 = 960;

fn sound(seq: u64, last: u8) -> Got {
    Got::Media(Track::Audio, String::new(), seq, last)
}

#[test]
fn lost_sound_comes_with_the_packets_after_it() {
    let mut host = Host::with_layers(&[]);
    assert_eq!(host.sends(30, OPUS, 1, &[], &[TOC, b'a']), sound(1, b'a'));
    // Of 2 to 4, 2 and 3 are lost; 4 brings both, and what had come before.
    let frames = [
        (3 * FRAME, &[TOC, b'a'][..]),
        (2 * FRAME, &[TOC, b'b']),
        (FRAME, &[TOC, b'c']),
        (0, &[TOC, b'd']),
    ];
    let (own, lost) = host.sends_redundantly(4, &frames);
    assert_eq!(own, sound(4, b'd'));
    let at = 4 * 3000;
    assert_eq!(
        lost,
        [(2, at - 2 * FRAME, b'b'), (3, at - FRAME, b'c')],
        "the oldest first"
    );
    assert_eq!(host.ingest.take_counters().recovered, 2);
    let (own, lost) = host.sends_redundantly(5, &[(FRAME, &[TOC, b'd']), (0, &[TOC, b'e'])]);
    assert_eq!((own, lost), (sound(5, b'e'), vec![]));
}

#[test]
fn redundant_sound_whose_number_is_unsure_is_left_alone() {
    let mut host = Host::with_layers(&[]);
    host.sends(30, OPUS, 1, &[], &[TOC, b'a']);
    // The sender paused between the two: who knows how many numbers it took meanwhile.
    let apart = [(3 * FRAME, &[TOC, b'b'][..]), (0, &[TOC, b'd'])];
    assert_eq!(host.sends_redundantly(4, &apart), (sound(4, b'd'), vec![]));
    let empty = [(FRAME, &[][..]), (0, &[TOC, b'e'])];
    assert_eq!(host.sends_redundantly(6, &empty), (sound(6, b'e'), vec![]));
}

#[test]
fn more_redundancy_than_anybody_sends_is_read_from_its_end() {
    let mut host = Host::with_layers(&[]);
    host.sends(30, OPUS, 1, &[], &[TOC, b'a']);
    let frames: Vec<(u32, &[u8])> = (0..20)
        .rev()
        .map(|n| (n * FRAME, &[TOC, b'x'][..]))
        .collect();
    let (own, lost) = host.sends_redundantly(20, &frames);
    assert_eq!(own, sound(20, b'x'));
    let numbers: Vec<u64> = lost.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(numbers, (13..20).collect::<Vec<_>>());
}

#[test]
fn sound_that_is_no_redundant_packet_is_dropped() {
    let mut host = Host::with_layers(&[]);
    host.sends(30, OPUS, 1, &[], &[TOC, b'a']);
    let malformed = Got::Dropped(Dropped::Malformed);
    assert_eq!(host.sends(30, RED, 2, &[], &[0x80 | OPUS, 0]), malformed);
    let other = host.sends(30, RED, 3, &[], &[9, TOC, b'a']);
    assert_eq!(other, Got::Dropped(Dropped::Unknown));
    assert_eq!(host.sends(30, RED, 4, &[], &[]), Got::Padding(4));
    assert_eq!(
        host.sends(30, RED, 5, &[], &[OPUS, TOC, b'c']),
        sound(5, b'c')
    );
}

#[test]
fn every_arrival_counts_for_the_bandwidth_whatever_it_brought() {
    let mut host = Host::with_layers(&[]);
    let number = |n: u16| n.to_be_bytes();
    host.sends(10, VP8, 1, &[(TWCC, &number(100))], b"x");
    host.sends(30, OPUS, 1, &[(TWCC, &number(101))], b"s");
    // A probe of nothing but padding, by retransmission.
    host.sends(11, RTX, 1, &[(TWCC, &number(103))], b"");
    let mut buffer = [0; 1200];
    let mut writer = Writer::new(&mut buffer);
    host.ingest.write_transport_cc(5, &mut writer).unwrap();
    assert_eq!(writer.room(), 1200, "four are not five");
    host.ingest.write_transport_cc(1, &mut writer).unwrap();
    let len = writer.finish();
    let Some(Ok(Packet::TransportCc(feedback))) = packets(&buffer[..len]).next() else {
        panic!("feedback");
    };
    let mut seen = Vec::new();
    feedback
        .arrivals(|seq, arrival| seen.push((seq, arrival.is_some())))
        .unwrap();
    assert_eq!(seen, [(100, true), (101, true), (102, false), (103, true)]);
}

/// Viewers of an edge are sent what those of the origin are.
#[test]
fn a_link_brings_the_dependency_descriptors_of_av1() {
    // Of L1T3 as Chromium sends it: a keyframe's, with the structure, and those of three frames after it.
    let values: [&[u8]; 4] = [
        &[
            0x80, 0, 1, 0x80, 0x02, 0x14, 0xea, 0xa8, 0x60, 0x41, 0x4d, 0x14, 0x10, 0x20, 0x84,
            0x27, 0x01, 0x3f, 0x00, 0xb3,
        ],
        &[0xc3, 0, 2],
        &[0xc2, 0, 3],
        &[0xc4, 0, 4],
    ];
    let keys = |is_client| {
        let profile = Profile::AeadAes128Gcm;
        SrtpKeys::from_keying_material(profile, is_client, &[7; 56]).unwrap()
    };
    let (sender, receiver) = (Sender::new(&keys(true)), Receiver::new(&keys(false)));
    let now = Instant::now();
    let (mut host, mut edge) = (LayerTracker::default(), Ingest::of_link(now));
    for (at, value) in (0u16..).zip(values) {
        let payload = [7; 100];
        let mut here = StoredPacket::empty(now);
        here.codec = Codec::Av1;
        here.seq = at.into();
        assert!(here.set_payload(&payload));
        let placed = host.place(&PayloadInfo::default(), Some(value), 0);
        assert!(here.set_dependencies(placed.dependencies.unwrap(), value));
        let head = link::Head {
            ssrc: 7,
            rid: "",
            index: 100 + u64::from(at),
            transport_number: at,
        };
        let mut out = [0; link::MAX_PACKET];
        let len = link::write(&mut out, head, &here, &sender).unwrap();
        let taken = edge.on_rtp(now, now, &mut out[..len], &receiver);
        let Ok(Ingested::Media(media)) = taken else {
            panic!("{taken:?}");
        };
        let mut there = StoredPacket::empty(now);
        assert!(there.set_payload(media.payload));
        let (dependencies, value) = media.dependencies.unwrap();
        assert!(there.set_dependencies(dependencies, value));
        for temporal in 0..3 {
            let [origin, edge] = [&here, &there].map(|packet| {
                let (dependencies, value) = packet.dependencies().unwrap();
                let targets = dependencies.targets_up_to(0, temporal);
                let mut own = value.to_vec();
                dependencies.rewrite(&mut own, 900 + at, targets);
                (dependencies.frame_number, targets, own)
            });
            assert_eq!(origin, edge, "frame {at} up to layer {temporal}");
            assert_ne!(origin.1, 0);
        }
    }
}
