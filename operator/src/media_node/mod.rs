//! The MediaNode controller: keeps the pods of each site as its spec says.
//!
//! The core: [`observe`] says what the pods are, [`desired`] what is to be done, [`template`] and [`service`] what is
//! made, [`address`] how clients reach a pod, [`status`] what is said of it all. [`reconcile`] does it.
//! Beside it, [`horizontal`] and [`autoscaler`] have Kubernetes scale a site, [`idle`] and [`marks`] tell those who
//! empty machines which pods have sessions, and [`eviction`] and [`responder`] those who asked for a pod's eviction how
//! far it is.

pub mod address;
pub mod allow;
pub mod autoscaler;
pub mod desired;
pub mod eviction;
pub mod horizontal;
pub mod idle;
pub mod keys_secret;
pub mod marks;
pub mod observe;
pub mod reconcile;
pub mod responder;
pub mod service;
pub mod status;
pub mod template;
