//! The public door: every request for a room or a session comes through here, is judged, and answered or sent on.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::address::{Address, Endpoint, Part, Protocol};
use super::forward::{ACCEPT_PATCH, ACCEPT_POST};
use super::join::Join;
use super::problem::Problem;
use super::{Gateway, cors, forward, session};
use crate::pod_client::PodRequest;

const SDP: &str = "application/sdp";
const JSON: &str = "application/json";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Answers everything under `/whip/` and `/whep/`.
pub(super) async fn handle(State(gateway): State<Gateway>, request: Request) -> Response {
    let answer = answer(&gateway, request).await;
    let response = answer.unwrap_or_else(IntoResponse::into_response);
    gateway.metrics().answered(response.status());
    cors::allow(response)
}

async fn answer(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    gateway.limit_address(&head)?;
    let address = Address::parse(head.uri.path())
        .ok_or_else(|| Problem::not_found("there is no such room or session: check the address"))?;
    let offered = Offered::by(&address);
    if head.method == Method::OPTIONS {
        return Ok(cors::options(offered.methods, offered.accepts));
    }
    if !offered.has(&head.method) {
        return Err(Problem::method_not_allowed(offered.methods));
    }
    let endpoint = match &address {
        Address::Endpoint(endpoint) => endpoint,
        Address::Session(session) => &session.endpoint,
    };
    let grant = gateway.admit(endpoint, bearer(&head.headers))?;
    let request = async |path: String| -> Result<PodRequest, Problem> {
        let body = forward::request_body(body).await?;
        let mut headers = forward::request_fields(&head.headers);
        headers.insert(AUTHORIZATION, grant);
        Ok(PodRequest {
            method: head.method.clone(),
            path,
            headers,
            body,
        })
    };
    match &address {
        Address::Endpoint(endpoint) if head.method == Method::POST => {
            let request = request(endpoint.to_string()).await?;
            let region = region(&head).unwrap_or(gateway.region());
            let join = Join {
                gateway,
                endpoint,
                region,
                request,
            };
            join.run().await
        }
        Address::Endpoint(endpoint) => Ok(describe(endpoint)),
        Address::Session(session) => {
            let request = request(session.resource.to_string()).await?;
            session::forward(gateway, session, request).await
        }
    }
}

/// A success without content, as RFC 9725 §4.1 asks of GET; for viewers its media type is the sign that this is WHEP.
fn describe(endpoint: &Endpoint) -> Response {
    match endpoint.protocol {
        Protocol::Whip => StatusCode::NO_CONTENT.into_response(),
        Protocol::Whep => [(CONTENT_TYPE, HeaderValue::from_static(SDP))].into_response(),
    }
}

/// What a resource can be asked.
struct Offered {
    methods: &'static str,
    /// The media type of what it takes.
    accepts: Option<(HeaderName, &'static str)>,
}

impl Offered {
    fn by(address: &Address) -> Offered {
        let part = match address {
            Address::Endpoint(_) => {
                return Offered {
                    methods: "GET, HEAD, POST, OPTIONS",
                    accepts: Some((ACCEPT_POST, SDP)),
                };
            }
            Address::Session(session) => session.resource.part,
        };
        let (methods, accepts) = match part {
            Part::Session => (
                "GET, HEAD, PATCH, DELETE, OPTIONS",
                Some((ACCEPT_PATCH, FRAGMENT)),
            ),
            Part::Events => ("POST, OPTIONS", Some((ACCEPT_POST, JSON))),
            Part::Stream(_) => ("GET, HEAD, DELETE, OPTIONS", None),
            Part::Layer => ("POST, DELETE, OPTIONS", Some((ACCEPT_POST, JSON))),
            Part::Report => ("POST, OPTIONS", Some((ACCEPT_POST, JSON))),
        };
        Offered { methods, accepts }
    }

    fn has(&self, method: &Method) -> bool {
        self.methods
            .split(", ")
            .any(|offered| offered == method.as_str())
    }
}

/// The token of the request (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// Where the client is: `?region=` if it knows, or what a proxy or CDN before the gateway says.
fn region(head: &Parts) -> Option<&str> {
    let query = head.uri.query().unwrap_or_default().split('&');
    let asked = query.filter_map(|pair| pair.strip_prefix("region=")).next();
    asked.or_else(|| head.headers.get("showrunner-region")?.to_str().ok())
}
