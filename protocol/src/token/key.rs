//! Keys, each bound to one algorithm (RFC 8725 §3.1): what the header of a token says never chooses how it is checked.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::claims::hex;
use super::{MAX_TOKEN, TokenError};

/// The shortest secret for HS256, in bytes (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// The longest secret, in bytes.
const MAX_SECRET: usize = 4096;

/// A key that signs.
#[derive(Clone)]
pub struct SecretKey {
    kid: String,
    key: EncodingKey,
    public: VerifyingKey,
}

/// A key that checks signatures.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// A key can't be used.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// HS256 needs as many random bytes as its hash has.
    #[error("a secret has {MIN_SECRET} to {MAX_SECRET} bytes")]
    SecretLength,
    /// Not PKCS #8 of Ed25519.
    #[error("this is not an Ed25519 key in PKCS #8 DER")]
    NotEd25519,
    /// A key file has no key, or too many.
    #[error("a key file has 1 to {0} lines, each with a secret")]
    Count(usize),
}

impl SecretKey {
    /// HS256: who can check can sign.
    ///
    /// # Errors
    /// If the secret is too short or much too long.
    pub fn hmac(secret: &[u8]) -> Result<SecretKey, InvalidKey> {
        if !(MIN_SECRET..=MAX_SECRET).contains(&secret.len()) {
            return Err(InvalidKey::SecretLength);
        }
        let key = EncodingKey::from_secret(secret);
        Ok(Self::new(
            secret,
            Algorithm::HS256,
            key,
            DecodingKey::from_secret(secret),
        ))
    }

    /// EdDSA with Ed25519, from PKCS #8 DER.
    ///
    /// # Errors
    /// If it is another kind of key, or none.
    pub fn ed25519(pkcs8: &[u8]) -> Result<SecretKey, InvalidKey> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| InvalidKey::NotEd25519)?;
        let public = pair.public_key().as_ref();
        let key = EncodingKey::from_ed_der(pkcs8);
        Ok(Self::new(
            public,
            Algorithm::EdDSA,
            key,
            DecodingKey::from_ed_der(public),
        ))
    }

    /// The id is a hash of the key, so that all who have the key agree on it with nothing to configure.
    fn new(
        named_by: &[u8],
        algorithm: Algorithm,
        key: EncodingKey,
        check: DecodingKey,
    ) -> SecretKey {
        let hash = digest(&SHA256, &[b"showrunner kid ", named_by].concat());
        let kid = hex(hash.as_ref().get(..8).unwrap_or_default());
        SecretKey {
            key,
            public: VerifyingKey::new(Some(kid.clone()), algorithm, check),
            kid,
        }
    }

    /// What tokens name it by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What checks its signatures.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public.clone()
    }

    /// None if the system has no randomness, or the claims are too long for a token.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let header = Header {
            kid: Some(self.kid.clone()),
            ..Header::new(self.public.algorithm)
        };
        let token = jsonwebtoken::encode(&header, claims, &self.key).ok()?;
        (token.len() <= MAX_TOKEN).then_some(token)
    }
}

impl VerifyingKey {
    pub(super) fn new(kid: Option<String>, algorithm: Algorithm, key: DecodingKey) -> VerifyingKey {
        VerifyingKey {
            kid,
            algorithm,
            key,
        }
    }

    /// What tokens name it by, if they do.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    fn may_have_signed(&self, header: &Header) -> bool {
        let same_id = match (&self.kid, &header.kid) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        same_id && self.algorithm == header.alg
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.kid)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?}, {:?})", self.kid, self.algorithm)
    }
}

/// Checks a token's signature with the keys that may have made it, and reads its claims. Returns also what comes with
/// the key that did. Says nothing of times, audience and the rest: the caller checks them.
pub(super) fn open<'a, C: DeserializeOwned, T>(
    token: &str,
    keys: impl Iterator<Item = (&'a VerifyingKey, T)>,
) -> Result<(C, T), TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLong);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
    // Extensions that must be understood (RFC 7515 §4.1.11): none is.
    if header.crit.is_some() {
        return Err(TokenError::Malformed);
    }
    let mut problem = TokenError::UnknownKey;
    for (key, with) in keys.filter(|(key, _)| key.may_have_signed(&header)) {
        match jsonwebtoken::decode::<C>(token, &key.key, &signature_only(key.algorithm)) {
            Ok(opened) => return Ok((opened.claims, with)),
            Err(error) if is_bad_signature(error.kind()) => problem = TokenError::BadSignature,
            Err(_) => return Err(TokenError::Malformed),
        }
    }
    Err(problem)
}

fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn is_bad_signature(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidSignature
            | ErrorKind::InvalidKeyFormat
            | ErrorKind::InvalidEddsaKey
            | ErrorKind::InvalidEcdsaKey
            | ErrorKind::InvalidRsaKey(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_must_be_long_enough() {
        assert_eq!(
            SecretKey::hmac(&[7; 31]).unwrap_err(),
            InvalidKey::SecretLength
        );
        assert_eq!(
            SecretKey::hmac(&[7; 4097]).unwrap_err(),
            InvalidKey::SecretLength
        );
        assert_eq!(
            SecretKey::ed25519(&[7; 32]).unwrap_err(),
            InvalidKey::NotEd25519
        );
    }

    #[test]
    fn who_has_the_same_key_calls_it_the_same() {
        let (one, other) = (
            SecretKey::hmac(&[1; 32]).unwrap(),
            SecretKey::hmac(&[2; 32]).unwrap(),
        );
        assert_eq!(one.kid(), SecretKey::hmac(&[1; 32]).unwrap().kid());
        assert_ne!(one.kid(), other.kid());
    }

    #[test]
    fn keys_are_not_shown() {
        let shown = format!(
            "{:?}",
            SecretKey::hmac(b"a secret that must not be seen by anyone").unwrap()
        );
        assert!(
            shown.starts_with("SecretKey(") && shown.len() == 27,
            "{shown}"
        );
    }
}
