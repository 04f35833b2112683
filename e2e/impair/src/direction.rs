//! One direction of a link: packets and the time in, packets out.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;

use crate::capacity::Capacity;
use crate::loss::{Loss, Process};
use crate::queue::{Discipline, Queue, Waiting};
use crate::statistics::{Counts, Figures};
use crate::units::Size;

/// What packets meet on the way, besides the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traits {
    /// How long the way is.
    pub delay: Duration,
    /// Up to how much longer, evenly spread, each packet for itself.
    pub jitter: Duration,
    /// Whether jitter may bring packets out of order; otherwise those behind a late one wait.
    pub jitter_reorders: bool,
    /// Which are lost.
    pub loss: Loss,
    /// The share that is held back.
    pub reorder: f64,
    /// By how much it is.
    pub reorder_by: Duration,
    /// The share that arrives twice.
    pub duplicate: f64,
    /// How much waits before the bottleneck at most.
    pub queue: Size,
    /// What is dropped there.
    pub discipline: Discipline,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_reorders: false,
            loss: Loss::None,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            duplicate: 0.0,
            // What home routers have is anything between 50 ms and a second.
            queue: Size::Time(Duration::from_millis(200)),
            discipline: Discipline::DropTail,
        }
    }
}

/// What a direction is like, over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// From when on, how; the first is from the beginning, times rise.
    pub traits: Vec<(Duration, Traits)>,
    /// The bottleneck.
    pub capacity: Capacity,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            traits: vec![(Duration::ZERO, Traits::default())],
            capacity: Capacity::new(None),
        }
    }
}

impl Plan {
    fn at(&self, at: Duration) -> Traits {
        let after = self.traits.partition_point(|(since, _)| *since <= at);
        let step = self.traits.get(after.saturating_sub(1));
        step.map(|step| step.1).unwrap_or_default()
    }
}

/// A packet that has passed the bottleneck.
#[derive(Debug)]
struct Travelling<P> {
    due: Duration,
    /// Breaks ties, so that what is due at one moment arrives as it was sent.
    order: u64,
    packet: P,
    bytes: usize,
    since: Duration,
}

impl<P> PartialEq for Travelling<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<P> Eq for Travelling<P> {}
impl<P> PartialOrd for Travelling<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<P> Ord for Travelling<P> {
    /// The one that is due first is the greatest, as a heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

/// A source of random numbers for each purpose, so that a scenario with jitter loses the same
/// packets as one without.
#[derive(Debug)]
struct Dice {
    loss: Rng,
    jitter: Rng,
    reorder: Rng,
    duplicate: Rng,
}

/// One direction. Times are since the scenario began, and do not go backwards.
#[derive(Debug)]
pub struct Direction<P> {
    plan: Plan,
    dice: Dice,
    loss: Process,
    queue: Queue<P>,
    /// What is on the bottleneck, and when its last bit has passed; none if it never does.
    serving: Option<(Option<Duration>, Waiting<P>)>,
    travelling: BinaryHeap<Travelling<P>>,
    order: u64,
    /// When the last packet that was not held back is due.
    last_due: Duration,
    total: Counts,
    recent: Counts,
    recent_since: Duration,
}

impl<P: Clone> Direction<P> {
    /// One with this plan; all that is random comes from `seed`.
    pub fn new(plan: Plan, seed: u64) -> Self {
        let mut seeds = Rng::with_seed(seed);
        let mut rng = || Rng::with_seed(seeds.u64(..));
        let mut dice = Dice {
            loss: rng(),
            jitter: rng(),
            reorder: rng(),
            duplicate: rng(),
        };
        let loss = Process::new(plan.at(Duration::ZERO).loss, &mut dice.loss);
        Self {
            plan,
            dice,
            loss,
            queue: Queue::default(),
            serving: None,
            travelling: BinaryHeap::new(),
            order: 0,
            last_due: Duration::ZERO,
            total: Counts::default(),
            recent: Counts::default(),
            recent_since: Duration::ZERO,
        }
    }

    /// A packet of `bytes` (from the IP header on) comes in.
    pub fn send(&mut self, now: Duration, packet: P, bytes: usize) {
        self.advance(now);
        self.count(|counts| {
            counts.packets += 1;
            counts.bytes += bytes as u64;
        });
        let waiting = Waiting {
            packet,
            bytes,
            since: now,
        };
        if self.queue.push(waiting, self.queue_limit(now)) {
            self.serve(now);
            self.advance(now);
        } else {
            self.count(|counts| counts.queue_dropped += 1);
        }
    }

    /// The next packet that has arrived by `now`.
    pub fn receive(&mut self, now: Duration) -> Option<P> {
        self.advance(now);
        if self.travelling.peek().is_none_or(|next| next.due > now) {
            return None;
        }
        let arrived = self.travelling.pop()?;
        self.count(|counts| {
            counts.delivered += 1;
            counts.delivered_bytes += arrived.bytes as u64;
            counts.delay.add(now.saturating_sub(arrived.since));
            counts.lateness.add(now.saturating_sub(arrived.due));
        });
        Some(arrived.packet)
    }

    /// When something happens next without a new packet: then [`Self::receive`] is to be called.
    pub fn due(&self) -> Option<Duration> {
        let served = self.serving.as_ref().and_then(|serving| serving.0);
        let arrives = self.travelling.peek().map(|next| next.due);
        served.into_iter().chain(arrives).min()
    }

    /// Figures from the beginning to `now`.
    pub fn figures(&self, now: Duration) -> Figures {
        let capacity = self.plan.capacity.mean(Duration::ZERO, now);
        self.total.figures(now, capacity, self.queue.bytes())
    }

    /// Figures since this was last called.
    pub fn recent_figures(&mut self, now: Duration) -> Figures {
        let since = std::mem::replace(&mut self.recent_since, now);
        let capacity = self.plan.capacity.mean(since, now);
        let recent = std::mem::take(&mut self.recent);
        recent.figures(now.saturating_sub(since), capacity, self.queue.bytes())
    }

    fn count(&mut self, change: impl Fn(&mut Counts)) {
        change(&mut self.total);
        change(&mut self.recent);
    }

    fn queue_limit(&self, now: Duration) -> usize {
        let bytes = match self.plan.at(now).queue {
            Size::Bytes(bytes) => bytes,
            Size::Time(time) => match self.plan.capacity.at(now) {
                // Nothing waits for a link without a limit.
                None => u64::MAX,
                Some(rate) => (u128::from(rate) * time.as_nanos() / 8_000_000_000) as u64,
            },
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Lets everything happen that is to happen until `now`, each at its own time: whoever looks
    /// too late changes nothing.
    fn advance(&mut self, now: Duration) {
        while let Some((Some(finish), _)) = &self.serving
            && *finish <= now
        {
            let finish = *finish;
            if let Some((_, served)) = self.serving.take() {
                self.travel(finish, served);
            }
            self.serve(finish);
        }
    }

    /// Puts the next packet on the bottleneck, if it is free.
    fn serve(&mut self, now: Duration) {
        if self.serving.is_some() {
            return;
        }
        let (next, dropped) = self.queue.pop(now, self.plan.at(now).discipline);
        if dropped > 0 {
            self.count(|counts| counts.queue_dropped += dropped);
        }
        self.serving = next.map(|next| (self.plan.capacity.finish(now, next.bytes), next));
    }

    /// A packet has passed the bottleneck.
    fn travel(&mut self, now: Duration, served: Waiting<P>) {
        let traits = self.plan.at(now);
        if self.loss.loss() != traits.loss {
            self.loss = Process::new(traits.loss, &mut self.dice.loss);
        }
        // Drawn for each packet, so that what happens to one does not depend on the others.
        let is_lost = self.loss.loses(&mut self.dice.loss);
        let jitter = traits.jitter.mul_f64(self.dice.jitter.f64());
        let is_held_back = self.dice.reorder.f64() < traits.reorder;
        let is_doubled = self.dice.duplicate.f64() < traits.duplicate;
        if is_lost {
            self.count(|counts| counts.lost += 1);
            return;
        }
        let mut due = now + traits.delay + jitter;
        if is_held_back {
            due += traits.reorder_by;
            self.count(|counts| counts.reordered += 1);
        } else if !traits.jitter_reorders {
            due = due.max(self.last_due);
            self.last_due = due;
        }
        if is_doubled {
            self.count(|counts| counts.duplicated += 1);
            self.put(due, &served, served.packet.clone());
        }
        let Waiting {
            packet,
            bytes,
            since,
        } = served;
        self.put(
            due,
            &Waiting {
                packet: (),
                bytes,
                since,
            },
            packet,
        );
    }

    fn put<W>(&mut self, due: Duration, served: &Waiting<W>, packet: P) {
        self.order += 1;
        self.travelling.push(Travelling {
            due,
            order: self.order,
            packet,
            bytes: served.bytes,
            since: served.since,
        });
    }
}
