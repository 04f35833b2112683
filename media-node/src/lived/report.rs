//! What a viewer's page tells of its session (`POST …/report`): what only the browser can know, from its `getStats()`.
//!
//! Pages are not trusted: a report with a number that can't be is refused as a whole, and one is believed as little as
//! any single viewer is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The largest report, in bytes.
pub const MAX_BYTES: usize = 4096;
/// Reports that may come at once, at the beginning and at the end …
const BURST: u32 = 4;
/// … and one more for each time that the session lasts this long.
const INTERVAL: Duration = Duration::from_secs(3);

/// A page's clock and the node's may differ by so much …
const SLACK: Duration = Duration::from_secs(30);
/// … or by this share, after a long time.
const SLACK_SHARE: f64 = 0.05;
/// No screen shows more frames a second …
const MAX_FRAME_RATE: f64 = 1000.0;
/// … and no sound has more samples.
const MAX_SAMPLE_RATE: f64 = 400_000.0;
/// No picture has more pixels on one side.
const MAX_SIDE: u32 = 16_384;

/// Sums since the session began, as JSON with the same names. What a browser doesn't tell is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    rename_all(deserialize = "camelCase", serialize = "snake_case")
)]
pub struct Report {
    /// Age of the session by the page's clock, in ms. The latest report is the one that counts.
    pub after_ms: u64,
    /// From the page's request to the first frame on the screen, in ms.
    pub first_frame_ms: Option<u64>,
    /// `freezeCount`.
    pub freeze_count: u32,
    /// `totalFreezesDuration`, in seconds.
    pub freeze_seconds: f64,
    /// `framesDecoded`.
    pub frames_decoded: u64,
    /// `framesDropped`.
    pub frames_dropped: u64,
    /// `frameWidth`, now.
    pub width: Option<u32>,
    /// `frameHeight`, now.
    pub height: Option<u32>,
    /// Mean time in the video's jitter buffer, in ms: `jitterBufferDelay / jitterBufferEmittedCount`.
    pub jitter_buffer_ms: Option<f64>,
    /// `concealedSamples` of the audio, without those that stand for silence.
    pub concealed_samples: u64,
    /// `totalSamplesReceived` of the audio.
    pub total_samples: u64,
    /// Time that the page was out of sight, in seconds.
    pub hidden_seconds: f64,
}

/// Why a report is refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReport {
    /// It can't be read.
    #[error("the body is not a report: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A number is impossible.
    #[error("{0} can't be: the session is not so old, or nothing is so large")]
    Impossible(&'static str),
}

impl Report {
    /// Reads a report on a session that is so old by the node's clock.
    ///
    /// # Errors
    /// If it is no report, or one that can't be true.
    pub fn parse(json: &str, age: Duration) -> Result<Report, InvalidReport> {
        let report: Report = serde_json::from_str(json)?;
        let age = (age + SLACK).as_secs_f64() * (1.0 + SLACK_SHARE);
        let seconds = |value: f64| (0.0..=age).contains(&value);
        let millis = |value: u64| value as f64 <= age * 1e3;
        let side = |value: Option<u32>| value.is_none_or(|value| value <= MAX_SIDE);
        let frames = report.frames_decoded.saturating_add(report.frames_dropped);
        for (name, is_possible) in [
            ("afterMs", millis(report.after_ms)),
            ("firstFrameMs", report.first_frame_ms.is_none_or(millis)),
            (
                "freezeCount",
                f64::from(report.freeze_count) <= age * MAX_FRAME_RATE,
            ),
            ("freezeSeconds", seconds(report.freeze_seconds)),
            ("framesDecoded", frames as f64 <= age * MAX_FRAME_RATE),
            ("width", side(report.width)),
            ("height", side(report.height)),
            (
                "jitterBufferMs",
                report.jitter_buffer_ms.is_none_or(|ms| seconds(ms / 1e3)),
            ),
            (
                "totalSamples",
                report.total_samples as f64 <= age * MAX_SAMPLE_RATE,
            ),
            (
                "concealedSamples",
                report.concealed_samples <= report.total_samples,
            ),
            ("hiddenSeconds", seconds(report.hidden_seconds)),
        ] {
            if !is_possible {
                return Err(InvalidReport::Impossible(name));
            }
        }
        Ok(report)
    }
}

/// Whether one more report may come, after so many and at this age of the session.
#[must_use]
pub fn may_come(before: u32, age: Duration) -> bool {
    let earned = age.as_secs() / INTERVAL.as_secs();
    u64::from(before) < u64::from(BURST) + earned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_report_needs_no_more_than_a_browser_tells() {
        let all = r#"{"afterMs":59000,"firstFrameMs":340,"freezeCount":2,"freezeSeconds":1.5,"framesDecoded":1700,
            "framesDropped":3,"width":1280,"height":720,"jitterBufferMs":48.5,"concealedSamples":960,
            "totalSamples":2800000,"hiddenSeconds":0,"later":[1]}"#;
        let report = Report::parse(all, MINUTE).unwrap();
        assert_eq!(report.first_frame_ms, Some(340));
        assert_eq!((report.freeze_count, report.freeze_seconds), (2, 1.5));
        assert_eq!(Report::parse("{}", MINUTE).unwrap(), Report::default());
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (json, names) in [
            (r#"{"afterMs":3600000}"#, "afterMs"),
            (r#"{"firstFrameMs":3600000}"#, "firstFrameMs"),
            (r#"{"freezeCount":4000000000}"#, "freezeCount"),
            (r#"{"freezeSeconds":-1}"#, "freezeSeconds"),
            (r#"{"freezeSeconds":1e300}"#, "freezeSeconds"),
            (
                r#"{"framesDecoded":18446744073709551615,"framesDropped":1}"#,
                "framesDecoded",
            ),
            (r#"{"width":70000}"#, "width"),
            (r#"{"jitterBufferMs":-0.1}"#, "jitterBufferMs"),
            (r#"{"totalSamples":99999999999}"#, "totalSamples"),
            (r#"{"concealedSamples":1}"#, "concealedSamples"),
            (r#"{"freezeCount":1.5}"#, "not a report"),
            (r#"{"freezeCount":-1}"#, "not a report"),
            (r#"{"afterMs":"now"}"#, "not a report"),
            ("7", "not a report"),
            ("", "not a report"),
        ] {
            let error = Report::parse(json, MINUTE).unwrap_err().to_string();
            assert!(error.contains(names), "{json}: {error}");
        }
    }

    #[test]
    fn reports_come_at_a_rate() {
        assert!((0..BURST).all(|before| may_come(before, Duration::ZERO)));
        assert!(!may_come(BURST, Duration::ZERO));
        assert!(may_come(BURST + 19, MINUTE));
        assert!(!may_come(BURST + 20, MINUTE));
    }

    proptest! {
        /// Whatever a page sends: nothing panics, and what is taken is finite, so that it can be written as JSON again.
        #[test]
        fn any_text_is_read_or_refused(json in ".{0,200}") {
            let _ = Report::parse(&json, MINUTE);
        }

        #[test]
        fn any_numbers_are_bounded(
            (freezes, seconds, frames, samples) in (any::<f64>(), any::<f64>(), any::<u64>(), any::<u64>()),
            (buffer, width) in (any::<f64>(), any::<u32>()),
        ) {
            let json = format!(
                r#"{{"freezeCount":{freezes:?},"freezeSeconds":{seconds:?},"framesDecoded":{frames},
                "concealedSamples":{samples},"totalSamples":{samples},"jitterBufferMs":{buffer:?},"width":{width}}}"#
            );
            if let Ok(report) = Report::parse(&json, MINUTE) {
                prop_assert!((0.0..=100.0).contains(&report.freeze_seconds));
                prop_assert!(report.jitter_buffer_ms.is_none_or(|ms| (0.0..=100_000.0).contains(&ms)));
                prop_assert!(report.frames_decoded <= 100_000);
                prop_assert!(report.width.is_none_or(|w| w <= MAX_SIDE));
                prop_assert!(!serde_json::to_string(&report).unwrap().contains("null,\"null"));
            }
        }
    }
}
