//! Room tokens: one person, one room, one role.

use serde::{Deserialize, Serialize};

use super::TokenError;
use super::claims::{Audience, Times, unique_id};
use super::key::{SecretKey, VerifyingKey, open};
use crate::room::{RoomName, RoomUid};

/// What a person is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Owns the room.
    Host,
    /// Was let on stage.
    CoHost,
    /// Watches.
    Viewer,
    /// Encodes the host's picture smaller: sends further layers of it, and watches to have it.
    Transcoder,
}

/// What a person wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send media (WHIP). A transcoder's is never taken for a host's.
    Publish,
    /// Receive media (WHEP).
    Watch,
}

impl Role {
    /// Hosts, co-hosts and transcoders send and receive; viewers receive.
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        match action {
            Action::Publish => self != Self::Viewer,
            Action::Watch => true,
        }
    }
}

/// What a room token is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomGrant {
    /// The person, as whoever makes the token knows them.
    pub subject: String,
    /// The room.
    pub room: RoomName,
    /// Which room of that name.
    pub uid: RoomUid,
    /// What they are in it.
    pub role: Role,
}

/// When a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Seconds since 1970 when it is made.
    pub now: u64,
    /// Seconds since 1970 from when on it is good.
    pub from: u64,
    /// For how many seconds.
    pub seconds: u32,
}

/// The claims of a good token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomClaims {
    iss: String,
    aud: Audience,
    /// The person.
    pub sub: String,
    /// The room.
    pub room: RoomName,
    /// Which room of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_uid: Option<RoomUid>,
    /// What they are in it.
    pub role: Role,
    /// Names the token, if its maker did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    #[serde(flatten)]
    times: Times,
}

impl RoomClaims {
    /// Who made the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.iss
    }

    /// When the token ends, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.times.exp
    }
}

/// Makes room tokens.
#[derive(Clone, Debug)]
pub struct Signer {
    issuer: String,
    audience: String,
    key: SecretKey,
}

impl Signer {
    /// Of an issuer, for an audience: those that the [`TrustedIssuer`] has.
    #[must_use]
    pub fn new(issuer: &str, audience: &str, key: SecretKey) -> Signer {
        Signer {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            key,
        }
    }

    /// A token; none if the system has no randomness or the grant is too long to be one.
    #[must_use]
    pub fn sign(&self, grant: &RoomGrant, valid: Validity) -> Option<String> {
        self.key.sign(&RoomClaims {
            iss: self.issuer.clone(),
            aud: Audience::One(self.audience.clone()),
            sub: grant.subject.clone(),
            room: grant.room.clone(),
            room_uid: Some(grant.uid.clone()),
            role: grant.role,
            jti: Some(unique_id()?),
            times: Times::lasting(valid.now, valid.from, valid.seconds),
        })
    }
}

/// Whose tokens are believed, by which keys. Several keys overlap while they are rotated.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What their `aud` must include.
    pub audience: String,
    /// Its keys.
    pub keys: Vec<VerifyingKey>,
    /// Whether its tokens must name the room's uid.
    pub uid: UidRule,
}

/// Whether tokens must name the room's uid. One that they do name must be right in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UidRule {
    /// They must: our own do.
    Required,
    /// They may not know it: those that a customer's own service makes, which bounds them by time.
    Optional,
}

/// Checks room tokens.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    issuers: Vec<TrustedIssuer>,
}

impl Verifier {
    /// That believes these.
    #[must_use]
    pub fn new(issuers: Vec<TrustedIssuer>) -> Verifier {
        Verifier { issuers }
    }

    /// Lets a person into a room, or says why not.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        token: &str,
        now: u64,
        (room, uid): (&RoomName, &RoomUid),
        action: Action,
    ) -> Result<RoomClaims, TokenError> {
        let keys = self
            .issuers
            .iter()
            .flat_map(|issuer| issuer.keys.iter().map(move |key| (key, issuer)));
        let (claims, issuer): (RoomClaims, &TrustedIssuer) = open(token, keys)?;
        claims.times.check(now)?;
        if claims.iss != issuer.issuer {
            return Err(TokenError::OtherIssuer);
        }
        if !claims.aud.includes(&issuer.audience) {
            return Err(TokenError::OtherAudience);
        }
        if claims.room != *room {
            return Err(TokenError::OtherRoom);
        }
        match (&claims.room_uid, issuer.uid) {
            (Some(named), _) if named != uid => return Err(TokenError::RoomEnded),
            (None, UidRule::Required) => return Err(TokenError::Malformed),
            _ => {}
        }
        if !claims.role.may(action) {
            return Err(TokenError::NotAllowed);
        }
        Ok(claims)
    }
}
