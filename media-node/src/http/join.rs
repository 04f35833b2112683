//! The endpoints of WHIP (RFC 9725 §4.2) and WHEP (draft-ietf-wish-whep §4.2): an offer in, a session and its answer out.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use showrunner_protocol::token::Action;
use showrunner_sdp::Offer;

use super::auth::Entrant;
use super::body::ACCEPT_POST;
use super::problem::Problem;
use super::registry::EntityTag;
use super::{App, auth, body, cors, events, layer, report};
use crate::lived::agent::Client;
use crate::node::{Role, SessionId};

const SDP: &str = "application/sdp";
const METHODS: &str = "GET, HEAD, POST, OPTIONS";

type Room = Path<(String, String)>;

/// `/whip/{namespace}/{room}`
pub(super) fn whip() -> MethodRouter<App> {
    get(describe_whip).post(publish).options(options)
}

/// `/whep/{namespace}/{room}`
pub(super) fn whep() -> MethodRouter<App> {
    get(describe_whep).post(watch).options(options)
}

async fn options() -> Response {
    cors::options(METHODS, Some((ACCEPT_POST, SDP)))
}

async fn publish(
    State(app): State<App>,
    Path((namespace, room)): Room,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Entrant {
        room,
        uid,
        transcodes,
    } = auth::enter(&app, &headers, Action::Publish, (&namespace, &room))?;
    let offer = read_offer(&headers, body).await?;
    let (node, uid, client) = (app.node(), uid.as_ref(), client(&headers));
    let (role, joined) = match transcodes {
        true => (
            Role::Transcoder,
            node.transcode(&room, uid, &offer, client).await?,
        ),
        false => (
            Role::Publisher,
            node.publish(&room, uid, &offer, client).await?,
        ),
    };
    created(&app, role, &joined.id, joined.answer, &offer).await
}

async fn watch(
    State(app): State<App>,
    Path((namespace, room)): Room,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Entrant {
        room,
        uid,
        transcodes,
    } = auth::enter(&app, &headers, Action::Watch, (&namespace, &room))?;
    let offer = read_offer(&headers, body).await?;
    let (uid, client) = (uid.as_ref(), client(&headers));
    let node = app.node();
    let joined = node.watch(&room, uid, &offer, client, transcodes).await?;
    created(&app, Role::Viewer, &joined.id, joined.answer, &offer).await
}

/// What the client is, as far as it says.
fn client(headers: &HeaderMap) -> Client {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok());
    agent.map(Client::of).unwrap_or_default()
}

async fn read_offer(headers: &HeaderMap, body: Body) -> Result<Offer, Problem> {
    body::require(headers, SDP, ACCEPT_POST)?;
    Ok(Offer::parse(&body::text(body).await?)?)
}

/// 201 with all that a client has to know of its session.
async fn created(
    app: &App,
    role: Role,
    id: &SessionId,
    answer: String,
    offer: &Offer,
) -> Result<Response, Problem> {
    let location = format!("/sessions/{id}");
    let etag = EntityTag::unique();
    let (Some(etag), Ok(at)) = (etag, HeaderValue::try_from(&location)) else {
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the session could not be named",
        ));
    };
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, at);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.extend(etag.header().map(|etag| (ETAG, etag)));
    for server in app.ice_servers() {
        headers.append(LINK, server.link());
    }
    let extensions = match role {
        Role::Publisher | Role::Transcoder => [events::link(&location, role), None, None],
        Role::Viewer => [
            events::link(&location, role),
            layer::link(&location),
            report::link(&location),
        ],
    };
    for link in extensions.into_iter().flatten() {
        headers.append(LINK, link);
    }
    app.sessions().add(app.node(), id, offer, etag);
    Ok((StatusCode::CREATED, headers, answer).into_response())
}

/// A success without content, as RFC 9725 §4.1 asks of GET.
async fn describe_whip(
    State(app): State<App>,
    Path((namespace, room)): Room,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    auth::enter(&app, &headers, Action::Publish, (&namespace, &room))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The same, and by its media type the sign that this is a WHEP endpoint.
async fn describe_whep(
    State(app): State<App>,
    Path((namespace, room)): Room,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    auth::enter(&app, &headers, Action::Watch, (&namespace, &room))?;
    Ok([(CONTENT_TYPE, HeaderValue::from_static(SDP))].into_response())
}
