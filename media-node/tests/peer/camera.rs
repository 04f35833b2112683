//! A host with a camera in three simulcast layers and a microphone, in real time, as a browser
//! sends them: keyframes of all layers when one is asked for.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use super::{Peer, Who, sdp};
use crate::support::Harness;
use showrunner_rtp::packet::HeaderWriter;

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

/// SSRC of the sound; those of the layers follow.
const SSRC: u32 = 0x2000;

/// Which layer a packet is of, by what the camera wrote into it: 0 is the smallest.
pub fn layer_of(payload: &[u8]) -> usize {
    usize::from(payload[payload.len() - 1])
}

/// The host.
pub struct Camera {
    peer: Peer,
    indexes: [u64; 1 + LAYERS.len()],
    frame: u32,
    keyframes_asked: usize,
    key: bool,
}

impl Camera {
    /// Goes on air.
    pub async fn start(harness: &Harness) -> Camera {
        let peer = Peer::with_offer(harness, crate::support::WHIP, Who::anyone(), |ice, who| {
            sdp::publish_simulcast(ice, who, &LAYERS.map(|l| l.rid))
        });
        let mut peer = peer.await;
        peer.connect().await;
        super::show::until_on_air(harness).await;
        Camera {
            peer,
            indexes: [100; 1 + LAYERS.len()],
            frame: 0,
            keyframes_asked: 0,
            key: true,
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
                self.send(0, sound * 960, sdp::OPUS, true, &[0x78; 120])
                    .await;
                sound += 1;
            }
            if next_frame <= now {
                next_frame += FRAME;
                for at in 0..LAYERS.len() {
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
            self.send(1 + at, self.frame * 3000, sdp::VP8, is_last, &payload)
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
        let rid = stream.checked_sub(1).map(|at| LAYERS[at].rid.as_bytes());
        let mid: &[u8] = if rid.is_some() { b"1" } else { b"0" };
        let extensions = [(sdp::MID, mid), (sdp::RID, rid.unwrap_or_default())];
        let extensions = &extensions[..if rid.is_some() { 2 } else { 1 }];
        self.peer
            .send_rtp(&header, extensions, payload, index)
            .await;
    }
}
