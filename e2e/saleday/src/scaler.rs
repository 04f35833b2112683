//! Who decides how many pods there are: Showrunner's own autoscaling, or a HorizontalPodAutoscaler.

use showrunner_capacity::autoscaling::{Announcement, Observation, Policy, State, decide};
use showrunner_capacity::load::Load;

use crate::site::{Site, Stage};

/// A site as whoever scales it sees it.
pub struct Look<'a> {
    /// Seconds since the day began.
    pub now: u32,
    /// Pods that the site is asked to have.
    pub replicas: u32,
    /// Its pods.
    pub site: &'a Site,
    /// What a pod takes.
    pub capacity: Load,
    /// What rooms expect.
    pub rooms: &'a [Announcement],
}

/// Decides how many pods there are.
pub trait Scaler {
    /// Is asked each second.
    fn replicas(&mut self, look: &Look<'_>) -> u32;
}

/// Showrunner's own.
pub struct Showrunner {
    policy: Policy,
    state: State,
}

impl Showrunner {
    /// By this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Showrunner {
        Showrunner {
            policy,
            state: State::default(),
        }
    }
}

impl Scaler for Showrunner {
    fn replicas(&mut self, look: &Look<'_>) -> u32 {
        let pods: Vec<_> = look.site.for_autoscaling().collect();
        let seen = Observation {
            now: look.now.into(),
            replicas: look.replicas,
            capacity: look.capacity,
            pods: &pods,
            rooms: look.rooms,
            waiting_rooms: 0,
        };
        let state = std::mem::take(&mut self.state);
        let (decision, state) = decide(&self.policy, &seen, state);
        self.state = state;
        decision.replicas
    }
}

/// A HorizontalPodAutoscaler (autoscaling/v2) on processor time, with the defaults of Kubernetes: asks every 15 s,
/// tolerance 0.1, adds the larger of four pods and as many as there are within 15 s, gives up at once what nothing of
/// the last 300 s asked for.
///
/// Two things are in its favour: what it hears is the mean of the 15 s before, without a delay, and the pods that it
/// gives up are the emptiest and are drained, where a Deployment would end any of them.
pub struct Hpa {
    min: u32,
    max: u32,
    target: f64,
    /// Processor time of ready pods, summed up second by second, since the last look.
    used: f64,
    ready: f64,
    asked: Vec<(u32, u32)>,
}

const SYNC_SECONDS: u32 = 15;
const STABILIZATION_SECONDS: u32 = 300;
const TOLERANCE: f64 = 0.1;

impl Hpa {
    /// With a target for the share of a core that pods use on average.
    #[must_use]
    pub fn new(min: u32, max: u32, target: f64) -> Hpa {
        Hpa {
            min,
            max,
            target,
            used: 0.0,
            ready: 0.0,
            asked: Vec::new(),
        }
    }

    /// What the present use asks for.
    fn recommend(&self, look: &Look<'_>) -> u32 {
        let current = look.replicas;
        if self.ready == 0.0 {
            return current;
        }
        let mean = self.used / self.ready;
        let ready = f64::from(look.site.ready());
        let starting = look.site.pods.iter();
        let starting = starting.filter(|pod| pod.stage == Stage::Starting).count() as f64;
        let is_close = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
        let ratio = mean / self.target;
        if is_close(ratio) {
            return current;
        }
        if ratio < 1.0 || starting == 0.0 {
            return (ratio * ready).ceil() as u32;
        }
        // Pods that aren't ready count as if they used nothing when more are asked for.
        let ratio = ratio * ready / (ready + starting);
        if ratio < 1.0 || is_close(ratio) {
            return current;
        }
        (ratio * (ready + starting)).ceil() as u32
    }
}

impl Scaler for Hpa {
    fn replicas(&mut self, look: &Look<'_>) -> u32 {
        let site = look.site;
        for pod in site.pods.iter().filter(|pod| pod.stage == Stage::Ready) {
            self.used += site.cpu(pod);
            self.ready += 1.0;
        }
        if !look.now.is_multiple_of(SYNC_SECONDS) {
            return look.replicas;
        }
        let asks = self.recommend(look);
        (self.used, self.ready) = (0.0, 0.0);
        let now = look.now;
        self.asked
            .retain(|(at, _)| now - at < STABILIZATION_SECONDS);
        self.asked.push((now, asks));
        let most = self.asked.iter().map(|(_, asked)| *asked).max();
        let current = look.replicas;
        let stable = if asks < current {
            most.unwrap_or(asks).min(current)
        } else {
            asks
        };
        let fastest = (current * 2).max(current + 4);
        stable.min(fastest).clamp(self.min, self.max)
    }
}
