//! Transcoders: sessions that add layers to the picture of a room's host. They are on the room's home shard.
//!
//! Their layers are layers of the room as the host's are, and only two things are theirs: they go with the session that
//! sends them, and all of them with the host.

use std::time::Instant;

use super::core::Core;
use super::message::{ProgramId, Relay};
use super::session::Role;
use super::sessions::Key;
use crate::media::packet::SourceId;
use crate::node::EndReason;

impl Core {
    /// A transcoder is connected. What it sends counts if the host is on air that it was let in for: the next one may
    /// send something else.
    pub(super) fn attach_transcoder(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let id = session.program;
        let host = match &session.role {
            Role::Publisher(publisher) => publisher.adds_to,
            Role::Viewer(_) | Role::Feed(_) => None,
        };
        let publisher = self.programs.get(&id).and_then(|p| p.publisher);
        let on_air = publisher.and_then(|key| self.sessions.get_mut(key).map(|s| s.number));
        match self.programs.get_mut(&id) {
            Some(program) if on_air.is_some() && on_air == host => {
                program.transcoders.push(key);
                self.publishers.push(key);
            }
            _ => self.end(now, key, EndReason::OffAir),
        }
    }

    /// A transcoder goes: so do its layers, and their viewers go on with others.
    pub(super) fn detach_transcoder(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let (id, number) = (session.program, session.number);
        let Some(program) = self.programs.get_mut(&id) else {
            return;
        };
        let before = program.transcoders.len();
        program.transcoders.retain(|k| *k != key);
        if program.transcoders.len() == before {
            return;
        }
        let sources = program.video.iter().map(|layer| layer.source);
        let own: Vec<SourceId> = sources.filter(|source| source.is_of(number.0)).collect();
        let replicas = program.replicas.clone();
        for source in own {
            self.end_layer(now, id, source);
            for to in &replicas {
                let program = id;
                self.relay(*to, Relay::LayerEnds { program, source });
            }
        }
    }

    /// A layer is over.
    pub(super) fn end_layer(&mut self, now: Instant, id: ProgramId, source: SourceId) {
        let Self {
            programs, sessions, ..
        } = self;
        let Some(program) = programs.get_mut(&id) else {
            return;
        };
        program.video.retain(|layer| layer.source != source);
        for key in &program.viewers {
            if let Some(Role::Viewer(viewer)) = sessions.get_mut(*key).map(|s| &mut s.role) {
                viewer.layer_ended(source);
            }
        }
        self.look_on_air(now, id);
    }

    /// The host of a room is gone, and what was made of its picture with it.
    pub(super) fn end_ladder(&mut self, now: Instant, id: ProgramId) {
        let program = self.programs.get_mut(&id);
        let transcoders = program.map(|program| std::mem::take(&mut program.transcoders));
        for key in transcoders.into_iter().flatten() {
            self.end(now, key, EndReason::OffAir);
        }
    }
}
