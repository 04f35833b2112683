//! How many pods a site has.
//!
//! [`decide`] looks at what the pods of a site say and at what is announced (schedules, rooms that begin soon), and says
//! how many pods there should be, which signal decided, and why in a sentence. It is pure: time is a number, and what
//! it must remember between two looks is the [`State`] that goes in and comes out.
//!
//! - **Out at once.** Every signal has a need in pods, and the largest wins. What is measured is limited in how fast it
//!   may add pods, since it can be wrong; what is announced is not, and comes before it is needed, by the time that
//!   pods take to get ready.
//! - **In with care.** A pod is given up only when no look of the last minutes wanted it, not even with a little more
//!   load than there was: as much more as the load trembles. So noise around a level changes nothing.
//! - **Blind never in.** As long as a pod that serves does not say how it is, none is given up. It counts with what it
//!   last said, or like the others, so that load that can't be seen still makes pods.
//! - A leader who begins with an empty state gives up nothing until it has watched for as long as the others.

mod lead;
mod limits;
mod need;
mod reason;
mod schedule;
mod trend;

#[cfg(test)]
mod tests;

use crate::load::Load;

pub use reason::{Hold, Signal};
pub use schedule::{Floor, InvalidSchedule, Next, Schedule};

use limits::{Changes, Wishes};
use need::Needs;
use trend::Trend;

/// How a site is to be scaled.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The fewest pods.
    pub min: u32,
    /// The most pods.
    pub max: u32,
    /// How full pods are to be.
    pub targets: Targets,
    /// What is kept free for those who come next.
    pub buffer: Buffer,
    /// Times at which it is known how much is needed.
    pub schedules: Vec<Schedule>,
    /// How long viewers who were announced may take to come, in seconds since their host is on air: they count less and
    /// less until then. None: announcements of rooms don't count.
    pub announced_seconds: Option<u32>,
    /// From how many of the last seconds the trend is taken; none: no forecast.
    pub forecast_seconds: Option<u32>,
    /// How long pods take to get ready, as long as it is not known, in seconds.
    pub default_lead_seconds: u32,
    /// How fast pods may be added for what is measured.
    pub scale_up: Pace,
    /// How fast pods may be given up.
    pub scale_down: Pace,
    /// A pod is given up when it was not needed for this long, in seconds.
    pub stabilization_seconds: u32,
    /// And would not have been with this much more load, in per cent, or with as much more as the load trembles.
    pub tolerance_percent: u32,
    /// Only say what would be done.
    pub is_dry_run: bool,
}

/// How full pods are to be, in per cent of what they take; none: this is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Viewers.
    pub viewers: Option<u32>,
    /// Rooms.
    pub rooms: Option<u32>,
    /// Media sent.
    pub egress: Option<u32>,
    /// Packets sent.
    pub packets: Option<u32>,
    /// The busiest shard's share of its core.
    pub cpu: Option<u32>,
}

/// What is kept free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// For viewers.
    pub viewers: Spare,
    /// For rooms.
    pub rooms: Spare,
}

/// The larger of a number and a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spare {
    /// So many.
    pub number: u64,
    /// Per cent of what is needed.
    pub percent: u32,
}

impl Announcement {
    /// Viewers who were announced and may still come: all until the host is on air, then fewer and fewer. A host who is
    /// not there within a quarter of an hour has forgotten.
    #[must_use]
    pub fn promised(&self, now: i64, lead: u32, patience: u32) -> f64 {
        let missing = f64::from(self.expected.saturating_sub(self.viewers));
        let since_start = now.saturating_sub(self.start);
        let waited = match self.on_air {
            Some(on_air) => now.saturating_sub(on_air.max(self.start)).max(0) as f64,
            None if since_start > LATEST => return 0.0,
            None => 0.0,
        };
        if since_start < -i64::from(lead) || patience == 0 {
            return 0.0;
        }
        missing * (1.0 - waited / f64::from(patience)).max(0.0)
    }

    /// Of those, the viewers for whom placement is to keep space now.
    #[must_use]
    pub fn to_keep_space_for(&self, now: i64) -> u32 {
        self.promised(now, SPACE_AHEAD, ANNOUNCED_SECONDS).ceil() as u32
    }
}

/// How long before its start a room has space for all viewers that it expects, in seconds. Before, it has space for a
/// few: who rehearses needs no more, others can use the rest, and the pods that are made for those who come are not
/// there yet, so that the room would be in many small parts of the others.
const SPACE_AHEAD: u32 = 120;
/// How long viewers who were announced may take to come where nobody says otherwise, in seconds: most come in the first
/// minutes.
const ANNOUNCED_SECONDS: u32 = 150;
/// How late a host may be, in seconds.
const LATEST: i64 = 900;

impl Spare {
    fn of(&self, need: f64) -> f64 {
        (need * f64::from(self.percent) / 100.0).max(self.number as f64)
    }
}

/// The most that is changed within a time: the larger of a number and a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Pods.
    pub pods: u32,
    /// Per cent of the pods that there were.
    pub percent: u32,
    /// Within so many seconds.
    pub seconds: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            min: 1,
            max: 10,
            targets: Targets {
                viewers: Some(90),
                rooms: Some(90),
                egress: Some(80),
                packets: Some(80),
                cpu: Some(70),
            },
            buffer: Buffer::default(),
            schedules: Vec::new(),
            announced_seconds: Some(ANNOUNCED_SECONDS),
            forecast_seconds: Some(30),
            default_lead_seconds: 60,
            scale_up: Pace {
                pods: 20,
                percent: 100,
                seconds: 15,
            },
            scale_down: Pace {
                pods: 20,
                percent: 30,
                seconds: 15,
            },
            stabilization_seconds: 60,
            tolerance_percent: 1,
            is_dry_run: false,
        }
    }
}

/// What is known of a site.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// Seconds since 1970.
    pub now: i64,
    /// Pods that the site is asked to have.
    pub replicas: u32,
    /// What one pod takes.
    pub capacity: Load,
    /// Its pods.
    pub pods: &'a [Pod],
    /// Rooms that are, or will be, the site's.
    pub rooms: &'a [Announcement],
    /// Rooms that wait for a pod of it.
    pub waiting_rooms: u32,
}

/// A pod of the site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pod {
    /// Where it is in its life.
    pub stage: Stage,
    /// What it last said; none if it never did.
    pub report: Option<Report>,
    /// How long it took from its making until it was ready, in seconds; none if it is not yet.
    pub ready_after: Option<u32>,
}

/// Where a pod is in its life, as far as capacity minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has never been ready.
    Starting,
    /// It serves.
    Serving,
    /// It is to go: those on it will need a place.
    Leaving,
}

/// What a pod says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// How old it is, in seconds.
    pub age: u32,
    /// What is on it.
    pub load: Load,
    /// The busiest shard's share of its core: 0 to 1.
    pub cpu: f64,
}

/// What is known of a room before its viewers are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// When its viewers are expected, in seconds since 1970.
    pub start: i64,
    /// Since when its host is on air, in seconds since 1970; none: not yet. Viewers are as late as their host.
    pub on_air: Option<i64>,
    /// How many.
    pub expected: u32,
    /// How many are there.
    pub viewers: u32,
}

/// What was seen and decided before, as far as it matters. A new one knows nothing, and gives up no pod until it has
/// seen enough.
#[derive(Clone, Debug, Default)]
pub struct State {
    since: Option<i64>,
    trend: Trend,
    wishes: Wishes,
    changes: Changes,
    /// How long pods took to get ready, the last time that there were some who had, in seconds.
    ready_after: Option<u32>,
}

/// How many pods there should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How many the site is to be asked to have now, or would be if it were no dry run.
    pub replicas: u32,
    /// How many there would be if nothing held it back.
    pub wanted: u32,
    /// What asks for most.
    pub signal: Signal,
    /// What holds it back, if something does.
    pub hold: Option<Hold>,
    /// Why, in a sentence.
    pub why: String,
    /// How long before they are needed pods are made, in seconds.
    pub lead_seconds: u32,
    /// Pods that serve and don't say how they are.
    pub silent: u32,
    /// What is there, in per cent of what the pods that serve take when they are as full as they should be, of whatever
    /// is fullest; none if no pod serves.
    pub load_percent: Option<u32>,
    /// What the next schedule will do.
    pub next: Option<Next>,
}

/// Decides how many pods there should be, and what to remember of it.
#[must_use]
pub fn decide(policy: &Policy, seen: &Observation<'_>, mut state: State) -> (Decision, State) {
    let lead = lead::learn(
        &mut state.ready_after,
        seen.pods,
        policy.default_lead_seconds,
    );
    let needs = Needs::find(policy, seen, &mut state.trend, lead);
    let since = *state.since.get_or_insert(seen.now);
    let bounded = |pods: u32| pods.clamp(policy.min, policy.max.max(policy.min));
    let wanted = bounded(needs.most.pods);
    state.wishes.add(
        seen.now,
        bounded(needs.cautious),
        policy.stabilization_seconds,
    );
    let (replicas, hold) = if wanted > seen.replicas {
        let paced = state
            .changes
            .most(seen.now, seen.replicas, &policy.scale_up);
        let next = wanted.min(paced.max(bounded(needs.planned)));
        (next, (next < wanted).then_some(Hold::Pace))
    } else if wanted == seen.replicas {
        (wanted, None)
    } else {
        let has_seen_enough = seen.now - since >= i64::from(policy.stabilization_seconds);
        let (fewer, hold) = match (needs.silent, has_seen_enough) {
            (1.., _) => (seen.replicas, Some(Hold::Silent)),
            (0, false) => (seen.replicas, Some(Hold::New)),
            (0, true) => fewer(policy, seen, &state, wanted),
        };
        (bounded(fewer), hold)
    };
    let hold = if needs.most.pods > wanted {
        hold.or(Some(Hold::Maximum))
    } else {
        hold
    };
    let mut decision = Decision {
        replicas,
        wanted,
        signal: needs.signal(wanted),
        hold,
        why: String::new(),
        lead_seconds: lead,
        silent: needs.silent,
        load_percent: needs.load_percent,
        next: schedule::next(&policy.schedules, seen.now),
    };
    decision.why = reason::sentence(policy, seen, &needs, &decision);
    if !policy.is_dry_run {
        state.changes.add(seen.now, seen.replicas, replicas);
    }
    (decision, state)
}

/// How many pods are left when some may go.
fn fewer(
    policy: &Policy,
    seen: &Observation<'_>,
    state: &State,
    wanted: u32,
) -> (u32, Option<Hold>) {
    let needed = state.wishes.most().max(wanted).min(seen.replicas);
    let paced = state
        .changes
        .fewest(seen.now, seen.replicas, &policy.scale_down);
    let hold = match (paced > needed, needed > wanted) {
        (true, _) => Some(Hold::Pace),
        (false, true) => Some(Hold::Recent),
        (false, false) => None,
    };
    (needed.max(paced), hold)
}
