//! A host who sends one layer, transcoders who add smaller ones, and viewers who get whichever their paths carry.

mod peer;
mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use media_node::http::{HttpConfig, Token};
use peer::camera::{Camera, FULL, HALF, QUARTER};
use peer::show::until_ended;
use peer::viewer::{NARROW, Viewer, WIDE, events, hears};
use peer::{Peer, Who, sdp};
use serde_json::json;
use showrunner_rtp::reports::NtpTime;
use support::{HOST, Harness, SDP, WHIP};

const SECRET: &str = "for transcoders";

/// The node, to people and to transcoders.
struct Stage {
    people: Harness,
    transcoders: Harness,
}

impl Stage {
    fn on_shards(shards: usize) -> Stage {
        let config = HttpConfig {
            transcode_token: Some(Token::new(SECRET)),
            ..HttpConfig::default()
        };
        let people = Harness::on_shards(shards, config, 100);
        let transcoders = people.showing(|_| SECRET.to_owned());
        Stage {
            people,
            transcoders,
        }
    }

    async fn host(&self) -> Camera {
        Camera::start_alone(&self.people).await
    }

    async fn transcoder(&self, layers: &[usize]) -> Camera {
        Camera::transcode(&self.transcoders, layers).await
    }

    async fn viewer(&self, bps: u64) -> Viewer<'_> {
        Viewer::on(&self.people, bps).await
    }

    fn rids(&self) -> Vec<String> {
        let layers = self.people.node.status().rooms.remove(0).layers;
        layers.into_iter().map(|layer| layer.rid).collect()
    }

    async fn until_on_air(&self, rids: &[&str]) {
        self.people.until(|_| self.rids() == rids).await;
    }
}

/// A host with one layer, a transcoder of the smallest, and the node that they are on.
async fn show_with_a_rung(shards: usize) -> (Stage, Camera, Camera) {
    let stage = Stage::on_shards(shards);
    let host = stage.host().await;
    let rung = stage.transcoder(&[QUARTER]).await;
    (stage, host, rung)
}

async fn leave(harness: &Harness, peer: &Peer) {
    let left = harness.request("DELETE", &peer.url).send().await;
    assert_eq!(left.status, StatusCode::OK, "{}", left.body);
}

#[tokio::test]
async fn a_viewers_layer_follows_its_path_down_the_ladder_and_up() {
    let stage = Stage::on_shards(1);
    let mut host = stage.host().await;
    let mut half = stage.transcoder(&[HALF]).await;
    let mut quarter = stage.transcoder(&[QUARTER]).await;
    let mut viewer = stage.viewer(WIDE).await;
    let show = viewer.follows_its_path();
    host.shoot(half.shoot(quarter.shoot(show))).await;
    assert_eq!(stage.rids(), ["", "t.1", "t.2"]);
}

#[tokio::test]
async fn one_transcoder_may_send_several_layers() {
    let stage = Stage::on_shards(1);
    let mut host = stage.host().await;
    let mut rungs = stage.transcoder(&[QUARTER, HALF]).await;
    let mut viewer = stage.viewer(WIDE).await;
    let mut told = events(&stage.transcoders, rungs.peer(), "wanted").await;
    let show = async {
        let all = stage.until_on_air(&["", "t.1.h", "t.1.q"]);
        viewer.watches(all).await;
        for (rid, layer) in [("t.1.h", HALF), ("t.1.q", QUARTER), ("", FULL)] {
            viewer.chooses(json!({ "rid": rid })).await;
            viewer.sees(layer).await;
        }
        viewer.chooses(json!({ "maxWidth": 400 })).await;
        let smallest = hears(&mut told, "rids", json!(["q"]));
        viewer.watches(smallest).await;
    };
    host.shoot(rungs.shoot(show)).await;
}

/// A viewer is on a rung that then goes, and on again.
async fn a_rung_goes_and_comes_back(shards: usize) {
    let (stage, mut host, mut rung) = show_with_a_rung(shards).await;
    let mut viewer = stage.viewer(WIDE).await;
    let show = async {
        viewer.sees(FULL).await;
        viewer.chooses(json!({ "maxWidth": 400 })).await;
        viewer.sees(QUARTER).await;
    };
    host.shoot(rung.shoot(show)).await;
    leave(&stage.transcoders, rung.peer()).await;
    host.shoot(viewer.sees(FULL)).await;
    assert_eq!(stage.rids(), [""]);
    let mut rung = host.shoot(stage.transcoder(&[QUARTER])).await;
    host.shoot(rung.shoot(viewer.sees(QUARTER))).await;
}

#[tokio::test]
async fn viewers_of_a_rung_that_goes_go_on_with_the_hosts_layer() {
    a_rung_goes_and_comes_back(1).await;
}

#[tokio::test]
async fn so_do_those_on_another_shard() {
    a_rung_goes_and_comes_back(2).await;
}

#[tokio::test]
async fn whose_path_carries_the_rung_alone_pauses_when_it_goes() {
    let (stage, mut host, mut rung) = show_with_a_rung(1).await;
    let mut viewer = stage.viewer(NARROW).await;
    let mut told = viewer.is_told("adaptation").await;
    host.shoot(rung.shoot(viewer.sees(QUARTER))).await;
    leave(&stage.transcoders, rung.peer()).await;
    let pauses = hears(&mut told, "state", json!("paused"));
    host.shoot(viewer.watches(pauses)).await;
    let mut rung = host.shoot(stage.transcoder(&[QUARTER])).await;
    let plays = hears(&mut told, "rid", json!("t.1"));
    host.shoot(rung.shoot(viewer.watches(plays))).await;
}

#[tokio::test]
async fn a_keyframe_is_asked_for_from_who_sends_the_layer() {
    let (stage, mut host, mut rung) = show_with_a_rung(1).await;
    let mut viewer = stage.viewer(WIDE).await;
    host.shoot(rung.shoot(viewer.sees_for_long(FULL))).await;
    for (rid, layer, expected) in [("t.1", QUARTER, (0, 1)), ("", FULL, (1, 0))] {
        let before = (host.keyframes_asked(), rung.keyframes_asked());
        let show = async {
            viewer.chooses(json!({ "rid": rid })).await;
            viewer.sees(layer).await;
        };
        host.shoot(rung.shoot(show)).await;
        let asked = (
            host.keyframes_asked() - before.0,
            rung.keyframes_asked() - before.1,
        );
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn pictures_of_all_layers_have_the_times_that_they_were_taken_at() {
    let (stage, mut host, mut rung) = show_with_a_rung(1).await;
    let mut viewer = stage.viewer(WIDE).await;
    host.shoot(rung.shoot(viewer.sees(FULL))).await;
    // The host's clock is anything, the transcoder's the node's. Two seconds have gone by before it sends a picture.
    host.report(NtpTime(1000 << 32)).await;
    rung.report(NtpTime(ntp_now().0 - (2 << 32))).await;
    let show = async {
        viewer.sees_for_long(FULL).await;
        viewer.chooses(json!({ "rid": "t.1" })).await;
        for _ in 0..10 {
            viewer.sees(QUARTER).await;
        }
        viewer.chooses(json!({ "rid": "" })).await;
        viewer.sees(FULL).await
    };
    let step = host.shoot(rung.shoot(show)).await;
    // By when they came, it would be a frame or two.
    assert!(step > 150_000, "{step}");
}

fn ntp_now() -> NtpTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("after 1970");
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    NtpTime(((since.as_secs() + 2_208_988_800) << 32) | fraction)
}

#[tokio::test]
async fn who_encodes_the_picture_anew_gets_the_hosts_own_on_any_path() {
    let (stage, mut host, mut rung) = show_with_a_rung(1).await;
    let mut taker = Viewer::on(&stage.transcoders, WIDE).await;
    let mut told = taker.is_told("adaptation").await;
    let show = async {
        taker.sees(FULL).await;
        taker.peer.set_path(NARROW);
        let pauses = hears(&mut told, "state", json!("paused"));
        taker.watches(pauses).await
    };
    let heard = host.shoot(rung.shoot(show)).await;
    // Everybody else would be on the rung.
    assert!(heard.iter().all(|said| said["rid"] != "t.1"), "{heard:?}");
}

#[tokio::test]
async fn a_transcoder_is_told_which_of_its_layers_somebody_wants() {
    let stage = Stage::on_shards(1);
    let mut host = stage.host().await;
    let mut half = stage.transcoder(&[HALF]).await;
    let mut quarter = stage.transcoder(&[QUARTER]).await;
    let mut viewer = stage.viewer(WIDE).await;
    let mut told = events(&stage.transcoders, half.peer(), "wanted").await;
    let mut also = events(&stage.transcoders, quarter.peer(), "wanted").await;
    let show = async {
        viewer.chooses(json!({ "maxWidth": 400 })).await;
        viewer.watches(hears(&mut told, "rids", json!([]))).await;
        viewer.watches(hears(&mut also, "rids", json!([""]))).await;
        viewer.chooses(json!({ "maxWidth": 700 })).await;
        viewer.watches(hears(&mut told, "rids", json!([""]))).await;
    };
    host.shoot(half.shoot(quarter.shoot(show))).await;
}

#[tokio::test]
async fn the_ladder_goes_with_the_host_and_may_come_again_with_the_next() {
    let (stage, mut host, mut rung) = show_with_a_rung(1).await;
    host.shoot(rung.shoot(stage.until_on_air(&["", "t.1"])))
        .await;
    leave(&stage.people, host.peer()).await;
    until_ended(&stage.people, rung.peer()).await;
    let early = stage.transcoders.request("POST", WHIP);
    let early = early.body(SDP, alone()).await;
    early.is_problem(409, "nobody is on air");
    assert!(early.has("retry-after"));
    let mut host = stage.host().await;
    let mut rung = stage.transcoder(&[QUARTER]).await;
    host.shoot(rung.shoot(stage.until_on_air(&["", "t.1"])))
        .await;
}

/// An offer of one picture, in VP8.
fn alone() -> String {
    let who = Who::anyone();
    sdp::publish(
        &showrunner_transport::IceCredentials::generate(),
        who.announced,
    )
}

#[tokio::test]
async fn a_transcoder_that_can_add_nothing_is_told_why() {
    let stage = Stage::on_shards(1);
    let mut host = stage.host().await;
    let offer = |offer: String| stage.transcoders.request("POST", WHIP).body(SDP, offer);
    offer(HOST.to_owned()).await.is_problem(422, "no audio");
    let h264 = alone().replace(" VP8/90000", " H264/90000").replace(
        "a=rtcp-rsize",
        "a=fmtp:98 packetization-mode=1\r\na=rtcp-rsize",
    );
    offer(h264).await.is_problem(422, "offer VP8");
    for _ in 0..4 {
        assert_eq!(offer(alone()).await.status, StatusCode::CREATED);
    }
    let full = offer(alone()).await;
    full.is_problem(409, "4 layers");
    assert!(full.has("retry-after"));
    // They are let in as what they are, and leave the host alone.
    leave(&stage.people, host.peer()).await;
}
