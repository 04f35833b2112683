//! The addresses that a pod answers, made into those of the gateway.

use std::net::IpAddr;

use axum::http::uri::{PathAndQuery, Uri};

use super::address::{Endpoint, PodName, Resource, SessionAddress};

/// Where an answer comes from: what the gateway's address of a session has and the pod's has not.
#[derive(Clone, Debug)]
pub struct Source {
    /// Which endpoint the session was made at.
    pub endpoint: Endpoint,
    /// Which pod answered.
    pub pod: PodName,
}

impl Source {
    /// The public address of a session's resource that a `Location` field names; none if it names no such.
    #[must_use]
    pub fn location(&self, value: &str) -> Option<String> {
        let reference = Reference::parse(value)?;
        self.session(reference.path.path())
    }

    /// A `Link` field (RFC 8288 §3) with the public addresses of the session's resources. Other targets, as ICE
    /// servers, and all parameters stay as they are. None if a target has no end or lies within the cluster.
    #[must_use]
    pub fn link(&self, value: &str) -> Option<String> {
        let mut public = String::with_capacity(value.len() + 64);
        let mut rest = value;
        while let Some(start) = next_target(rest) {
            let (before, target) = rest.split_at(start + 1);
            let (target, after) = target.split_once('>')?;
            public.push_str(before);
            public.push_str(&self.target(target)?);
            public.push('>');
            rest = after;
        }
        public.push_str(rest);
        Some(public)
    }

    /// What a client shall be told for an address that a pod tells; none if it is of no use outside the cluster.
    #[must_use]
    pub fn target(&self, value: &str) -> Option<String> {
        let Some(reference) = Reference::parse(value) else {
            return Some(value.to_owned());
        };
        let session = self.session(reference.path.path());
        session.or_else(|| match reference.host {
            // Only pods are named by address. The same path here finds the pod that is right by then.
            Host::Address => Endpoint::parse(reference.path.path()).map(|e| e.to_string()),
            Host::None | Host::Name => Some(value.to_owned()),
        })
    }

    fn session(&self, path: &str) -> Option<String> {
        let address = SessionAddress {
            endpoint: self.endpoint.clone(),
            pod: self.pod.clone(),
            resource: Resource::parse(path)?,
        };
        Some(address.to_string())
    }
}

/// The position of the next `<` that is not within a quoted string.
fn next_target(links: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in links.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'<' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// An absolute path, or an HTTP URL.
struct Reference {
    host: Host,
    path: PathAndQuery,
}

enum Host {
    None,
    Name,
    Address,
}

impl Reference {
    /// None for everything else, as `turn:…` or a path that is not absolute.
    fn parse(value: &str) -> Option<Reference> {
        let uri: Uri = value.parse().ok()?;
        let host = match (uri.scheme_str(), uri.host()) {
            (None, None) if value.starts_with('/') => Host::None,
            (Some("http" | "https"), Some(host)) if is_ip(host) => Host::Address,
            (Some("http" | "https"), Some(_)) => Host::Name,
            _ => return None,
        };
        let path = uri.into_parts().path_and_query?;
        Some(Reference { host, path })
    }
}

/// Whether a URL's host is an address; those of IPv6 stand in brackets.
fn is_ip(host: &str) -> bool {
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::address::{Address, Protocol};
    use super::*;

    const PUBLIC: &str = "/whep/shop/sale/sessions/media.eu-1/abc";

    fn source() -> Source {
        Source {
            endpoint: Endpoint {
                protocol: Protocol::Whep,
                room: showrunner_protocol::RoomName::new("shop", "sale").unwrap(),
            },
            pod: PodName::new("media", "eu-1").unwrap(),
        }
    }

    #[test]
    fn a_location_becomes_public() {
        for (pods, part) in [
            ("/sessions/abc", ""),
            ("/sessions/abc/events/3", "/events/3"),
            ("https://10.1.2.3:8443/sessions/abc", ""),
            ("https://media-node:8443/sessions/abc", ""),
        ] {
            assert_eq!(
                source().location(pods),
                Some(format!("{PUBLIC}{part}")),
                "{pods}"
            );
        }
        for other in [
            "",
            "abc",
            "/",
            "/v1/status",
            "/sessions/a/../b",
            "/whep/shop/sale",
            "ftp://a/sessions/abc",
        ] {
            assert_eq!(source().location(other), None, "{other}");
        }
    }

    #[test]
    fn links_become_public_and_keep_their_parameters() {
        let events =
            "rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"active,layers\"";
        assert_eq!(
            source().link(&format!("</sessions/abc/events>; {events}")),
            Some(format!("<{PUBLIC}/events>; {events}"))
        );
        assert_eq!(
            source()
                .link("</sessions/abc/layer>; rel=\"a\", <https://[fd00::1]/sessions/abc>; rel=b"),
            Some(format!("<{PUBLIC}/layer>; rel=\"a\", <{PUBLIC}>; rel=b"))
        );
    }

    #[test]
    fn other_links_stay_as_they_are() {
        for link in [
            "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"</sessions/abc>\"; credential=\"\\\"<\"",
            "<stun:192.0.2.1:3478>; rel=\"ice-server\"",
            "<https://example.net/terms>; rel=\"license\"",
            "no target at all",
            "",
        ] {
            assert_eq!(source().link(link).as_deref(), Some(link));
        }
        assert_eq!(source().link("</sessions/abc; rel=\"a\""), None);
    }

    #[test]
    fn addresses_within_the_cluster_are_not_told() {
        assert_eq!(
            source()
                .target("https://10.1.2.3:8443/whep/shop/other")
                .as_deref(),
            Some("/whep/shop/other")
        );
        assert_eq!(source().target("http://[fd00::1]/v1/status"), None);
        assert_eq!(source().link("<https://10.1.2.3/metrics>; rel=\"a\""), None);
        let elsewhere = "https://eu.live.example/whep/shop/sale";
        assert_eq!(source().target(elsewhere).as_deref(), Some(elsewhere));
    }

    proptest! {
        #[test]
        fn a_location_is_public_or_nothing(value in "(https?://[a-z0-9.:\\[\\]]{0,12})?/(sessions/)?[ -~]{0,40}") {
            if let Some(public) = source().location(&value) {
                prop_assert!(matches!(Address::parse(&public), Some(Address::Session(_))), "{public}");
            }
        }

        /// Nothing is added to a field but public addresses: no control characters, no further links.
        #[test]
        fn a_link_keeps_its_shape(value in "[ -~]{0,80}") {
            if let Some(public) = source().link(&value) {
                prop_assert!(public.bytes().all(|c| (b' '..=b'~').contains(&c)));
                let count = |text: &str| text.matches('>').count();
                prop_assert_eq!(count(&public), count(&value));
            }
        }
    }
}
