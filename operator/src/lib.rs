//! What makes rooms of resources: the operator with its controllers, and the gateway.
//!
//! Each controller has a core that is a pure function from what is observed to what is desired
//! ([`media_node::desired`], [`live_room::desired`]); what is around it only watches and writes.

pub mod gateway;
