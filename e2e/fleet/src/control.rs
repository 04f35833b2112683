//! The control API of one simulated pod: it takes any number of rooms, and has no sessions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use showrunner_protocol::RoomName;
use showrunner_protocol::control::{
    ADDRESSES_PATH, Capacity, DRAIN_PATH, DrainRequest, PodRole, PodStatus, PublicAddresses,
    ROOM_ROUTE, RoomAssignment, RoomStatus, STATUS_PATH, SourceStatus,
};
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{Caller, ControlKeys};

#[derive(Clone)]
struct Pod(Arc<Parts>);

struct Parts {
    keys: ControlKeys,
    started: Instant,
    state: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    public: Option<PublicAddresses>,
    is_draining: bool,
    rooms: BTreeMap<RoomName, RoomAssignment>,
}

pub(crate) fn router(keys: ControlKeys) -> Router {
    let pod = Pod(Arc::new(Parts {
        keys,
        started: Instant::now(),
        state: Mutex::default(),
    }));
    Router::new()
        .route(ROOM_ROUTE, put(assign).delete(end))
        .route(ADDRESSES_PATH, put(tell_addresses))
        .route(DRAIN_PATH, post(drain))
        .route(STATUS_PATH, get(status))
        .layer(from_fn_with_state(pod.clone(), check))
        .with_state(pod)
}

impl Pod {
    fn state(&self) -> MutexGuard<'_, Inner> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn check(
    State(pod): State<Pod>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let shown = request.headers().get(AUTHORIZATION);
    let token = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let claims = token.and_then(|token| pod.0.keys.verify(token, now.as_secs()).ok());
    match claims {
        Some(claims)
            if claims.caller == Caller::Operator || request.uri().path() == STATUS_PATH =>
        {
            Ok(next.run(request).await)
        }
        Some(_) => Err(StatusCode::FORBIDDEN),
        None => Err(StatusCode::UNAUTHORIZED),
    }
}

async fn assign(
    State(pod): State<Pod>,
    Path((namespace, room)): Path<(String, String)>,
    Json(assignment): Json<RoomAssignment>,
) -> StatusCode {
    let Ok(name) = RoomName::new(&namespace, &room) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut state = pod.state();
    if state.is_draining {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match state.rooms.insert(name, assignment) {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    }
}

async fn end(
    State(pod): State<Pod>,
    Path((namespace, room)): Path<(String, String)>,
    Query(which): Query<BTreeMap<String, RoomUid>>,
) -> StatusCode {
    let Ok(name) = RoomName::new(&namespace, &room) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut state = pod.state();
    match state.rooms.get(&name) {
        None => StatusCode::NOT_FOUND,
        Some(known) if Some(&known.uid) != which.get("uid") => StatusCode::CONFLICT,
        Some(_) => {
            state.rooms.remove(&name);
            StatusCode::NO_CONTENT
        }
    }
}

async fn tell_addresses(State(pod): State<Pod>, Json(told): Json<PublicAddresses>) -> StatusCode {
    pod.state().public = Some(told);
    StatusCode::NO_CONTENT
}

async fn drain(State(pod): State<Pod>, Json(_): Json<DrainRequest>) -> StatusCode {
    pod.state().is_draining = true;
    StatusCode::ACCEPTED
}

/// An edge is connected at once.
fn source(role: &PodRole) -> Option<SourceStatus> {
    match role {
        PodRole::Origin => None,
        PodRole::Edge { source } => Some(SourceStatus {
            address: source.address,
            connected: true,
            hops: None,
        }),
    }
}

async fn status(State(pod): State<Pod>) -> Json<PodStatus> {
    let state = pod.state();
    let rooms = state.rooms.iter().map(|(name, assignment)| RoomStatus {
        uid: Some(assignment.uid.clone()),
        generation: Some(assignment.generation),
        revision: Some(assignment.revision),
        source: source(&assignment.role),
        ..RoomStatus::of(name.clone())
    });
    Json(PodStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: !state.is_draining && state.public.is_some(),
        draining: state.is_draining,
        uptime_seconds: pod.0.started.elapsed().as_secs(),
        public: state.public.clone(),
        capacity: Capacity {
            max_sessions: 1000,
            max_rooms: Some(100),
        },
        rooms: rooms.collect(),
        ..PodStatus::default()
    })
}
