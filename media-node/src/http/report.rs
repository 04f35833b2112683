//! Where a viewer's page tells how its session is going. An extension of this project; its relation type is a URI that
//! nobody else uses (RFC 8288 §2.1.2).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, post};

use super::body::ACCEPT_POST;
use super::problem::Problem;
use super::{App, JSON, auth, body, cors};
use crate::lived::report::MAX_BYTES;
use crate::node::{ReportError, Role, SessionError, SessionId};

const RELATION: &str = "urn:showrunner:whep:report";

/// `/sessions/{id}/report`
pub(super) fn resource() -> MethodRouter<App> {
    post(take).options(options)
}

/// The Link field that announces it.
pub(super) fn link(session: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("<{session}/report>; rel=\"{RELATION}\"")).ok()
}

async fn options() -> Response {
    cors::options("POST, OPTIONS", Some((ACCEPT_POST, JSON)))
}

/// A page that goes away sends its last report beside the DELETE of its session, so one that has just ended is found
/// here as well.
async fn take(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let id = SessionId::parse(&id).ok_or(SessionError::NotFound)?;
    let place = app.node().place_of_late(&id);
    let (role, room) = place.ok_or(SessionError::NotFound)?;
    auth::act(&app, &headers, role, &room)?;
    if role != Role::Viewer {
        let detail = "a publisher's session takes no reports; viewers report";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    body::require(&headers, JSON, ACCEPT_POST)?;
    let text = body::text_of(body, MAX_BYTES).await?;
    app.node().report(&id, &text)?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Problem {
        match error {
            ReportError::Invalid(error) => Problem::new(StatusCode::BAD_REQUEST, error.to_string()),
            ReportError::Session(error) => error.into(),
        }
    }
}
