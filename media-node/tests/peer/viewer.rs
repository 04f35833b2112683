//! Somebody who watches a picture in layers: which one they see, what they choose, and what they are told.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::camera::{FULL, HALF, QUARTER, layer_of};
use super::{PATIENCE, Packet, Peer};
use crate::support::{Harness, JSON, Stream};

/// Paths, in bit/s: one carries all layers, one the smallest alone.
pub const WIDE: u64 = 5_000_000;
pub const NARROW: u64 = 400_000;

/// Somebody who watches, and what they saw last.
pub struct Viewer<'a> {
    harness: &'a Harness,
    pub peer: Peer,
    last: Option<Packet>,
}

impl Viewer<'_> {
    /// On a path that carries so much.
    pub async fn on(harness: &Harness, bps: u64) -> Viewer<'_> {
        Viewer::by(harness, Peer::viewer_on(harness, bps).await).await
    }

    /// By a session that is to be connected.
    pub async fn by(harness: &Harness, mut peer: Peer) -> Viewer<'_> {
        peer.connect().await;
        Viewer {
            harness,
            peer,
            last: None,
        }
    }

    /// The next picture of this layer, and how much later its time is than that of the packet before. The time of what
    /// comes until then never runs back.
    pub async fn sees(&mut self, layer: usize) -> u32 {
        loop {
            let packet = self.peer.next_packet().await;
            if packet.ssrc != self.peer.answer.ssrc {
                continue;
            }
            let before = self.last.as_ref().unwrap_or(&packet).timestamp;
            let later = packet.timestamp.wrapping_sub(before);
            assert!(later < 30 * 90_000, "{before} to {}", packet.timestamp);
            let is_it = layer_of(&packet.payload) == Some(layer);
            self.last = Some(packet);
            if is_it {
                return later;
            }
        }
    }

    /// The layer that its path carries, each time that this changes: down, and up again.
    pub async fn follows_its_path(&mut self) {
        self.sees(FULL).await;
        for (bps, layer) in [
            (1_000_000, HALF),
            (350_000, QUARTER),
            (1_200_000, HALF),
            (WIDE, FULL),
        ] {
            self.peer.set_path(bps);
            self.sees(layer).await;
        }
    }

    /// So long that no keyframe is left that is young enough to begin with.
    pub async fn sees_for_long(&mut self, layer: usize) {
        for _ in 0..600 {
            self.sees(layer).await;
        }
    }

    pub async fn chooses(&self, choice: Value) {
        let request = self
            .harness
            .request("POST", &format!("{}/layer", self.peer.url));
        let chosen = request.body(JSON, choice.to_string()).await;
        assert_eq!(chosen.status, StatusCode::OK, "{}", chosen.body);
    }

    /// The events of its session of one type.
    pub async fn is_told(&self, name: &str) -> Stream {
        events(self.harness, &self.peer, name).await
    }

    /// Goes on receiving until something else is done.
    pub async fn watches<T>(&mut self, meanwhile: impl Future<Output = T>) -> T {
        let receive = async {
            loop {
                self.peer.next_packet().await;
            }
        };
        let meanwhile = tokio::time::timeout(PATIENCE, meanwhile);
        tokio::select! {
            done = meanwhile => done.expect("it comes to pass"),
            () = receive => unreachable!("it receives for ever"),
        }
    }
}

/// Events of a session of one type.
pub async fn events(harness: &Harness, peer: &Peer, name: &str) -> Stream {
    let created = harness.request("POST", &format!("{}/events", peer.url));
    let created = created.body(JSON, json!([name]).to_string()).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    harness.request("GET", created.location()).stream().await
}

/// The data of events, until one says this.
pub async fn hears(events: &mut Stream, name: &str, value: Value) -> Vec<Value> {
    let mut heard = Vec::new();
    loop {
        let event = events.next().await.expect("an event");
        let data = event.lines().find_map(|l| l.strip_prefix("data:"));
        let data: Value = serde_json::from_str(data.expect("data").trim()).expect("JSON");
        let is_it = data[name] == value;
        heard.push(data);
        if is_it {
            return heard;
        }
    }
}
