//! What viewers live through on bad paths, with the estimate and the choice of layers that the node
//! has, on a clock of their own: exact, and done in a moment.

mod link;
mod sim;

use link::{Dice, Link, Loss};
use sim::{LADDER, Lived, Sim};

const SEEDS: [u64; 3] = [1, 2, 3];

/// What one viewer lives through who has the path for itself.
fn alone(link: Link, seed: u64, until_ms: i64) -> Lived {
    let (mut lived, _) = Sim::new(link).seed(seed).viewer(0, false).run(until_ms);
    lived.remove(0)
}

/// Bit/s of media over a time in ms.
fn media_bps(lived: &Lived, over_ms: i64) -> f64 {
    lived.media_bytes as f64 * 8e3 / over_ms as f64
}

#[test]
fn a_join_is_on_the_best_layer_that_fits_within_two_seconds() {
    for (bps, height) in [
        (400e3, 360),
        (800e3, 360),
        (1_600e3, 720),
        (3_000e3, 1080),
        (50e6, 1080),
    ] {
        for seed in SEEDS {
            let lived = alone(Link::new(move |_| bps), seed, 10_000);
            assert_eq!(lived.height_at(2_000), height, "{bps} {:?}", lived.rungs);
            let share = lived.share_at_least(height, 2_000, 10_000);
            assert!(share > 0.9, "{bps} {:?}", lived.rungs);
        }
    }
}

#[test]
fn a_step_down_is_answered_at_once_and_a_step_up_within_seconds() {
    let step = |ms| {
        if (10_000..30_000).contains(&ms) {
            1e6
        } else {
            4e6
        }
    };
    for seed in SEEDS {
        let lived = alone(Link::new(step), seed, 45_000);
        assert_eq!(lived.height_at(9_900), 1080, "{:?}", lived.rungs);
        assert!(lived.target_at(10_400) < 1_100, "{:?}", lived.targets);
        let settled = lived.share_at_least(360, 10_000, 30_000);
        assert!(settled > 0.99, "{:?}", lived.rungs);
        for ms in 11_500..30_000 {
            assert_eq!(lived.height_at(ms), 360, "{ms} {:?}", lived.rungs);
        }
        assert_eq!(lived.height_at(36_000), 1080, "{:?}", lived.rungs);
        assert_eq!(lived.share_at_least(1080, 36_000, 45_000), 1.0);
        // The queue of 300 ms was full by the time that the first feedback could come.
        let gap = lived.worst_gap_ms(9_900, 14_000);
        assert!(gap < 400, "{gap}");
    }
}

#[test]
fn a_step_down_is_hardly_seen() {
    // At any time between two keyframes of the host. One of the large layer's that is on its way fills the queue
    // alone, and nothing gets past it.
    let mut gaps: Vec<i64> = (0..20)
        .map(|n| {
            let at_ms = 10_000 + n * 100;
            let step = move |ms| if ms < at_ms { 4e6 } else { 1e6 };
            alone(Link::new(step), n as u64, at_ms + 4_000).worst_gap_ms(at_ms - 100, at_ms + 4_000)
        })
        .collect();
    gaps.sort_unstable();
    assert!(gaps[10] < 160, "{gaps:?}");
    assert!(gaps[17] < 350, "{gaps:?}");
}

#[test]
fn random_loss_costs_no_picture() {
    for (loss, height, from_ms) in [(0.1, 1080, 2_500), (0.3, 720, 4_000), (0.5, 720, 10_000)] {
        for seed in SEEDS {
            let mut link = Link::new(|_| 20e6);
            link.loss = Loss::Random(loss);
            let mut sim = Sim::new(link).seed(seed).viewer(0, false);
            sim.feedback_loss = loss;
            let (lived, _) = sim.run(60_000);
            let share = lived[0].share_at_least(height, from_ms, 60_000);
            assert!(share > 0.95, "{loss} {seed}: {:?}", lived[0].rungs);
        }
    }
}

#[test]
fn bursts_of_loss_cost_no_picture() {
    for seed in SEEDS {
        let mut link = Link::new(|_| 20e6);
        link.loss = Loss::Bursts {
            share: 0.05,
            length: 5.0,
        };
        let lived = alone(link, seed, 60_000);
        let share = lived.share_at_least(1080, 2_500, 60_000);
        assert!(share > 0.95, "{seed}: {:?}", lived.rungs);
    }
}

#[test]
fn jitter_is_no_queue() {
    for seed in SEEDS {
        let mut link = Link::new(|_| 6e6);
        link.jitter_us = 30_000;
        let lived = alone(link, seed, 60_000);
        let share = lived.share_at_least(1080, 3_000, 60_000);
        assert!(share > 0.9, "{seed}: {:?}", lived.rungs);
    }
}

#[test]
fn seldom_feedback_and_a_long_way_are_enough() {
    for seed in SEEDS {
        let mut link = Link::new(|ms| if ms < 20_000 { 3e6 } else { 1.2e6 });
        link.delay_us = 125_000;
        let mut sim = Sim::new(link).seed(seed).viewer(0, false);
        sim.feedback_every_us = 200_000;
        let (lived, _) = sim.run(40_000);
        assert_eq!(lived[0].height_at(5_000), 1080, "{:?}", lived[0].rungs);
        assert!(lived[0].height_at(21_500) <= 360, "{:?}", lived[0].rungs);
        let share = lived[0].share_at_least(360, 25_000, 40_000);
        assert!(share > 0.9, "{seed}: {:?}", lived[0].rungs);
    }
}

#[test]
fn two_viewers_share_a_path() {
    for seed in SEEDS {
        let sim = Sim::new(Link::new(|_| 3e6)).seed(seed);
        let (lived, _) = sim.viewer(0, false).viewer(0, false).run(60_000);
        let (a, b) = (lived[0].media_bytes as f64, lived[1].media_bytes as f64);
        assert!(a < 1.5 * b && b < 1.5 * a, "{seed}: {a} {b}");
        assert!((a + b) * 8.0 / 60.0 > 1.5e6, "{seed}: {a} {b}");
    }
}

#[test]
fn streams_that_follow_the_estimate_come_to_share_alike() {
    for seed in SEEDS {
        let sim = Sim::new(Link::new(|_| 3e6)).seed(seed);
        let (lived, _) = sim.viewer(0, true).viewer(5_000, true).run(120_000);
        let mean = |lived: &Lived| {
            let late = lived.targets.iter().filter(|(ms, _)| *ms > 60_000);
            late.clone().map(|t| t.1).sum::<u64>() as f64 / late.count() as f64
        };
        let (a, b) = (mean(&lived[0]), mean(&lived[1]));
        assert!(a < 1.6 * b && b < 1.6 * a, "{seed}: {a} {b}");
        assert!(a + b > 2_100.0, "{seed}: {a} {b}");
    }
}

#[test]
fn a_bulk_flow_leaves_us_our_part_and_we_its() {
    for seed in SEEDS {
        let sim = Sim::new(Link::new(|_| 5e6)).seed(seed);
        let (lived, bulk_bytes) = sim.viewer(0, false).bulk(1_000).run(90_000);
        let ours = media_bps(&lived[0], 90_000);
        let its = bulk_bytes as f64 * 8e3 / 89_000.0;
        assert!(ours > 1e6, "{seed}: {ours} {:?}", lived[0].rungs);
        assert!(its > 1e6, "{seed}: {its}");
    }
}

#[test]
fn a_hole_is_sat_out() {
    // Nothing for two seconds, three times.
    let hole = |ms| if ms % 20_000 > 18_000 { 1_000.0 } else { 4e6 };
    for seed in SEEDS {
        let lived = alone(Link::new(hole), seed, 60_000);
        for back in [24_000, 44_000] {
            let share = lived.share_at_least(1080, back, back + 13_000);
            assert!(share > 0.8, "{seed}: {:?}", lived.rungs);
        }
    }
}

#[test]
fn probes_cost_little() {
    let lived = alone(Link::new(|_| 1e6), 1, 120_000);
    let share = lived.probe_bytes as f64 / lived.sent_bytes as f64;
    assert!(share < 0.07, "{share}");
    assert!(media_bps(&lived, 120_000) > 0.9 * LADDER[0].1 as f64);
}

#[test]
fn loss_that_sets_in_is_told_from_a_policer() {
    // Random loss begins in the middle, by a policer that is as wide as what it lets through.
    for seed in SEEDS {
        let mut link = Link::new(|ms| if ms < 10_000 { 20e6 } else { 1e6 });
        link.polices = true;
        let lived = alone(link, seed, 40_000);
        assert_eq!(lived.height_at(9_900), 1080);
        let wide = lived.share_at_least(1080, 20_000, 40_000);
        assert!(wide < 0.5, "{seed}: {:?}", lived.rungs);
        let some = lived.share_at_least(360, 20_000, 40_000);
        assert!(some > 0.5, "{seed}: {:?}", lived.rungs);
    }
}

#[test]
fn most_of_a_cell_is_used() {
    for seed in SEEDS {
        let steps = cellular(seed, 300);
        let best = steps.iter().map(|bps| {
            let fits = |rung: f64| 1.1 * rung + 75e3 < *bps;
            let rungs = LADDER.iter().map(|(_, rung)| *rung as f64);
            rungs.filter(|rung| fits(*rung)).fold(0.0, f64::max)
        });
        let best = best.sum::<f64>() / steps.len() as f64;
        let trace = steps.clone();
        let mut link = Link::new(move |ms| trace[(ms as usize / 100).min(trace.len() - 1)]);
        link.queue_us = 500_000;
        link.jitter_us = 8_000;
        let lived = alone(link, seed, 300_000);
        // No choice of layers fills a path that lies between two of them.
        let used = media_bps(&lived, 300_000) / best;
        assert!(used > 0.85, "{seed}: {used}");
        let frozen = lived.frozen(0, 300_000);
        assert!(frozen < 0.03, "{seed}: {frozen}");
    }
}

/// A cell's rate in bit/s, each 100 ms: it halves or doubles within seconds around 3 Mbit/s, fades
/// from moment to moment, and every half minute all but ends while the cell changes.
fn cellular(seed: u64, seconds: usize) -> Vec<f64> {
    let mut dice = Dice(seed);
    let mut normal = || -> f64 { (0..12).map(|_| dice.roll()).sum::<f64>() - 6.0 };
    let kept = 0.5_f64.powf(0.1 / 4.0);
    let kick = 0.45 * (1.0 - kept * kept).sqrt();
    let (mut slow, mut cell, mut gone) = (0.0, 0.0, 0);
    let mut steps = Vec::new();
    for _ in 0..10 * seconds {
        slow = slow * kept + kick * normal();
        if normal() > 2.7 {
            cell = 0.35 * normal();
            gone = 6;
        }
        let bps: f64 = 3e6 * f64::exp(slow + cell + 0.12 * normal());
        gone -= i32::from(gone > 0);
        steps.push(if gone > 0 { 4e5 } else { bps.clamp(4e5, 8e6) });
    }
    steps
}
