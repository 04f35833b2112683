//! Which of the packets that a viewer asks for are worth sending again: those that still come in
//! time to be shown, or that others wait for, and each once a round trip.

use std::time::{Duration, Instant};

use super::quality::Quality;

/// How many answers are remembered: those of one round trip.
const REMEMBERED: usize = 256;

/// A browser holds pictures back for a while of its own accord.
const OWN_BUFFER: Duration = Duration::from_millis(200);

/// What other frames wait for comes too late when the viewer has begun anew from a keyframe.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer is on its way for a little less than a round trip at times.
const JITTER: Duration = Duration::from_millis(5);

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the packet again.
    Answer,
    /// It was sent already, and the viewer can't have seen that when it asked.
    OnItsWay,
    /// It would come too late to be shown.
    TooLate,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The number in the viewer's stream.
    pub seq: u16,
    /// Since when the viewer could have had it.
    pub age: Duration,
    /// Whether other frames wait for it: not if a keyframe follows, or nothing builds on it.
    pub is_needed: bool,
}

/// One viewer's requests.
#[derive(Debug)]
pub struct Answers {
    /// By the number's last bits.
    sent: Box<[Option<(u16, Instant)>]>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            sent: vec![None; REMEMBERED].into_boxed_slice(),
        }
    }
}

impl Answers {
    /// Judges a request. `held_back` is how long the viewer was told to hold pictures back.
    pub fn judge(
        &mut self,
        now: Instant,
        request: Request,
        path: Quality,
        held_back: Duration,
    ) -> Verdict {
        let patience = if request.is_needed {
            PATIENCE
        } else {
            held_back + OWN_BUFFER
        };
        if request.age > patience {
            return Verdict::TooLate;
        }
        let slot = self.sent[usize::from(request.seq) % REMEMBERED];
        let is_on_its_way = slot.is_some_and(|(seq, at)| {
            seq == request.seq && now.saturating_duration_since(at) + JITTER < path.rtt
        });
        if is_on_its_way {
            return Verdict::OnItsWay;
        }
        self.sent(now, request.seq);
        Verdict::Answer
    }

    /// A packet was sent again at `now`.
    pub fn sent(&mut self, now: Instant, seq: u16) {
        self.sent[usize::from(seq) % REMEMBERED] = Some((seq, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Quality = Quality {
        loss: 0.1,
        rtt: Duration::from_millis(100),
    };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn request(seq: u16, age: Duration, is_needed: bool) -> Request {
        Request {
            seq,
            age,
            is_needed,
        }
    }

    #[test]
    fn a_request_is_answered_once_in_a_round_trip() {
        let start = Instant::now();
        let mut answers = Answers::default();
        let mut asked = |after, seq| {
            answers.judge(
                start + ms(after),
                request(seq, ms(after), true),
                PATH,
                ms(0),
            )
        };
        assert_eq!(asked(0, 7), Verdict::Answer);
        assert_eq!(asked(50, 7), Verdict::OnItsWay);
        assert_eq!(asked(50, 8), Verdict::Answer);
        assert_eq!(asked(99, 7), Verdict::Answer, "the answer was lost");
        assert_eq!(asked(120, 7), Verdict::OnItsWay);
    }

    #[test]
    fn a_copy_sent_unasked_is_an_answer_too() {
        let start = Instant::now();
        let mut answers = Answers::default();
        answers.sent(start, 7);
        let verdict = answers.judge(start + ms(60), request(7, ms(75), true), PATH, ms(0));
        assert_eq!(verdict, Verdict::OnItsWay);
    }

    #[test]
    fn numbers_that_share_a_slot_are_told_apart() {
        let start = Instant::now();
        let mut answers = Answers::default();
        answers.sent(start, 7);
        let other = 7 + REMEMBERED as u16;
        let verdict = answers.judge(start, request(other, ms(0), true), PATH, ms(0));
        assert_eq!(verdict, Verdict::Answer);
    }

    #[test]
    fn what_nobody_waits_for_is_due_when_its_frame_is() {
        let now = Instant::now();
        let mut answers = Answers::default();
        let mut judged = |age, is_needed, held_back| {
            answers.judge(
                now,
                request(age as u16, ms(age), is_needed),
                PATH,
                ms(held_back),
            )
        };
        assert_eq!(judged(200, false, 0), Verdict::Answer);
        assert_eq!(judged(201, false, 0), Verdict::TooLate);
        assert_eq!(judged(400, false, 200), Verdict::Answer);
        assert_eq!(judged(1900, true, 0), Verdict::Answer);
        assert_eq!(judged(2001, true, 0), Verdict::TooLate);
    }
}
