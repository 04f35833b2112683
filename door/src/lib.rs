//! HTTP among the parts: the server under a router, with connections bounded in number, handshakes and request heads
//! bounded in time, and TLS whose certificate is read again when its files change; and the clients of media pods and of other servers.
//!
//! [`Door`] takes the connections, [`Tls`] has the certificate, [`Files`] notices when it changes; [`page`] is what
//! every door shows to people. [`pods`] is the way to the doors of pods, [`web`] that to servers of others.

mod files;
mod page;
pub mod pods;
mod serve;
mod tls;
pub mod web;

pub use files::{BoxError, Files, FilesError};
pub use page::page;
pub use serve::{Door, Peer, Shown};
pub use tls::{PROTOCOLS, Tls};
