//! `showrunner-load`: puts test hosts and test viewers on a media node, checks what each viewer
//! receives, and measures what that costs the node.
//!
//! It has to be lighter than the node: viewers have a socket each but no thread or task, a run of
//! packets that the node sent at once is read at once, and packets are checked where they lie.
//!
//! From the outside in: [`args`] and [`bench`] say what happens, [`hosts`], [`audience`] and
//! [`shard`] are the threads, [`publisher`] and [`viewer`] are one client each on top of
//! [`session`] and [`signalling`], [`track`] makes a stream and [`checker`] judges one.

pub mod args;
pub mod audience;
pub mod batch;
pub mod bench;
pub mod checker;
pub mod frame_log;
pub mod hosts;
pub mod media;
pub mod proc;
pub mod program;
pub mod publisher;
pub mod report;
pub mod screen;
pub mod sdp;
pub mod session;
pub mod shard;
pub mod signalling;
pub mod socket;
pub mod stay;
pub mod track;
pub mod viewer;
