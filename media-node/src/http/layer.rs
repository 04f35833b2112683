//! The WHEP extension for choosing a video layer (`urn:ietf:params:whep:ext:core:layer`).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use serde::Deserialize;

use super::body::ACCEPT_POST;
use super::problem::Problem;
use super::session::{Found, find};
use super::{App, JSON, body, cors};
use crate::node::{LayerChoice, Role};

const RELATION: &str = "urn:ietf:params:whep:ext:core:layer";

/// `/sessions/{id}/layer`
pub(super) fn resource() -> MethodRouter<App> {
    post(choose).delete(release).options(options)
}

/// The Link field that announces it.
pub(super) fn link(session: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("<{session}/layer>; rel=\"{RELATION}\"")).ok()
}

/// The object of the extension. What it doesn't name is up to the node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selection {
    media_id: Option<String>,
    rid: Option<String>,
    max_width: Option<u16>,
    max_height: Option<u16>,
    spatial_layer_id: Option<u8>,
    temporal_layer_id: Option<u8>,
    max_spatial_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
}

async fn options() -> Response {
    cors::options("POST, DELETE, OPTIONS", Some((ACCEPT_POST, JSON)))
}

async fn choose(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let found = viewer(&app, &id, &headers)?;
    body::require(&headers, JSON, ACCEPT_POST)?;
    let text = body::text(body).await?;
    let selection: Selection = serde_json::from_str(&text).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not a layer selection: {error}"),
        )
    })?;
    let video = found.entry.video_index.map(|index| index.to_string());
    if selection.media_id.is_some() && selection.media_id != video {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "mediaId is not the index of the session's video m-section",
        ));
    }
    // A layer comes with all that it builds on, so to name one is to name the highest.
    let lower = |a: Option<u8>, b: Option<u8>| a.into_iter().chain(b).min();
    let choice = LayerChoice {
        rid: selection.rid,
        max_spatial: lower(selection.spatial_layer_id, selection.max_spatial_layer_id),
        max_temporal: lower(selection.temporal_layer_id, selection.max_temporal_layer_id),
        max_width: selection.max_width,
        max_height: selection.max_height,
    };
    app.node().choose_layer(&found.id, choice).await?;
    Ok(StatusCode::OK)
}

/// Leaves the choice to the node again.
async fn release(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let found = viewer(&app, &id, &headers)?;
    app.node()
        .choose_layer(&found.id, LayerChoice::default())
        .await?;
    Ok(StatusCode::OK)
}

fn viewer(app: &App, id: &str, headers: &HeaderMap) -> Result<Found, Problem> {
    let found = find(app, id, headers)?;
    if found.role == Role::Viewer {
        return Ok(found);
    }
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "a publisher's session has no layer to choose; viewers choose",
    ))
}
