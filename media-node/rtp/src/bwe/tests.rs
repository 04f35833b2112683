use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::rtcp::{Packet, Writer, packets};
use crate::twcc::Recorder;

/// Hands an estimator the feedback that these bytes are, if they are.
fn hand(estimator: &mut Estimator, now: Instant, bytes: &[u8]) {
    for packet in packets(bytes) {
        if let Ok(Packet::TransportCc(feedback)) = packet {
            estimator.on_feedback(now, &feedback);
        }
    }
}

/// A sender of so many bit/s over a path of 50 ms there and 50 back, whose peer reports each 60 ms.
struct Loop {
    estimator: Estimator,
    recorder: Recorder,
    now: Instant,
    ms: u64,
    late_us: u64,
}

impl Loop {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        Self {
            estimator: Estimator::new(now, config),
            recorder: Recorder::new(),
            now,
            ms: 0,
            late_us: 0,
        }
    }

    /// Sends for so many ms, while the delay grows by `growth_us` each.
    fn send(&mut self, ms: u64, bps: u64, growth_us: u64) {
        let every = (1000 * 8000 / bps).max(1);
        for _ in 0..ms {
            self.ms += 1;
            let now = self.now + Duration::from_millis(self.ms);
            self.late_us += growth_us;
            if self.ms.is_multiple_of(every) {
                let seq = self.estimator.on_sent(now, 1000, Sent::Media);
                let at_us = self.ms * 1000 + 50_000 + self.late_us;
                self.recorder.record(seq, at_us);
            }
            if self.ms.is_multiple_of(60) {
                let mut buf = [0; 2048];
                let mut writer = Writer::new(&mut buf);
                let written = self.recorder.write_feedback(&mut writer, 1, 2);
                written.expect("room enough");
                let len = writer.finish();
                hand(&mut self.estimator, now, &buf[..len]);
            }
            self.estimator.on_tick(now);
        }
    }
}

#[test]
fn what_is_acknowledged_is_measured() {
    let mut path = Loop::new(Config::default());
    path.send(3000, 1_000_000, 0);
    let estimate = path.estimator.estimate();
    assert_eq!(estimate.basis, Basis::TransportWide);
    let acknowledged = estimate.acknowledged_bps;
    assert!((950_000..1_050_000).contains(&acknowledged), "{estimate:?}");
    assert_eq!(estimate.loss, 0.0);
    assert_eq!(estimate.usage, Usage::Normal);
    assert!(estimate.target_bps > 800_000, "{estimate:?}");
}

#[test]
fn a_growing_delay_lowers_the_estimate_to_what_comes_through() {
    let start_bps = 1_000_000;
    let mut path = Loop::new(Config {
        start_bps,
        ..Config::default()
    });
    path.send(3000, 1_000_000, 0);
    // Each ms arrives half a ms later than the one before: two thirds come through.
    path.send(400, 1_000_000, 500);
    let target = path.estimator.estimate().target_bps;
    assert!((400_000..700_000).contains(&target), "{target}");
}

/// As on a machine that is too busy: nothing comes for a moment, and then all that waited.
#[test]
fn who_had_no_time_for_a_moment_is_not_taken_for_a_full_path() {
    let mut path = Loop::new(Config::default());
    path.estimator.set_wanted(250_000, None);
    path.send(10_000, 200_000, 0);
    for _ in 0..3 {
        path.late_us = 170_000;
        path.send(120, 200_000, 0);
        path.late_us = 0;
        path.send(400, 200_000, 0);
    }
    let doubted = path.estimator.estimate().target_bps;
    assert!(doubted > 150_000, "{doubted}");
    path.send(700, 200_000, 0);
    let believed = path.estimator.estimate().target_bps;
    assert!(believed >= 250_000, "{doubted} {believed}");
}

#[test]
fn a_path_that_becomes_narrower_is_known_by_its_first_frames() {
    let mut path = Loop::new(Config {
        start_bps: 4_000_000,
        ..Config::default()
    });
    // Frames of 2.5 Mbit/s, on a path of 4 that carries 1 from a moment on.
    let mut free_us = 0;
    let frames = |path: &mut Loop, count: u64, bps: u64, free_us: &mut u64| {
        for _ in 0..count {
            for _ in 0..10 {
                let now = path.now + Duration::from_millis(path.ms);
                let seq = path.estimator.on_sent(now, 1000, Sent::Media);
                *free_us = (*free_us).max(path.ms * 1000) + 8_000_000_000 / bps;
                path.recorder.record(seq, *free_us + 50_000);
            }
            path.estimator.set_wanted(2_500_000, None);
            path.send(32, 1, 0);
        }
    };
    frames(&mut path, 90, 4_000_000, &mut free_us);
    assert!(path.estimator.estimate().target_bps > 3_000_000);
    assert!(!path.estimator.estimate().is_filling);
    frames(&mut path, 4, 1_000_000, &mut free_us);
    let estimate = path.estimator.estimate();
    assert!(estimate.is_filling, "{estimate:?}");
    assert!(estimate.target_bps < 1_000_000, "{estimate:?}");
}

#[test]
fn silence_halves_the_estimate_until_it_ends() {
    let mut path = Loop::new(Config::default());
    path.send(3000, 1_000_000, 0);
    let before = path.estimator.estimate().target_bps;
    let mut now = path.now + Duration::from_millis(path.ms);
    for _ in 0..200 {
        now += Duration::from_millis(10);
        path.estimator.on_sent(now, 1000, Sent::Media);
        path.estimator.on_tick(now);
    }
    assert!(path.estimator.estimate().target_bps <= before / 2);
    path.ms += 2000;
    path.send(100, 1_000_000, 0);
    let after = path.estimator.estimate().target_bps;
    assert!(after >= before / 10 * 9, "{before} {after}");
}

#[test]
fn a_pause_is_no_silence() {
    let mut path = Loop::new(Config::default());
    path.send(3000, 1_000_000, 0);
    let before = path.estimator.estimate().target_bps;
    path.ms += 60_000;
    path.send(60, 1_000_000, 0);
    assert!(path.estimator.estimate().target_bps >= before);
}

#[test]
fn peers_without_transport_wide_feedback_are_believed() {
    let now = Instant::now();
    let mut estimator = Estimator::new(now, Config::default());
    estimator.on_remb(now, 1_234_000);
    let estimate = estimator.estimate();
    assert_eq!(
        (estimate.target_bps, estimate.basis),
        (1_234_000, Basis::Remb)
    );
    estimator.on_remb(now, u64::MAX);
    let max_bps = Config::default().max_bps;
    assert_eq!(estimator.estimate().target_bps, max_bps);

    let mut estimator = Estimator::new(now, Config::default());
    let rtt = Some(Duration::from_millis(100));
    estimator.on_receiver_report(now, 0.0, rtt);
    let before = estimator.estimate();
    assert_eq!(before.basis, Basis::ReceiverReports);
    let rtt = Some(Duration::from_millis(500));
    estimator.on_receiver_report(now, 0.3, rtt);
    assert!(estimator.estimate().target_bps < before.target_bps);
}

/// What may happen to an estimator.
#[derive(Clone, Debug)]
enum Step {
    Send(usize, bool),
    Feedback(Vec<u8>),
    /// Feedback that is well-formed, from a number relative to the last: deltas, or lost.
    Report(i16, Vec<Option<i16>>),
    ReceiverReport(f32, Option<u32>),
    Remb(u64),
    Wanted(u64, Option<u64>),
    Tick,
    Later(u32),
    Earlier(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let delta = prop::option::of(prop_oneof![-200i16..2000, any::<i16>()]);
    let step = prop_oneof![
        4 => (0usize..70_000, any::<bool>()).prop_map(|(n, probe)| Step::Send(n, probe)),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Step::Feedback),
        3 => (-40i16..5, prop::collection::vec(delta, 1..60)).prop_map(|(n, d)| Step::Report(n, d)),
        1 => (any::<f32>(), any::<Option<u32>>()).prop_map(|(l, r)| Step::ReceiverReport(l, r)),
        1 => any::<u64>().prop_map(Step::Remb),
        1 => any::<(u64, Option<u64>)>().prop_map(|(n, goal)| Step::Wanted(n, goal)),
        2 => Just(Step::Tick),
        4 => (0u32..200_000).prop_map(Step::Later),
        1 => any::<u32>().prop_map(Step::Earlier),
    ];
    prop::collection::vec(step, 0..400)
}

/// Feedback on numbers from `base` on, around `time` of the peer's.
fn report(base: u16, time: u32, deltas: &[Option<i16>]) -> Vec<u8> {
    let small = |delta: i16| (0..256).contains(&delta);
    let symbols: Vec<u8> = deltas
        .iter()
        .map(|delta| delta.map_or(0, |delta| if small(delta) { 1 } else { 2 }))
        .collect();
    let came: Vec<i16> = deltas.iter().flatten().copied().collect();
    let mut buf = vec![0; 1024];
    let mut writer = Writer::new(&mut buf);
    let arrivals = crate::rtcp::Arrivals {
        base,
        reference_time: time & 0xff_ffff,
        feedback_count: 0,
        symbols: &symbols,
        deltas: &came,
    };
    writer.transport_cc(1, 2, &arrivals).expect("room enough");
    let len = writer.finish();
    buf.truncate(len);
    buf
}

proptest! {
    #[test]
    fn whatever_comes_it_stays_in_its_bounds(steps in steps(), min_bps: u64, max_bps: u64) {
        let began = Instant::now();
        let mut now = began;
        let config = Config { min_bps, max_bps, ..Config::default() };
        let mut estimator = Estimator::new(now, config);
        let max_bps = max_bps.max(1);
        let mut last = 0;
        for step in steps {
            match step {
                Step::Send(bytes, is_probe) => {
                    let probe = estimator.poll_probe(now).filter(|_| is_probe);
                    let kind = probe.map_or(Sent::Media, |probe| Sent::Probe(probe.cluster));
                    last = estimator.on_sent(now, bytes, kind);
                }
                Step::Feedback(bytes) => hand(&mut estimator, now, &bytes),
                Step::Report(back, deltas) => {
                    let time = (now - began).as_millis() as u32 / 64;
                    let base = last.wrapping_add_signed(back);
                    let bytes = report(base, time, &deltas);
                    hand(&mut estimator, now, &bytes);
                    // Twice is once.
                    let before = estimator.estimate();
                    hand(&mut estimator, now, &bytes);
                    prop_assert_eq!(before, estimator.estimate());
                }
                Step::ReceiverReport(loss, rtt) => {
                    let rtt = rtt.map(|us| Duration::from_micros(us.into()));
                    estimator.on_receiver_report(now, loss, rtt);
                }
                Step::Remb(bps) => estimator.on_remb(now, bps),
                Step::Wanted(bps, goal) => estimator.set_wanted(bps, goal),
                Step::Tick => estimator.on_tick(now),
                Step::Later(us) => now += Duration::from_micros(us.into()),
                Step::Earlier(us) => {
                    let earlier = now.checked_sub(Duration::from_micros(us.into()));
                    estimator.on_tick(earlier.unwrap_or(now));
                }
            }
            let estimate = estimator.estimate();
            let least = min_bps.min(max_bps);
            // Within what a float of this size can say.
            let slack = max_bps >> 50;
            prop_assert!(estimate.target_bps >= least - least.min(slack), "{:?}", estimate);
            prop_assert!(estimate.target_bps <= max_bps.saturating_add(slack), "{:?}", estimate);
            prop_assert!((0.0..=1.0).contains(&estimate.loss));
            prop_assert!((0.0..=1.0).contains(&estimate.inherent_loss));
            prop_assert!(estimator.memory() <= 40 * 1024);
        }
    }
}
