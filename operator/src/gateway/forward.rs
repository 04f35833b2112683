//! Requests on their way to a pod, and answers on their way back: only fields that mean something to the other side
//! pass, bodies are bounded, and addresses are made public.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, LINK, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::Gateway;
use super::event_stream::EventRewriter;
use super::life::Ending;
use super::metrics::StreamGuard;
use super::problem::Problem;
use super::rewrite::Source;

/// What a resource takes by POST (Linked Data Platform 1.0 §7.1).
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// What a resource takes by PATCH (RFC 5789 §3.1).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const OF_REQUESTS: [HeaderName; 5] = [ACCEPT, CONTENT_TYPE, IF_MATCH, LAST_EVENT_ID, USER_AGENT];
const OF_ANSWERS: [HeaderName; 6] = [
    CONTENT_TYPE,
    ETAG,
    RETRY_AFTER,
    CACHE_CONTROL,
    ACCEPT_POST,
    ACCEPT_PATCH,
];

/// Longest body of a request: an offer has some ten thousand bytes.
const MAX_REQUEST: usize = 64 * 1024;
/// How long a client may take to send it.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// Longest body of an answer that is no event stream.
const MAX_ANSWER: usize = 256 * 1024;
/// How long a pod may take to send it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(4);
/// Pods break the silence of an event stream every 15 s.
const STREAM_PATIENCE: Duration = Duration::from_secs(40);

/// The fields of a request that a pod gets.
pub(super) fn request_fields(headers: &HeaderMap) -> HeaderMap {
    copy(headers, &OF_REQUESTS)
}

fn copy(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut copied = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            copied.append(name.clone(), value.clone());
        }
    }
    copied
}

/// All of a request's body.
pub(super) async fn request_body(body: Body) -> Result<Bytes, Problem> {
    let collected = Limited::new(body, MAX_REQUEST).collect();
    match tokio::time::timeout(REQUEST_PATIENCE, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("the body has more than {MAX_REQUEST} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => {
            let detail = format!(
                "the body did not come within {} s",
                REQUEST_PATIENCE.as_secs()
            );
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// A pod's answer as the client gets it.
pub(super) async fn answer(
    gateway: &Gateway,
    source: &Source,
    answer: Response<Incoming>,
) -> Result<axum::response::Response, Problem> {
    let (head, body) = answer.into_parts();
    // The client's own token is the gateway's affair; these are about the gateway's credential.
    if head.status == StatusCode::UNAUTHORIZED {
        tracing::error!(pod = %source.pod, "a pod refuses the gateway's credential");
        return Err(bad_gateway("the media pod does not accept this gateway"));
    }
    if head.status == StatusCode::FORBIDDEN {
        return Err(Problem::not_found("there is no such session in this room"));
    }
    let mut headers = copy(&head.headers, &OF_ANSWERS);
    headers.extend(public_location(source, head.status, &head.headers)?.map(|at| (LOCATION, at)));
    for link in head.headers.get_all(LINK) {
        let public = link.to_str().ok().and_then(|link| source.link(link));
        if let Some(Ok(public)) = public.map(HeaderValue::try_from) {
            headers.append(LINK, public);
        }
    }
    let body = if is_event_stream(&head.headers) {
        Body::from_stream(events(Open {
            body,
            rewriter: EventRewriter::new(source.clone()),
            ending: gateway.life().ending(),
            _guard: gateway.metrics().stream(),
        }))
    } else {
        Body::from(bounded(body).await?)
    };
    Ok((head.status, headers, body).into_response())
}

/// The public address of what a pod has made; an answer that says so without naming it is of no use.
fn public_location(
    source: &Source,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, Problem> {
    let named = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let public = named.and_then(|value| source.location(value));
    match public.map(HeaderValue::try_from) {
        Some(Ok(at)) => Ok(Some(at)),
        _ if status == StatusCode::CREATED => {
            Err(bad_gateway("the media pod did not name the session"))
        }
        _ => Ok(None),
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    media_type.is_some_and(|value| value.starts_with("text/event-stream"))
}

async fn bounded(body: Incoming) -> Result<Bytes, Problem> {
    let collected = Limited::new(body, MAX_ANSWER).collect();
    match tokio::time::timeout(ANSWER_PATIENCE, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) | Err(_) => Err(bad_gateway("the media pod's answer broke off")),
    }
}

fn bad_gateway(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, detail)
}

/// An event stream that is open.
struct Open {
    body: Incoming,
    rewriter: EventRewriter,
    ending: Ending,
    _guard: StreamGuard,
}

/// Events as they come. An error ends the stream without its end, so that the client knows that there may be more.
fn events(open: Open) -> impl Stream<Item = io::Result<Bytes>> {
    unfold(Some(open), |open| async move {
        let mut open = open?;
        loop {
            let came = tokio::select! {
                came = next(&mut open.body, &mut open.rewriter) => came,
                () = open.ending.wait() => return None,
            };
            match came {
                Ok(None) => return None,
                Ok(Some(events)) if events.is_empty() => {}
                Ok(Some(events)) => return Some((Ok(events), Some(open))),
                Err(error) => return Some((Err(error), None)),
            }
        }
    })
}

/// The events that the next bytes complete; none at the end.
async fn next(body: &mut Incoming, rewriter: &mut EventRewriter) -> io::Result<Option<Bytes>> {
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "the pod fell silent");
    let Some(frame) = tokio::time::timeout(STREAM_PATIENCE, body.frame())
        .await
        .map_err(silent)?
    else {
        return Ok(None);
    };
    let data = frame
        .map_err(io::Error::other)?
        .into_data()
        .unwrap_or_default();
    rewriter.push(&data).map(Some).map_err(io::Error::other)
}
