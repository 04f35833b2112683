//! Probing: a cluster of packets sent for a few milliseconds at a rate above today's, whose
//! arrivals say whether the path carries that rate. A viewer's stream is as large as its layer is;
//! without probes nobody would know that the next layer fits.

/// How long a cluster lasts at least.
const CLUSTER_US: i64 = 15_000;

/// … but once something is known of the path it lasts longer than the pause between two frames:
/// else it may just meet none, or all, of those of others who share the path.
const CAREFUL_US: i64 = 40_000;

/// Packets, and bytes, that a cluster has at least.
const LEAST_PACKETS: f64 = 5.0;
const LEAST_BYTES: f64 = 5_500.0;

/// How often the caller comes at least: what may be sent ahead of the cluster's rate, so that the
/// caller keeps it.
const LONGEST_TICK_US: i64 = 10_000;

/// A cluster that could not be sent in so long is given up.
const GIVE_UP_SENDING_US: i64 = 250_000;

/// A cluster of which nothing is known after so long has failed.
const GIVE_UP_WAITING_US: i64 = 1_500_000;

/// Packets that leave within so much of each other are one burst.
const BURST_US: i64 = 1_000;

/// A share of the asked rate that counts as it in the beginning, where the next cluster asks for
/// twice as much.
const GOOD_START: f64 = 0.7;

/// By how much a cluster goes beyond the goal: what it finds comes out somewhat below what it tries.
const BEYOND_GOAL: f64 = 1.2;

/// A rate that may be tried from any other.
const HARMLESS_BPS: f64 = 500_000.0;

/// The path is full when less than this share of the rate comes; what comes then, less a little, is
/// what it carries.
const FULL: f64 = 0.9;
const LEAVES: f64 = 0.98;

/// Times between clusters that did not find what they looked for: short while a path changes, and
/// longer and longer while each finds about what the one before did.
const FIRST_PAUSE_US: i64 = 500_000;
const LONGEST_PAUSE_US: i64 = 3_000_000;

/// By so much of it a path's rate has changed.
const CHANGES: f64 = 0.15;

/// Spreads the low bits of a number over its high ones (2⁶⁴ by the golden ratio).
const SPREADER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Time until the next cluster when the last one told nothing.
const RETRY_US: i64 = 300_000;

/// Names a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(u16);

/// What may be sent now of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whose packets they are.
    pub cluster: ClusterId,
    /// Bytes to be sent now, as whole packets; the last may go beyond.
    pub bytes: usize,
}

/// What a cluster found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// Rate that the path carried, in bit/s.
    pub(super) bps: f64,
    /// Rate that was asked for.
    pub(super) asked_bps: f64,
    /// The path was full: this is what it carries. Otherwise it may carry more.
    pub(super) is_limit: bool,
}

/// What decides on probing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    pub(super) target_bps: f64,
    /// What would be of use.
    pub(super) goal_bps: Option<f64>,
    /// Share of packets that the path loses anyway.
    pub(super) inherent_loss: f64,
    /// Nothing speaks against it: no queue, no over-use.
    pub(super) calm: bool,
    /// A probe at this rate should look into the queue, whatever else.
    pub(super) look_bps: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    id: ClusterId,
    rate_bps: f64,
    goal_bytes: usize,
    goal_packets: u32,
    planned_us: i64,
    sent: Option<Sending>,
    came: Coming,
}

/// What left of a cluster.
#[derive(Clone, Copy, Debug)]
struct Sending {
    first: u64,
    last: u64,
    began_us: i64,
    last_us: i64,
    packets: u32,
    bytes: usize,
    last_burst: usize,
}

/// What is known to have come of it.
#[derive(Clone, Copy, Debug, Default)]
struct Coming {
    packets: u32,
    bytes: usize,
    first_us: i64,
    first_bytes: usize,
    last_us: i64,
    passed_over: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Idle,
    Sending(Cluster),
    Waiting(Cluster),
}

/// Plans clusters, paces them, and reads what became of them.
#[derive(Debug)]
pub(super) struct Prober {
    phase: Phase,
    next_id: u16,
    /// Nothing is known of the path yet: each cluster asks for twice what the one before found.
    starting: bool,
    not_before_us: i64,
    pause_us: i64,
    /// What the last cluster found.
    found_bps: Option<f64>,
    /// When the caller last came, and after how long.
    polled_us: i64,
    tick_us: i64,
    /// Until when the queue that a cluster made may stand.
    settles_us: i64,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            next_id: 0,
            starting: true,
            not_before_us: i64::MIN,
            pause_us: FIRST_PAUSE_US,
            found_bps: None,
            polled_us: i64::MIN / 2,
            tick_us: LONGEST_TICK_US,
            settles_us: i64::MIN,
        }
    }
}

impl Prober {
    /// Whether a cluster is being sent or waited for.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// Whether a packet's delay is that of a cluster, not of the path: it is of one, or left behind
    /// one whose queue may still stand.
    pub(super) fn disturbs(&self, number: u64, sent_us: i64) -> bool {
        if sent_us < self.settles_us {
            return true;
        }
        let (Phase::Sending(cluster) | Phase::Waiting(cluster)) = &self.phase else {
            return false;
        };
        cluster.sent.is_some_and(|sent| number >= sent.first)
    }

    /// The rate was lowered, so the path is another now. The next cluster waits until then.
    pub(super) fn put_off(&mut self, until_us: i64) {
        self.not_before_us = until_us;
        self.pause_us = FIRST_PAUSE_US;
        self.starting = false;
    }

    /// What may be sent of a cluster now; a new one begins when it is time.
    pub(super) fn poll(&mut self, now_us: i64, outlook: &Outlook) -> Option<Probe> {
        self.tick_us = (now_us - self.polled_us).clamp(1_000, LONGEST_TICK_US);
        self.polled_us = now_us;
        if let Phase::Idle = self.phase {
            self.plan(now_us, outlook);
        }
        let Phase::Sending(cluster) = &self.phase else {
            return None;
        };
        if now_us - cluster.planned_us > GIVE_UP_SENDING_US {
            self.not_before_us = now_us + RETRY_US;
            self.phase = Phase::Idle;
            return None;
        }
        let (elapsed_us, bytes) = match cluster.sent {
            Some(sent) => (now_us - sent.began_us, sent.bytes),
            None => (0, 0),
        };
        let due = (cluster.rate_bps * (elapsed_us + self.tick_us) as f64 / 8e6) as usize;
        // Media beside it may have filled it; a packet of its own ends it, at its rate.
        let most = cluster.goal_bytes.max(bytes + 1);
        let bytes = due.min(most).checked_sub(bytes)?;
        (bytes > 0).then_some(Probe {
            cluster: cluster.id,
            bytes,
        })
    }

    fn plan(&mut self, now_us: i64, outlook: &Outlook) {
        let Some(rate_bps) = outlook.look_bps.or_else(|| self.rate(now_us, outlook)) else {
            return;
        };
        let lasts_us = if self.starting {
            CLUSTER_US
        } else {
            CAREFUL_US
        };
        // Of what is lost anyway there must be so much more.
        let more = 1.0 / (1.0 - outlook.inherent_loss.min(0.8));
        let goal_bytes =
            (rate_bps * (lasts_us + self.tick_us) as f64 / 8e6).max(LEAST_BYTES * more);
        let id = ClusterId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.phase = Phase::Sending(Cluster {
            id,
            rate_bps,
            goal_bytes: goal_bytes as usize,
            goal_packets: (LEAST_PACKETS * more) as u32,
            planned_us: now_us,
            sent: None,
            came: Coming::default(),
        });
    }

    /// The rate that a cluster should try now.
    fn rate(&self, now_us: i64, outlook: &Outlook) -> Option<f64> {
        let goal_bps = outlook.goal_bps?;
        if now_us < self.not_before_us || !outlook.calm || goal_bps <= outlook.target_bps {
            return None;
        }
        Some(if self.starting {
            3.0 * outlook.target_bps
        } else {
            (BEYOND_GOAL * goal_bps).min((5.0 * outlook.target_bps).max(HARMLESS_BPS))
        })
    }

    /// A packet leaves. What is sent beside a cluster tells as much as what is sent for it.
    pub(super) fn on_sent(&mut self, number: u64, now_us: i64, bytes: usize, is_probe: bool) {
        let Phase::Sending(cluster) = &mut self.phase else {
            return;
        };
        match &mut cluster.sent {
            Some(sent) => {
                sent.last_burst = if now_us - sent.last_us < BURST_US {
                    sent.last_burst + bytes
                } else {
                    bytes
                };
                sent.last = number;
                sent.last_us = now_us;
                sent.packets += 1;
                sent.bytes += bytes;
            }
            None if is_probe => {
                cluster.sent = Some(Sending {
                    first: number,
                    last: number,
                    began_us: now_us,
                    last_us: now_us,
                    packets: 1,
                    bytes,
                    last_burst: bytes,
                });
            }
            None => return,
        }
        let whole = cluster.sent.is_some_and(|sent| {
            is_probe && sent.bytes >= cluster.goal_bytes && sent.packets >= cluster.goal_packets
        });
        if whole {
            self.phase = Phase::Waiting(*cluster);
        }
    }

    /// A packet is reported as come.
    pub(super) fn received(&mut self, number: u64, arrival_us: i64, bytes: usize) {
        let Some(came) = self.came(number) else {
            return;
        };
        if came.packets == 0 || arrival_us < came.first_us {
            came.first_us = arrival_us;
            came.first_bytes = bytes;
        }
        if came.packets == 0 || arrival_us > came.last_us {
            came.last_us = arrival_us;
        }
        came.packets += 1;
        came.bytes += bytes;
    }

    /// Feedback went past a packet without naming it.
    pub(super) fn passed_over(&mut self, number: u64) {
        if let Some(came) = self.came(number) {
            came.passed_over += 1;
        }
    }

    fn came(&mut self, number: u64) -> Option<&mut Coming> {
        let (Phase::Sending(cluster) | Phase::Waiting(cluster)) = &mut self.phase else {
            return None;
        };
        let sent = cluster.sent?;
        (sent.first..=sent.last)
            .contains(&number)
            .then_some(&mut cluster.came)
    }

    /// What the cluster found, once all of it has been reported on up to number `reported`.
    pub(super) fn conclude(
        &mut self,
        now_us: i64,
        reported: Option<u64>,
        outlook: &Outlook,
    ) -> Option<Found> {
        let Phase::Waiting(cluster) = self.phase else {
            return None;
        };
        let sent = cluster.sent?;
        let is_reported = reported.is_some_and(|number| number >= sent.last);
        if !is_reported && now_us - sent.last_us < GIVE_UP_WAITING_US {
            return None;
        }
        self.phase = Phase::Idle;
        let Some(found) = cluster.found(outlook.inherent_loss) else {
            self.settles_us = sent.last_us;
            self.not_before_us = now_us + RETRY_US;
            return None;
        };
        // What it left in the queue drains at the rate that it found.
        let drains_us = 8e6 * sent.bytes as f64 / found.bps.max(1.0);
        self.settles_us = sent.last_us + (drains_us as i64).min(300_000);
        let is_enough = outlook.goal_bps.is_some_and(|goal| found.bps >= goal);
        self.schedule(now_us ^ sent.last as i64, now_us, &found, is_enough);
        Some(found)
    }

    fn schedule(&mut self, dice: i64, now_us: i64, found: &Found, is_enough: bool) {
        if self.starting && found.bps >= GOOD_START * found.asked_bps {
            return;
        }
        self.starting = false;
        let before_bps = self.found_bps.replace(found.bps);
        let is_same =
            before_bps.is_some_and(|before| (found.bps - before).abs() < CHANGES * before);
        if is_enough || !is_same {
            self.pause_us = FIRST_PAUSE_US;
        }
        if is_enough {
            return;
        }
        // From three quarters of it to five: viewers who share a path should not probe it together.
        let spread = (dice as u64).wrapping_mul(SPREADER) >> 56;
        self.not_before_us = now_us + self.pause_us * (384 + spread as i64) / 512;
        self.pause_us = (2 * self.pause_us).min(LONGEST_PAUSE_US);
    }
}

impl Cluster {
    fn found(&self, inherent_loss: f64) -> Option<Found> {
        let (sent, came) = (self.sent?, self.came);
        let arriving = 1.0 - inherent_loss.min(0.9);
        // Of those whose feedback was lost nothing is known; the others tell as much.
        let known = sent.packets.saturating_sub(came.passed_over);
        let enough = (0.5 * arriving * f64::from(known)).max(3.0);
        if f64::from(came.packets) < enough {
            return None;
        }
        let rate = |bytes: usize, us: i64| (us >= 1_000).then(|| bytes as f64 * 8e6 / us as f64);
        let sent_bps = rate(sent.bytes - sent.last_burst, sent.last_us - sent.began_us);
        let came_bps = rate(came.bytes - came.first_bytes, came.last_us - came.first_us)
            .map(|bps| bps / arriving);
        let (bps, is_limit) = match (sent_bps, came_bps) {
            (Some(sent), Some(came)) if came < FULL * sent => (LEAVES * came, true),
            (Some(sent), Some(came)) => (sent.min(came), false),
            (Some(sent), None) => (sent, false),
            (None, Some(came)) => (LEAVES * came, true),
            (None, None) => return None,
        };
        Some(Found {
            bps: bps.min(1.2 * self.rate_bps),
            asked_bps: self.rate_bps,
            is_limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTLOOK: Outlook = Outlook {
        target_bps: 500_000.0,
        goal_bps: Some(2_000_000.0),
        inherent_loss: 0.0,
        calm: true,
        look_bps: None,
    };

    /// Sends a cluster in ticks of 5 ms over a path of `path_bps`; what it finds.
    fn probe(
        prober: &mut Prober,
        now_us: &mut i64,
        outlook: &Outlook,
        path_bps: f64,
    ) -> Option<Found> {
        let mut number = 0;
        let mut free_us = 0.0_f64;
        let mut arrivals = Vec::new();
        for _ in 0..30 {
            let mut bytes = 0;
            let probe = prober.poll(*now_us, outlook);
            while probe.is_some_and(|probe| bytes < probe.bytes) {
                prober.on_sent(number, *now_us, 1000, true);
                free_us = free_us.max(*now_us as f64) + 8e9 / path_bps;
                arrivals.push((number, free_us as i64));
                number += 1;
                bytes += 1000;
            }
            *now_us += 5_000;
        }
        for (number, at) in &arrivals {
            prober.received(*number, *at, 1000);
        }
        *now_us += 100_000;
        prober.conclude(*now_us, number.checked_sub(1), outlook)
    }

    #[test]
    fn a_path_that_carries_more_gives_what_was_asked() {
        let (mut prober, mut now) = (Prober::default(), 0);
        let found = probe(&mut prober, &mut now, &OUTLOOK, 100e6).expect("a result");
        assert!(!found.is_limit);
        assert!((1.2e6..1.9e6).contains(&found.bps), "{found:?}");
        // It goes on at once, from there.
        let outlook = Outlook {
            target_bps: found.bps,
            ..OUTLOOK
        };
        let found = probe(&mut prober, &mut now, &outlook, 100e6).expect("a result");
        assert!(found.bps > 2e6, "{found:?}");
    }

    #[test]
    fn a_full_path_gives_what_it_carries() {
        let (mut prober, mut now) = (Prober::default(), 0);
        let found = probe(&mut prober, &mut now, &OUTLOOK, 800_000.0).expect("a result");
        assert!(found.is_limit);
        assert!((0.7e6..0.8e6).contains(&found.bps), "{found:?}");
        assert_eq!(prober.poll(now, &OUTLOOK), None, "not again at once");
        assert!(prober.poll(now + 2 * FIRST_PAUSE_US, &OUTLOOK).is_some());
    }

    #[test]
    fn a_path_that_stays_is_probed_less_and_less_and_one_that_changes_is_not() {
        for (rates, seldom) in [
            ([800e3, 800e3, 800e3, 800e3], true),
            ([800e3, 400e3, 800e3, 400e3], false),
        ] {
            let (mut prober, mut now) = (Prober::default(), 0);
            for path_bps in rates {
                while prober.poll(now, &OUTLOOK).is_none() {
                    now += 5_000;
                }
                probe(&mut prober, &mut now, &OUTLOOK, path_bps).expect("a result");
            }
            assert_eq!(prober.pause_us > 2 * FIRST_PAUSE_US, seldom, "{rates:?}");
        }
    }

    #[test]
    fn nothing_is_probed_for_without_use() {
        let mut prober = Prober::default();
        for outlook in [
            Outlook {
                goal_bps: None,
                ..OUTLOOK
            },
            Outlook {
                goal_bps: Some(400_000.0),
                ..OUTLOOK
            },
            Outlook {
                calm: false,
                ..OUTLOOK
            },
        ] {
            assert_eq!(prober.poll(0, &outlook), None);
        }
    }
}
