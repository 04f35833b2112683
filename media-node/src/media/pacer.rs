//! How fast one viewer is sent to, and where in its layer it is.
//!
//! No packet waits in a queue of its viewer's: all are in the layer's store already. A viewer whose
//! [`Budget`] is spent falls *behind*, which is a number in that store ([`Cursor`]), and is fed from
//! there as its budget grows until it is live again. So a frame that fits goes out whole, as one run,
//! at the moment it came, and a keyframe that would fill the path's queue goes out over time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::layer::Layer;
use super::packet::StoredPacket;

/// A viewer is sent to this much faster than its path is said to carry: frames differ in size, and what is behind has to
/// catch up. A large keyframe should have left before the path is through with it.
pub const PACE: u64 = 2;

/// What may leave at once: what the pace gives in this time …
const BURST: Duration = Duration::from_millis(20);

/// … but no less than so many bytes, three packets.
const MIN_BURST: i64 = 3600;

/// What may leave at once on a path that nothing has been sent on: as much as TCP begins with (RFC 6928). A small layer's
/// keyframe goes out whole by that.
const INITIAL_WINDOW: i64 = 10 * 1460;

/// Retransmissions come before new media, on credit of as much as the pace gives in this time.
const REPAIR_CREDIT: Duration = Duration::from_millis(60);

/// A viewer that is more than this later than it was when it fell behind is sent no more of it.
const MAX_LAG: Duration = Duration::from_millis(700);

/// What may be sent to a viewer now: grows at the viewer's pace, and what is sent is taken off.
/// All that is sent counts, and it may be overdrawn: by sound, which never waits, by
/// retransmissions and by the last packet of a burst.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes a second.
    pace: u64,
    /// Bytes that may leave; below zero, what was overdrawn.
    left: i64,
    at: Instant,
    /// New pictures are to wait, whatever is left.
    is_held: bool,
}

impl Budget {
    /// A budget for a path that carries so many bit/s, and has nothing on it.
    pub fn new(now: Instant, path_bps: u64) -> Self {
        let mut budget = Self {
            pace: 0,
            left: 0,
            at: now,
            is_held: false,
        };
        budget.set_path(now, path_bps);
        budget.left = budget.burst().max(INITIAL_WINDOW);
        budget
    }

    /// The path carries so many bit/s.
    pub fn set_path(&mut self, now: Instant, path_bps: u64) {
        self.refill(now);
        self.pace = path_bps.saturating_mul(PACE) / 8;
        self.left = self.left.min(self.burst());
    }

    /// Time has passed.
    #[inline]
    pub fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        if since.is_zero() {
            return;
        }
        self.at = now;
        let grown = self.left.saturating_add(self.in_time(since));
        self.left = grown.min(self.burst().max(self.left));
    }

    /// So many bytes leave.
    #[inline]
    pub fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as i64);
    }

    /// Whether new media may leave.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.left > 0 && !self.is_held
    }

    /// Has new pictures wait, or not any more. What is not sent meanwhile is saved up as ever.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Whether a retransmission may leave.
    pub fn may_repair(&self) -> bool {
        self.left + self.in_time(REPAIR_CREDIT).max(MIN_BURST) > 0
    }

    /// What there is, in bytes.
    pub fn left(&self) -> i64 {
        self.left
    }

    fn burst(&self) -> i64 {
        self.in_time(BURST).max(MIN_BURST)
    }

    fn in_time(&self, time: Duration) -> i64 {
        // So that a long time does not overflow; nothing is saved up over so long.
        let micros = time.min(Duration::from_secs(10)).as_micros() as u64;
        (self.pace.saturating_mul(micros) / 1_000_000) as i64
    }
}

/// Where a viewer is in the layer that it is on.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The number after the highest one that was sent.
    next: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Every packet goes out as it comes.
    #[default]
    Live,
    /// `next` is the first that was not sent. It may be this old.
    Behind { max_age: Duration },
    /// The same, in a stored keyframe that is shown as a still picture.
    Still { start: u64 },
}

/// What a viewer that is behind is to be sent next.
#[derive(Debug)]
pub enum Next<'l> {
    /// This packet.
    Send(&'l Arc<StoredPacket>),
    /// Nothing: this number carries no media, and is to be left out of the viewer's numbering.
    Skip(u64),
    /// Nothing yet: what comes next waits to be sent to all.
    Wait,
    /// Nothing more: it is live, or has all of the still picture.
    Done,
    /// Nothing of this: it would come too late, or is not stored any more.
    Lost,
}

impl Cursor {
    /// Begins a layer live, with this packet.
    pub fn live_from(seq: u64) -> Self {
        Self {
            next: seq,
            state: State::Live,
        }
    }

    /// Begins in what is stored: with this packet, which came then.
    pub fn behind_from(seq: u64, arrival: Instant, now: Instant) -> Self {
        Self {
            next: seq,
            state: State::Behind {
                max_age: now.saturating_duration_since(arrival) + MAX_LAG,
            },
        }
    }

    /// Begins with a stored keyframe, and ends with it.
    pub fn still_from(seq: u64) -> Self {
        Self {
            next: seq,
            state: State::Still { start: seq },
        }
    }

    /// The number after the highest one that was sent.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Whether something that was stored is still to be sent.
    pub fn is_behind(&self) -> bool {
        self.state != State::Live
    }

    /// A packet came, or came late: whether to send it now. If not, the viewer is behind from
    /// there on.
    #[inline]
    pub fn takes(&mut self, seq: u64, budget: &Budget) -> bool {
        if seq < self.next {
            // Late: it was passed when it was missing.
            return !matches!(self.state, State::Still { .. });
        }
        match self.state {
            State::Live if budget.is_open() => {
                self.next = seq + 1;
                true
            }
            State::Live => {
                self.next = seq;
                self.state = State::Behind { max_age: MAX_LAG };
                false
            }
            State::Behind { .. } | State::Still { .. } => false,
        }
    }

    /// What is next of what is stored.
    ///
    /// What waits in the layer to be sent to all is left to that: nothing may be sent twice under
    /// one number.
    pub fn next<'l>(&mut self, layer: &'l Layer, now: Instant) -> Next<'l> {
        match self.state {
            State::Live => Next::Done,
            State::Still { start } => self.next_of_still(layer, start),
            State::Behind { max_age } => self.next_stored(layer, max_age, now),
        }
    }

    fn next_of_still<'l>(&mut self, layer: &'l Layer, start: u64) -> Next<'l> {
        let packets = layer.keyframe_packets();
        let at = packets.partition_point(|p| p.seq < self.next);
        match packets.get(at).filter(|_| packets[0].seq == start) {
            Some(packet) => {
                self.next = packet.seq + 1;
                Next::Send(packet)
            }
            None => {
                self.state = State::Live;
                Next::Done
            }
        }
    }

    fn next_stored<'l>(&mut self, layer: &'l Layer, max_age: Duration, now: Instant) -> Next<'l> {
        let Some(head) = layer.head() else {
            return Next::Lost;
        };
        while self.next <= head {
            if layer.pending.iter().any(|p| p.seq == self.next) {
                return Next::Wait;
            }
            if let Some(packet) = layer.get(self.next) {
                if now.saturating_duration_since(packet.arrival) > max_age {
                    return Next::Lost;
                }
                self.next += 1;
                return Next::Send(packet);
            }
            if !layer.remembers(self.next) {
                return Next::Lost;
            }
            self.next += 1;
            if layer.is_padding(self.next - 1) {
                return Next::Skip(self.next - 1);
            }
        }
        if layer.is_padding(self.next) {
            self.next += 1;
            return Next::Skip(self.next - 1);
        }
        self.state = State::Live;
        Next::Done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use showrunner_rtp::codec::Codec;

    use super::*;
    use crate::media::packet::SourceId;

    const SIZE: usize = 1200;

    fn layer(now: Instant) -> Layer {
        Layer::new(SourceId(1), "f".into(), Codec::Vp8, now)
    }

    fn packet(seq: u64, at: Instant) -> Arc<StoredPacket> {
        let mut packet = StoredPacket::empty(at);
        packet.seq = seq;
        packet.timestamp = seq as u32;
        packet.starts_keyframe = seq == 0;
        assert!(packet.set_payload(&[1; SIZE]));
        Arc::new(packet)
    }

    /// One viewer of one layer.
    struct Viewer {
        cursor: Cursor,
        budget: Budget,
        got: Vec<u64>,
        is_lost: bool,
    }

    impl Viewer {
        fn on(now: Instant, bps: u64) -> Self {
            Self {
                cursor: Cursor::live_from(0),
                budget: Budget::new(now, bps),
                got: Vec::new(),
                is_lost: false,
            }
        }

        fn get(&mut self, seq: u64) {
            self.got.push(seq);
            self.budget.spend(SIZE);
        }

        /// What waits in the layer goes out.
        fn flush(&mut self, now: Instant, layer: &mut Layer) {
            self.budget.refill(now);
            for packet in std::mem::take(&mut layer.pending) {
                if self.cursor.takes(packet.seq, &self.budget) {
                    self.get(packet.seq);
                }
            }
            self.feed(now, layer);
        }

        fn feed(&mut self, now: Instant, layer: &Layer) {
            self.budget.refill(now);
            while self.budget.is_open() {
                match self.cursor.next(layer, now) {
                    Next::Send(packet) => self.get(packet.seq),
                    Next::Skip(_) => {}
                    Next::Wait | Next::Done => return,
                    Next::Lost => {
                        self.is_lost = true;
                        return;
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_within_the_budget_leaves_whole_and_at_once() {
        let now = Instant::now();
        let (mut layer, mut viewer) = (layer(now), Viewer::on(now, 5_000_000));
        for seq in 0..10 {
            layer.push(packet(seq, now), None);
        }
        viewer.flush(now, &mut layer);
        assert_eq!(viewer.got.len(), 10);
        assert!(!viewer.cursor.is_behind());
    }

    #[test]
    fn a_keyframe_leaves_at_the_pace_of_the_path_and_the_viewer_is_live_again() {
        let start = Instant::now();
        let (mut layer, mut viewer) = (layer(start), Viewer::on(start, 3_000_000));
        let (mut now, mut seq) = (start, 0);
        // 60 packets of 1,200 bytes: 96 ms of what a pace of 6 Mbit/s gives.
        for _ in 0..60 {
            layer.push(packet(seq, now), None);
            seq += 1;
        }
        viewer.flush(now, &mut layer);
        assert!(viewer.cursor.is_behind());
        let burst = viewer.got.len();
        assert_eq!(burst, 13, "what TCP begins with; the last one overdraws");
        let mut live_after = None;
        for ms in (5..300).step_by(5) {
            now = start + Duration::from_millis(ms);
            if ms % 30 == 0 {
                for _ in 0..3 {
                    layer.push(packet(seq, now), None);
                    seq += 1;
                }
                viewer.flush(now, &mut layer);
            }
            viewer.feed(now, &layer);
            let sent = (viewer.got.len() * SIZE * 8) as f64;
            let most = 8.0 * INITIAL_WINDOW as f64 + 6e6 * (ms as f64 / 1000.0 + 0.005);
            assert!(sent <= most, "{sent} bits after {ms} ms");
            if !viewer.cursor.is_behind() {
                live_after.get_or_insert(ms);
            }
        }
        assert!((75..130).contains(&live_after.expect("live")));
        assert_eq!(viewer.got, (0..seq).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_held_waits_and_is_sent_afterwards() {
        let now = Instant::now();
        let (mut layer, mut viewer) = (layer(now), Viewer::on(now, 5_000_000));
        layer.push(packet(0, now), None);
        viewer.budget.hold(true);
        viewer.flush(now, &mut layer);
        assert!(viewer.got.is_empty() && viewer.cursor.is_behind());
        viewer.budget.hold(false);
        viewer.feed(now + Duration::from_millis(100), &layer);
        assert_eq!(viewer.got, [0]);
        assert!(!viewer.cursor.is_behind());
    }

    #[test]
    fn one_that_can_not_keep_up_is_told_so() {
        let start = Instant::now();
        let (mut layer, mut viewer) = (layer(start), Viewer::on(start, 200_000));
        for (seq, ms) in (0..3000).step_by(5).enumerate() {
            let now = start + Duration::from_millis(ms);
            layer.push(packet(seq as u64, now), None);
            viewer.flush(now, &mut layer);
            if viewer.is_lost {
                assert!(ms >= MAX_LAG.as_millis() as u64, "{ms}");
                return;
            }
        }
        panic!("it was not lost");
    }

    #[test]
    fn numbers_that_are_not_stored_any_more_are_lost() {
        let now = Instant::now();
        let (mut layer, mut viewer) = (layer(now), Viewer::on(now, 0));
        viewer.budget.spend(SIZE * 10);
        for seq in 0..2 * super::super::layer::HISTORY as u64 {
            layer.push(packet(seq, now), None);
            viewer.flush(now, &mut layer);
        }
        assert!(matches!(viewer.cursor.next(&layer, now), Next::Lost));
    }

    #[test]
    fn a_still_picture_ends_where_it_ends_or_when_another_comes() {
        let now = Instant::now();
        let mut layer = layer(now);
        for (seq, timestamp) in [(10, 1), (11, 1), (12, 2)] {
            let mut packet = StoredPacket::empty(now);
            (packet.seq, packet.timestamp) = (seq, timestamp);
            packet.starts_keyframe = seq == 10;
            layer.push(Arc::new(packet), None);
        }
        let mut cursor = Cursor::still_from(10);
        for seq in [10, 11] {
            assert!(matches!(cursor.next(&layer, now), Next::Send(p) if p.seq == seq));
        }
        assert!(matches!(cursor.next(&layer, now), Next::Done));
        assert!(!cursor.is_behind());
        let mut cursor = Cursor::still_from(3);
        assert!(matches!(cursor.next(&layer, now), Next::Done));
    }

    #[test]
    fn sound_and_repairs_are_on_credit_that_ends() {
        let now = Instant::now();
        let mut budget = Budget::new(now, 1_000_000);
        let mut repaired = 0;
        while budget.may_repair() {
            budget.spend(SIZE);
            repaired += 1;
        }
        assert!(!budget.is_open());
        assert!((5..30).contains(&repaired), "{repaired}");
        budget.refill(now + Duration::from_secs(60));
        assert!(budget.is_open());
        assert_eq!(budget.left(), budget.burst(), "a pause saves nothing up");
    }

    proptest! {
        /// Whatever comes late, twice or not at all, and whatever the path carries: each packet
        /// that the layer has goes out once, and padding never.
        #[test]
        fn each_packet_leaves_once(
            steps in prop::collection::vec((0u64..4, 0u8..8, 0u64..12), 1..300),
            kbps in 50u64..20_000,
        ) {
            let start = Instant::now();
            let (mut layer, mut viewer) = (layer(start), Viewer::on(start, kbps * 1000));
            let (mut seq, mut now) = (0, start);
            let mut missing = Vec::new();
            let mut all = Vec::new();
            layer.push(packet(0, now), None);
            all.push(0);
            for (gap, what, ms) in steps {
                now += Duration::from_millis(ms);
                match what {
                    0 => {
                        viewer.flush(now, &mut layer);
                        seq += 1;
                        layer.skip(seq);
                    }
                    1 => if let Some(late) = missing.pop() {
                        layer.push(packet(late, now), None);
                        all.push(late);
                    }
                    2 => viewer.flush(now, &mut layer),
                    3 => viewer.feed(now, &layer),
                    _ => {
                        missing.extend(seq + 1..seq + 1 + gap);
                        seq += 1 + gap;
                        layer.push(packet(seq, now), None);
                        all.push(seq);
                    }
                }
                if viewer.is_lost {
                    return Ok(());
                }
            }
            for _ in 0..10_000 {
                now += Duration::from_millis(1);
                viewer.flush(now, &mut layer);
                if viewer.is_lost {
                    return Ok(());
                }
            }
            prop_assert!(!viewer.cursor.is_behind());
            let mut got = viewer.got.clone();
            got.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(got, all);
        }
    }
}
