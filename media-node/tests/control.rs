//! The control API, and who may do what on a node of a cluster.

mod cluster;
mod support;

use aws_lc_rs::hmac;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cluster::{MAX_ROOMS, Pod, ROOM, SECRET, assignment, credential, grant, keys, now};
use serde_json::json;
use showrunner_protocol::token::{Caller, Role};
use support::{Harness, JSON, WHEP, WHIP};

/// A well signed credential with these times.
fn forge(issued: u64, expires: u64) -> String {
    let claims = json!({
        "iss": "operator", "aud": "showrunner-pod-control", "jti": "1", "iat": issued, "exp": expires,
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let message = format!("{head}.{}", part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

// Rooms

#[tokio::test]
async fn a_room_is_created_then_known_and_what_is_older_is_refused() {
    let pod = Pod::empty();
    for (generation, expected) in [(2, 201), (2, 200), (3, 200), (2, 409)] {
        let answer = pod.assign("sale", &assignment("u-1", generation)).await;
        assert_eq!(answer.status.as_u16(), expected, "{generation}");
    }
    let stale = pod.assign("sale", &assignment("u-1", 1)).await;
    stale.is_problem(409, "generation 3");
    let status = pod.status().await;
    assert_eq!(status["rooms"][0]["name"], "shop/sale");
    assert_eq!(status["rooms"][0]["uid"], "u-1");
    assert_eq!(status["rooms"][0]["generation"], 3);
    assert_eq!(status["rooms"][0]["active"], false);
    assert_eq!(status["capacity"]["maxRooms"], MAX_ROOMS);
}

#[tokio::test]
async fn another_uid_ends_the_room_before_and_begins_the_next() {
    let (pod, host) = Pod::on_air().await;
    let (viewer, mut events) = pod.viewer("[\"ended\"]").await;
    let answer = pod.assign("sale", &assignment("u-2", 1)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let told = events.next().await.expect("an event");
    assert!(told.contains("event: ended"), "{told}");
    pod.until_gone(&host).await;
    pod.until_gone(&viewer).await;
    let old = pod.publish(&grant("sale", "u-1", Role::Host)).await;
    old.is_problem(404, "does not have the room");
    let new = pod.publish(&grant("sale", "u-2", Role::Host)).await;
    assert_eq!(new.status, StatusCode::CREATED, "{}", new.body);
}

#[tokio::test]
async fn what_is_no_assignment_is_refused_with_the_reason() {
    let pod = Pod::empty();
    let unknown = r#"{"uid":"u-1","generation":1,"role":{"kind":"mirror"}}"#;
    let answer = pod.assign("sale", unknown).await;
    answer.is_problem(400, "mirror");
    pod.assign("sale", "{").await.is_problem(400, "EOF");
    let request = pod.request("PUT", ROOM).operator();
    let text = request.body("text/plain", assignment("u-1", 1)).await;
    text.is_problem(415, JSON);
    let bad = pod.assign("Sale", &assignment("u-1", 1)).await;
    bad.is_problem(404, "not a valid room name");
}

#[tokio::test]
async fn a_node_with_all_its_rooms_takes_no_more_until_one_ends() {
    let pod = Pod::empty();
    for n in 0..MAX_ROOMS {
        let answer = pod.assign(&format!("r{n}"), &assignment("u-1", 1)).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    let refused = pod.assign("sale", &assignment("u-1", 1)).await;
    refused.is_problem(503, "3 rooms");
    assert!(refused.has("retry-after"));
    assert_eq!(pod.end("r0", "u-1").await.status, StatusCode::NO_CONTENT);
    let taken = pod.assign("sale", &assignment("u-1", 1)).await;
    assert_eq!(taken.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_end_must_name_the_room_that_is_there() {
    let pod = Pod::with_room().await;
    pod.end("other", "u-1").await.is_problem(404, "no such");
    pod.end("sale", "u-2").await.is_problem(409, "another room");
    let request = pod.request("DELETE", ROOM).operator();
    request.send().await.is_problem(400, "uid");
    assert_eq!(pod.end("sale", "u-1").await.status, StatusCode::NO_CONTENT);
    pod.end("sale", "u-1").await.is_problem(404, "no such");
    assert_eq!(pod.status().await["rooms"], json!([]));
}

#[tokio::test]
async fn the_end_of_a_room_is_told_to_its_viewers_and_ends_all_its_sessions() {
    let (pod, host) = Pod::on_air().await;
    let (viewer, mut events) = pod.viewer("[\"ended\"]").await;
    assert_eq!(pod.end("sale", "u-1").await.status, StatusCode::NO_CONTENT);
    let told = events.next().await.expect("an event");
    assert!(told.contains("event: ended"), "{told}");
    assert_eq!(events.next().await, None);
    pod.until_gone(&host).await;
    pod.until_gone(&viewer).await;
    assert_eq!(pod.status().await["sessions"], 0);
    let late = pod.watch(&grant("sale", "u-1", Role::Viewer)).await;
    late.is_problem(404, "does not have the room");
}

#[tokio::test]
async fn a_room_has_no_more_viewers_than_it_may() {
    let (pod, _) = Pod::on_air().await;
    let limited = json!({
        "uid": "u-1", "generation": 2, "role": { "kind": "origin" }, "limits": { "maxViewers": 1 },
    });
    let answer = pod.assign("sale", &limited.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let token = grant("sale", "u-1", Role::Viewer);
    assert_eq!(pod.watch(&token).await.status, StatusCode::CREATED);
    let refused = pod.watch(&token).await;
    refused.is_problem(503, "all the viewers");
    assert!(refused.has("retry-after"));
}

#[tokio::test]
async fn who_left_early_counts_until_the_room_ends() {
    let (pod, host) = Pod::on_air().await;
    let token = grant("sale", "u-1", Role::Viewer);
    let viewer = pod.watch(&token).await;
    pod.harness.connect_all();
    pod.harness
        .until(|node| node.status().rooms[0].viewers == 1)
        .await;
    let nobody = json!({ "reached10": 0, "left10": 0, "reached30": 0, "left30": 0 });
    assert_eq!(pod.status().await["rooms"][0]["retention"], nobody);
    for (session, token) in [(viewer, token), (host, grant("sale", "u-1", Role::Host))] {
        let request = pod.request("DELETE", session.location()).shows(&token);
        assert_eq!(request.send().await.status, StatusCode::OK);
    }
    let one = json!({ "reached10": 0, "left10": 1, "reached30": 0, "left30": 1 });
    assert_eq!(pod.status().await["rooms"][0]["retention"], one);
    let next = pod.assign("sale", &assignment("u-2", 1)).await;
    assert_eq!(next.status, StatusCode::OK);
    assert_eq!(pod.status().await["rooms"][0]["retention"], nobody);
}

// Credentials

/// Everything that only operator and gateway may ask.
const CONTROL: [(&str, &str); 5] = [
    ("PUT", ROOM),
    ("DELETE", "/v1/rooms/shop/sale?uid=u-1"),
    ("GET", "/v1/status"),
    ("POST", "/v1/drain"),
    ("PUT", "/v1/addresses"),
];

#[tokio::test]
async fn without_a_good_credential_nothing_is_told_and_nothing_done() {
    let pod = Pod::with_room().await;
    let other = keys("another secret, of another installation");
    let of_keys = |keys: &showrunner_protocol::token::ControlKeys, at| {
        keys.sign(Caller::Operator, at).expect("randomness")
    };
    let ours = keys(SECRET);
    for (token, why) in [
        ("no.jwt".to_owned(), "not a JWT"),
        (of_keys(&ours, now() - 100), "expired"),
        (of_keys(&ours, now() + 100), "not valid yet"),
        (of_keys(&other, now()), "not known here"),
        (forge(now(), now() + 3600), "lives too long"),
    ] {
        for (method, path) in CONTROL.into_iter().chain([("POST", WHIP), ("POST", WHEP)]) {
            let answer = pod.request(method, path).shows(&token).send().await;
            answer.is_problem(401, why);
            assert!(answer.header("www-authenticate").contains("invalid_token"));
        }
    }
    for (method, path) in CONTROL.into_iter().chain([("POST", WHIP), ("POST", WHEP)]) {
        let answer = pod.request(method, path).send().await;
        answer.is_problem(401, "bearer token");
        assert!(answer.has("www-authenticate"));
    }
    let good = forge(now(), now() + 60);
    let answer = pod.request("GET", "/v1/status").shows(&good).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("shop/sale") && pod.harness.node.is_ready().is_ok());
}

#[tokio::test]
async fn the_gateway_may_ask_but_not_command() {
    let pod = Pod::with_room().await;
    let status = pod.request("GET", "/v1/status").gateway().send().await;
    assert_eq!(status.status, StatusCode::OK);
    let host = grant("sale", "u-1", Role::Host);
    for (method, path) in [CONTROL[0], CONTROL[1], CONTROL[3], CONTROL[4]] {
        for token in [&credential(Caller::Gateway), &host] {
            let answer = pod.request(method, path).shows(token).send().await;
            answer.is_problem(403, "operator");
        }
    }
    assert!(pod.harness.node.is_ready().is_ok());
    assert_eq!(pod.status().await["rooms"][0]["uid"], "u-1");
}

#[tokio::test]
async fn keys_are_rotated_without_a_restart() {
    let new = "the secret that comes after the first one";
    let pod = Pod::with_room().await;
    let ask = async |secret: &str| {
        let token = keys(secret).sign(Caller::Operator, now());
        let request = pod.request("GET", "/v1/status");
        let request = request.shows(&token.expect("randomness"));
        request.send().await.status.as_u16()
    };
    assert_eq!((ask(SECRET).await, ask(new).await), (200, 401));
    for (file, of_old, of_new) in [
        (format!("{SECRET}\n{new}\n"), 200, 200),
        ("short".to_owned(), 200, 200),
        (format!("{new}\n"), 401, 200),
    ] {
        pod.dir.put("control.key", &file);
        pod.access.look();
        assert_eq!((ask(SECRET).await, ask(new).await), (of_old, of_new));
    }
}

#[tokio::test]
async fn a_node_of_its_own_has_no_control_api() {
    let harness = Harness::new();
    for (method, path) in [CONTROL[0], CONTROL[1], CONTROL[3], CONTROL[4]] {
        let answer = harness.request(method, path).operator().send().await;
        answer.is_problem(404, "nothing here");
    }
    let status = harness.request("GET", "/v1/status").send().await;
    assert_eq!(status.status, StatusCode::OK);
}

// People

#[tokio::test]
async fn a_grant_lets_into_its_room_in_its_role_and_nowhere_else() {
    let (pod, _) = Pod::on_air().await;
    for (token, whip, whep) in [
        (grant("other", "u-1", Role::Host), 403, 403),
        (grant("sale", "u-2", Role::Host), 404, 404),
        (grant("sale", "u-1", Role::Viewer), 403, 201),
        (grant("sale", "u-1", Role::CoHost), 201, 201),
        // It is let in, and offers sound.
        (grant("sale", "u-1", Role::Transcoder), 422, 201),
        (credential(Caller::Gateway), 403, 403),
        (credential(Caller::Operator), 403, 403),
    ] {
        assert_eq!(pod.publish(&token).await.status.as_u16(), whip);
        assert_eq!(pod.watch(&token).await.status.as_u16(), whep);
    }
    for role in [Role::Host, Role::Viewer] {
        let path = if role == Role::Host { "whip" } else { "whep" };
        let request = pod.request("POST", &format!("/{path}/shop/other"));
        let answer = request.shows(&grant("other", "u-1", role)).send().await;
        answer.is_problem(404, "does not have the room");
    }
}

#[tokio::test]
async fn a_session_is_only_for_those_with_a_grant_for_its_room() {
    let (pod, host) = Pod::on_air().await;
    let url = host.location();
    for (token, expected) in [
        (grant("other", "u-1", Role::Host), 403),
        (grant("sale", "u-1", Role::Viewer), 403),
        (grant("sale", "u-1", Role::Transcoder), 403),
        (credential(Caller::Operator), 403),
        (grant("sale", "u-1", Role::Host), 200),
    ] {
        let answer = pod.request("DELETE", url).shows(&token).send().await;
        assert_eq!(answer.status.as_u16(), expected);
    }
}

// Drain

#[tokio::test]
async fn a_draining_node_sends_its_viewers_on_and_takes_nobody() {
    let (pod, host) = Pod::on_air().await;
    let (viewer, mut events) = pod.viewer("[\"reconnect\"]").await;
    let answer = pod.drain(3600).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let ready = pod.request("GET", "/readyz").send().await;
    ready.is_problem(503, "no new sessions");
    assert!(ready.has("retry-after"));
    let healthy = pod.request("GET", "/healthz").send().await;
    assert_eq!(healthy.status, StatusCode::OK);
    for refused in [
        pod.publish(&grant("sale", "u-1", Role::Host)).await,
        pod.watch(&grant("sale", "u-1", Role::Viewer)).await,
    ] {
        refused.is_problem(503, "no new sessions");
        assert!(refused.has("retry-after"));
    }
    let new = pod.assign("other", &assignment("u-9", 1)).await;
    new.is_problem(503, "draining");
    assert!(new.has("retry-after"));
    let known = pod.assign("sale", &assignment("u-1", 2)).await;
    assert_eq!(known.status, StatusCode::OK);
    let status = pod.status().await;
    assert_eq!(
        (&status["ready"], &status["draining"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(status["sessions"], 2, "nobody has to go yet");
    // The time that is left is cut short, but those who were told keep the moment they were given.
    assert_eq!(pod.drain(0).await.status, StatusCode::ACCEPTED);
    pod.until_gone(&host).await;
    pod.until_gone(&viewer).await;
    while events.next().await.is_some() {}
    assert_eq!(pod.status().await["sessions"], 0);
}

#[tokio::test]
async fn each_viewer_of_a_draining_node_is_told_to_reconnect() {
    let (pod, _) = Pod::on_air().await;
    let (_, mut before) = pod.viewer("[\"reconnect\"]").await;
    pod.drain(1).await;
    let told = before.next().await.expect("an event");
    assert!(told.contains("event: reconnect"), "{told}");
}

/// What a node is told of a room that is to be left.
fn leave(leave: Option<u32>, revision: u64) -> String {
    let role = json!({ "kind": "origin" });
    json!({ "uid": "u-1", "generation": 1, "revision": revision, "role": role, "leave": leave })
        .to_string()
}

#[tokio::test]
async fn clients_of_a_room_are_sent_on_when_the_operator_says_so() {
    let (pod, host) = Pod::on_air().await;
    let (session, mut viewer) = pod.viewer("[\"reconnect\"]").await;
    let mut hosts = pod
        .events_of(&host, &grant("sale", "u-1", Role::Host))
        .await;
    assert_eq!(pod.status().await["rooms"][0]["leaving"], false);
    assert_eq!(
        pod.assign("sale", &leave(Some(3600), 1)).await.status,
        StatusCode::OK
    );
    for events in [&mut hosts, &mut viewer] {
        let told = events.next().await.expect("an event");
        assert!(told.contains("event: reconnect"), "{told}");
    }
    assert_eq!(pod.status().await["rooms"][0]["leaving"], true);
    // Whose stream breaks is told again by the next; and nobody new comes in.
    let watcher = grant("sale", "u-1", Role::Viewer);
    let mut again = pod.events_of(&session, &watcher).await;
    let told = again.next().await.expect("an event");
    assert!(told.contains("event: reconnect"), "{told}");
    pod.watch(&watcher).await.is_problem(503, "another pod");
    let stay = pod.assign("sale", &leave(None, 2)).await;
    assert_eq!(stay.status, StatusCode::OK);
    assert_eq!(pod.status().await["rooms"][0]["leaving"], false);
}

#[tokio::test]
async fn who_is_sent_on_did_not_leave_the_show() {
    let (pod, _) = Pod::on_air().await;
    let (viewer, _) = pod.viewer("[]").await;
    pod.harness.connect_all();
    pod.harness
        .until(|node| node.status().rooms[0].viewers == 1)
        .await;
    pod.assign("sale", &leave(Some(3600), 1)).await;
    let token = grant("sale", "u-1", Role::Viewer);
    let request = pod.request("DELETE", viewer.location()).shows(&token);
    assert_eq!(request.send().await.status, StatusCode::OK);
    let retention = &pod.status().await["rooms"][0]["retention"];
    assert_eq!(
        (&retention["left10"], &retention["left30"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn who_does_not_go_on_is_cut_off_in_the_end() {
    let (pod, host) = Pod::on_air().await;
    let (viewer, _) = pod.viewer("[]").await;
    pod.assign("sale", &leave(Some(0), 1)).await;
    pod.until_gone(&host).await;
    pod.until_gone(&viewer).await;
    let still = pod.status().await;
    assert_eq!(
        still["rooms"][0]["uid"], "u-1",
        "the room is the operator's to take away"
    );
}

#[tokio::test]
async fn viewers_wait_for_a_host_who_is_on_the_way_from_another_pod() {
    let pod = Pod::empty();
    let role = json!({ "kind": "origin" });
    let moved = json!({ "uid": "u-1", "generation": 1, "role": role, "awaitsHost": true });
    pod.assign("sale", &moved.to_string()).await;
    let viewer = grant("sale", "u-1", Role::Viewer);
    let comes = async {
        let host = pod.publish(&grant("sale", "u-1", Role::Host)).await;
        assert_eq!(host.status, StatusCode::CREATED, "{}", host.body);
        pod.harness.connect_all();
    };
    let (joined, ()) = tokio::join!(pod.watch(&viewer), comes);
    assert_eq!(joined.status, StatusCode::CREATED, "{}", joined.body);
}

#[tokio::test]
async fn a_host_who_does_not_come_is_waited_for_a_few_seconds() {
    let pod = Pod::empty();
    let role = json!({ "kind": "origin" });
    let moved = json!({ "uid": "u-1", "generation": 1, "role": role, "awaitsHost": true });
    pod.assign("sale", &moved.to_string()).await;
    let answer = pod.watch(&grant("sale", "u-1", Role::Viewer)).await;
    answer.is_problem(409, "nobody is on air");
}

#[tokio::test]
async fn a_drain_is_over_when_all_have_left() {
    let (pod, host) = Pod::on_air().await;
    pod.drain(86_400).await;
    let token = grant("sale", "u-1", Role::Host);
    let request = pod.request("DELETE", host.location()).shows(&token);
    assert_eq!(request.send().await.status, StatusCode::OK);
    pod.harness.node.drained().await;
}

// How clients reach it

#[tokio::test]
async fn a_node_takes_sessions_once_it_knows_how_clients_reach_it() {
    let pod = Pod::untold();
    pod.assign("sale", &assignment("u-1", 1)).await;
    let ready = pod.request("GET", "/readyz").send().await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(pod.status().await["public"].is_null());
    let early = pod.publish(&grant("sale", "u-1", Role::Host)).await;
    early.is_problem(503, "how clients reach it");

    let public = json!({ "addresses": ["192.0.2.1", "2001:db8::1"], "mediaPort": 30000 });
    assert_eq!(
        pod.tell(public.clone()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(pod.status().await["public"], public);
    let ready = pod.request("GET", "/readyz").send().await;
    assert_eq!(ready.status, StatusCode::OK);
    let host = pod.publish(&grant("sale", "u-1", Role::Host)).await;
    assert_eq!(host.status, StatusCode::CREATED, "{}", host.body);
    for candidate in ["192.0.2.1 30000 typ host", "2001:db8::1 30000 typ host"] {
        assert!(host.body.contains(candidate), "{}", host.body);
    }
}

#[tokio::test]
async fn addresses_that_nobody_could_reach_are_refused() {
    let pod = Pod::untold();
    pod.tell(json!({ "addresses": [] }))
        .await
        .is_problem(400, "no address");
    let beyond = json!({ "addresses": ["192.0.2.1"], "mediaPort": 65535 });
    pod.tell(beyond).await.is_problem(400, "2 shards");
    let odd = json!({ "addresses": ["example.com"] });
    pod.tell(odd).await.is_problem(400, "IP address");
}

// What hosts may send

#[tokio::test]
async fn a_host_sends_what_its_room_takes() {
    let pod = Pod::empty();
    let rules = |codecs: &[&str]| {
        json!({
            "uid": "u-1",
            "generation": 1,
            "role": { "kind": "origin" },
            "video": { "codecs": codecs, "maxLayers": 1 },
        })
        .to_string()
    };
    pod.assign("sale", &rules(&["H264"])).await;
    let host = pod.publish(&grant("sale", "u-1", Role::Host)).await;
    assert_eq!(host.status, StatusCode::CREATED, "{}", host.body);
    assert!(
        host.body.contains("H264/90000") && !host.body.contains("VP8/90000"),
        "{}",
        host.body
    );
    assert!(
        host.body.contains("a=simulcast:recv f\r\n"),
        "{}",
        host.body
    );
}
