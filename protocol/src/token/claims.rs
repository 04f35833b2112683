//! The claims that all tokens have (RFC 7519 §4.1), and how they are checked.

use aws_lc_rs::rand;
use serde::{Deserialize, Deserializer, Serialize};

use super::{LEEWAY, TokenError};

/// When a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_date"
    )]
    pub(super) iat: Option<u64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_date"
    )]
    pub(super) nbf: Option<u64>,
    #[serde(deserialize_with = "date")]
    pub(super) exp: u64,
}

impl Times {
    /// From now on, or from a later moment.
    pub(super) fn lasting(now: u64, from: u64, seconds: u32) -> Times {
        Times {
            iat: Some(now),
            nbf: Some(from),
            exp: from.saturating_add(seconds.into()),
        }
    }

    pub(super) fn check(self, now: u64) -> Result<(), TokenError> {
        if self.exp.saturating_add(LEEWAY) <= now {
            return Err(TokenError::Expired);
        }
        let soonest = self.nbf.max(self.iat).unwrap_or_default();
        if soonest > now.saturating_add(LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

/// A NumericDate (RFC 7519 §2): seconds, which may have a fraction.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    // Up to here, every whole number has a float of its own.
    if (0.0..9_007_199_254_740_992.0).contains(&seconds) {
        Ok(seconds as u64)
    } else {
        Err(serde::de::Error::custom("not a date in seconds"))
    }
}

fn some_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    date(deserializer).map(Some)
}

/// The `aud` claim: one, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(super) fn includes(&self, audience: &str) -> bool {
        match self {
            Self::One(only) => only == audience,
            Self::Several(all) => all.iter().any(|one| one == audience),
        }
    }
}

/// A `jti` of 128 random bits; none if the system has no randomness.
pub(super) fn unique_id() -> Option<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_a_little_apart() {
        let times = Times::lasting(1000, 1000, 60);
        for (now, expected) in [
            (1000 - LEEWAY - 1, Err(TokenError::NotYetValid)),
            (1000 - LEEWAY, Ok(())),
            (1000, Ok(())),
            (1060 + LEEWAY - 1, Ok(())),
            (1060 + LEEWAY, Err(TokenError::Expired)),
            (u64::MAX, Err(TokenError::Expired)),
        ] {
            assert_eq!(times.check(now), expected, "{now}");
        }
    }

    #[test]
    fn the_later_of_both_beginnings_counts() {
        for (iat, nbf) in [
            (Some(2000), Some(1000)),
            (Some(1000), Some(2000)),
            (None, Some(2000)),
        ] {
            let times = Times {
                iat,
                nbf,
                exp: 3000,
            };
            assert_eq!(times.check(1500), Err(TokenError::NotYetValid));
            assert_eq!(times.check(2000), Ok(()));
        }
    }

    #[test]
    fn dates_may_have_fractions_but_must_be_dates() {
        let exp = |text: &str| serde_json::from_str::<Times>(text).map(|t| t.exp);
        assert_eq!(exp(r#"{"exp":12}"#).unwrap(), 12);
        assert_eq!(exp(r#"{"exp":12.9}"#).unwrap(), 12);
        for bad in [
            r#"{}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":"12"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":1e300}"#,
            r#"{"exp":12,"nbf":"x"}"#,
            r#"{"exp":12,"nbf":null}"#,
            r#"{"exp":12,"exp":99}"#,
        ] {
            assert!(exp(bad).is_err(), "{bad}");
        }
    }
}
