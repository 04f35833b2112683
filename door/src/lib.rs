//! The HTTP server under a router: connections bounded in number, handshakes and request heads bounded in time, TLS
//! whose certificate is read again when its files change.
//!
//! [`Door`] takes the connections, [`Tls`] has the certificate, [`Files`] notices when it changes; [`page`] is what
//! every door shows to people.

mod files;
mod page;
mod serve;
mod tls;

pub use files::{BoxError, Files, FilesError};
pub use page::page;
pub use serve::{Door, Peer, Shown};
pub use tls::{PROTOCOLS, Tls};
