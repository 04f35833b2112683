//! Finds the session that a datagram belongs to.

use std::collections::HashMap;

use slab::Slab;

use super::message::SessionNumber;
use super::path::Path;
use super::session::Session;

/// A session's key on its shard. Keys are reused; [`SessionNumber`]s are not.
pub(super) type Key = usize;

/// The sessions of a shard, by key, number, ICE user name fragment and path.
#[derive(Default)]
pub(super) struct Sessions {
    slab: Slab<Session>,
    by_number: HashMap<SessionNumber, Key>,
    by_ufrag: HashMap<String, Key>,
    by_path: HashMap<Path, Key>,
}

impl Sessions {
    pub(super) fn insert(&mut self, session: Session) -> Key {
        let (number, ufrag) = (session.number, session.ufrag.clone());
        let key = self.slab.insert(session);
        self.by_number.insert(number, key);
        self.by_ufrag.insert(ufrag, key);
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Session> {
        let session = self.slab.try_remove(key)?;
        self.by_number.remove(&session.number);
        self.by_ufrag.retain(|_, k| *k != key);
        for path in &session.paths {
            if self.by_path.get(path) == Some(&key) {
                self.by_path.remove(path);
            }
        }
        Some(session)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Session> {
        self.slab.get_mut(key)
    }

    pub(super) fn by_number(&self, number: SessionNumber) -> Option<Key> {
        self.by_number.get(&number).copied()
    }

    pub(super) fn by_ufrag(&self, ufrag: &str) -> Option<Key> {
        self.by_ufrag.get(ufrag).copied()
    }

    pub(super) fn by_path(&self, path: &Path) -> Option<Key> {
        self.by_path.get(path).copied()
    }

    /// A path passed ICE for a session: its datagrams are the session's from now on.
    pub(super) fn bind_path(&mut self, path: Path, key: Key) {
        /// Paths that one session may hold; the oldest goes first.
        const MAX_PATHS: usize = 8;
        if self.by_path.insert(path, key) == Some(key) {
            return;
        }
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        if session.paths.len() == MAX_PATHS {
            let selected = session.ice.selected();
            let oldest = session.paths.iter().position(|p| Some(*p) != selected);
            let gone = session.paths.remove(oldest.unwrap_or(0));
            if self.by_path.get(&gone) == Some(&key) {
                self.by_path.remove(&gone);
            }
        }
        session.paths.push(path);
    }

    /// A session has new ICE credentials; the old ones still find it until they are let go.
    pub(super) fn add_ufrag(&mut self, ufrag: String, key: Key) {
        self.by_ufrag.insert(ufrag, key);
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    /// The highest key in use, and one.
    pub(super) fn key_bound(&self) -> usize {
        self.slab.iter().next_back().map_or(0, |(key, _)| key + 1)
    }
}
