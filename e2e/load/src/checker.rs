//! Judges one received stream: is anything missing, out of order in time, or not decodable?
//!
//! Packets are judged in order of their numbers; those that came too early wait, as numbers only.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::{Codec, PayloadInfo};
use showrunner_rtp::loss::LossTracker;

/// A packet that waits longer for the one before it is judged without it.
const MAX_WAIT: Duration = Duration::from_millis(1000);

/// What is known of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// What its payload says.
    pub info: PayloadInfo,
}

/// How much of a stream can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Headers and payloads.
    Full,
    /// The headers, which are in the clear in SRTP: what is missing shows, but not whether the
    /// stream begins with a keyframe or how VP8 counts its pictures.
    Headers,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Packets judged.
    pub packets: u64,
    /// Packets that were missing when a later one came.
    pub late: u64,
    /// Packets that never came.
    pub missing: u64,
    /// Packets that came again, or after they had been given up.
    pub useless: u64,
    /// Timestamps that ran backwards.
    pub time_reversals: u64,
    /// Frames that could not be decoded: the stream began without a keyframe and its parameters,
    /// a packet of a frame is missing, or a frame ended without its mark.
    pub undecodable: u64,
    /// VP8 pictures whose number is not the one after the last.
    pub picture_gaps: u64,
    /// Frames that could be decoded.
    pub frames: u64,
}

impl Findings {
    /// Adds another stream's.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.late += other.late;
        self.missing += other.missing;
        self.useless += other.useless;
        self.time_reversals += other.time_reversals;
        self.undecodable += other.undecodable;
        self.picture_gaps += other.picture_gaps;
        self.frames += other.frames;
    }

    /// Whether a viewer would have noticed nothing.
    pub fn is_flawless(&self) -> bool {
        self.missing + self.time_reversals + self.undecodable + self.picture_gaps == 0
    }
}

/// The state of one stream.
#[derive(Debug)]
pub struct Checker {
    codec: Codec,
    depth: Depth,
    /// Gaps, to be asked for again.
    pub loss: LossTracker,
    next: Option<u64>,
    early: BTreeMap<u64, (Instant, Seen)>,
    timestamp: Option<u32>,
    picture_id: Option<u16>,
    /// In the middle of a frame that is whole so far.
    in_frame: bool,
    /// A keyframe was decoded and nothing was lost since.
    decodable: bool,
    first_frame: Option<Instant>,
    findings: Findings,
}

impl Checker {
    /// Of a stream that hasn't begun.
    pub fn new(codec: Codec, depth: Depth) -> Self {
        Self {
            codec,
            depth,
            loss: LossTracker::new(),
            next: None,
            early: BTreeMap::new(),
            timestamp: None,
            picture_id: None,
            in_frame: false,
            decodable: depth == Depth::Headers,
            first_frame: None,
            findings: Findings::default(),
        }
    }

    /// The stream turned out to have another codec.
    pub fn set_codec(&mut self, codec: Codec) {
        self.codec = codec;
    }

    /// A packet came, by itself or as a retransmission.
    pub fn on_packet(&mut self, now: Instant, seq: u64, seen: Seen) {
        self.loss.on_packet(now, seq);
        let next = *self.next.get_or_insert(seq);
        if seq == next && self.early.is_empty() {
            self.next = Some(seq + 1);
            self.judge(now, seen);
        } else if seq < next || self.early.contains_key(&seq) {
            self.findings.useless += 1;
        } else {
            self.early.insert(seq, (now, seen));
            self.judge_waiting(now);
        }
    }

    /// A packet came that was there before, as SRTP found out.
    pub fn on_replay(&mut self) {
        self.findings.useless += 1;
    }

    /// Judges what need not or can't wait any longer.
    pub fn judge_waiting(&mut self, now: Instant) {
        while let (Some(next), Some(entry)) = (self.next, self.early.first_entry()) {
            let (seq, (since, seen)) = (*entry.key(), *entry.get());
            if seq > next {
                if now.saturating_duration_since(since) < MAX_WAIT {
                    return;
                }
                self.findings.missing += seq - next;
                self.lose();
            }
            self.early.pop_first();
            self.next = Some(seq + 1);
            self.judge(now, seen);
        }
    }

    fn lose(&mut self) {
        if std::mem::take(&mut self.in_frame) {
            self.findings.undecodable += 1;
        }
        self.decodable = self.depth == Depth::Headers;
        self.picture_id = None;
    }

    fn judge(&mut self, now: Instant, seen: Seen) {
        self.findings.packets += 1;
        let before = self.timestamp.replace(seen.timestamp);
        let new_frame = before != Some(seen.timestamp);
        if let Some(before) = before
            && (seen.timestamp.wrapping_sub(before) as i32) < 0
        {
            self.findings.time_reversals += 1;
        }
        if self.codec == Codec::Opus {
            self.findings.frames += 1;
            self.first_frame.get_or_insert(now);
            return;
        }
        if new_frame {
            if std::mem::take(&mut self.in_frame) {
                self.findings.undecodable += 1; // the last frame had no end
                self.decodable = self.depth == Depth::Headers;
            }
            self.begin_frame(seen);
        }
        if self.in_frame && seen.marker {
            self.in_frame = false;
            self.findings.frames += 1;
            self.first_frame.get_or_insert(now);
        }
    }

    fn begin_frame(&mut self, seen: Seen) {
        let id = seen.info.vp8.and_then(|d| d.picture_id);
        if let (Some(id), Some(last)) = (id, self.picture_id) {
            let mask = if id.long { 0x7fff } else { 0x7f };
            if id.value != last.wrapping_add(1) & mask {
                self.findings.picture_gaps += 1;
            }
        }
        self.picture_id = id.map(|id| id.value);
        // A decoder that starts here must be told the size: in H.264 that means that the sequence
        // parameters come along.
        let tells_size =
            seen.info.size.is_some() || !matches!(self.codec, Codec::H264 | Codec::Vp8);
        self.decodable |= seen.info.starts_keyframe && tells_size;
        self.in_frame = self.decodable;
        if !self.decodable {
            self.findings.undecodable += 1;
        }
    }

    /// Whether a keyframe is needed.
    pub fn needs_keyframe(&self) -> bool {
        self.codec != Codec::Opus && self.next.is_some() && !self.decodable
    }

    /// When the first frame was whole.
    pub fn first_frame(&self) -> Option<Instant> {
        self.first_frame
    }

    /// Frames that could be decoded so far.
    pub fn frames(&self) -> u64 {
        self.findings.frames
    }

    /// What was found so far.
    pub fn findings(&self) -> Findings {
        let late = self.loss.counters().missing;
        Findings {
            late,
            ..self.findings
        }
    }
}

#[cfg(test)]
mod tests {
    use showrunner_rtp::codec::inspect;

    use super::*;

    fn video(timestamp: u32, key: bool, marker: bool) -> Seen {
        let size = key.then_some((1280, 720));
        Seen {
            timestamp,
            marker,
            info: PayloadInfo {
                starts_keyframe: key,
                size,
                ..PayloadInfo::default()
            },
        }
    }

    fn check_to(depth: Depth, packets: &[(u64, Seen)], wait: Duration) -> Findings {
        let start = Instant::now();
        let mut checker = Checker::new(Codec::H264, depth);
        for (seq, seen) in packets {
            checker.on_packet(start, *seq, *seen);
        }
        checker.judge_waiting(start + wait);
        checker.findings()
    }

    fn check(packets: &[(u64, Seen)], wait: Duration) -> Findings {
        check_to(Depth::Full, packets, wait)
    }

    #[test]
    fn a_whole_stream_is_flawless_in_any_small_disorder_and_repeats_are_counted() {
        let packets = [
            (1, video(0, true, false)),
            (3, video(3000, false, true)),
            (3, video(3000, false, true)),
            (2, video(0, false, true)),
            (3, video(3000, false, true)),
        ];
        let findings = check(&packets, Duration::ZERO);
        assert!(findings.is_flawless(), "{findings:?}");
        assert_eq!(
            (findings.frames, findings.late, findings.useless),
            (2, 1, 2)
        );
    }

    #[test]
    fn what_is_lost_for_good_is_found() {
        let packets = [(1, video(0, true, true)), (3, video(6000, false, true))];
        assert!(
            check(&packets, MAX_WAIT / 2).is_flawless(),
            "it may still come"
        );
        let findings = check(&packets, MAX_WAIT);
        assert_eq!((findings.missing, findings.undecodable), (1, 1));
    }

    #[test]
    fn a_keyframe_repairs_what_was_lost() {
        let packets = [
            (1, video(0, true, true)),
            (3, video(6000, false, true)),
            (4, video(9000, true, true)),
            (5, video(12_000, false, true)),
        ];
        let findings = check(&packets, MAX_WAIT);
        assert_eq!(
            (findings.missing, findings.undecodable, findings.frames),
            (1, 1, 3)
        );
    }

    #[test]
    fn a_stream_without_a_keyframe_or_an_end_of_frame_is_found() {
        assert_eq!(
            check(&[(1, video(0, false, true))], Duration::ZERO).undecodable,
            1
        );
        let packets = [(1, video(0, true, false)), (2, video(3000, false, true))];
        assert_eq!(check(&packets, Duration::ZERO).undecodable, 2);
    }

    #[test]
    fn a_keyframe_without_its_parameters_is_found() {
        let mut key = video(0, true, true);
        key.info.size = None;
        assert_eq!(check(&[(1, key)], Duration::ZERO).undecodable, 1);
    }

    #[test]
    fn time_that_runs_back_is_found() {
        let packets = [(1, video(3000, true, true)), (2, video(0, true, true))];
        assert_eq!(check(&packets, Duration::ZERO).time_reversals, 1);
    }

    #[test]
    fn headers_alone_show_what_is_missing() {
        let packets = [
            (1, video(0, false, true)),
            (2, video(3000, false, true)),
            (4, video(6000, false, true)),
        ];
        let findings = check_to(Depth::Headers, &packets, MAX_WAIT);
        assert_eq!(
            (findings.frames, findings.missing, findings.undecodable),
            (3, 1, 0)
        );
        let packets = [(1, video(0, false, false)), (2, video(3000, false, true))];
        assert_eq!(
            check_to(Depth::Headers, &packets, MAX_WAIT).undecodable,
            1,
            "a frame without end"
        );
    }

    #[test]
    fn a_gap_of_picture_ids_is_found() {
        let start = Instant::now();
        let mut checker = Checker::new(Codec::Vp8, Depth::Full);
        for (seq, id) in [(1u64, 126u8), (2, 127), (3, 0), (4, 2)] {
            let info = inspect(Codec::Vp8, &[0x90, 0x80, id, 0, 0, 0]);
            let seen = Seen {
                timestamp: seq as u32 * 3000,
                marker: true,
                info,
            };
            checker.on_packet(start, seq, seen);
        }
        assert_eq!(checker.findings().picture_gaps, 1);
    }
}
