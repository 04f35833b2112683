//! Errors as problem details (RFC 9457): a status, and a sentence that says what to change.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use showrunner_sdp::fragment::FragmentError;
use showrunner_sdp::{OfferError, OfferErrorKind};

use crate::node::{JoinError, SessionError};
use crate::room::InvalidRoomName;

const MEDIA_TYPE: &str = "application/problem+json";

/// Seconds after which a viewer asks again for a room that is not live, and anybody for an overloaded node.
const RETRY_SOON: u32 = 2;
/// Seconds after which a page that reports too often may do so again.
const RETRY_REPORT: u32 = 10;
/// Seconds after which a host asks again for a room that has another host.
const RETRY_OCCUPIED: u32 = 5;

/// An error response in the making.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

/// The members of a problem document. With the type `about:blank`, the title is the status's own phrase (§4.2.1).
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            detail: detail.into(),
            header: None,
        }
    }

    /// With the header field that tells the client how to do better.
    pub(super) fn with(self, name: HeaderName, value: impl Into<HeaderValue>) -> Problem {
        Problem {
            header: Some((name, value.into())),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Json(Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
        });
        let mut response = (self.status, document).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(self.header);
        response
    }
}

/// Turns errors that have no problem document yet (wrong path, wrong method) into such.
pub(super) async fn everywhere(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let has_document = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|t| t == MEDIA_TYPE);
    if !is_error || has_document {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => "there is nothing here",
        StatusCode::METHOD_NOT_ALLOWED => {
            "this resource has no such method; the Allow header lists those it has"
        }
        _ => "",
    };
    let mut problem = Problem::new(status, detail).into_response();
    for (name, value) in response.headers() {
        if !matches!(*name, CONTENT_TYPE | CONTENT_LENGTH) {
            problem.headers_mut().append(name, value.clone());
        }
    }
    problem
}

impl From<InvalidRoomName> for Problem {
    fn from(error: InvalidRoomName) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, error.to_string())
    }
}

impl From<OfferError> for Problem {
    /// 422 also where there is no codec in common: WHIP asks for it (RFC 9725 §4.4.2), and to a WHEP player a 406 is
    /// the announcement of a counter-offer.
    fn from(error: OfferError) -> Problem {
        let status = match error.kind() {
            OfferErrorKind::Malformed => StatusCode::BAD_REQUEST,
            OfferErrorKind::Unprocessable | OfferErrorKind::NoCommonCodec => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        };
        Problem::new(status, error.to_string())
    }
}

impl From<FragmentError> for Problem {
    fn from(error: FragmentError) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Problem {
        let (status, retry) = match error {
            JoinError::Offer(error) => return error.into(),
            JoinError::NoSuchRoom | JoinError::Edge => {
                return Problem::new(StatusCode::NOT_FOUND, error.to_string());
            }
            JoinError::Pulled => return Problem::new(StatusCode::FORBIDDEN, error.to_string()),
            JoinError::NotLive | JoinError::NoPicture => (StatusCode::CONFLICT, RETRY_SOON),
            JoinError::Occupied | JoinError::LadderFull => (StatusCode::CONFLICT, RETRY_OCCUPIED),
            JoinError::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, RETRY_SOON),
        };
        Problem::new(status, error.to_string()).with(RETRY_AFTER, retry)
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Problem {
        let detail = error.to_string();
        match error {
            SessionError::NotFound => Problem::new(StatusCode::NOT_FOUND, detail),
            SessionError::NoSuchLayer(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            SessionError::TooManyReports => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).with(RETRY_AFTER, RETRY_REPORT)
            }
            SessionError::Overloaded => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(RETRY_AFTER, RETRY_SOON)
            }
        }
    }
}
