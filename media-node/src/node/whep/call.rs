//! What is said to the server: an offer, and goodbye.

use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use showrunner_door::web::{Web, WebAnswer, WebError, WebRequest};
use showrunner_protocol::control::{Bearer, PullFailure, PullProblem, PullSource};
use showrunner_sdp::{Codec, Pulling, read_pull_answer};
use url::Url;

const SDP: &str = "application/sdp";
/// Redirections of an offer that are followed: those of a load balancer (RFC 9725 §4.5).
const MAX_REDIRECTS: usize = 2;

/// A server, and how it is called.
#[derive(Clone)]
pub(super) struct Server {
    web: Web,
    url: Url,
    bearer: Option<Bearer>,
}

/// A session at a server.
pub(super) struct Made {
    pub(super) pulling: Pulling,
    /// Where it is ended.
    resource: Option<Url>,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: PullProblem,
    /// When the server wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(failure: PullFailure, message: impl Into<String>) -> Failure {
        Failure {
            problem: PullProblem {
                failure,
                message: message.into(),
            },
            retry_after: None,
        }
    }
}

impl Server {
    /// The one that a pod was told.
    pub(super) fn new(source: &PullSource) -> Result<Server, Failure> {
        let invalid = |message: &str| Failure::new(PullFailure::Invalid, message);
        let url = Url::parse(&source.url).map_err(|_| invalid("the URL can't be read"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("the URL has a user name or password in it"));
        }
        let authorities = source.authorities.as_deref().map(str::as_bytes);
        let web = Web::new(authorities, source.allow_insecure);
        Ok(Server {
            web: web.map_err(|error| invalid(&error.to_string()))?,
            url,
            bearer: source.bearer.clone(),
        })
    }

    /// As logs name it.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Makes an offer.
    pub(super) async fn offer(&self, offer: String, codecs: &[Codec]) -> Result<Made, Failure> {
        let offer = Bytes::from(offer);
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = self.headers(&url);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
            headers.insert(ACCEPT, HeaderValue::from_static(SDP));
            let request = WebRequest {
                method: Method::POST,
                url: url.clone(),
                headers,
                body: offer.clone(),
            };
            let answer = self.web.call(request).await.map_err(unanswered)?;
            match answer.status {
                StatusCode::CREATED => return self.made(&url, &answer, codecs),
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    url = location(&url, &answer)
                        .ok_or_else(|| bad("the server redirects to nowhere"))?;
                }
                _ => return Err(refused(&answer)),
            }
        }
        Err(bad("the server redirects again and again"))
    }

    fn made(&self, url: &Url, answer: &WebAnswer, codecs: &[Codec]) -> Result<Made, Failure> {
        let kind = answer.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case(SDP) {
            return Err(bad("the server's answer is not application/sdp"));
        }
        let text = str::from_utf8(&answer.body).map_err(|_| bad("the server's answer is no text"));
        let mut pulling = read_pull_answer(text?, codecs).map_err(|error| {
            let message = format!("the server's answer can't be used: {error}");
            Failure::new(PullFailure::BadAnswer, message)
        })?;
        pulling.candidates.retain(|one| self.web.allows(one.ip()));
        if pulling.candidates.is_empty() {
            return Err(bad(
                "the server's media addresses are of this machine or this link alone",
            ));
        }
        // Elsewhere nobody is to see the token, and it ends by itself.
        let resource = location(url, answer).filter(|one| one.origin() == url.origin());
        Ok(Made { pulling, resource })
    }

    /// Ends a session there. A server that does not hear of it finds out by itself.
    pub(super) async fn leave(&self, made: &Made) {
        let Some(url) = &made.resource else { return };
        let request = WebRequest {
            method: Method::DELETE,
            url: url.clone(),
            headers: self.headers(url),
            body: Bytes::new(),
        };
        if let Err(error) = self.web.call(request).await {
            tracing::debug!(server = self.host(), %error, "the session could not be ended there");
        }
    }

    /// Shows the token, to the server that it is for.
    fn headers(&self, url: &Url) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let bearer = self.bearer.as_ref();
        let bearer = bearer.filter(|_| url.origin() == self.url.origin());
        if let Some(bearer) = bearer
            && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", bearer.secret()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers
    }
}

/// Where an answer leads, seen from what was asked.
fn location(asked: &Url, answer: &WebAnswer) -> Option<Url> {
    let text = answer.headers.get(LOCATION)?.to_str().ok()?;
    asked.join(text).ok()
}

fn bad(message: &str) -> Failure {
    Failure::new(PullFailure::BadAnswer, message)
}

fn unanswered(error: WebError) -> Failure {
    let failure = match error {
        WebError::Scheme | WebError::NoHost | WebError::Forbidden => PullFailure::Invalid,
        WebError::Protocol | WebError::TooLarge => PullFailure::BadAnswer,
        WebError::Unknown
        | WebError::NoConnection
        | WebError::Certificate
        | WebError::Tls
        | WebError::Silent => PullFailure::Unreachable,
    };
    Failure::new(failure, format!("the server can't be asked: {error}"))
}

fn refused(answer: &WebAnswer) -> Failure {
    let (failure, meaning) = match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (PullFailure::Unauthorized, "the token is not good for it")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => (PullFailure::NotLive, "there is no such show"),
        StatusCode::CONFLICT => (PullFailure::NotLive, "nobody is on air there yet"),
        StatusCode::NOT_ACCEPTABLE | StatusCode::UNPROCESSABLE_ENTITY => (
            PullFailure::Refused,
            "it sends no codec that the room takes",
        ),
        _ => (PullFailure::Refused, "it gives no show"),
    };
    let retry_after = answer.headers.get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let code = answer.status.as_u16();
    Failure {
        retry_after: retry_after.map(Duration::from_secs),
        ..Failure::new(failure, format!("the server answers {code}: {meaning}"))
    }
}
