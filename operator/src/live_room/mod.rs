//! The LiveRoom controller: each room on a pod, and a status that says how it is.
//!
//! The core: [`placement`] chooses a pod by what the [`ledger`] has booked, [`desired`] says what is to be done with a
//! room, [`status`] what is said of it. [`reconcile`] does it, [`host_token`] keeps the Secret of its host, and
//! [`strays`] finds rooms on pods that should not be there.

pub mod assignment;
pub mod desired;
pub mod fleet;
pub mod handover;
pub mod host_token;
pub mod ledger;
pub mod placement;
pub mod reconcile;
pub mod status;
pub mod strays;

#[cfg(test)]
mod convergence;
