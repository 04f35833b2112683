//! Quantities as people write them in a scenario: `50ms`, `4 Mbit/s`, `10%`, `60 kB`.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Text that is no such quantity; says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {what}: write it like {example}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// A span of time: `50ms`, `1.5 s`, `2min`, `300us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// Bits a second: `4 Mbit/s`, `800 kbit/s`, or `unlimited`. Counted are IP packets, headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(pub Option<u64>);

/// A share between 0 and 1: `10%`, `0.5 %`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Share(pub f64);

/// How much a queue holds: `60 kB`, or `200ms` at the link's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Size {
    /// Bytes of IP packets.
    Bytes(u64),
    /// As many bytes as the link carries in this time at its rate of the moment.
    Time(Duration),
}

/// A number that isn't negative, and the word after it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    // Far more than any quantity here, and far less than what overflows.
    (number <= 1e12).then(|| (number, text[end..].trim()))
}

fn span(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "min" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        span(text).map(Self).ok_or_else(|| UnitError {
            text: text.into(),
            what: "span of time",
            example: "50ms or 1.5s",
        })
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.trim() == "unlimited" {
            return Ok(Self(None));
        }
        let parse = || {
            let (number, unit) = split(text)?;
            let factor = match unit {
                "bit/s" => 1.0,
                "kbit/s" => 1e3,
                "Mbit/s" => 1e6,
                "Gbit/s" => 1e9,
                _ => return None,
            };
            Some(Self(Some((number * factor).round() as u64)))
        };
        parse().ok_or_else(|| UnitError {
            text: text.into(),
            what: "rate",
            example: "4 Mbit/s, 800 kbit/s or unlimited",
        })
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        split(text)
            .filter(|(number, unit)| *unit == "%" && *number <= 100.0)
            .map(|(number, _)| Self(number / 100.0))
            .ok_or_else(|| UnitError {
                text: text.into(),
                what: "share",
                example: "10% (0% to 100%)",
            })
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bytes = || {
            let (number, unit) = split(text)?;
            let factor = match unit {
                "B" => 1.0,
                "kB" => 1e3,
                "MB" => 1e6,
                _ => return None,
            };
            Some(Self::Bytes((number * factor).round() as u64))
        };
        span(text)
            .map(Self::Time)
            .or_else(bytes)
            .ok_or_else(|| UnitError {
                text: text.into(),
                what: "size of a queue",
                example: "60 kB or 200ms",
            })
    }
}

macro_rules! from_string {
    ($($unit:ty),+) => {$(
        impl TryFrom<String> for $unit {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }
    )+};
}
from_string!(Span, Rate, Share, Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_people_write_them() {
        let ms = Duration::from_millis;
        assert_eq!("50ms".parse(), Ok(Span(ms(50))));
        assert_eq!(" 1.5 s ".parse(), Ok(Span(ms(1500))));
        assert_eq!("2min".parse(), Ok(Span(ms(120_000))));
        assert_eq!("4 Mbit/s".parse(), Ok(Rate(Some(4_000_000))));
        assert_eq!("0.5kbit/s".parse(), Ok(Rate(Some(500))));
        assert_eq!("unlimited".parse(), Ok(Rate(None)));
        assert_eq!("10%".parse(), Ok(Share(0.1)));
        assert_eq!("60 kB".parse(), Ok(Size::Bytes(60_000)));
        assert_eq!("200ms".parse(), Ok(Size::Time(ms(200))));
    }

    #[test]
    fn what_is_no_quantity_is_told_what_would_be() {
        for text in [
            "",
            "ms",
            "50",
            "-5ms",
            "5 parsecs",
            "1e400s",
            "99999999999999s",
            "NaNs",
        ] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("write it like 50ms"), "{error}");
        }
        assert!(
            "4 Mb"
                .parse::<Rate>()
                .unwrap_err()
                .to_string()
                .contains("4 Mbit/s")
        );
        assert!("110%".parse::<Share>().is_err());
        assert!("0.1".parse::<Share>().is_err());
        assert!("60 packets".parse::<Size>().is_err());
    }
}
