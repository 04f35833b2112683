use showrunner_capacity::autoscaling::Policy;

use super::*;
use crate::day::Model;
use crate::scaler::{Hpa, Showrunner};

/// A day small enough for a test: 40 shows, 60,000 joins.
fn small(seed: u64) -> Day {
    Day::new(&Model {
        seed,
        rooms: 40,
        viewers: 60_000.0,
        ..Model::default()
    })
}

/// Pods that take few viewers, so that a small day needs several, and die often.
fn site() -> SiteModel {
    let mut pods = PodModel {
        hours_to_failure: 20.0,
        ..PodModel::default()
    };
    pods.capacity.viewers = 200;
    SiteModel {
        pods,
        rules: Rules::default(),
        first_pods: 3,
    }
}

fn showrunner() -> Showrunner {
    Showrunner::new(Policy {
        min: 3,
        max: 200,
        ..Policy::default()
    })
}

#[test]
fn a_day_goes_the_same_way_each_time() {
    let (day, site) = (small(1), site());
    let (one, same) = (
        play(&day, &site, &mut showrunner()),
        play(&day, &site, &mut showrunner()),
    );
    assert_eq!(
        (one.joins, one.refused, one.pod_seconds, one.moved),
        (same.joins, same.refused, same.pod_seconds, same.moved)
    );
    assert_eq!(one.pods, same.pods);
}

#[test]
fn nobody_is_made_or_lost() {
    let (day, site) = (small(2), site());
    let mut world = World::new(&day, &site);
    let mut scaler = showrunner();
    for now in 0..DAY {
        world.step(now, &mut scaler);
        let so_far = world.outcome();
        assert_eq!(
            so_far.joins,
            so_far.left + so_far.refused + world.present(),
            "at second {now}"
        );
    }
    let outcome = world.finish();
    assert!(outcome.died > 0 && outcome.cut_off > 0, "pods die here");
    assert!(outcome.moved > 0, "and drain");
    assert_eq!(outcome.remain, 0, "all have gone home");
}

#[test]
fn no_pod_has_more_viewers_than_it_takes() {
    let (day, site) = (small(3), site());
    let mut world = World::new(&day, &site);
    let mut scaler = showrunner();
    for now in 0..DAY {
        world.step(now, &mut scaler);
        let pods = world.site().pods.iter();
        let most = pods.map(|pod| pod.viewers + pod.edges).max();
        assert!(most <= Some(200), "{most:?} at second {now}");
    }
}

#[test]
fn whoever_scales_meets_the_same_viewers() {
    let (day, site) = (small(4), site());
    let ours = play(&day, &site, &mut showrunner());
    let theirs = play(&day, &site, &mut Hpa::new(3, 200, 0.6));
    assert_eq!(ours.joins, theirs.joins);
    assert!(ours.refused < theirs.refused);
}

#[test]
fn the_oracle_has_what_is_needed_and_is_never_late() {
    let (day, site) = (small(5), site());
    let pods = oracle(&day, &site.pods);
    let lead = site.pods.mean_ready_seconds() as usize;
    for (now, have) in pods.iter().enumerate() {
        let until = (now + lead).min(pods.len() - 1);
        assert!(have * 200 >= day.viewers[now]);
        assert!(have * 200 >= day.viewers[until], "made before");
    }
}

#[test]
fn viewers_go_where_the_gateway_sends_them() {
    let mut site = Site::new(&site().pods, 1, 4);
    for (pod, viewers) in site.pods.iter_mut().zip([10, 13, 0, 0]) {
        pod.viewers = viewers;
    }
    site.pods[1].edges = 1;
    let part = |pod, parent, reserved| Part {
        pod,
        parent,
        crowd: Crowd::default(),
        reserved,
        is_planned: true,
    };
    let mut parts = [
        part(0, None, 0),
        part(1, Some(0), 1),
        part(2, Some(0), 0),
        part(3, Some(0), 9),
    ];
    site.pods[3].stage = Stage::Draining;
    let mut crowd = Crowd { brief: 20, long: 0 };
    seat(&mut parts, &mut site, &mut crowd, 20);
    let seated = parts.map(|part| part.crowd.len());
    assert_eq!(seated, [10, 6, 0, 0], "to the least loaded, up to 20 each");
    assert_eq!(crowd.len(), 4);
}
