//! A MediaNode's `spec.autoscaling` as the core needs it. Pure.

use showrunner_capacity::autoscaling::{Buffer, Floor, Pace, Policy, Schedule, Spare, Targets};
use showrunner_capacity::load::{Load, UNLIMITED};
use showrunner_crds::autoscaling::{Autoscaling, AutoscalingMode, PodSchedule};
use showrunner_crds::media_node::Capacity;
use showrunner_crds::{MediaNodeSpec, autoscaling};

/// How a site is to be scaled.
#[derive(Clone, Debug)]
pub struct Rules {
    /// For the core.
    pub policy: Policy,
    /// What one pod takes.
    pub capacity: Load,
    /// What is wrong with the first schedule that can't be used, in a sentence. The others are used all the same.
    pub invalid: Option<String>,
}

/// Of a spec that leaves it to the operator; none of another.
#[must_use]
pub fn rules(spec: &MediaNodeSpec) -> Option<Rules> {
    let wish = spec.autoscaling.as_ref()?;
    match wish.mode {
        AutoscalingMode::Showrunner => Some(read(wish, &spec.capacity)),
        AutoscalingMode::HorizontalPodAutoscaler | AutoscalingMode::Disabled => None,
    }
}

fn read(wish: &Autoscaling, capacity: &Capacity) -> Rules {
    let mut schedules = Vec::with_capacity(wish.schedules.len());
    let mut invalid = None;
    for one in &wish.schedules {
        match schedule(one) {
            Ok(schedule) => schedules.push(schedule),
            Err(why) => {
                invalid.get_or_insert(format!("schedule {} can't be used: {why}", one.name));
            }
        }
    }
    let egress = egress(&wish.targets, capacity);
    let packets = some(wish.targets.packets_per_second);
    Rules {
        policy: Policy {
            min: wish.min_replicas,
            max: wish.max_replicas,
            targets: Targets {
                viewers: some(wish.targets.viewers_percent),
                rooms: some(wish.targets.rooms_percent),
                egress: egress.map(|_| 100),
                packets: packets.map(|_| 100),
                cpu: some(wish.targets.cpu_percent),
            },
            buffer: buffer(&wish.buffer),
            schedules,
            announced_seconds: some(wish.expected_viewers_window_seconds),
            forecast_seconds: some(wish.forecast_window_seconds),
            default_lead_seconds: wish.pod_start_seconds,
            scale_up: Pace {
                pods: wish.scale_up.pods,
                percent: wish.scale_up.percent,
                seconds: wish.scale_up.period_seconds,
            },
            scale_down: Pace {
                pods: wish.scale_down.pods,
                percent: wish.scale_down.percent,
                seconds: wish.scale_down.period_seconds,
            },
            stabilization_seconds: wish.scale_down.stabilization_window_seconds,
            tolerance_percent: wish.scale_down.tolerance_percent,
            is_dry_run: wish.dry_run,
        },
        capacity: Load {
            viewers: capacity.viewers.into(),
            rooms: capacity.rooms.into(),
            egress_bps: egress.unwrap_or(UNLIMITED),
            packets: packets.map_or(UNLIMITED, u64::from),
        },
        invalid,
    }
}

/// 0 stands for what is not looked at.
fn some(value: u32) -> Option<u32> {
    (value > 0).then_some(value)
}

/// What a pod is to send at the most, in bit/s: the smaller of a share of what it takes and a number.
fn egress(targets: &autoscaling::Targets, capacity: &Capacity) -> Option<u64> {
    let share = capacity.egress_mbps.zip(some(targets.egress_percent));
    let share = share.map(|(mbps, percent)| u64::from(mbps) * 10_000 * u64::from(percent));
    let number = some(targets.egress_mbps).map(|mbps| u64::from(mbps) * 1_000_000);
    share.into_iter().chain(number).min()
}

fn buffer(wish: &autoscaling::Buffer) -> Buffer {
    Buffer {
        viewers: Spare {
            number: wish.viewers.into(),
            percent: wish.viewers_percent,
        },
        rooms: Spare {
            number: wish.rooms.into(),
            percent: wish.rooms_percent,
        },
    }
}

fn schedule(wish: &PodSchedule) -> Result<Schedule, String> {
    let floor = match (wish.min_replicas, wish.viewers) {
        (Some(pods), None) => Floor::Pods(pods),
        (None, Some(viewers)) => Floor::Viewers(viewers),
        _ => return Err("it has either minReplicas or viewers".to_owned()),
    };
    let times = (wish.cron.as_str(), wish.time_zone.as_str());
    let schedule = Schedule::new(&wish.name, times, wish.duration_seconds, floor);
    let limit = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map(|time| time.0.as_second())
    };
    schedule
        .map(|schedule| schedule.between(limit(&wish.from), limit(&wish.until)))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(autoscaling: Value, capacity: Value) -> Option<Rules> {
        let spec = json!({"region": "eu", "autoscaling": autoscaling, "capacity": capacity});
        rules(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn what_is_left_out_is_as_in_the_core() {
        let rules = of(json!({"maxReplicas": 10}), json!({})).unwrap();
        let core = Policy::default();
        let expected = Policy {
            targets: Targets {
                // Of a capacity without a limit there is no share.
                egress: None,
                packets: None,
                ..core.targets
            },
            ..core
        };
        assert_eq!(format!("{:?}", rules.policy), format!("{expected:?}"));
        assert_eq!((rules.capacity.viewers, rules.capacity.rooms), (1000, 100));
        assert_eq!(rules.capacity.egress_bps, UNLIMITED);
    }

    #[test]
    fn only_what_is_left_to_the_operator_is_scaled() {
        for mode in ["HorizontalPodAutoscaler", "Disabled"] {
            assert!(of(json!({"maxReplicas": 10, "mode": mode}), json!({})).is_none());
        }
        let spec = serde_json::from_value(json!({"region": "eu"})).unwrap();
        assert!(rules(&spec).is_none());
    }

    #[test]
    fn media_sent_is_limited_by_the_smaller() {
        for (targets, capacity, expected) in [
            (json!({}), json!({"egressMbps": 1000}), Some(800_000_000)),
            (json!({"egressMbps": 500}), json!({}), Some(500_000_000)),
            (
                json!({"egressMbps": 900}),
                json!({"egressMbps": 1000}),
                Some(800_000_000),
            ),
            (
                json!({"egressPercent": 0}),
                json!({"egressMbps": 1000}),
                None,
            ),
        ] {
            let rules = of(json!({"maxReplicas": 3, "targets": targets}), capacity).unwrap();
            let limit = rules.policy.targets.egress.map(|percent| {
                assert_eq!(percent, 100);
                rules.capacity.egress_bps
            });
            assert_eq!(limit, expected);
        }
    }

    #[test]
    fn a_schedule_that_cannot_be_used_is_said_and_the_others_are_used() {
        let schedules = json!([
            {"name": "mars", "cron": "0 20 * * *", "timeZone": "Mars/Olympus", "durationSeconds": 60, "minReplicas": 2},
            {"name": "late", "cron": "0 25 * * *", "durationSeconds": 60, "minReplicas": 2},
            {"name": "good", "cron": "0 20 * * FRI", "durationSeconds": 60, "viewers": 9000,
                "from": "2027-01-01T00:00:00Z"},
        ]);
        let rules = of(json!({"maxReplicas": 3, "schedules": schedules}), json!({})).unwrap();
        let names: Vec<_> = rules.policy.schedules.iter().map(|one| &one.name).collect();
        assert_eq!(names, ["good"]);
        let invalid = rules.invalid.unwrap();
        assert!(
            invalid.starts_with("schedule mars can't be used"),
            "{invalid}"
        );
        assert!(invalid.contains("Europe/Berlin"), "{invalid}");
    }
}
