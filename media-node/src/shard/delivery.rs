//! From a layer to its viewers: sending on what came in.

use std::time::Instant;

use super::adaptation::catch_up;
use super::audience::unsubscribe;
use super::core::Core;
use super::message::ProgramId;
use super::outbox::Links;
use super::outlet::Send;
use super::program::Place;
use super::session::Role;
use crate::media::packet::SourceId;

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
}
