use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// What Chromium sends of a 1080p camera in three layers, in bit/s.
const LOW: u64 = 150_000;
const MIDDLE: u64 = 600_000;
const HIGH: u64 = 2_500_000;

fn rung(source: u64, height: u16, bitrate_bps: u64) -> Rung {
    Rung {
        source: SourceId(source),
        spatial: 0,
        temporal: 0,
        width: height / 9 * 16,
        height,
        bitrate_bps,
    }
}

fn camera() -> Vec<Rung> {
    vec![rung(3, 1080, HIGH), rung(1, 270, LOW), rung(2, 540, MIDDLE)]
}

/// One viewer with one track, on a clock of its own.
struct Viewer {
    allocator: Allocator,
    now: Instant,
    rungs: Vec<Rung>,
    limits: Limits,
    audio_bps: u64,
    overhead: f64,
    total: Total,
    last: Option<Decision>,
}

impl Viewer {
    fn new() -> Self {
        Self {
            allocator: Allocator::default(),
            now: Instant::now(),
            rungs: camera(),
            limits: Limits::default(),
            audio_bps: 50_000,
            overhead: 0.0,
            total: Total::default(),
            last: None,
        }
    }

    /// One that has been on a rung for long.
    fn settled(estimate_bps: u64) -> Self {
        let mut viewer = Self::new();
        viewer.run(Duration::from_secs(60), |_| estimate_bps);
        viewer
    }

    fn decide(&mut self, estimate_bps: u64) -> Decision {
        let budget = Budget {
            estimate_bps,
            audio_bps: self.audio_bps,
            overhead: self.overhead,
        };
        let offers = [Offer {
            rungs: &self.rungs,
            limits: self.limits,
        }];
        let mut decision = None;
        self.total = self
            .allocator
            .decide(self.now, &budget, &offers, |_, d| decision = Some(d));
        self.last = decision;
        decision.expect("one for each track")
    }

    /// Decides every 10 ms; the heights that it went through, 0 for a pause.
    fn run(&mut self, time: Duration, mut estimate: impl FnMut(u32) -> u64) -> Vec<u16> {
        let mut heights = Vec::new();
        for n in 0..(time.as_millis() / 10) as u32 {
            let height = self.decide(estimate(n)).rung.map_or(0, |r| r.height);
            if heights.last() != Some(&height) {
                heights.push(height);
            }
            self.now += Duration::from_millis(10);
        }
        heights
    }

    fn seconds(&mut self, seconds: u64, estimate_bps: u64) -> Vec<u16> {
        self.run(Duration::from_secs(seconds), |_| estimate_bps)
    }
}

#[test]
fn the_best_that_fits_is_taken_at_once() {
    for (estimate, height, why) in [
        (50_000, 270, Why::Path),
        (200_000, 270, Why::Path),
        (700_000, 540, Why::Path),
        (2_600_000, 1080, Why::Best),
        (100_000_000, 1080, Why::Best),
    ] {
        let decision = Viewer::new().decide(estimate);
        let found = (decision.rung.map(|r| r.height), decision.why);
        assert_eq!(found, (Some(height), why), "{estimate}");
    }
}

#[test]
fn limits_hold_whatever_the_path_carries() {
    let wide = |limits: Limits| {
        let mut viewer = Viewer::new();
        viewer.limits = limits;
        let decision = viewer.decide(100_000_000);
        (decision.rung.map(|r| r.height), decision.why)
    };
    let none = Limits::default();
    let max_height = Some(720);
    assert_eq!(wide(Limits { max_height, ..none }), (Some(540), Why::Limit));
    let max_width = Some(500);
    assert_eq!(wide(Limits { max_width, ..none }), (Some(270), Why::Limit));
    let max_lines = Some(540);
    assert_eq!(wide(Limits { max_lines, ..none }), (Some(540), Why::Limit));
    let reduced_data = true;
    assert_eq!(
        wide(Limits {
            reduced_data,
            ..none
        }),
        (Some(270), Why::Limit)
    );
    let chosen = Some(SourceId(2));
    assert_eq!(wide(Limits { chosen, ..none }), (Some(540), Why::Limit));
    // Nothing is as small: the smallest.
    let max_height = Some(100);
    assert_eq!(wide(Limits { max_height, ..none }), (Some(270), Why::Limit));
    // What was chosen is gone.
    let chosen = Some(SourceId(9));
    assert_eq!(wide(Limits { chosen, ..none }), (Some(1080), Why::Best));
}

#[test]
fn down_at_once_and_up_after_a_moment() {
    let mut viewer = Viewer::settled(5_000_000);
    assert_eq!(viewer.decide(1_000_000).rung.map(|r| r.height), Some(540));
    assert_eq!(viewer.seconds(60, 1_000_000), [540]);
    // Fits, but without anything to spare.
    assert_eq!(viewer.seconds(60, HIGH + 60_000), [540]);
    assert_eq!(viewer.run(Duration::from_millis(70), |_| 4_000_000), [540]);
    assert_eq!(
        viewer.run(Duration::from_millis(200), |_| 4_000_000),
        [540, 1080]
    );
}

#[test]
fn what_waits_is_named_with_what_it_takes() {
    let mut viewer = Viewer::settled(1_000_000);
    viewer.overhead = 0.1;
    let decision = viewer.decide(1_000_000);
    assert_eq!(decision.next.map(|r| r.height), Some(1080));
    let wanted = 50_000 + MIDDLE * 11 / 10;
    assert!(viewer.total.wanted_bps.abs_diff(wanted) < 10);
    let goal = 50_000 + HIGH * 1_210 / 1_000;
    assert!(viewer.total.goal_bps.is_some_and(|g| g.abs_diff(goal) < 10));
    // With just that, it is taken.
    viewer.seconds(1, goal + 10);
    assert_eq!(
        viewer.last.and_then(|d| d.rung).map(|r| r.height),
        Some(1080)
    );
    assert_eq!(viewer.total.goal_bps, None);
}

#[test]
fn a_picture_that_does_not_fit_pauses_and_audio_goes_on() {
    let mut viewer = Viewer::settled(300_000);
    // Nearly enough is enough for the smallest.
    assert_eq!(viewer.seconds(10, 190_000), [270]);
    // A short dip is sat out.
    assert_eq!(viewer.run(Duration::from_millis(400), |_| 60_000), [270]);
    assert_eq!(viewer.seconds(10, 190_000), [270]);
    assert_eq!(viewer.seconds(10, 60_000), [270, 0]);
    assert_eq!(viewer.total.wanted_bps, 50_000);
    assert_eq!(viewer.last.map(|d| d.why), Some(Why::Path));
    assert!(viewer.total.goal_bps.is_some());
    // What kept it is not enough to bring it back.
    assert_eq!(viewer.seconds(10, 190_000), [0]);
    assert_eq!(viewer.seconds(2, 250_000), [0, 270]);
}

#[test]
fn what_did_not_last_is_tried_later_and_later() {
    let mut viewer = Viewer::settled(1_000_000);
    let mut times = Vec::new();
    let began = viewer.now;
    // A path that seems to carry the best until it is sent.
    for _ in 0..12_000 {
        let height = viewer.last.and_then(|d| d.rung).map(|r| r.height);
        let estimate = if height == Some(1080) {
            1_000_000
        } else {
            2_900_000
        };
        let before = height;
        let after = viewer.decide(estimate).rung.map(|r| r.height);
        if before == Some(540) && after == Some(1080) {
            times.push((viewer.now - began).as_millis());
        }
        viewer.now += Duration::from_millis(10);
    }
    let pauses: Vec<_> = times
        .windows(2)
        .map(|w| (w[1] - w[0] + 500) / 1000)
        .collect();
    assert_eq!(pauses[..4], [2, 4, 8, 16], "{times:?}");
    assert_eq!(viewer.last.map(|d| d.why), Some(Why::BackOff));
    // Much more than it takes is another path.
    assert_eq!(viewer.seconds(1, 4_000_000), [540, 1080]);
}

#[test]
fn fewer_frames_come_only_of_the_smallest_picture() {
    let mut viewer = Viewer::new();
    viewer.rungs.clear();
    for (spatial, height, full) in [(0, 270, 200_000), (1, 540, 700_000), (2, 1080, 2_500_000)] {
        for (temporal, tenths) in [(0, 6), (1, 8), (2, 10)] {
            viewer.rungs.push(Rung {
                spatial,
                temporal,
                ..rung(1, height, full * tenths / 10)
            });
        }
    }
    let mut ids = |estimate| {
        viewer.allocator = Allocator::default();
        let rung = viewer.decide(estimate).rung.expect("one");
        (rung.spatial, rung.temporal)
    };
    assert_eq!(ids(2_000_000), (1, 2));
    assert_eq!(ids(600_000), (0, 2));
    assert_eq!(ids(220_000), (0, 1));
    assert_eq!(ids(180_000), (0, 0));
}

#[test]
fn layers_of_a_scalable_stream_can_be_chosen_by_their_ids() {
    let mut rungs = Vec::new();
    for (spatial, height, full) in [(0, 270, 200_000), (1, 540, 700_000)] {
        for (temporal, tenths) in [(0, 6), (1, 8), (2, 10)] {
            rungs.push(Rung {
                spatial,
                temporal,
                ..rung(1, height, full * tenths / 10)
            });
        }
    }
    for (max_spatial, max_temporal, expected) in [
        (None, None, (1, 2)),
        (Some(0), None, (0, 2)),
        (None, Some(0), (1, 0)),
        (Some(0), Some(1), (0, 1)),
        (Some(7), Some(7), (1, 2)),
    ] {
        let limits = Limits {
            max_spatial,
            max_temporal,
            ..Limits::default()
        };
        let ladder = Offer {
            rungs: &rungs,
            limits,
        };
        let budget = Budget {
            estimate_bps: 5_000_000,
            audio_bps: 0,
            overhead: 0.0,
        };
        let mut chosen = None;
        let decide = |_, d: Decision| chosen = d.rung;
        Allocator::default().decide(Instant::now(), &budget, &[ladder], decide);
        assert_eq!(chosen.map(|r| (r.spatial, r.temporal)), Some(expected));
    }
}

#[test]
fn a_layer_that_goes_off_air_is_replaced_at_once() {
    let mut viewer = Viewer::settled(5_000_000);
    viewer.rungs.retain(|r| r.height < 1080);
    assert_eq!(viewer.decide(5_000_000).rung.map(|r| r.height), Some(540));
    viewer.rungs.clear();
    let decision = viewer.decide(5_000_000);
    assert_eq!((decision.rung, decision.why), (None, Why::OffAir));
    viewer.rungs = camera();
    assert_eq!(viewer.decide(5_000_000).rung.map(|r| r.height), Some(1080));
}

/// Two tracks of the same kind; their heights, 0 for a pause.
fn two(estimate_bps: u64) -> (u16, u16) {
    let mut allocator = Allocator::default();
    let rungs = camera();
    let offer = Offer {
        rungs: &rungs,
        limits: Limits::default(),
    };
    let budget = Budget {
        estimate_bps,
        audio_bps: 50_000,
        overhead: 0.0,
    };
    let mut heights = [0; 2];
    let mut now = Instant::now();
    for _ in 0..1000 {
        allocator.decide(now, &budget, &[offer, offer], |at, decision| {
            heights[at] = decision.rung.map_or(0, |r| r.height);
        });
        now += Duration::from_millis(10);
    }
    (heights[0], heights[1])
}

#[test]
fn all_get_the_smallest_before_the_first_gets_more() {
    assert_eq!(two(180_000), (270, 0));
    assert_eq!(two(400_000), (270, 270));
    assert_eq!(two(900_000), (540, 270));
    assert_eq!(two(1_500_000), (540, 540));
    assert_eq!(two(3_000_000), (1080, 270));
    assert_eq!(two(6_000_000), (1080, 1080));
}

proptest! {
    #[test]
    fn no_more_is_taken_than_there_is(
        estimates in prop::collection::vec(0u64..6_000_000, 1..300),
        rates in prop::collection::vec((1u16..1200, 20_000u64..4_000_000), 1..6),
        overhead in 0.0f64..0.5,
        steps in prop::collection::vec(0u64..3_000, 300),
        max_height in prop::option::of(100u16..1200),
    ) {
        let mut viewer = Viewer::new();
        viewer.rungs = rates
            .iter()
            .enumerate()
            .map(|(n, (height, bps))| rung(n as u64, *height, *bps))
            .collect();
        viewer.overhead = overhead;
        viewer.limits.max_height = max_height;
        let least = viewer.rungs.iter().min_by_key(|r| u32::from(r.width) * u32::from(r.height));
        let least_height = least.map(|r| (r.width, r.height)).expect("one");
        for (estimate, step) in estimates.into_iter().zip(steps) {
            let decision = viewer.decide(estimate);
            if let Some(rung) = decision.rung {
                let allowed: Vec<_> = viewer
                    .rungs
                    .iter()
                    .filter(|r| max_height.is_none_or(|max| r.height <= max))
                    .collect();
                let cheapest = allowed.iter().map(|r| r.bitrate_bps).min();
                let fits = viewer.total.wanted_bps <= estimate;
                let is_least = cheapest.is_none_or(|least| rung.bitrate_bps <= least)
                    || (rung.width, rung.height) == least_height;
                prop_assert!(fits || is_least, "{:?} of {}", rung, estimate);
                if let Some(max) = max_height {
                    prop_assert!(rung.height <= max || allowed.is_empty());
                }
            }
            // Audio is never left out.
            prop_assert!(viewer.total.wanted_bps >= viewer.audio_bps);
            if let Some(goal) = viewer.total.goal_bps {
                prop_assert!(decision.next.is_some());
                prop_assert!(goal > 0);
            }
            viewer.now += Duration::from_millis(step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn noise_makes_nothing_flap(
        centre in 100_000u64..5_000_000,
        noise in prop::collection::vec(-10i64..=10, 6000),
    ) {
        let mut viewer = Viewer::new();
        let with_noise = |n: u32| centre.saturating_add_signed(centre as i64 / 100 * noise[n as usize]);
        viewer.run(Duration::from_secs(10), with_noise);
        let heights = viewer.run(Duration::from_secs(60), with_noise);
        // Noise that looks like more for a moment is tried, but after 2, 4, 8, 16 and 30 seconds only.
        prop_assert!(heights.len() <= 1 + 2 * 6, "{:?}", heights);
    }
}
