//! One track's way up and down its rungs.

use std::time::{Duration, Instant};

use super::{
    Budget, Decision, Limits, Offer, REDUCED_LINES, Rung, UP_MARGIN, UP_MARGIN_IN_BEGINNING, Why,
};

/// How long a better rung must fit before it is taken: two looks, a tenth of a second apart.
const UP_AFTER: Duration = Duration::from_millis(80);

/// In the beginning nobody has a picture to lose: better ones are taken at once.
const BEGINNING: Duration = Duration::from_secs(3);

/// The smallest picture stays while the path carries this share of it, or for so long.
const KEEP_SHARE: f64 = 0.7;
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// The path must carry this share of the smallest picture, for so long, before a pause ends. Whoever
/// else is on the path makes room for it sooner than for a probe.
const RESUME_SHARE: f64 = 0.95;
const RESUME_AFTER: Duration = Duration::from_secs(1);

/// A rung that is left so soon after it was taken was a mistake.
const MISTAKE_WITHIN: Duration = Duration::from_secs(4);

/// How long it is left alone after the first mistake, and at most.
const FIRST_BACK_OFF: Duration = Duration::from_secs(2);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// Proof that overrides a back-off: so much more than the rung costs.
const STRONG_PROOF: f64 = 1.15;

/// How fast the measured bitrate of the rung in use is believed, a second.
const BELIEF: f64 = 0.3;

/// A rung that did not last.
#[derive(Clone, Copy, Debug)]
struct Mistake {
    /// The cheapest that it happened with, in bit/s.
    bitrate_bps: u64,
    times: u32,
    until: Instant,
}

/// What is remembered of a track.
#[derive(Debug, Default)]
pub(super) struct TrackState {
    current: Option<Rung>,
    /// Bit/s of the current rung, smoothed.
    bitrate_bps: f64,
    began: Option<Instant>,
    looked: Option<Instant>,
    raised: Option<Instant>,
    /// Since when something better fits, and since when the smallest does not.
    fits_since: Option<Instant>,
    starves_since: Option<Instant>,
    is_paused: bool,
    mistake: Option<Mistake>,
    is_backing_off: bool,
    is_in_beginning: bool,
}

impl TrackState {
    /// What the current rung costs; nothing in a pause.
    pub(super) fn cost_bps(&self, budget: &Budget) -> f64 {
        match self.current {
            Some(_) => budget.cost(self.bitrate_bps),
            None => 0.0,
        }
    }

    /// How much more than its cost the path must carry for the next rung.
    pub(super) fn proof(&self) -> f64 {
        if self.is_paused {
            RESUME_SHARE
        } else if self.is_backing_off {
            STRONG_PROOF
        } else {
            self.margin()
        }
    }

    /// What a better rung must leave to spare.
    fn margin(&self) -> f64 {
        if self.is_in_beginning {
            UP_MARGIN_IN_BEGINNING
        } else {
            UP_MARGIN
        }
    }

    /// Decides with so many bit/s to spend.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        share_bps: f64,
        budget: &Budget,
        offer: &Offer<'_>,
    ) -> Decision {
        let began = *self.began.get_or_insert(now);
        self.is_in_beginning = now.saturating_duration_since(began) < BEGINNING;
        let ladder = Ladder::new(offer);
        let Some(lowest) = ladder.lowest() else {
            self.leave();
            self.is_paused = false;
            return Decision {
                rung: None,
                next: None,
                why: Why::OffAir,
            };
        };
        self.follow(now, &ladder);
        self.is_backing_off = false;
        let fitting = |margin: f64| {
            ladder.best(|rung| margin * budget.cost(rung.bitrate_bps as f64) <= share_bps)
        };
        match self.current {
            None if self.is_paused => self.resume(now, share_bps, budget, lowest),
            None => {
                // The first picture: the best that fits, and the smallest in any case.
                self.take(now, fitting(1.0).unwrap_or(lowest));
            }
            Some(current) if budget.cost(self.bitrate_bps) > share_bps => {
                self.lower(now, current, fitting(1.0), share_bps, budget, lowest);
            }
            Some(current) => {
                self.starves_since = None;
                let better = fitting(self.margin()).filter(|rung| rung.rank() > current.rank());
                self.raise(now, better, share_bps, budget);
            }
        }
        self.report(&ladder, offer)
    }

    /// Looks what became of the current rung: its bitrate changes, and it may be gone.
    fn follow(&mut self, now: Instant, ladder: &Ladder<'_>) {
        let before = self.looked.replace(now).unwrap_or(now);
        let Some(current) = self.current else {
            return;
        };
        let Some(rung) = ladder.find(&current) else {
            // It went off air, or the viewer wants it no more: begin anew with what there is.
            self.leave();
            return;
        };
        let elapsed = now.saturating_duration_since(before).as_secs_f64();
        let belief = (BELIEF * elapsed).min(1.0);
        self.bitrate_bps += belief * (rung.bitrate_bps as f64 - self.bitrate_bps);
        self.current = Some(*rung);
    }

    fn leave(&mut self) {
        self.current = None;
        self.fits_since = None;
        self.starves_since = None;
    }

    fn take(&mut self, now: Instant, rung: Rung) {
        let is_better = self.current.is_none_or(|c| rung.rank() > c.rank());
        if is_better {
            self.raised = Some(now);
        }
        self.current = Some(rung);
        self.bitrate_bps = rung.bitrate_bps as f64;
        self.fits_since = None;
        self.starves_since = None;
    }

    fn resume(&mut self, now: Instant, share_bps: f64, budget: &Budget, lowest: Rung) {
        if RESUME_SHARE * budget.cost(lowest.bitrate_bps as f64) > share_bps {
            self.fits_since = None;
            return;
        }
        let since = *self.fits_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= RESUME_AFTER {
            self.is_paused = false;
            self.take(now, lowest);
        }
    }

    /// The current rung does not fit: down to one that does, or to the smallest, or to a pause.
    fn lower(
        &mut self,
        now: Instant,
        current: Rung,
        fitting: Option<Rung>,
        share_bps: f64,
        budget: &Budget,
        lowest: Rung,
    ) {
        let lower = fitting.unwrap_or(lowest);
        if !current.is_same(&lowest) && lower.rank() < current.rank() {
            self.note_mistake(now, current);
            self.take(now, lower);
        }
        let fits = |share: f64| share * budget.cost(lowest.bitrate_bps as f64) <= share_bps;
        if fits(KEEP_SHARE) {
            self.starves_since = None;
            return;
        }
        let since = *self.starves_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= PAUSE_AFTER {
            self.leave();
            self.is_paused = true;
        }
    }

    fn note_mistake(&mut self, now: Instant, rung: Rung) {
        let lasted = self.raised.map(|at| now.saturating_duration_since(at));
        if lasted.is_none_or(|lasted| lasted > MISTAKE_WITHIN) {
            return;
        }
        let times = self.mistake.map_or(0, |mistake| mistake.times) + 1;
        let back_off = FIRST_BACK_OFF * 2_u32.pow(times.min(5) - 1);
        self.mistake = Some(Mistake {
            bitrate_bps: rung.bitrate_bps,
            times,
            until: now + back_off.min(LONGEST_BACK_OFF),
        });
    }

    /// Something better fits, perhaps: up to it once it has for long enough.
    fn raise(&mut self, now: Instant, better: Option<Rung>, share_bps: f64, budget: &Budget) {
        self.forget_mistake(now);
        let Some(better) = better else {
            self.fits_since = None;
            return;
        };
        let proven = STRONG_PROOF * budget.cost(better.bitrate_bps as f64) <= share_bps;
        let again = self
            .mistake
            .is_some_and(|m| better.bitrate_bps >= m.bitrate_bps && now < m.until);
        if again && !proven {
            self.is_backing_off = true;
            self.fits_since = None;
            return;
        }
        let since = *self.fits_since.get_or_insert(now);
        if self.is_in_beginning || now.saturating_duration_since(since) >= UP_AFTER {
            self.take(now, better);
        }
    }

    /// A rung that has lasted is no mistake any more.
    fn forget_mistake(&mut self, now: Instant) {
        let lasts = self
            .raised
            .is_some_and(|at| now.saturating_duration_since(at) > 3 * MISTAKE_WITHIN);
        if let (Some(mistake), Some(current)) = (self.mistake, self.current)
            && lasts
            && current.bitrate_bps >= mistake.bitrate_bps
        {
            self.mistake = None;
        }
    }

    fn report(&self, ladder: &Ladder<'_>, offer: &Offer<'_>) -> Decision {
        let next = match self.current {
            Some(current) => ladder.above(&current),
            None => ladder.lowest(),
        };
        let is_top = |rung: Rung| offer.rungs.iter().all(|other| other.rank() <= rung.rank());
        let why = match (next, self.current) {
            (Some(_), _) if self.is_backing_off => Why::BackOff,
            (Some(_), _) => Why::Path,
            (None, Some(current)) if is_top(current) => Why::Best,
            (None, _) => Why::Limit,
        };
        Decision {
            rung: self.current,
            next,
            why,
        }
    }
}

/// The rungs of an offer that come into question: allowed, and of full frame rate but for the
/// smallest picture, of which fewer frames are better than none.
struct Ladder<'a> {
    rungs: &'a [Rung],
    limits: Limits,
    /// Pixels of the smallest picture; what is chosen by hand.
    smallest: u32,
    chosen: Option<(u32, u8, u64)>,
    /// Nothing is within the limits: the smallest is taken all the same.
    only_smallest: bool,
}

impl<'a> Ladder<'a> {
    fn new(offer: &Offer<'a>) -> Self {
        let rungs = offer.rungs;
        let of_source = |source| rungs.iter().filter(move |rung| rung.source == source);
        let chosen = offer.limits.chosen.and_then(|source| {
            let ranks = of_source(source).map(Rung::rank);
            ranks.max()
        });
        let mut ladder = Self {
            rungs,
            limits: offer.limits,
            smallest: rungs.iter().map(|r| r.rank().0).min().unwrap_or(0),
            chosen,
            only_smallest: false,
        };
        let none_allowed = ladder.candidates().next().is_none();
        ladder.only_smallest = none_allowed;
        ladder
    }

    fn candidates(&self) -> impl Iterator<Item = &'a Rung> {
        self.rungs.iter().filter(|rung| {
            let is_smallest = rung.rank().0 == self.smallest;
            if self.only_smallest {
                return is_smallest;
            }
            self.allows(rung) && (is_smallest || self.has_all_frames(rung))
        })
    }

    fn allows(&self, rung: &Rung) -> bool {
        let lines = rung.width.min(rung.height);
        let within = |size: u16, max: Option<u16>| max.is_none_or(|max| size <= max);
        within(rung.width, self.limits.max_width)
            && within(rung.height, self.limits.max_height)
            && within(lines, self.limits.max_lines)
            && (!self.limits.reduced_data || lines <= REDUCED_LINES)
            && self.chosen.is_none_or(|chosen| rung.rank() <= chosen)
            && self
                .limits
                .max_spatial
                .is_none_or(|max| rung.spatial <= max)
            && self.has_wanted_frames(rung)
    }

    fn has_wanted_frames(&self, rung: &Rung) -> bool {
        self.limits
            .max_temporal
            .is_none_or(|max| rung.temporal <= max)
    }

    /// Whether no rung of the same picture has more of the frames that are wanted.
    fn has_all_frames(&self, rung: &Rung) -> bool {
        let mut same = self
            .rungs
            .iter()
            .filter(|r| (r.source, r.spatial) == (rung.source, rung.spatial));
        same.all(|r| r.temporal <= rung.temporal || !self.has_wanted_frames(r))
    }

    fn lowest(&self) -> Option<Rung> {
        self.candidates().min_by_key(|r| r.bitrate_bps).copied()
    }

    fn find(&self, rung: &Rung) -> Option<&'a Rung> {
        self.candidates().find(|r| r.is_same(rung))
    }

    /// The best of those that `fits`.
    fn best(&self, fits: impl Fn(&Rung) -> bool) -> Option<Rung> {
        let fitting = self.candidates().filter(|rung| fits(rung));
        fitting.max_by_key(|r| r.rank()).copied()
    }

    /// The cheapest that is better.
    fn above(&self, rung: &Rung) -> Option<Rung> {
        let better = self.candidates().filter(|r| r.rank() > rung.rank());
        better.min_by_key(|r| r.bitrate_bps).copied()
    }
}
