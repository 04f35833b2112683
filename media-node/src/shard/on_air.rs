//! What is on air, and the end of it.

use std::time::Instant;

use super::core::Core;
use super::message::{ProgramId, Relay, ShardEvent};
use super::program::Program;
use super::session::Role;
use super::sessions::Key;

impl Core {
    /// A publisher that was on air is gone: viewers wait for the next.
    pub(super) fn take_off_air(&mut self, now: Instant, key: Key) {
        let Some(id) = self.sessions.get_mut(key).map(|s| s.program) else {
            return;
        };
        let Some(program) = self.programs.get_mut(&id) else {
            return;
        };
        program.successor.take_if(|next| next.is(key));
        if program.publisher == Some(key) {
            self.clear_everywhere(now, id);
            self.fall_back_to_intake(id);
            self.end_ladder(now, id);
        }
    }

    /// Forgets a program's layers here and on the shards with viewers of it.
    pub(super) fn clear_everywhere(&mut self, now: Instant, id: ProgramId) {
        self.clear_program(now, id);
        let replicas = self.programs.get(&id).map(|p| p.replicas.clone());
        for to in replicas.into_iter().flatten() {
            self.relay(to, Relay::OffAir { program: id });
        }
    }

    /// Forgets a program's layers; its viewers begin afresh with what comes next.
    pub(super) fn clear_program(&mut self, now: Instant, id: ProgramId) {
        let Self {
            programs, sessions, ..
        } = self;
        let Some(program) = programs.get_mut(&id) else {
            return;
        };
        program.clear();
        for key in &program.viewers {
            if let Some(Role::Viewer(viewer)) = sessions.get_mut(*key).map(|s| &mut s.role) {
                viewer.begin_anew(None);
            }
        }
        self.look_on_air(now, id);
    }

    /// Looks whether layers came or went; aims viewers anew and tells the control plane.
    pub(super) fn look_on_air(&mut self, now: Instant, id: ProgramId) {
        let Some(program) = self.programs.get_mut(&id) else {
            return;
        };
        program.look_at_rungs(now);
        if !program.on_air_changed(now) {
            return;
        }
        for key in program.viewers.clone() {
            self.aim(now, id, key);
        }
        self.tell_on_air(now, id);
    }

    /// Tells the control plane what a program that is at home here has on air.
    pub(super) fn tell_on_air(&self, now: Instant, id: ProgramId) {
        if let Some(program) = self.programs.get(&id).filter(|p| p.home == self.index) {
            self.tell(ShardEvent::OnAir {
                program: id,
                active: program.active,
                layers: program.layer_infos(now),
                streams: program.streams(now, self.secret()),
            });
        }
    }

    /// Forgets a program that nobody uses.
    pub(super) fn drop_idle_program(&mut self, id: ProgramId) {
        if self.programs.get(&id).is_some_and(Program::is_idle) {
            self.programs.remove(&id);
        }
    }
}
