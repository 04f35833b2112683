//! The names of rooms.

use std::fmt;
use std::sync::Arc;

/// A room's name on a node: `namespace/name`, as its LiveRoom resource is named in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// A room's name is not one that Kubernetes would take.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a valid room name: namespace and name are made of lower case letters, digits and \
     hyphens (dots too in the name), begin and end with a letter or digit, and have at most 63 and \
     253 characters"
)]
pub struct InvalidRoomName(String);

impl RoomName {
    /// Checks both parts: a DNS label and a DNS subdomain (RFC 1123).
    ///
    /// # Errors
    /// If either isn't.
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidRoomName> {
        let full = format!("{namespace}/{name}");
        let subdomain = name.len() <= 253 && name.split('.').all(|part| is_label(part, 253));
        if is_label(namespace, 63) && subdomain {
            Ok(Self(full.into()))
        } else {
            Err(InvalidRoomName(full.chars().take(320).collect()))
        }
    }
}

fn is_label(part: &str, max: usize) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.len() <= max
        && bytes.first().copied().is_some_and(inner)
        && bytes.last().copied().is_some_and(inner)
        && bytes.iter().all(|c| inner(*c) || *c == b'-')
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        assert_eq!(
            RoomName::new("shop", "sale-11.11").unwrap().to_string(),
            "shop/sale-11.11"
        );
        for (namespace, name) in [
            ("", "a"),
            ("a", ""),
            ("A", "a"),
            ("a.b", "a"),
            ("a", "-a"),
            ("a", "a-"),
            ("a", "a..b"),
            ("a", "a/b"),
            ("a", "ä"),
            ("a", "a\n"),
            (&"a".repeat(64), "a"),
            ("a", &"a".repeat(254)),
        ] {
            assert!(
                RoomName::new(namespace, name).is_err(),
                "{namespace}/{name}"
            );
        }
    }
}
