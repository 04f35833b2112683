//! What an operator tells Prometheus. Labels have few, fixed values, never rooms, pods or namespaces: there are as many
//! series with ten rooms as with ten thousand.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use showrunner_capacity::autoscaling::Decision;

/// Counters and gauges of one operator.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    leads: IntGauge,
    reconciles: HistogramVec,
    failures: IntCounterVec,
    writes: IntCounterVec,
    events_left_out: IntCounter,
    placements: IntCounterVec,
    calls: IntCounterVec,
    rooms: IntGaugeVec,
    viewers: IntGauge,
    pods: IntGaugeVec,
    desired_pods: IntGauge,
    fullest_site: IntGauge,
    scalings: IntCounterVec,
    held_sites: IntGaugeVec,
    unreadable: IntGaugeVec,
    keys_refused: IntCounter,
}

const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
const CONTROLLERS: [&str; 2] = ["liveroom", "medianode"];
const KINDS: [&str; 2] = ["LiveRoom", "MediaNode"];

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// If two have one name.
    pub fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new_custom(Some("showrunner_operator".to_owned()), None)?;
        let counters = |name, help, labels: &[&str]| {
            register(
                &registry,
                IntCounterVec::new(Opts::new(name, help), labels)?,
            )
        };
        let gauges = |name, help, label| {
            register(
                &registry,
                IntGaugeVec::new(Opts::new(name, help), &[label])?,
            )
        };
        let reconciles = HistogramOpts::new(
            "reconcile_seconds",
            "Time of one reconciliation by controller.",
        );
        let reconciles = reconciles.buckets(BUCKETS.to_vec());
        let metrics = Metrics {
            leads: register(
                &registry,
                IntGauge::new("leads", "1 if this replica writes.")?,
            )?,
            reconciles: register(&registry, HistogramVec::new(reconciles, &["controller"])?)?,
            failures: counters(
                "reconcile_failures_total",
                "Reconciliations that will be tried again by controller.",
                &["controller"],
            )?,
            writes: counters(
                "writes_total",
                "Writes to the API server by what and result.",
                &["what", "result"],
            )?,
            events_left_out: register(
                &registry,
                IntCounter::new(
                    "events_left_out_total",
                    "Events that were not written since too many waited.",
                )?,
            )?,
            placements: counters(
                "placements_total",
                "Attempts to place a room by result.",
                &["result"],
            )?,
            calls: counters(
                "pod_calls_total",
                "Calls to media pods by what and result.",
                &["what", "result"],
            )?,
            rooms: gauges("rooms", "LiveRooms by phase.", "phase")?,
            viewers: register(
                &registry,
                IntGauge::new("viewers", "Viewers of all rooms.")?,
            )?,
            pods: gauges("media_pods", "Media pods by state.", "state")?,
            desired_pods: register(
                &registry,
                IntGauge::new(
                    "media_pods_desired",
                    "Media pods that all sites are to have.",
                )?,
            )?,
            fullest_site: register(
                &registry,
                IntGauge::new(
                    "autoscaling_load_percent_max",
                    "Load of the fullest site that is scaled, in percent of its target.",
                )?,
            )?,
            scalings: counters(
                "autoscaling_changes_total",
                "Changes of how many pods a site has by direction and by what asked for most.",
                &["direction", "signal"],
            )?,
            held_sites: gauges(
                "autoscaling_held_sites",
                "Sites that would be scaled but for this reason.",
                "reason",
            )?,
            unreadable: gauges(
                "unreadable",
                "Resources that can't be read by kind.",
                "kind",
            )?,
            keys_refused: register(
                &registry,
                IntCounter::new(
                    "keys_refused_total",
                    "Times that keys in a Secret could not be used.",
                )?,
            )?,
            registry,
        };
        for controller in CONTROLLERS {
            let _ = metrics.reconciles.with_label_values(&[controller]);
            let _ = metrics.failures.with_label_values(&[controller]);
        }
        Ok(metrics)
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// A reconciliation took this long.
    pub fn reconciled(&self, controller: &'static str, took: Duration, is_ok: bool) {
        self.reconciles
            .with_label_values(&[controller])
            .observe(took.as_secs_f64());
        if !is_ok {
            self.failures.with_label_values(&[controller]).inc();
        }
    }

    /// Something was written, or not.
    pub fn wrote(&self, what: &'static str, is_ok: bool) {
        self.writes.with_label_values(&[what, result(is_ok)]).inc();
    }

    /// An Event was not written.
    pub fn event_left_out(&self) {
        self.events_left_out.inc();
    }

    /// A room got a pod, or this is why not.
    pub fn placed(&self, result: &'static str) {
        self.placements.with_label_values(&[result]).inc();
    }

    /// A pod was called.
    pub fn called(&self, what: &'static str, is_ok: bool) {
        self.calls.with_label_values(&[what, result(is_ok)]).inc();
    }

    /// Keys of a Secret could not be used.
    pub fn keys_refused(&self) {
        self.keys_refused.inc();
    }

    /// How many rooms there are in each phase.
    pub fn rooms(&self, by_phase: &[(&'static str, usize)], viewers: u64) {
        for (phase, count) in by_phase {
            self.rooms.with_label_values(&[phase]).set(signed(*count));
        }
        self.viewers.set(i64::try_from(viewers).unwrap_or(i64::MAX));
    }

    /// How many pods there are in each state.
    pub fn pods(&self, by_state: &[(&'static str, usize)]) {
        for (state, count) in by_state {
            self.pods.with_label_values(&[state]).set(signed(*count));
        }
    }

    /// How many pods all sites are to have, how full the fullest site is in percent of its target, and how many are
    /// held back by what.
    pub fn sites(&self, desired: u64, fullest: u32, held: &[(&'static str, usize)]) {
        self.desired_pods
            .set(i64::try_from(desired).unwrap_or(i64::MAX));
        self.fullest_site.set(fullest.into());
        for (reason, count) in held {
            self.held_sites
                .with_label_values(&[reason])
                .set(signed(*count));
        }
    }

    /// A site that had so many pods was scaled.
    pub fn scaled(&self, decision: &Decision, before: u32) {
        let direction = if decision.replicas > before {
            "out"
        } else {
            "in"
        };
        self.scalings
            .with_label_values(&[direction, decision.signal.name()])
            .inc();
    }

    /// How many resources of each kind can't be read.
    pub fn unreadable(&self, rooms: usize, sites: usize) {
        for (kind, count) in KINDS.into_iter().zip([rooms, sites]) {
            self.unreadable
                .with_label_values(&[kind])
                .set(signed(count));
        }
    }

    /// In the text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!("metrics can't be written: {error}");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

fn result(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "failed" }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: M,
) -> prometheus::Result<M> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
