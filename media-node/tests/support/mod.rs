//! A real node on loopback, and requests to its router.

#![allow(dead_code, unreachable_pub)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use media_node::http::{HttpConfig, router};
use media_node::metrics::ShardMetrics;
use media_node::node::{LayerInfo, Node, NodeParts, Rooms, SessionId};
use media_node::shard::message::{ProgramId, SessionNumber, ShardEvent};
use media_node::shard::{Bound, ShardConfig};
use showrunner_protocol::control::PublicAddresses;
use showrunner_transport::dtls::Identity;
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

/// What Chromium publishes with.
pub const HOST: &str = include_str!("../../sdp/tests/offers/chromium-156-whip.sdp");
/// What Chromium watches with.
pub const VIEWER: &str = include_str!("../../sdp/tests/offers/chromium-156-whep.sdp");

pub const SDP: &str = "application/sdp";
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
pub const JSON: &str = "application/json";
pub const WHIP: &str = "/whip/shop/sale";
pub const WHEP: &str = "/whep/shop/sale";

/// What Chromium trickles: its credentials are those of its offer.
pub const TRICKLED: &str = "a=ice-ufrag:vsbV\r\na=ice-pwd:/SzjTzjcG5MG0ZgNRINZZpBm\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
/// New credentials.
pub const RESTART: &str = "a=ice-options:trickle\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
    a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n\
    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Harness {
    pub node: Node,
    pub router: Router,
    shard: UnboundedSender<ShardEvent>,
    /// What people show at a path, if they must.
    pub bearer: Option<fn(&str) -> String>,
    running: Arc<Running>,
}

/// The threads of a node, which end with the last who uses it: one that needs a random number while the process ends
/// is aborted by the library that it asks.
struct Running {
    node: Node,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.node.shut_down();
        for thread in self.threads.drain(..) {
            // Its panic was printed.
            let _ = thread.join();
        }
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Harness {
    pub fn new() -> Harness {
        Harness::with(HttpConfig::default())
    }

    pub fn with(config: HttpConfig) -> Harness {
        Harness::of(config, 100)
    }

    pub fn of(config: HttpConfig, max_sessions: usize) -> Harness {
        Harness::made(1, Rooms::Any, config, max_sessions)
    }

    pub fn taking(rooms: Rooms, config: HttpConfig, max_sessions: usize) -> Harness {
        Harness::made(1, rooms, config, max_sessions)
    }

    pub fn on_shards(count: usize, config: HttpConfig, max_sessions: usize) -> Harness {
        Harness::made(count, Rooms::Any, config, max_sessions)
    }

    fn made(count: usize, rooms: Rooms, config: HttpConfig, max_sessions: usize) -> Harness {
        let harness = Harness::untold(count, rooms, config, max_sessions);
        let public = PublicAddresses {
            addresses: vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
            media_port: None,
        };
        harness.node.tell_addresses(public).expect("an address");
        harness
    }

    /// A node that nobody has told how clients reach it.
    pub fn untold(count: usize, rooms: Rooms, config: HttpConfig, max_sessions: usize) -> Harness {
        let identity = Arc::new(Identity::generate().expect("a certificate"));
        let shards = (0..count).map(|index| ShardConfig {
            index,
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            core: None,
        });
        let bound: Vec<Bound> = shards.map(|s| Bound::bind(s).expect("a port")).collect();
        let parts = NodeParts {
            shards: bound.iter().map(|b| (b.handle(), b.port())).collect(),
            fingerprint: identity.fingerprint(),
            max_sessions,
            rooms,
        };
        let relays: Vec<_> = bound.iter().map(Bound::relay).collect();
        let (tell, events) = tokio::sync::mpsc::unbounded_channel();
        let threads = bound.into_iter().enumerate().map(|(index, shard)| {
            let (identity, metrics) = (Arc::clone(&identity), ShardMetrics::new(index));
            let started = shard.start(identity, relays.clone(), tell.clone(), metrics);
            started.expect("a thread")
        });
        let threads = threads.collect();
        let node = Node::new(parts, events);
        let running = Running {
            node: node.clone(),
            threads,
        };
        Harness {
            router: router(node.clone(), config),
            node,
            shard: tell,
            bearer: None,
            running: Arc::new(running),
        }
    }

    /// The same node, to somebody who shows something else.
    pub fn showing(&self, bearer: fn(&str) -> String) -> Harness {
        Harness {
            node: self.node.clone(),
            router: self.router.clone(),
            shard: self.shard.clone(),
            bearer: Some(bearer),
            running: Arc::clone(&self.running),
        }
    }

    pub fn request(&self, method: &str, path: &str) -> Call {
        let call = Call {
            router: self.router.clone(),
            request: Request::builder()
                .method(Method::try_from(method).expect("a method"))
                .uri(path)
                .body(Body::empty())
                .expect("a request"),
        };
        match self.bearer {
            Some(bearer) => call.header("authorization", &format!("Bearer {}", bearer(path))),
            None => call,
        }
    }

    /// A session made by a good offer.
    pub async fn publish(&self) -> Answer {
        let answer = self.request("POST", WHIP).body(SDP, HOST).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer
    }

    pub async fn watch(&self) -> Answer {
        let answer = self.request("POST", WHEP).body(SDP, VIEWER).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer
    }

    /// Publishes, and has the shard report that the host is connected.
    pub async fn go_live(&self) -> Answer {
        let answer = self.publish().await;
        self.connect_all();
        self.until(|node| node.status().rooms.iter().any(|r| r.video_codec.is_some()))
            .await;
        answer
    }

    /// Has the shard report that the first sessions are connected.
    pub fn connect_all(&self) {
        for number in 0..8 {
            self.tell(ShardEvent::Connected {
                number: SessionNumber(number),
            });
        }
    }

    /// Has the shard report what its only program has on air.
    pub async fn on_air(&self, active: bool, layers: &[LayerInfo]) {
        let layers: Arc<[LayerInfo]> = layers.into();
        let program = ProgramId(0);
        self.tell(ShardEvent::OnAir {
            program,
            active,
            layers,
            streams: Arc::default(),
        });
        self.until(|node| node.status().rooms.iter().any(|r| r.active == active))
            .await;
    }

    /// Has the shard report which layers of its only program are wanted.
    pub fn want(&self, rids: &[&str]) {
        self.tell(ShardEvent::Wanted {
            program: ProgramId(0),
            rids: rids.iter().map(|rid| Arc::from(*rid)).collect(),
        });
    }

    /// Ends a session as the node itself does, and waits until HTTP has noticed.
    pub async fn lose(&self, session: &str) {
        let id = session
            .rsplit('/')
            .next()
            .and_then(SessionId::parse)
            .expect("an id");
        let reason = media_node::node::EndReason::ConsentExpired;
        self.node.end(&id, reason).await.expect("a session");
    }

    fn tell(&self, event: ShardEvent) {
        assert!(self.shard.send(event).is_ok(), "the node is gone");
    }

    pub async fn until(&self, is_so: impl Fn(&Node) -> bool) {
        let wait = async {
            while !is_so(&self.node) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the node did not get there");
    }
}

/// A request in the making; awaiting it gives the answer.
pub struct Call {
    router: Router,
    request: Request<Body>,
}

impl Call {
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.request.headers_mut()
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Call {
        let value = value.parse().expect("a header");
        self.request.headers_mut().append(name, value);
        self
    }

    pub async fn body(mut self, media_type: &str, body: impl Into<Body>) -> Answer {
        *self.request.body_mut() = body.into();
        self.header("content-type", media_type).send().await
    }

    pub async fn send(self) -> Answer {
        let response = self.router.oneshot(self.request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let read = tokio::time::timeout(PATIENCE, to_bytes(body, 1 << 20));
        let bytes = read.await.expect("a body that ends").expect("a body");
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(bytes.to_vec()).expect("text"),
        }
    }

    /// The answer's body, still coming.
    pub async fn stream(self) -> Stream {
        let response = self.router.oneshot(self.request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        Stream {
            headers: response.headers().clone(),
            body: response.into_body(),
            rest: String::new(),
        }
    }
}

/// Server-sent events.
pub struct Stream {
    pub headers: HeaderMap,
    body: Body,
    rest: String,
}

impl Stream {
    /// The next event's lines; none at the end.
    pub async fn next(&mut self) -> Option<String> {
        use http_body_util::BodyExt;
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let event = event.to_owned();
                self.rest = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let data = frame
                .expect("an event")?
                .expect("a frame")
                .into_data()
                .ok()?;
            self.rest
                .push_str(std::str::from_utf8(&data).expect("text"));
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
            .to_str()
            .expect("text")
    }

    pub fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub fn links(&self) -> Vec<&str> {
        let links = self.headers.get_all("link").iter();
        links.map(|l| l.to_str().expect("text")).collect()
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    /// That this is a problem document (RFC 9457) of this status, with a sentence that names something.
    pub fn is_problem(&self, status: u16, names: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["title"],
            self.status.canonical_reason().expect("a phrase")
        );
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(names), "{detail}");
    }
}
