//! A viewer gets what its path carries: the layer follows it down and up, the picture pauses when
//! not even the smallest fits, and sound goes on.

mod peer;
mod support;

use peer::camera::{Camera, FULL};
use peer::viewer::{Viewer, WIDE, hears};
use serde_json::json;
use support::Harness;

#[tokio::test]
async fn a_viewers_layer_follows_its_path() {
    let harness = Harness::new();
    let mut camera = Camera::start(&harness).await;
    let mut viewer = Viewer::on(&harness, WIDE).await;
    camera.shoot(viewer.follows_its_path()).await;
}

#[tokio::test]
async fn the_picture_pauses_and_comes_back_while_sound_goes_on() {
    let harness = Harness::new();
    let mut camera = Camera::start(&harness).await;
    let mut viewer = Viewer::on(&harness, WIDE).await;
    let mut told = viewer.is_told("adaptation").await;
    let show = async {
        viewer.sees(FULL).await;
        viewer.peer.set_path(150_000);
        let pauses = hears(&mut told, "state", json!("paused"));
        let paused = viewer.watches(pauses).await.pop().expect("it");
        assert_eq!(paused["reason"], "network");
        assert!(
            paused["estimateBps"]
                .as_u64()
                .is_some_and(|bps| bps < 300_000)
        );
        let mut sound = 0;
        while sound < 20 {
            let packet = viewer.peer.next_packet().await;
            let answer = &viewer.peer.answer;
            if packet.ssrc != answer.rtx_ssrc && packet.ssrc != answer.ssrc {
                sound += 1;
            }
        }
        viewer.peer.set_path(WIDE);
        let plays = hears(&mut told, "state", json!("playing"));
        let playing = viewer.watches(plays).await.pop().expect("it");
        assert!(playing["rid"].is_string(), "{playing}");
        viewer.sees(FULL).await;
    };
    camera.shoot(show).await;
}
