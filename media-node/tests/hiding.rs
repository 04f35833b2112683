//! What a viewer's losses are hidden with, and a host's.

mod peer;
mod support;

use media_node::http::HttpConfig;
use peer::sdp::{self, OPUS, PLAYOUT_DELAY, RED};
use peer::show::until_on_air;
use peer::{Packet, Peer, Who};
use showrunner_rtp::packet::HeaderWriter;
use showrunner_rtp::red::{Block, blocks, write};
use showrunner_rtp::reports::NtpTime;
use showrunner_rtp::rtcp::{Delay, Extended, ReportBlock, Writer};
use showrunner_transport::IceCredentials;
use support::{Harness, WHEP, WHIP};

/// A frame of 20 ms, first byte of it.
const TOC: u8 = 31 << 3;
const FRAME: u32 = 960;
const SOUND_SSRC: u32 = 0x5678;

/// A host and a viewer, with sound and picture.
struct Show {
    _harness: Harness,
    host: Peer,
    viewer: Peer,
}

impl Show {
    async fn begin() -> Show {
        let harness = Harness::with(HttpConfig::default());
        let mut host = join(&harness, WHIP, sdp::publish).await;
        until_on_air(&harness).await;
        host.send_frame(0).await;
        host.check().await;
        let mut viewer = join(&harness, WHEP, sdp::watch).await;
        assert_eq!(viewer.next_packet().await.number(), 0);
        Show {
            _harness: harness,
            host,
            viewer,
        }
    }

    /// The host sends frames of sound, each one byte of its own, in one packet: the last is the
    /// packet's own.
    async fn send_sound(&mut self, number: u16, frames: &[u8]) {
        let header = HeaderWriter {
            marker: false,
            payload_type: if frames.len() > 1 { RED } else { OPUS },
            sequence_number: number,
            timestamp: u32::from(number) * FRAME,
            ssrc: SOUND_SSRC,
        };
        let frames: Vec<[u8; 2]> = frames.iter().map(|byte| [TOC, *byte]).collect();
        let block = |(age, frame): (usize, &'static [u8; 2])| Block {
            payload_type: OPUS,
            offset: age as u32 * FRAME,
            frame,
        };
        let frames: &'static [[u8; 2]] = frames.leak();
        let (own, older) = frames.split_last().expect("a frame");
        let mut payload = own.to_vec();
        if !older.is_empty() {
            let ages = (1..=older.len()).rev().zip(older);
            let mut room = [0; 200];
            let len = write(&mut room, ages.map(block), block((0, own))).expect("there is room");
            payload = room[..len].to_vec();
        }
        self.host
            .send_rtp(&header, &[], &payload, number.into())
            .await;
    }

    /// The viewer reports that it loses so much, of packets up to this one.
    async fn report(&mut self, fraction_lost: u8, highest_seq: u32) {
        let block = ReportBlock {
            ssrc: self.viewer.answer.ssrc,
            fraction_lost,
            highest_seq,
            ..ReportBlock::default()
        };
        self.rtcp(|writer| writer.receiver_report(1, &[block]).expect("room"))
            .await;
    }

    /// The viewer sends RTCP, and waits until the node has dealt with it.
    async fn rtcp(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer);
        let len = writer.finish();
        self.viewer.send_rtcp(&buffer[..len]).await;
        self.viewer.check().await;
    }

    /// The viewer loses three of ten packets, and says so.
    async fn lose_much(&mut self) {
        self.report(0, 1).await;
        self.report(77, 1001).await;
    }
}

async fn join(
    harness: &Harness,
    endpoint: &str,
    offer: fn(&IceCredentials, showrunner_transport::Fingerprint) -> String,
) -> Peer {
    let with_sound = |local: &IceCredentials, print| sdp::with_sound(offer(local, print));
    let mut peer = Peer::with_offer(harness, endpoint, Who::anyone(), with_sound).await;
    peer.connect().await;
    peer
}

/// The frames of a packet of sound: age in packets, and the byte of each.
fn frames(packet: &Packet) -> Vec<(u32, u8)> {
    match packet.payload_type {
        OPUS => vec![(0, packet.payload[1])],
        RED => blocks(&packet.payload)
            .expect("blocks")
            .map(|block| (block.offset / FRAME, block.frame[1]))
            .collect(),
        other => panic!("{other} is no sound"),
    }
}

#[tokio::test]
async fn a_viewer_that_loses_sound_gets_it_more_than_once() {
    let mut show = Show::begin().await;
    for (number, byte) in (1..).zip(b"abcd") {
        show.send_sound(number, &[*byte]).await;
        let packet = show.viewer.next_packet().await;
        assert_eq!(frames(&packet), [(0, *byte)], "once on a clean path");
    }
    show.lose_much().await;
    show.send_sound(5, b"e").await;
    let packet = show.viewer.next_packet().await;
    let expected = [(3, b'b'), (2, b'c'), (1, b'd'), (0, b'e')];
    assert_eq!(frames(&packet), expected);
}

#[tokio::test]
async fn sound_that_the_host_lost_comes_with_its_next_packet() {
    let mut show = Show::begin().await;
    show.send_sound(1, b"a").await;
    assert_eq!(frames(&show.viewer.next_packet().await), [(0, b'a')]);
    show.send_sound(3, b"bc").await;
    let mut came = [
        show.viewer.next_packet().await,
        show.viewer.next_packet().await,
    ];
    came.sort_by_key(|packet| packet.seq);
    assert_eq!(came[1].seq, came[0].seq + 1);
    assert_eq!(came.map(|p| frames(&p)), [[(0, b'b')], [(0, b'c')]]);
}

#[tokio::test]
async fn a_viewer_that_loses_is_told_to_hold_pictures_back() {
    let mut show = Show::begin().await;
    let told = |packet: &Packet| {
        let mut bounds = packet
            .extensions
            .iter()
            .filter(|(id, _)| *id == PLAYOUT_DELAY);
        bounds.next().map(|(_, value)| value.clone())
    };
    show.host.send_frame(1).await;
    assert_eq!(told(&show.viewer.next_packet().await), None);
    show.lose_much().await;
    show.host.send_frame(2).await;
    let bounds = told(&show.viewer.next_packet().await).expect("bounds");
    let least = u32::from(bounds[0]) << 4 | u32::from(bounds[1]) >> 4;
    assert!((10..=50).contains(&least), "{least} times 10 ms");
}

#[tokio::test]
async fn what_is_asked_for_twice_at_once_is_sent_once() {
    let mut show = Show::begin().await;
    show.host.send_frame(1).await;
    let seq = show.viewer.next_packet().await.seq;
    for _ in 0..3 {
        show.viewer.nack(&[seq]).await;
    }
    show.viewer.check().await;
    let again = show.viewer.next_packet().await;
    assert_eq!(again.ssrc, show.viewer.answer.rtx_ssrc);
    assert_eq!(show.viewer.waiting_packet(), None);
}

#[tokio::test]
async fn a_viewer_learns_the_round_trip() {
    let mut show = Show::begin().await;
    let time = NtpTime(0x1122_3344_5566_7788);
    show.rtcp(|writer| writer.reference_time(77, time).expect("room"))
        .await;
    let expected = Delay {
        ssrc: 77,
        last_rr: time.middle(),
        delay: 0,
    };
    assert_eq!(show.viewer.next_extended().await, Extended::Delay(expected));
}

#[tokio::test]
async fn a_host_is_asked_how_far_it_is_away() {
    let mut show = Show::begin().await;
    let asked = show.host.next_extended().await;
    assert!(matches!(asked, Extended::ReferenceTime(_)), "{asked:?}");
}
