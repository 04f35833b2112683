//! A room on two shards: its host on one, viewers on the other, who notice nothing of it.

mod peer;
mod support;

use axum::http::StatusCode;
use media_node::http::HttpConfig;
use peer::show::{Show, until_ended, until_on_air};
use peer::{PATIENCE, Peer, Who};
use support::{Harness, JSON};

/// Viewers go to the shard with the fewest sessions: the first to the other one than the host.
fn two() -> Harness {
    Harness::on_shards(2, HttpConfig::default(), 100)
}

async fn on_air() -> (Harness, Peer) {
    let harness = two();
    let mut host = Peer::host(&harness, Who::anyone()).await;
    host.connect().await;
    until_on_air(&harness).await;
    (harness, host)
}

/// A viewer on another port, and so on another shard, than the host.
async fn viewer_away(harness: &Harness, host: &Peer) -> Peer {
    let mut viewer = Peer::viewer(harness, Who::anyone()).await;
    assert_ne!(viewer.node, host.node);
    viewer.connect().await;
    viewer
}

async fn leave(harness: &Harness, peer: &Peer) {
    let left = harness.request("DELETE", &peer.url).send().await;
    assert_eq!(left.status, StatusCode::OK);
    until_ended(harness, peer).await;
}

#[tokio::test]
async fn a_viewer_on_another_shard_gets_everything_in_order() {
    let mut show = Show::on(two(), Who::anyone(), Who::anyone()).await;
    assert_ne!(show.host.node, show.viewer.node);
    show.carry(3000).await;
}

#[tokio::test]
async fn a_viewer_on_another_shard_starts_on_the_keyframe_stored_at_the_hosts() {
    let (harness, mut host) = on_air().await;
    host.send_frame(0).await;
    host.send_frame(1).await;
    host.check().await;
    for next in [32, 64] {
        let mut viewer = viewer_away(&harness, &host).await;
        assert_eq!(viewer.next_packet().await.number(), next - 32);
        host.send_frame(next).await;
        // What came after the stored keyframe follows, if that is not too long ago.
        while viewer.next_packet().await.number() != next {}
        // The other shard forgets the room with its last viewer, and takes it up anew.
        leave(&harness, &viewer).await;
    }
}

#[tokio::test]
async fn what_another_shard_has_stored_is_shown_at_once_and_not_at_its_pace() {
    let (harness, mut host) = on_air().await;
    for number in 0..=20 {
        host.send_frame(number).await;
    }
    host.check().await;
    let mut viewer = viewer_away(&harness, &host).await;
    let first = viewer.next_packet().await;
    assert_eq!(first.number(), 0);
    let newest = loop {
        let packet = viewer.next_packet().await;
        if packet.number() == 20 {
            break packet;
        }
    };
    // It took two thirds of a second. Whoever was told so would show it for as long, and all to come as late.
    let later = newest.timestamp.wrapping_sub(first.timestamp);
    assert!((1..3000).contains(&later), "{later} ticks later");
}

#[tokio::test]
async fn a_layer_that_was_silent_when_a_shard_took_up_the_room_is_seen_there_later() {
    let (harness, mut host) = on_air().await;
    host.send_frame(0).await;
    until_active(&harness, true).await;
    until_active(&harness, false).await;
    let mut viewer = viewer_away(&harness, &host).await;
    host.send_frame(32).await;
    while viewer.next_packet().await.number() != 32 {}
}

async fn until_active(harness: &Harness, active: bool) {
    let wait = async {
        while harness
            .node
            .status()
            .rooms
            .iter()
            .any(|r| r.active != active)
        {
            tokio::task::yield_now().await;
        }
    };
    let result = tokio::time::timeout(PATIENCE, wait).await;
    assert!(result.is_ok(), "the room did not become {active}");
}

#[tokio::test]
async fn what_a_viewer_on_another_shard_misses_comes_again() {
    let mut show = Show::on(two(), Who::anyone(), Who::anyone()).await;
    let sent = show.carry(20).await;
    show.viewer.nack(&[sent[7].seq]).await;
    let again = show.viewer.next_packet().await;
    assert_eq!(again.ssrc, show.viewer.answer.rtx_ssrc);
    assert_eq!(again.number(), sent[7].number());
    show.carry(5).await;
}

#[tokio::test]
async fn a_viewer_on_another_shard_that_waits_for_a_keyframe_has_the_host_asked() {
    let (harness, mut host) = on_air().await;
    host.send_frame(1).await;
    host.check().await;
    let mut viewer = viewer_away(&harness, &host).await;
    host.be_asked_for_keyframe().await;
    host.send_frame(32).await;
    assert_eq!(viewer.next_packet().await.number(), 32);
}

#[tokio::test]
async fn the_next_host_goes_on_where_the_last_ended_on_either_shard() {
    let (harness, mut host) = on_air().await;
    let mut away = viewer_away(&harness, &host).await;
    let mut home = Peer::viewer(&harness, Who::anyone()).await;
    assert_eq!(home.node, host.node);
    home.connect().await;
    host.send_frame(0).await;
    let mut last = Vec::new();
    for viewer in [&mut away, &mut home] {
        last.push(viewer.next_packet().await.seq);
    }
    leave(&harness, &host).await;
    let mut next = Peer::host(&harness, Who::anyone()).await;
    next.connect().await;
    next.send_frame(64).await;
    for (viewer, last) in [&mut away, &mut home].into_iter().zip(last) {
        let packet = viewer.next_packet().await;
        assert_eq!((packet.number(), packet.seq), (64, last.wrapping_add(1)));
    }
}

#[tokio::test]
async fn viewers_on_either_shard_are_told_what_is_on_air() {
    let (harness, mut host) = on_air().await;
    let viewers = [
        viewer_away(&harness, &host).await,
        Peer::viewer(&harness, Who::anyone()).await,
    ];
    host.send_frame(0).await;
    for viewer in &viewers {
        let events = format!("{}/events", viewer.url);
        let stream = harness.request("POST", &events).body(JSON, r#"["active"]"#);
        let url = stream.await.location().to_owned();
        let mut events = harness.request("GET", &url).stream().await;
        let first = events.next().await.expect("an event");
        assert!(first.contains("event: active"), "{first}");
    }
}
