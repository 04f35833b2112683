//! Loss: how much of it is the path's own, whatever is sent, and how much is of our making.
//!
//! A radio loses packets at any rate; a queue that is full loses what is too much. Only the second
//! is a reason to send less. They differ in what comes with them: a full queue has delay, and what
//! comes through it does not grow with what is sent. Where neither tells (a policer drops without
//! a queue), the rate is lowered for a moment, and what becomes of the loss is the answer.

/// Packets, and time, that a window spans at least.
const WINDOW_PACKETS: u32 = 20;
const WINDOW_US: i64 = 200_000;

/// Loss above the path's own that is a reason to ask what it is, before the noise of counting.
const EXCESS: f64 = 0.05;

/// A queue that packets wait in for so long may be full.
const QUEUED_US: i64 = 25_000;

/// Windows after which the path's own loss is known well enough to be changed slowly.
const LEARNT: u32 = 8;

/// How long to wait for windows that were sent after the rate was lowered, beyond a round trip.
const TRIAL_US: i64 = 150_000;

/// What is to be done about loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Bearable,
    /// It is of our making: send what comes through.
    Congested,
    /// Not known: send what comes through for a moment.
    Try,
    /// The loss stayed when the rate went: it is the path's. The rate may be what it was.
    Cleared,
}

#[derive(Debug, Default)]
struct Window {
    began_us: Option<i64>,
    received: u32,
    lost: u32,
    /// The longest that a packet waited.
    waited_us: i64,
}

/// A lowering of the rate to see what becomes of the loss.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since_us: i64,
    loss: f64,
}

/// Tells the path's own loss from that of a full queue.
#[derive(Debug, Default)]
pub(super) struct LossControl {
    window: Window,
    windows: u32,
    loss: f64,
    inherent: f64,
    trial: Option<Trial>,
}

impl LossControl {
    /// A packet is reported as come, after waiting so long.
    pub(super) fn received(&mut self, waited_us: i64) {
        self.window.received += 1;
        self.window.waited_us = self.window.waited_us.max(waited_us);
    }

    /// A packet is reported as not come.
    pub(super) fn lost(&mut self) {
        self.window.lost += 1;
    }

    /// One that was reported lost came late.
    pub(super) fn found(&mut self) {
        self.window.lost = self.window.lost.saturating_sub(1);
    }

    /// Share of packets lost lately, 0 to 1.
    pub(super) fn loss(&self) -> f64 {
        self.loss
    }

    /// Share of packets that this path loses whatever is sent, 0 to 0.9.
    pub(super) fn inherent(&self) -> f64 {
        self.inherent
    }

    /// All packets of a feedback have been counted.
    pub(super) fn judge(&mut self, now_us: i64, rtt_us: i64) -> Verdict {
        let began_us = *self.window.began_us.get_or_insert(now_us);
        let packets = self.window.received + self.window.lost;
        if packets < WINDOW_PACKETS || now_us - began_us < WINDOW_US {
            return Verdict::Bearable;
        }
        let window = std::mem::replace(
            &mut self.window,
            Window {
                began_us: Some(now_us),
                ..Window::default()
            },
        );
        let count = f64::from(packets);
        let loss = f64::from(window.lost) / count;
        self.loss = if self.windows == 0 {
            loss
        } else {
            0.5 * self.loss + 0.5 * loss
        };
        self.windows = self.windows.saturating_add(1);
        if let Some(trial) = self.trial {
            return self.conclude(trial, began_us, rtt_us, loss);
        }
        let noise = 2.0 * (self.inherent * (1.0 - self.inherent) / count).sqrt();
        let excess = loss - self.inherent;
        let queued = window.waited_us > QUEUED_US;
        if excess <= EXCESS + noise {
            self.learn(loss);
            return Verdict::Bearable;
        }
        if queued {
            return Verdict::Congested;
        }
        if self.windows <= LEARNT {
            // Nothing was lost of more by less yet: what a path loses from the start is its own.
            self.learn(loss);
            return Verdict::Bearable;
        }
        self.trial = Some(Trial {
            since_us: now_us,
            loss,
        });
        Verdict::Try
    }

    /// Ends a trial with the first window that was sent wholly after it began.
    fn conclude(&mut self, trial: Trial, began_us: i64, rtt_us: i64, loss: f64) -> Verdict {
        if began_us < trial.since_us + rtt_us + TRIAL_US {
            return Verdict::Bearable;
        }
        self.trial = None;
        if loss < (self.inherent + trial.loss) / 2.0 {
            return Verdict::Congested;
        }
        self.inherent = loss.min(0.9);
        Verdict::Cleared
    }

    /// Moves the path's own loss towards that of a window: fast at first and downwards.
    fn learn(&mut self, loss: f64) {
        let weight = if self.windows <= LEARNT {
            1.0 / f64::from(self.windows.max(1))
        } else if loss < self.inherent {
            0.2
        } else {
            0.1
        };
        self.inherent = (self.inherent + weight * (loss - self.inherent)).clamp(0.0, 0.9);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT_US: i64 = 100_000;

    /// Windows of 100 packets, of which so many are lost; what was to be done.
    fn feed(
        control: &mut LossControl,
        at_us: &mut i64,
        windows: u32,
        lost: u32,
        waited_us: i64,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for _ in 0..windows {
            for n in 0..100 {
                if n < lost {
                    control.lost();
                } else {
                    control.received(waited_us);
                }
            }
            *at_us += 250_000;
            let verdict = control.judge(*at_us, RTT_US);
            if verdict != Verdict::Bearable {
                verdicts.push(verdict);
            }
        }
        verdicts
    }

    #[test]
    fn what_a_path_loses_from_the_start_is_its_own() {
        for lost in [0, 10, 30, 50] {
            let (mut control, mut at) = (LossControl::default(), 0);
            assert_eq!(feed(&mut control, &mut at, 40, lost, 0), []);
            assert!((control.inherent() - f64::from(lost) / 100.0).abs() < 0.01);
        }
    }

    #[test]
    fn loss_with_a_queue_is_of_our_making() {
        let (mut control, mut at) = (LossControl::default(), 0);
        feed(&mut control, &mut at, 20, 2, 0);
        assert_eq!(
            feed(&mut control, &mut at, 3, 20, 80_000)[0],
            Verdict::Congested
        );
        assert!(control.inherent() < 0.05);
    }

    #[test]
    fn sudden_loss_without_a_queue_is_tried() {
        let (mut control, mut at) = (LossControl::default(), 0);
        feed(&mut control, &mut at, 20, 0, 0);
        let verdicts = feed(&mut control, &mut at, 8, 30, 0);
        assert_eq!(verdicts, [Verdict::Try, Verdict::Cleared]);
        assert_eq!(feed(&mut control, &mut at, 20, 30, 0), []);
    }

    #[test]
    fn a_policer_is_found_out() {
        let (mut control, mut at) = (LossControl::default(), 0);
        feed(&mut control, &mut at, 20, 0, 0);
        assert_eq!(feed(&mut control, &mut at, 1, 30, 0), [Verdict::Try]);
        assert_eq!(feed(&mut control, &mut at, 8, 1, 0), [Verdict::Congested]);
        assert!(control.inherent() < 0.05);
    }
}
