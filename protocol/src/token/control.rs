//! Control credentials: what the operator, the gateway and other pods show to pods.
//!
//! They are signed with a secret that the operator makes, known to operator, gateway and pods alone. Each lives for
//! [`CREDENTIAL_SECONDS`] and is made anew for each request.

use serde::{Deserialize, Serialize};

use super::claims::{Audience, Times, unique_id};
use super::key::{InvalidKey, SecretKey, VerifyingKey, open};
use super::{LEEWAY, Role, TokenError};
use crate::room::{RoomName, RoomUid};

/// How long a credential lives, in seconds.
pub const CREDENTIAL_SECONDS: u32 = 60;
/// Keys at a time: the one in use, and those that are on their way in or out.
const MAX_KEYS: usize = 4;
const AUDIENCE: &str = "showrunner-pod-control";

/// Who calls a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Caller {
    /// Tells it its rooms, and to drain.
    Operator,
    /// Brings it people.
    Gateway,
    /// Takes a room from it.
    Pod,
}

/// Whom the gateway brings: it has checked their token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The room that they may come into.
    pub room: RoomName,
    /// Which room of that name.
    pub uid: RoomUid,
    /// What they are in it.
    pub role: Role,
}

/// The room that a pod takes from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayGrant {
    /// Its name.
    pub room: RoomName,
    /// Which room of that name.
    pub uid: RoomUid,
}

/// The claims of a good credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlClaims {
    /// Who calls.
    #[serde(rename = "iss")]
    pub caller: Caller,
    aud: Audience,
    jti: String,
    /// Whom the caller brings, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// Which room the caller takes from the pod, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayGrant>,
    #[serde(flatten)]
    times: Times,
}

/// The secrets that credentials are signed with. The first signs, all check.
#[derive(Clone, Debug)]
pub struct ControlKeys {
    signs: SecretKey,
    check: Vec<VerifyingKey>,
}

impl ControlKeys {
    /// Reads a key file: one secret a line, the one in use first. To rotate without a gap, add the new one as the last
    /// line everywhere, then make it the first, then drop the old one.
    ///
    /// # Errors
    /// If there is no line or more than four, or one is too short.
    pub fn parse(text: &str) -> Result<ControlKeys, InvalidKey> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines
            .map(|line| SecretKey::hmac(line.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        match keys.first() {
            Some(first) if keys.len() <= MAX_KEYS => Ok(ControlKeys {
                signs: first.clone(),
                check: keys.iter().map(SecretKey::verifying_key).collect(),
            }),
            _ => Err(InvalidKey::Count(MAX_KEYS)),
        }
    }

    /// A credential to command a pod or to ask how it is; none if the system has no randomness.
    #[must_use]
    pub fn sign(&self, caller: Caller, now: u64) -> Option<String> {
        self.sign_claims(caller, None, None, now)
    }

    /// A credential to bring somebody; none if the system has no randomness.
    #[must_use]
    pub fn sign_grant(&self, grant: &Grant, now: u64) -> Option<String> {
        self.sign_claims(Caller::Gateway, Some(grant.clone()), None, now)
    }

    /// A credential to take one room from a pod, and nothing else; none if the system has no randomness.
    ///
    /// Pods sign it themselves: they have the secret to check with, and a link that broke must come back while the
    /// operator is away.
    #[must_use]
    pub fn sign_relay(&self, relay: &RelayGrant, now: u64) -> Option<String> {
        self.sign_claims(Caller::Pod, None, Some(relay.clone()), now)
    }

    fn sign_claims(
        &self,
        caller: Caller,
        grant: Option<Grant>,
        relay: Option<RelayGrant>,
        now: u64,
    ) -> Option<String> {
        self.signs.sign(&ControlClaims {
            caller,
            aud: Audience::One(AUDIENCE.to_owned()),
            jti: unique_id()?,
            grant,
            relay,
            times: Times::lasting(now, now, CREDENTIAL_SECONDS),
        })
    }

    /// Checks a credential.
    ///
    /// # Errors
    /// Why it is no good.
    pub fn verify(&self, token: &str, now: u64) -> Result<ControlClaims, TokenError> {
        let keys = self.check.iter().map(|key| (key, ()));
        let (claims, ()): (ControlClaims, ()) = open(token, keys)?;
        claims.times.check(now)?;
        // So that nobody gets used to credentials that could be lost and found.
        if claims.times.exp > now.saturating_add(LEEWAY + u64::from(CREDENTIAL_SECONDS)) {
            return Err(TokenError::LivesTooLong);
        }
        if !claims.aud.includes(AUDIENCE) {
            return Err(TokenError::OtherAudience);
        }
        Ok(claims)
    }
}
