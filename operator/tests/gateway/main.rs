//! The gateway in front of real media nodes: over TLS, with real tokens and credentials, and a view filled by hand or by
//! watches of an API server.

mod api;
mod call;
mod failures;
mod limits;
mod pod;
mod program;
mod signalling;
mod support;
mod tokens;
mod watches;
