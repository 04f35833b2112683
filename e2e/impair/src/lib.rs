//! A bad network, made to order: a user-space link between two network namespaces, for kernels
//! without `netem` and for results that can be had again.
//!
//! The model is sans-I/O. A [`direction::Direction`] takes packets and the time, and gives the
//! packets that have arrived by then; everything random in it comes from the scenario's seed. What
//! a packet meets, in this order:
//!
//! 1. the bottleneck: a bounded [`queue`] (drop-tail or CoDel) before a link of a given rate, which
//!    may change with time ([`capacity`]);
//! 2. [`loss`], single packets or bursts. It strikes after the bottleneck, as on a radio link: what
//!    is lost has used the link;
//! 3. the way: delay, jitter, reordering, duplication.
//!
//! [`link`] is the thin shell around two of them: a TUN device in each namespace, and one thread
//! that waits for packets and moments. It looks into no packet, so fragments, ECN bits and
//! nonsense pass as they are.
//!
//! The crate `str0m-netem`, which has the same shape, was looked at first. Its buffer counts
//! packets that are under way as well as those that wait, so that delay takes space from the
//! queue; what is queued does not notice when the rate changes; a new configuration begins the
//! random numbers anew; and it has no CoDel and no independent reordering. These are what this
//! model is for, so it is its own.

pub mod capacity;
pub mod cellular;
pub mod codel;
pub mod direction;
pub mod link;
pub mod loss;
pub mod namespaces;
pub mod probe;
pub mod queue;
pub mod scenario;
pub mod statistics;
mod sys;
pub mod units;
