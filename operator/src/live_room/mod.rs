//! The LiveRoom controller: each room on pods, and a status that says how it is.
//!
//! The core: [`survey`] puts what is known into numbers, [`fleet`] has all rooms placed by it and books what is found in
//! the [`ledger`], [`desired`] says which pods a room has next, [`status`] what is said of it. [`reconcile`] does it,
//! [`host_token`] keeps the Secret of its host, and [`strays`] finds rooms on pods that should not be there.

pub mod assignment;
pub mod desired;
pub mod fleet;
pub mod host_token;
pub mod ledger;
pub mod look;
pub mod pull;
pub mod reach;
pub mod reconcile;
pub mod status;
pub mod strays;
mod survey;
pub mod weigh;

#[cfg(test)]
mod convergence;
