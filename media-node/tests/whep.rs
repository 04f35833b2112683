//! WHEP by the letter of draft-ietf-wish-whep and its core extensions: each MUST is a test.

mod support;

use axum::http::StatusCode;
use media_node::http::{HttpConfig, Token};
use media_node::node::{LayerInfo, Node};
use serde_json::{Value, json};
use support::{Answer, FRAGMENT, Harness, JSON, RESTART, SDP, VIEWER, WHEP, WHIP};

const EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";
const REPORT: &str = "urn:showrunner:whep:report";

async fn live() -> (Harness, Answer) {
    let harness = Harness::new();
    harness.go_live().await;
    let session = harness.watch().await;
    (harness, session)
}

fn layers() -> Vec<LayerInfo> {
    let layer = |rid: &str, width, height| LayerInfo {
        spatial_layer_id: None,
        temporal_layer_id: None,
        rid: rid.to_owned(),
        size: Some((width, height)),
        bitrate_bps: 500_000,
    };
    vec![layer("h", 640, 360), layer("q", 320, 180)]
}

// Set-up

#[tokio::test]
async fn post_answers_201_with_location_etag_and_a_sendonly_answer() {
    let (_, answer) = live().await;
    assert_eq!(answer.header("content-type"), SDP);
    assert_eq!(answer.body.matches("a=sendonly\r\n").count(), 2);
    assert!(answer.location().starts_with("/sessions/"));
    assert!(answer.header("etag").starts_with('"'));
}

#[tokio::test]
async fn a_room_that_is_not_live_is_409_with_retry_after() {
    let harness = Harness::new();
    let answer = harness.request("POST", WHEP).body(SDP, VIEWER).await;
    answer.is_problem(409, "nobody is on air");
    let seconds: u32 = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds > 0);
}

#[tokio::test]
async fn post_without_application_sdp_is_415_and_malformed_sdp_400() {
    let harness = Harness::new();
    let answer = harness.request("POST", WHEP).body(JSON, VIEWER).await;
    answer.is_problem(415, SDP);
    let answer = harness.request("POST", WHEP).body(SDP, "v=0\r\n").await;
    answer.is_problem(400, "not a session description");
}

#[tokio::test]
async fn an_offer_to_send_is_422() {
    let harness = Harness::new();
    harness.go_live().await;
    for direction in ["a=sendonly", "a=inactive"] {
        let offer = VIEWER.replace("a=recvonly", direction);
        let answer = harness.request("POST", WHEP).body(SDP, offer).await;
        answer.is_problem(422, "recvonly");
    }
}

#[tokio::test]
async fn sendrecv_is_taken_and_answered_with_sendonly() {
    let harness = Harness::new();
    harness.go_live().await;
    let offer = VIEWER.replace("a=recvonly", "a=sendrecv");
    let answer = harness.request("POST", WHEP).body(SDP, offer).await;
    assert_eq!(answer.body.matches("a=sendonly\r\n").count(), 2);
}

/// A 406 would announce a counter-offer, which this node never makes.
#[tokio::test]
async fn a_viewer_without_the_codec_on_air_is_422_and_told_the_codec() {
    let harness = Harness::new();
    harness.go_live().await;
    let offer = VIEWER.replace("VP8/90000", "mystery/90000");
    let answer = harness.request("POST", WHEP).body(SDP, offer).await;
    answer.is_problem(422, "VP8");
}

#[tokio::test]
async fn all_tracks_are_of_one_media_stream() {
    let (_, answer) = live().await;
    let streams = answer
        .body
        .lines()
        .filter_map(|l| l.strip_prefix("a=msid:"));
    let streams: Vec<_> = streams.filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(streams, ["program", "program"]);
}

#[tokio::test]
async fn get_on_the_endpoint_succeeds_without_content() {
    let answer = Harness::new().request("GET", WHEP).send().await;
    assert!(answer.status.is_success() && answer.body.is_empty());
}

#[tokio::test]
async fn head_on_the_endpoint_is_200_and_names_the_media_type() {
    let answer = Harness::new().request("HEAD", WHEP).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), SDP);
}

#[tokio::test]
async fn options_is_200_with_accept_post_and_needs_no_token() {
    let harness = guarded();
    let answer = harness.request("OPTIONS", WHEP).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("accept-post"), SDP);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

fn guarded() -> Harness {
    Harness::with(HttpConfig {
        watch_token: Some(Token::new("viewer-secret")),
        ..HttpConfig::default()
    })
}

#[tokio::test]
async fn without_its_token_everything_of_a_session_is_401() {
    let harness = guarded();
    harness.go_live().await;
    harness
        .request("POST", WHEP)
        .body(SDP, VIEWER)
        .await
        .is_problem(401, "bearer token");
    let post = harness
        .request("POST", WHEP)
        .header("authorization", "Bearer viewer-secret");
    let session = post.body(SDP, VIEWER).await;
    for (method, extension) in [
        ("GET", ""),
        ("PATCH", ""),
        ("POST", "/events"),
        ("GET", "/events/0"),
        ("POST", "/layer"),
        ("DELETE", "/layer"),
        ("DELETE", ""),
    ] {
        let path = format!("{}{extension}", session.location());
        harness
            .request(method, &path)
            .send()
            .await
            .is_problem(401, "bearer token");
    }
}

// The session

#[tokio::test]
async fn delete_answers_200_and_then_404() {
    let (harness, session) = live().await;
    let answer = harness.request("DELETE", session.location()).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    harness
        .request("GET", session.location())
        .send()
        .await
        .is_problem(404, "ended");
}

#[tokio::test]
async fn trickle_and_restart_follow_the_same_rules_as_whip() {
    let (harness, session) = live().await;
    let patch = || harness.request("PATCH", session.location());
    let trickled = "a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
    patch()
        .body(FRAGMENT, trickled)
        .await
        .is_problem(428, "If-Match");
    let stale = patch()
        .header("if-match", "\"stale\"")
        .body(FRAGMENT, trickled)
        .await;
    stale.is_problem(412, "entity-tag");
    let tag = session.header("etag");
    let trickled = patch()
        .header("if-match", tag)
        .body(FRAGMENT, trickled)
        .await;
    assert_eq!(trickled.status, StatusCode::NO_CONTENT);
    assert!(!trickled.has("etag"));
    let restarted = patch()
        .header("if-match", "*")
        .body(FRAGMENT, RESTART)
        .await;
    assert_eq!(restarted.status, StatusCode::OK);
    assert_ne!(restarted.header("etag"), tag);
}

/// The node makes no counter-offers, so there are no answers to send.
#[tokio::test]
async fn patch_of_an_sdp_answer_is_415() {
    let (harness, session) = live().await;
    let patch = harness.request("PATCH", session.location());
    patch.body(SDP, VIEWER).await.is_problem(415, FRAGMENT);
}

// Server-sent events

async fn subscribe(harness: &Harness, session: &Answer, types: &str) -> String {
    let path = format!("{}/events", session.location());
    let answer = harness
        .request("POST", &path)
        .body(JSON, types.to_owned())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.location().to_owned()
}

/// An event's type and data.
fn event(text: Option<String>) -> (String, Value) {
    let text = text.expect("an event");
    let field = |name: &str| {
        let found: Vec<_> = text.lines().filter_map(|l| l.strip_prefix(name)).collect();
        assert_eq!(found.len(), 1, "one line {name} in {text:?}");
        found[0].trim().to_owned()
    };
    (
        field("event:"),
        serde_json::from_str(&field("data:")).expect("JSON"),
    )
}

#[tokio::test]
async fn the_201_announces_the_extensions_and_the_layers_event() {
    let (_, session) = live().await;
    let links = session.links();
    let of = |rel: &str| {
        let rel = format!("rel=\"{rel}\"");
        *links.iter().find(|l| l.contains(&rel)).expect("a link")
    };
    assert!(of(LAYER).starts_with(&format!("<{}/layer>", session.location())));
    assert!(of(REPORT).starts_with(&format!("<{}/report>", session.location())));
    let events = of(EVENTS);
    assert!(events.starts_with(&format!("<{}/events>", session.location())));
    assert!(
        events.contains("events=\"active,inactive,layers,adaptation,viewercount,reconnect,ended\"")
    );
}

#[tokio::test]
async fn a_publisher_is_told_of_the_events_that_concern_it() {
    let session = Harness::new().publish().await;
    let links = session.links();
    let [events] = links.as_slice() else {
        panic!("{links:?}");
    };
    assert!(events.contains("events=\"layers,viewercount,reconnect,ended,wanted\""));
}

#[tokio::test]
async fn a_host_hears_which_of_its_layers_somebody_watches() {
    let harness = Harness::new();
    let session = harness.go_live().await;
    let path = format!("{}/events", session.location());
    let active = harness
        .request("POST", &path)
        .body(JSON, "[\"active\"]")
        .await;
    active.is_problem(400, "wanted");
    let url = subscribe(&harness, &session, "[\"wanted\"]").await;
    let mut stream = harness.request("GET", &url).stream().await;
    harness.want(&["q", "f"]);
    harness.want(&["q", "f"]);
    harness.want(&["q"]);
    let wanted = |rids| ("wanted".to_owned(), json!({ "rids": rids }));
    assert_eq!(event(stream.next().await), wanted(vec!["q", "f"]));
    assert_eq!(event(stream.next().await), wanted(vec!["q"]));
    // Who follows later hears how it is.
    drop(stream);
    let mut again = harness.request("GET", &url).stream().await;
    assert_eq!(event(again.next().await), wanted(vec!["q"]));
}

#[tokio::test]
async fn a_list_of_event_types_makes_a_stream_and_an_unknown_type_is_400() {
    let (harness, session) = live().await;
    let stream = subscribe(&harness, &session, "[\"active\",\"reconnect\"]").await;
    assert!(stream.starts_with(&format!("{}/events/", session.location())));
    let path = format!("{}/events", session.location());
    let post = |body: &str| harness.request("POST", &path).body(JSON, body.to_owned());
    post("[\"active\",\"scte35\"]")
        .await
        .is_problem(400, "scte35");
    post("{\"active\": true}")
        .await
        .is_problem(400, "JSON array");
    post("[").await.is_problem(400, "JSON array");
    let text = harness
        .request("POST", &path)
        .body("text/plain", "[]")
        .await;
    text.is_problem(415, JSON);
}

#[tokio::test]
async fn without_a_list_a_stream_has_all_event_types() {
    let (harness, session) = live().await;
    harness.on_air(true, &layers()).await;
    let path = format!("{}/events", session.location());
    let created = harness.request("POST", &path).send().await;
    assert_eq!(created.status, StatusCode::CREATED);
    let mut stream = harness.request("GET", created.location()).stream().await;
    for expected in ["active", "layers", "viewercount"] {
        assert_eq!(event(stream.next().await).0, expected);
    }
}

#[tokio::test]
async fn a_stream_begins_with_the_present_state_and_goes_on_with_what_happens() {
    let (harness, session) = live().await;
    harness.on_air(true, &layers()).await;
    let url = subscribe(
        &harness,
        &session,
        "[\"active\",\"inactive\",\"layers\",\"viewercount\"]",
    )
    .await;
    let mut stream = harness.request("GET", &url).stream().await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(event(stream.next().await), ("active".into(), json!({})));
    assert_eq!(
        event(stream.next().await),
        (
            "layers".into(),
            json!({ "1": [
                { "rid": "h", "width": 640, "height": 360, "bitrate": 500_000 },
                { "rid": "q", "width": 320, "height": 180, "bitrate": 500_000 },
            ] })
        )
    );
    let (name, data) = event(stream.next().await);
    assert_eq!(name, "viewercount");
    assert!(data["viewercount"].is_u64());
    harness.on_air(false, &[]).await;
    while event(stream.next().await) != ("inactive".into(), json!({})) {}
}

#[tokio::test]
async fn a_stream_that_begins_while_somebody_is_there_for_a_moment_counts_right_in_the_end() {
    let (harness, session) = live().await;
    harness.connect_all();
    let url = subscribe(&harness, &session, "[\"viewercount\"]").await;
    let follow = || async { harness.request("GET", &url).stream().await };
    let counts = |viewers: u32| ("viewercount".into(), json!({ "viewercount": viewers }));
    let mut stream = follow().await;
    while event(stream.next().await) != counts(1) {}
    drop(stream);
    let other = harness.watch().await;
    harness.connect_all();
    let viewers = |node: &Node| node.status().rooms.iter().map(|r| r.viewers).sum::<u32>();
    harness.until(|node| viewers(node) == 2).await;
    let mut stream = follow().await;
    assert_eq!(event(stream.next().await), counts(2));
    harness.request("DELETE", other.location()).send().await;
    while event(stream.next().await) != counts(1) {}
}

#[tokio::test]
async fn a_stream_has_only_the_types_that_it_was_made_for() {
    let (harness, session) = live().await;
    harness.on_air(true, &layers()).await;
    let url = subscribe(&harness, &session, "[\"inactive\"]").await;
    let mut stream = harness.request("GET", &url).stream().await;
    harness.on_air(false, &[]).await;
    assert_eq!(event(stream.next().await), ("inactive".into(), json!({})));
}

#[tokio::test]
async fn no_initial_inactive_is_sent_to_a_session_that_began_before_the_media() {
    let (harness, session) = live().await;
    let url = subscribe(&harness, &session, "[\"active\",\"inactive\"]").await;
    let mut stream = harness.request("GET", &url).stream().await;
    harness.on_air(true, &layers()).await;
    assert_eq!(event(stream.next().await), ("active".into(), json!({})));
}

#[tokio::test]
async fn a_stream_that_is_followed_anew_tells_what_was_missed() {
    let (harness, session) = live().await;
    harness.on_air(true, &layers()).await;
    let url = subscribe(&harness, &session, "[\"active\",\"inactive\"]").await;
    let mut stream = harness.request("GET", &url).stream().await;
    assert_eq!(event(stream.next().await).0, "active");
    drop(stream);
    harness.on_air(false, &[]).await;
    let mut stream = harness.request("GET", &url).stream().await;
    assert_eq!(event(stream.next().await).0, "inactive");
}

#[tokio::test]
async fn a_deleted_stream_ends_and_is_404() {
    let (harness, session) = live().await;
    let url = subscribe(&harness, &session, "[\"inactive\"]").await;
    let mut stream = harness.request("GET", &url).stream().await;
    let deleted = harness.request("DELETE", &url).send().await;
    assert_eq!(deleted.status, StatusCode::OK);
    assert_eq!(stream.next().await, None);
    for method in ["GET", "DELETE"] {
        harness
            .request(method, &url)
            .send()
            .await
            .is_problem(404, "no such event stream");
    }
}

#[tokio::test]
async fn all_streams_end_with_their_session() {
    let (harness, session) = live().await;
    let url = subscribe(&harness, &session, "[\"inactive\"]").await;
    let mut stream = harness.request("GET", &url).stream().await;
    harness.lose(session.location()).await;
    assert_eq!(stream.next().await, None);
    harness
        .request("GET", &url)
        .send()
        .await
        .is_problem(404, "ended");
}

#[tokio::test]
async fn more_streams_than_a_session_may_have_replace_the_oldest() {
    let (harness, session) = live().await;
    let first = subscribe(&harness, &session, "[]").await;
    for _ in 0..4 {
        subscribe(&harness, &session, "[]").await;
    }
    harness
        .request("DELETE", &first)
        .send()
        .await
        .is_problem(404, "no such event stream");
}

// Layer selection

#[tokio::test]
async fn a_layer_on_air_can_be_chosen_and_released() {
    let (harness, session) = live().await;
    harness.on_air(true, &layers()).await;
    let path = format!("{}/layer", session.location());
    for selection in [
        json!({ "mediaId": "1", "rid": "h" }),
        json!({ "maxHeight": 360, "future": true }),
        json!({ "mediaId": "1" }),
        json!({}),
    ] {
        let answer = harness
            .request("POST", &path)
            .body(JSON, selection.to_string())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    let answer = harness.request("DELETE", &path).send().await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_choice_that_can_not_be_is_refused_with_its_reason() {
    let (harness, session) = live().await;
    harness.on_air(true, &layers()).await;
    let path = format!("{}/layer", session.location());
    let post = |body: &str| harness.request("POST", &path).body(JSON, body.to_owned());
    post("{\"rid\": \"x\"}")
        .await
        .is_problem(422, "no layer \"x\"");
    post("{\"mediaId\": \"0\", \"rid\": \"h\"}")
        .await
        .is_problem(422, "mediaId");
    post("{\"spatialLayerId\": -1}")
        .await
        .is_problem(400, "layer selection");
    post("{\"rid\": 7}")
        .await
        .is_problem(400, "layer selection");
    post("rid=h").await.is_problem(400, "layer selection");
    let text = harness
        .request("POST", &path)
        .body("text/plain", "{}")
        .await;
    text.is_problem(415, JSON);
}

#[tokio::test]
async fn a_publishers_session_has_no_layer_to_choose() {
    let harness = Harness::new();
    let session = harness.request("POST", WHIP).body(SDP, support::HOST).await;
    let path = format!("{}/layer", session.location());
    harness
        .request("POST", &path)
        .body(JSON, "{}")
        .await
        .is_problem(404, "viewers choose");
}
