//! The control API (`showrunner_protocol::control`): the operator tells the node its rooms, and asks how it is.
//!
//! Only there on a node of a cluster, and only for those who show a control credential.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use showrunner_protocol::control::{
    ADDRESSES_PATH, DRAIN_PATH, DrainRequest, LINKS_ROUTE, LinkAnswer, LinkOffer, PEERS_PATH,
    PeerSight, PodStatus, PublicAddresses, ROOM_ROUTE, RoomAssignment, STATUS_PATH,
};
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::Caller;

use super::body::ACCEPT_POST;
use super::problem::Problem;
use super::{App, JSON, auth, body};
use crate::node::{AssignError, Assigned, EndRoomError, InvalidAddresses, LinkError};
use crate::room::RoomName;

/// Seconds after which the operator asks a node again that has no room for a room.
const RETRY_LATER: u32 = 10;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route(ROOM_ROUTE, put(assign).delete(end))
        .route(LINKS_ROUTE, post(feed))
        .route(ADDRESSES_PATH, put(tell_addresses))
        .route(STATUS_PATH, get(status))
        .route(DRAIN_PATH, post(drain))
        .route(PEERS_PATH, get(look_at_peer))
}

async fn assign(
    State(app): State<App>,
    Path((namespace, room)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    require_operator(&app, &headers)?;
    let room = RoomName::new(&namespace, &room)?;
    let assignment: RoomAssignment = read(&headers, body).await?;
    Ok(match app.node().assign(room, assignment)? {
        Assigned::New => StatusCode::CREATED,
        Assigned::Known | Assigned::Replaced => StatusCode::OK,
    })
}

/// Which room of a name is meant.
#[derive(Deserialize)]
struct Which {
    uid: RoomUid,
}

async fn end(
    State(app): State<App>,
    Path((namespace, room)): Path<(String, String)>,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    require_operator(&app, &headers)?;
    let room = RoomName::new(&namespace, &room)?;
    let Query(which) = which.map_err(|_| {
        let detail = "say which room of that name is to end: …?uid=";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    app.node().end_room(&room, &which.uid)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Another pod takes the room from here.
async fn feed(
    State(app): State<App>,
    Path((namespace, room)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<LinkAnswer>), Problem> {
    let room = RoomName::new(&namespace, &room)?;
    let uid = auth::take(&app, &headers, &room)?;
    let offer: LinkOffer = read(&headers, body).await?;
    let answer = app.node().feed(&room, &uid, offer)?;
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn tell_addresses(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    require_operator(&app, &headers)?;
    let public: PublicAddresses = read(&headers, body).await?;
    app.node().tell_addresses(public)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn status(State(app): State<App>, headers: HeaderMap) -> Result<Json<PodStatus>, Problem> {
    match auth::control(&app, &headers)?.caller {
        Caller::Operator | Caller::Gateway => Ok(Json(app.node().status())),
        Caller::Pod => Err(auth::forbidden("a pod may take a room, and no more")),
    }
}

async fn drain(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    require_operator(&app, &headers)?;
    let request: DrainRequest = read(&headers, body).await?;
    let within = Duration::from_secs(request.deadline_seconds.into());
    app.node().drain(within);
    Ok(StatusCode::ACCEPTED)
}

/// Where another pod listens.
#[derive(Deserialize)]
struct Peer {
    ip: IpAddr,
    port: u16,
}

/// The operator gets no answer from another pod. Does this one?
async fn look_at_peer(
    State(app): State<App>,
    peer: Result<Query<Peer>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<PeerSight>, Problem> {
    require_operator(&app, &headers)?;
    let Query(Peer { ip, port }) = peer.map_err(|_| {
        let detail = "say which pod: …?ip=10.0.0.7&port=8443";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let answers = app.node().is_answered_by(SocketAddr::new(ip, port)).await;
    let answers = answers.ok_or_else(|| {
        let detail = "this node has no authority's certificate to know other pods by";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    Ok(Json(PeerSight { answers }))
}

/// The gateway may ask how a node is, but not command it.
fn require_operator(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    match auth::control(app, headers)?.caller {
        Caller::Operator => Ok(()),
        Caller::Gateway | Caller::Pod => Err(auth::forbidden("only the operator may do this")),
    }
}

async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    body::require(headers, JSON, ACCEPT_POST)?;
    serde_json::from_str(&body::text(body).await?).map_err(|error| {
        let detail = format!("the body is not what this takes: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

impl From<AssignError> for Problem {
    fn from(error: AssignError) -> Problem {
        let detail = error.to_string();
        match error {
            AssignError::Stale(_) | AssignError::Superseded(_) | AssignError::TakesAny => {
                Problem::new(StatusCode::CONFLICT, detail)
            }
            AssignError::Draining | AssignError::Full(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(RETRY_AFTER, RETRY_LATER)
            }
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Problem {
        let detail = error.to_string();
        match error {
            LinkError::NoSuchRoom => Problem::new(StatusCode::NOT_FOUND, detail),
            LinkError::Loop => Problem::new(StatusCode::CONFLICT, detail),
            LinkError::Invalid(_) => Problem::new(StatusCode::BAD_REQUEST, detail),
            LinkError::Overloaded(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(RETRY_AFTER, RETRY_LATER)
            }
        }
    }
}

impl From<InvalidAddresses> for Problem {
    fn from(error: InvalidAddresses) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<EndRoomError> for Problem {
    fn from(error: EndRoomError) -> Problem {
        let status = match error {
            EndRoomError::NotFound => StatusCode::NOT_FOUND,
            EndRoomError::OtherUid => StatusCode::CONFLICT,
        };
        Problem::new(status, error.to_string())
    }
}
