//! Sequence numbers in any order and at any pace, as a publisher may send them: state stays bounded
//! and feedback can be read.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use showrunner_rtp::loss::LossTracker;
use showrunner_rtp::reports::Reception;
use showrunner_rtp::rtcp::{Packet, Writer, packets};
use showrunner_rtp::seq::Unwrapper;
use showrunner_rtp::twcc::Recorder;

fuzz_target!(|steps: Vec<(u16, u16, u8)>| {
    let start = Instant::now();
    let mut now = start;
    let mut unwrapper = Unwrapper::new();
    let mut loss = LossTracker::new();
    let mut reception = Reception::new(90_000);
    let mut recorder = Recorder::new();
    let mut asked = Vec::new();
    for (seq, wait_ms, what) in steps {
        now += Duration::from_millis(wait_ms.into());
        let index = unwrapper.unwrap(seq);
        assert_eq!(index as u16, seq);
        loss.on_packet(now, index);
        reception.on_packet(now, index, u32::from(wait_ms) * 90);
        recorder.record(seq, now.duration_since(start).as_micros() as u64);
        if what % 4 == 0 {
            asked.clear();
            loss.poll(now, Duration::from_millis(what.into()), &mut asked);
            assert!(asked.len() <= 512);
            let _ = reception.report(now, 7);
        }
        if what % 8 == 0 {
            let mut buffer = [0; 1200];
            let mut writer = Writer::new(&mut buffer);
            let _ = recorder.write_feedback(&mut writer, 1, 2);
            let len = writer.finish();
            for packet in packets(&buffer[..len]) {
                let Ok(Packet::TransportCc(feedback)) = packet else {
                    panic!("feedback is what was written");
                };
                feedback.arrivals(|_, _| {}).expect("what was written can be read");
            }
        }
    }
});
