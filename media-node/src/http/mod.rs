//! The node's door: WHIP and WHEP with their session resources and extensions, status, metrics, and the room page.
//!
//! Handlers judge requests by the letter of RFC 9725 and draft-ietf-wish-whep and call [`Node`]; they know nothing of
//! packets. Every error is a problem document (RFC 9457).

mod auth;
mod body;
mod control;
mod cors;
mod events;
mod ice_server;
mod join;
mod layer;
mod problem;
mod registry;
mod report;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

pub use auth::{ControlAccess, Token};
pub use ice_server::{IceServer, InvalidIceServer};
use problem::Problem;
use registry::Registry;

use showrunner_door::FilesError;
use showrunner_protocol::control::{HEALTH_PATH, READY_PATH, STATUS_PATH};

use crate::config::Config;
use crate::node::{Node, Role};
use crate::status::NodeStatus;

const JSON: &str = "application/json";

/// What the door needs to know beside the node.
#[derive(Clone, Default)]
pub struct HttpConfig {
    /// Publishers must show this.
    pub publish_token: Option<Token>,
    /// Who shows this is a transcoder.
    pub transcode_token: Option<Token>,
    /// Viewers must show this.
    pub watch_token: Option<Token>,
    /// Makes the node one of a cluster: the control API is there, and people come by the gateway.
    pub control: Option<ControlAccess>,
    /// Told to clients with every new session.
    pub ice_servers: Vec<IceServer>,
    /// The built room page; without it there is none.
    pub web_dir: Option<PathBuf>,
}

impl TryFrom<&Config> for HttpConfig {
    type Error = FilesError;

    /// Reads the control keys, if there are to be any.
    fn try_from(config: &Config) -> Result<HttpConfig, FilesError> {
        let keys = config.control_key_file.as_deref();
        Ok(HttpConfig {
            publish_token: config.publish_token.as_deref().map(Token::new),
            transcode_token: config.transcode_token.as_deref().map(Token::new),
            watch_token: config.watch_token.as_deref().map(Token::new),
            control: keys.map(ControlAccess::from_file).transpose()?,
            ice_servers: config.ice_server.clone(),
            web_dir: config.web_dir.clone(),
        })
    }
}

/// What handlers share.
#[derive(Clone)]
struct App(Arc<Parts>);

struct Parts {
    node: Node,
    config: HttpConfig,
    sessions: Registry,
}

impl App {
    fn node(&self) -> &Node {
        &self.0.node
    }

    fn sessions(&self) -> &Registry {
        &self.0.sessions
    }

    fn ice_servers(&self) -> &[IceServer] {
        &self.0.config.ice_servers
    }

    /// Who may command this node, and bring people to it, if it is one of a cluster.
    fn control(&self) -> Option<&ControlAccess> {
        self.0.config.control.as_ref()
    }

    /// The token that those of a role must show.
    fn token(&self, role: Role) -> Option<&Token> {
        match role {
            Role::Publisher => self.0.config.publish_token.as_ref(),
            Role::Transcoder => self.0.config.transcode_token.as_ref(),
            Role::Viewer => self.0.config.watch_token.as_ref(),
        }
    }
}

/// All routes of a node.
pub fn router(node: Node, config: HttpConfig) -> Router {
    let page = config.web_dir.as_deref().map(showrunner_door::page);
    let status = match config.control {
        Some(_) => control::router(),
        None => Router::new()
            .route(STATUS_PATH, get(status))
            .layer(from_fn(cors::everywhere)),
    };
    let app = App(Arc::new(Parts {
        node,
        config,
        sessions: Registry::default(),
    }));
    Router::new()
        .route("/whip/{namespace}/{room}", join::whip())
        .route("/whep/{namespace}/{room}", join::whep())
        .route("/sessions/{id}", session::resource())
        .route("/sessions/{id}/events", events::collection())
        .route("/sessions/{id}/events/{stream}", events::stream())
        .route("/sessions/{id}/layer", layer::resource())
        .route("/sessions/{id}/report", report::resource())
        .layer(from_fn(cors::everywhere))
        .merge(status)
        .route(HEALTH_PATH, get(async || "ok\n"))
        .route(READY_PATH, get(ready))
        .route("/metrics", get(metrics))
        .merge(page.unwrap_or_default())
        .layer(from_fn(problem::everywhere))
        .with_state(app)
}

async fn status(State(app): State<App>) -> Json<NodeStatus> {
    Json(app.node().status())
}

async fn ready(State(app): State<App>) -> Response {
    match app.node().is_ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
            .with(RETRY_AFTER, 5)
            .into_response(),
    }
}

/// In the text format of Prometheus.
async fn metrics() -> Response {
    let media_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (media_type, crate::metrics::render()).into_response()
}
