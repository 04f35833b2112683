//! Which layers of a room somebody wants, and what those who send them are told of it.

use std::sync::Arc;

use super::Node;
use super::session::{RoomEvent, SessionId};
use super::state::State;
use crate::media::ladder;
use crate::room::RoomName;

impl State {
    /// What the host of a room need send changed.
    pub(super) fn on_wanted(&mut self, name: &RoomName, rids: Arc<[Arc<str>]>) {
        if let Some(room) = self.rooms.get_mut(name)
            && room.wanted.as_ref() != Some(&rids)
        {
            room.wanted = Some(Arc::clone(&rids));
            room.tell(RoomEvent::Wanted(rids));
            self.tell_links(name);
        }
    }
}

impl Node {
    /// Of the layers of its room that are wanted, those of a session that sends, by the names that it gave them. None for
    /// a transcoder before the first of its layers is there: until then, all are wanted.
    pub fn wanted_of(&self, id: &SessionId, rids: &[Arc<str>]) -> Option<Arc<[Arc<str>]>> {
        let state = self.state();
        let session = state.sessions.get(id)?;
        let room = state.rooms.get(&session.who.room)?;
        let Some(prefix) = room.ladder.prefix(session.number) else {
            let own = rids.iter().filter(|rid| !ladder::is_rung(rid));
            return Some(own.cloned().collect());
        };
        let own = |name: &str| ladder::own(&prefix, name).map(Arc::from);
        let is_there = room.layers.iter().any(|layer| own(&layer.rid).is_some());
        is_there.then(|| rids.iter().filter_map(|rid| own(rid)).collect())
    }
}
