//! A session that can be sent to, with all that sending to it takes.

use std::time::Instant;

use super::adaptation::Timed;
use super::core::Core;
use super::feed::Feed;
use super::outbox::Links;
use super::outlet::Send;
use super::program::Program;
use super::session::Role;
use super::sessions::Key;
use super::viewer::Viewer;
use crate::metrics::ShardMetrics;

/// What [`Core::reach_viewer`] and [`Core::reach_feed`] find: parts of the shard that are borrowed side by side.
pub(super) struct Reached<'a, T> {
    /// Who it is.
    pub(super) peer: &'a mut T,
    pub(super) program: &'a mut Program,
    pub(super) to: Send<'a>,
    pub(super) metrics: &'a mut ShardMetrics,
    pub(super) timed: &'a mut Timed,
    pub(super) copying: &'a mut Vec<Key>,
}

impl Core {
    /// A viewer that is connected. None if it is gone, not yet there, or no viewer.
    pub(super) fn reach_viewer(&mut self, now: Instant, key: Key) -> Option<Reached<'_, Viewer>> {
        self.reach(now, key, |role| match role {
            Role::Viewer(viewer) => Some(viewer.as_mut()),
            Role::Publisher(_) | Role::Feed(_) => None,
        })
    }

    /// The end of a link that sends, if it is up.
    pub(super) fn reach_feed(&mut self, now: Instant, key: Key) -> Option<Reached<'_, Feed>> {
        self.reach(now, key, |role| match role {
            Role::Feed(feed) => Some(feed.as_mut()),
            Role::Publisher(_) | Role::Viewer(_) => None,
        })
    }

    fn reach<T>(
        &mut self,
        now: Instant,
        key: Key,
        peer: impl FnOnce(&mut Role) -> Option<&mut T>,
    ) -> Option<Reached<'_, T>> {
        let session = self.sessions.get_mut(key)?;
        let peer = peer(&mut session.role)?;
        let srtp = session.srtp.as_ref()?;
        let program = self.programs.get_mut(&session.program)?;
        let to = Send {
            now,
            frames: program.frames,
            srtp: &srtp.sender,
            path: session.ice.selected()?,
            outbox: &mut self.outbox,
            links: Links {
                sockets: &self.sockets,
                connections: &mut self.connections,
            },
        };
        Some(Reached {
            peer,
            program,
            to,
            metrics: &mut self.metrics,
            timed: &mut self.timed,
            copying: &mut self.copying,
        })
    }
}
