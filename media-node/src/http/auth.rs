//! Bearer tokens (RFC 6750). A node of its own knows static ones, from its configuration. A node of a cluster leaves
//! people's tokens to the gateway, and checks what the gateway and the operator show.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use showrunner_door::{BoxError, Files, FilesError};
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::{Action, ControlClaims, ControlKeys};

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

/// Lets in those that may do what a role does in a room, and says which room of that name they mean: none on a node
/// that takes any.
pub(super) fn enter(
    app: &App,
    headers: &HeaderMap,
    role: Role,
    (namespace, name): (&str, &str),
) -> Result<(RoomName, Option<RoomUid>), Problem> {
    let Some(control) = app.control() else {
        require(app.token(role), headers)?;
        return Ok((RoomName::new(namespace, name)?, None));
    };
    let claims = control.check(headers)?;
    let room = RoomName::new(namespace, name)?;
    let uid = grant(claims, role, &room)?;
    if app.node().has_room(&room, &uid) {
        return Ok((room, Some(uid)));
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
    match app.control() {
        None => require(app.token(role), headers),
        Some(control) => grant(control.check(headers)?, role, room).map(|_| ()),
    }
}

/// What the grant of a credential says is the room's uid, if it is for that room and role.
fn grant(claims: ControlClaims, role: Role, room: &RoomName) -> Result<RoomUid, Problem> {
    let grant = claims
        .grant
        .ok_or_else(|| forbidden("the credential brings nobody"))?;
    let action = match role {
        Role::Publisher => Action::Publish,
        Role::Viewer => Action::Watch,
    };
    if grant.room != *room {
        return Err(forbidden("the credential is for another room"));
    }
    if !grant.role.may(action) {
        return Err(forbidden("the credential's role does not allow this"));
    }
    Ok(grant.uid)
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
