//! WHIP by the letter of RFC 9725: each MUST is a test.

mod support;

use axum::http::StatusCode;
use media_node::http::{HttpConfig, Token};
use support::{FRAGMENT, HOST, Harness, JSON, RESTART, SDP, TRICKLED, WHIP};

fn guarded() -> Harness {
    Harness::with(HttpConfig {
        publish_token: Some(Token::new("host-secret")),
        watch_token: Some(Token::new("viewer-secret")),
        ..HttpConfig::default()
    })
}

// §4.1: HTTP usage

#[tokio::test]
async fn get_and_head_on_the_endpoint_succeed_without_content() {
    let harness = Harness::new();
    for method in ["GET", "HEAD"] {
        let answer = harness.request(method, WHIP).send().await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn get_and_head_on_a_session_succeed_without_content() {
    let harness = Harness::new();
    let session = harness.publish().await;
    for method in ["GET", "HEAD"] {
        let answer = harness.request(method, session.location()).send().await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn other_methods_are_405_and_allow_lists_those_there_are() {
    let harness = Harness::new();
    let session = harness.publish().await;
    for (path, has) in [(WHIP, "POST"), (session.location(), "PATCH")] {
        let answer = harness.request("PUT", path).send().await;
        answer.is_problem(405, "Allow");
        assert!(answer.header("allow").contains(has));
    }
}

// §4.2: ingest session set-up

#[tokio::test]
async fn post_answers_201_with_location_etag_and_a_recvonly_answer() {
    let harness = Harness::new();
    let answer = harness.publish().await;
    assert_eq!(answer.header("content-type"), SDP);
    assert!(answer.body.starts_with("v=0\r\n"));
    assert_eq!(answer.body.matches("a=recvonly\r\n").count(), 2);
    assert!(answer.location().starts_with("/sessions/"));
}

#[tokio::test]
async fn post_with_parameters_on_its_media_type_is_taken() {
    let harness = Harness::new();
    let post = harness.request("POST", WHIP);
    let answer = post.body("Application/SDP; charset=utf-8", HOST).await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn post_without_application_sdp_is_415() {
    let harness = Harness::new();
    for media_type in [
        "text/plain",
        "application/sdpx",
        "application/trickle-ice-sdpfrag",
    ] {
        let answer = harness.request("POST", WHIP).body(media_type, HOST).await;
        answer.is_problem(415, "application/sdp");
        assert_eq!(answer.header("accept-post"), SDP);
    }
    let bare = harness.request("POST", WHIP).send().await;
    bare.is_problem(415, "application/sdp");
}

#[tokio::test]
async fn post_of_malformed_sdp_is_400() {
    let harness = Harness::new();
    for text in ["", "not sdp", "{\"type\":\"offer\"}", &HOST[..20]] {
        let answer = harness
            .request("POST", WHIP)
            .body(SDP, text.to_owned())
            .await;
        answer.is_problem(400, "not a session description");
    }
    let answer = harness
        .request("POST", WHIP)
        .body(SDP, vec![0xff; 40])
        .await;
    answer.is_problem(400, "UTF-8");
}

#[tokio::test]
async fn post_of_more_than_is_read_is_413() {
    let harness = Harness::new();
    let long = format!("{HOST}{}", "a=x\r\n".repeat(20_000));
    let answer = harness.request("POST", WHIP).body(SDP, long).await;
    answer.is_problem(413, "65536");
}

#[tokio::test]
async fn an_offer_to_receive_is_422() {
    let harness = Harness::new();
    let offer = HOST.replace("a=sendonly", "a=recvonly");
    let answer = harness.request("POST", WHIP).body(SDP, offer).await;
    answer.is_problem(422, "sendonly");
}

#[tokio::test]
async fn sendrecv_is_taken_and_answered_with_recvonly() {
    let harness = Harness::new();
    let offer = HOST.replace("a=sendonly", "a=sendrecv");
    let answer = harness.request("POST", WHIP).body(SDP, offer).await;
    assert_eq!(answer.body.matches("a=recvonly\r\n").count(), 2);
}

#[tokio::test]
async fn a_room_name_that_can_not_be_is_404() {
    let harness = Harness::new();
    let answer = harness
        .request("POST", "/whip/shop/No_Room")
        .body(SDP, HOST)
        .await;
    answer.is_problem(404, "not a valid room name");
}

#[tokio::test]
async fn a_second_host_is_409_with_retry_after_and_the_first_goes_on() {
    let harness = Harness::new();
    let first = harness.go_live().await;
    harness.on_air(true, &[]).await;
    let second = harness.request("POST", WHIP).body(SDP, HOST).await;
    second.is_problem(409, "another host");
    assert!(second.has("retry-after"));
    let first = harness.request("GET", first.location()).send().await;
    assert_eq!(first.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_host_whose_media_stopped_can_be_replaced() {
    let harness = Harness::new();
    harness.go_live().await;
    harness.on_air(true, &[]).await;
    harness.on_air(false, &[]).await;
    harness.publish().await;
}

// §4.2: termination

#[tokio::test]
async fn delete_answers_200_and_ends_the_session() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let answer = harness.request("DELETE", session.location()).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    let again = harness.request("DELETE", session.location()).send().await;
    again.is_problem(404, "ended");
}

#[tokio::test]
async fn delete_ignores_entity_tags() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let delete = harness.request("DELETE", session.location());
    let answer = delete.header("if-match", "\"stale\"").send().await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_ended_by_itself_is_404() {
    let harness = Harness::new();
    let session = harness.publish().await;
    harness.lose(session.location()).await;
    for method in ["GET", "HEAD", "DELETE", "PATCH"] {
        let answer = harness.request(method, session.location()).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
    }
}

#[tokio::test]
async fn session_urls_can_not_be_guessed() {
    let harness = Harness::new();
    let (a, b) = (harness.publish().await, harness.publish().await);
    let id = |url: &str| url.rsplit('/').next().expect("an id").to_owned();
    let (a, b) = (id(a.location()), id(b.location()));
    // 128 bits in base64url.
    assert_eq!((a.len(), b.len()), (22, 22));
    assert_ne!(a, b);
    for guess in ["AAAAAAAAAAAAAAAAAAAAAA", "1", "%00", "..%2f"] {
        let answer = harness
            .request("DELETE", &format!("/sessions/{guess}"))
            .send()
            .await;
        answer.is_problem(404, "");
    }
}

// §4.2: CORS

#[tokio::test]
async fn options_on_the_endpoint_is_200_with_accept_post() {
    let harness = Harness::new();
    let answer = harness.request("OPTIONS", WHIP).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("accept-post"), SDP);
}

#[tokio::test]
async fn options_on_a_session_is_200_with_accept_patch() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let answer = harness.request("OPTIONS", session.location()).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("accept-patch"), FRAGMENT);
}

#[tokio::test]
async fn a_preflight_allows_what_clients_send() {
    let harness = Harness::new();
    for (path, method) in [
        (WHIP, "POST"),
        ("/sessions/any", "PATCH"),
        ("/sessions/any", "DELETE"),
    ] {
        let answer = harness
            .request("OPTIONS", path)
            .header("origin", "https://shop.example")
            .header("access-control-request-method", method)
            .header(
                "access-control-request-headers",
                "authorization, content-type, if-match",
            )
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains(method)
        );
        let allowed = answer
            .header("access-control-allow-headers")
            .to_ascii_lowercase();
        for name in ["authorization", "content-type", "if-match"] {
            assert!(allowed.contains(name), "{name}");
        }
    }
}

#[tokio::test]
async fn pages_of_other_origins_can_read_what_they_need_even_of_errors() {
    let harness = Harness::new();
    let good = harness.publish().await;
    let bad = harness.request("POST", WHIP).body(SDP, "nonsense").await;
    for answer in [good, bad] {
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let exposed = answer.header("access-control-expose-headers");
        for name in ["Location", "ETag", "Link", "Retry-After"] {
            assert!(exposed.contains(name), "{name}");
        }
    }
}

// §4.3.1: PATCH

#[tokio::test]
async fn the_201_carries_a_unique_strong_etag() {
    let harness = Harness::new();
    let (a, b) = (harness.publish().await, harness.publish().await);
    for session in [&a, &b] {
        let tag = session.header("etag");
        assert!(
            tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10,
            "{tag}"
        );
    }
    assert_ne!(a.header("etag"), b.header("etag"));
}

#[tokio::test]
async fn patch_of_another_media_type_is_415() {
    let harness = Harness::new();
    let session = harness.publish().await;
    for media_type in [SDP, JSON] {
        let patch = harness.request("PATCH", session.location());
        let answer = patch
            .header("if-match", "*")
            .body(media_type, TRICKLED)
            .await;
        answer.is_problem(415, FRAGMENT);
        assert_eq!(answer.header("accept-patch"), FRAGMENT);
    }
}

#[tokio::test]
async fn patch_of_a_malformed_fragment_is_400() {
    let harness = Harness::new();
    let session = harness.publish().await;
    for text in [
        "",
        "nonsense",
        "a=mid:0\r\na=candidate:x\r\n",
        "a=ice-ufrag:abcd\r\n",
    ] {
        let patch = harness.request("PATCH", session.location());
        let answer = patch
            .header("if-match", session.header("etag"))
            .body(FRAGMENT, text)
            .await;
        answer.is_problem(400, "");
    }
}

#[tokio::test]
async fn patch_without_if_match_is_428() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let answer = harness
        .request("PATCH", session.location())
        .body(FRAGMENT, TRICKLED)
        .await;
    answer.is_problem(428, "If-Match");
}

#[tokio::test]
async fn stale_etag_is_412() {
    let harness = Harness::new();
    let session = harness.publish().await;
    for tag in [
        "\"other\"",
        "other",
        &format!("W/{}", session.header("etag")),
    ] {
        let patch = harness.request("PATCH", session.location());
        let answer = patch.header("if-match", tag).body(FRAGMENT, TRICKLED).await;
        answer.is_problem(412, "entity-tag");
    }
}

// §4.3.2: trickle ICE

#[tokio::test]
async fn trickle_is_204_without_etag_and_body() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let patch = harness.request("PATCH", session.location());
    let answer = patch
        .header("if-match", session.header("etag"))
        .body(FRAGMENT, TRICKLED)
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!answer.has("etag") && answer.body.is_empty());
}

#[tokio::test]
async fn candidates_that_can_not_be_used_are_discarded_silently() {
    let harness = Harness::new();
    let session = harness.publish().await;
    for address in ["host.local", "192.0.2.1", "2001:db8::1"] {
        for transport in ["tcp", "sctp"] {
            let line = format!("a=mid:0\r\na=candidate:1 1 {transport} 1 {address} 9 typ host\r\n");
            let patch = harness.request("PATCH", session.location());
            let answer = patch
                .header("if-match", session.header("etag"))
                .body(FRAGMENT, line)
                .await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
        }
    }
}

#[tokio::test]
async fn the_answer_has_all_candidates_of_the_node() {
    let harness = Harness::new();
    let answer = harness.publish().await;
    assert!(answer.body.contains(" udp ") && answer.body.contains("tcptype passive"));
    assert!(answer.body.contains("a=end-of-candidates\r\n"));
    assert!(answer.body.contains("a=ice-lite\r\n"));
}

// §4.3.3: ICE restarts

async fn restart(harness: &Harness, url: &str, tag: &str, body: &str) -> support::Answer {
    let patch = harness.request("PATCH", url).header("if-match", tag);
    patch.body(FRAGMENT, body.to_owned()).await
}

#[tokio::test]
async fn ice_restart_answers_200_with_a_new_etag() {
    let harness = Harness::new();
    let session = harness.publish().await;
    for wildcard in ["*", "\"*\""] {
        let fragment = RESTART.replace("ysXw", if wildcard == "*" { "ysXw" } else { "othr" });
        let answer = restart(&harness, session.location(), wildcard, &fragment).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.header("content-type"), FRAGMENT);
        assert_ne!(answer.header("etag"), session.header("etag"));
        for line in [
            "a=ice-lite",
            "a=ice-ufrag:",
            "a=ice-pwd:",
            "a=candidate:",
            "a=mid:0",
        ] {
            assert!(answer.body.contains(line), "{line}");
        }
    }
}

#[tokio::test]
async fn new_credentials_under_the_current_etag_are_a_restart_too() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let answer = restart(
        &harness,
        session.location(),
        session.header("etag"),
        RESTART,
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn after_a_restart_the_old_etag_is_412_and_the_new_one_works() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let restarted = restart(&harness, session.location(), "*", RESTART).await;
    let old = restart(
        &harness,
        session.location(),
        session.header("etag"),
        RESTART,
    )
    .await;
    old.is_problem(412, "restarted");
    let new = restart(
        &harness,
        session.location(),
        restarted.header("etag"),
        RESTART,
    )
    .await;
    assert_eq!(new.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn failed_ice_restart_leaves_the_session_alive() {
    let harness = Harness::new();
    let session = harness.publish().await;
    let half = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=ice-ufrag:ysXw\r\n";
    restart(&harness, session.location(), "*", half)
        .await
        .is_problem(400, "ice-pwd");
    let short = RESTART.replace("vw5LmwG4y/e6dPP/zAP9Gp5k", "short");
    restart(&harness, session.location(), "*", &short)
        .await
        .is_problem(400, "22-256");
    let answer = restart(
        &harness,
        session.location(),
        session.header("etag"),
        TRICKLED,
    )
    .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}

// §4.4: WebRTC constraints

#[tokio::test]
async fn more_than_one_track_of_a_kind_is_422() {
    let video = &HOST[HOST.find("m=video").expect("video")..];
    let offer = format!("{HOST}{}", video.replace("a=mid:1", "a=mid:2"));
    let answer = Harness::new().request("POST", WHIP).body(SDP, offer).await;
    answer.is_problem(422, "more than one video");
}

#[tokio::test]
async fn a_track_that_can_not_be_taken_refuses_the_whole_offer_with_422() {
    let offer = HOST.replace("opus/48000/2", "mystery/48000/2");
    let answer = Harness::new().request("POST", WHIP).body(SDP, offer).await;
    answer.is_problem(422, "offer opus/48000/2");
}

#[tokio::test]
async fn every_bundled_section_has_rtcp_mux_only() {
    let answer = Harness::new().publish().await;
    assert!(answer.body.contains("a=group:BUNDLE 0 1\r\n"));
    assert_eq!(answer.body.matches("a=rtcp-mux\r\n").count(), 2);
    assert_eq!(answer.body.matches("a=rtcp-mux-only\r\n").count(), 2);
}

#[tokio::test]
async fn the_node_is_the_dtls_server_unless_the_host_is() {
    for (offered, answered) in [
        ("actpass", "passive"),
        ("active", "passive"),
        ("passive", "active"),
    ] {
        let harness = Harness::new();
        let offer = HOST.replace("setup:actpass", &format!("setup:{offered}"));
        let answer = harness.request("POST", WHIP).body(SDP, offer).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        let setup = format!("a=setup:{answered}\r\n");
        assert_eq!(answer.body.matches(&setup).count(), 2, "{}", answer.body);
    }
}

// §4.5: load

#[tokio::test]
async fn a_full_node_is_503_with_retry_after() {
    let harness = Harness::of(HttpConfig::default(), 1);
    harness.publish().await;
    let answer = harness
        .request("POST", "/whip/shop/other")
        .body(SDP, HOST)
        .await;
    answer.is_problem(503, "");
    let seconds: u32 = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds > 0);
}

// §4.6: STUN and TURN servers

#[tokio::test]
async fn ice_servers_are_links_of_the_201_and_not_of_a_preflight() {
    let servers = [
        "<stun:stun.example.net>",
        "<turn:turn.example.net?transport=udp>; username=\"user\"; credential=\"secret\"",
    ];
    let harness = Harness::with(HttpConfig {
        ice_servers: servers
            .iter()
            .map(|s| s.parse().expect("a server"))
            .collect(),
        ..HttpConfig::default()
    });
    let answer = harness.publish().await;
    assert_eq!(
        answer.links()[..2],
        [
            "<stun:stun.example.net>; rel=\"ice-server\"",
            "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
             credential=\"secret\"; credential-type=\"password\"",
        ]
    );
    let preflight = harness.request("OPTIONS", WHIP).send().await;
    assert!(preflight.links().is_empty());
}

// §4.7: authentication

#[tokio::test]
async fn without_its_token_everything_but_options_is_401() {
    let harness = guarded();
    let post = harness
        .request("POST", WHIP)
        .header("authorization", "Bearer host-secret");
    let session = post.body(SDP, HOST).await;
    assert_eq!(session.status, StatusCode::CREATED);
    for (method, path) in [
        ("POST", WHIP),
        ("GET", WHIP),
        ("GET", session.location()),
        ("PATCH", session.location()),
        ("DELETE", session.location()),
    ] {
        let answer = harness.request(method, path).send().await;
        answer.is_problem(401, "bearer token");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
}

#[tokio::test]
async fn options_needs_no_token() {
    let harness = guarded();
    for path in [WHIP, "/sessions/any"] {
        let answer = harness.request("OPTIONS", path).send().await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_wrong_token_is_401_and_says_so() {
    let harness = guarded();
    for credentials in [
        "Bearer wrong",
        "Bearer viewer-secret",
        "Bearer ",
        "Basic aG9zdC1zZWNyZXQ=",
    ] {
        let post = harness
            .request("POST", WHIP)
            .header("authorization", credentials);
        post.body(SDP, HOST).await.is_problem(401, "bearer token");
    }
}

#[tokio::test]
async fn a_session_takes_the_token_of_its_own_role() {
    let harness = guarded();
    let post = harness
        .request("POST", WHIP)
        .header("authorization", "bearer host-secret");
    let session = post.body(SDP, HOST).await;
    let delete = |token| {
        let delete = harness.request("DELETE", session.location());
        delete.header("authorization", token).send()
    };
    delete("Bearer viewer-secret")
        .await
        .is_problem(401, "not valid");
    assert_eq!(delete("Bearer host-secret").await.status, StatusCode::OK);
}
