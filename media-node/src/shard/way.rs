//! The way to one viewer: what its path carries, and what may be sent on it now.

use std::time::{Duration, Instant};

use showrunner_rtp::bwe::{Basis, Config, Estimate, Estimator, Probe, Sending, Sent, Usage};
use showrunner_rtp::rtcp::TransportCc;
use showrunner_sdp::SendTrack;

use crate::media::hiding::Room;
use crate::media::pacer::{Budget, PACE};
use crate::media::writer::StreamHeader;

/// What a packet is longer by on the wire than its payload: IPv4 and UDP (28), RTP (12), its
/// transport-wide number (8), the seal (16).
const OVERHEAD: usize = 64;

/// What is sent to a path that nothing has been heard of yet, in bit/s: a first picture should not
/// wait for the estimate.
const UNKNOWN_BPS: u64 = 2_000_000;

/// For so long after the first word from a viewer it is sent as much, unless its path fills: the
/// estimate begins low, and one who gets less than the room's only layer would fall behind and jump.
const BEGINNING: Duration = Duration::from_secs(5);

/// Where the estimate begins for peers that report nothing but loss, in bit/s: probes tell nothing of their paths, so
/// what is sent must be enough to find out.
const UNREPORTED_BPS: u64 = 3_000_000;

/// A queue that has to drain before more is sent than the path carries.
const STANDING: Duration = Duration::from_millis(40);

/// A path that was full within this time may have lost what a report speaks of by that.
const FULL_LATELY: Duration = Duration::from_secs(2);

/// Of what such a report says, so much is believed: a little more than the path is known to lose
/// whatever is sent.
const INHERENT_MOST: f32 = 1.5;
const INHERENT_SLACK: f32 = 0.005;

/// The pace follows the estimate in steps of this part.
const STEP: u64 = 32;

/// How far the beginning has got, in which the estimate is not what is known.
#[derive(Clone, Copy)]
enum Beginning {
    /// The viewer has said nothing.
    Unheard,
    /// It has since then, and nothing against more.
    Since(Instant),
    /// The estimate is what is known.
    Over,
}

/// The way to one viewer.
pub(super) struct Way {
    estimator: Estimator,
    budget: Budget,
    /// What the budget is for, in bit/s.
    path_bps: u64,
    beginning: Beginning,
    /// When packets last waited in the path's queue.
    full: Option<Instant>,
    /// Some packets bear transport-wide numbers. Those that don't must not use any up.
    is_numbered: bool,
}

impl Way {
    /// The way that these tracks will take.
    pub(super) fn new<'t>(now: Instant, tracks: impl IntoIterator<Item = &'t SendTrack>) -> Self {
        let is_numbered = tracks
            .into_iter()
            .any(|track| track.extensions.transport_cc.is_some());
        let usual = Config::default();
        let config = Config {
            start_bps: if is_numbered {
                usual.start_bps
            } else {
                UNREPORTED_BPS
            },
            ..usual
        };
        Self {
            estimator: Estimator::new(now, config),
            budget: Budget::new(now, UNKNOWN_BPS),
            path_bps: UNKNOWN_BPS,
            beginning: Beginning::Unheard,
            full: None,
            is_numbered,
        }
    }

    /// A packet is about to leave; the header that it is to have, with its transport-wide number.
    #[inline]
    pub(super) fn sent(
        &mut self,
        now: Instant,
        stream: StreamHeader,
        payload: usize,
        purpose: Sent,
    ) -> StreamHeader {
        let bytes = payload + OVERHEAD;
        self.budget.spend(bytes);
        if self.is_numbered && stream.transport_cc_id.is_none() {
            return stream;
        }
        StreamHeader {
            transport_number: self.estimator.on_sent(now, bytes, purpose),
            ..stream
        }
    }

    /// A packet is about to leave again under the number that it had before.
    pub(super) fn sent_as_before(&mut self, payload: usize) {
        self.budget.spend(payload + OVERHEAD);
    }

    /// Time has passed.
    #[inline]
    pub(super) fn refill(&mut self, now: Instant) {
        self.budget.refill(now);
    }

    /// What may be sent.
    #[inline]
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The viewer says when packets came.
    pub(super) fn on_feedback(&mut self, now: Instant, feedback: &TransportCc<'_>) {
        self.estimator.on_feedback(now, feedback);
        self.follow(now);
    }

    /// The viewer says what it lost, and so how long the round trip is.
    pub(super) fn on_receiver_report(&mut self, now: Instant, lost: u8, rtt: Option<Duration>) {
        let lost = f32::from(lost) / 256.0;
        self.estimator.on_receiver_report(now, lost, rtt);
        self.follow(now);
    }

    /// The viewer says what it thinks that the path carries.
    pub(super) fn on_remb(&mut self, now: Instant, bps: u64) {
        self.estimator.on_remb(now, bps);
        self.follow(now);
    }

    /// Time has passed without a word; to be called some times a second.
    pub(super) fn on_tick(&mut self, now: Instant) {
        self.estimator.on_tick(now);
        self.follow(now);
    }

    /// What is sent by decision, and what the next better layer would take: the goal of probes.
    pub(super) fn set_wanted(&mut self, bps: u64, goal_bps: Option<u64>) {
        self.estimator.set_wanted(bps, goal_bps);
    }

    /// What is known of the path.
    pub(super) fn estimate(&self) -> Estimate {
        self.estimator.estimate()
    }

    /// What has left for the viewer; none if it does not say many times a second what it gets.
    pub(super) fn sending(&self) -> Option<Sending> {
        self.estimator.sending()
    }

    /// What the path has room for, if so many bit/s are sent to the viewer.
    pub(super) fn room(&self, wanted_bps: u64) -> Room {
        let estimate = self.estimator.estimate();
        Room {
            path_bps: estimate.target_bps,
            wanted_bps,
            is_full: is_full(&estimate),
        }
    }

    /// The most that a report may say of what the path loses, 0 to 1. What a full queue lost is gone
    /// with the queue, and to send twice what comes after it would fill the path once more.
    pub(super) fn most_own_loss(&self, now: Instant) -> f32 {
        if self.was_full(now) {
            INHERENT_MOST * self.estimator.estimate().inherent_loss + INHERENT_SLACK
        } else {
            1.0
        }
    }

    /// Whether packets waited in the path's queue lately.
    pub(super) fn was_full(&self, now: Instant) -> bool {
        self.full
            .is_some_and(|at| now.saturating_duration_since(at) < FULL_LATELY)
    }

    /// Has new pictures wait while packets stand in the path's queue, if they are to be let go of.
    pub(super) fn hold_back(&mut self, is_let_go: bool) {
        let is_held = is_let_go && is_queued(&self.estimator.estimate());
        self.budget.hold(is_held);
    }

    /// What may be sent now to find out more.
    pub(super) fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        self.estimator.poll_probe(now)
    }

    /// Finds out whether the beginning is over: for good, at the first sign of a full path.
    fn begin(&mut self, now: Instant, estimate: &Estimate) {
        let is_full = estimate.usage == Usage::Over || estimate.queue_delay > STANDING;
        self.beginning = match (self.beginning, estimate.basis) {
            (Beginning::Over, _) => Beginning::Over,
            (_, Basis::Nothing) => Beginning::Unheard,
            (_, Basis::Remb | Basis::ReceiverReports) => Beginning::Over,
            (_, Basis::TransportWide) if is_full => Beginning::Over,
            (Beginning::Unheard, Basis::TransportWide) => Beginning::Since(now),
            (Beginning::Since(at), _) if now.saturating_duration_since(at) > BEGINNING => {
                Beginning::Over
            }
            (Beginning::Since(at), _) => Beginning::Since(at),
        };
    }

    /// Sets the pace by the estimate.
    fn follow(&mut self, now: Instant) {
        let estimate = self.estimator.estimate();
        if is_full(&estimate) {
            self.full = Some(now);
        }
        self.begin(now, &estimate);
        let path_bps = match self.beginning {
            Beginning::Unheard | Beginning::Since(_) => estimate.target_bps.max(UNKNOWN_BPS),
            Beginning::Over => estimate.target_bps,
        };
        // Nothing is gained by sending ahead of the estimate into a queue that is to drain.
        let path_bps = if is_queued(&estimate) {
            path_bps / PACE
        } else {
            path_bps
        };
        if path_bps.abs_diff(self.path_bps) * STEP > self.path_bps {
            self.path_bps = path_bps;
            self.budget.set_path(now, path_bps);
        }
    }
}

/// Whether packets stand in the path's queue.
fn is_queued(estimate: &Estimate) -> bool {
    estimate.queue_delay > STANDING || estimate.is_filling
}

/// Whether more is on the way than the path carries.
fn is_full(estimate: &Estimate) -> bool {
    /// A queue this long is a full path's, not a burst of packets.
    const QUEUED: Duration = Duration::from_millis(50);
    estimate.usage == Usage::Over || estimate.queue_delay > QUEUED || estimate.is_filling
}
