//! Transport-wide feedback of any kind at any time, to an estimator that sends all the while.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use showrunner_rtp::bwe::{Config, Estimator, Sent};
use showrunner_rtp::rtcp::{Packet, packets};

#[derive(Arbitrary, Debug)]
enum Step {
    Send {
        bytes: u16,
        count: u8,
    },
    /// The body of transport-wide feedback, after its SSRCs.
    Feedback(Vec<u8>),
    Report {
        loss: f32,
        rtt_ms: Option<u16>,
    },
    Remb(u64),
    Wanted(u64, Option<u64>),
    Later {
        ms: u16,
    },
}

fuzz_target!(|steps: Vec<Step>| {
    let config = Config::default();
    let mut now = Instant::now();
    let mut estimator = Estimator::new(now, config);
    for step in steps {
        match step {
            Step::Send { bytes, count } => {
                for _ in 0..count {
                    estimator.on_sent(now, bytes.into(), Sent::Media);
                }
                if let Some(probe) = estimator.poll_probe(now) {
                    estimator.on_sent(now, probe.bytes, Sent::Probe(probe.cluster));
                }
            }
            Step::Feedback(body) => {
                let len = (8 + body.len()).next_multiple_of(4).min(4 * 0xffff);
                let mut packet = vec![0x8f, 205];
                packet.extend_from_slice(&((len / 4) as u16).to_be_bytes());
                packet.extend_from_slice(&[0; 8]);
                packet.extend_from_slice(&body);
                packet.resize(4 + len, 0);
                for packet in packets(&packet) {
                    if let Ok(Packet::TransportCc(feedback)) = packet {
                        estimator.on_feedback(now, &feedback);
                    }
                }
            }
            Step::Report { loss, rtt_ms } => {
                let rtt = rtt_ms.map(|ms| Duration::from_millis(ms.into()));
                estimator.on_receiver_report(now, loss, rtt);
            }
            Step::Remb(bps) => estimator.on_remb(now, bps),
            Step::Wanted(bps, next) => estimator.set_wanted(bps, next),
            Step::Later { ms } => {
                now += Duration::from_millis(ms.into());
                estimator.on_tick(now);
            }
        }
        let estimate = estimator.estimate();
        assert!((config.min_bps..=config.max_bps).contains(&estimate.target_bps));
        assert!((0.0..=1.0).contains(&estimate.loss));
        assert!(estimator.memory() <= 40 * 1024);
    }
});
