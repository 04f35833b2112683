//! Which layer a viewer is to be on: what its path carries, what it asks for, and what is on air.

use std::sync::Arc;
use std::time::{Duration, Instant};

use showrunner_rtp::bwe::Basis;

use super::program::Program;
use super::viewer::Viewer;
use crate::media::allocation::{Allocator, Budget, Decision, Limits, Offer, Rung, Why};
use crate::node::{Adaptation, AdaptationReason, AdaptedLayer};

/// What headers add to media, as a share of it.
const HEADERS: f64 = 0.06;

/// What headers add to sound of 50 packets a second, in bit/s.
const AUDIO_HEADERS_BPS: u64 = 26_000;

/// In the beginning the path is not known yet, and no reason to pause.
const BEGINNING: Duration = Duration::from_secs(3);

/// Room beyond the smallest layer's cost that makes the allocator take it for one that fits.
const FITS: f64 = 1.2;

/// What a viewer is to be sent of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// There is nothing.
    OffAir,
    /// Something, but the viewer wants none.
    Off,
    /// Not even the smallest layer fits.
    Pause,
    /// This, and why nothing better.
    Send(Rung, Why),
}

/// Decides for one viewer, and remembers what was decided.
#[derive(Default)]
pub(super) struct Choice {
    allocator: Allocator,
    began: Option<Instant>,
    /// What was decided last, if it was a picture.
    rung: Option<Rung>,
    is_paused: bool,
    /// What the viewer was told last.
    told: Option<Adaptation>,
    /// What was decided takes so many bit/s.
    wanted_bps: u64,
}

/// How a viewer's layer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// To a better one.
    pub(crate) is_up: bool,
    /// Why not to a better one, or why to a worse one.
    pub(crate) why: Why,
}

impl Choice {
    /// The picture pauses. True if it did not before.
    pub(super) fn pause(&mut self) -> bool {
        !std::mem::replace(&mut self.is_paused, true)
    }

    /// What was decided takes so many bit/s.
    pub(super) fn wanted_bps(&self) -> u64 {
        self.wanted_bps
    }

    /// Whether the picture is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Notes what was decided; how the layer changed, if it did.
    pub(super) fn note(&mut self, verdict: &Verdict) -> Option<Change> {
        let Verdict::Send(rung, why) = *verdict else {
            return None;
        };
        self.is_paused = false;
        let before = self.rung.replace(rung)?;
        let size = |rung: &Rung| (rung.width, rung.height, rung.temporal);
        let is_same = (before.source, before.spatial, before.temporal)
            == (rung.source, rung.spatial, rung.temporal);
        (!is_same).then(|| Change {
            is_up: size(&rung) > size(&before),
            why,
        })
    }
}

impl Viewer {
    /// Decides anew what it is to be sent.
    pub(super) fn decide(&mut self, now: Instant, program: &Program) -> Verdict {
        let estimate = self.way.estimate();
        let rungs = program.rungs(self.transcodes);
        let chosen = self.asked.rid.as_ref().and_then(|rid| {
            let layer = program.video.iter().find(|l| *l.rid == **rid)?;
            let is_there = rungs.iter().any(|r| r.source == layer.source);
            is_there.then_some(layer.source)
        });
        let able = program
            .video
            .first()
            .and_then(|l| self.max_spatial(l.codec));
        // What is picked by hand goes before what fits the window.
        let bound = |max: Option<u16>| max.filter(|_| chosen.is_none());
        let limits = Limits {
            max_width: bound(self.asked.max_width),
            max_height: bound(self.asked.max_height),
            max_lines: program.max_lines,
            max_spatial: [self.asked.max_spatial, able].into_iter().flatten().min(),
            max_temporal: self.asked.max_temporal,
            chosen,
            ..Limits::default()
        };
        // What is sent once more for the path's own loss. That of a full queue goes with a smaller layer.
        let loss = f64::from(estimate.inherent_loss).clamp(0.0, 0.9);
        let overhead = HEADERS + loss / (1.0 - loss);
        let audio_bps = match &program.audio {
            Some(audio) if self.takes_audio() => audio.bitrate_bps() + AUDIO_HEADERS_BPS,
            _ => 0,
        };
        let began = *self.choice.began.get_or_insert(now);
        if self.asked.is_no_video() {
            self.choice.is_paused = false;
            self.choice.wanted_bps = 0;
            self.way.set_wanted(audio_bps, None);
            return Verdict::Off;
        }
        let is_known = matches!(estimate.basis, Basis::TransportWide | Basis::Remb);
        let mut estimate_bps = estimate.target_bps;
        if !is_known || now.saturating_duration_since(began) < BEGINNING {
            let least = rungs.iter().map(|r| r.bitrate_bps).min();
            let least = least.unwrap_or(0) as f64 * (1.0 + overhead) * FITS;
            estimate_bps = estimate_bps.max(least as u64 + audio_bps);
        }
        let budget = Budget {
            estimate_bps,
            audio_bps,
            overhead,
        };
        let offer = Offer { rungs, limits };
        let mut decision = None;
        let total = self
            .choice
            .allocator
            .decide(now, &budget, &[offer], |_, d| decision = Some(d));
        self.choice.wanted_bps = total.wanted_bps;
        let goal_bps = total.goal_bps.max(self.hiding_goal_bps(total.wanted_bps));
        self.way.set_wanted(total.wanted_bps, goal_bps);
        match decision {
            Some(Decision {
                rung: Some(rung),
                why,
                ..
            }) => Verdict::Send(rung, why),
            None
            | Some(Decision {
                why: Why::OffAir, ..
            }) => Verdict::OffAir,
            Some(_) => Verdict::Pause,
        }
    }

    /// What the viewer is to be told of a decision, if that is news.
    pub(super) fn adapted(&mut self, verdict: &Verdict, program: &Program) -> Option<Adaptation> {
        let (layer, reason) = match verdict {
            Verdict::OffAir => return None,
            Verdict::Off => (None, AdaptationReason::Limit),
            Verdict::Pause => (None, AdaptationReason::Path),
            Verdict::Send(rung, why) => {
                let of_rung = program.layer_of(rung.source)?;
                let layer = AdaptedLayer {
                    rid: Arc::clone(&of_rung.rid),
                    size: Some((rung.width, rung.height)).filter(|(width, _)| *width > 0),
                };
                let reason = match why {
                    Why::Limit => AdaptationReason::Limit,
                    Why::Path | Why::BackOff => AdaptationReason::Path,
                    Why::Best | Why::OffAir => AdaptationReason::Best,
                };
                (Some(layer), reason)
            }
        };
        let told = self.choice.told.as_ref();
        let is_same =
            |told: &Adaptation| told.layer == layer && (layer.is_some() || told.reason == reason);
        if told.is_some_and(is_same) {
            return None;
        }
        let adaptation = Adaptation {
            layer,
            reason,
            estimate_bps: self.way.estimate().target_bps,
        };
        self.choice.told = Some(adaptation.clone());
        Some(adaptation)
    }

    /// Whether its path carries less than what was decided.
    pub(super) fn is_over_its_path(&self) -> bool {
        self.way.estimate().target_bps < self.choice.wanted_bps
    }
}
