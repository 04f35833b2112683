//! Bearer tokens (RFC 6750). A node of its own knows static ones, from its configuration. A node of a cluster leaves
//! people's tokens to the gateway, and checks what the gateway and the operator show.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use showrunner_door::{BoxError, Files, FilesError};
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{self, Action, ControlClaims, ControlKeys, Grant};

use super::App;
use super::problem::Problem;
use crate::clock::unix_seconds;
use crate::node::Role;
use crate::room::RoomName;

const NO_TOKEN: &str = "Bearer realm=\"showrunner\"";
const INVALID: &str = "Bearer realm=\"showrunner\", error=\"invalid_token\"";
const INSUFFICIENT: &str = "Bearer realm=\"showrunner\", error=\"insufficient_scope\"";

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

/// The keys of control credentials, from a file that is read again when it changes.
#[derive(Clone)]
pub struct ControlAccess(Files<ControlKeys>);

impl ControlAccess {
    /// Reads the file, and keeps looking after it.
    ///
    /// # Errors
    /// If it can't be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn from_file(path: &Path) -> Result<ControlAccess, FilesError> {
        Files::watch(&[path], control_keys).map(ControlAccess)
    }

    /// Looks at the file now rather than within some seconds.
    pub fn look(&self) {
        self.0.look();
    }

    /// The keys, to sign with as well.
    #[must_use]
    pub fn keys(&self) -> Files<ControlKeys> {
        self.0.clone()
    }

    fn check(&self, headers: &HeaderMap) -> Result<ControlClaims, Problem> {
        let shown = bearer(headers).ok_or_else(missing)?;
        let verified = self.0.get().verify(shown, unix_seconds());
        verified.map_err(|error| unauthorized(&error.to_string(), INVALID))
    }
}

fn control_keys(files: &[Vec<u8>]) -> Result<ControlKeys, BoxError> {
    Ok(ControlKeys::parse(str::from_utf8(&files.concat())?)?)
}

/// Somebody who was let into a room.
pub(super) struct Entrant {
    pub(super) room: RoomName,
    /// Which room of that name they mean: none on a node that takes any.
    pub(super) uid: Option<RoomUid>,
    /// They encode a host's picture anew.
    pub(super) transcodes: bool,
}

/// Lets in those that may send to a room, or receive from it.
pub(super) fn enter(
    app: &App,
    headers: &HeaderMap,
    action: Action,
    (namespace, name): (&str, &str),
) -> Result<Entrant, Problem> {
    let Some(control) = app.control() else {
        let transcodes = shows(app.token(Role::Transcoder), headers);
        if !transcodes {
            let role = match action {
                Action::Publish => Role::Publisher,
                Action::Watch => Role::Viewer,
            };
            require(app.token(role), headers)?;
        }
        return Ok(Entrant {
            room: RoomName::new(namespace, name)?,
            uid: None,
            transcodes,
        });
    };
    let claims = control.check(headers)?;
    let room = RoomName::new(namespace, name)?;
    let grant = grant(claims, &room, |role| role.may(action))?;
    if app.node().has_room(&room, &grant.uid) {
        return Ok(Entrant {
            room,
            uid: Some(grant.uid),
            transcodes: grant.role == token::Role::Transcoder,
        });
    }
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "this node does not have the room",
    ))
}

/// Lets in those that may act on a session of a role and room.
pub(super) fn act(
    app: &App,
    headers: &HeaderMap,
    role: Role,
    room: &RoomName,
) -> Result<(), Problem> {
    let Some(control) = app.control() else {
        // A transcoder has a viewer's session as well.
        if role == Role::Viewer && shows(app.token(Role::Transcoder), headers) {
            return Ok(());
        }
        return require(app.token(role), headers);
    };
    let may = |shown: token::Role| match role {
        Role::Publisher => matches!(shown, token::Role::Host | token::Role::CoHost),
        Role::Transcoder => shown == token::Role::Transcoder,
        Role::Viewer => shown.may(Action::Watch),
    };
    grant(control.check(headers)?, room, may).map(|_| ())
}

/// The grant of a credential, if it is for that room and such a role.
fn grant(
    claims: ControlClaims,
    room: &RoomName,
    may: impl Fn(token::Role) -> bool,
) -> Result<Grant, Problem> {
    let grant = claims
        .grant
        .ok_or_else(|| forbidden("the credential brings nobody"))?;
    if grant.room != *room {
        return Err(forbidden("the credential is for another room"));
    }
    if !may(grant.role) {
        return Err(forbidden("the credential's role does not allow this"));
    }
    Ok(grant)
}

/// What a credential of the control API says.
pub(super) fn control(app: &App, headers: &HeaderMap) -> Result<ControlClaims, Problem> {
    let control = app.control().ok_or_else(missing)?;
    control.check(headers)
}

/// Lets in a pod that takes this room, and says which room of that name it means.
pub(super) fn take(app: &App, headers: &HeaderMap, room: &RoomName) -> Result<RoomUid, Problem> {
    let relay = control(app, headers)?.relay;
    let relay = relay.ok_or_else(|| forbidden("the credential lets nobody take a room"))?;
    if relay.room != *room {
        return Err(forbidden("the credential is for another room"));
    }
    Ok(relay.uid)
}

pub(super) fn forbidden(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
        .with(WWW_AUTHENTICATE, HeaderValue::from_static(INSUFFICIENT))
}

fn missing() -> Problem {
    let detail = "this needs a bearer token: send it in the Authorization header";
    unauthorized(detail, NO_TOKEN)
}

fn unauthorized(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// Whether a request shows this token, if there is one.
fn shows(token: Option<&Token>, headers: &HeaderMap) -> bool {
    token
        .zip(bearer(headers))
        .is_some_and(|(token, shown)| token.matches(shown))
}

/// Lets a request through that shows the token, or any if there is none to show.
fn require(token: Option<&Token>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = token else { return Ok(()) };
    match bearer(headers) {
        Some(shown) if token.matches(shown) => Ok(()),
        Some(_) => Err(unauthorized("the bearer token is not valid here", INVALID)),
        None => Err(missing()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}
