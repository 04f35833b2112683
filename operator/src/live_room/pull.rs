//! What a room is pulled from, made of its spec and what that refers to. Pure.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use showrunner_crds::LiveRoom;
use showrunner_crds::condition::room;
use showrunner_crds::source::{KeyReference, Pull};
use showrunner_protocol::control::{Bearer, HostSource, PullSource};

/// The most of a bundle of authorities that a pod is told, in bytes.
const MAX_AUTHORITIES: usize = 32 << 10;

/// What the spec says of it, if the room is pulled.
#[must_use]
pub fn of(room: &LiveRoom) -> Option<&Pull> {
    room.spec.source.as_ref()?.pull.as_ref()
}

/// Why it is not known what a room is to be pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In a word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What a room's spec refers to, as it was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The Secret of its token.
    pub secret: Option<Secret>,
    /// The ConfigMap of its authorities.
    pub config_map: Option<ConfigMap>,
}

/// The source that a pod is told.
///
/// # Errors
/// If what the spec refers to is missing, or not what it should be.
pub fn source(
    room: &LiveRoom,
    pull: &Pull,
    found: &Found,
    allow_insecure: bool,
) -> Result<PullSource, Trouble> {
    let bearer = pull.token_secret_ref.as_ref().map(|reference| {
        let secret = found
            .secret
            .as_ref()
            .and_then(|secret| secret.data.as_ref());
        let value = secret.and_then(|data| data.get(&reference.key));
        let value = value.ok_or_else(|| missing("Secret", reference))?;
        let text = str::from_utf8(&value.0).unwrap_or_default();
        Bearer::new(text).ok_or_else(|| unusable("Secret", reference, "no bearer token"))
    });
    let authorities = pull.ca_config_map_ref.as_ref().map(|reference| {
        let map = found.config_map.as_ref().and_then(|map| map.data.as_ref());
        let value = map.and_then(|data| data.get(&reference.key));
        let value = value.ok_or_else(|| missing("ConfigMap", reference))?;
        let fits = value.len() <= MAX_AUTHORITIES;
        let value = fits.then(|| value.clone());
        value.ok_or_else(|| unusable("ConfigMap", reference, "larger than 32 KiB"))
    });
    let (bearer, authorities) = (bearer.transpose()?, authorities.transpose()?);
    let version = |version: Option<String>| version.unwrap_or_default();
    let secret = found
        .secret
        .as_ref()
        .and_then(ResourceExt::resource_version);
    let map = found
        .config_map
        .as_ref()
        .and_then(ResourceExt::resource_version);
    Ok(PullSource {
        version: format!(
            "{}-{}-{}",
            room.metadata.generation.unwrap_or(0),
            version(secret),
            version(map)
        ),
        url: pull.url.clone(),
        bearer,
        authorities,
        allow_insecure,
    })
}

fn missing(kind: &str, reference: &KeyReference) -> Trouble {
    let KeyReference { name, key } = reference;
    Trouble {
        reason: room::SOURCE_NOT_FOUND,
        message: format!("there is no {kind} {name} with a key {key} in the room's namespace"),
    }
}

fn unusable(kind: &str, reference: &KeyReference, why: &str) -> Trouble {
    let KeyReference { name, key } = reference;
    Trouble {
        reason: room::SOURCE_INVALID,
        message: format!("what {kind} {name} has under {key} is {why}"),
    }
}

/// The API server does not give what a spec refers to.
#[must_use]
pub fn unread(kind: &str, reference: &KeyReference, code: Option<u16>) -> Trouble {
    let name = &reference.name;
    match code {
        Some(403) => Trouble {
            reason: room::SOURCE_FORBIDDEN,
            message: format!(
                "the operator may not get {kind} {name}: bind its ServiceAccount to a Role that allows it to get the \
                 {kind} of this name"
            ),
        },
        Some(404) => missing(kind, reference),
        _ => Trouble {
            reason: room::SOURCE_UNREAD,
            message: format!("the API server does not give {kind} {name} at the moment"),
        },
    }
}

/// Where a room's show comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What the origin is told.
    pub host: HostSource,
    /// Why it can't be told better.
    pub trouble: Option<Trouble>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> LiveRoom {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "LiveRoom",
            "metadata": {"name": "sale", "namespace": "shop", "uid": "1", "generation": 7},
            "spec": {"source": {"pull": {
                "url": "https://live.example.com/whep/shop/sale",
                "tokenSecretRef": {"name": "far", "key": "token"},
                "caConfigMapRef": {"name": "far-ca", "key": "ca.crt"},
            }}},
        }))
        .unwrap()
    }

    fn found(token: &str) -> Found {
        Found {
            secret: serde_json::from_value(serde_json::json!({
                "metadata": {"resourceVersion": "11"},
                "data": {"token": k8s_openapi::ByteString(token.as_bytes().to_vec())},
            }))
            .unwrap(),
            config_map: serde_json::from_value(serde_json::json!({
                "metadata": {"resourceVersion": "12"},
                "data": {"ca.crt": "PEM"},
            }))
            .unwrap(),
        }
    }

    #[test]
    fn a_pod_is_told_all_that_the_spec_refers_to() {
        let room = room();
        let pull = of(&room).unwrap();
        let told = source(&room, pull, &found("t0ken\n"), false).unwrap();
        assert_eq!(told.url, "https://live.example.com/whep/shop/sale");
        assert_eq!(told.bearer, Bearer::new("t0ken"));
        assert_eq!(told.authorities.as_deref(), Some("PEM"));
        assert_eq!(told.version, "7-11-12");
        assert!(!format!("{told:?}").contains("t0ken"));
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_with_it() {
        let room = room();
        let pull = of(&room).unwrap();
        let reason = |found: &Found| source(&room, pull, found, false).unwrap_err();
        let none = reason(&Found::default());
        assert_eq!(none.reason, "SourceNotFound");
        assert!(none.message.contains("Secret far"), "{}", none.message);
        let two_lines = reason(&found("t0ken\nanother"));
        assert_eq!(two_lines.reason, "SourceInvalid");
        assert!(!two_lines.message.contains("t0ken"));
        let without_map = Found {
            config_map: None,
            ..found("t0ken")
        };
        assert!(reason(&without_map).message.contains("ConfigMap far-ca"));
        let secret = pull.token_secret_ref.as_ref().unwrap();
        for (code, expected) in [
            (Some(403), "SourceForbidden"),
            (Some(404), "SourceNotFound"),
            (Some(500), "SourceUnread"),
            (None, "SourceUnread"),
        ] {
            assert_eq!(unread("Secret", secret, code).reason, expected);
        }
    }
}
