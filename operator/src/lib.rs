//! What makes rooms of resources: the operator with its controllers, and the gateway.
//!
//! Each controller has a core that is a pure function from what is observed to what is desired
//! ([`media_node::desired`], [`live_room::desired`]); what is around it only watches and writes.

pub mod admin;
pub mod autoscaling;
pub mod board;
pub mod clock;
pub mod cluster;
pub mod condition;
pub mod config;
pub mod gateway;
pub mod keys;
pub mod leader;
pub mod live_room;
pub mod logging;
pub mod media_node;
pub mod metrics;
pub mod metrics_api;
pub mod patch;
pub mod pods;
pub mod run;
pub mod world;

pub use showrunner_door::pods as pod_client;
