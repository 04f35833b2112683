//! The API server: what is watched of it ([`watch`]), and the one way in which anything is written ([`write`]).

pub mod events;
pub mod evictions;
pub mod names;
pub mod slim;
pub mod watch;
pub mod write;
