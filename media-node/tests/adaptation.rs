//! A viewer gets what its path carries: the layer follows it down and up, the picture pauses when
//! not even the smallest fits, and sound goes on.

mod peer;
mod support;

use axum::http::StatusCode;
use peer::camera::{Camera, layer_of};
use peer::{PATIENCE, Peer};
use serde_json::Value;
use support::{Harness, JSON, Stream};

/// The next picture of this layer.
async fn sees(viewer: &mut Peer, layer: usize) {
    loop {
        let packet = viewer.next_packet().await;
        if packet.ssrc == viewer.answer.ssrc && layer_of(&packet.payload) == layer {
            return;
        }
    }
}

/// The viewer's event stream of what it is sent of the picture.
async fn adaptations(harness: &Harness, viewer: &Peer) -> Stream {
    let path = format!("{}/events", viewer.url);
    let created = harness
        .request("POST", &path)
        .body(JSON, r#"["adaptation"]"#);
    let created = created.await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    harness.request("GET", created.location()).stream().await
}

/// The next event that says so, while the viewer goes on receiving.
async fn is_told(viewer: &mut Peer, events: &mut Stream, state: &str) -> Value {
    let told = async {
        loop {
            let event = events.next().await.expect("an event");
            let data = event.lines().find_map(|l| l.strip_prefix("data:"));
            let data: Value = serde_json::from_str(data.expect("data").trim()).expect("JSON");
            if data["state"] == state {
                return data;
            }
        }
    };
    let receive = async {
        loop {
            viewer.next_packet().await;
        }
    };
    let told = async {
        tokio::select! {
            told = told => told,
            () = receive => unreachable!("it receives for ever"),
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.unwrap_or_else(|_| panic!("the viewer was not told {state}"))
}

#[tokio::test]
async fn a_viewers_layer_follows_its_path() {
    let harness = Harness::new();
    let mut camera = Camera::start(&harness).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let show = async {
        viewer.connect().await;
        sees(&mut viewer, 2).await;
        for (bps, layer) in [(1_000_000, 1), (350_000, 0), (1_200_000, 1), (5_000_000, 2)] {
            viewer.set_path(bps);
            sees(&mut viewer, layer).await;
        }
    };
    camera.shoot(show).await;
}

#[tokio::test]
async fn the_picture_pauses_and_comes_back_while_sound_goes_on() {
    let harness = Harness::new();
    let mut camera = Camera::start(&harness).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let show = async {
        viewer.connect().await;
        let mut events = adaptations(&harness, &viewer).await;
        sees(&mut viewer, 2).await;
        viewer.set_path(150_000);
        let paused = is_told(&mut viewer, &mut events, "paused").await;
        assert_eq!(paused["reason"], "network");
        assert!(
            paused["estimateBps"]
                .as_u64()
                .is_some_and(|bps| bps < 300_000)
        );
        let mut sound = 0;
        while sound < 20 {
            let packet = viewer.next_packet().await;
            if packet.ssrc != viewer.answer.rtx_ssrc && packet.ssrc != viewer.answer.ssrc {
                sound += 1;
            }
        }
        viewer.set_path(5_000_000);
        let playing = is_told(&mut viewer, &mut events, "playing").await;
        assert!(playing["rid"].is_string(), "{playing}");
        sees(&mut viewer, 2).await;
    };
    camera.shoot(show).await;
}
