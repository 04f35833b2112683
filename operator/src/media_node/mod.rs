//! The MediaNode controller: keeps the pods of each site as its spec says.
//!
//! The core: [`observe`] says what the pods are, [`desired`] what is to be done, [`template`] and [`service`] what is
//! made, [`address`] how clients reach a pod, [`status`] what is said of it all. [`reconcile`] does it.

pub mod address;
pub mod allow;
pub mod desired;
pub mod keys_secret;
pub mod observe;
pub mod reconcile;
pub mod service;
pub mod status;
pub mod template;
