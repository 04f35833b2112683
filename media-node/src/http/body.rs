//! Request bodies: the right media type, of bounded size, in bounded time.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::problem::Problem;

/// What a resource takes by POST (Linked Data Platform 1.0 §7.1).
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// What a resource takes by PATCH (RFC 5789 §3.1).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// Longest body of any request.
const MAX_BYTES: usize = 64 * 1024;
/// How long a client may take to send a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a request says that its body is of a media type. Parameters don't matter.
pub(super) fn is(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
}

/// Refuses a request whose body is of another media type, and says in `accept` what would do (RFC 9110 §15.5.16).
pub(super) fn require(
    headers: &HeaderMap,
    media_type: &'static str,
    accept: HeaderName,
) -> Result<(), Problem> {
    if is(headers, media_type) {
        return Ok(());
    }
    let detail = format!("send this with Content-Type: {media_type}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
        .with(accept, HeaderValue::from_static(media_type)))
}

/// Reads a body as text.
pub(super) async fn text(body: Body) -> Result<String, Problem> {
    text_of(body, MAX_BYTES).await
}

/// Reads a body of at most so many bytes as text.
pub(super) async fn text_of(body: Body, most: usize) -> Result<String, Problem> {
    let bytes = match tokio::time::timeout(PATIENCE, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(unreadable(&error, most)),
        Err(_) => {
            let detail = format!("the body did not come within {} s", PATIENCE.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8 text"))
}

fn unreadable(error: &axum::Error, most: usize) -> Problem {
    use std::error::Error;
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            let detail = format!("the body has more than {most} bytes");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail);
        }
        source = error.source();
    }
    Problem::new(StatusCode::BAD_REQUEST, "the body broke off")
}
