//! Pods that die, come back, drain or are not what they seem.

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use showrunner_operator::gateway::poll;
use showrunner_protocol::room::RoomUid;
use tokio::net::TcpListener;

use crate::pod::Pod;
use crate::support::{Cluster, SDP, SESSIONS, VIEWER, WHEP, edge_at, pod_name};

const UNREACHABLE: &str = "pod_errors_total{cause=\"unreachable\"}";

/// A room on two pods, both of which have a host on air.
async fn on_two_pods() -> (Cluster, Pod, Pod) {
    let (cluster, origin) = Cluster::with_room().await;
    let edge = cluster.pod("eu-1").await;
    edge.assign();
    for (name, pod) in [("eu-0", &origin), ("eu-1", &edge)] {
        cluster.put_room(|room| room.origin = Some(pod_name(name)));
        cluster.publish().await;
        pod.connected().await;
    }
    cluster.put_room(|room| {
        room.origin = Some(pod_name("eu-0"));
        room.edges = vec![edge_at("eu-1")];
    });
    (cluster, origin, edge)
}

#[tokio::test]
async fn a_join_goes_to_another_pod_if_one_just_died() {
    let (cluster, origin, _edge) = on_two_pods().await;
    origin.kill().await;
    let answer = cluster.watch().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert!(answer.location().contains("/media.eu-1/"));
    assert_eq!(cluster.metric(UNREACHABLE).await, 1);
}

#[tokio::test]
async fn a_join_goes_to_another_pod_if_one_hangs() {
    let (cluster, _origin, _edge) = on_two_pods().await;
    // Its kernel takes connections, and nobody shakes hands.
    let hung = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    cluster.put_pod("eu-0", hung.local_addr().unwrap());
    let answer = cluster.watch().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert!(answer.location().contains("/media.eu-1/"));
    assert_eq!(cluster.metric(UNREACHABLE).await, 1);
}

#[tokio::test]
async fn a_join_waits_until_the_room_has_another_pod() {
    let (cluster, pod) = Cluster::with_room().await;
    pod.kill().await;
    let next = cluster.pod("eu-1").await;
    next.assign();
    let (answer, ()) = tokio::join!(cluster.publish(), async {
        cluster.counted(UNREACHABLE, 1).await;
        cluster.put_room(|room| room.origin = Some(pod_name("eu-1")));
    });
    assert!(answer.location().contains("/media.eu-1/"));
}

#[tokio::test]
async fn a_join_waits_until_a_restarted_pod_has_its_rooms_back() {
    let (cluster, pod) = Cluster::with_room().await;
    let session = cluster.publish().await.location().to_owned();
    let address = pod.kill().await;
    let pod = Pod::start(&cluster.dir, address).await;
    let token = cluster.token(showrunner_protocol::token::Role::Host);
    let old = cluster.request("DELETE", &session).token(&token);
    old.send().await.is_problem(404, "session");
    let (_, ()) = tokio::join!(cluster.publish(), async {
        cluster.counted("retries_total", 1).await;
        pod.assign();
    });
}

#[tokio::test]
async fn a_pod_with_an_earlier_room_of_the_name_is_waited_for() {
    let (cluster, pod) = Cluster::with_room().await;
    pod.assign_as(&RoomUid::new("u-0").unwrap());
    let (_, ()) = tokio::join!(cluster.publish(), async {
        cluster.counted("retries_total", 1).await;
        pod.assign();
    });
}

#[tokio::test]
async fn a_join_that_finds_no_pod_says_when_to_come_again() {
    let (cluster, pod) = Cluster::with_room().await;
    pod.kill().await;
    let answer = cluster.watch().await;
    answer.is_problem(503, "can't be reached");
    answer.says_when_to_retry();
}

#[tokio::test]
async fn a_pod_that_drains_takes_no_more_and_another_does() {
    let (cluster, origin, edge) = on_two_pods().await;
    origin.node.drain(std::time::Duration::from_secs(60));
    let answer = cluster.watch().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert!(answer.location().contains("/media.eu-1/"));
    edge.node.drain(std::time::Duration::from_secs(60));
    let answer = cluster.watch().await;
    answer.is_problem(503, "");
    answer.says_when_to_retry();
}

#[tokio::test]
async fn viewers_are_spread_by_what_pods_say_of_their_load() {
    let (cluster, _origin, edge) = on_two_pods().await;
    let join = async || {
        let answer = cluster.watch().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.location().contains("/media.eu-1/")
    };
    // Each has its host. Two that this gateway knows nothing of come to the second.
    cluster.put_room(|room| room.origin = Some(pod_name("eu-1")));
    assert!(join().await && join().await);
    assert_eq!(edge.node.status().sessions, 3);
    cluster.put_room(|room| {
        room.origin = Some(pod_name("eu-0"));
        room.edges = vec![edge_at("eu-1")];
    });
    poll::round(&cluster.gateway).await;
    assert!(!join().await && !join().await);
    assert_eq!(cluster.metric(UNREACHABLE).await, 0);
}

#[tokio::test]
async fn a_session_ends_with_its_pod() {
    let (cluster, pod) = Cluster::with_room().await;
    cluster.publish().await;
    pod.connected().await;
    let session = cluster.watch().await.location().to_owned();
    assert!(session.starts_with(SESSIONS));
    pod.kill().await;
    let describe = async || cluster.request("GET", &session).send().await;
    let gone = describe().await;
    gone.is_problem(503, "can't be reached");
    gone.says_when_to_retry();
    cluster
        .view
        .write(|view| view.remove_pod(&pod_name("eu-0")));
    describe().await.is_problem(404, "ended");
}

#[tokio::test]
async fn who_is_no_pod_of_ours_is_told_nothing() {
    let (cluster, _pod) = Cluster::with_room().await;
    // Another cluster's pod at a pod's address, as addresses are used again.
    let stranger = Cluster::new();
    let theirs = stranger.pod("eu-0").await;
    theirs.assign();
    cluster.put_pod("eu-0", theirs.address);
    let answer = cluster.watch().await;
    answer.is_problem(503, "can't be reached");
    assert_eq!(theirs.node.status().sessions, 0);
}

#[tokio::test]
async fn control_keys_are_rotated_with_overlap_and_a_gateway_without_is_no_use() {
    let (cluster, pod) = Cluster::with_room().await;
    cluster.publish().await;
    pod.connected().await;
    cluster
        .dir
        .write("control-keys", "a secret that the pod never heard of\n");
    cluster.keys.control.look();
    let answer = cluster.request("POST", WHEP).body(SDP, VIEWER).await;
    answer.is_problem(502, "does not accept this gateway");
    assert!(!answer.headers.contains_key("www-authenticate"));
    cluster
        .dir
        .write("control-keys", "a secret of this test, 32 bytes+\n");
    cluster.keys.control.look();
    assert_eq!(cluster.watch().await.status, StatusCode::CREATED);
}
