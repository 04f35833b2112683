//! How many pods a MediaNode has, if that follows from what is on them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;
use crate::schema;

/// How many pods a site has, by what is on them and by what is announced. Its replicas follow: leave out
/// `spec.replicas`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.minReplicas <= self.maxReplicas",
        "autoscaling.minReplicas is more than maxReplicas: lower minReplicas, or raise maxReplicas",
    ),
    Rule::new(
        "self.schedules.all(s, !has(s.minReplicas) || s.minReplicas <= self.maxReplicas)",
        "a schedule asks for more pods than autoscaling.maxReplicas: raise maxReplicas, or lower the schedule's minReplicas",
    )]))]
pub struct Autoscaling {
    /// Who decides: `Showrunner` (the operator, every second, by what pods say), `HorizontalPodAutoscaler` (one that
    /// the operator makes), or `Disabled` (whoever sets `spec.replicas`).
    #[serde(default)]
    pub mode: AutoscalingMode,
    /// The fewest pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: u32,
    /// The most pods.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u32,
    /// Only say in the status and in Events what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// How full pods are to be. The one that needs most pods decides.
    #[serde(default)]
    pub targets: Targets,
    /// What is kept free for those who come next.
    #[serde(default)]
    pub buffer: Buffer,
    /// Times at which it is known how much is needed.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schedules: Vec<PodSchedule>,
    /// For how long after a room's host is on air the viewers that its `schedule.expectedViewers` announces may still
    /// come, in seconds: space is kept for them, less and less. It is made before `schedule.start`, by as long as pods
    /// take to get ready. 0: announcements of rooms don't count.
    #[serde(default = "default_expected_viewers_window")]
    #[schemars(range(max = 86400))]
    pub expected_viewers_window_seconds: u32,
    /// From how many of the last seconds it is told how many viewers will be there when a new pod is ready. 0: no
    /// forecast.
    #[serde(default = "default_forecast_window")]
    #[schemars(range(max = 600))]
    pub forecast_window_seconds: u32,
    /// How long pods take to get ready, in seconds, as long as no pod of the site has shown it.
    #[serde(default = "default_pod_start")]
    #[schemars(range(max = 900))]
    pub pod_start_seconds: u32,
    /// How fast pods may be added for what is measured. For what is announced they are added at once.
    #[serde(default)]
    pub scale_up: ScaleUp,
    /// How fast pods may be given up, and when.
    #[serde(default)]
    pub scale_down: ScaleDown,
}

const fn one() -> u32 {
    1
}

const fn default_expected_viewers_window() -> u32 {
    150
}

const fn default_forecast_window() -> u32 {
    30
}

const fn default_pod_start() -> u32 {
    60
}

// `Off` would be a boolean in YAML 1.1, as kubectl reads it.
/// Who decides how many pods there are.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoscalingMode {
    /// The operator, every second.
    #[default]
    Showrunner,
    /// A HorizontalPodAutoscaler that the operator makes.
    HorizontalPodAutoscaler,
    /// Whoever sets `spec.replicas`.
    Disabled,
}

/// How full pods are to be, of what `spec.capacity` says that they take. 0: this is not looked at.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Targets {
    /// Viewers, in percent of `capacity.viewers`.
    #[schemars(range(max = 100))]
    pub viewers_percent: u32,
    /// Rooms, in percent of `capacity.rooms`.
    #[schemars(range(max = 100))]
    pub rooms_percent: u32,
    /// Media sent, in percent of `capacity.egressMbps`. Without that it is not looked at.
    #[schemars(range(max = 100))]
    pub egress_percent: u32,
    /// Media sent by one pod, in Mbit/s. With `egressPercent` too, the smaller counts.
    #[schemars(range(max = 1_000_000))]
    pub egress_mbps: u32,
    /// Media packets that one pod sends each second.
    #[schemars(range(max = 100_000_000))]
    pub packets_per_second: u32,
    /// Processor time of the pod's busiest shard, in percent of its core.
    #[schemars(range(max = 100))]
    pub cpu_percent: u32,
}

impl Default for Targets {
    fn default() -> Targets {
        Targets {
            viewers_percent: 90,
            rooms_percent: 90,
            egress_percent: 80,
            egress_mbps: 0,
            packets_per_second: 0,
            cpu_percent: 70,
        }
    }
}

/// What is kept free, beyond what there is: the larger of a number and a percentage.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Buffer {
    /// Places for so many viewers.
    #[schemars(range(max = 10_000_000))]
    pub viewers: u32,
    /// Places for viewers, in percent of those who are there or expected.
    #[schemars(range(max = 1000))]
    pub viewers_percent: u32,
    /// Places for so many rooms.
    #[schemars(range(max = 1_000_000))]
    pub rooms: u32,
    /// Places for rooms, in percent of those that there are.
    #[schemars(range(max = 1000))]
    pub rooms_percent: u32,
}

/// A time at which it is known how much is needed.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "has(self.minReplicas) != has(self.viewers)",
        "a schedule has either minReplicas or viewers: remove or add one of them",
    ),
    Rule::new(
        "!has(self.from) || !has(self.until) || self.from < self.until",
        "a schedule's until is not after its from: correct one of them",
    )]))]
pub struct PodSchedule {
    /// What people call it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// When it begins: minute, hour, day of the month, month, day of the week, as in `0 20 * * FRI`.
    #[schemars(length(min = 1, max = 128))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.matches('^[^ ]+( [^ ]+){4}$')",
        "cron is no expression of five fields, as in 0 20 * * FRI: correct it",
    )]))]
    pub cron: String,
    /// In which time zone, as in `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// How long it is on each time, in seconds. Pods are there when it begins.
    #[schemars(range(min = 1, max = 2_678_400))]
    pub duration_seconds: u32,
    /// The fewest pods while it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: Option<u32>,
    /// Viewers for whom there are pods while it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub viewers: Option<u32>,
    /// It does not begin before this (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub from: Option<Time>,
    /// It is over at the latest then (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub until: Option<Time>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// How fast pods may be added: the larger of a number and a percentage within a time.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleUp {
    /// So many pods.
    #[schemars(range(min = 1, max = 1000))]
    pub pods: u32,
    /// In percent of those that there were.
    #[schemars(range(max = 1000))]
    pub percent: u32,
    /// Within so many seconds.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: u32,
}

impl Default for ScaleUp {
    fn default() -> ScaleUp {
        ScaleUp {
            pods: 20,
            percent: 100,
            period_seconds: 15,
        }
    }
}

/// How fast pods may be given up, and when.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleDown {
    /// So many pods.
    #[schemars(range(min = 1, max = 1000))]
    pub pods: u32,
    /// In percent of those that there were; the larger of both counts.
    #[schemars(range(max = 100))]
    pub percent: u32,
    /// Within so many seconds.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: u32,
    /// For how long a pod must not have been needed, in seconds.
    #[schemars(range(max = 3600))]
    pub stabilization_window_seconds: u32,
    /// And would not have been with this much more load, in percent.
    #[schemars(range(max = 100))]
    pub tolerance_percent: u32,
}

impl Default for ScaleDown {
    fn default() -> ScaleDown {
        ScaleDown {
            pods: 20,
            percent: 30,
            period_seconds: 15,
            stabilization_window_seconds: 60,
            tolerance_percent: 1,
        }
    }
}

/// What autoscaling has decided, and why.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalingStatus {
    /// Pods that the site is asked to have, or would be in a dry run.
    pub desired_replicas: u32,
    /// What asks for most, in a word: Minimum, Schedule, Viewers, ExpectedViewers, Forecast, Rooms, Egress, Packets, CPU.
    pub signal: String,
    /// What holds a change back, in a word: MissingMetrics, JustStarted, Stabilizing, RateLimited, Maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Why there are so many, for people.
    pub message: String,
    /// What is on the site, in percent of what its ready pods take when they are as full as they should be, of whatever
    /// is fullest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_percent: Option<u32>,
    /// How long before they are needed pods are made, in seconds.
    pub lead_seconds: u32,
    /// Pods that serve and do not say how busy they are. As long as there are any, none is given up.
    pub silent_pods: u32,
    /// When the number of pods was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_scale_time: Option<Time>,
    /// What the next schedule will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule: Option<NextSchedule>,
}

/// What the next schedule will do.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextSchedule {
    /// Which.
    pub name: String,
    /// When it begins.
    #[schemars(schema_with = "schema::time")]
    pub time: Time,
    /// What it does, for people.
    pub message: String,
}
