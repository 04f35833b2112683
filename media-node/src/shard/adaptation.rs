//! Each viewer by its path: what it says of it, what it is fed of what it is behind by, and what it
//! is probed with.

use std::time::{Duration, Instant};

use showrunner_rtp::rtcp::TransportCc;

use super::core::Core;
use super::hearing::Hearing;
use super::message::ShardEvent;
use super::program::Program;
use super::reach::Reached;
use super::session::Role;
use super::sessions::Key;
use super::viewer::Viewer;
use crate::media::layer::Start;

/// How often viewers are looked after that are behind or probed, as long as there are any.
const PERIOD: Duration = Duration::from_millis(5);

/// The viewers that are looked after every few milliseconds.
#[derive(Default)]
pub(super) struct Timed {
    keys: Vec<Key>,
    /// Room for the next round's.
    spare: Vec<Key>,
    next: Option<Instant>,
}

impl Timed {
    /// Looks after a viewer from now on, until it needs it no more.
    pub(super) fn add(&mut self, key: Key, viewer: &mut Viewer) {
        if !std::mem::replace(&mut viewer.is_timed, true) {
            self.keys.push(key);
        }
    }

    /// A viewer is gone.
    pub(super) fn remove(&mut self, key: Key) {
        self.keys.retain(|k| *k != key);
    }

    /// How long a turn may wait for events.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        match self.next {
            Some(next) if !self.keys.is_empty() => next.saturating_duration_since(now),
            _ => Duration::MAX,
        }
    }
}

impl Core {
    /// A viewer said when packets came.
    pub(super) fn on_feedback(&mut self, now: Instant, key: Key, feedback: &TransportCc<'_>) {
        if let Some(viewer) = self.viewer_mut(key) {
            viewer.way.on_feedback(now, feedback);
            viewer.lived.on_feedback(now);
            self.on_estimate(now, key);
            self.serve(now, key);
        }
    }

    /// More is known of a viewer's path. If that carries less than it is sent, it is aimed anew at
    /// once; else with the next look at all.
    pub(super) fn on_estimate(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let id = session.program;
        if let Role::Viewer(viewer) = &mut session.role {
            viewer.protect(now);
            if viewer.is_over_its_path() {
                self.aim(now, id, key);
            }
        }
    }

    /// A viewer said what it thinks that its path carries.
    pub(super) fn on_remb(&mut self, now: Instant, key: Key, bps: u64) {
        if let Some(viewer) = self.viewer_mut(key) {
            viewer.way.on_remb(now, bps);
            self.on_estimate(now, key);
        }
    }

    fn viewer_mut(&mut self, key: Key) -> Option<&mut Viewer> {
        match &mut self.sessions.get_mut(key)?.role {
            Role::Viewer(viewer) => Some(viewer),
            Role::Publisher(_) | Role::Feed(_) => None,
        }
    }

    /// Time has passed for all viewers; to be called ten times a second. Their layers are chosen
    /// anew, and it is told who of them is heard. If nobody is, those who have nothing to say are asked whether they
    /// are there.
    pub(super) fn look_after_ways(&mut self, now: Instant) {
        let (mut paused, mut behind) = (0, 0);
        let awake_since = self.ear.listen(now);
        let mut hearing = Hearing::default();
        let mut mute = Vec::new();
        for at in 0..self.sessions.key_bound() {
            let Some(session) = self.sessions.get_mut(at) else {
                continue;
            };
            if let Some(signs) = session.signs()
                && hearing.count(&signs, awake_since, now)
                && hearing.heard == 0
            {
                mute.push(at);
            }
            let id = session.program;
            if let Role::Viewer(viewer) = &mut session.role {
                paused += usize::from(viewer.choice.is_paused());
                behind += usize::from(viewer.is_behind());
                viewer.way.on_tick(now);
                self.aim(now, id, at);
                self.serve(now, at);
            }
        }
        if hearing.heard == 0 {
            for key in mute {
                self.ask(now, key);
            }
        }
        self.metrics.set_viewers(paused, behind);
        let shard = self.index;
        self.tell(ShardEvent::Hears {
            shard,
            at: now,
            hearing,
        });
    }

    /// Sends a viewer something to answer.
    fn ask(&mut self, now: Instant, key: Key) {
        if let Some(Reached {
            peer: viewer,
            program,
            mut to,
            ..
        }) = self.reach_viewer(now, key)
        {
            let layer = viewer.current.and_then(|source| program.layer_of(source));
            viewer.ask(layer, &mut to);
        }
    }

    /// Looks after the viewers that are behind or probed.
    pub(super) fn serve_timed(&mut self, now: Instant) {
        if self.timed.keys.is_empty() || self.timed.next.is_some_and(|next| now < next) {
            return;
        }
        self.timed.next = Some(now + PERIOD);
        let spare = std::mem::take(&mut self.timed.spare);
        let mut keys = std::mem::replace(&mut self.timed.keys, spare);
        for key in &keys {
            if let Some(viewer) = self.viewer_mut(*key) {
                viewer.is_timed = false;
                self.serve(now, *key);
            }
        }
        keys.clear();
        self.timed.spare = keys;
    }

    /// Sends a viewer what it is behind by, as far as its budget goes, and probes its path.
    pub(super) fn serve(&mut self, now: Instant, key: Key) {
        let Some(Reached {
            peer: viewer,
            program,
            mut to,
            metrics,
            timed,
            ..
        }) = self.reach_viewer(now, key)
        else {
            return;
        };
        if let Some(source) = viewer.is_fed_from() {
            match program.layer_of(source) {
                Some(layer) => {
                    if !viewer.feed(layer, &mut to) {
                        metrics.lost_touch += 1;
                        catch_up(viewer, program, now);
                    }
                }
                None => viewer.begin_anew(None),
            }
        }
        let layer = viewer.current.and_then(|source| program.layer_of(source));
        metrics.probes += viewer.probe(layer, &mut to);
        if viewer.is_behind() || viewer.way.estimate().is_probing {
            timed.add(key, viewer);
        }
    }
}

/// A viewer has lost touch with its layer: it goes on with a keyframe, a stored one if that is newer
/// than what it lost, else the next.
pub(super) fn catch_up(viewer: &mut Viewer, program: &mut Program, now: Instant) {
    let Some(source) = viewer.current.or(viewer.target) else {
        return;
    };
    let Some(layer) = program.layer_of_mut(source) else {
        viewer.begin_anew(None);
        return;
    };
    match layer.start(now) {
        Start::CatchUp { from } if from > viewer.position() => {
            if let Some(first) = layer.get(from) {
                let target = viewer.target;
                viewer.begin_stored(layer, first, true, now);
                viewer.target = target;
            }
        }
        Start::CatchUp { .. } | Start::Still | Start::Wait => {
            let target = viewer.target.unwrap_or(source);
            viewer.begin_anew(Some(target));
            if let Some(layer) = program.layer_of_mut(target) {
                layer.keyframes.want();
            }
        }
    }
}
