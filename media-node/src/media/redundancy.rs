//! How much is sent to a viewer more often than once, and when: enough to hide what its path
//! loses, and nothing on a clean one.
//!
//! Sound repeats earlier frames in each packet (RFC 2198), for it can't wait to be asked. Pictures
//! are asked for again; what is sent without having been asked for spares the round trip, at the
//! price of its bytes, so only where the path carries them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use showrunner_rtp::codec::layering::Layering;

use super::quality::Quality;

/// The most earlier frames in a packet of sound. Each has to wait one packet longer, and browsers
/// hold back sound hardly longer than this.
pub const MAX_AUDIO_DEPTH: usize = 5;

/// Sound that stays lost: at most this share.
const LOST_SOUND: f32 = 0.02;

/// Below this share of losses nothing is sent more than once.
const CLEAN: f32 = 0.01;

/// How many earlier frames a packet of sound repeats, if this share of packets is lost.
pub fn audio_depth(loss: f32) -> usize {
    if loss < CLEAN {
        return 0;
    }
    let (mut depth, mut lost) = (1, loss * loss);
    while lost > LOST_SOUND && depth < MAX_AUDIO_DEPTH {
        depth += 1;
        lost *= loss;
    }
    depth
}

/// What hangs on a frame of video, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing, or a frame or two of higher temporal layers: the next one of the base does without.
    Discardable,
    /// The frames after it.
    Base,
    /// Everything until the next keyframe.
    Keyframe,
}

impl Weight {
    /// Of a frame in this place of its stream.
    pub fn of(layering: &Layering, is_of_keyframe: bool) -> Self {
        if is_of_keyframe {
            Self::Keyframe
        } else if layering.temporal > 0 {
            Self::Discardable
        } else {
            Self::Base
        }
    }
}

/// How often more than once a frame of video is sent, unasked. `headroom` is what the path carries,
/// as a multiple of what is sent to the viewer; unknown, if it can't be told.
pub fn early_copies(path: Quality, headroom: Option<f32>, weight: Weight) -> u8 {
    /// What costs as much as the picture itself needs a path that carries it twice.
    const TWICE: f32 = 2.0;
    /// A keyframe now and then needs some room only.
    const SOME: f32 = 1.25;
    /// To wait for one retransmission is a stutter of its own.
    const LONG: Duration = Duration::from_millis(150);
    let Some(room) = headroom else {
        return 0;
    };
    match weight {
        Weight::Keyframe if path.loss >= 0.2 && room >= TWICE => 2,
        Weight::Keyframe if path.loss >= CLEAN && room >= SOME => 1,
        Weight::Base if path.loss >= 0.05 && room >= TWICE => 1,
        Weight::Base if path.loss >= CLEAN / 2.0 && path.rtt >= LONG && room >= TWICE => 1,
        Weight::Discardable if path.loss >= 0.1 && room >= TWICE => 1,
        _ => 0,
    }
}

/// How often a packet is sent that was asked for: those that are lost again cost a round trip each,
/// and they are few. Not where the path is full, and loses for that.
pub fn answers(path: Quality, headroom: Option<f32>) -> u8 {
    let is_full = headroom.is_some_and(|room| room < 1.0);
    match path.loss {
        _ if is_full => 1,
        loss if loss >= 0.25 => 3,
        loss if loss >= 0.08 => 2,
        _ => 1,
    }
}

/// The time between two copies of a frame: longer than most bursts of losses, shorter than any
/// round trip worth sparing.
pub const SPACING: Duration = Duration::from_millis(15);

/// The most copies that wait.
const MAX_WAITING: usize = 256;

/// Packets to be sent again later, as first and last number of the viewer's stream.
#[derive(Debug, Default)]
pub struct Copies {
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Instant,
    first: u16,
    last: u16,
}

impl Copies {
    /// Has packets sent `count` times more, from `now` on.
    pub fn schedule(&mut self, now: Instant, first: u16, last: u16, count: u8) {
        for nth in 1..=u32::from(count) {
            if self.waiting.len() == MAX_WAITING {
                self.waiting.pop_front();
            }
            let due = now + nth * SPACING;
            let at = self.waiting.partition_point(|w| w.due <= due);
            self.waiting.insert(at, Waiting { due, first, last });
        }
    }

    /// The next packets whose time has come: first and last number.
    pub fn poll(&mut self, now: Instant) -> Option<(u16, u16)> {
        let next = self.waiting.front().filter(|w| w.due <= now)?;
        let numbers = (next.first, next.last);
        self.waiting.pop_front();
        Some(numbers)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(loss: f32, rtt_ms: u64) -> Quality {
        Quality {
            loss,
            rtt: Duration::from_millis(rtt_ms),
        }
    }

    #[test]
    fn sound_is_repeated_as_often_as_it_is_lost() {
        let depths = [0.0, 0.009, 0.01, 0.1, 0.2, 0.3, 0.5, 1.0].map(audio_depth);
        assert_eq!(depths, [0, 0, 1, 1, 2, 3, 5, 5]);
    }

    #[test]
    fn a_clean_path_carries_everything_once() {
        for weight in [Weight::Keyframe, Weight::Base, Weight::Discardable] {
            assert_eq!(early_copies(path(0.0, 300), Some(100.0), weight), 0);
        }
        assert_eq!(answers(path(0.0, 300), Some(100.0)), 1);
    }

    #[test]
    fn answers_are_repeated_where_the_path_loses_but_not_where_it_is_full() {
        let of = |loss, room| answers(path(loss, 100), room);
        assert_eq!([0.05, 0.1, 0.3].map(|loss| of(loss, None)), [1, 2, 3]);
        assert_eq!([0.05, 0.1, 0.3].map(|loss| of(loss, Some(1.0))), [1, 2, 3]);
        assert_eq!([0.05, 0.1, 0.3].map(|loss| of(loss, Some(0.9))), [1, 1, 1]);
    }

    #[test]
    fn what_costs_more_than_the_path_carries_is_not_sent() {
        for weight in [Weight::Keyframe, Weight::Base, Weight::Discardable] {
            assert_eq!(early_copies(path(0.5, 300), None, weight), 0);
            assert_eq!(early_copies(path(0.5, 300), Some(1.1), weight), 0);
        }
        let of = |weight| early_copies(path(0.1, 100), Some(1.5), weight);
        assert_eq!((of(Weight::Keyframe), of(Weight::Base)), (1, 0));
    }

    #[test]
    fn the_more_hangs_on_a_frame_the_sooner_it_is_sent_twice() {
        let of = |loss, rtt| {
            [Weight::Keyframe, Weight::Base, Weight::Discardable]
                .map(|weight| early_copies(path(loss, rtt), Some(3.0), weight))
        };
        assert_eq!(of(0.01, 50), [1, 0, 0]);
        assert_eq!(of(0.01, 250), [1, 1, 0], "where asking takes long");
        assert_eq!(of(0.05, 50), [1, 1, 0]);
        assert_eq!(of(0.1, 50), [1, 1, 1]);
        assert_eq!(of(0.3, 50), [2, 1, 1]);
    }

    #[test]
    fn little_hangs_on_a_higher_temporal_layer() {
        let of = |temporal, is_of_keyframe| {
            let layering = Layering {
                temporal,
                ..Layering::default()
            };
            Weight::of(&layering, is_of_keyframe)
        };
        assert_eq!(of(0, true), Weight::Keyframe);
        assert_eq!(of(0, false), Weight::Base);
        assert_eq!([of(1, false), of(2, false)], [Weight::Discardable; 2]);
    }

    #[test]
    fn copies_come_one_after_the_other() {
        let start = Instant::now();
        let mut copies = Copies::default();
        copies.schedule(start, 65_535, 2, 2);
        copies.schedule(start + SPACING / 3, 3, 3, 1);
        assert_eq!(copies.poll(start), None);
        assert_eq!(copies.poll(start + SPACING), Some((65_535, 2)));
        assert_eq!(copies.poll(start + SPACING), None);
        let end = start + 2 * SPACING;
        assert_eq!(copies.poll(end), Some((3, 3)));
        assert_eq!(copies.poll(end), Some((65_535, 2)));
        assert!(copies.is_empty());
    }

    proptest! {
        #[test]
        fn copies_are_bounded_and_in_order(steps in prop::collection::vec((0u64..20, 0u8..4, any::<bool>()), 0..500)) {
            let mut now = Instant::now();
            let mut copies = Copies::default();
            for (seq, (pause, count, polls)) in (0u16..).zip(steps) {
                now += Duration::from_millis(pause);
                copies.schedule(now, seq, seq, count);
                prop_assert!(copies.waiting.len() <= MAX_WAITING);
                let times: Vec<_> = copies.waiting.iter().map(|w| w.due).collect();
                prop_assert!(times.is_sorted());
                while polls && copies.poll(now).is_some() {}
            }
        }

        #[test]
        fn no_path_asks_for_more_than_is_meant(loss in 0.0f32..=1.0, rtt in 0u64..5000, headroom in 0.0f32..10.0) {
            prop_assert!(audio_depth(loss) <= MAX_AUDIO_DEPTH);
            for weight in [Weight::Keyframe, Weight::Base, Weight::Discardable] {
                prop_assert!(early_copies(path(loss, rtt), Some(headroom), weight) <= 2);
            }
        }
    }
}
