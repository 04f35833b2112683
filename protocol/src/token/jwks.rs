//! A customer's own keys, as their identity provider publishes them: a JWK Set (RFC 7517 §5).

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::key::VerifyingKey;

/// The largest set that is read, in bytes.
pub const MAX_JWKS: usize = 64 << 10;
/// The most keys that are kept of one set: each costs a try where tokens name none.
const MAX_KEYS: usize = 16;

/// A set of keys can't be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidJwks {
    /// Larger than [`MAX_JWKS`].
    #[error("the key set is larger than {MAX_JWKS} bytes")]
    TooLong,
    /// Not a JSON object with `keys`.
    #[error("this is not a JWK Set: {0}")]
    Malformed(String),
    /// Nothing in it can check a token here.
    #[error("the key set has no Ed25519, P-256 or RSA key for signatures")]
    NoUsableKey,
    /// More than can be kept.
    #[error("the key set has more than {MAX_KEYS} keys for signatures")]
    TooManyKeys,
}

/// The keys of a set that can check signatures: Ed25519 (EdDSA), P-256 (ES256) and RSA (RS256). Others are skipped;
/// symmetric ones above all, for who can read those could sign.
///
/// # Errors
/// If there is none, or it is not such a set.
pub fn read_jwks(text: &str) -> Result<Vec<VerifyingKey>, InvalidJwks> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    if text.len() > MAX_JWKS {
        return Err(InvalidJwks::TooLong);
    }
    let set: Set = serde_json::from_str(text).map_err(|e| InvalidJwks::Malformed(e.to_string()))?;
    let keys: Vec<VerifyingKey> = set.keys.into_iter().filter_map(usable).collect();
    match keys.len() {
        0 => Err(InvalidJwks::NoUsableKey),
        1..=MAX_KEYS => Ok(keys),
        _ => Err(InvalidJwks::TooManyKeys),
    }
}

fn usable(key: serde_json::Value) -> Option<VerifyingKey> {
    let key: Jwk = serde_json::from_value(key).ok()?;
    let (algorithm, named) = match &key.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        _ => return None,
    };
    let common = &key.common;
    let for_that = common.key_algorithm.is_none_or(|alg| alg == named);
    let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let for_checking = common
        .key_operations
        .as_ref()
        .is_none_or(|all| all.contains(&KeyOperations::Verify));
    if !(for_that && for_signatures && for_checking) {
        return None;
    }
    let check = DecodingKey::from_jwk(&key).ok()?;
    Some(VerifyingKey::new(common.key_id.clone(), algorithm, check))
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn kids(keys: &str) -> Result<Vec<Option<String>>, InvalidJwks> {
        let keys = read_jwks(&format!("{{\"keys\":[{keys}]}}"))?;
        Ok(keys
            .iter()
            .map(|key| key.kid().map(str::to_owned))
            .collect())
    }

    fn ed(members: &str) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"{members}}}"#)
    }

    #[test]
    fn keys_for_other_things_are_skipped() {
        let others = [
            r#"{"kty":"oct","k":"c2VjcmV0","alg":"HS256","kid":"symmetric"}"#.to_owned(),
            ed(r#","use":"enc","kid":"encrypts""#),
            ed(r#","key_ops":["sign"],"kid":"signs""#),
            ed(r#","alg":"RS256","kid":"confused""#),
            r#"{"kty":"quantum","kid":"new"}"#.to_owned(),
            r#"{"kty":"OKP","crv":"X25519","x":"aa","kid":"agrees"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-384","x":"aa","y":"aa","kid":"other curve"}"#.to_owned(),
            "7".to_owned(),
        ];
        for other in &others {
            assert_eq!(kids(other), Err(InvalidJwks::NoUsableKey), "{other}");
        }
        let all = format!(
            "{},{}",
            others.join(","),
            ed(r#","use":"sig","kid":"good""#)
        );
        assert_eq!(kids(&all), Ok(vec![Some("good".to_owned())]));
    }

    #[test]
    fn sets_are_bounded() {
        assert_eq!(
            kids(&vec![ed(""); MAX_KEYS].join(",")).map(|k| k.len()),
            Ok(MAX_KEYS)
        );
        assert_eq!(
            kids(&vec![ed(""); MAX_KEYS + 1].join(",")),
            Err(InvalidJwks::TooManyKeys)
        );
        assert_eq!(kids(&" ".repeat(MAX_JWKS)), Err(InvalidJwks::TooLong));
        for bad in ["", "[]", "{}", "{\"keys\":{}}", "null"] {
            assert!(
                matches!(read_jwks(bad), Err(InvalidJwks::Malformed(_))),
                "{bad}"
            );
        }
    }
}
