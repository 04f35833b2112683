//! The secure transport of a session: ICE, DTLS and SRTP as state machines that take bytes and
//! time and give bytes and results. Nothing here reads a clock, opens a socket or sleeps, and
//! nothing that comes from a peer makes it panic.
//!
//! In the order in which a session needs them: [`stun`] and [`ice`] find out which path belongs
//! to the peer, [`dtls`] agrees on keys with the peer whose certificate was signalled, [`srtp`]
//! protects media with these keys. [`framing`] is for peers that come by TCP.

mod credentials;
pub mod dtls;
pub mod framing;
pub mod ice;
pub mod srtp;
pub mod stun;

pub use credentials::{Fingerprint, FingerprintError, IceCredentials};
