//! A host who sends one layer, transcoders who add smaller ones, and viewers who get whichever their paths carry.

mod peer;
mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use media_node::http::{HttpConfig, Token};
use media_node::node::Node;
use peer::camera::{Camera, layer_of};
use peer::show::until_ended;
use peer::{Packet, Peer, Who, sdp};
use serde_json::{Value, json};
use showrunner_rtp::reports::NtpTime;
use support::{Answer, HOST, Harness, JSON, SDP, Stream, WHIP};

const SECRET: &str = "for transcoders";

fn config() -> HttpConfig {
    HttpConfig {
        transcode_token: Some(Token::new(SECRET)),
        ..HttpConfig::default()
    }
}

/// The node, and the same to transcoders.
fn node_on(shards: usize) -> (Harness, Harness) {
    let harness = Harness::on_shards(shards, config(), 100);
    let transcoders = harness.showing(|_| SECRET.to_owned());
    (harness, transcoders)
}

/// The next picture of this layer. The time of what comes until then never runs back.
async fn sees(viewer: &mut Peer, last: &mut Option<Packet>, layer: usize) {
    loop {
        let packet = viewer.next_packet().await;
        if packet.ssrc != viewer.answer.ssrc {
            continue;
        }
        if let Some(last) = last.as_ref() {
            let later = packet.timestamp.wrapping_sub(last.timestamp);
            assert!(
                later < 10 * 90_000,
                "{} to {}",
                last.timestamp,
                packet.timestamp
            );
        }
        let is_it = layer_of(&packet.payload) == layer;
        *last = Some(packet);
        if is_it {
            return;
        }
    }
}

async fn choose(harness: &Harness, viewer: &Peer, choice: Value) -> Answer {
    let request = harness.request("POST", &format!("{}/layer", viewer.url));
    request.body(JSON, choice.to_string()).await
}

async fn leave(harness: &Harness, url: &str) {
    let left = harness.request("DELETE", url).send().await;
    assert_eq!(left.status, StatusCode::OK, "{}", left.body);
}

/// Events of a session of one type.
async fn events(harness: &Harness, url: &str, name: &str) -> Stream {
    let created = harness.request("POST", &format!("{url}/events"));
    let created = created.body(JSON, json!([name]).to_string()).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    harness.request("GET", created.location()).stream().await
}

/// The data of events, until some are so.
async fn hears(events: &mut Stream, is_it: impl Fn(&Value) -> bool) {
    loop {
        let event = events.next().await.expect("an event");
        let data = event.lines().find_map(|l| l.strip_prefix("data:"));
        let data: Value = serde_json::from_str(data.expect("data").trim()).expect("JSON");
        if is_it(&data) {
            return;
        }
    }
}

/// A viewer goes on receiving while something else goes on.
async fn watching<T>(viewer: &mut Peer, meanwhile: impl Future<Output = T>) -> T {
    let receive = async {
        loop {
            viewer.next_packet().await;
        }
    };
    tokio::select! {
        done = meanwhile => done,
        () = receive => unreachable!("it receives for ever"),
    }
}

fn rids(node: &Node) -> Vec<String> {
    let layers = node.status().rooms.remove(0).layers;
    layers.into_iter().map(|layer| layer.rid).collect()
}

#[tokio::test]
async fn a_viewers_layer_follows_its_path_down_the_ladder_and_up() {
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut half = Camera::transcode(&transcoders, 1).await;
    let mut quarter = Camera::transcode(&transcoders, 0).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let show = async {
        viewer.connect().await;
        let mut last = None;
        sees(&mut viewer, &mut last, 2).await;
        for (bps, layer) in [(1_000_000, 1), (350_000, 0), (1_200_000, 1), (5_000_000, 2)] {
            viewer.set_path(bps);
            sees(&mut viewer, &mut last, layer).await;
        }
    };
    host.shoot(half.shoot(quarter.shoot(show))).await;
    assert_eq!(rids(&harness.node), ["", "t.1", "t.2"]);
}

#[tokio::test]
async fn one_transcoder_may_send_several_layers() {
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut rungs = Camera::transcode_all(&transcoders, &[0, 1]).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let mut told = events(&transcoders, &rungs.peer().url, "wanted").await;
    let show = async {
        viewer.connect().await;
        let mut last = None;
        for (rid, layer) in [("t.1.h", 1), ("t.1.q", 0), ("", 2)] {
            let there = harness.until(|node| rids(node).iter().any(|known| known == rid));
            watching(&mut viewer, there).await;
            let chosen = choose(&harness, &viewer, json!({ "rid": rid })).await;
            assert_eq!(chosen.status, StatusCode::OK, "{}", chosen.body);
            sees(&mut viewer, &mut last, layer).await;
        }
        choose(&harness, &viewer, json!({ "maxWidth": 400 })).await;
        let smallest = hears(&mut told, |data| data["rids"] == json!(["q"]));
        watching(&mut viewer, smallest).await;
    };
    host.shoot(rungs.shoot(show)).await;
}

/// A viewer is on a rung that then goes, and on again.
async fn a_rung_goes_and_comes_back(shards: usize) {
    let (harness, transcoders) = node_on(shards);
    let mut host = Camera::start_alone(&harness).await;
    let mut rung = Camera::transcode(&transcoders, 0).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let mut last = None;
    let show = async {
        viewer.connect().await;
        sees(&mut viewer, &mut last, 2).await;
        let chosen = choose(&harness, &viewer, json!({ "maxWidth": 400 })).await;
        assert_eq!(chosen.status, StatusCode::OK, "{}", chosen.body);
        sees(&mut viewer, &mut last, 0).await;
    };
    host.shoot(rung.shoot(show)).await;
    leave(&transcoders, &rung.peer().url).await;
    host.shoot(sees(&mut viewer, &mut last, 2)).await;
    assert_eq!(rids(&harness.node), [""]);
    let mut rung = host.shoot(Camera::transcode(&transcoders, 0)).await;
    host.shoot(rung.shoot(sees(&mut viewer, &mut last, 0)))
        .await;
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
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut rung = Camera::transcode(&transcoders, 0).await;
    let mut viewer = Peer::viewer_on(&harness, 400_000).await;
    let mut last = None;
    let mut told = None;
    let show = async {
        viewer.connect().await;
        told = Some(events(&harness, &viewer.url, "adaptation").await);
        sees(&mut viewer, &mut last, 0).await;
    };
    host.shoot(rung.shoot(show)).await;
    leave(&transcoders, &rung.peer().url).await;
    let told = told.as_mut().expect("events");
    let pauses = hears(told, |data| data["state"] == "paused");
    host.shoot(watching(&mut viewer, pauses)).await;
    let mut rung = host.shoot(Camera::transcode(&transcoders, 0)).await;
    let plays = hears(told, |data| data["rid"] == "t.1");
    host.shoot(rung.shoot(watching(&mut viewer, plays))).await;
}

#[tokio::test]
async fn a_keyframe_is_asked_for_from_who_sends_the_layer() {
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut rung = Camera::transcode(&transcoders, 0).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let mut last = None;
    let show = async {
        viewer.connect().await;
        // So that no keyframe is left that is young enough to begin with.
        for _ in 0..600 {
            sees(&mut viewer, &mut last, 2).await;
        }
    };
    host.shoot(rung.shoot(show)).await;
    for (rid, layer) in [("t.1", 0), ("", 2)] {
        let before = (host.keyframes_asked(), rung.keyframes_asked());
        let show = async {
            let chosen = choose(&harness, &viewer, json!({ "rid": rid })).await;
            assert_eq!(chosen.status, StatusCode::OK, "{}", chosen.body);
            sees(&mut viewer, &mut last, layer).await;
        };
        host.shoot(rung.shoot(show)).await;
        let asked = (
            host.keyframes_asked() - before.0,
            rung.keyframes_asked() - before.1,
        );
        assert_eq!(asked, if layer == 0 { (0, 1) } else { (1, 0) });
    }
}

#[tokio::test]
async fn pictures_of_all_layers_have_the_times_that_they_were_taken_at() {
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut rung = Camera::transcode(&transcoders, 0).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let mut last = None;
    host.shoot(rung.shoot(viewer.connect())).await;
    host.shoot(rung.shoot(sees(&mut viewer, &mut last, 2)))
        .await;
    // The host's clock is anything, the transcoder's the node's. Two seconds have gone by before it sends a picture.
    host.report(NtpTime(1000 << 32)).await;
    rung.report(NtpTime(ntp_now().0 - (2 << 32))).await;
    let show = async {
        // So that no keyframe is left that is young enough to begin with.
        for _ in 0..600 {
            sees(&mut viewer, &mut last, 2).await;
        }
        choose(&harness, &viewer, json!({ "rid": "t.1" })).await;
        for _ in 0..10 {
            sees(&mut viewer, &mut last, 0).await;
        }
        choose(&harness, &viewer, json!({ "rid": "" })).await;
        loop {
            let before = last.as_ref().map_or(0, |packet| packet.timestamp);
            let packet = viewer.next_packet().await;
            if packet.ssrc != viewer.answer.ssrc {
                continue;
            }
            if layer_of(&packet.payload) == 2 {
                return packet.timestamp.wrapping_sub(before);
            }
            last = Some(packet);
        }
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
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut rung = Camera::transcode(&transcoders, 0).await;
    let mut taker = Peer::viewer_on(&transcoders, 5_000_000).await;
    let mut told = None;
    let show = async {
        taker.connect().await;
        told = Some(events(&transcoders, &taker.url, "adaptation").await);
        sees(&mut taker, &mut None, 2).await;
        taker.set_path(400_000);
        let told = told.as_mut().expect("events");
        // Everybody else would be on the rung.
        let pauses = hears(told, |data| {
            assert_ne!(data["rid"], "t.1");
            data["state"] == "paused"
        });
        watching(&mut taker, pauses).await;
    };
    host.shoot(rung.shoot(show)).await;
}

#[tokio::test]
async fn a_transcoder_is_told_which_of_its_layers_somebody_wants() {
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut half = Camera::transcode(&transcoders, 1).await;
    let mut quarter = Camera::transcode(&transcoders, 0).await;
    let mut viewer = Peer::viewer_on(&harness, 5_000_000).await;
    let mut told = events(&transcoders, &half.peer().url, "wanted").await;
    let mut also = events(&transcoders, &quarter.peer().url, "wanted").await;
    let show = async {
        viewer.connect().await;
        choose(&harness, &viewer, json!({ "maxWidth": 400 })).await;
        let not_wanted = async {
            hears(&mut told, |data| data["rids"] == json!([])).await;
            hears(&mut also, |data| data["rids"] == json!([""])).await;
        };
        watching(&mut viewer, not_wanted).await;
        choose(&harness, &viewer, json!({ "maxWidth": 700 })).await;
        let wanted = hears(&mut told, |data| data["rids"] == json!([""]));
        watching(&mut viewer, wanted).await;
    };
    host.shoot(half.shoot(quarter.shoot(show))).await;
}

#[tokio::test]
async fn the_ladder_goes_with_the_host_and_may_come_again_with_the_next() {
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let mut rung = Camera::transcode(&transcoders, 0).await;
    let both = harness.until(|node| rids(node) == ["", "t.1"]);
    host.shoot(rung.shoot(both)).await;
    leave(&harness, &host.peer().url).await;
    until_ended(&harness, rung.peer()).await;
    let early = transcoders.request("POST", WHIP).body(SDP, alone()).await;
    early.is_problem(409, "nobody is on air");
    assert!(early.has("retry-after"));
    let mut host = Camera::start_alone(&harness).await;
    let mut rung = Camera::transcode(&transcoders, 0).await;
    let both = harness.until(|node| rids(node) == ["", "t.1"]);
    host.shoot(rung.shoot(both)).await;
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
    let (harness, transcoders) = node_on(1);
    let mut host = Camera::start_alone(&harness).await;
    let offer = |offer: String| transcoders.request("POST", WHIP).body(SDP, offer);
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
    leave(&harness, &host.peer().url).await;
}
