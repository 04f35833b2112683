//! What a site of media pods decides about its capacity: which pods carry which room ([`placement`]), and how many pods
//! there are ([`autoscaling`]).
//!
//! Both are pure functions: what is known goes in, what is wanted comes out, and time is a number. So the operator, the
//! tests and the simulator of a sale's day run the same code, the latter a day in seconds. Names of resources have no
//! place here: pods, sites and regions are numbers that the caller gives.

pub mod autoscaling;
pub mod load;
pub mod placement;
