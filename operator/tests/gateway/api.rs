//! As much of an API server as watches need: it lists, tells of changes, goes away and comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use showrunner_door::Door;
use showrunner_operator::gateway::metrics::Metrics;
use showrunner_operator::gateway::{live_view::LiveView, watches};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::PATIENCE;

/// What an API server has of one kind, and those who watch it.
#[derive(Default)]
pub(crate) struct Kind {
    pub(crate) items: Vec<Value>,
    watchers: Vec<mpsc::UnboundedSender<Value>>,
}

/// As much of an API server as a watch needs, in a runtime of its own.
pub(crate) struct Api {
    pub(crate) rooms: Arc<Mutex<Kind>>,
    pub(crate) pods: Arc<Mutex<Kind>>,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct How {
    watch: Option<bool>,
    label_selector: Option<String>,
}

async fn answer(State(kind): State<Arc<Mutex<Kind>>>, Query(how): Query<How>) -> Response {
    let mut kind = kind.lock().unwrap();
    if how.watch != Some(true) {
        let items = kind.items.clone();
        let list = json!({
            "kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items,
        });
        return Json(list).into_response();
    }
    let (tell, told) = mpsc::unbounded_channel::<Value>();
    kind.watchers.push(tell);
    let events = stream::unfold(told, async |mut told| Some((told.recv().await?, told)));
    let lines = events.map(|event| Ok::<_, std::io::Error>(Bytes::from(format!("{event}\n"))));
    Body::from_stream(lines).into_response()
}

impl Api {
    pub(crate) fn new() -> Api {
        Api {
            rooms: Arc::default(),
            pods: Arc::default(),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            runtime: None,
        }
    }

    pub(crate) async fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let of = |kind: &Arc<Mutex<Kind>>| get(answer).with_state(Arc::clone(kind));
        let pods = Arc::clone(&self.pods);
        let media = async move |Query(how): Query<How>| {
            let selector = how.label_selector.clone().unwrap_or_default();
            assert_eq!(selector, "app.kubernetes.io/component=media-pod");
            answer(State(pods), Query(how)).await
        };
        let router = Router::new()
            .route("/apis/showrunner.dev/v1alpha1/liverooms", of(&self.rooms))
            .route("/api/v1/pods", get(media));
        let bind = self.address;
        let started = runtime.spawn(async move {
            let listener = TcpListener::bind(bind).await.unwrap();
            let address = listener.local_addr().unwrap();
            let door = Door {
                listener,
                router,
                tls: None,
                max_connections: 100,
            };
            tokio::spawn(door.serve(std::future::pending(), Duration::ZERO));
            address
        });
        self.address = started.await.unwrap();
        self.runtime = Some(runtime);
    }

    pub(crate) async fn stop(&mut self) {
        let runtime = self.runtime.take().unwrap();
        let end = move || runtime.shutdown_timeout(PATIENCE);
        tokio::task::spawn_blocking(end).await.unwrap();
        for kind in [&self.rooms, &self.pods] {
            kind.lock().unwrap().watchers.clear();
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        let kinds = [&self.rooms, &self.pods];
        kinds
            .iter()
            .all(|kind| !kind.lock().unwrap().watchers.is_empty())
    }

    /// Starts a gateway's watches of it.
    pub(crate) fn follow(&self, view: &Arc<LiveView>, metrics: &Metrics) -> JoinHandle<()> {
        let url = format!("http://{}", self.address).parse().unwrap();
        let client = kube::Client::try_from(kube::Config::new(url)).unwrap();
        let (view, metrics) = (Arc::clone(view), metrics.clone());
        tokio::spawn(async move { watches::follow(client, &view, &metrics).await })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn tell(kind: &Mutex<Kind>, event: &str, object: Value) {
    let kind = kind.lock().unwrap();
    for watcher in &kind.watchers {
        let _ = watcher.send(json!({"type": event, "object": object}));
    }
}

pub(crate) fn live_room(name: &str, title: impl Into<Value>) -> Value {
    json!({
        "apiVersion": "showrunner.dev/v1alpha1", "kind": "LiveRoom",
        "metadata": {"namespace": "shop", "name": name, "uid": "u-1", "resourceVersion": "2"},
        "spec": {"title": title.into()},
        "status": {"origin": {"namespace": "media", "mediaNode": "eu", "pod": "eu-0", "region": "eu"}},
    })
}

pub(crate) fn media_pod(name: &str, address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "media", "name": name, "resourceVersion": "2"},
        "spec": {"containers": [{"name": "media-node", "ports": [{"name": "https", "containerPort": address.port()}]}]},
        "status": {"podIP": address.ip(), "conditions": [{"type": "Ready", "status": "True"}]},
    })
}
