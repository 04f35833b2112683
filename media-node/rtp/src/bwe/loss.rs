//! Loss: how much of it is the path's own, whatever is sent, and how much is of our making.
//!
//! A radio loses packets at any rate; a queue that is full loses what is too much. Only the second
//! is a reason to send less. They differ in what comes with them: a full queue has delay, and what
//! comes through it does not grow with what is sent. Where neither tells (a policer drops without
//! a queue), the rate is lowered for a moment, and what becomes of the loss is the answer.

/// Packets, and time, that a window spans at least.
const WINDOW_PACKETS: u32 = 30;
const WINDOW_US: i64 = 250_000;

/// Loss above the path's own, beyond what chance explains, that is a reason to ask what it is.
const EXCESS: f64 = 0.04;

/// Standard deviations that are chance.
const CHANCE: f64 = 2.5;

/// Packets that come next to lost ones have waited for so long if it was a full queue that lost them.
const QUEUED_US: f64 = 30_000.0;

/// Windows after which the path's own loss is known well enough to be changed slowly.
const LEARNT: u32 = 8;

/// Windows in a row with too much loss and no queue, before the rate is lowered to see what becomes
/// of it: a burst of loss is over by then.
const IN_A_ROW: u32 = 3;

/// Loss so far above the path's own is not waited with.
const FAR: f64 = 0.4;

/// How long to wait for windows that were sent after the rate was lowered, beyond a round trip.
const TRIAL_US: i64 = 150_000;

/// So long it is waited for a window that tells.
const LONGEST_TRIAL_US: i64 = 3_000_000;

/// Standard deviations between what both kinds of loss would be, for a window to tell.
const TELLS: f64 = 3.0;

/// A second trial so soon after the first is about the same thing.
const SAME_US: i64 = 10_000_000;

/// The most that is taken for the path's own.
const MOST: f64 = 0.9;

/// What is to be done about loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Bearable,
    /// It is of our making: send what comes through.
    Congested,
    /// Not known: send what comes through for a moment.
    Try,
    /// The trial is over, and it was not, or not surely, of our making. The rate may be what it was.
    Cleared,
}

#[derive(Debug, Default)]
struct Window {
    began_us: Option<i64>,
    received: u32,
    lost: u32,
    /// How long the packets waited that came next to lost ones, and how many there were.
    beside_us: f64,
    beside: u32,
}

/// A lowering of the rate to see what becomes of the loss.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since_us: i64,
    loss: f64,
    /// Packets a second that were sent before.
    sent: f64,
}

/// Tells the path's own loss from that of a full queue.
#[derive(Debug)]
pub(super) struct LossControl {
    window: Window,
    windows: u32,
    loss: f64,
    inherent: f64,
    /// How much more the loss of windows varies than if each packet were lost by itself.
    burstiness: f64,
    after_loss: bool,
    too_much: u32,
    trial: Option<Trial>,
    /// When the loss last went with the rate.
    went_us: Option<i64>,
}

impl Default for LossControl {
    fn default() -> Self {
        Self {
            window: Window::default(),
            windows: 0,
            loss: 0.0,
            inherent: 0.0,
            burstiness: 2.0,
            after_loss: false,
            too_much: 0,
            trial: None,
            went_us: None,
        }
    }
}

impl LossControl {
    /// A packet is reported as come, after waiting so long.
    pub(super) fn received(&mut self, waited_us: i64) {
        self.window.received += 1;
        if std::mem::take(&mut self.after_loss) {
            self.window.beside_us += waited_us as f64;
            self.window.beside += 1;
        }
    }

    /// A packet is reported as not come.
    pub(super) fn lost(&mut self) {
        self.window.lost += 1;
        self.after_loss = true;
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
        let fresh = Window {
            began_us: Some(now_us),
            ..Window::default()
        };
        let window = std::mem::replace(&mut self.window, fresh);
        let count = f64::from(packets);
        let loss = f64::from(window.lost) / count;
        let sent = count * 1e6 / (now_us - began_us) as f64;
        let weight = if self.windows == 0 { 1.0 } else { 0.4 };
        self.loss += weight * (loss - self.loss);
        self.windows = self.windows.saturating_add(1);
        if let Some(trial) = self.trial {
            if began_us >= trial.since_us + rtt_us + TRIAL_US {
                return self.conclude(trial, now_us, count, loss, sent);
            }
            return Verdict::Bearable;
        }
        let variance = (self.inherent * (1.0 - self.inherent)).max(0.01) / count;
        let excess = loss - self.inherent;
        let is_queue = window.beside > 0 && window.beside_us > QUEUED_US * f64::from(window.beside);
        if excess > EXCESS && is_queue {
            self.too_much = 0;
            return Verdict::Congested;
        }
        let chance = CHANCE * (self.burstiness * variance).sqrt();
        if excess <= EXCESS + chance || self.windows <= LEARNT {
            // What a path loses from the start is its own: nothing was lost of more by less yet.
            self.too_much = 0;
            self.learn(loss, excess * excess / variance);
            return Verdict::Bearable;
        }
        self.too_much += 1;
        let is_known = self.went_us.is_some_and(|at| now_us - at < SAME_US);
        if self.too_much < IN_A_ROW && excess < FAR && !is_known {
            return Verdict::Bearable;
        }
        self.too_much = 0;
        self.trial = Some(Trial {
            since_us: now_us,
            loss,
            sent,
        });
        Verdict::Try
    }

    /// Looks at a window that was sent wholly after the rate was lowered. If the path loses what is
    /// too much, as much comes through as before, whatever is sent; else the same share is lost. A
    /// window in which both would be much the same tells nothing.
    ///
    /// Loss that goes may have gone by itself: only if it comes back with the rate, and goes once
    /// more, or if it was very much, is it of our making.
    fn conclude(&mut self, trial: Trial, now_us: i64, count: f64, loss: f64, sent: f64) -> Verdict {
        let passed = trial.sent * (1.0 - trial.loss);
        let if_ours = (1.0 - passed / sent.max(1.0)).max(self.inherent);
        let variance = self.burstiness * trial.loss * (1.0 - trial.loss) / count;
        let tells = (trial.loss - if_ours).abs() > TELLS * variance.sqrt();
        if !tells && now_us < trial.since_us + LONGEST_TRIAL_US {
            return Verdict::Bearable;
        }
        self.trial = None;
        if !tells || (loss - trial.loss).abs() < (loss - if_ours).abs() {
            self.inherent = loss.min(MOST);
            return Verdict::Cleared;
        }
        let before_us = self.went_us.replace(now_us);
        let again = before_us.is_some_and(|at| now_us - at < SAME_US);
        if again || trial.loss - self.inherent > FAR {
            Verdict::Congested
        } else {
            Verdict::Cleared
        }
    }

    /// Moves the path's own loss towards that of a window: fast at first and downwards.
    fn learn(&mut self, loss: f64, deviation: f64) {
        let weight = if self.windows <= LEARNT {
            1.0 / f64::from(self.windows.max(1))
        } else {
            self.burstiness += 0.1 * (deviation - self.burstiness);
            self.burstiness = self.burstiness.clamp(1.0, 20.0);
            if loss < self.inherent { 0.15 } else { 0.1 }
        };
        self.inherent = (self.inherent + weight * (loss - self.inherent)).clamp(0.0, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT_US: i64 = 100_000;

    /// Windows of `sent` packets, of which a share in 1/100 is lost; what was to be done.
    fn feed(
        control: &mut LossControl,
        at_us: &mut i64,
        windows: u32,
        (sent, lost): (u32, u32),
        waited_us: i64,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for _ in 0..windows {
            for n in 0..sent {
                if n * 100 < lost * sent {
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
            assert_eq!(feed(&mut control, &mut at, 40, (100, lost), 0), []);
            assert!((control.inherent() - f64::from(lost) / 100.0).abs() < 0.01);
        }
    }

    #[test]
    fn loss_with_a_queue_is_of_our_making() {
        let (mut control, mut at) = (LossControl::default(), 0);
        feed(&mut control, &mut at, 20, (100, 2), 0);
        assert_eq!(
            feed(&mut control, &mut at, 3, (100, 20), 80_000)[0],
            Verdict::Congested
        );
        assert!(control.inherent() < 0.05);
    }

    #[test]
    fn sudden_loss_without_a_queue_is_tried() {
        let (mut control, mut at) = (LossControl::default(), 0);
        feed(&mut control, &mut at, 20, (100, 0), 0);
        assert_eq!(feed(&mut control, &mut at, 3, (100, 30), 0), [Verdict::Try]);
        let verdicts = feed(&mut control, &mut at, 3, (70, 30), 0);
        assert_eq!(verdicts, [Verdict::Cleared]);
        assert!(control.inherent() > 0.25);
        assert_eq!(feed(&mut control, &mut at, 20, (100, 30), 0), []);
    }

    #[test]
    fn a_policer_is_found_out_when_the_loss_comes_back() {
        let (mut control, mut at) = (LossControl::default(), 0);
        feed(&mut control, &mut at, 20, (100, 0), 0);
        assert_eq!(feed(&mut control, &mut at, 3, (100, 30), 0), [Verdict::Try]);
        let verdicts = feed(&mut control, &mut at, 3, (70, 0), 0);
        assert_eq!(verdicts, [Verdict::Cleared]);
        assert_eq!(feed(&mut control, &mut at, 1, (100, 30), 0), [Verdict::Try]);
        let verdicts = feed(&mut control, &mut at, 2, (80, 12), 0);
        assert_eq!(verdicts, [Verdict::Congested]);
        assert!(control.inherent() < 0.05);
    }

    #[test]
    fn a_burst_of_loss_is_sat_out() {
        let (mut control, mut at) = (LossControl::default(), 0);
        feed(&mut control, &mut at, 20, (100, 0), 0);
        for _ in 0..20 {
            assert_eq!(feed(&mut control, &mut at, 1, (100, 20), 0), []);
            assert_eq!(feed(&mut control, &mut at, 4, (100, 0), 0), []);
        }
    }
}
