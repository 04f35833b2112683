//! The names of rooms, and what tells a room from an earlier one of the same name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A room's name on a node: `namespace/name`, as its LiveRoom resource is named in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl RoomName {
    /// The namespace of its resource.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The name of its resource.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        // Every name has a slash, since `new` puts one there.
        self.0.split_once('/').unwrap_or_default()
    }
}

impl FromStr for RoomName {
    type Err = InvalidRoomName;

    fn from_str(full: &str) -> Result<Self, InvalidRoomName> {
        let (namespace, name) = full.split_once('/').unwrap_or((full, ""));
        Self::new(namespace, name)
    }
}

impl TryFrom<String> for RoomName {
    type Error = InvalidRoomName;

    fn try_from(full: String) -> Result<Self, InvalidRoomName> {
        full.parse()
    }
}

impl From<RoomName> for String {
    fn from(name: RoomName) -> String {
        name.0.as_ref().to_owned()
    }
}

/// Tells a room from an earlier one of the same name: the `metadata.uid` of its LiveRoom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomUid(Arc<str>);

/// A room's uid is empty, too long or of odd characters.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a room's uid has 1 to 64 letters, digits and hyphens")]
pub struct InvalidRoomUid;

impl RoomUid {
    /// Checks that it is short and plain. Kubernetes makes them UUIDs today and promises only that they are unique.
    ///
    /// # Errors
    /// If it isn't.
    pub fn new(uid: &str) -> Result<Self, InvalidRoomUid> {
        let plain = uid.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        if plain && (1..=64).contains(&uid.len()) {
            Ok(Self(uid.into()))
        } else {
            Err(InvalidRoomUid)
        }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomUid {
    type Error = InvalidRoomUid;

    fn try_from(uid: String) -> Result<Self, InvalidRoomUid> {
        Self::new(&uid)
    }
}

impl From<RoomUid> for String {
    fn from(uid: RoomUid) -> String {
        uid.as_str().to_owned()
    }
}

impl fmt::Display for RoomUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    #[test]
    fn names_come_apart_where_they_were_joined() {
        let name: RoomName = "shop/sale-11.11".parse().unwrap();
        assert_eq!((name.namespace(), name.name()), ("shop", "sale-11.11"));
        for bad in ["", "shop", "shop/", "/sale", "a/b/c"] {
            assert!(bad.parse::<RoomName>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"shop/sale-11.11\"");
        assert!(serde_json::from_str::<RoomName>("\"Shop/sale\"").is_err());
    }

    #[test]
    fn uids_are_short_and_plain() {
        assert!(RoomUid::new("4f0c2ab0-9a0e-4f6d-8d2e-52f1b7f0a001").is_ok());
        for bad in ["", "a b", "a/b", "ä", "a\n", &"a".repeat(65)] {
            assert_eq!(RoomUid::new(bad), Err(InvalidRoomUid), "{bad}");
        }
    }
}
