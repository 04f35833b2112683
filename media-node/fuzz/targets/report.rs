//! What a page reports of its session: no report breaks the record, and what is believed can be.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

// By its file, since the crate is a whole server.
#[path = "../../src/lived/report.rs"]
mod report;

use report::{MAX_BYTES, Report, may_come};

fuzz_target!(|input: (u32, u32, &str)| {
    let (age_ms, before, json) = input;
    let age = Duration::from_millis(age_ms.into());
    if json.len() > MAX_BYTES {
        return;
    }
    assert!(may_come(0, age));
    assert!(!may_come(before, age) || before < u32::MAX);
    match Report::parse(json, age) {
        Ok(report) => {
            let numbers = [report.freeze_seconds, report.hidden_seconds];
            assert!(numbers.iter().all(|n| n.is_finite() && *n >= 0.0));
            assert!(report.jitter_buffer_ms.is_none_or(|ms| ms.is_finite() && ms >= 0.0));
            assert!(report.concealed_samples <= report.total_samples);
            let line = serde_json::to_string(&report).expect("it can be written");
            assert!(!line.contains('\n') && line.len() < 1024);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
