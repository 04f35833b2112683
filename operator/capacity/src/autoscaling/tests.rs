use proptest::prelude::*;

use super::*;
use crate::load::UNLIMITED;

/// 2026-11-11 19:00 UTC.
const NOW: i64 = 1_794_423_600;

const CAPACITY: Load = Load {
    viewers: 1000,
    rooms: 100,
    egress_bps: 4_000_000_000,
    packets: UNLIMITED,
};

fn policy() -> Policy {
    Policy {
        min: 2,
        max: 100,
        stabilization_seconds: 60,
        tolerance_percent: 5,
        ..Policy::default()
    }
}

/// A pod with so many viewers at 2 Mbit/s each.
fn pod(viewers: u64) -> Pod {
    Pod {
        stage: Stage::Serving,
        report: Some(Report {
            age: 0,
            load: Load {
                viewers,
                rooms: 5,
                egress_bps: viewers * 2_000_000,
                packets: viewers * 250,
            },
            cpu: viewers as f64 * 0.0006,
        }),
        ready_after: Some(30),
    }
}

/// What is said of so many viewers on so many pods.
fn spread(viewers: u64, pods: u32) -> Vec<Pod> {
    let each = viewers / u64::from(pods);
    let mut all = vec![pod(each); pods as usize];
    all[0] = pod(viewers - each * (u64::from(pods) - 1));
    all
}

fn seen(now: i64, replicas: u32, pods: &[Pod]) -> Observation<'_> {
    Observation {
        now,
        replicas,
        capacity: CAPACITY,
        pods,
        rooms: &[],
        waiting_rooms: 0,
    }
}

/// A state that has seen enough to give up pods.
fn experienced(policy: &Policy, replicas: u32, pods: &[Pod]) -> State {
    let mut state = State::default();
    for before in (1..=policy.stabilization_seconds + 1).rev() {
        let now = NOW - i64::from(before);
        state = decide(policy, &seen(now, replicas, pods), state).1;
        state.changes = Changes::default();
    }
    state
}

fn once(policy: &Policy, seen: &Observation<'_>) -> Decision {
    decide(policy, seen, State::default()).0
}

#[test]
fn the_largest_need_wins() {
    let base = policy();
    let heavy = |change: &dyn Fn(&mut Report)| {
        let mut pod = pod(500);
        change(pod.report.as_mut().unwrap());
        vec![pod; 4]
    };
    for (pods, replicas, signal) in [
        (spread(100, 4), 2, Signal::Minimum),
        (spread(3601, 4), 5, Signal::Viewers),
        (heavy(&|report| report.load.rooms = 100), 5, Signal::Rooms),
        (
            heavy(&|report| report.load.egress_bps = 3_300_000_000),
            5,
            Signal::Egress,
        ),
        (heavy(&|report| report.cpu = 0.9), 6, Signal::Cpu),
    ] {
        let decision = once(&base, &seen(NOW, 4, &pods));
        assert_eq!(
            (decision.wanted, decision.signal),
            (replicas, signal),
            "{}",
            decision.why
        );
    }
    let pods = [pod(800); 4];
    let packets = Observation {
        capacity: Load {
            packets: 200_000,
            ..CAPACITY
        },
        ..seen(NOW, 4, &pods)
    };
    let decision = once(&base, &packets);
    assert_eq!((decision.wanted, decision.signal), (5, Signal::Packets));
}

#[test]
fn what_is_not_looked_at_asks_for_nothing() {
    let mut policy = policy();
    policy.targets = Targets {
        viewers: None,
        rooms: None,
        egress: None,
        packets: None,
        cpu: Some(50),
    };
    let decision = once(&policy, &seen(NOW, 4, &spread(4000, 4)));
    assert_eq!((decision.wanted, decision.signal), (5, Signal::Cpu));
}

#[test]
fn the_buffer_is_the_larger_of_a_number_and_a_share() {
    for (number, percent, expected) in [(0, 0, 4), (500, 0, 5), (500, 50, 6), (5000, 50, 10)] {
        let policy = Policy {
            buffer: Buffer {
                viewers: Spare { number, percent },
                rooms: Spare::default(),
            },
            ..policy()
        };
        let decision = once(&policy, &seen(NOW, 4, &spread(3600, 4)));
        assert_eq!(decision.wanted, expected, "{number} {percent}");
    }
    let policy = Policy {
        buffer: Buffer {
            viewers: Spare::default(),
            rooms: Spare {
                number: 600,
                percent: 0,
            },
        },
        ..policy()
    };
    let decision = once(&policy, &seen(NOW, 4, &spread(100, 4)));
    assert_eq!((decision.wanted, decision.signal), (7, Signal::Rooms));
}

#[test]
fn rooms_that_begin_soon_have_their_pods_before() {
    let pods = spread(900, 2);
    let policy = Policy {
        announced_seconds: Some(100),
        ..policy()
    };
    // Pods took 30 s, and 5 more for seeing it: beginning in 35 s is soon, and in 36 s is not.
    for (start, on_air, wanted) in [
        (36, None, 2),
        (35, None, 34),
        (35, Some(-600), 34),
        (-899, None, 34),
        (-901, None, 2),
        (-500, Some(0), 34),
        (-500, Some(-50), 18),
        (-500, Some(-100), 2),
    ] {
        let rooms = [Announcement {
            start: NOW + start,
            on_air: on_air.map(|at: i64| NOW + at),
            expected: 30_000,
            viewers: 300,
        }];
        let seen = Observation {
            rooms: &rooms,
            ..seen(NOW, 2, &pods)
        };
        let decision = once(&policy, &seen);
        assert_eq!(decision.replicas, wanted, "all at once: {}", decision.why);
    }
}

#[test]
fn the_lead_is_learnt_from_pods() {
    let mut slow = vec![pod(10); 10];
    slow[3].ready_after = Some(200);
    assert_eq!(once(&policy(), &seen(NOW, 10, &slow)).lead_seconds, 35);
    slow[4].ready_after = Some(100);
    assert_eq!(once(&policy(), &seen(NOW, 10, &slow)).lead_seconds, 105);
    let (decision, state) = decide(&policy(), &seen(NOW, 10, &slow), State::default());
    assert_eq!(decision.lead_seconds, 105);
    let none = decide(&policy(), &seen(NOW + 1, 10, &[]), state).0;
    assert_eq!(none.lead_seconds, 105, "it stays known");
    assert_eq!(once(&policy(), &seen(NOW, 1, &[])).lead_seconds, 65);
}

#[test]
fn a_crowd_that_comes_is_seen_coming() {
    let policy = policy();
    let mut state = State::default();
    let mut decision = None;
    for second in 0..20_u32 {
        let pods = spread(1000 + 100 * u64::from(second), 4);
        let seen = seen(NOW + i64::from(second), 4, &pods);
        let (next, after) = decide(&policy, &seen, state);
        (decision, state) = (Some(next), after);
    }
    let decision = decision.unwrap();
    assert_eq!(decision.signal, Signal::Forecast);
    // 2900 are there, and 100 come each second for 35 s.
    assert_eq!(decision.wanted, 8, "{}", decision.why);
}

#[test]
fn what_is_measured_adds_pods_only_so_fast() {
    let policy = Policy {
        scale_up: Pace {
            pods: 4,
            percent: 50,
            seconds: 30,
        },
        ..policy()
    };
    let pods = spread(50_000, 10);
    let mut state = State::default();
    let mut replicas = 10;
    let mut history = Vec::new();
    for second in 0..31 {
        let (decision, after) = decide(&policy, &seen(NOW + second, replicas, &pods), state);
        (replicas, state) = (decision.replicas, after);
        history.push(replicas);
    }
    assert_eq!((history[0], history[29], history[30]), (15, 15, 22));
}

#[test]
fn pods_are_given_up_when_nothing_wanted_them_for_a_while() {
    let policy = policy();
    let busy = spread(9000, 10);
    let mut state = experienced(&policy, 10, &busy);
    let mut replicas = 10;
    let idle = spread(4000, 10);
    let mut since = None;
    for second in 0..=61 {
        let (decision, after) = decide(&policy, &seen(NOW + second, replicas, &idle), state);
        (replicas, state) = (decision.replicas, after);
        if replicas < 10 {
            since.get_or_insert(second);
        } else {
            assert_eq!(decision.hold, Some(Hold::Recent));
        }
    }
    assert_eq!(since, Some(60), "a minute after it was last needed");
    assert_eq!(replicas, 5);
}

#[test]
fn a_new_leader_waits_until_it_has_seen_enough() {
    let policy = policy();
    let idle = spread(100, 10);
    let mut state = State::default();
    for second in 0..=60 {
        let (decision, after) = decide(&policy, &seen(NOW + second, 10, &idle), state);
        state = after;
        let expected = if second < 60 { 10 } else { 2 };
        assert_eq!(decision.replicas, expected, "{second}: {}", decision.why);
        if second < 60 {
            assert_eq!(decision.hold, Some(Hold::New));
        }
    }
}

#[test]
fn a_pod_that_says_nothing_counts_like_the_others_and_keeps_all() {
    let policy = policy();
    let mut pods = vec![pod(850); 4];
    pods[0].report = None;
    let decision = once(&policy, &seen(NOW, 4, &pods));
    assert_eq!((decision.wanted, decision.silent), (4, 1));
    // Stale, it counts with what it last said.
    pods[0] = pod(1900);
    pods[0].report.as_mut().unwrap().age = 11;
    assert_eq!(once(&policy, &seen(NOW, 4, &pods)).replicas, 5);
    let mut idle = vec![pod(10); 10];
    let state = experienced(&policy, 10, &idle);
    idle[7].report.as_mut().unwrap().cpu = f64::NAN;
    let decision = decide(&policy, &seen(NOW, 10, &idle), state.clone()).0;
    assert_eq!((decision.replicas, decision.hold), (10, Some(Hold::Silent)));
    // One that starts has nothing to say.
    idle[7] = Pod {
        stage: Stage::Starting,
        report: None,
        ready_after: None,
    };
    assert!(decide(&policy, &seen(NOW, 10, &idle), state).0.replicas < 10);
}

#[test]
fn those_on_pods_that_leave_need_a_place() {
    let mut pods = spread(3600, 4);
    for pod in &mut pods[..2] {
        pod.stage = Stage::Leaving;
    }
    let decision = once(&policy(), &seen(NOW, 2, &pods));
    assert_eq!(decision.replicas, 4);
}

#[test]
fn bounds_hold_whatever_is_asked() {
    let few = Policy { max: 3, ..policy() };
    let decision = once(&few, &seen(NOW, 2, &spread(9000, 2)));
    assert_eq!((decision.replicas, decision.hold), (3, Some(Hold::Maximum)));
    assert!(decision.why.contains("no more than 3"), "{}", decision.why);
    assert_eq!(once(&few, &seen(NOW, 9, &spread(9000, 9))).replicas, 3);
    assert_eq!(once(&policy(), &seen(NOW, 0, &[])).replicas, 2);
}

#[test]
fn a_dry_run_only_says_what_it_would_do() {
    let dry = Policy {
        is_dry_run: true,
        ..policy()
    };
    let decision = once(&dry, &seen(NOW, 4, &spread(9000, 4)));
    assert_eq!((decision.replicas, decision.wanted), (10, 10));
    assert!(decision.why.ends_with("a dry run: it stays at 4"));
}

#[test]
fn reasons_are_sentences() {
    let pods = spread(9340, 12);
    let buffered = Policy {
        buffer: Buffer {
            viewers: Spare {
                number: 500,
                percent: 5,
            },
            rooms: Spare::default(),
        },
        ..policy()
    };
    let decision = once(&buffered, &seen(NOW, 12, &pods));
    assert_eq!(
        decision.why,
        "11 pods for 9340 viewers and 500 kept free, 900 a pod; it stays at 12 until more is known than of the last moments"
    );
}

fn friday(zone: &str, seconds: u32) -> Schedule {
    Schedule::new("sale", ("0 20 * * FRI", zone), seconds, Floor::Pods(30)).unwrap()
}

fn at(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().unwrap().as_second()
}

#[test]
fn schedules_are_on_in_their_zone() {
    let schedule = friday("Europe/Berlin", 3 * 3600);
    for (time, lead, is_on) in [
        // In winter eight in Berlin is seven in UTC, in summer six.
        ("2026-11-13T18:58:59Z", 60, false),
        ("2026-11-13T18:59:00Z", 60, true),
        ("2026-11-13T18:59:59Z", 0, false),
        ("2026-11-13T21:59:59Z", 0, true),
        ("2026-11-13T22:00:00Z", 0, false),
        ("2026-07-10T18:00:00Z", 0, true),
        ("2026-07-10T17:59:59Z", 0, false),
        ("2026-11-12T20:00:00Z", 60, false),
    ] {
        assert_eq!(
            schedule.floor(at(time), lead).is_some(),
            is_on,
            "{time} {lead}"
        );
    }
}

#[test]
fn a_schedule_is_on_between_its_limits_only() {
    let from = at("2026-11-20T00:00:00Z");
    let until = at("2026-11-27T20:00:00Z");
    let schedule = friday("UTC", 3600).between(Some(from), Some(until));
    for (time, is_on) in [
        ("2026-11-13T20:00:00Z", false),
        ("2026-11-20T20:00:00Z", true),
        ("2026-11-20T20:59:59Z", true),
        ("2026-11-27T20:00:00Z", false),
    ] {
        assert_eq!(schedule.floor(at(time), 0).is_some(), is_on, "{time}");
    }
    let next = |time| schedule::next(std::slice::from_ref(&schedule), at(time)).map(|next| next.at);
    assert_eq!(
        next("2026-11-01T00:00:00Z"),
        Some(at("2026-11-20T20:00:00Z"))
    );
    assert_eq!(next("2026-11-20T20:00:00Z"), None);
}

#[test]
fn a_schedule_decides_and_says_so() {
    let policy = Policy {
        schedules: vec![
            friday("UTC", 3600),
            Schedule::new("noon", ("0 12 * * *", "UTC"), 60, Floor::Viewers(9001)).unwrap(),
        ],
        ..policy()
    };
    let pods = spread(100, 2);
    let decision = once(&policy, &seen(at("2026-11-13T20:10:00Z"), 2, &pods));
    assert_eq!(decision.why, "30 pods by the schedule sale");
    let next = decision.next.unwrap();
    assert_eq!(
        (next.name.as_str(), next.at),
        ("noon", at("2026-11-14T12:00:00Z"))
    );
    let noon = once(&policy, &seen(at("2026-11-14T12:00:00Z"), 2, &pods));
    assert_eq!((noon.replicas, noon.signal), (11, Signal::Schedule));
}

#[test]
fn what_is_no_schedule_is_refused_with_what_to_write() {
    let of = |cron, zone| Schedule::new("a", (cron, zone), 60, Floor::Pods(1)).unwrap_err();
    assert!(of("0 25 * * *", "UTC").to_string().contains("five fields"));
    assert!(of("0 0 20 * * FRI", "UTC").to_string().contains("five"));
    assert!(of("", "UTC").to_string().contains("five"));
    assert_eq!(
        of("0 20 * * *", "Mars/Olympus"),
        InvalidSchedule::Zone("Mars/Olympus".into())
    );
    // A day that never comes is never on, and nothing hangs.
    let never = Schedule::new("a", ("0 0 30 2 *", "UTC"), 60, Floor::Pods(1)).unwrap();
    assert_eq!(never.floor(NOW, 60), None);
    assert_eq!(schedule::next(&[never], NOW), None);
}

/// Reports of all kinds, broken ones too.
fn any_pod() -> impl Strategy<Value = Pod> {
    let cpu = prop_oneof![
        4 => 0.0..1.2f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1.0),
    ];
    let load = (0..1200u64, 0..120u64, 0..5_000_000_000u64, 0..400_000u64);
    let report = (0..20u32, load, cpu).prop_map(|(age, load, cpu)| Report {
        age,
        load: Load {
            viewers: load.0,
            rooms: load.1,
            egress_bps: load.2,
            packets: load.3,
        },
        cpu,
    });
    let stage = prop_oneof![
        4 => Just(Stage::Serving),
        1 => Just(Stage::Starting),
        1 => Just(Stage::Leaving),
    ];
    (stage, prop::option::of(report), prop::option::of(0..100u32)).prop_map(
        |(stage, report, ready_after)| Pod {
            stage,
            report,
            ready_after,
        },
    )
}

proptest! {
    /// Whatever is said and not said: the bounds hold, and nothing panics.
    #[test]
    fn bounds_always_hold(
        looks in prop::collection::vec((prop::collection::vec(any_pod(), 0..8), 0..3i64), 1..40),
        min in 0..5u32,
        more in 0..20u32,
    ) {
        let policy = Policy { min, max: min + more, ..policy() };
        let (mut state, mut now, mut replicas) = (State::default(), NOW, min);
        for (pods, step) in looks {
            now += step;
            let (decision, after) = decide(&policy, &seen(now, replicas, &pods), state);
            prop_assert!((min..=min + more).contains(&decision.replicas));
            (replicas, state) = (decision.replicas, after);
        }
    }

    /// While a pod that serves does not say how it is, or says nonsense, none is given up; and what the others need is
    /// added as if all was well.
    #[test]
    fn missing_metrics_never_scale_in_and_never_freeze_scale_out(
        viewers in prop::collection::vec(0..1200u64, 2..12),
        silent in prop::collection::vec(any::<bool>(), 12),
        kind in 0..3u8,
        replicas in 2..30u32,
    ) {
        let policy = Policy { min: 1, forecast_seconds: None, ..policy() };
        let healthy: Vec<Pod> = viewers.iter().map(|viewers| pod(*viewers)).collect();
        let state = experienced(&policy, replicas, &healthy);
        let mut pods = healthy.clone();
        for (pod, _) in pods.iter_mut().zip(&silent).filter(|(_, silent)| **silent) {
            match kind {
                0 => pod.report = None,
                1 => pod.report.as_mut().unwrap().age = 11,
                _ => pod.report.as_mut().unwrap().cpu = f64::NAN,
            }
        }
        let decision = decide(&policy, &seen(NOW, replicas, &pods), state).0;
        let speaks: Vec<Pod> = pods.iter().zip(&silent).filter(|(_, silent)| !**silent).map(|(pod, _)| *pod).collect();
        if speaks.len() < pods.len() {
            prop_assert!(decision.replicas >= replicas, "{}", decision.why);
        }
        let without = once(&policy, &seen(NOW, 1, &speaks));
        prop_assert!(decision.wanted >= without.wanted, "{} {}", decision.why, without.why);
    }

    /// Under a load that is noisy around a level, the number changes its direction at most once within a window. With
    /// what is set when nothing is.
    #[test]
    fn noise_makes_no_pods_come_and_go(
        level in 200..40_000u64,
        amplitude in 0.1..10.0f64,
        noise in prop::collection::vec(-1.0..1.0f64, 300),
        start in 2..60u32,
    ) {
        let policy = Policy { max: 100, ..Policy::default() };
        let window = i64::from(policy.stabilization_seconds);
        let (mut state, mut replicas) = (State::default(), start);
        let mut turns: Vec<i64> = Vec::new();
        let mut direction = 0_i64;
        for (second, noise) in (0..).zip(&noise) {
            let viewers = (level as f64 * (1.0 + amplitude * noise / 100.0)) as u64;
            let pods = spread(viewers, replicas);
            let (decision, after) = decide(&policy, &seen(NOW + second, replicas, &pods), state);
            let change = i64::from(decision.replicas) - i64::from(replicas);
            if change != 0 {
                if direction != 0 && change.signum() != direction {
                    turns.push(second);
                }
                direction = change.signum();
            }
            (replicas, state) = (decision.replicas, after);
        }
        for pair in turns.windows(2) {
            prop_assert!(pair[1] - pair[0] >= window, "{turns:?}");
        }
    }

    /// Whatever the day brings: pods are given up only when there was no need for them for a whole window.
    #[test]
    fn nothing_is_given_up_that_was_needed_a_moment_ago(
        levels in prop::collection::vec((0..30_000u64, 1..90usize), 1..12),
    ) {
        let policy = policy();
        let (mut state, mut replicas, mut now) = (State::default(), 2, NOW);
        let mut wanted: Vec<(i64, u32)> = Vec::new();
        for (viewers, seconds) in levels {
            for _ in 0..seconds {
                let pods = spread(viewers, replicas.max(1));
                let (decision, after) = decide(&policy, &seen(now, replicas, &pods), state);
                wanted.push((now, decision.wanted));
                if decision.replicas < replicas {
                    let window = wanted.iter().filter(|(at, _)| now - at <= 60);
                    prop_assert!(window.clone().all(|(_, wanted)| *wanted <= decision.replicas));
                }
                (replicas, state) = (decision.replicas, after);
                now += 1;
            }
        }
    }
}
