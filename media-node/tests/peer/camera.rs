//! A host with a camera in three simulcast layers and a microphone, in real time, as a browser
//! sends them: keyframes of all layers when one is asked for. And a host who sends the largest of
//! them alone, and transcoders who send another.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use super::{Peer, Who, sdp};
use crate::support::Harness;
use showrunner_rtp::packet::HeaderWriter;
use showrunner_rtp::reports::NtpTime;
use showrunner_rtp::rtcp;

/// The layers by size.
pub const QUARTER: usize = 0;
pub const HALF: usize = 1;
pub const FULL: usize = 2;

/// A layer: its RID, picture, bytes of a frame, and packets that they make.
struct Layer {
    rid: &'static str,
    size: (u16, u16),
    packets: usize,
    payload: usize,
}

/// 150 kbit/s, 600 kbit/s and 2.4 Mbit/s at 30 frames a second.
const LAYERS: [Layer; 3] = [
    Layer {
        rid: "q",
        size: (320, 180),
        packets: 1,
        payload: 625,
    },
    Layer {
        rid: "h",
        size: (640, 360),
        packets: 3,
        payload: 833,
    },
    Layer {
        rid: "f",
        size: (1280, 720),
        packets: 10,
        payload: 1000,
    },
];

/// A keyframe is so many times as large as another frame.
const KEYFRAME: usize = 6;

const FRAME: Duration = Duration::from_micros(33_333);
const SOUND: Duration = Duration::from_millis(20);

/// Those that a host sends who has no simulcast.
const ALONE: [usize; 1] = [FULL];

/// SSRC of the sound; those of the layers follow.
const SSRC: u32 = 0x2000;

/// Which layer a packet is of, by what the camera wrote into it.
pub fn layer_of(payload: &[u8]) -> usize {
    usize::from(payload[payload.len() - 1])
}

/// The host, or a transcoder.
pub struct Camera {
    peer: Peer,
    indexes: [u64; 1 + LAYERS.len()],
    /// The layers that it sends; only several have names.
    layers: Vec<usize>,
    has_sound: bool,
    frame: u32,
    /// Timestamp of the first frame.
    epoch: u32,
    keyframes_asked: usize,
    key: bool,
}

impl Camera {
    /// Goes on air.
    pub async fn start(harness: &Harness) -> Camera {
        let peer = Peer::with_offer(harness, crate::support::WHIP, Who::anyone(), |ice, who| {
            sdp::publish_simulcast(ice, who, &LAYERS.map(|l| l.rid))
        });
        let camera = Camera::of(peer.await, (0..LAYERS.len()).collect(), true).await;
        super::show::until_on_air(harness).await;
        camera
    }

    /// Goes on air with the largest layer alone.
    pub async fn start_alone(harness: &Harness) -> Camera {
        let peer = Peer::with_offer(harness, crate::support::WHIP, Who::anyone(), |ice, who| {
            sdp::publish_simulcast(ice, who, &[])
        });
        let camera = Camera::of(peer.await, ALONE.to_vec(), true).await;
        super::show::until_on_air(harness).await;
        camera
    }

    /// Adds these layers to what a host has on air; `harness` shows that it may.
    pub async fn transcode(harness: &Harness, layers: &[usize]) -> Camera {
        let rids: Vec<&str> = layers.iter().map(|at| LAYERS[*at].rid).collect();
        let offer = |ice: &_, who| match layers {
            [_] => sdp::publish(ice, who),
            _ => sdp::publish_layers(ice, who, &rids),
        };
        let peer = Peer::with_offer(harness, crate::support::WHIP, Who::anyone(), offer);
        let mut camera = Camera::of(peer.await, layers.to_vec(), false).await;
        // It numbers and times as it likes.
        camera.epoch = 0xffff_0000;
        camera
    }

    async fn of(mut peer: Peer, layers: Vec<usize>, has_sound: bool) -> Camera {
        peer.connect().await;
        Camera {
            peer,
            indexes: [100; 1 + LAYERS.len()],
            layers,
            has_sound,
            epoch: 0,
            frame: 0,
            keyframes_asked: 0,
            key: true,
        }
    }

    /// Its session.
    pub fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    /// How often it was asked for a keyframe.
    pub fn keyframes_asked(&self) -> usize {
        self.peer.keyframes_asked
    }

    /// Reports, as often as it takes to be believed, that the next frame is taken then.
    pub async fn report(&mut self, taken: NtpTime) {
        let stream = 1 + self.layers.last().expect("a layer");
        let timestamp = self.epoch.wrapping_add(self.frame * 3000);
        for tenths in (0..4).rev() {
            let mut buffer = [0; 128];
            let mut writer = rtcp::Writer::new(&mut buffer);
            let ntp = NtpTime(taken.0 - (u64::from(tenths) << 32) / 10);
            let at = timestamp.wrapping_sub(tenths * 9000);
            writer
                .sender_report(SSRC + stream as u32, ntp, at, 0, 0)
                .expect("there is room");
            let len = writer.finish();
            self.peer.send_rtcp(&buffer[..len]).await;
        }
    }

    /// Sends while something else goes on.
    pub async fn shoot<T>(&mut self, meanwhile: impl Future<Output = T>) -> T {
        tokio::select! {
            done = meanwhile => done,
            never = self.run() => match never {},
        }
    }

    async fn run(&mut self) -> Infallible {
        let (mut next_frame, mut next_sound) = (Instant::now(), Instant::now());
        let mut sound = 0;
        loop {
            let now = Instant::now();
            if next_sound <= now {
                next_sound += SOUND;
                if self.has_sound {
                    self.send(0, sound * 960, sdp::OPUS, true, &[0x78; 120])
                        .await;
                }
                sound += 1;
            }
            if next_frame <= now {
                next_frame += FRAME;
                for at in self.layers.clone() {
                    self.send_frame(at).await;
                }
                self.frame += 1;
                self.key = false;
            }
            let until = next_frame.min(next_sound);
            self.peer.step_until(until).await;
            let asked = self.peer.keyframes_asked;
            self.key |= asked > std::mem::replace(&mut self.keyframes_asked, asked);
        }
    }

    async fn send_frame(&mut self, at: usize) {
        let layer = &LAYERS[at];
        let packets = layer.packets * if self.key { KEYFRAME } else { 1 };
        let (width, height) = layer.size;
        for n in 0..packets {
            let mut payload = vec![0; layer.payload];
            payload[0] = if n == 0 { 0x10 } else { 0 };
            payload[1] = u8::from(!self.key);
            if n == 0 && self.key {
                payload[4..7].copy_from_slice(&[0x9d, 0x01, 0x2a]);
                payload[7..9].copy_from_slice(&width.to_le_bytes());
                payload[9..11].copy_from_slice(&height.to_le_bytes());
            }
            payload[layer.payload - 1] = at as u8;
            let is_last = n + 1 == packets;
            let timestamp = self.epoch.wrapping_add(self.frame * 3000);
            self.send(1 + at, timestamp, sdp::VP8, is_last, &payload)
                .await;
        }
    }

    /// Sends a packet of the sound (0) or of a layer.
    async fn send(
        &mut self,
        stream: usize,
        timestamp: u32,
        payload_type: u8,
        marker: bool,
        payload: &[u8],
    ) {
        let index = self.indexes[stream];
        self.indexes[stream] += 1;
        let header = HeaderWriter {
            marker,
            payload_type,
            sequence_number: index as u16,
            timestamp,
            ssrc: SSRC + stream as u32,
        };
        let named = stream.checked_sub(1).filter(|_| self.layers.len() > 1);
        let rid = named.map(|at| LAYERS[at].rid.as_bytes());
        let mid: &[u8] = if rid.is_some() { b"1" } else { b"0" };
        let extensions = [(sdp::MID, mid), (sdp::RID, rid.unwrap_or_default())];
        let extensions = &extensions[..if rid.is_some() { 2 } else { 1 }];
        self.peer
            .send_rtp(&header, extensions, payload, index)
            .await;
    }
}
