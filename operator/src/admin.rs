//! What the cluster sees of an operator: probes and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::world::World;

/// Its routes.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(world)
}

/// Ready to lead, whether it leads or not: it has seen all that there is. Keys come from the leader.
async fn ready(State(world): State<Arc<World>>) -> (StatusCode, &'static str) {
    if !world.is_complete() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server was not read yet\n",
        )
    } else if world.keys().is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "there are no keys yet\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(world): State<Arc<World>>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, prometheus::TEXT_FORMAT)],
        world.metrics.render(),
    )
}
