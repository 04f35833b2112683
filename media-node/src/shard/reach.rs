//! A viewer that can be sent to, with all that sending to it takes.

use std::time::Instant;

use super::adaptation::Timed;
use super::core::Core;
use super::outbox::Links;
use super::outlet::Send;
use super::program::Program;
use super::session::{Role, Session};
use super::sessions::Key;
use super::viewer::Viewer;
use crate::metrics::ShardMetrics;

/// What [`Core::reach`] finds: parts of the shard that are borrowed side by side.
pub(super) struct Reached<'a> {
    pub(super) viewer: &'a mut Viewer,
    pub(super) program: &'a mut Program,
    pub(super) to: Send<'a>,
    pub(super) metrics: &'a mut ShardMetrics,
    pub(super) timed: &'a mut Timed,
    pub(super) copying: &'a mut Vec<Key>,
}

impl Core {
    /// A viewer that is connected. None if it is gone, not yet there, or no viewer.
    pub(super) fn reach(&mut self, now: Instant, key: Key) -> Option<Reached<'_>> {
        let Session {
            role: Role::Viewer(viewer),
            srtp: Some(srtp),
            ice,
            program,
            ..
        } = self.sessions.get_mut(key)?
        else {
            return None;
        };
        let program = self.programs.get_mut(program)?;
        let to = Send {
            now,
            frames: program.frames,
            srtp: &srtp.sender,
            path: ice.selected()?,
            outbox: &mut self.outbox,
            links: Links {
                socket: &self.socket,
                connections: &mut self.connections,
            },
        };
        Some(Reached {
            viewer,
            program,
            to,
            metrics: &mut self.metrics,
            timed: &mut self.timed,
            copying: &mut self.copying,
        })
    }
}
