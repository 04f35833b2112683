//! Errors as problem details (RFC 9457): a status, and a sentence that says what to change.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error response in the making.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem {
            status,
            detail: detail.into(),
            header: None,
        }
    }

    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503: the same request may succeed after this time.
    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>, retry: Duration) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry)
    }

    /// 405 with the methods that there are.
    pub(super) fn method_not_allowed(allow: &'static str) -> Problem {
        let detail = "this resource has no such method; the Allow header lists those it has";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
            .with(ALLOW, HeaderValue::from_static(allow))
    }

    /// With a challenge (RFC 6750 §3).
    pub(super) fn challenge(self, challenge: &'static str) -> Problem {
        self.with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// With the time after which to ask again: in whole seconds, and never too early.
    pub(super) fn retry_after(self, wait: Duration) -> Problem {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let value = HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX));
        self.with(RETRY_AFTER, value)
    }

    fn with(self, name: HeaderName, value: HeaderValue) -> Problem {
        Problem {
            header: Some((name, value)),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // With the type `about:blank`, the title is the status's own phrase (§4.2.1).
        let document = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, document.to_string()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
        response.headers_mut().extend(self.header);
        response
    }
}

/// Gives the errors of the router itself a document.
pub(super) async fn everywhere(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    match response.status() {
        status if response.headers().contains_key(CONTENT_TYPE) || status.is_success() => response,
        StatusCode::NOT_FOUND => Problem::not_found("there is nothing here").into_response(),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed("GET, HEAD").into_response(),
        _ => response,
    }
}
