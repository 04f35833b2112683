//! The session resource of WHIP and WHEP: trickle ICE, ICE restarts (RFC 9725 §4.3) and the end.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use showrunner_sdp::IceParameters;
use showrunner_sdp::fragment::{self, Fragment};

use super::body::ACCEPT_PATCH;
use super::problem::Problem;
use super::registry::{EntityTag, Entry, IceSession};
use super::{App, auth, body, cors};
use crate::node::{EndReason, Role, SessionError, SessionId};

const METHODS: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";

/// `/sessions/{id}`
pub(super) fn resource() -> MethodRouter<App> {
    get(describe).patch(patch).delete(delete).options(options)
}

/// A session that a request names and may act on.
pub(super) struct Found {
    pub(super) id: SessionId,
    pub(super) role: Role,
    pub(super) entry: Arc<Entry>,
}

/// Looks up the session of a URL. Its role and room say what the request must show.
pub(super) fn find(app: &App, id: &str, headers: &HeaderMap) -> Result<Found, Problem> {
    let found = SessionId::parse(id).and_then(|id| {
        let (role, room) = app.node().place(&id)?;
        let entry = app.sessions().get(&id)?;
        Some((Found { id, role, entry }, room))
    });
    let (found, room) = found.ok_or(SessionError::NotFound)?;
    auth::act(app, headers, found.role, &room)?;
    Ok(found)
}

async fn options() -> Response {
    cors::options(METHODS, Some((ACCEPT_PATCH, fragment::MEDIA_TYPE)))
}

/// A success without content (RFC 9725 §4.1).
async fn describe(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    find(&app, &id, &headers)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Entity-tags don't matter here: whoever knows the URL may end the session (RFC 9725 §4.3.1).
async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let found = find(&app, &id, &headers)?;
    app.node().end(&found.id, EndReason::Deleted).await?;
    Ok(StatusCode::OK)
}

async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let found = find(&app, &id, &headers)?;
    body::require(&headers, fragment::MEDIA_TYPE, ACCEPT_PATCH)?;
    let fragment = Fragment::parse(&body::text(body).await?)?;
    let mut ice = found.entry.ice.lock().await;
    check_precondition(&headers, &ice.etag)?;
    match fragment.ice {
        Some(remote) if remote != ice.remote => restart(&app, &found, &mut ice, remote).await,
        // The node is ICE-lite and learns where a client is from its checks; candidates need no more than a nod.
        _ => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// RFC 9110 §13.1.1 with RFC 6585 §3. RFC 9725 writes the wildcard in quotes in its examples, so both are taken.
fn check_precondition(headers: &HeaderMap, current: &EntityTag) -> Result<(), Problem> {
    let mut tags = headers.get_all(IF_MATCH).iter().peekable();
    if tags.peek().is_none() {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "send If-Match with the session's entity-tag, or * to restart ICE",
        ));
    }
    let matches = tags
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| matches!(tag, "*" | "\"*\"") || tag == current.as_str());
    if matches {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "the entity-tag is not that of the session's ICE session, which was restarted since or never had it",
    ))
}

/// A new ICE session. If the node can't start one, the present one stays as it is.
async fn restart(
    app: &App,
    found: &Found,
    ice: &mut IceSession,
    remote: IceParameters,
) -> Result<Response, Problem> {
    let unnamed = || {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the new ICE session could not be named",
        )
    };
    let etag = EntityTag::unique().ok_or_else(unnamed)?;
    let header = etag.header().ok_or_else(unnamed)?;
    let restarted = app
        .node()
        .restart_ice(&found.id, &remote.ufrag, &remote.pwd)
        .await?;
    *ice = IceSession { etag, remote };
    let local = IceParameters {
        ufrag: restarted.ufrag,
        pwd: restarted.pwd,
    };
    let media_type = HeaderValue::from_static(fragment::MEDIA_TYPE);
    let answer = found.entry.tagged.restarted(&local, &restarted.candidates);
    Ok(([(ETAG, header), (CONTENT_TYPE, media_type)], answer).into_response())
}
