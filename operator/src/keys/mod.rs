//! The keys of an installation, kept in Secrets of the operator's namespace.
//!
//! Two Secrets are the source: `{name}-control` ([`Control`]) and `{name}-token-keys` ([`Tokens`]). They are made if they
//! are missing, and written again from memory if somebody deletes them. Who edits them by hand changes the keys: all
//! else follows from them, the gateway's Secret and ConfigMap and each namespace's Secret for pods. A third one,
//! `{name}-metrics-api` ([`Serving`]), is there if the metrics API is to be served.
//!
//! To rotate control keys, add a new line as the last one; a few minutes later make it the first; later drop the old
//! one. To rotate token keys, put a new Ed25519 key (PEM) before the old one, and drop the old one when the tokens that
//! it signed have ended.

mod keeper;
pub mod material;
mod serving;

pub use keeper::Keeper;
pub use material::{Control, Data, KeyError, Tokens};
pub use serving::Serving;

use std::sync::Arc;

use showrunner_protocol::token::{ControlKeys, SecretKey};
use tokio::sync::watch;

/// The keys of the moment, once there are some.
pub type Keys = watch::Receiver<Option<Arc<Keyring>>>;

/// The metrics API's certificate of the moment, once there is one.
pub type ServingKeys = watch::Receiver<Option<Arc<Serving>>>;

/// The keys that are in use.
#[derive(Clone)]
pub struct Keyring {
    /// What makes operator, gateway and pods believe each other.
    pub control: Control,
    /// What signs requests to pods.
    pub requests: ControlKeys,
    /// What signs room tokens.
    pub tokens: SecretKey,
    /// The public keys of room tokens.
    pub jwks: String,
}

impl Keyring {
    fn new(control: &Control, tokens: &Tokens) -> Result<Keyring, KeyError> {
        Ok(Keyring {
            control: control.clone(),
            requests: control.signer()?,
            tokens: tokens.signer()?,
            jwks: tokens.jwks()?,
        })
    }
}

/// What is to be done with keys of which there is a Secret, or not, and which are remembered, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// As the Secret says.
    Secret,
    /// As they were: the Secret is gone, and is to be written again.
    Memory,
    /// As they were: the Secret can't be used, but somebody's edit is not written over.
    MemoryUntilMended,
    /// There were none: make them.
    New,
    /// There are none that can be used.
    None,
}

/// From where keys are taken, if the Secret is there, can be used, and earlier ones are remembered.
fn source(secret: Option<bool>, is_remembered: bool) -> Source {
    match (secret, is_remembered) {
        (Some(true), _) => Source::Secret,
        (Some(false), true) => Source::MemoryUntilMended,
        (Some(false), false) => Source::None,
        (None, true) => Source::Memory,
        (None, false) => Source::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_keys_come_from() {
        for (secret, is_remembered, expected) in [
            (Some(true), false, Source::Secret),
            (Some(true), true, Source::Secret),
            (Some(false), true, Source::MemoryUntilMended),
            (Some(false), false, Source::None),
            (None, true, Source::Memory),
            (None, false, Source::New),
        ] {
            assert_eq!(source(secret, is_remembered), expected);
        }
    }
}
