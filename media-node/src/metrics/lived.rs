//! What viewers lived through, for all rooms together. Sessions by themselves are in the session records.

use prometheus::{CounterVec, HistogramVec, IntCounterVec};

use super::{Builder, METRICS};
use crate::lived::Lived;
use crate::lived::report::Report;

pub(super) struct LivedMetrics {
    watched: HistogramVec,
    stall_ratio: HistogramVec,
    first_frame: HistogramVec,
    stalls: IntCounterVec,
    seconds: CounterVec,
    retention: IntCounterVec,
    records: IntCounterVec,
    reports: IntCounterVec,
}

/// What became of a session record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RecordResult {
    Written,
    /// The queue was full.
    Dropped,
    /// The file could not be written.
    Failed,
}

/// What became of a page's report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReportResult {
    Taken,
    Invalid,
    /// Too soon after others.
    Limited,
    /// Its session is gone.
    Late,
}

impl LivedMetrics {
    pub(super) fn new(builder: &Builder) -> LivedMetrics {
        let watched = [
            10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0,
        ];
        let ratios = [0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
        let first_frames = [
            0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0,
        ];
        LivedMetrics {
            watched: builder.histograms(
                "viewer_watched_seconds",
                "How long viewers watched, counted when they leave.",
                &watched,
                &["stalled"],
            ),
            stall_ratio: builder.histograms(
                "viewer_stall_ratio",
                "Share of a viewer's time in which the picture stood still, as node or page saw it.",
                &ratios,
                &["source"],
            ),
            first_frame: builder.histograms(
                "viewer_first_frame_seconds",
                "From a viewer's offer to the first frame, as it was sent (node) or shown (page).",
                &first_frames,
                &["source"],
            ),
            stalls: builder.counters(
                "viewer_stalls_total",
                "How often a viewer's picture stood still, as node or page saw it.",
                &["source"],
            ),
            seconds: builder.seconds(
                "viewer_seconds_total",
                "Time of viewers who have left: watched, stalled within it, without video.",
                &["kind"],
            ),
            retention: builder.counters(
                "viewer_retention_total",
                "Viewers who stayed for so many minutes or left before, by whether the picture had stood still.",
                &["minutes", "outcome", "stalled"],
            ),
            records: builder.counters("session_records_total", "Session records, by what became of them.", &["result"]),
            reports: builder.counters("client_reports_total", "Reports of viewers' pages, by what became of them.", &["result"]),
        }
    }
}

/// Notes what a viewer lived through.
pub(crate) fn viewer_left(lived: &Lived, report: Option<&Report>) {
    let m = &METRICS.lived;
    if lived.first_media.is_none() {
        return;
    }
    let present = lived.present.as_secs_f64();
    let stalled = lived.stalled.as_secs_f64();
    m.watched
        .with_label_values(&[yes(lived.stalls > 0)])
        .observe(present);
    observe("node", stalled, present, u64::from(lived.stalls));
    if let Some(first) = lived.first_media {
        let first_frame = m.first_frame.with_label_values(&["node"]);
        first_frame.observe(first.as_secs_f64());
    }
    for (kind, seconds) in [
        ("watched", present),
        ("stalled", stalled),
        ("paused", lived.paused.as_secs_f64()),
        ("off", lived.off.as_secs_f64()),
    ] {
        m.seconds.with_label_values(&[kind]).inc_by(seconds);
    }
    if let Some(report) = report {
        observe(
            "page",
            report.freeze_seconds,
            present,
            u64::from(report.freeze_count),
        );
        if let Some(first) = report.first_frame_ms {
            let first_frame = m.first_frame.with_label_values(&["page"]);
            first_frame.observe(first as f64 / 1e3);
        }
    }
}

fn observe(source: &str, stalled: f64, present: f64, count: u64) {
    let m = &METRICS.lived;
    m.stalls.with_label_values(&[source]).inc_by(count);
    if present > 0.0 {
        let ratio = (stalled / present).min(1.0);
        m.stall_ratio.with_label_values(&[source]).observe(ratio);
    }
}

/// Counts a viewer that reached a mark or left before it.
pub(crate) fn retention(minutes: &str, stayed: bool, stalled: bool) {
    let outcome = if stayed { "stayed" } else { "left" };
    METRICS
        .lived
        .retention
        .with_label_values(&[minutes, outcome, yes(stalled)])
        .inc();
}

/// Counts a session record.
pub(crate) fn session_record(result: RecordResult) {
    let result = match result {
        RecordResult::Written => "written",
        RecordResult::Dropped => "dropped",
        RecordResult::Failed => "failed",
    };
    METRICS.lived.records.with_label_values(&[result]).inc();
}

/// Counts a page's report.
pub(crate) fn client_report(result: ReportResult) {
    let result = match result {
        ReportResult::Taken => "taken",
        ReportResult::Invalid => "invalid",
        ReportResult::Limited => "limited",
        ReportResult::Late => "late",
    };
    METRICS.lived.reports.with_label_values(&[result]).inc();
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
