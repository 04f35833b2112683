//! The model of a direction: exact where it is exact, and within statistical bounds elsewhere.

use std::time::Duration;

use proptest::prelude::*;
use showrunner_impair::capacity::Capacity;
use showrunner_impair::direction::{Direction, Plan, Traits};
use showrunner_impair::loss::Loss;
use showrunner_impair::queue::Discipline;
use showrunner_impair::units::Size;

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn plan(traits: Traits, rate: Option<u64>) -> Plan {
    Plan {
        traits: vec![(Duration::ZERO, traits)],
        capacity: Capacity::new(rate),
    }
}

/// Sends packet n of `packets` (time, bytes), asks only when something is due, and returns which
/// arrived when.
fn run(plan: Plan, seed: u64, packets: &[(Duration, usize)]) -> Vec<(usize, Duration)> {
    let mut direction = Direction::new(plan, seed);
    let mut arrived = Vec::new();
    let mut collect = |direction: &mut Direction<usize>, now| {
        while let Some(n) = direction.receive(now) {
            arrived.push((n, now));
        }
    };
    for (n, (at, bytes)) in packets.iter().enumerate() {
        while let Some(due) = direction.due().filter(|due| due < at) {
            collect(&mut direction, due);
        }
        direction.send(*at, n, *bytes);
        collect(&mut direction, *at);
    }
    while let Some(due) = direction.due() {
        collect(&mut direction, due);
    }
    arrived
}

/// `count` packets of 1,000 bytes, a millisecond apart: 8 Mbit/s.
fn evenly(count: u64) -> Vec<(Duration, usize)> {
    (0..count).map(|n| (ms(n), 1000)).collect()
}

fn order(arrived: &[(usize, Duration)]) -> Vec<usize> {
    arrived.iter().map(|(n, _)| *n).collect()
}

#[test]
fn a_perfect_link_delivers_at_once_and_delay_is_exact() {
    let packets = evenly(100);
    let arrived = run(plan(Traits::default(), None), 1, &packets);
    assert!(arrived.iter().all(|(n, at)| *at == packets[*n].0));
    let traits = Traits {
        delay: us(12_345),
        ..Traits::default()
    };
    let arrived = run(plan(traits, None), 1, &packets);
    assert_eq!(arrived.len(), 100);
    assert!(
        arrived
            .iter()
            .all(|(n, at)| *at == packets[*n].0 + us(12_345))
    );
}

#[test]
fn the_bottleneck_spaces_packets_by_their_length() {
    // 1,000 bytes at 2 Mbit/s take 4 ms; they come each millisecond.
    let traits = Traits {
        queue: Size::Bytes(1_000_000),
        ..Traits::default()
    };
    let arrived = run(plan(traits, Some(2_000_000)), 1, &evenly(100));
    let expected: Vec<_> = (0..100).map(|n| (n, ms(4 * (n as u64 + 1)))).collect();
    assert_eq!(arrived, expected);
}

#[test]
fn a_full_queue_drops_what_comes() {
    // One is served while five of 1,000 bytes wait.
    let traits = Traits {
        queue: Size::Bytes(5_000),
        ..Traits::default()
    };
    let burst = [(ms(0), 1000); 20];
    assert_eq!(
        order(&run(plan(traits, Some(1_000_000)), 1, &burst)),
        [0, 1, 2, 3, 4, 5]
    );
    // 40 ms at 1 Mbit/s are the same 5,000 bytes.
    let traits = Traits {
        queue: Size::Time(ms(40)),
        ..Traits::default()
    };
    assert_eq!(
        order(&run(plan(traits, Some(1_000_000)), 1, &burst)),
        [0, 1, 2, 3, 4, 5]
    );
}

#[test]
fn a_step_of_the_rate_applies_to_what_waits() {
    let mut plan = plan(
        Traits {
            queue: Size::Bytes(1_000_000),
            ..Traits::default()
        },
        Some(8_000_000),
    );
    plan.capacity.then(ms(10), Some(1_000_000));
    let arrived = run(plan, 1, &[(ms(0), 1000); 12]);
    // Ten pass at a millisecond each, the others at eight.
    assert_eq!(arrived[9].1, ms(10));
    assert_eq!(arrived[10].1, ms(18));
    assert_eq!(arrived[11].1, ms(26));
}

#[test]
fn codel_ends_a_standing_queue_that_drop_tail_keeps() {
    let waits = |discipline| {
        let traits = Traits {
            queue: Size::Time(ms(500)),
            discipline,
            ..Traits::default()
        };
        // 8 Mbit/s into 7.6.
        let packets = evenly(20_000);
        let arrived = run(plan(traits, Some(7_600_000)), 1, &packets);
        let last = &arrived[arrived.len() - 1000..];
        let longest = last.iter().map(|(n, at)| *at - packets[*n].0).max();
        (longest.unwrap_or_default(), arrived.len())
    };
    let (tail, by_tail) = waits(Discipline::DropTail);
    let (codel, by_codel) = waits(Discipline::Codel);
    assert!(tail > ms(490), "{tail:?}");
    assert!(codel < ms(60), "{codel:?}");
    // Both give the link enough to do.
    assert!(
        by_tail >= 18_900 && by_codel >= 18_700,
        "{by_tail} {by_codel}"
    );
}

#[test]
fn jitter_keeps_the_order_unless_it_is_told_not_to() {
    let jittery = |jitter_reorders| {
        let traits = Traits {
            delay: ms(50),
            jitter: ms(20),
            jitter_reorders,
            ..Traits::default()
        };
        run(plan(traits, None), 1, &evenly(2000))
    };
    let kept = order(&jittery(false));
    assert!(kept.is_sorted());
    let free = jittery(true);
    assert!(!order(&free).is_sorted());
    let mut delays: Vec<Duration> = free.iter().map(|(n, at)| *at - ms(*n as u64)).collect();
    delays.sort();
    assert!(delays[0] >= ms(50) && delays[1999] <= ms(70));
    assert!(
        (ms(59)..ms(61)).contains(&delays[1000]),
        "{:?}",
        delays[1000]
    );
}

#[test]
fn packets_that_are_held_back_are_overtaken_and_no_others() {
    let traits = Traits {
        delay: ms(50),
        reorder: 0.1,
        reorder_by: us(5500),
        ..Traits::default()
    };
    let arrived = run(plan(traits, None), 1, &evenly(5000));
    let late = arrived
        .iter()
        .filter(|(n, at)| *at == ms(*n as u64) + us(55_500))
        .count();
    let punctual = arrived
        .iter()
        .filter(|(n, at)| *at == ms(*n as u64 + 50))
        .count();
    assert_eq!(late + punctual, 5000);
    assert!((400..600).contains(&late), "{late}");
}

#[test]
fn copies_follow_their_originals() {
    let traits = Traits {
        duplicate: 0.1,
        ..Traits::default()
    };
    let arrived = order(&run(plan(traits, None), 1, &evenly(5000)));
    assert!(arrived.is_sorted());
    assert!((5400..5600).contains(&arrived.len()), "{}", arrived.len());
}

#[test]
fn traits_change_at_their_times() {
    let mut plan = plan(
        Traits {
            delay: ms(10),
            ..Traits::default()
        },
        None,
    );
    plan.traits.push((
        ms(500),
        Traits {
            loss: Loss::Random(1.0),
            ..Traits::default()
        },
    ));
    plan.traits.push((ms(600), Traits::default()));
    let arrived = order(&run(plan, 1, &evenly(1000)));
    assert!((0..500).chain(600..1000).eq(arrived));
}

#[test]
fn jitter_does_not_change_what_is_lost() {
    let lost = |jitter| {
        let loss = Loss::Bursts {
            share: 0.1,
            mean_length: 3.0,
        };
        let traits = Traits {
            loss,
            jitter,
            ..Traits::default()
        };
        order(&run(plan(traits, None), 9, &evenly(2000)))
    };
    assert_eq!(lost(ms(0)), lost(ms(10)));
}

#[test]
fn an_outage_that_does_not_end_keeps_what_waits() {
    let mut plan = plan(
        Traits {
            queue: Size::Bytes(3_000),
            ..Traits::default()
        },
        None,
    );
    plan.capacity.then(ms(10), Some(0));
    assert_eq!(run(plan, 1, &evenly(100)).len(), 10);
}

#[test]
fn figures_add_up() {
    let traits = Traits {
        delay: ms(20),
        loss: Loss::Random(0.2),
        duplicate: 0.1,
        queue: Size::Bytes(10_000),
        ..Traits::default()
    };
    let mut direction = Direction::new(plan(traits, Some(4_000_000)), 3);
    for n in 0..1000 {
        direction.send(ms(n), (), 1000);
    }
    let end = ms(2000);
    while direction.receive(end).is_some() {}
    let f = direction.figures(end);
    assert_eq!(f.packets, 1000);
    assert_eq!(
        f.packets + f.duplicated,
        f.lost + f.queue_dropped + f.delivered
    );
    assert_eq!(f.capacity_bps, Some(4_000_000.0));
    assert_eq!(f.offered_bps, 4_000_000.0);
    assert!(f.queue_dropped > 400 && f.lost > 50 && f.duplicated > 10);
    let recent = direction.recent_figures(end);
    assert_eq!(recent.delivered, f.delivered);
    assert_eq!(direction.recent_figures(end + ms(1)).delivered, 0);
}

fn traits() -> impl Strategy<Value = Traits> {
    (
        (0u64..100, 0u64..50, any::<bool>()),
        (0.0..0.6f64, 1.0..6.0f64, any::<bool>()),
        (0.0..0.3f64, 0u64..30, 0.0..0.3f64),
        (1u64..100_000, any::<bool>()),
    )
        .prop_map(|(way, loss, order, queue)| Traits {
            delay: ms(way.0),
            jitter: ms(way.1),
            jitter_reorders: way.2,
            loss: if loss.2 {
                let share = loss.0.min(0.9 * loss.1 / (loss.1 + 1.0));
                Loss::Bursts {
                    share,
                    mean_length: loss.1,
                }
            } else {
                Loss::Random(loss.0)
            },
            reorder: order.0,
            reorder_by: ms(order.1),
            duplicate: order.2,
            queue: Size::Bytes(queue.0),
            discipline: if queue.1 {
                Discipline::Codel
            } else {
                Discipline::DropTail
            },
        })
}

fn packets() -> impl Strategy<Value = Vec<(Duration, usize)>> {
    prop::collection::vec((0u64..5_000, 0usize..1501), 1..300).prop_map(|gaps| {
        let mut at = Duration::ZERO;
        let mut step = |(gap, bytes)| {
            at += us(gap);
            (at, bytes)
        };
        gaps.into_iter().map(&mut step).collect()
    })
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_run(traits in traits(), rate in prop::option::of(100_000u64..20_000_000), seed: u64, packets in packets()) {
        let plan = plan(traits, rate);
        prop_assert_eq!(run(plan.clone(), seed, &packets), run(plan, seed, &packets));
    }

    /// Whatever the link is like: nothing is early, nothing is made up, and the rate holds in every
    /// stretch of time.
    #[test]
    fn what_arrives_was_sent_and_has_passed_the_link(
        mut traits in traits(),
        rate in 100_000u64..20_000_000,
        seed: u64,
        packets in packets(),
    ) {
        let arrived = run(plan(traits, Some(rate)), seed, &packets);
        for (n, at) in &arrived {
            prop_assert!(*at >= packets[*n].0 + traits.delay);
        }
        // On the bottleneck alone: between any two arrivals no more than the rate.
        traits.jitter = Duration::ZERO;
        traits.reorder = 0.0;
        traits.duplicate = 0.0;
        let arrived = run(plan(traits, Some(rate)), seed, &packets);
        prop_assert!(order(&arrived).is_sorted(), "order is kept");
        for pair in arrived.windows(2) {
            let bits = packets[pair[1].0].1 as u128 * 8 * 1_000_000_000;
            prop_assert!((pair[1].1 - pair[0].1).as_nanos() * u128::from(rate) >= bits);
        }
    }

    /// With drop-tail nobody waits longer than a full queue and the packet that is being served.
    #[test]
    fn the_queue_has_its_bound(bytes in 1u64..100_000, rate in 100_000u64..20_000_000, seed: u64, packets in packets()) {
        let traits = Traits { queue: Size::Bytes(bytes), ..Traits::default() };
        for (n, at) in run(plan(traits, Some(rate)), seed, &packets) {
            let own = packets[n].1 as f64;
            let longest = (1500.0 + own + bytes as f64) * 8.0 / rate as f64;
            prop_assert!((at - packets[n].0).as_secs_f64() <= longest + 1e-6);
        }
    }

    /// Who asks late gets the same packets, at the time of asking.
    #[test]
    fn asking_late_changes_nothing_but_the_time(traits in traits(), rate in prop::option::of(100_000u64..20_000_000), seed: u64, packets in packets()) {
        let plan = plan(traits, rate);
        let punctual = run(plan.clone(), seed, &packets);
        let mut direction = Direction::new(plan, seed);
        for (n, (at, bytes)) in packets.iter().enumerate() {
            direction.send(*at, n, *bytes);
        }
        let end = Duration::from_secs(1000);
        let late: Vec<usize> = std::iter::from_fn(|| direction.receive(end)).collect();
        prop_assert_eq!(late, order(&punctual));
    }
}
