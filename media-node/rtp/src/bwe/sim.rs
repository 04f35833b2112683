//! A path in a box, for tests: viewers behind one link with a rate, a delay, a bounded queue, loss
//! and jitter, on a clock of its own. The receiving side is the real [`Recorder`], and feedback goes
//! over the wire's bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::{Config, Estimate, Estimator, Sent};
use crate::rtcp::{Packet, Writer, packets};
use crate::twcc::Recorder;

/// What a packet has on the wire beside the bytes that the estimator is told.
const HEADERS: usize = 28;

/// Random numbers that are the same each time.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// From 0 to 1.
    pub(super) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

/// Loss, whatever is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// Each packet by itself.
    Random(f64),
    /// Bursts of a mean length (Gilbert).
    Bursts { share: f64, length: f64 },
}

/// One direction of a path.
pub(super) struct Link {
    /// Bit/s at a time in ms.
    pub(super) rate: Box<dyn Fn(i64) -> f64>,
    pub(super) delay_us: i64,
    /// How much time's worth of packets the queue holds, at the rate of the moment, and at least in
    /// bytes.
    pub(super) queue_us: i64,
    pub(super) loss: Loss,
    pub(super) jitter_us: i64,
    /// Drops what is above the rate, and delays nothing.
    pub(super) polices: bool,
    busy_until_us: i64,
    in_burst: bool,
    last_arrival_us: i64,
    dice: Dice,
}

impl Link {
    pub(super) fn new(rate: impl Fn(i64) -> f64 + 'static) -> Self {
        Self {
            rate: Box::new(rate),
            delay_us: 50_000,
            queue_us: 300_000,
            loss: Loss::Random(0.0),
            jitter_us: 0,
            polices: false,
            busy_until_us: 0,
            in_burst: false,
            last_arrival_us: 0,
            dice: Dice(7),
        }
    }

    /// When a packet arrives; none if it does not.
    fn carry(&mut self, now_us: i64, bytes: usize) -> Option<i64> {
        let rate = (self.rate)(now_us / 1000).max(1.0);
        let free_us = self.busy_until_us.max(now_us);
        let room_us = if self.polices { 10_000 } else { self.queue_us };
        let queued_bits = (free_us - now_us) as f64 * rate / 1e6;
        if free_us - now_us > room_us && queued_bits > 15_000.0 * 8.0 {
            return None;
        }
        self.busy_until_us = self.serve(free_us, (bytes + HEADERS) as f64 * 8.0);
        if self.is_lost() {
            return None;
        }
        let left_us = if self.polices {
            now_us
        } else {
            self.busy_until_us
        };
        let jitter_us = (self.dice.roll() * self.jitter_us as f64) as i64;
        // Jitter does not change the order.
        self.last_arrival_us = self
            .last_arrival_us
            .max(left_us + self.delay_us + jitter_us);
        Some(self.last_arrival_us)
    }

    /// When so many bits are through, with a rate that changes under way.
    fn serve(&self, from_us: i64, mut bits: f64) -> i64 {
        const STEP_US: i64 = 10_000;
        let mut at_us = from_us;
        loop {
            let rate = (self.rate)(at_us / 1000).max(1.0);
            let step_us = STEP_US - at_us % STEP_US;
            let needs_us = bits * 1e6 / rate;
            if needs_us <= step_us as f64 {
                return at_us + needs_us as i64;
            }
            bits -= rate * step_us as f64 / 1e6;
            at_us += step_us;
        }
    }

    fn is_lost(&mut self) -> bool {
        match self.loss {
            Loss::Random(share) => self.dice.roll() < share,
            Loss::Bursts { share, length } => {
                let leaves = 1.0 / length;
                let enters = share * leaves / (1.0 - share);
                let turns = self.dice.roll() < if self.in_burst { leaves } else { enters };
                self.in_burst ^= turns;
                self.in_burst
            }
        }
    }
}

/// The layers that viewers can be sent, in bit/s.
pub(super) const LADDER: [f64; 4] = [150e3, 500e3, 1_200e3, 2_500e3];

/// How often a packet is sent once more.
const MOST_TRIES: u8 = 5;

/// How long a switch waits for its keyframe.
const SWITCH_US: i64 = 200_000;

/// A simple choice of layers; the real one is tested elsewhere.
#[derive(Debug)]
struct Choice {
    rung: usize,
    target: Option<(usize, i64)>,
    fits_since_us: Option<i64>,
}

impl Choice {
    fn look(&mut self, now_us: i64, estimate: &Estimate) -> (f64, Option<f64>) {
        // Retransmission takes its share.
        let overhead = 1.0 / (1.0 - f64::from(estimate.inherent_loss).min(0.6)) + 0.03;
        let cost = |rung: usize| 70e3 + overhead * LADDER[rung];
        let target = estimate.target_bps as f64;
        let wanted = self.target.map_or(self.rung, |(rung, _)| rung);
        let fitting = |margin: f64| {
            let rungs = (0..LADDER.len()).rev();
            rungs.into_iter().find(|r| margin * cost(*r) <= target)
        };
        if cost(wanted) > target && wanted > 0 {
            self.target = Some((fitting(1.0).unwrap_or(0), now_us + SWITCH_US));
            self.fits_since_us = None;
        } else if let Some(better) = fitting(1.05).filter(|r| *r > wanted) {
            let since_us = *self.fits_since_us.get_or_insert(now_us);
            if now_us - since_us > 300_000 {
                self.target = Some((better, now_us + SWITCH_US));
                self.fits_since_us = None;
            }
        } else {
            self.fits_since_us = None;
        }
        let wanted = self.target.map_or(self.rung, |(rung, _)| rung);
        let goal = (wanted + 1 < LADDER.len()).then(|| 1.05 * cost(wanted + 1));
        (cost(wanted), goal)
    }
}

/// What a viewer went through.
#[derive(Debug, Default)]
pub(super) struct Lived {
    /// Time in ms, and the rung from then on.
    pub(super) rungs: Vec<(i64, usize)>,
    /// Time in ms, and the estimate in kbit/s, each 100 ms.
    pub(super) targets: Vec<(i64, u64)>,
    /// When each whole frame was there, in ms, and how long after it left.
    pub(super) frames: Vec<(i64, i64)>,
    pub(super) media_bytes: u64,
    pub(super) probe_bytes: u64,
    pub(super) sent_bytes: u64,
}

impl Lived {
    /// The longest time in ms without a new frame, from a moment on.
    pub(super) fn worst_gap_ms(&self, from_ms: i64, until_ms: i64) -> i64 {
        let mut newest = from_ms;
        let mut worst = 0;
        let mut times: Vec<i64> = self.frames.iter().map(|f| f.0).collect();
        times.sort_unstable();
        for at in times
            .into_iter()
            .filter(|t| (from_ms..until_ms).contains(t))
        {
            worst = worst.max(at - newest);
            newest = at;
        }
        worst.max(until_ms - newest)
    }

    /// The rung at a time in ms.
    pub(super) fn rung_at(&self, ms: i64) -> usize {
        let until = self.rungs.partition_point(|(at, _)| *at <= ms);
        until.checked_sub(1).map_or(0, |n| self.rungs[n].1)
    }

    /// The share of a time that was spent on a rung or a better one.
    pub(super) fn share_at_least(&self, rung: usize, from_ms: i64, until_ms: i64) -> f64 {
        let good = (from_ms..until_ms).filter(|ms| self.rung_at(*ms) >= rung);
        good.count() as f64 / (until_ms - from_ms) as f64
    }

    /// The estimate at a time in ms, in kbit/s.
    pub(super) fn target_at(&self, ms: i64) -> u64 {
        let until = self.targets.partition_point(|(at, _)| *at <= ms);
        until.checked_sub(1).map_or(0, |n| self.targets[n].1)
    }
}

struct FrameOnTheWay {
    sent_us: i64,
    missing: u32,
}

struct Viewer {
    estimator: Estimator,
    recorder: Recorder,
    choice: Choice,
    frames: Vec<FrameOnTheWay>,
    keyframe_next: bool,
    /// Sends exactly what the estimate says, in place of a rung.
    is_greedy: bool,
    lived: Lived,
}

/// A flow that fills whatever there is, as TCP with CUBIC does.
#[derive(Debug)]
struct Bulk {
    window: f64,
    in_flight: f64,
    most: f64,
    lost_us: i64,
    slow_start: bool,
    acked_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OnTheWay {
    viewer: usize,
    seq: u16,
    bytes: usize,
    /// The frame it is of, and how often it was sent.
    frame: Option<usize>,
    tries: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick(usize),
    Frame(usize),
    Audio(usize),
    Arrival(OnTheWay),
    Again(OnTheWay),
    Report(usize),
    Feedback(usize, Vec<u8>),
    BulkStart,
    BulkAck(i64),
    BulkLost(i64),
}

/// Viewers behind one link.
pub(super) struct Sim {
    began: Instant,
    now_us: i64,
    link: Link,
    /// Share of feedback that is lost on the way back.
    pub(super) feedback_loss: f64,
    pub(super) feedback_every_us: i64,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    count: u64,
    viewers: Vec<Viewer>,
    bulk: Option<Bulk>,
    dice: Dice,
}

impl Sim {
    pub(super) fn new(link: Link) -> Self {
        Self {
            began: Instant::now(),
            now_us: 0,
            link,
            feedback_loss: 0.0,
            feedback_every_us: 60_000,
            events: BinaryHeap::new(),
            count: 0,
            viewers: Vec::new(),
            bulk: None,
            dice: Dice(42),
        }
    }

    /// Other random numbers.
    pub(super) fn seed(mut self, seed: u64) -> Self {
        self.dice = Dice(seed);
        self.link.dice = Dice(seed ^ 0x5555);
        self
    }

    /// A viewer who joins at a time in ms.
    pub(super) fn viewer(mut self, joins_ms: i64, is_greedy: bool) -> Self {
        let joins_us = joins_ms * 1000;
        let at = self.viewers.len();
        self.viewers.push(Viewer {
            estimator: Estimator::new(self.instant(joins_us), Config::default()),
            recorder: Recorder::new(),
            choice: Choice {
                rung: 0,
                target: None,
                fits_since_us: None,
            },
            frames: Vec::new(),
            keyframe_next: true,
            is_greedy,
            lived: Lived::default(),
        });
        self.at(joins_us, Event::Tick(at));
        self.at(joins_us + 1000 + at as i64 * 7_000, Event::Frame(at));
        self.at(joins_us, Event::Audio(at));
        self.at(joins_us, Event::Report(at));
        self
    }

    /// A bulk flow that begins at a time in ms.
    pub(super) fn bulk(mut self, begins_ms: i64) -> Self {
        self.at(begins_ms * 1000, Event::BulkStart);
        self
    }

    fn instant(&self, us: i64) -> Instant {
        self.began + Duration::from_micros(us as u64)
    }

    fn at(&mut self, us: i64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((us, self.count, event)));
    }

    /// Runs until a time in ms; what each viewer went through.
    pub(super) fn run(mut self, until_ms: i64) -> (Vec<Lived>, u64) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > until_ms * 1000 {
                break;
            }
            self.now_us = at;
            self.handle(event);
        }
        let bulk = self.bulk.map_or(0, |bulk| bulk.acked_bytes);
        (self.viewers.into_iter().map(|v| v.lived).collect(), bulk)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(at) => self.tick(at),
            Event::Frame(at) => self.frame(at),
            Event::Audio(at) => {
                self.send(at, 160, Sent::Media, None, 0);
                self.at(self.now_us + 20_000, Event::Audio(at));
            }
            Event::Arrival(packet) => self.arrival(packet),
            Event::Again(packet) => {
                self.send(
                    packet.viewer,
                    packet.bytes,
                    Sent::Retransmission,
                    packet.frame,
                    packet.tries + 1,
                );
            }
            Event::Report(at) => self.report(at),
            Event::Feedback(at, bytes) => self.feedback(at, &bytes),
            Event::BulkStart => {
                self.bulk = Some(Bulk {
                    window: 10.0,
                    in_flight: 0.0,
                    most: 1e9,
                    lost_us: 0,
                    slow_start: true,
                    acked_bytes: 0,
                });
                self.bulk_send();
            }
            Event::BulkAck(sent_us) => self.bulk_ack(sent_us),
            Event::BulkLost(sent_us) => self.bulk_lost(sent_us),
        }
    }

    fn tick(&mut self, at: usize) {
        let now = self.instant(self.now_us);
        let now_us = self.now_us;
        let viewer = &mut self.viewers[at];
        viewer.estimator.on_tick(now);
        let estimate = viewer.estimator.estimate();
        if viewer.is_greedy {
            let target = estimate.target_bps;
            viewer.estimator.set_wanted(target, None);
        } else {
            let (wanted, goal) = viewer.choice.look(now_us, &estimate);
            viewer
                .estimator
                .set_wanted(wanted as u64, goal.map(|g| g as u64));
        }
        if now_us % 100_000 < 10_000 {
            let target = estimate.target_bps / 1000;
            viewer.lived.targets.push((now_us / 1000, target));
        }
        if let Some(probe) = viewer.estimator.poll_probe(now) {
            let mut left = probe.bytes as i64;
            while left > 0 {
                self.send(at, 1100, Sent::Probe(probe.cluster), None, 0);
                left -= 1100;
            }
        }
        self.at(now_us + 10_000, Event::Tick(at));
    }

    fn frame(&mut self, at: usize) {
        let now_us = self.now_us;
        let vary = 0.8 + 0.4 * self.dice.roll();
        let viewer = &mut self.viewers[at];
        if let Some((rung, when)) = viewer.choice.target
            && now_us >= when
        {
            viewer.keyframe_next |= rung != viewer.choice.rung;
            viewer.choice.rung = rung;
            viewer.choice.target = None;
        }
        let rung = viewer.choice.rung;
        if viewer.lived.rungs.last().is_none_or(|(_, r)| *r != rung) {
            viewer.lived.rungs.push((now_us / 1000, rung));
        }
        let bps = if viewer.is_greedy {
            viewer.estimator.estimate().target_bps as f64 - 64e3
        } else {
            LADDER[rung]
        };
        let key = if std::mem::take(&mut viewer.keyframe_next) {
            4.0
        } else {
            1.0
        };
        let bytes = (bps.max(20e3) / 30.0 / 8.0 * vary * key) as usize;
        let count = bytes.div_ceil(1150).max(1);
        let frame = viewer.frames.len();
        viewer.frames.push(FrameOnTheWay {
            sent_us: now_us,
            missing: count as u32,
        });
        for _ in 0..count {
            self.send(at, bytes / count + 40, Sent::Media, Some(frame), 0);
        }
        self.at(now_us + 33_333, Event::Frame(at));
    }

    fn send(&mut self, at: usize, bytes: usize, kind: Sent, frame: Option<usize>, tries: u8) {
        let now = self.instant(self.now_us);
        let viewer = &mut self.viewers[at];
        let seq = viewer.estimator.on_sent(now, bytes, kind);
        viewer.lived.sent_bytes += bytes as u64;
        if let Sent::Probe(_) = kind {
            viewer.lived.probe_bytes += bytes as u64;
        }
        let packet = OnTheWay {
            viewer: at,
            seq,
            bytes,
            frame,
            tries,
        };
        match self.link.carry(self.now_us, bytes) {
            Some(arrival) => self.at(arrival, Event::Arrival(packet)),
            // Missed when the next one comes, and asked for.
            None if frame.is_some() && tries < MOST_TRIES => {
                let asked = self.now_us + 2 * self.link.delay_us + 20_000;
                self.at(asked, Event::Again(packet));
            }
            None => {}
        }
    }

    fn arrival(&mut self, packet: OnTheWay) {
        let now_us = self.now_us;
        let viewer = &mut self.viewers[packet.viewer];
        viewer.recorder.record(packet.seq, now_us as u64);
        let Some(frame) = packet.frame else {
            return;
        };
        viewer.lived.media_bytes += packet.bytes as u64;
        let frame = &mut viewer.frames[frame];
        frame.missing -= 1;
        if frame.missing == 0 {
            let late = (now_us - frame.sent_us) / 1000;
            viewer.lived.frames.push((now_us / 1000, late));
        }
    }

    fn report(&mut self, at: usize) {
        let mut buf = [0; 4096];
        let mut writer = Writer::new(&mut buf);
        let _ = self.viewers[at].recorder.write_feedback(&mut writer, 1, 2);
        let len = writer.finish();
        if len > 0 && self.dice.roll() >= self.feedback_loss {
            let arrives = self.now_us + self.link.delay_us;
            self.at(arrives, Event::Feedback(at, buf[..len].to_vec()));
        }
        self.at(self.now_us + self.feedback_every_us, Event::Report(at));
    }

    fn feedback(&mut self, at: usize, bytes: &[u8]) {
        let now = self.instant(self.now_us);
        for packet in packets(bytes) {
            if let Ok(Packet::TransportCc(feedback)) = packet {
                self.viewers[at].estimator.on_feedback(now, &feedback);
            }
        }
    }

    fn bulk_send(&mut self) {
        let now_us = self.now_us;
        while let Some(bulk) = &mut self.bulk
            && bulk.in_flight + 1.0 <= bulk.window
        {
            bulk.in_flight += 1.0;
            match self.link.carry(now_us, 1472) {
                Some(at) => self.at(at + self.link.delay_us, Event::BulkAck(now_us)),
                None => {
                    let known = now_us + 2 * self.link.delay_us + self.link.queue_us;
                    self.at(known, Event::BulkLost(now_us));
                }
            }
        }
    }

    fn bulk_ack(&mut self, sent_us: i64) {
        let (now_us, rtt_us) = (self.now_us, self.now_us - sent_us);
        let Some(bulk) = &mut self.bulk else {
            return;
        };
        bulk.in_flight -= 1.0;
        bulk.acked_bytes += 1472;
        if bulk.slow_start {
            bulk.window += 1.0;
        } else {
            // RFC 9438: C is 0.4, beta 0.7.
            let since = (now_us - bulk.lost_us + rtt_us) as f64 / 1e6;
            let back = (bulk.most * 0.3 / 0.4).cbrt();
            let aim = 0.4 * (since - back).powi(3) + bulk.most;
            bulk.window += ((aim - bulk.window) / bulk.window).clamp(0.01, 0.5);
        }
        self.bulk_send();
    }

    fn bulk_lost(&mut self, sent_us: i64) {
        let now_us = self.now_us;
        let Some(bulk) = &mut self.bulk else {
            return;
        };
        bulk.in_flight -= 1.0;
        if sent_us > bulk.lost_us {
            bulk.slow_start = false;
            bulk.most = bulk.window;
            bulk.window = (0.7 * bulk.window).max(2.0);
            bulk.lost_us = now_us;
        }
        self.bulk_send();
    }
}
