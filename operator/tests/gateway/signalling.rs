//! What clients see: WHIP and WHEP by the letter, with addresses of the gateway alone.

use axum::http::StatusCode;
use futures_util::FutureExt;
use showrunner_operator::gateway::address::{Address, Part};
use showrunner_protocol::RoomName;
use showrunner_protocol::token::Role;

use crate::support::{Cluster, HOST, SDP, SESSIONS, VIEWER, WHEP, WHIP, now, pod_name, write_page};

const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const JSON: &str = "application/json";
const EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";
const REPORT: &str = "urn:showrunner:whep:report";

/// The events that viewers here ask for.
const WANTED: &str = "[\"active\",\"viewercount\",\"reconnect\"]";
/// New credentials, for an ICE restart.
const RESTART: &str = "a=ice-options:trickle\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
    a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";

fn is_part_of_a_session(path: &str, part: Part) -> bool {
    matches!(Address::parse(path), Some(Address::Session(session)) if session.resource.part == part)
}

#[tokio::test]
async fn a_host_publishes_repairs_and_ends() {
    let (cluster, _pod) = Cluster::with_room().await;
    let token = cluster.token(Role::Host);
    let created = cluster.publish().await;
    let session = created.location();
    assert!(session.starts_with("/whip/shop/sale/sessions/media.eu-0/"));
    assert!(is_part_of_a_session(session, Part::Session), "{session}");
    assert_eq!(created.header("content-type"), SDP);
    assert!(created.body.starts_with("v=0\r\n"));
    let etag = created.header("etag").to_owned();

    let patch = async |etag: &str| {
        let call = cluster.request("PATCH", session).token(&token);
        call.header("if-match", etag).body(FRAGMENT, RESTART).await
    };
    let restarted = patch("*").await;
    assert_eq!(restarted.status, StatusCode::OK, "{restarted:?}");
    assert_ne!(restarted.header("etag"), etag);
    patch(&etag).await.is_problem(412, "entity-tag");

    let describe = cluster.request("GET", session).token(&token);
    assert_eq!(describe.send().await.status, StatusCode::NO_CONTENT);
    let delete = async || {
        cluster
            .request("DELETE", session)
            .token(&token)
            .send()
            .await
    };
    assert_eq!(delete().await.status, StatusCode::OK);
    delete().await.is_problem(404, "session");
}

#[tokio::test]
async fn a_viewer_waits_then_watches_and_hears_of_the_room() {
    let (cluster, pod) = Cluster::with_room().await;
    let early = cluster.watch().await;
    early.is_problem(409, "");
    early.says_when_to_retry();

    cluster.publish().await;
    pod.connected().await;
    let created = cluster.watch().await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let session = created.location().to_owned();
    assert!(is_part_of_a_session(&session, Part::Session), "{session}");
    let (events, layer) = (created.link(EVENTS), created.link(LAYER));
    assert!(is_part_of_a_session(&events, Part::Events), "{events}");
    assert!(is_part_of_a_session(&layer, Part::Layer), "{layer}");

    let report = created.link(REPORT);
    assert!(is_part_of_a_session(&report, Part::Report), "{report}");
    let said = cluster.request("POST", &report).body(JSON, "{}").await;
    assert_eq!(said.status, StatusCode::NO_CONTENT, "{said:?}");
    let chosen = cluster.request("POST", &layer).body(JSON, "{}").await;
    assert_eq!(chosen.status, StatusCode::OK, "{chosen:?}");
    let made = cluster.request("POST", &events).body(JSON, WANTED).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let stream = made.location().to_owned();
    assert!(is_part_of_a_session(&stream, Part::Stream(0)) || stream.starts_with(&events));
    let mut stream = cluster.request("GET", &stream).stream().await;
    stream.event("viewercount").await;
    assert_eq!(cluster.metric("event_streams").await, 1);
    drop(stream);

    let ended = cluster.request("DELETE", &session).send().await;
    assert_eq!(ended.status, StatusCode::OK);
}

#[tokio::test]
async fn a_draining_pods_viewers_are_told_to_come_again() {
    let (cluster, pod) = Cluster::with_room().await;
    cluster.publish().await;
    pod.connected().await;
    let events = cluster.watch().await.link(EVENTS);
    let made = cluster.request("POST", &events).body(JSON, WANTED).await;
    let mut stream = cluster.request("GET", made.location()).stream().await;
    stream.event("viewercount").await;
    pod.node.drain(std::time::Duration::ZERO);
    let event = stream.event("reconnect").await;
    // Without an address: they come back to the gateway, which knows where the room is by then.
    assert!(event.contains("data: {}"), "{event}");
}

#[tokio::test]
async fn every_real_offer_gets_an_answer() {
    for (offer, watches) in [
        (HOST, false),
        (
            include_str!("../../../media-node/sdp/tests/offers/gstreamer-webrtcbin.sdp"),
            false,
        ),
        (VIEWER, true),
    ] {
        let (cluster, pod) = Cluster::with_room().await;
        let answer = if watches {
            cluster.publish().await;
            pod.connected().await;
            cluster.request("POST", WHEP).body(SDP, offer).await
        } else {
            let call = cluster
                .request("POST", WHIP)
                .token(&cluster.token(Role::Host));
            call.body(SDP, offer).await
        };
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
}

#[tokio::test]
async fn it_says_why_a_room_can_not_be_joined() {
    let cluster = Cluster::new();
    cluster.watch().await.is_problem(404, "no room shop/sale");

    cluster.put_room(|_| {});
    let unplaced = cluster.watch().await;
    unplaced.is_problem(503, "being set up");
    unplaced.says_when_to_retry();

    cluster.put_room(|room| room.origin = Some(pod_name("eu-0")));
    let podless = cluster.watch().await;
    podless.is_problem(503, "take no sessions");
    podless.says_when_to_retry();

    cluster.put_room(|room| room.has_ended = true);
    cluster.watch().await.is_problem(404, "over");
    cluster.put_room(|room| room.ends_at = Some(now() - 1));
    cluster.watch().await.is_problem(404, "over");
}

#[tokio::test]
async fn nothing_is_over_before_it_has_heard_what_there_is() {
    let cluster = Cluster::unheard(&[], |_| {});
    assert_eq!(cluster.ready().await, StatusCode::SERVICE_UNAVAILABLE);
    let early = cluster.watch().await;
    early.is_problem(503, "not heard");
    early.says_when_to_retry();
    cluster.put_room(|_| {});
    let session = format!("{SESSIONS}/abc");
    let early = cluster.request("DELETE", &session).send().await;
    early.is_problem(503, "not heard");
    cluster.view.complete();
    assert_eq!(cluster.ready().await, StatusCode::OK);
    let late = cluster.request("DELETE", &session).send().await;
    late.is_problem(404, "ended");
}

#[tokio::test]
async fn what_a_pod_refuses_its_client_hears() {
    let (cluster, _pod) = Cluster::with_room().await;
    let token = cluster.token(Role::Host);
    let post = || cluster.request("POST", WHIP).token(&token);
    let other_type = post().body("text/plain", HOST).await;
    other_type.is_problem(415, "application/sdp");
    assert_eq!(other_type.header("accept-post"), SDP);
    post().body(SDP, "no offer").await.is_problem(400, "");
    let long = "x".repeat(65 * 1024);
    post().body(SDP, long).await.is_problem(413, "bytes");
}

#[tokio::test]
async fn options_need_no_token_and_any_origin_may_ask() {
    let cluster = Cluster::new();
    for (path, methods, accept) in [
        (WHIP, "GET, HEAD, POST, OPTIONS", Some(("accept-post", SDP))),
        (
            &format!("{SESSIONS}/abc"),
            "GET, HEAD, PATCH, DELETE, OPTIONS",
            Some(("accept-patch", FRAGMENT)),
        ),
        (
            &format!("{SESSIONS}/abc/events"),
            "POST, OPTIONS",
            Some(("accept-post", JSON)),
        ),
        (
            &format!("{SESSIONS}/abc/events/1"),
            "GET, HEAD, DELETE, OPTIONS",
            None,
        ),
    ] {
        let answer = cluster.request("OPTIONS", path).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("allow"), methods);
        assert_eq!(answer.header("access-control-allow-methods"), methods);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        if let Some((name, media_type)) = accept {
            assert_eq!(answer.header(name), media_type);
        }
        let refused = cluster.request("PUT", path).send().await;
        refused.is_problem(405, "Allow");
        assert_eq!(refused.header("allow"), methods);
    }
}

#[tokio::test]
async fn get_tells_what_an_endpoint_is() {
    let (cluster, _pod) = Cluster::with_room().await;
    let whep = cluster.request("GET", WHEP).send().await;
    assert_eq!(whep.status, StatusCode::OK);
    assert_eq!(whep.header("content-type"), SDP);
    let whip = cluster
        .request("GET", WHIP)
        .token(&cluster.token(Role::Host));
    assert_eq!(whip.send().await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn malformed_paths_find_nothing_and_reach_no_pod() {
    let (cluster, _pod) = Cluster::with_room().await;
    for path in [
        "/whep/shop",
        "/whep/shop/",
        "/whep/shop/sale/",
        "/whep/Shop/sale",
        "/whep/shop/sale%2F..",
        "/whep/shop/..",
        "/whep/shop/sale/../../v1/status",
        "/whep/shop/sale/sessions",
        "/whep/shop/sale/sessions/media.eu-0",
        "/whep/shop/sale/sessions/media.eu-0/..",
        "/whep/shop/sale/sessions/media.eu-0/%2e%2e",
        "/whep/shop/sale/sessions/media.eu-0/a/../../v1/status",
        "/whep/shop/sale/sessions/media.eu-0/id/status",
        "/whep//sale",
        "//whep/shop/sale",
        "/whep/shop/sale\\..",
        "/v1/status",
        "/v1/rooms/shop/sale",
        "/sessions/abc",
        "/metrics",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = cluster.request(method, path).send().await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
    assert_eq!(
        cluster
            .metric("pod_errors_total{cause=\"unreachable\"}")
            .await,
        0
    );
}

#[tokio::test]
async fn a_session_is_only_found_in_its_own_room() {
    let (cluster, pod) = Cluster::with_room().await;
    cluster.publish().await;
    pod.connected().await;
    let session = cluster.watch().await.location().to_owned();
    let other = RoomName::new("shop", "other").unwrap();
    let (known, name) = (
        cluster.view.read(|view| view.room(&crate::support::room())),
        other,
    );
    let mut known = (*known.unwrap()).clone();
    known.access.uid = showrunner_protocol::room::RoomUid::new("u-2").unwrap();
    cluster.view.write(|view| view.put_room(name, known));
    for path in [
        session.replace("/shop/sale/", "/shop/other/"),
        session.replace("/media.eu-0/", "/media.eu-1/"),
    ] {
        let answer = cluster.request("DELETE", &path).send().await;
        answer.is_problem(404, "session");
    }
    // A viewer may not end the host's session, which viewers don't even know.
    let hosts = cluster.publish().await.location().to_owned();
    let as_viewer = hosts.replace("/whip/", "/whep/");
    cluster
        .request("DELETE", &as_viewer)
        .send()
        .await
        .is_problem(404, "session");
    let still_there = cluster.request("GET", &session).send().await;
    assert_eq!(still_there.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_page_is_there_for_every_room_and_strict() {
    let cluster = Cluster::prepared(&["--web-dir={dir}/web"], |dir| write_page(&dir.path("web")));
    for path in ["/rooms/shop/sale", "/rooms/shop/sale/host"] {
        let page = cluster.request("GET", path).send().await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(page.body.contains("Showrunner"));
        assert!(
            page.header("content-security-policy")
                .contains("default-src 'none'")
        );
        assert_eq!(page.header("cache-control"), "no-cache");
    }
    let script = cluster
        .request("GET", "/assets/index-abc123.js")
        .send()
        .await;
    assert!(script.header("cache-control").contains("immutable"));
    for path in [
        "/rooms/shop",
        "/assets/",
        "/assets/../index.html",
        "/assets/no.js",
    ] {
        let answer = cluster.request("GET", path).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn one_that_leaves_says_so_and_answers_until_it_ends() {
    let (cluster, pod) = Cluster::with_room().await;
    assert_eq!(cluster.ready().await, StatusCode::OK);
    cluster.publish().await;
    pod.connected().await;
    let events = cluster.watch().await.link(EVENTS);
    let made = cluster.request("POST", &events).body(JSON, WANTED).await;
    let mut stream = cluster.request("GET", made.location()).stream().await;
    stream.event("viewercount").await;

    cluster.gateway.leave();
    assert_eq!(cluster.ready().await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(cluster.watch().await.status, StatusCode::CREATED);
    while let Some(event) = stream.next().now_or_never() {
        assert!(event.is_some(), "the stream has ended");
    }
    cluster.gateway.end_streams();
    while stream.next().await.is_some() {}
}
