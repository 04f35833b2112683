//! From a layer to its viewers: sending on what came in, starting and switching viewers.

use std::time::{Duration, Instant};

use super::adaptation::catch_up;
use super::choice::Verdict;
use super::core::Core;
use super::message::{ProgramId, Relay, ShardEvent};
use super::outbox::Links;
use super::outlet::Send;
use super::program::{Place, Program};
use super::reach::Reached;
use super::session::Role;
use super::sessions::Key;
use super::viewer::Viewer;
use crate::lived::viewing::NoVideo;
use crate::media::deadline;
use crate::media::layer::{Layer, Start};
use crate::media::packet::SourceId;
use crate::node::LayerChoice;

/// A picture that goes back by this much is seen to.
const SHOWS: Duration = Duration::from_millis(400);

impl Core {
    /// Sends on everything that is due.
    pub(super) fn flush_due(&mut self, now: Instant) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|id| {
            let Some(program) = self.programs.get(id) else {
                return false;
            };
            for place in program.places() {
                if self.programs.get(id).is_some_and(|p| p.is_due(place, now)) {
                    self.flush(*id, place, now);
                }
            }
            self.programs.get(id).is_some_and(|program| {
                let mut layers = program.places().filter_map(|place| program.layer(place));
                layers.any(|layer| !layer.pending.is_empty())
            })
        });
        self.dirty = dirty;
    }

    /// Lets go what has gathered to be sent.
    pub(super) fn send_out(&mut self) {
        let Self {
            outbox,
            sockets,
            connections,
            ..
        } = self;
        outbox.send(&mut Links {
            sockets,
            connections,
        });
    }

    /// Sends a layer's pending packets to everyone on it.
    pub(super) fn flush(&mut self, id: ProgramId, place: Place, now: Instant) {
        let layer = self.programs.get_mut(&id).and_then(|p| p.layer_mut(place));
        let Some(layer) = layer else { return };
        let mut pending = std::mem::take(&mut layer.pending);
        // Each has many viewers behind it.
        self.send_to_feeds(now, id, place, &pending);
        let Self {
            programs,
            sessions,
            outbox,
            sockets,
            connections,
            metrics,
            timed,
            copying,
            ..
        } = self;
        let Some(program) = programs.get_mut(&id) else {
            return;
        };
        let Some(layer) = program.layer_mut(place) else {
            return;
        };
        let source = layer.source;
        let keys = match place {
            Place::Audio => std::mem::take(&mut program.viewers),
            Place::Video(_) => std::mem::take(&mut layer.subscribers),
        };
        let oldest = pending.iter().map(|p| p.arrival).min().unwrap_or(now);
        let frames = program.frames;
        let mut switched = Vec::new();
        let mut lost = Vec::new();
        let Some(layer) = program.layer(place) else {
            return;
        };
        for key in &keys {
            let Some(session) = sessions.get_mut(*key) else {
                continue;
            };
            let created = session.created();
            let (Role::Viewer(viewer), Some(srtp), Some(path)) =
                (&mut session.role, &session.srtp, session.ice.selected())
            else {
                continue;
            };
            outbox.came_in(oldest);
            let mut to = Send {
                now,
                frames,
                srtp: &srtp.sender,
                path,
                outbox,
                links: Links {
                    sockets,
                    connections,
                },
            };
            match place {
                Place::Audio => viewer.send_audio(source, &pending, layer, &mut to),
                Place::Video(_) => {
                    let first = viewer.first_picture().is_none();
                    if viewer.send_video(layer, &pending, &mut to) {
                        switched.push(*key);
                        if first {
                            metrics.first_picture(now.saturating_duration_since(created));
                        }
                    }
                    if viewer.is_fed_from() == Some(source) {
                        if !viewer.feed(layer, &mut to) {
                            lost.push(*key);
                        }
                        if viewer.is_behind() {
                            timed.add(*key, viewer);
                        }
                    }
                    if viewer.begins_copying() {
                        copying.push(*key);
                    }
                }
            }
        }
        pending.clear();
        if let Some(layer) = program.layer_mut(place) {
            layer.pending = pending;
        }
        match place {
            Place::Audio => program.viewers = keys,
            Place::Video(_) => {
                if let Some(layer) = program.layer_mut(place) {
                    layer.subscribers = keys;
                }
            }
        }
        for key in switched {
            metrics.switches += 1;
            unsubscribe(program, key, Some(source));
        }
        for key in lost {
            metrics.lost_touch += 1;
            if let Some(Role::Viewer(viewer)) = sessions.get_mut(key).map(|s| &mut s.role) {
                catch_up(viewer, program, now);
            }
        }
    }

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

    /// Retransmits what a viewer misses.
    pub(super) fn send_again(
        &mut self,
        now: Instant,
        key: Key,
        ssrc: u32,
        seqs: impl Iterator<Item = u16>,
    ) {
        /// The most that one NACK is answered with: a burst of loss, not a flood.
        const MAX_AT_ONCE: usize = 128;
        let Some(Reached {
            peer: viewer,
            program,
            mut to,
            metrics,
            copying,
            ..
        }) = self.reach_viewer(now, key)
        else {
            return;
        };
        viewer.way.refill(now);
        for seq in seqs.take(MAX_AT_ONCE) {
            metrics.nacks_received += 1;
            if !viewer.way.budget().may_repair() {
                // It asks again for what it still can use.
                metrics.repairs_put_off += 1;
                continue;
            }
            let found = viewer.sent(ssrc, seq).and_then(|(video, source, number)| {
                let layer = program.layer_of(source)?;
                Some((video, source, layer, layer.find(number)?))
            });
            let Some((video, source, layer, packet)) = found else {
                metrics.retransmissions_missed += 1;
                continue;
            };
            if video {
                if !viewer.repairs(now, source) {
                    metrics.retransmissions_too_late += 1;
                    continue;
                }
                match viewer.judge(now, seq, packet, layer) {
                    deadline::Verdict::Answer => {}
                    deadline::Verdict::OnItsWay => {
                        metrics.retransmissions_on_their_way += 1;
                        continue;
                    }
                    deadline::Verdict::TooLate => {
                        metrics.retransmissions_too_late += 1;
                        continue;
                    }
                }
            }
            if viewer.send_again(video, seq, source, packet, &mut to) {
                metrics.retransmissions += 1;
                if video {
                    viewer.repeat_answer(now, seq);
                }
            }
        }
        if viewer.begins_copying() {
            copying.push(key);
        }
    }

    /// Sends once more, unasked, what is due to viewers whose paths lose much.
    pub(super) fn send_copies(&mut self, now: Instant) {
        let mut copying = std::mem::take(&mut self.copying);
        copying.retain(|key| self.send_copies_to(now, *key));
        self.copying.append(&mut copying);
    }

    /// True if there are more to come.
    fn send_copies_to(&mut self, now: Instant, key: Key) -> bool {
        let Some(Reached {
            peer: viewer,
            program,
            mut to,
            metrics,
            ..
        }) = self.reach_viewer(now, key)
        else {
            return false;
        };
        viewer.way.refill(now);
        while let Some((first, last)) = viewer.next_copies(now) {
            for seq in (0..=last.wrapping_sub(first)).map(|n| first.wrapping_add(n)) {
                let found = viewer.sent_video(seq).and_then(|(source, number)| {
                    let layer = program.layer_of(source)?;
                    Some((source, layer.find(number)?))
                });
                let Some((source, packet)) = found else {
                    continue;
                };
                if !viewer.way.budget().may_repair() {
                    metrics.repairs_put_off += 1;
                    continue;
                }
                if viewer.send_again(true, seq, source, packet, &mut to) {
                    viewer.sent_copy(now, seq);
                    metrics.copies += 1;
                }
            }
        }
        viewer.is_copying()
    }

    /// Leaves a number without media out of all viewers' numbering.
    pub(super) fn skip(&mut self, id: ProgramId, source: SourceId, seq: u64) {
        let Some(place) = self.programs.get(&id).and_then(|p| p.place(source)) else {
            return;
        };
        // Earlier packets that still wait have earlier numbers.
        let now = Instant::now();
        self.flush(id, place, now);
        self.skip_for_feeds(now, id, place, seq);
        let Self {
            programs, sessions, ..
        } = self;
        let Some(program) = programs.get_mut(&id) else {
            return;
        };
        if let Some(layer) = program.layer_mut(place) {
            layer.skip(seq);
        }
        let keys = match place {
            Place::Audio => &program.viewers,
            Place::Video(at) => &program.video[at].subscribers,
        };
        for key in keys {
            if let Some(Role::Viewer(viewer)) = sessions.get_mut(*key).map(|s| &mut s.role) {
                viewer.skip(source, seq);
            }
        }
    }

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
fn unsubscribe(program: &mut Program, key: Key, but: Option<SourceId>) {
    for layer in &mut program.video {
        if Some(layer.source) != but {
            layer.subscribers.retain(|k| *k != key);
        }
    }
}
