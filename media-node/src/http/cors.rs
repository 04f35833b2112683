//! Cross-origin use (Fetch): any page may call, because nothing here relies on cookies.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderName,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, If-Match, Last-Event-ID");
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Link, Retry-After, WWW-Authenticate, Accept-Post, Accept-Patch, Allow",
);
/// Browsers ask again after a day at most.
const MAX_AGE_SECONDS: u32 = 86_400;

/// Answers OPTIONS, preflight or not, without asking for a token: what may be done here, and with which media type.
pub(super) fn options(
    methods: &'static str,
    accepts: Option<(HeaderName, &'static str)>,
) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS.into());
    if let Some((name, media_type)) = accepts {
        headers.insert(name, HeaderValue::from_static(media_type));
    }
    response
}

/// Lets pages of any origin read every answer, errors included.
pub(super) async fn everywhere(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    response
}
