//! Which layers viewers are on: they come, they are started and switched, they go.

use std::time::{Duration, Instant};

use super::choice::Verdict;
use super::core::Core;
use super::message::{ProgramId, Relay, ShardEvent};
use super::program::Program;
use super::session::Role;
use super::sessions::Key;
use super::viewer::Viewer;
use crate::lived::viewing::NoVideo;
use crate::media::layer::{Layer, Start};
use crate::media::packet::SourceId;
use crate::node::LayerChoice;

/// A picture that goes back by this much is seen to.
const SHOWS: Duration = Duration::from_millis(400);

impl Core {
    /// A viewer is connected: it gets what is on air.
    pub(super) fn attach(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let (id, home) = (session.program, session.home);
        let program = self
            .programs
            .entry(id)
            .or_insert_with(|| Program::new(id, home));
        program.max_lines = session.max_lines;
        program.look_at_rungs(now);
        program.viewers.push(key);
        let is_first = program.viewers.len() == 1;
        if is_first && home != self.index {
            self.relay(
                home,
                Relay::Subscribe {
                    program: id,
                    to: self.index,
                },
            );
        }
        self.aim(now, id, key);
    }

    /// A viewer leaves.
    pub(super) fn detach(&mut self, key: Key) {
        let Some((id, home)) = self.sessions.get_mut(key).map(|s| (s.program, s.home)) else {
            return;
        };
        let Some(program) = self.programs.get_mut(&id) else {
            return;
        };
        self.timed.remove(key);
        let before = program.viewers.len();
        program.viewers.retain(|k| *k != key);
        unsubscribe(program, key, None);
        if before > 0 && program.viewers.is_empty() && home != self.index {
            // What is stored here goes stale from now on; the next viewer begins afresh.
            program.clear();
            self.relay(
                home,
                Relay::Unsubscribe {
                    program: id,
                    to: self.index,
                },
            );
        }
    }

    /// A viewer chose a layer.
    pub(super) fn choose_layer(&mut self, now: Instant, key: Key, choice: LayerChoice) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let id = session.program;
        if let Role::Viewer(viewer) = &mut session.role {
            viewer.asked = choice;
            if session.srtp.is_some() {
                self.aim(now, id, key);
            }
        }
    }

    /// Aims a viewer at the layer that it should be on now: starts it if it sees nothing yet, or
    /// has it switch at that layer's next keyframe.
    pub(super) fn aim(&mut self, now: Instant, id: ProgramId, key: Key) {
        let Self {
            programs,
            sessions,
            metrics,
            events,
            ..
        } = self;
        let (Some(program), Some(session)) = (programs.get_mut(&id), sessions.get_mut(key)) else {
            return;
        };
        let Role::Viewer(viewer) = &mut session.role else {
            return;
        };
        if !viewer.takes_video() || session.srtp.is_none() {
            return;
        }
        let verdict = viewer.decide(now, program);
        if let Some(adaptation) = viewer.adapted(&verdict, program) {
            let number = session.number;
            // The control plane is gone only when the process ends.
            let _ = events.send(ShardEvent::Adapted { number, adaptation });
        }
        let rung = match verdict {
            Verdict::OffAir => return,
            Verdict::Off => {
                viewer.begin_anew(None);
                viewer.lived.on_no_video(now, NoVideo::Choice);
                unsubscribe(program, key, None);
                return;
            }
            Verdict::Pause => {
                if viewer.choice.pause() {
                    let estimate = viewer.way.estimate();
                    tracing::debug!(session = %session.log_id, ?estimate, "a viewer's picture pauses");
                    viewer.begin_anew(None);
                    viewer.lived.on_no_video(now, NoVideo::Network);
                    unsubscribe(program, key, None);
                    metrics.pauses += 1;
                }
                return;
            }
            Verdict::Send(rung, _) => rung,
        };
        let change = viewer.choice.note(&verdict);
        if let Some(change) = change {
            metrics.layer_changed(change);
        }
        let wanted = rung.source;
        viewer.decide_sublayers(&rung);
        if viewer.current == Some(wanted) {
            viewer.stay();
            unsubscribe(program, key, Some(wanted));
            if viewer.follow_sublayers()
                && let Some(layer) = program.layer_of_mut(wanted)
            {
                layer.keyframes.want();
            }
            return;
        }
        if viewer.target == Some(wanted) {
            return;
        }
        let (starts, current) = (viewer.current.is_none(), viewer.current);
        viewer.target = Some(wanted);
        for layer in &mut program.video {
            if layer.source != wanted && Some(layer.source) != current {
                layer.subscribers.retain(|k| *k != key);
            }
        }
        let Some(layer) = program.layer_of_mut(wanted) else {
            return;
        };
        if !layer.subscribers.contains(&key) {
            layer.subscribers.push(key);
        }
        // Down at once: from a keyframe that is stored, if it is not so old that it shows.
        let is_down = change.is_some_and(|change| !change.is_up);
        if is_down {
            viewer.leave(now);
        }
        if starts || (is_down && layer.keyframe_age(now).is_some_and(|age| age < SHOWS)) {
            self.start(now, id, wanted, key);
        } else {
            layer.keyframes.want();
        }
    }

    /// Starts a viewer on a layer with what is stored, or has it wait for a keyframe.
    fn start(&mut self, now: Instant, id: ProgramId, source: SourceId, key: Key) {
        // What waits to be sent is stored already: let it go out first, so that nothing is sent
        // to the new viewer twice.
        if let Some(place) = self.programs.get(&id).and_then(|p| p.place(source)) {
            self.flush(id, place, now);
        }
        let Self {
            programs,
            sessions,
            metrics,
            ..
        } = self;
        let Some(layer) = programs.get_mut(&id).and_then(|p| p.layer_of_mut(source)) else {
            return;
        };
        let Some(session) = sessions.get_mut(key) else {
            return;
        };
        let created = session.created();
        let Role::Viewer(viewer) = &mut session.role else {
            return;
        };
        if viewer.current == Some(source) {
            return; // The flush has just started it.
        }
        let first = viewer.first_picture().is_none();
        if begin_stored(viewer, layer, now) && first {
            metrics.first_picture(now.saturating_duration_since(created));
        }
        self.serve(now, key);
    }

    /// A viewer's decoder asks for a keyframe: the stored one if it is fresh, else a new one.
    pub(super) fn refresh(&mut self, now: Instant, key: Key) {
        let Self {
            programs, sessions, ..
        } = self;
        let Some(session) = sessions.get_mut(key) else {
            return;
        };
        let Role::Viewer(viewer) = &mut session.role else {
            return;
        };
        let Some(source) = viewer.current.or(viewer.target) else {
            return;
        };
        let Some(layer) = programs
            .get_mut(&session.program)
            .and_then(|p| p.layer_of_mut(source))
        else {
            return;
        };
        if !viewer.may_restart(now) {
            return;
        }
        viewer.lived.on_picture_lost();
        if !layer.pending.is_empty() || !matches!(layer.start(now), Start::CatchUp { .. }) {
            layer.keyframes.want();
            return;
        }
        let target = viewer.target;
        begin_stored(viewer, layer, now);
        viewer.target = target;
        self.serve(now, key);
    }
}

/// Has a viewer begin with what a layer has stored. True if that gives a picture; if not, it will
/// begin with the keyframe that is asked for here.
fn begin_stored(viewer: &mut Viewer, layer: &mut Layer, now: Instant) -> bool {
    let start = layer.start(now);
    let (first, catch_up) = match start {
        Start::CatchUp { from } => (layer.get(from), true),
        Start::Still => (layer.keyframe_packets().first(), false),
        Start::Wait => (None, false),
    };
    if let Some(first) = first {
        viewer.begin_stored(layer, first, catch_up, now);
    }
    let begins = first.is_some();
    if !matches!(start, Start::CatchUp { .. }) {
        layer.keyframes.want();
    }
    begins
}

/// Takes a viewer off all layers but one.
pub(super) fn unsubscribe(program: &mut Program, key: Key, but: Option<SourceId>) {
    for layer in &mut program.video {
        if Some(layer.source) != but {
            layer.subscribers.retain(|k| *k != key);
        }
    }
}
