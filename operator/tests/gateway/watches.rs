//! The view as watches of an API server fill it, which says odd things, goes away and comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::json;
use showrunner_operator::gateway::live_view::LiveView;
use showrunner_operator::gateway::metrics::Metrics;
use showrunner_operator::gateway::view::View;
use showrunner_protocol::RoomName;

use crate::api::{Api, live_room, media_pod, tell};
use crate::support::{PATIENCE, pod_name};

const POD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)), 8443);

fn has_room(view: &View, name: &str) -> bool {
    view.room(&RoomName::new("shop", name).unwrap()).is_some()
}

async fn until(view: &LiveView, is_so: impl Fn(&View) -> bool) {
    let mut changes = view.changes();
    let wait = async {
        while !view.read(&is_so) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the view did not get there");
}

async fn wait_for(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it did not get there");
}

#[tokio::test]
async fn the_view_follows_what_is_said_and_keeps_it_while_nobody_speaks() {
    let mut api = Api::new();
    api.rooms.lock().unwrap().items = vec![
        live_room("one", "One"),
        live_room("odd", json!({"not": "a title"})),
        live_room("two", "Two"),
    ];
    api.pods.lock().unwrap().items = vec![media_pod("eu-0", POD), media_pod("eu-1", POD)];
    api.start().await;
    let (view, metrics) = (Arc::new(LiveView::default()), Metrics::new().unwrap());
    let following = api.follow(&view, &metrics);

    until(&view, |view| view.size() == (2, 2)).await;
    assert!(view.read(|view| has_room(view, "one") && has_room(view, "two")));
    wait_for(|| view.is_complete() && api.is_watched()).await;

    // A new room, one that can't be read any more, one that is gone.
    tell(&api.rooms, "ADDED", live_room("three", "Three"));
    tell(&api.rooms, "MODIFIED", live_room("two", 7));
    tell(&api.rooms, "DELETED", live_room("one", "One"));
    until(&view, |view| {
        has_room(view, "three") && !has_room(view, "one")
    })
    .await;
    assert!(view.read(|view| has_room(view, "two")));

    // The server is away: all stays.
    api.stop().await;
    let failed = "showrunner_gateway_watch_errors_total{resource=\"liverooms\"}";
    wait_for(|| metrics.render().contains(failed)).await;
    assert_eq!(view.read(View::size), (2, 2));
    assert!(view.is_complete());

    // It is back, and much has happened. The room that can't be read is still there.
    api.rooms.lock().unwrap().items = vec![live_room("two", 7), live_room("four", "Four")];
    api.pods.lock().unwrap().items = vec![media_pod("eu-1", POD)];
    // A watch that was cut off goes on where it was; that its version is too old makes it list anew.
    api.start().await;
    let gone = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
        "message": "too old resource version",
    });
    let is_new = |view: &View| has_room(view, "four") && view.address(&pod_name("eu-0")).is_none();
    wait_for(|| {
        tell(&api.rooms, "ERROR", gone.clone());
        tell(&api.pods, "ERROR", gone.clone());
        view.read(is_new)
    })
    .await;
    assert!(view.read(|view| has_room(view, "two") && !has_room(view, "three")));
    assert_eq!(view.read(View::size), (2, 1));
    following.abort();
}

#[tokio::test]
async fn a_gateway_that_never_heard_of_the_cluster_is_not_ready() {
    let mut api = Api::new();
    api.start().await;
    api.stop().await;
    let (view, metrics) = (Arc::new(LiveView::default()), Metrics::new().unwrap());
    let following = api.follow(&view, &metrics);
    wait_for(|| metrics.render().contains("watch_errors_total{")).await;
    assert!(!view.is_complete());
    api.start().await;
    wait_for(|| view.is_complete()).await;
    following.abort();
}
