//! Shows that a pod pulls from another server, by WHEP.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the origin of a room gets its show from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum HostSource {
    /// A host publishes it.
    #[default]
    Publish,
    /// The pod is itself a viewer of another server, and nobody may publish.
    Pull {
        /// Of which. None: what it was told last of this room; whoever tells it does not know more at the moment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<PullSource>,
    },
}

/// A server to pull a show from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullSource {
    /// Tells what the pod was told from what it was told before. The pod gives it back in its status.
    pub version: String,
    /// The WHEP endpoint.
    pub url: String,
    /// What is shown there; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Bearer>,
    /// The authorities (PEM) that the server's certificate may be of; none: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// Whether the server may be one without TLS, or on the pod's own machine: for tests.
    #[serde(default)]
    pub allow_insecure: bool,
}

/// A bearer token (RFC 6750). It is left out of `Debug` output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bearer(String);

impl Bearer {
    /// The longest token, in bytes.
    pub const MAX: usize = 8192;

    /// A token of visible ASCII; white space around it, as editors leave it in files, is taken off.
    #[must_use]
    pub fn new(text: &str) -> Option<Bearer> {
        let text = text.trim();
        let fits = (1..=Bearer::MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Bearer(text.to_owned()))
    }

    /// The token.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

/// How a pod stands with the server that it pulls a show from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullStatus {
    /// The version of the source that it was told; empty while it waits to be told one.
    pub version: String,
    /// Whether it is connected there.
    pub connected: bool,
    /// Why it was not, when it last tried; none while it is, and before it has tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<PullProblem>,
}

/// Why a pod is not connected to the server that it pulls a show from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullProblem {
    /// In a word.
    pub failure: PullFailure,
    /// For people. Nothing in it is the server's own text.
    pub message: String,
}

/// The kinds of failures of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PullFailure {
    /// Nothing can be asked there, for the URL, the token or the authorities.
    Invalid,
    /// There is no connection to the server, or no answer from it.
    Unreachable,
    /// The server wants another token, or none.
    Unauthorized,
    /// The server has no such show, or nobody is on air in it.
    NotLive,
    /// The server gives another error.
    Refused,
    /// The server's answer can't be used.
    BadAnswer,
    /// The server took the viewer, and then its media can't be reached.
    NoMedia,
    /// The show was there, and the server has ended it.
    Ended,
    /// This pod can't take it at the moment.
    Busy,
    /// One that this program does not know.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_and_never_printed() {
        let bearer = Bearer::new(" abc.def-_~+/= \n").expect("a token");
        assert_eq!(bearer.secret(), "abc.def-_~+/=");
        assert_eq!(format!("{bearer:?}"), "Bearer");
        for bad in ["", "  ", "a b", "a\nb", "\u{e9}"] {
            assert_eq!(Bearer::new(bad), None, "{bad:?}");
        }
        assert_eq!(Bearer::new(&"a".repeat(Bearer::MAX + 1)), None);
    }

    #[test]
    fn where_a_show_comes_from_is_told_and_told_back() {
        let text = r#"{"kind":"pull","from":{"version":"7","url":"https://a.example/whep/x","bearer":"t","allowInsecure":false}}"#;
        let source: HostSource = serde_json::from_str(text).expect("a source");
        let HostSource::Pull { from: Some(from) } = &source else {
            panic!("{source:?}");
        };
        assert_eq!(from.bearer, Bearer::new("t"));
        assert_eq!(serde_json::to_string(&source).expect("JSON"), text);
        let unknown: HostSource = serde_json::from_str(r#"{"kind":"pull"}"#).expect("a source");
        assert_eq!(unknown, HostSource::Pull { from: None });
        let newer = r#"{"failure":"somethingNew","message":"what a later pod says"}"#;
        let problem: PullProblem = serde_json::from_str(newer).expect("a problem");
        assert_eq!(problem.failure, PullFailure::Other);
    }
}
