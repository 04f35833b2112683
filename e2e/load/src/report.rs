//! What came of a run, for people and for programs.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::audience::{Outcome, Stayed, Sums};
use crate::checker::Findings;
use crate::proc::{self, Usage};
use crate::viewer::Experience;

/// Most different refusals that are told of.
const MAX_REASONS: usize = 5;

/// What was read while the viewers watched.
#[derive(Debug, Default)]
pub struct Measured {
    /// For how long.
    pub time: Duration,
    /// At its beginning.
    pub before: Sums,
    /// At its end.
    pub after: Sums,
    /// Our own CPU time in between.
    pub own_cpu: Duration,
    /// The node's, if it was read.
    pub node: Option<NodeUsage>,
}

/// What the node used.
#[derive(Debug)]
pub struct NodeUsage {
    /// Before the first viewer came.
    pub idle: Usage,
    /// While the viewers watched, from the beginning to the end.
    pub samples: Vec<Usage>,
}

/// The figures. Those that weren't measured are absent.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Rooms.
    pub rooms: usize,
    /// Viewers who were to join.
    pub viewers: usize,
    /// Viewers whose packets were opened and looked into.
    pub verified: usize,
    /// Viewers who joined.
    pub joined: usize,
    /// Viewers who were refused, never came up, or lost the node.
    pub failed: usize,
    /// From the POST to the end of the DTLS handshake.
    pub join_ms_p50: Option<f64>,
    /// See above.
    pub join_ms_p99: Option<f64>,
    /// From the POST to the first decodable frame.
    pub first_frame_ms_p50: Option<f64>,
    /// See above.
    pub first_frame_ms_p95: Option<f64>,
    /// See above.
    pub first_frame_ms_p99: Option<f64>,
    /// How long was measured.
    pub seconds: f64,
    /// RTP packets delivered while it was.
    pub packets: u64,
    /// As a rate.
    pub packets_per_second: f64,
    /// Bits of RTP as a rate.
    pub bits_per_second: f64,
    /// Packets that were missing when a later one came, of all sessions from end to end.
    pub loss_before_recovery_percent: f64,
    /// Packets that never came.
    pub loss_percent: f64,
    /// Number of the former.
    pub packets_late: u64,
    /// Number of the latter.
    pub packets_missing: u64,
    /// Packets that came again, or too late.
    pub packets_useless: u64,
    /// Packets that could not be opened, or belonged to nothing.
    pub packets_unauthentic: u64,
    /// Frames that could be decoded.
    pub frames: u64,
    /// Frames that could not.
    pub frames_undecodable: u64,
    /// Timestamps that ran backwards.
    pub time_reversals: u64,
    /// Gaps between the picture ids of VP8.
    pub picture_id_gaps: u64,
    /// Viewers who noticed any of that.
    pub viewers_flawed: usize,
    /// How far sound and picture of a viewer were apart on average.
    pub lip_sync_ms_p99: Option<f64>,
    /// Our own load, in cores.
    pub load_cpu_cores: f64,
    /// The node's load, in cores.
    pub node_cpu_cores: Option<f64>,
    /// CPU time of the node for each packet delivered.
    pub forward_us_per_packet: Option<f64>,
    /// Memory of the node before the first viewer came.
    pub node_rss_kib_before: Option<u64>,
    /// Memory of the node at the end.
    pub node_rss_kib_after: Option<u64>,
    /// What each viewer added to it.
    pub rss_kib_per_viewer: Option<f64>,
    /// How fast it grew while the viewers watched.
    pub rss_kib_per_minute: Option<f64>,
    /// Of those who stay: changes to another session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moves: Option<usize>,
    /// Attempts of theirs that were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusals: Option<usize>,
    /// How many of them have no picture at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<usize>,
    /// Of each of them the longest time without a new frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms_p50: Option<f64>,
    /// See above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms_p95: Option<f64>,
    /// See above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms_p99: Option<f64>,
    /// See above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms_max: Option<f64>,
    /// The longest time that one of them has had no new frame for, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_ms_max: Option<f64>,
    /// Why viewers failed: the first few different reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

impl Report {
    /// Sums up what became of the viewers of these rooms.
    pub fn new(rooms: usize, viewers: usize, measured: &Measured, outcomes: &[Outcome]) -> Self {
        let mut this = Self {
            rooms,
            viewers,
            ..Self::default()
        };
        this.count_outcomes(outcomes);
        this.count_throughput(measured);
        if let Some(node) = &measured.node {
            this.count_node(node, measured);
        }
        this
    }

    fn count_outcomes(&mut self, outcomes: &[Outcome]) {
        let mut findings = Findings::default();
        let (mut joins, mut first_frames, mut skews) = (Vec::new(), Vec::new(), Vec::new());
        for outcome in outcomes {
            let experience = match outcome {
                Outcome::Left(experience) => experience,
                Outcome::Refused(reason) => {
                    self.failed += 1;
                    self.add_reason(reason);
                    continue;
                }
                Outcome::ChoiceRefused(reason) => {
                    self.add_reason(reason);
                    continue;
                }
            };
            self.count_viewer(experience);
            findings.add(&experience.findings);
            joins.extend(experience.join);
            first_frames.extend(experience.first_frame);
            skews.extend(experience.skew);
        }
        self.join_ms_p50 = percentile_ms(&mut joins, 50);
        self.join_ms_p99 = percentile_ms(&mut joins, 99);
        self.first_frame_ms_p50 = percentile_ms(&mut first_frames, 50);
        self.first_frame_ms_p95 = percentile_ms(&mut first_frames, 95);
        self.first_frame_ms_p99 = percentile_ms(&mut first_frames, 99);
        self.lip_sync_ms_p99 = percentile_ms(&mut skews, 99);
        let expected = findings.packets + findings.missing;
        let percent = |n: u64| {
            if expected == 0 {
                0.0
            } else {
                100.0 * n as f64 / expected as f64
            }
        };
        self.loss_before_recovery_percent = percent(findings.late);
        self.loss_percent = percent(findings.missing);
        self.packets_late = findings.late;
        self.packets_missing = findings.missing;
        self.packets_useless = findings.useless;
        self.frames = findings.frames;
        self.frames_undecodable = findings.undecodable;
        self.time_reversals = findings.time_reversals;
        self.picture_id_gaps = findings.picture_gaps;
    }

    /// Adds what those saw who stay. A session that they left for another, or that died, is none of a failure.
    pub fn count_stayed(&mut self, stayed: &Stayed) {
        let mut gaps: Vec<Duration> = stayed.gaps.iter().copied().flatten().collect();
        self.moves = Some(stayed.moves);
        self.refusals = Some(stayed.refusals);
        self.lost = Some(stayed.lost);
        self.gap_ms_p50 = percentile_ms(&mut gaps, 50);
        self.gap_ms_p95 = percentile_ms(&mut gaps, 95);
        self.gap_ms_p99 = percentile_ms(&mut gaps, 99);
        self.gap_ms_max = percentile_ms(&mut gaps, 100);
        self.still_ms_max = stayed.still.map(|still| still.as_secs_f64() * 1e3);
        self.failed = stayed.lost;
        self.reasons.clear();
    }

    fn count_viewer(&mut self, experience: &Experience) {
        self.joined += usize::from(experience.join.is_some());
        self.verified += usize::from(experience.verified);
        self.packets_unauthentic += experience.unauthentic;
        self.viewers_flawed += usize::from(!experience.is_flawless());
        if let Some(reason) = &experience.failure {
            self.failed += 1;
            self.add_reason(reason);
        }
    }

    fn add_reason(&mut self, reason: &str) {
        if self.reasons.len() < MAX_REASONS && !self.reasons.iter().any(|r| r == reason) {
            self.reasons.push(reason.to_owned());
        }
    }

    fn count_throughput(&mut self, measured: &Measured) {
        let seconds = measured.time.as_secs_f64();
        let rate = |n: f64| if seconds > 0.0 { n / seconds } else { 0.0 };
        self.seconds = seconds;
        self.packets = measured.after.packets - measured.before.packets;
        self.packets_per_second = rate(self.packets as f64);
        self.bits_per_second = rate(8.0 * (measured.after.bytes - measured.before.bytes) as f64);
        self.load_cpu_cores = rate(measured.own_cpu.as_secs_f64());
    }

    fn count_node(&mut self, node: &NodeUsage, measured: &Measured) {
        let (Some(first), Some(last)) = (node.samples.first(), node.samples.last()) else {
            return;
        };
        let cpu = last.cpu.saturating_sub(first.cpu).as_secs_f64();
        self.node_cpu_cores = Some(
            cpu / last
                .at
                .saturating_duration_since(first.at)
                .as_secs_f64()
                .max(1e-3),
        );
        self.forward_us_per_packet = (self.packets > 0).then(|| 1e6 * cpu / self.packets as f64);
        self.node_rss_kib_before = Some(node.idle.rss_kib);
        self.node_rss_kib_after = Some(last.rss_kib);
        let added = last.rss_kib as f64 - node.idle.rss_kib as f64;
        let present = measured.after.present;
        self.rss_kib_per_viewer = (present > 0).then(|| added / present as f64);
        self.rss_kib_per_minute = proc::rss_slope(&node.samples);
    }

    /// Whether all viewers joined, stayed and received everything.
    pub fn is_flawless(&self) -> bool {
        self.failed == 0 && self.viewers_flawed == 0 && self.joined > 0 && self.reasons.is_empty()
    }

    /// All figures as JSON.
    ///
    /// # Errors
    /// None that these types could have.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// The figures of those who stay, up to now.
    pub fn of_stayed(stayed: &Stayed) -> Self {
        let mut this = Self::default();
        this.count_stayed(stayed);
        this
    }

    /// A `name: value` line for each figure that was measured.
    pub fn lines(&self) -> String {
        let Ok(serde_json::Value::Object(figures)) = serde_json::to_value(self) else {
            return String::new();
        };
        let mut text = String::new();
        for (name, value) in figures.iter().filter(|(_, value)| value.is_number()) {
            let value = match value.as_f64().filter(|_| value.is_f64()) {
                Some(float) => format!("{float:.3}"),
                None => value.to_string(),
            };
            text += &format!("{name}: {value}\n");
        }
        text
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let times = |values: &[(&str, Option<f64>)]| {
            let known = values
                .iter()
                .filter_map(|(name, ms)| Some(format!("{name} {:.1} ms", (*ms)?)));
            known.collect::<Vec<_>>().join(", ")
        };
        let mut rows = vec![
            (
                "viewers",
                format!(
                    "{} asked, {} joined, {} failed",
                    self.viewers, self.joined, self.failed
                ),
            ),
            (
                "join",
                times(&[("p50", self.join_ms_p50), ("p99", self.join_ms_p99)]),
            ),
            (
                "first frame",
                times(&[
                    ("p50", self.first_frame_ms_p50),
                    ("p95", self.first_frame_ms_p95),
                    ("p99", self.first_frame_ms_p99),
                ]),
            ),
            (
                "delivered",
                format!(
                    "{} packets in {:.1} s: {:.0}/s, {:.1} Mbit/s",
                    self.packets,
                    self.seconds,
                    self.packets_per_second,
                    self.bits_per_second / 1e6
                ),
            ),
            (
                "loss",
                format!(
                    "{:.4} % ({}) before recovery, {:.4} % ({}) after; {} packets twice or too late",
                    self.loss_before_recovery_percent,
                    self.packets_late,
                    self.loss_percent,
                    self.packets_missing,
                    self.packets_useless
                ),
            ),
            (
                "streams",
                format!(
                    "{} frames decodable, {} not; {} times back in time, {} gaps of picture ids, {} packets not authentic",
                    self.frames,
                    self.frames_undecodable,
                    self.time_reversals,
                    self.picture_id_gaps,
                    self.packets_unauthentic
                ),
            ),
            (
                "checked",
                format!(
                    "{} viewers in full; {} noticed a flaw",
                    self.verified, self.viewers_flawed
                ),
            ),
        ];
        if let Some(skew) = self.lip_sync_ms_p99 {
            rows.push((
                "lip sync",
                format!("at most {skew:.1} ms apart for 99 % of viewers"),
            ));
        }
        if let (Some(moves), Some(refusals), Some(lost)) = (self.moves, self.refusals, self.lost) {
            let gaps = [
                ("p50", self.gap_ms_p50),
                ("p95", self.gap_ms_p95),
                ("p99", self.gap_ms_p99),
                ("max", self.gap_ms_max),
            ];
            let text = format!(
                "{moves} moves, {refusals} refusals, {lost} lost; longest without a frame: "
            );
            rows.push(("stayed", text + &times(&gaps)));
        }
        rows.push(("our load", format!("{:.2} cores", self.load_cpu_cores)));
        if let Some(cores) = self.node_cpu_cores {
            let cost = self
                .forward_us_per_packet
                .map_or_else(String::new, |us| format!(", {us:.3} µs a packet"));
            rows.push(("node's load", format!("{cores:.2} cores{cost}")));
        }
        if let (Some(before), Some(after)) = (self.node_rss_kib_before, self.node_rss_kib_after) {
            let each = self
                .rss_kib_per_viewer
                .map_or_else(String::new, |kib| format!(", {kib:.1} KiB a viewer"));
            let slope = self
                .rss_kib_per_minute
                .map_or_else(String::new, |kib| format!(", {kib:+.1} KiB a minute"));
            rows.push((
                "node's memory",
                format!("{before} KiB before, {after} KiB after{each}{slope}"),
            ));
        }
        rows.extend(
            self.reasons
                .iter()
                .map(|reason| ("failure", reason.clone())),
        );
        let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
        rows.map(|(name, value)| format!("{name:<14} {value}\n"))
            .collect()
    }
}

/// The value that so many percent are not above (nearest rank), in ms.
fn percentile_ms(values: &mut [Duration], percent: usize) -> Option<f64> {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).map(|value| value.as_secs_f64() * 1e3)
}

/// Says something to the person at the terminal.
pub fn say(text: impl Display) {
    // Who closed the terminal doesn't want to hear it.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn left(join_ms: Option<u64>, findings: Findings) -> Outcome {
        Outcome::Left(Box::new(Experience {
            join: join_ms.map(Duration::from_millis),
            first_frame: None,
            packets: 0,
            bytes: 0,
            unauthentic: 0,
            skew: None,
            verified: true,
            findings,
            failure: join_ms.is_none().then(|| "the node didn't answer".into()),
        }))
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile_ms(&mut values, 50), Some(50.0));
        assert_eq!(percentile_ms(&mut values, 99), Some(99.0));
        assert_eq!(percentile_ms(&mut values[..1], 99), Some(1.0));
        assert_eq!(percentile_ms(&mut [], 50), None);
    }

    #[test]
    fn failures_and_flaws_are_counted() {
        let flawed = Findings {
            packets: 99,
            missing: 1,
            late: 2,
            ..Findings::default()
        };
        let outcomes = [
            left(Some(10), flawed),
            left(
                Some(20),
                Findings {
                    packets: 100,
                    ..Findings::default()
                },
            ),
            left(None, Findings::default()),
            Outcome::Refused("503".into()),
        ];
        let report = Report::new(1, 4, &Measured::default(), &outcomes);
        assert_eq!(
            (report.joined, report.failed, report.viewers_flawed),
            (2, 2, 1)
        );
        assert_eq!(
            (report.loss_before_recovery_percent, report.loss_percent),
            (1.0, 0.5)
        );
        assert_eq!(report.reasons, ["the node didn't answer", "503"]);
        assert!(!report.is_flawless());
        assert!(Report::new(1, 1, &Measured::default(), &outcomes[1..2]).is_flawless());
        assert!(
            !Report::new(1, 1, &Measured::default(), &[]).is_flawless(),
            "nobody came"
        );
    }

    #[test]
    fn the_node_is_measured_by_the_packets_that_viewers_received() {
        let at = Instant::now();
        let usage = |s: u64, rss_kib| Usage {
            at: at + Duration::from_secs(s),
            cpu: Duration::from_millis(500 * s),
            rss_kib,
        };
        let measured = Measured {
            time: Duration::from_secs(4),
            before: Sums {
                packets: 1000,
                ..Sums::default()
            },
            after: Sums {
                packets: 1_001_000,
                bytes: 2_000_000,
                present: 10,
                ..Sums::default()
            },
            own_cpu: Duration::from_secs(1),
            node: Some(NodeUsage {
                idle: usage(0, 5000),
                samples: vec![usage(1, 6000), usage(5, 6000)],
            }),
        };
        let report = Report::new(1, 10, &measured, &[]);
        assert_eq!(report.forward_us_per_packet, Some(2.0));
        assert_eq!(
            (report.node_cpu_cores, report.load_cpu_cores),
            (Some(0.5), 0.25)
        );
        assert_eq!(
            (report.rss_kib_per_viewer, report.rss_kib_per_minute),
            (Some(100.0), Some(0.0))
        );
        assert_eq!(report.bits_per_second, 4e6);
        let lines = report.lines();
        assert!(
            lines.contains("forward_us_per_packet: 2.000\n") && lines.contains("viewers: 10\n")
        );
        assert!(!lines.contains("join_ms"), "not measured");
    }
}
