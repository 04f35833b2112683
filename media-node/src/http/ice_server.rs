//! STUN and TURN servers that clients are told of, as Link header fields (RFC 9725 §4.6).

use std::str::FromStr;

use axum::http::HeaderValue;

/// The value of a Link header field with the relation `ice-server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer(HeaderValue);

/// A text is not an ICE server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an ICE server; write for example <stun:stun.example.net>, or \
     <turn:turn.example.net?transport=udp>; username=\"user\"; credential=\"secret\""
)]
pub struct InvalidIceServer(String);

impl IceServer {
    pub(super) fn link(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl FromStr for IceServer {
    type Err = InvalidIceServer;

    /// Reads `<turn:…>; username="…"; credential="…"`, with or without its `rel` and `credential-type`.
    fn from_str(text: &str) -> Result<IceServer, InvalidIceServer> {
        let invalid = || InvalidIceServer(text.to_owned());
        let (uri, parameters) = text
            .trim()
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .ok_or_else(invalid)?;
        let (scheme, host) = uri.split_once(':').ok_or_else(invalid)?;
        let is_turn = matches!(scheme, "turn" | "turns");
        let has = |name: &str| parameters.contains(&format!("{name}="));
        let is_complete = has("username") && has("credential");
        if host.is_empty() || !(is_turn && is_complete || matches!(scheme, "stun" | "stuns")) {
            return Err(invalid());
        }
        let mut link = format!("<{uri}>");
        if !has("rel") {
            link.push_str("; rel=\"ice-server\"");
        }
        link.push_str(parameters.trim_end());
        if is_turn && !has("credential-type") {
            link.push_str("; credential-type=\"password\"");
        }
        HeaderValue::try_from(link)
            .map(IceServer)
            .map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> Option<String> {
        let server: IceServer = text.parse().ok()?;
        Some(server.link().to_str().ok()?.to_owned())
    }

    #[test]
    fn the_relation_is_added() {
        assert_eq!(
            link("<stun:stun.example.net>").as_deref(),
            Some("<stun:stun.example.net>; rel=\"ice-server\"")
        );
        assert_eq!(
            link("<turn:t.example.net?transport=udp>; username=\"u\"; credential=\"c\"").as_deref(),
            Some(
                "<turn:t.example.net?transport=udp>; rel=\"ice-server\"; username=\"u\"; credential=\"c\"; \
                 credential-type=\"password\""
            )
        );
    }

    #[test]
    fn what_is_no_ice_server_is_refused() {
        for text in [
            "",
            "stun:stun.example.net",
            "<http://example.net>",
            "<turn:>",
            "<turn:t.example.net>",
            "<stun:a>\r\nX: y",
        ] {
            assert_eq!(link(text), None, "{text:?}");
        }
    }
}
