//! How many pods each site has, where its `spec.autoscaling` leaves that to the operator.
//!
//! [`showrunner_capacity::autoscaling`] decides. Here is what it needs to know and what follows from it: [`rules`] reads
//! the spec, [`observe`] what pods say, [`demand`] what is announced, [`say`] what is said of it, and [`keep`] puts it
//! together, twice a second for each site.

pub mod demand;
pub mod keep;
pub mod observe;
pub mod rules;
pub mod say;
