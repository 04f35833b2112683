//! How much a viewer's path carries, from the sender's side.
//!
//! Every packet gets a transport-wide number (`history`); the peer reports when each came
//! ([`crate::rtcp::TransportCc`]). From that follow how long packets queue (`queue`, less
//! what `burst` explains), whether the
//! queue grows (`groups`, `trend`) and whose it is (`rival`), what comes through (`rate`), at what
//! rate a frame's packets come (`train`), and what kind of loss there is (`loss`). `control` makes a
//! rate of it, `probe` finds out whether there is more than is used, and `fallback` serves peers
//! that report nothing of the kind.
//!
//! The clock is an input. It must never: allocate per packet, trust a report, or leave its bounds.

mod burst;
mod control;
mod estimate;
mod fallback;
mod groups;
mod history;
mod loss;
mod probe;
mod queue;
mod rate;
mod rival;
mod train;
mod trend;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::rtcp::TransportCc;
use burst::Burst;
use control::{RateControl, Sight};
use fallback::Fallback;
use groups::Groups;
use history::{Fate, History};
use loss::LossControl;
use probe::{Outlook, Prober};
use queue::QueueDelay;
use rate::RateMeter;
use rival::Rival;
use train::Trains;
use trend::Trend;

pub use estimate::{Basis, Config, Estimate, Sending, Sent};
pub use probe::{ClusterId, Probe};
pub use trend::Usage;

/// Windows over which rates are taken: with a queue that has grown, and else. The short ones are
/// noisy: they hold few frames.
const SHORTEST_US: i64 = 80_000;
const SHORT_US: i64 = 160_000;
const LONG_US: i64 = 500_000;

/// A queue that grew to so much calls for a short window.
const GROWN_QUEUE_US: i64 = 40_000;

/// Who sends nothing for so long has paused.
const PAUSE_US: i64 = 400_000;

/// A probe that looks into a queue has at least this rate.
const LEAST_LOOK_BPS: f64 = 300_000.0;

/// How long after it was lowered the rate is not probed for.
const PROBE_AFTER_US: i64 = 500_000;

/// A queue in which a probe tells something.
const CALM_QUEUE_US: i64 = 20_000;

/// How long a queue fills before all that waits in it has been seen.
const FILLING_US: i64 = 200_000;

/// Round trip that is reckoned with before one is measured.
const USUAL_RTT_US: i64 = 100_000;

/// What may be sent is not known from what is sent when it is less than this share of it.
const USED_SHARE: f64 = 0.85;

/// Share of what was sent that is all of it, but for what is on its way.
const ALL_CAME: f64 = 0.9;

/// Who sends less than this has too few packets in a short window: it would be empty at times.
const FEW_BPS: f64 = 450_000.0;

/// Until then the estimate stands on little, in microseconds since it was begun.
const BEGINNING_US: i64 = 8_000_000;

/// Reference times are in units of 64 ms and wrap at 24 bits; deltas are in 250 µs.
const REFERENCE_US: i64 = 64_000;
const REFERENCE_WRAP: i64 = 1 << 24;
const DELTA_US: i64 = 250;
const MOST_REFERENCE: i64 = 1 << 40;

/// Estimates one viewer's path.
#[derive(Debug)]
pub struct Estimator {
    began: Instant,
    history: History,
    burst: Burst,
    sent: RateMeter,
    acknowledged: RateMeter,
    groups: Groups,
    trains: Trains,
    trend: Trend,
    queue: QueueDelay,
    rival: Rival,
    loss: LossControl,
    control: RateControl,
    prober: Prober,
    fallback: Fallback,
    basis: Basis,
    rtt_us: Option<i64>,
    /// None as long as nobody has said.
    wanted_bps: Option<f64>,
    goal_bps: Option<f64>,
    /// Reference time of the last feedback, unwrapped, in 64 ms.
    reference: Option<i64>,
    /// The highest number reported on, and the latest arrival.
    reported: Option<u64>,
    latest_arrival_us: Option<i64>,
    /// When feedback last came, and how far apart it comes.
    heard_us: i64,
    feedback_every_us: i64,
    last_sent_us: i64,
    /// Since when packets have left without a pause.
    resumed_us: i64,
}

/// What one feedback brought.
#[derive(Default)]
struct Batch {
    news: u32,
    newest_sent_us: Option<i64>,
    newest_arrival_us: Option<i64>,
}

impl Estimator {
    /// One that knows nothing of its path.
    pub fn new(now: Instant, config: Config) -> Self {
        let max_bps = config.max_bps.max(1);
        let config = Config {
            min_bps: config.min_bps.min(max_bps),
            max_bps,
            ..config
        };
        Self {
            began: now,
            history: History::default(),
            burst: Burst::default(),
            sent: RateMeter::default(),
            acknowledged: RateMeter::default(),
            groups: Groups::default(),
            trains: Trains::default(),
            trend: Trend::default(),
            queue: QueueDelay::default(),
            rival: Rival::default(),
            loss: LossControl::default(),
            control: RateControl::new(
                config.min_bps as f64,
                config.start_bps as f64,
                config.max_bps as f64,
            ),
            prober: Prober::default(),
            fallback: Fallback::default(),
            basis: Basis::Nothing,
            rtt_us: None,
            wanted_bps: None,
            goal_bps: None,
            reference: None,
            reported: None,
            latest_arrival_us: None,
            heard_us: 0,
            feedback_every_us: 100_000,
            last_sent_us: i64::MIN / 2,
            resumed_us: 0,
        }
    }

    fn us(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.began);
        since.as_secs() as i64 * 1_000_000 + i64::from(since.subsec_micros())
    }

    /// A packet is about to leave; gives the transport-wide number to write into it. `bytes` is its
    /// size on the wire.
    pub fn on_sent(&mut self, now: Instant, bytes: usize, kind: Sent) -> u16 {
        let now_us = self.us(now);
        if now_us - self.last_sent_us > PAUSE_US {
            // Nothing could be heard of what was not sent.
            self.heard_us = now_us;
            self.resumed_us = now_us;
        }
        self.last_sent_us = now_us;
        let rate_bps = self.control.target_bps();
        let expected_us = self.burst.on_sent(now_us, bytes, rate_bps);
        let number = self.history.push(now_us, bytes, expected_us);
        self.sent.add(now_us, bytes);
        let is_probe = matches!(kind, Sent::Probe(_));
        self.prober.on_sent(number, now_us, bytes, is_probe);
        number as u16
    }

    /// Transport-wide feedback came. Whatever it says of packets that are unknown or reported
    /// already changes nothing.
    pub fn on_feedback(&mut self, now: Instant, feedback: &TransportCc<'_>) {
        let now_us = self.us(now);
        // More than are remembered can't be meant, and would cost time to read.
        if usize::from(feedback.count) > self.history.len() {
            return;
        }
        let reference = self.unwrap_reference(feedback.reference_time);
        self.pass_over(
            now_us,
            self.history.full(feedback.base),
            reference * REFERENCE_US,
        );
        let mut batch = Batch::default();
        let mut at_us = reference * REFERENCE_US;
        // One that is cut off is believed up to there.
        let _ = feedback.arrivals(|seq, delta| {
            if let Some(delta) = delta {
                at_us += i64::from(delta) * DELTA_US;
            }
            self.report(now_us, seq, delta.map(|_| at_us), &mut batch);
        });
        if batch.news > 0 {
            self.conclude(now_us, &batch);
        }
    }

    /// The reference time nearest to the one before, beyond 24 bits.
    fn unwrap_reference(&mut self, time: u32) -> i64 {
        let time = i64::from(time) % REFERENCE_WRAP;
        let before = self.reference.unwrap_or(time);
        let ahead = (time - before + REFERENCE_WRAP / 2).rem_euclid(REFERENCE_WRAP);
        let reference = before + ahead - REFERENCE_WRAP / 2;
        // No peer's clock gets there; what says so is made up.
        let reference = if reference.abs() < MOST_REFERENCE {
            reference
        } else {
            time
        };
        self.reference = Some(reference);
        reference
    }

    /// Feedback begins behind numbers that none has named: that on them was lost. They count as come
    /// evenly over the time between, less what the path loses anyway, so that lost feedback does not
    /// look like a path that carries nothing.
    fn pass_over(&mut self, now_us: i64, base: u64, until_us: i64) {
        let Some(reported) = self.reported else {
            return;
        };
        let first = (reported + 1).max(
            self.history
                .next()
                .saturating_sub(self.history.len() as u64),
        );
        if base <= first || base > self.history.next() {
            return;
        }
        let from_us = self.latest_arrival_us.unwrap_or(until_us);
        let share = 1.0 - self.loss.inherent();
        let (count, span_us) = (
            (base - first) as i64,
            (until_us - from_us).clamp(0, 2_000_000),
        );
        for (n, number) in (first..base).enumerate() {
            let Some(packet) = self.history.get(number, now_us) else {
                continue;
            };
            if packet.fate == Fate::Unknown {
                self.history.settle(number, Fate::PassedOver);
                self.prober.passed_over(number);
                let at_us = from_us + span_us * (n as i64 + 1) / (count + 1);
                self.acknowledged
                    .add(at_us, (share * packet.bytes as f64) as usize);
            }
        }
    }

    /// What feedback says of one packet.
    fn report(&mut self, now_us: i64, seq: u16, arrival_us: Option<i64>, batch: &mut Batch) {
        let Some(packet) = self.history.get(self.history.full(seq), now_us) else {
            return;
        };
        let number = packet.number;
        self.reported = self.reported.max(Some(number));
        let Some(arrival_us) = arrival_us else {
            if packet.fate == Fate::Unknown {
                self.history.settle(number, Fate::Lost);
                self.loss.lost();
                batch.news += 1;
            }
            return;
        };
        match packet.fate {
            Fate::Received => return,
            Fate::Lost => self.loss.found(),
            Fate::Unknown => {}
            Fate::PassedOver => {
                self.history.settle(number, Fate::Received);
                return;
            }
        }
        self.history.settle(number, Fate::Received);
        batch.news += 1;
        batch.newest_sent_us = batch.newest_sent_us.max(Some(packet.sent_us));
        batch.newest_arrival_us = batch.newest_arrival_us.max(Some(arrival_us));
        self.acknowledged.add(arrival_us, packet.bytes);
        self.prober.received(number, arrival_us, packet.bytes);
        if self.prober.disturbs(number, packet.sent_us) {
            self.loss.received(0);
            self.trend.restart();
            self.groups = Groups::default();
            return;
        }
        let waited_us = self.queue.add(now_us, &packet, arrival_us);
        let late_us = waited_us - packet.expected_us;
        self.trains
            .add(packet.sent_us, packet.bytes, arrival_us, late_us);
        self.loss.received(waited_us);
        let explained_us = packet.expected_us.min(waited_us);
        if let Some(delta) = self.groups.add(packet.sent_us, arrival_us - explained_us) {
            self.trend.add(delta);
        }
    }

    /// All of a feedback has been read.
    fn conclude(&mut self, now_us: i64, batch: &Batch) {
        self.basis = Basis::TransportWide;
        let since_us = (now_us - self.heard_us).clamp(0, 500_000);
        self.feedback_every_us += (since_us - self.feedback_every_us) / 8;
        self.heard_us = now_us;
        self.latest_arrival_us = self.latest_arrival_us.max(batch.newest_arrival_us);
        if let Some(sent_us) = batch.newest_sent_us {
            let rtt_us = (now_us - sent_us).max(1);
            let before_us = self.rtt_us.unwrap_or(rtt_us);
            self.rtt_us = Some(before_us + (rtt_us - before_us) / 4);
        }
        self.queue.close_batch();
        let queue_us = self.queue.standing_us();
        let sent_bps = self.sent_bps(now_us);
        self.rival.look(now_us, queue_us, sent_bps);
        let rtt_us = self.rtt_us.unwrap_or(USUAL_RTT_US);
        let carried_bps = self.carried_bps(now_us);
        let sight = Sight {
            now_us,
            usage: self.trend.usage(),
            verdict: self.loss.judge(now_us, rtt_us),
            queue_us,
            queue_growth_us: self.queue.growth_us(),
            grows_on: self.queue.grows_on(),
            has_rival: self.rival.is_present(),
            sent_bps: self.reported_bps(now_us, batch).unwrap_or(sent_bps),
            wanted_bps: self.wanted_bps.unwrap_or(sent_bps),
            carried_bps,
            train_bps: self.trains.take_late_bps(),
            came_bps: self.came_bps(LONG_US).unwrap_or(0.0),
            rtt_us,
            is_used: self.is_used(now_us),
        };
        if self.control.update(&sight) {
            self.prober.put_off(now_us + PROBE_AFTER_US);
        }
        self.believe_what_came(now_us);
        self.conclude_probe(now_us);
    }

    /// What came through and left no queue is carried.
    fn believe_what_came(&mut self, now_us: i64) {
        let is_calm = self.trend.usage() == Usage::Normal
            && self.queue.standing_us() < CALM_QUEUE_US
            && !self.control.fell_within(now_us, PROBE_AFTER_US);
        let Some(came_bps) = self.came_bps(LONG_US).filter(|_| is_calm) else {
            return;
        };
        // In the beginning, when the estimate stands on nothing, more than it may be sent: that finds out what probes
        // would.
        if now_us < BEGINNING_US {
            self.control.believe(came_bps);
        }
        // Somebody had no time for a moment, the peer or this end, and that looked like a full path. What is sent by
        // decision goes through, though it is less at times: that it does not fit is refuted.
        if let Some(wanted_bps) = self.wanted_bps
            && came_bps >= ALL_CAME * self.sent_bps(now_us)
        {
            self.control.believe(wanted_bps);
        }
    }

    fn conclude_probe(&mut self, now_us: i64) {
        let outlook = self.outlook(now_us);
        if let Some(found) = self.prober.conclude(now_us, self.reported, &outlook) {
            self.rival.probed(now_us, found.bps, self.sent_bps(now_us));
            // In a queue that is full of others' packets it found what it got, not what there is.
            let is_limit = found.is_limit && self.queue.standing_us() < CALM_QUEUE_US;
            let carried_bps = self.carried_bps(now_us).unwrap_or(0.0);
            let in_use_bps = self.wanted_bps.unwrap_or(0.0).max(carried_bps);
            self.control.probed(found.bps, is_limit, in_use_bps);
        }
    }

    fn sent_bps(&self, now_us: i64) -> f64 {
        self.sent.bps(now_us, LONG_US).unwrap_or(0.0)
    }

    /// What was sent in the time that [`Self::carried_bps`] is about, as far as is reported.
    fn reported_bps(&self, now_us: i64, batch: &Batch) -> Option<f64> {
        self.sent.bps(batch.newest_sent_us?, self.window_us(now_us))
    }

    fn window_us(&self, now_us: i64) -> i64 {
        // A queue has been filling for at least as long as it takes: all that came meanwhile came
        // at the rate of a full path.
        let queue_us = self.queue.standing_us();
        let until_us = self.acknowledged.until_us();
        let has_many = self.acknowledged.bps(until_us, LONG_US) > Some(FEW_BPS);
        if !has_many {
            LONG_US
        } else if queue_us > GROWN_QUEUE_US {
            queue_us.clamp(SHORTEST_US, SHORT_US)
        } else if self.control.narrowed_within(now_us, LONG_US) {
            SHORT_US
        } else {
            LONG_US
        }
    }

    /// What the path carried lately: what came, and what it loses anyway.
    fn carried_bps(&self, now_us: i64) -> Option<f64> {
        self.came_bps(self.window_us(now_us))
    }

    fn came_bps(&self, window_us: i64) -> Option<f64> {
        let until_us = self.acknowledged.until_us();
        let came_bps = self.acknowledged.bps(until_us, window_us)?;
        Some(came_bps / (1.0 - self.loss.inherent()))
    }

    /// Whether about as much is sent as may be.
    fn is_used(&self, now_us: i64) -> bool {
        self.sent_bps(now_us) >= USED_SHARE * self.control.target_bps()
    }

    fn outlook(&self, now_us: i64) -> Outlook {
        Outlook {
            target_bps: self.control.target_bps(),
            goal_bps: self.goal_bps,
            inherent_loss: self.loss.inherent(),
            look_bps: self
                .rival
                .wants_probe(now_us)
                .then(|| (3.0 * self.sent_bps(now_us)).max(LEAST_LOOK_BPS)),
            calm: (self.rival.is_present() || self.queue.standing_us() < CALM_QUEUE_US)
                && !self.control.fell_within(now_us, PROBE_AFTER_US),
        }
    }

    /// A receiver report came: the share of packets lost since the one before, and the round trip
    /// that follows from it. Of use only where there is no transport-wide feedback.
    pub fn on_receiver_report(&mut self, now: Instant, fraction_lost: f32, rtt: Option<Duration>) {
        if self.basis == Basis::TransportWide {
            return;
        }
        let now_us = self.us(now);
        let is_used = self.is_used(now_us);
        let factor = self.fallback.report(fraction_lost, rtt, is_used);
        if let Some(rtt) = rtt {
            self.rtt_us = Some(i64::try_from(rtt.as_micros()).unwrap_or(i64::MAX));
        }
        if self.basis != Basis::Remb {
            self.basis = Basis::ReceiverReports;
            self.control.scale(factor);
        }
    }

    /// The peer's own estimate came (REMB). Of use only where there is no transport-wide feedback.
    pub fn on_remb(&mut self, now: Instant, bps: u64) {
        if self.basis == Basis::TransportWide {
            return;
        }
        self.basis = Basis::Remb;
        self.fallback.remb(self.us(now), bps);
        self.control.dictate(bps as f64);
    }

    /// What is sent by the allocation's will, and what the next better thing would take in all: the
    /// goal of probes. None if nothing better waits.
    pub fn set_wanted(&mut self, bps: u64, next_layer_bps: Option<u64>) {
        self.wanted_bps = Some(bps as f64);
        self.goal_bps = next_layer_bps.map(|next| next.max(bps) as f64);
    }

    /// Time passes; to be called every 5 to 10 ms.
    pub fn on_tick(&mut self, now: Instant) {
        let now_us = self.us(now);
        self.conclude_probe(now_us);
        self.listen(now_us);
        if self.basis == Basis::Remb && self.fallback.remb_bps(now_us).is_none() {
            self.basis = Basis::ReceiverReports;
        }
    }

    /// Lowers the rate when packets are on the way and nothing is heard of them.
    fn listen(&mut self, now_us: i64) {
        if self.basis != Basis::TransportWide {
            return;
        }
        let patience = if self.loss.loss() > 0.2 { 2 } else { 1 };
        let usual_us = 2 * self.rtt_us.unwrap_or(USUAL_RTT_US) + 5 * self.feedback_every_us;
        let silent_us = now_us - self.heard_us;
        let is_sending = self.sent.bps(now_us, LONG_US).is_some_and(|bps| bps > 0.0);
        if is_sending && silent_us > patience * usual_us.max(500_000) {
            self.control.silence();
            self.heard_us = now_us;
        }
    }

    /// What is known of the path now.
    pub fn estimate(&self) -> Estimate {
        let loss = match self.basis {
            Basis::TransportWide => self.loss.loss() as f32,
            _ => self.fallback.loss(),
        };
        let until_us = self.acknowledged.until_us();
        let acknowledged = self.acknowledged.bps(until_us, LONG_US);
        Estimate {
            target_bps: self.control.target_bps() as u64,
            acknowledged_bps: acknowledged.unwrap_or(0.0) as u64,
            rtt: self
                .rtt_us
                .map(|us| Duration::from_micros(us.max(0) as u64)),
            loss,
            inherent_loss: self.loss.inherent() as f32,
            queue_delay: Duration::from_micros(self.queue.standing_us().max(0) as u64),
            usage: self.trend.usage(),
            is_filling: self.control.narrowed_within(self.heard_us, FILLING_US),
            is_probing: self.prober.is_busy(),
            basis: self.basis,
        }
    }

    /// What has left for the peer; none if it gives no transport-wide feedback.
    pub fn sending(&self) -> Option<Sending> {
        let at = |us: i64| Some(self.began + Duration::from_micros(u64::try_from(us).ok()?));
        let gives_feedback = self.basis == Basis::TransportWide;
        gives_feedback.then_some(())?;
        Some(Sending {
            began: at(self.resumed_us)?,
            last: at(self.last_sent_us)?,
            is_reported: self
                .reported
                .is_some_and(|reported| reported + 1 >= self.history.next()),
        })
    }

    /// Bytes that it takes, its history included.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.history.memory()
    }

    /// What may be sent for a probe now, beside the media of this tick and after it. To be called
    /// every 5 to 10 ms, and only while there is something to probe with (padding, or packets to
    /// repeat); what is sent is told to [`Self::on_sent`].
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let now_us = self.us(now);
        let outlook = self.outlook(now_us);
        self.prober.poll(now_us, &outlook)
    }
}
