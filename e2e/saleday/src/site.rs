//! The site's pods: made, ready after a while, drained, dying.

use showrunner_capacity::load::{Load, Rate, UNLIMITED};
use showrunner_capacity::{autoscaling, placement};

use crate::random::Random;

/// What is assumed of pods.
#[derive(Clone, Debug)]
pub struct PodModel {
    /// What one takes.
    pub capacity: Load,
    /// What a viewer costs.
    pub per_viewer: Rate,
    /// The share of a core that a pod uses with nobody on it.
    pub idle_cpu: f64,
    /// The share that it uses besides, when it has all the viewers that it takes.
    pub full_cpu: f64,
    /// How long a pod takes to get ready where a machine has space for it, in seconds: from, to.
    pub ready_seconds: (f64, f64),
    /// How long where a machine must be had first.
    pub slow_seconds: (f64, f64),
    /// The share of pods for which one must.
    pub slow_share: f64,
    /// Hours that a pod runs on average until it dies.
    pub hours_to_failure: f64,
    /// Zones that pods are spread over.
    pub zones: u16,
}

impl Default for PodModel {
    fn default() -> PodModel {
        PodModel {
            capacity: Load {
                viewers: 1000,
                rooms: 100,
                egress_bps: 2_500_000_000,
                packets: UNLIMITED,
            },
            per_viewer: Rate {
                egress_bps: 2_000_000,
                packets: 250,
            },
            idle_cpu: 0.02,
            full_cpu: 0.73,
            ready_seconds: (20.0, 30.0),
            slow_seconds: (40.0, 60.0),
            slow_share: 0.3,
            hours_to_failure: 500.0,
            zones: 3,
        }
    }
}

impl PodModel {
    /// How long a pod takes on average, in seconds.
    #[must_use]
    pub fn mean_ready_seconds(&self) -> f64 {
        let mean = |(from, to): (f64, f64)| (from + to) / 2.0;
        let slow = self.slow_share * mean(self.slow_seconds);
        slow + (1.0 - self.slow_share) * mean(self.ready_seconds)
    }
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its place is free.
    None,
    /// It is on its way.
    Starting,
    /// It serves.
    Ready,
    /// It is to go.
    Draining,
}

/// A pod, or a place for one.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Where it is in its life.
    pub stage: Stage,
    made: u32,
    ready_at: u32,
    dies_at: u32,
    /// Viewers on it.
    pub viewers: u32,
    /// Edges that take a room from it.
    pub edges: u32,
    /// Rooms on it.
    pub rooms: u32,
}

/// All pods, and places of those that were.
pub struct Site {
    model: PodModel,
    random: Random,
    /// By their numbers.
    pub pods: Vec<Pod>,
}

impl Site {
    /// With so many pods, ready.
    #[must_use]
    pub fn new(model: &PodModel, seed: u64, pods: u32) -> Site {
        let mut site = Site {
            model: model.clone(),
            random: Random::new(seed, 3 << 32),
            pods: Vec::new(),
        };
        for _ in 0..pods {
            let at = site.make(0);
            site.pods[at].stage = Stage::Ready;
            site.pods[at].ready_at = 0;
        }
        site
    }

    fn make(&mut self, now: u32) -> usize {
        let is_slow = self.random.happens(self.model.slow_share);
        let (from, to) = if is_slow {
            self.model.slow_seconds
        } else {
            self.model.ready_seconds
        };
        let ready_at = now + self.random.between(from, to).round() as u32;
        let lives = 3600.0 * self.random.exponential(self.model.hours_to_failure);
        let pod = Pod {
            stage: Stage::Starting,
            made: now,
            ready_at,
            dies_at: ready_at.saturating_add(lives as u32).saturating_add(1),
            viewers: 0,
            edges: 0,
            rooms: 0,
        };
        let free = self.pods.iter().position(|pod| pod.stage == Stage::None);
        match free {
            Some(at) => {
                self.pods[at] = pod;
                at
            }
            None => {
                self.pods.push(pod);
                self.pods.len() - 1
            }
        }
    }

    /// What happens to pods in a second. Returns those that died.
    pub fn age(&mut self, now: u32) -> Vec<usize> {
        let mut died = Vec::new();
        for (at, pod) in self.pods.iter_mut().enumerate() {
            if pod.stage == Stage::Starting && pod.ready_at <= now {
                pod.stage = Stage::Ready;
            }
            if matches!(pod.stage, Stage::Ready | Stage::Draining) && pod.dies_at <= now {
                pod.stage = Stage::None;
                died.push(at);
            }
        }
        died
    }

    /// Makes or drains pods until there are so many: the emptiest go, those that aren't ready before them.
    pub fn scale(&mut self, now: u32, replicas: u32) {
        let serving = |pod: &Pod| matches!(pod.stage, Stage::Starting | Stage::Ready);
        let count = self.pods.iter().filter(|pod| serving(pod)).count();
        for _ in count..replicas as usize {
            self.make(now);
        }
        for _ in replicas as usize..count {
            let pods = self.pods.iter_mut().filter(|pod| serving(pod));
            let emptiest = pods.min_by_key(|pod| {
                (
                    pod.stage == Stage::Ready,
                    pod.viewers,
                    pod.rooms,
                    u32::MAX - pod.made,
                )
            });
            if let Some(pod) = emptiest {
                pod.stage = match pod.stage {
                    Stage::Ready => Stage::Draining,
                    _ => Stage::None,
                };
            }
        }
    }

    /// Ends drained pods on which nobody is left.
    pub fn sweep(&mut self) {
        for pod in &mut self.pods {
            if pod.stage == Stage::Draining && pod.viewers == 0 {
                pod.stage = Stage::None;
            }
        }
    }

    /// Pods that there are, in whatever stage.
    #[must_use]
    pub fn count(&self) -> u32 {
        let there = self.pods.iter().filter(|pod| pod.stage != Stage::None);
        u32::try_from(there.count()).unwrap_or(u32::MAX)
    }

    /// Pods that take viewers.
    #[must_use]
    pub fn ready(&self) -> u32 {
        let ready = self.pods.iter().filter(|pod| pod.stage == Stage::Ready);
        u32::try_from(ready.count()).unwrap_or(u32::MAX)
    }

    /// The share of a core that a pod uses.
    #[must_use]
    pub fn cpu(&self, pod: &Pod) -> f64 {
        let load = f64::from(pod.viewers + pod.edges) / self.model.capacity.viewers as f64;
        self.model.idle_cpu + self.model.full_cpu * load
    }

    /// As placement sees them.
    pub fn for_placement(&self) -> impl Iterator<Item = placement::Pod> {
        (0_u16..).zip(&self.pods).map(|(at, pod)| placement::Pod {
            site: placement::Site(0),
            region: placement::Region(0),
            zone: placement::Zone(at % self.model.zones.max(1)),
            state: match pod.stage {
                Stage::None | Stage::Starting => placement::PodState::Gone,
                Stage::Ready => placement::PodState::Ready,
                Stage::Draining => placement::PodState::Draining,
            },
            is_outdated: false,
            capacity: self.model.capacity,
            other: Load::default(),
        })
    }

    /// As autoscaling sees them.
    pub fn for_autoscaling(&self) -> impl Iterator<Item = autoscaling::Pod> {
        let there = self.pods.iter().filter(|pod| pod.stage != Stage::None);
        there.map(|pod| autoscaling::Pod {
            stage: match pod.stage {
                Stage::None | Stage::Starting => autoscaling::Stage::Starting,
                Stage::Ready => autoscaling::Stage::Serving,
                Stage::Draining => autoscaling::Stage::Leaving,
            },
            report: (pod.stage != Stage::Starting).then(|| {
                let rate = self.model.per_viewer.of((pod.viewers + pod.edges).into());
                autoscaling::Report {
                    age: 1,
                    load: Load {
                        viewers: pod.viewers.into(),
                        rooms: pod.rooms.into(),
                        ..rate
                    },
                    cpu: self.cpu(pod),
                }
            }),
            ready_after: (pod.stage != Stage::Starting && pod.ready_at > 0)
                .then_some(pod.ready_at - pod.made),
        })
    }
}
