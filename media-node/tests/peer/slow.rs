//! A viewer's slow path: what comes in waits in a bounded queue for its turn, and the viewer reports
//! (transport-wide feedback) when each packet came out of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use showrunner_rtp::rtcp;
use showrunner_rtp::twcc::Recorder;

use super::Packet;

/// What waits longer than this was dropped instead.
const QUEUE: Duration = Duration::from_millis(250);

/// How often the viewer reports.
const REPORTS: Duration = Duration::from_millis(50);

pub struct SlowPath {
    bps: u64,
    began: Instant,
    free_at: Instant,
    waiting: VecDeque<(Instant, Option<u16>, Packet)>,
    recorder: Recorder,
    next_report: Instant,
}

impl SlowPath {
    pub fn new(bps: u64) -> SlowPath {
        let now = Instant::now();
        SlowPath {
            bps,
            began: now,
            free_at: now,
            waiting: VecDeque::new(),
            recorder: Recorder::new(),
            next_report: now,
        }
    }

    /// The path carries so many bit/s from now on.
    pub fn set(&mut self, bps: u64) {
        self.bps = bps;
    }

    /// A packet of so many bytes enters.
    pub fn enter(&mut self, now: Instant, bytes: usize, number: Option<u16>, packet: Packet) {
        let start = self.free_at.max(now);
        if start - now > QUEUE {
            return;
        }
        let bits = (bytes + 28) as u64 * 8;
        self.free_at = start + Duration::from_micros(bits * 1_000_000 / self.bps);
        self.waiting.push_back((self.free_at, number, packet));
    }

    /// The next packet that has come out.
    pub fn leave(&mut self, now: Instant) -> Option<Packet> {
        let (at, number, _) = self.waiting.front()?;
        if *at > now {
            return None;
        }
        if let Some(number) = number {
            let arrival = at.saturating_duration_since(self.began);
            self.recorder.record(*number, arrival.as_micros() as u64);
        }
        self.waiting.pop_front().map(|(_, _, packet)| packet)
    }

    /// What the viewer reports now, if anything.
    pub fn report(&mut self, now: Instant) -> Option<Vec<u8>> {
        if now < self.next_report {
            return None;
        }
        self.next_report = now + REPORTS;
        let mut buffer = [0; 1200];
        let mut writer = rtcp::Writer::new(&mut buffer);
        // The rest goes with the next.
        let _full = self.recorder.write_feedback(&mut writer, 1, 1);
        let len = writer.finish();
        (len > 0).then(|| buffer[..len].to_vec())
    }
}
