//! A room on several pods: its host on one, viewers on others, who notice nothing of it.

mod cluster;
mod peer;
mod pods;
mod support;

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use cluster::credential;
use peer::camera::{Camera, FULL, QUARTER};
use peer::viewer::Viewer;
use peer::{Peer, Who};
use pods::{Authority, OTHER_WHEP, OTHER_WHIP, Pod, carry, until, viewer};
use serde_json::json;
use showrunner_protocol::control::{PEERS_PATH, PeerSight, RoomStatus, peer_path};
use showrunner_protocol::token::{Caller, RelayGrant, Role};
use support::JSON;
use tokio::net::TcpListener;

/// A host's pod, and one that takes the room from it.
async fn two() -> (Authority, Pod, Pod) {
    let authority = Authority::new();
    let origin = authority.pod().await;
    origin.is_origin(1).await;
    let edge = authority.pod().await;
    edge.takes_from(&origin, 1).await;
    (authority, origin, edge)
}

async fn on_air(pod: &Pod) -> Peer {
    let mut host = Peer::host(&pod.harness, Who::anyone()).await;
    host.connect().await;
    host
}

#[tokio::test]
async fn a_viewer_on_another_pod_gets_everything_in_order() {
    let (_authority, origin, edge) = two().await;
    let mut host = on_air(&origin).await;
    let mut there = viewer(&edge).await;
    let mut here = viewer(&origin).await;
    carry(&mut host, 0..500, &mut [&mut there, &mut here]).await;
}

#[tokio::test]
async fn an_edge_of_an_edge_is_as_good() {
    let (authority, origin, edge) = two().await;
    let second = authority.pod().await;
    second.takes_from(&edge, 1).await;
    let mut host = on_air(&origin).await;
    let mut viewers = [viewer(&edge).await, viewer(&second).await];
    let [near, far] = &mut viewers;
    carry(&mut host, 0..100, &mut [near, far]).await;
    let hops = |pod: &Pod| pod.room().source.and_then(|source| source.hops);
    assert_eq!((hops(&edge), hops(&second)), (Some(0), Some(1)));
    assert_eq!((origin.room().edges, edge.room().edges), (1, 1));
}

#[tokio::test]
async fn viewers_that_come_late_start_on_what_the_edge_has_stored() {
    let (_authority, origin, edge) = two().await;
    let mut host = on_air(&origin).await;
    host.send_frame(0).await;
    host.send_frame(1).await;
    until("the edge has it", || edge.room().active).await;
    let mut late = viewer(&edge).await;
    assert_eq!(late.next_packet().await.number(), 0);
}

#[tokio::test]
async fn many_who_need_a_keyframe_make_one_request_to_the_host() {
    let (_authority, origin, edge) = two().await;
    let mut host = on_air(&origin).await;
    host.send_frame(1).await;
    let mut viewers = Vec::new();
    for _ in 0..4 {
        viewers.push(viewer(&edge).await);
    }
    host.be_asked_for_keyframe().await;
    host.send_frame(32).await;
    for viewer in &mut viewers {
        assert_eq!(viewer.next_packet().await.number(), 32);
    }
}

#[tokio::test]
async fn what_is_lost_on_the_link_comes_again() {
    let authority = Authority::new();
    let origin = authority.pod_behind_loss(7).await;
    origin.is_origin(1).await;
    let edge = authority.pod().await;
    edge.takes_from(&origin, 1).await;
    let mut host = on_air(&origin).await;
    let mut there = viewer(&edge).await;
    host.send_frame(0).await;
    assert_eq!(there.next_packet().await.number(), 0);
    // The host waits for what is late before a receiver would not take it any more.
    let mut missing = std::collections::BTreeSet::new();
    for number in 1..=400 {
        host.send_frame(number).await;
        missing.insert(number);
        while missing.first().is_some_and(|first| number - first > 50) {
            missing.remove(&there.next_packet().await.number());
        }
    }
}

#[tokio::test]
async fn a_pod_tells_the_operator_whether_another_answers_it() {
    let (_authority, other, pod) = two().await;
    // One that hangs still gets its connections from the kernel.
    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let hanging = hanging.expect("a port");
    let ended = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let ended = ended.and_then(|ended| ended.local_addr());
    let ended = ended.expect("a port");
    for (peer, answers) in [
        (other.https, true),
        (hanging.local_addr().expect("an address"), false),
        (ended, false),
    ] {
        let told = pod.harness.request("GET", &peer_path(peer)).send().await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.body);
        let sight: PeerSight = serde_json::from_str(&told.body).expect("what it saw");
        assert_eq!(sight.answers, answers, "{peer}");
    }
    let gateway = pod.harness.showing(|_| credential(Caller::Gateway));
    let refused = gateway.request("GET", &peer_path(other.https)).send().await;
    refused.is_problem(403, "only the operator");
    let nobody = pod.harness.request("GET", PEERS_PATH).send().await;
    nobody.is_problem(400, "say which pod");
}

#[tokio::test]
async fn what_rooms_tell_is_true_on_each_of_their_pods() {
    let (_authority, origin, edge) = two().await;
    let mut host = on_air(&origin).await;
    let mut there = viewer(&edge).await;
    let (mut also, mut here) = (viewer(&edge).await, viewer(&origin).await);
    carry(&mut host, 0..3, &mut [&mut there, &mut also, &mut here]).await;
    for (pod, peer) in [(&edge, &there), (&origin, &here)] {
        let made = pod.harness.request("POST", &format!("{}/events", peer.url));
        let types = r#"["active","viewercount","layers"]"#;
        let made = made.body(JSON, types).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let mut events = pod.harness.request("GET", made.location()).stream().await;
        let mut told = String::new();
        while !["event: active", "320", ":3}"]
            .iter()
            .all(|text| told.contains(text))
        {
            told.push_str(&events.next().await.expect("an event"));
        }
    }
    assert_eq!((edge.room().viewers, origin.room().viewers), (2, 1));
    drop(host);
}

#[tokio::test]
async fn a_layer_that_nobody_wants_there_does_not_come_there() {
    let (_authority, origin, edge) = two().await;
    let mut camera = Camera::start(&origin.harness).await;
    let all = |pod: &Pod| pod.room().layers.len() == 3;
    camera
        .shoot(until("the edge knows all layers", || all(&edge)))
        .await;
    let idle = |pod: &Pod, rid: &str| {
        let layers = pod.harness.node.status().rooms.remove(0).layers;
        layers.iter().any(|layer| layer.rid == rid)
    };
    assert!(["q", "h", "f"].iter().all(|rid| idle(&edge, rid)));
    // Nobody is there: the smallest comes, to begin with, and no other.
    let there = camera
        .shoot(Peer::viewer(&edge.harness, Who::anyone()))
        .await;
    let mut there = camera.shoot(Viewer::by(&edge.harness, there)).await;
    // A viewer of any size: the largest comes as well.
    camera.shoot(there.sees(FULL)).await;
}

#[tokio::test]
async fn what_a_transcoder_adds_comes_to_other_pods_as_well() {
    let (_authority, origin, edge) = two().await;
    let mut host = Camera::start_alone(&origin.harness).await;
    let transcoders = origin
        .harness
        .showing(|_| cluster::grant("sale", "u-1", Role::Transcoder));
    let mut rung = Camera::transcode(&transcoders, &[QUARTER]).await;
    let knows = until("the edge knows both layers", || {
        edge.room().layers.len() == 2
    });
    host.shoot(rung.shoot(knows)).await;
    let there = async {
        let there = Peer::viewer(&edge.harness, Who::anyone()).await;
        let mut there = Viewer::by(&edge.harness, there).await;
        for (rid, layer) in [("", FULL), ("t.1", QUARTER), ("", FULL)] {
            there.chooses(json!({ "rid": rid })).await;
            there.sees(layer).await;
        }
        there
    };
    let mut there = host.shoot(rung.shoot(there)).await;
    // When it goes, the edge hears of it.
    let gone = transcoders.request("DELETE", &rung.peer().url).send().await;
    assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
    let gone = until("the rung is gone", || edge.room().layers.len() == 1);
    host.shoot(gone).await;
    host.shoot(there.sees(FULL)).await;
}

#[tokio::test]
async fn a_pod_changes_over_to_another_source_without_a_gap() {
    let (authority, origin, edge) = two().await;
    let between = authority.pod().await;
    between.takes_from(&origin, 1).await;
    let mut host = on_air(&origin).await;
    let mut there = viewer(&edge).await;
    carry(&mut host, 0..10, &mut [&mut there]).await;
    edge.takes_from(&between, 2).await;
    let mut next = 10;
    while edge.room().source.and_then(|s| s.hops) != Some(1) || origin.room().edges != 1 {
        carry(&mut host, next..next + 1, &mut [&mut there]).await;
        next += 1;
    }
    carry(&mut host, next..next + 50, &mut [&mut there]).await;
}

#[tokio::test]
async fn rooms_between_the_same_two_pods_do_not_mind_each_other() {
    let (_authority, first, second) = two().await;
    // One way round, and the other.
    second.has_other(None).await;
    first.has_other(Some(&second)).await;
    let mut host = on_air(&first).await;
    let mut there = viewer(&second).await;
    carry(&mut host, 0..10, &mut [&mut there]).await;
    let mut other_host = Peer::host_of(&second.other(), OTHER_WHIP, Who::anyone()).await;
    other_host.connect().await;
    until("the other room is live there", || {
        first.other_room().video_codec.is_some()
    })
    .await;
    let mut other_there = Peer::viewer_of(&first.other(), OTHER_WHEP, Who::anyone()).await;
    other_there.connect().await;
    let shows = async {
        for number in 0..200 {
            carry(&mut host, 10 + number..11 + number, &mut [&mut there]).await;
            carry(&mut other_host, number..number + 1, &mut [&mut other_there]).await;
        }
    };
    let is_linked = |room: RoomStatus| room.source.is_some_and(|source| source.connected);
    let links = async {
        while is_linked(second.room()) && is_linked(first.other_room()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = shows => {}
        () = links => panic!("a link was lost"),
    }
}

#[tokio::test]
async fn a_source_that_dies_is_noticed_and_another_one_taken() {
    let (authority, origin, edge) = two().await;
    let between = authority.pod_that_may_freeze().await;
    between.takes_from(&origin, 1).await;
    edge.takes_from(&between, 2).await;
    let mut host = on_air(&origin).await;
    let mut there = viewer(&edge).await;
    carry(&mut host, 0..10, &mut [&mut there]).await;
    between.freeze();
    until("the link is over", || {
        !edge.room().source.unwrap().connected
    })
    .await;
    edge.takes_from(&origin, 3).await;
    let is_back = || edge.room().source.is_some_and(|s| s.hops == Some(0));
    until("the room is back", is_back).await;
    host.send_frame(32).await;
    while there.next_packet().await.number() != 32 {}
}

#[tokio::test]
async fn a_room_moves_to_its_edge_with_viewers_on_both_pods() {
    let (_authority, first, second) = two().await;
    let mut host = on_air(&first).await;
    let (mut here, mut there) = (viewer(&first).await, viewer(&second).await);
    carry(&mut host, 0..5, &mut [&mut here, &mut there]).await;
    // The parts change first: the old host stays on air on its pod, and nobody notices.
    second.is_origin(2).await;
    first.takes_from(&second, 2).await;
    until("the pods are linked both ways", || {
        first.room().source.is_some_and(|s| s.connected) && second.room().edges == 1
    })
    .await;
    carry(&mut host, 5..40, &mut [&mut here, &mut there]).await;
    assert_eq!((first.room().publishers, second.room().publishers), (1, 0));
    let refused = first.harness.publish_raw().await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.body);
    // Then the host comes to the new origin. As long as it has no picture there, the old one goes on.
    let mut moved = on_air(&second).await;
    carry(&mut host, 40..50, &mut [&mut here, &mut there]).await;
    assert_eq!(second.room().publishers, 0);
    moved.send_frame(0).await;
    until("the new host is on air", || second.room().publishers == 1).await;
    let gone = first.harness.request("DELETE", &host.url).send().await;
    assert_eq!(gone.status, StatusCode::OK);
    until("the old pod takes the room from the new one", || {
        first.room().source.is_some_and(|s| s.hops == Some(0)) && first.room().publishers == 0
    })
    .await;
    moved.send_frame(64).await;
    for viewer in [&mut here, &mut there] {
        while viewer.next_packet().await.number() != 64 {}
    }
    until("the old link is over", || first.room().edges == 0).await;
    assert!(second.room().source.is_none());
}

#[tokio::test]
async fn a_host_who_has_moved_is_let_go_once_nobody_watches_where_it_was() {
    let (_authority, first, second) = two().await;
    let mut host = on_air(&first).await;
    let mut here = viewer(&first).await;
    carry(&mut host, 0..5, &mut [&mut here]).await;
    second.is_origin(2).await;
    first.takes_from(&second, 2).await;
    let mut moved = on_air(&second).await;
    moved.send_frame(0).await;
    until("the first pod knows", || {
        first.room().source.is_some_and(|s| s.hops == Some(0))
    })
    .await;
    // For as long as it takes, since a viewer is left.
    carry(&mut host, 5..40, &mut [&mut here]).await;
    assert_eq!(first.room().publishers, 1);
    let gone = first.harness.request("DELETE", &here.url).send().await;
    assert_eq!(gone.status, StatusCode::OK);
    until("the host is gone", || first.room().publishers == 0).await;
    assert_eq!(second.room().publishers, 1);
}

#[tokio::test]
async fn an_edge_that_has_no_source_yet_sends_viewers_elsewhere() {
    let authority = Authority::new();
    let origin = authority.pod().await;
    let edge = authority.pod().await;
    // It does not know of the room yet, so it refuses the edge.
    edge.takes_from(&origin, 1).await;
    let refused = edge.harness.watch_raw().await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.body);
    origin.is_origin(1).await;
    until("it has its source", || {
        edge.room().source.is_some_and(|source| source.connected)
    })
    .await;
    let early = edge.harness.watch_raw().await;
    assert_eq!(early.status, StatusCode::CONFLICT, "nobody is on air");
}

#[tokio::test]
async fn a_room_is_taken_only_by_pods_that_show_a_credential_for_it() {
    let (_authority, origin, _edge) = two().await;
    let fingerprint = ["AB"; 32].join(":");
    let offer = |token: String| {
        let body = serde_json::json!({
            "ufrag": "abcdefgh",
            "pwd": "0123456789012345678901234",
            "fingerprint": fingerprint,
            "process": "another",
        });
        let request = origin.harness.request("POST", "/v1/rooms/shop/sale/links");
        let request = request.replace_bearer(&token);
        async move { request.body(JSON, body.to_string()).await.status.as_u16() }
    };
    let relay = |room: &str, uid: &str| {
        let relay = RelayGrant {
            room: cluster::room(room),
            uid: cluster::uid(uid),
        };
        let signed = cluster::keys(cluster::SECRET).sign_relay(&relay, cluster::now());
        signed.expect("randomness")
    };
    use showrunner_protocol::token::Caller;
    assert_eq!(offer(relay("sale", "u-1")).await, 201);
    assert_eq!(offer(relay("sale", "u-0")).await, 404, "an earlier room");
    assert_eq!(offer(relay("other", "u-1")).await, 403);
    assert_eq!(offer(cluster::credential(Caller::Operator)).await, 403);
    assert_eq!(offer(cluster::grant("sale", "u-1", Role::Host)).await, 403);
    assert_eq!(offer("nonsense".to_owned()).await, 401);
    // And it lets a pod do nothing else.
    for (method, path) in [
        ("GET", "/v1/status"),
        ("PUT", "/v1/rooms/shop/sale"),
        ("POST", "/v1/drain"),
        ("POST", "/whep/shop/sale"),
    ] {
        let request = origin.harness.request(method, path);
        let answer = request
            .replace_bearer(&relay("sale", "u-1"))
            .body(JSON, "{}");
        assert_eq!(answer.await.status, StatusCode::FORBIDDEN, "{path}");
    }
}
