//! The gateway: the one public HTTP door to all rooms.
//!
//! It checks tokens, finds the pod, and passes signalling on; media goes straight to pods. It keeps nothing of its own:
//! a session's address says where it lives, so any replica answers any request. The [`view`] of rooms and pods comes
//! from watches and stays in use while the API server is away.
//!
//! The path of a request: a [`showrunner_door::Door`] takes the connection, `door` judges ([`address`], [`limit`],
//! [`access`]), `join` or `session` choose the pod and call it ([`crate::pod_client`]), `forward` brings the answer back
//! ([`rewrite`], [`event_stream`]). Beside it, [`watches`] keep the view, and [`poll`] the loads of pods.

pub mod access;
pub mod address;
pub mod check;
pub mod client_address;
pub mod config;
mod cors;
mod door;
pub mod event_stream;
mod forward;
mod join;
pub mod keys;
mod life;
pub mod limit;
pub mod live_view;
pub mod metrics;
pub mod observed;
pub mod poll;
mod problem;
pub mod rewrite;
mod session;
pub mod view;
pub mod watches;

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::request;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use hyper::body::Incoming;
use ipnet::IpNet;
use showrunner_door::Peer;
use showrunner_protocol::RoomName;
use showrunner_protocol::token::ControlKeys;

use self::access::Denied;
use self::address::{Endpoint, PodName};
use self::client_address::ClientAddress;
use self::keys::Keys;
use self::life::Life;
use self::limit::{Limiter, Rate};
use self::live_view::LiveView;
use self::metrics::{LimitedBy, Metrics};
use self::problem::Problem;
use self::view::Room;
use crate::clock::now;
use crate::pod_client::{CallError, PodRequest};

/// When to ask again for what takes a moment.
const RETRY_SOON: Duration = Duration::from_secs(1);
const NOT_COMPLETE: &str = "the gateway has not heard from the API server yet";
/// Addresses and tokens that limits remember: some megabytes.
const LIMITER_CAPACITY: usize = 65_536;

/// A gateway, without its sockets.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

/// What a gateway works with.
pub struct GatewayParts {
    /// What it knows of the cluster.
    pub view: Arc<LiveView>,
    /// What it trusts and signs with.
    pub keys: Keys,
    /// What it counts.
    pub metrics: Metrics,
    /// Where it is; empty if nobody said.
    pub region: String,
    /// Whose `X-Forwarded-For` is true.
    pub trusted_proxies: Vec<IpNet>,
    /// How often one address may ask.
    pub address_limit: Rate,
    /// How often one token may be shown.
    pub token_limit: Rate,
}

struct Inner {
    view: Arc<LiveView>,
    keys: Keys,
    life: Life,
    metrics: Metrics,
    region: String,
    trusted_proxies: Vec<IpNet>,
    by_address: Mutex<Limiter<ClientAddress>>,
    by_token: Mutex<Limiter<u64>>,
    /// Tokens are counted by their hash, which nobody outside can foresee, and not kept.
    hasher: RandomState,
}

impl Gateway {
    /// Puts a gateway together.
    #[must_use]
    pub fn new(parts: GatewayParts) -> Gateway {
        Gateway(Arc::new(Inner {
            view: parts.view,
            keys: parts.keys,
            life: Life::default(),
            metrics: parts.metrics,
            region: parts.region,
            trusted_proxies: parts.trusted_proxies,
            by_address: Mutex::new(Limiter::new(parts.address_limit, LIMITER_CAPACITY)),
            by_token: Mutex::new(Limiter::new(parts.token_limit, LIMITER_CAPACITY)),
            hasher: RandomState::new(),
        }))
    }

    /// What clients see: rooms, sessions and, from `web_dir`, the page.
    pub fn public(&self, web_dir: Option<&Path>) -> Router {
        Router::new()
            .route("/whip/{*rest}", any(door::handle))
            .route("/whep/{*rest}", any(door::handle))
            .route("/healthz", get(healthy))
            .route("/readyz", get(ready))
            .with_state(self.clone())
            .merge(web_dir.map(showrunner_door::page).unwrap_or_default())
            .layer(from_fn(problem::everywhere))
    }

    /// What the cluster sees: probes and metrics.
    pub fn admin(&self) -> Router {
        Router::new()
            .route("/healthz", get(healthy))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .layer(from_fn(problem::everywhere))
            .with_state(self.clone())
    }

    /// From now on it says that it is not ready, and answers all the same: proxies take their time to notice.
    pub fn leave(&self) {
        self.0.life.leave();
    }

    /// Ends the event streams, which don't end by themselves. Clients take them up again at another gateway.
    pub fn end_streams(&self) {
        self.0.life.end();
    }

    fn view(&self) -> &LiveView {
        &self.0.view
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn life(&self) -> &Life {
        &self.0.life
    }

    fn control_keys(&self) -> Arc<ControlKeys> {
        self.0.keys.control.get()
    }

    fn region(&self) -> &str {
        &self.0.region
    }

    /// That there is no such thing; as long as the view is not complete, who knows.
    fn not_found(&self, detail: impl Into<Cow<'static, str>>) -> Problem {
        if self.view().is_complete() {
            Problem::not_found(detail)
        } else {
            Problem::unavailable(NOT_COMPLETE, RETRY_SOON)
        }
    }

    /// A room that is on.
    fn room(&self, name: &RoomName) -> Result<Arc<Room>, Problem> {
        let room = self.view().read(|view| view.room(name));
        let room = room.ok_or_else(|| self.not_found(format!("there is no room {name}")))?;
        if room.is_over(now()) {
            return Err(Problem::not_found(format!("the show in {name} is over")));
        }
        Ok(room)
    }

    /// Sends a request to a pod, and takes note if there is no answer.
    async fn call(
        &self,
        pod: &PodName,
        address: SocketAddr,
        request: &PodRequest,
    ) -> Result<Response<Incoming>, CallError> {
        let answer = self.0.keys.pods.get().call(address, request).await;
        if let Err(error) = &answer {
            tracing::warn!(%pod, %address, "a pod does not answer: {error}");
            self.metrics().pod_failed(match error {
                CallError::Refused(_) | CallError::Unreachable(_) => "unreachable",
                CallError::Silent => "silent",
            });
        }
        answer
    }

    /// Lets a request for a room through if its token allows it. Returns what pods want to see.
    fn admit(&self, endpoint: &Endpoint, token: Option<&str>) -> Result<HeaderValue, Problem> {
        let room = self.room(&endpoint.room)?;
        let Endpoint {
            protocol,
            room: name,
        } = endpoint;
        let now = now();
        let verifier = self.0.keys.tokens.get();
        let grant = room.access.check(&verifier, name, *protocol, token, now)?;
        if let Some(token) = token {
            let key = self.0.hasher.hash_one(token);
            self.limit(&self.0.by_token, key, LimitedBy::Token)?;
        }
        let credential = self.control_keys().sign_grant(&grant, now);
        let header =
            credential.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        header.ok_or_else(|| {
            tracing::error!("a grant can't be signed: the system has no randomness");
            let detail = "the gateway can't sign requests to media pods";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })
    }

    fn limit_address(&self, head: &request::Parts) -> Result<(), Problem> {
        let peer = head.extensions.get::<Peer>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        let client = ClientAddress::find(peer, &head.headers, &self.0.trusted_proxies);
        self.limit(&self.0.by_address, client, LimitedBy::Address)
    }

    fn limit<K: Eq + std::hash::Hash>(
        &self,
        limiter: &Mutex<Limiter<K>>,
        key: K,
        by: LimitedBy,
    ) -> Result<(), Problem> {
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.take(key, Instant::now()).map_err(|wait| {
            self.metrics().limited(by);
            let detail = "too many requests: wait as long as Retry-After says";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(wait)
        })
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Problem {
        match denied {
            Denied::NoToken => Problem::new(StatusCode::UNAUTHORIZED, denied.to_string())
                .challenge("Bearer realm=\"showrunner\""),
            Denied::Token(reason) if reason.is_forbidden() => {
                Problem::new(StatusCode::FORBIDDEN, denied.to_string())
                    .challenge("Bearer realm=\"showrunner\", error=\"insufficient_scope\"")
            }
            Denied::Token(_) => Problem::new(StatusCode::UNAUTHORIZED, denied.to_string())
                .challenge("Bearer realm=\"showrunner\", error=\"invalid_token\""),
        }
    }
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn ready(State(gateway): State<Gateway>) -> axum::response::Response {
    let detail = if !gateway.life().is_serving() {
        "the gateway is about to end"
    } else if !gateway.view().is_complete() {
        NOT_COMPLETE
    } else {
        return "ready\n".into_response();
    };
    Problem::unavailable(detail, RETRY_SOON).into_response()
}

async fn metrics(State(gateway): State<Gateway>) -> impl IntoResponse {
    let (rooms, pods) = gateway.view().read(view::View::size);
    gateway.metrics().view_has(rooms, pods);
    let media_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (media_type, gateway.metrics().render())
}
