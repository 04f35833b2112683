//! Who may do what: tokens of hosts and viewers, and credentials of the parts among themselves. JSON Web Tokens
//! (RFC 7519), checked as RFC 8725 advises.
//!
//! - A room token ([`Signer`], [`Verifier`]) lets a person into one room in one role. The gateway checks it.
//! - A control credential ([`ControlKeys`]) lets the operator command a pod, the gateway bring a person to a room
//!   of it, and another pod take a room from it. It lives for a minute. Pods check it, and nothing else.
//!
//! Time is an argument everywhere: seconds since 1970.

mod claims;
mod control;
mod jwks;
mod key;
mod room;

pub use control::{CREDENTIAL_SECONDS, Caller, ControlClaims, ControlKeys, Grant, RelayGrant};
pub use jwks::{InvalidJwks, MAX_JWKS, read_jwks};
pub use key::{InvalidKey, SecretKey, VerifyingKey};
pub use room::{
    Action, Role, RoomClaims, RoomGrant, Signer, TrustedIssuer, UidRule, Validity, Verifier,
};

/// Who makes the room tokens that the operator writes.
pub const ISSUER: &str = "showrunner";
/// Whom they are for.
pub const AUDIENCE: &str = "showrunner-rooms";
/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 4096;
/// How far apart the clocks of two machines may be, in seconds.
pub const LEEWAY: u64 = 10;

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is too long")]
    TooLong,
    /// Not a JWT, of an algorithm that isn't one (`none`), or without a claim that it must have.
    #[error("the token is not a JWT with the claims that are needed here")]
    Malformed,
    /// No key here has the algorithm and the id that the token names.
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    /// Somebody else made it, or changed it.
    #[error("the token's signature is not valid")]
    BadSignature,
    /// Its `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` or `iat` is to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It would live longer than such a token may.
    #[error("the token lives too long")]
    LivesTooLong,
    /// Its `iss` is not the owner of the key.
    #[error("the token is from another issuer than its key")]
    OtherIssuer,
    /// It is meant for somebody else.
    #[error("the token is for another audience")]
    OtherAudience,
    /// It is for a room of another name.
    #[error("the token is for another room")]
    OtherRoom,
    /// It is for an earlier (or later) room of the same name.
    #[error("the token is for a room of this name that is over")]
    RoomEnded,
    /// Its role may not do this.
    #[error("the token's role does not allow this")]
    NotAllowed,
}

impl TokenError {
    /// Whether the token is good and only the wrong one for this (403 with `insufficient_scope`), rather than no good
    /// at all (401 with `invalid_token`; RFC 6750 §3.1).
    #[must_use]
    pub fn is_forbidden(self) -> bool {
        matches!(self, Self::OtherRoom | Self::RoomEnded | Self::NotAllowed)
    }
}
