//! Bearer tokens (RFC 6750): static ones, from the configuration.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::problem::Problem;

/// A token that requests must show. Only its hash is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// Of a secret, as `Authorization: Bearer` carries it.
    #[must_use]
    pub fn new(secret: &str) -> Token {
        Token(hash(secret))
    }

    /// Comparing hashes takes the same time wherever, and whether, the secrets differ.
    fn matches(&self, shown: &str) -> bool {
        verify_slices_are_equal(&self.0, &hash(shown)).is_ok()
    }
}

fn hash(secret: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let digest = digest(&SHA256, secret.as_bytes());
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}

/// Lets a request through that shows the token, or any if there is none to show.
pub(super) fn require(token: Option<&Token>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = token else { return Ok(()) };
    let (detail, challenge) = match bearer(headers) {
        Some(shown) if token.matches(shown) => return Ok(()),
        Some(_) => (
            "the bearer token is not valid here",
            "Bearer realm=\"showrunner\", error=\"invalid_token\"",
        ),
        None => (
            "this needs a bearer token: send it in the Authorization header",
            "Bearer realm=\"showrunner\"",
        ),
    };
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail)
        .with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge)))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}
