//! What one viewer's losses are hidden with, and how that follows its path.

use std::time::{Duration, Instant};

use super::deadline::Answers;
use super::layer::Layer;
use super::packet::StoredPacket;
use super::playout::PlayoutDelay;
use super::quality::Quality;
use super::redundancy::{Copies, MAX_AUDIO_DEPTH, Weight, answers, audio_depth, early_copies};

/// The most bytes of earlier sound in a packet: it stays below what any path carries whole …
const MAX_EARLIER: usize = 1000;

/// … and earlier sound takes no more than this part of a path. There are fifty packets a second.
const EARLIER_PART: u64 = 3;

/// What a path has room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What it carries, in bit/s.
    pub path_bps: u64,
    /// What the viewer's tracks take of it, in bit/s.
    pub wanted_bps: u64,
    /// Packets wait in its queue: it loses what is too much.
    pub is_full: bool,
}

impl Room {
    fn headroom(self) -> f32 {
        if self.is_full {
            return 0.0;
        }
        self.path_bps as f32 / self.wanted_bps.max(1) as f32
    }
}

/// One viewer's protection.
#[derive(Debug, Default)]
pub struct Hiding {
    path: Quality,
    /// What the path carries, as a multiple of what is sent.
    headroom: Option<f32>,
    playout: PlayoutDelay,
    /// How late pictures are before they are sent.
    late_by: Duration,
    audio_depth: usize,
    /// The most bytes of earlier sound in a packet.
    max_earlier: usize,
    /// What was sent again lately.
    pub answers: Answers,
    /// What is to be sent again unasked.
    pub copies: Copies,
}

impl Hiding {
    /// The path as it was last told of.
    pub fn path(&self) -> Quality {
        self.path
    }

    /// The path is like this now, and has this room, if that is known.
    pub fn update(&mut self, now: Instant, path: Quality, room: Option<Room>) {
        let headroom = room.map(Room::headroom);
        self.path = path;
        self.headroom = headroom;
        self.audio_depth = audio_depth(path.loss);
        self.max_earlier = room.map_or(MAX_EARLIER, |room| {
            let bytes = room.path_bps / EARLIER_PART / (8 * 50);
            usize::try_from(bytes)
                .unwrap_or(MAX_EARLIER)
                .min(MAX_EARLIER)
        });
        let copies = 1 + early_copies(path, headroom, Weight::Base);
        self.playout.update(now, path, copies, self.late_by);
    }

    /// Pictures come so late already, many of them.
    pub fn note_lateness(&mut self, late_by: Duration) {
        self.late_by = late_by;
    }

    /// How long pictures are held back at least.
    pub fn held_back(&self) -> Duration {
        self.playout.least()
    }

    /// The bounds of playout delay that a frame sent now carries, if any.
    pub fn playout_to_write(&self, now: Instant) -> Option<[u8; 3]> {
        self.playout.to_write(now)
    }

    /// How often a packet is sent that was asked for.
    pub fn answers_per_request(&self) -> u8 {
        answers(self.path, self.headroom)
    }

    /// What the path would have to carry, in bit/s, for copies that it needs beside so many bit/s:
    /// worth finding out.
    pub fn goal_bps(&self, wanted_bps: u64) -> Option<u64> {
        // A little more than twice: the estimate wavers.
        let goal_bps = wanted_bps.saturating_mul(9) / 4;
        let copies = early_copies(self.path, Some(f32::MAX), Weight::Base);
        (copies > 0).then_some(goal_bps)
    }

    /// How often more than once a frame is sent.
    pub fn early_copies(&self, weight: Weight) -> u8 {
        early_copies(self.path, self.headroom, weight)
    }

    /// The sound before a packet that it brings along, the oldest first. The viewer has been sent
    /// this many packets of the layer before.
    pub fn earlier_sound<'l>(
        &self,
        layer: &'l Layer,
        packet: &StoredPacket,
        sent_before: u64,
    ) -> impl Iterator<Item = &'l StoredPacket> + Clone + use<'l> {
        let mut found = [None; MAX_AUDIO_DEPTH];
        let mut bytes = 0;
        let depth = self
            .audio_depth
            .min(usize::try_from(sent_before).unwrap_or(MAX_AUDIO_DEPTH));
        let before = (1..).map_while(|n| packet.seq.checked_sub(n)).take(depth);
        for (slot, seq) in found.iter_mut().rev().zip(before) {
            let earlier = layer.get(seq).map(|earlier| &**earlier);
            bytes += earlier.map_or(0, |earlier| earlier.payload().len());
            if bytes > self.max_earlier {
                break;
            }
            *slot = earlier;
        }
        found.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use showrunner_rtp::codec::Codec;

    use super::*;
    use crate::media::packet::SourceId;

    fn layer(seqs: &[u64], len: usize) -> Layer {
        let now = Instant::now();
        let mut layer = Layer::new(SourceId(1), "".into(), Codec::Opus, now);
        for seq in seqs {
            layer.push(Arc::new(packet(*seq, len)), None);
        }
        layer
    }

    fn packet(seq: u64, len: usize) -> StoredPacket {
        let mut packet = StoredPacket::empty(Instant::now());
        packet.seq = seq;
        packet.timestamp = seq as u32 * 960;
        assert!(packet.set_payload(&vec![7; len]));
        packet
    }

    fn losing(loss: f32) -> Hiding {
        let mut hiding = Hiding::default();
        let path = Quality {
            loss,
            ..Quality::default()
        };
        hiding.update(Instant::now(), path, None);
        hiding
    }

    fn earlier(hiding: &Hiding, layer: &Layer, seq: u64, sent_before: u64) -> Vec<u64> {
        let packet = packet(seq, 80);
        let earlier = hiding.earlier_sound(layer, &packet, sent_before);
        earlier.map(|p| p.seq).collect()
    }

    #[test]
    fn sound_brings_along_what_came_before_it() {
        let layer = layer(&[1, 2, 3, 4, 5, 6, 7, 8], 80);
        assert!(earlier(&losing(0.0), &layer, 8, 100).is_empty());
        assert_eq!(earlier(&losing(0.1), &layer, 8, 100), [7]);
        assert_eq!(earlier(&losing(0.5), &layer, 8, 100), [3, 4, 5, 6, 7]);
        assert_eq!(earlier(&losing(0.5), &layer, 2, 100), [1]);
    }

    #[test]
    fn what_was_never_sent_to_the_viewer_is_not_brought_along() {
        let layer = layer(&[1, 2, 3, 4, 5, 6, 7, 8], 80);
        assert!(earlier(&losing(0.5), &layer, 8, 0).is_empty());
        assert_eq!(earlier(&losing(0.5), &layer, 8, 2), [6, 7]);
    }

    #[test]
    fn sound_that_the_host_lost_is_left_out() {
        let layer = layer(&[1, 2, 3, 4, 6, 8], 80);
        assert_eq!(earlier(&losing(0.5), &layer, 8, 100), [3, 4, 6]);
    }

    #[test]
    fn a_narrow_path_is_not_filled_with_sound() {
        let layer = layer(&[1, 2, 3, 4, 5, 6, 7, 8], 80);
        let on = |path_bps| {
            let mut hiding = losing(0.5);
            let room = Room {
                path_bps,
                wanted_bps: 32_000,
                is_full: false,
            };
            hiding.update(Instant::now(), hiding.path(), Some(room));
            earlier(&hiding, &layer, 8, 100).len()
        };
        // Each frame of 80 bytes takes 32 kbit/s.
        assert_eq!([90_000, 100_000, 300_000, 2_000_000].map(on), [0, 1, 3, 5]);
    }

    #[test]
    fn room_for_copies_is_looked_for_only_where_they_are_needed() {
        assert_eq!(losing(0.0).goal_bps(1_000_000), None);
        assert_eq!(losing(0.1).goal_bps(1_000_000), Some(2_250_000));
    }

    #[test]
    fn nothing_is_repeated_on_a_full_path() {
        let path = Quality {
            loss: 0.3,
            ..Quality::default()
        };
        let room = Room {
            path_bps: 9_000_000,
            wanted_bps: 1_000_000,
            is_full: true,
        };
        let mut hiding = Hiding::default();
        hiding.update(Instant::now(), path, Some(room));
        let copies = |hiding: &Hiding| {
            (
                hiding.early_copies(Weight::Base),
                hiding.answers_per_request(),
            )
        };
        assert_eq!(copies(&hiding), (0, 1));
        let room = Room {
            is_full: false,
            ..room
        };
        hiding.update(Instant::now(), path, Some(room));
        assert_eq!(copies(&hiding), (1, 3));
    }

    #[test]
    fn large_sound_is_repeated_less() {
        let layer = layer(&[1, 2, 3, 4, 5, 6, 7, 8], 400);
        assert_eq!(earlier(&losing(0.5), &layer, 8, 100), [6, 7]);
    }
}
