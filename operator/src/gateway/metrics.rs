//! What a gateway tells Prometheus. Labels have few, fixed values, never rooms, pods or addresses.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// Counters and gauges of one gateway.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    limited: IntCounterVec,
    joins: Histogram,
    retries: IntCounter,
    pod_errors: IntCounterVec,
    watch_errors: IntCounterVec,
    streams: IntGauge,
    rooms: IntGauge,
    pods: IntGauge,
}

/// What a limit counts by.
#[derive(Clone, Copy, Debug)]
pub(super) enum LimitedBy {
    Address,
    Token,
}

const JOIN_BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// If two have one name.
    pub fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new_custom(Some("showrunner_gateway".to_owned()), None)?;
        let counters = |name, help, label| -> prometheus::Result<IntCounterVec> {
            register(
                &registry,
                IntCounterVec::new(Opts::new(name, help), &[label])?,
            )
        };
        let gauge = |name, help| -> prometheus::Result<IntGauge> {
            register(&registry, IntGauge::new(name, help)?)
        };
        let joins = HistogramOpts::new("join_seconds", "From a join's offer to a pod's answer.");
        Ok(Metrics {
            requests: counters(
                "requests_total",
                "Requests for rooms and sessions by class of status.",
                "status",
            )?,
            limited: counters(
                "limited_total",
                "Requests refused by a rate limit, by what it counts.",
                "by",
            )?,
            joins: register(
                &registry,
                Histogram::with_opts(joins.buckets(JOIN_BUCKETS.to_vec()))?,
            )?,
            retries: register(
                &registry,
                IntCounter::new(
                    "retries_total",
                    "Requests sent once more because a pod was gone.",
                )?,
            )?,
            pod_errors: counters(
                "pod_errors_total",
                "Requests that a pod did not answer, by cause.",
                "cause",
            )?,
            watch_errors: counters(
                "watch_errors_total",
                "Failures of watches of the API server, by resource; until they end, the view is old.",
                "resource",
            )?,
            streams: gauge("event_streams", "Event streams open now.")?,
            rooms: gauge("rooms", "Rooms in the view.")?,
            pods: gauge("pods", "Media pods in the view.")?,
            registry,
        })
    }

    pub(super) fn answered(&self, status: StatusCode) {
        let class = match status.as_u16() / 100 {
            2 => "2xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        };
        self.requests.with_label_values(&[class]).inc();
    }

    pub(super) fn limited(&self, by: LimitedBy) {
        let by = match by {
            LimitedBy::Address => "address",
            LimitedBy::Token => "token",
        };
        self.limited.with_label_values(&[by]).inc();
    }

    pub(super) fn joined(&self, after: Duration) {
        self.joins.observe(after.as_secs_f64());
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    pub(super) fn pod_failed(&self, cause: &'static str) {
        self.pod_errors.with_label_values(&[cause]).inc();
    }

    pub(super) fn watch_failed(&self, resource: &'static str) {
        self.watch_errors.with_label_values(&[resource]).inc();
    }

    /// Counts an event stream for as long as what is returned lives.
    pub(super) fn stream(&self) -> StreamGuard {
        self.streams.inc();
        StreamGuard(self.streams.clone())
    }

    pub(super) fn view_has(&self, rooms: usize, pods: usize) {
        self.rooms.set(i64::try_from(rooms).unwrap_or(i64::MAX));
        self.pods.set(i64::try_from(pods).unwrap_or(i64::MAX));
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

fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: M,
) -> prometheus::Result<M> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// An event stream that is open.
#[derive(Debug)]
pub(super) struct StreamGuard(IntGauge);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
