//! Viewers behind one link, on a clock of its own. The receiving side is the real [`Recorder`], and feedback goes
//! over the wire's bytes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use media_node::media::allocation::{Allocator, Budget, Limits, Offer, Rung};
use media_node::media::pacer::PACE;
use media_node::media::packet::SourceId;
use showrunner_rtp::bwe::{Config, Estimate, Estimator, Sent};
use showrunner_rtp::rtcp::{Packet, Writer, packets};
use showrunner_rtp::twcc::Recorder;

use crate::link::{Dice, Link};

/// The layers that viewers can be sent: height, and bit/s.
pub(crate) const LADDER: [(u16, u64); 3] = [(360, 250_000), (720, 1_100_000), (1080, 2_400_000)];

/// What headers add.
const HEADERS_SHARE: f64 = 0.05;
const AUDIO_BPS: u64 = 75_000;

/// How often a packet is sent once more.
const MOST_TRIES: u8 = 5;

/// How often the host's layers have a keyframe: for all viewers at the same time.
const GROUP_US: i64 = 2_000_000;
const GROUP_AT_US: i64 = 700_000;

/// How long a switch waits for its keyframe.
const SWITCH_US: i64 = 150_000;

/// What may be sent to a viewer at once.
const BURST_US: f64 = 20_000.0;

/// Nothing is sent ahead of the estimate while so much stands in its queue.
const STANDING: Duration = Duration::from_millis(40);

/// The choice of layers, and when the next one comes.
#[derive(Default)]
struct Choice {
    allocator: Allocator,
    rung: Option<usize>,
    target: Option<(Option<usize>, i64)>,
}

impl Choice {
    /// Whether a lower layer is waited for.
    fn is_leaving(&self) -> bool {
        self.target.is_some_and(|(rung, _)| rung < self.rung)
    }

    /// Decides anew; what is wanted, and what for more.
    fn look(&mut self, now: Instant, now_us: i64, estimate: &Estimate) -> (u64, Option<u64>) {
        let inherent = f64::from(estimate.inherent_loss).min(0.8);
        let budget = Budget {
            estimate_bps: estimate.target_bps,
            audio_bps: AUDIO_BPS,
            overhead: HEADERS_SHARE + inherent / (1.0 - inherent),
        };
        let mut rungs = [None; LADDER.len()];
        for (n, (height, bitrate_bps)) in LADDER.into_iter().enumerate() {
            rungs[n] = Some(Rung {
                source: SourceId(n as u64),
                spatial: 0,
                temporal: 0,
                width: height / 9 * 16,
                height,
                bitrate_bps,
            });
        }
        let rungs: Vec<Rung> = rungs.into_iter().flatten().collect();
        let offer = Offer {
            rungs: &rungs,
            limits: Limits::default(),
        };
        let mut wanted = None;
        let total = self
            .allocator
            .decide(now, &budget, &[offer], |_, decision| {
                wanted = decision.rung.map(|rung| rung.source.0 as usize);
            });
        if self.target.is_none_or(|(target, _)| target != wanted) {
            let is_down = wanted < self.rung;
            let waits = if is_down && wanted.is_none() {
                0
            } else {
                SWITCH_US
            };
            self.target = (wanted != self.rung).then_some((wanted, now_us + waits));
        }
        (total.wanted_bps, total.goal_bps)
    }
}

/// What a viewer went through.
#[derive(Debug, Default)]
pub(crate) struct Lived {
    /// Time in ms, and the height of the picture from then on; 0 is a pause.
    pub(crate) rungs: Vec<(i64, u16)>,
    /// Time in ms, and the estimate in kbit/s, each 100 ms.
    pub(crate) targets: Vec<(i64, u64)>,
    /// When each whole frame was there, in ms, and how long after it left.
    pub(crate) frames: Vec<(i64, i64)>,
    pub(crate) media_bytes: u64,
    pub(crate) probe_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Lived {
    /// The longest time in ms without a new frame, from a moment on.
    pub(crate) fn worst_gap_ms(&self, from_ms: i64, until_ms: i64) -> i64 {
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

    /// The share of a time that is beyond 200 ms after a frame, until the next.
    pub(crate) fn frozen(&self, from_ms: i64, until_ms: i64) -> f64 {
        let mut times: Vec<i64> = self.frames.iter().map(|f| f.0).collect();
        times.sort_unstable();
        let gaps = times.windows(2).map(|w| w[1] - w[0]);
        let frozen: i64 = gaps.filter(|gap| *gap > 200).sum();
        frozen as f64 / (until_ms - from_ms) as f64
    }

    /// The height of the picture at a time in ms.
    pub(crate) fn height_at(&self, ms: i64) -> u16 {
        let until = self.rungs.partition_point(|(at, _)| *at <= ms);
        until.checked_sub(1).map_or(0, |n| self.rungs[n].1)
    }

    /// The share of a time with a picture of this height or a higher one.
    pub(crate) fn share_at_least(&self, height: u16, from_ms: i64, until_ms: i64) -> f64 {
        let good = (from_ms..until_ms).filter(|ms| self.height_at(*ms) >= height);
        good.count() as f64 / (until_ms - from_ms) as f64
    }

    /// The estimate at a time in ms, in kbit/s.
    pub(crate) fn target_at(&self, ms: i64) -> u64 {
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
    /// Packets of media that wait for the pace, and what may leave, in bytes.
    waiting: VecDeque<(usize, usize)>,
    budget: f64,
    refilled_us: i64,
    frames: Vec<FrameOnTheWay>,
    keyframe_next: bool,
    keyframe_us: i64,
    /// The first frame of the present layer: those before are not repaired any more.
    first_frame: usize,
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
pub(crate) struct Sim {
    began: Instant,
    now_us: i64,
    link: Link,
    /// Share of feedback that is lost on the way back.
    pub(crate) feedback_loss: f64,
    pub(crate) feedback_every_us: i64,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    count: u64,
    viewers: Vec<Viewer>,
    bulk: Option<Bulk>,
    dice: Dice,
}

impl Sim {
    pub(crate) fn new(link: Link) -> Self {
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
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.dice = Dice(seed);
        self.link.dice = Dice(seed ^ 0x5555);
        self
    }

    /// A viewer who joins at a time in ms.
    pub(crate) fn viewer(mut self, joins_ms: i64, is_greedy: bool) -> Self {
        let joins_us = joins_ms * 1000;
        let at = self.viewers.len();
        self.viewers.push(Viewer {
            estimator: Estimator::new(self.instant(joins_us), Config::default()),
            recorder: Recorder::new(),
            choice: Choice::default(),
            waiting: VecDeque::new(),
            budget: 0.0,
            refilled_us: joins_us,
            frames: Vec::new(),
            keyframe_next: true,
            keyframe_us: 0,
            first_frame: 0,
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
    pub(crate) fn bulk(mut self, begins_ms: i64) -> Self {
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
    pub(crate) fn run(mut self, until_ms: i64) -> (Vec<Lived>, u64) {
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
                // What is of a layer that is being left is not repaired any more.
                let viewer = &self.viewers[packet.viewer];
                let is_over = |frame| frame < viewer.first_frame || viewer.choice.is_leaving();
                if packet.frame.is_some_and(is_over) {
                    return;
                }
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
            let (wanted, goal) = viewer.choice.look(now, now_us, &estimate);
            viewer.estimator.set_wanted(wanted, goal);
        }
        if now_us % 100_000 < 5_000 {
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
        self.pace(at);
        self.at(now_us + 5_000, Event::Tick(at));
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
            // What waits of the layer before is not sent any more.
            viewer.waiting.clear();
            viewer.first_frame = viewer.frames.len();
        }
        let rung = viewer.choice.rung;
        let height = rung.map_or(0, |rung| LADDER[rung].0);
        if viewer.lived.rungs.last().is_none_or(|(_, r)| *r != height) {
            viewer.lived.rungs.push((now_us / 1000, height));
        }
        self.at(now_us + 33_333, Event::Frame(at));
        let viewer = &mut self.viewers[at];
        let bps = if viewer.is_greedy {
            viewer.estimator.estimate().target_bps as f64 - 80e3
        } else if let Some(rung) = rung {
            LADDER[rung].1 as f64
        } else {
            return;
        };
        let is_due =
            (now_us + GROUP_AT_US) / GROUP_US != (viewer.keyframe_us + GROUP_AT_US) / GROUP_US;
        let key = if std::mem::take(&mut viewer.keyframe_next) || is_due {
            viewer.keyframe_us = now_us;
            6.0
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
            viewer.waiting.push_back((bytes / count + 64, frame));
        }
        self.pace(at);
    }

    /// Sends what waits, as far as the pace allows.
    fn pace(&mut self, at: usize) {
        let now_us = self.now_us;
        let viewer = &mut self.viewers[at];
        let estimate = viewer.estimator.estimate();
        let is_queued = estimate.queue_delay > STANDING || estimate.is_filling;
        let ahead = if is_queued { 1.0 } else { PACE as f64 };
        let pace = ahead * estimate.target_bps as f64 / 8e6;
        let burst = (pace * BURST_US).max(3_600.0);
        let elapsed_us = (now_us - viewer.refilled_us) as f64;
        viewer.refilled_us = now_us;
        let grown = viewer.budget + pace * elapsed_us;
        viewer.budget = grown.min(burst.max(viewer.budget));
        if viewer.choice.is_leaving() && is_queued {
            return;
        }
        while self.viewers[at].budget > 0.0
            && let Some((bytes, frame)) = self.viewers[at].waiting.pop_front()
        {
            self.send(at, bytes, Sent::Media, Some(frame), 0);
        }
    }

    fn send(&mut self, at: usize, bytes: usize, kind: Sent, frame: Option<usize>, tries: u8) {
        let now = self.instant(self.now_us);
        let viewer = &mut self.viewers[at];
        let seq = viewer.estimator.on_sent(now, bytes, kind);
        viewer.budget -= bytes as f64;
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
