//! The day at a site: viewers come, find a place or don't, and leave, second by second.

use showrunner_capacity::autoscaling::Announcement;
use showrunner_capacity::load::Load;
use showrunner_capacity::placement::{self, PodIndex, Present, Reach, Room, Rules};

use crate::day::{Arrivals, Crowd, DAY, Day, Show};
use crate::random::Random;
use crate::scaler::{Look, Scaler};
use crate::site::{PodModel, Site, Stage};

/// How long the gateway looks for a pod before it refuses a viewer, in seconds: as long as it does in earnest.
const PATIENCE: usize = 4;
/// Within how many seconds those on a pod that drains are told to go elsewhere.
const DRAIN_SPREAD: u32 = 8;

/// What is assumed of a site.
#[derive(Clone, Debug)]
pub struct SiteModel {
    /// Its pods.
    pub pods: PodModel,
    /// How rooms are placed.
    pub rules: Rules,
    /// Pods at midnight.
    pub first_pods: u32,
}

/// What came of a day.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Who wanted to join.
    pub joins: u64,
    /// Of those, the ones for whom there was no place within the gateway's patience.
    pub refused: u64,
    /// Viewers who were moved from a pod that drained.
    pub moved: u64,
    /// Viewers who had to join again because their pod died, and are no joins.
    pub cut_off: u64,
    /// Who left by themselves.
    pub left: u64,
    /// Who are there at the end of the day.
    pub remain: u64,
    /// Pods that died.
    pub died: u32,
    /// Seconds of all pods, from their making to their end.
    pub pod_seconds: u64,
    /// Pods at each second.
    pub pods: Vec<u32>,
    /// Pods that take viewers, at each second.
    pub ready: Vec<u32>,
    /// Who were refused, at each second.
    pub refusals: Vec<u32>,
}

struct Live<'a> {
    show: &'a Show,
    arrivals: Arrivals,
    parts: Vec<Part>,
    /// Who wait, by how many seconds they have.
    waiting: [Crowd; PATIENCE],
}

/// A room's part on a pod.
struct Part {
    pod: usize,
    parent: Option<usize>,
    crowd: Crowd,
    reserved: u32,
    /// The plan has it there: others only have viewers left to move.
    is_planned: bool,
}

impl Part {
    /// Whether it takes viewers: an edge that is to have none is to empty.
    fn is_open(&self) -> bool {
        self.is_planned && (self.parent.is_none() || self.reserved > 0)
    }
}

/// A site on a day.
pub struct World<'a> {
    day: &'a Day,
    model: &'a SiteModel,
    site: Site,
    random: Random,
    live: Vec<Live<'a>>,
    next_show: usize,
    replicas: u32,
    reaches: Vec<Reach>,
    outcome: Outcome,
}

/// Plays a day.
pub fn play(day: &Day, model: &SiteModel, scaler: &mut dyn Scaler) -> Outcome {
    let mut world = World::new(day, model);
    for now in 0..DAY {
        world.step(now, scaler);
    }
    world.finish()
}

impl<'a> World<'a> {
    /// A day at its beginning.
    #[must_use]
    pub fn new(day: &'a Day, model: &'a SiteModel) -> World<'a> {
        let seed = day.model.seed;
        World {
            day,
            model,
            site: Site::new(&model.pods, seed, model.first_pods),
            random: Random::new(seed, 4 << 32),
            live: Vec::new(),
            next_show: 0,
            replicas: model.first_pods,
            reaches: vec![Reach {
                tiers: vec![vec![placement::Site(0)]],
            }],
            outcome: Outcome::default(),
        }
    }

    /// Lets a second pass.
    pub fn step(&mut self, now: u32, scaler: &mut dyn Scaler) {
        for pod in self.site.age(now) {
            self.outcome.died += 1;
            self.cut_off(pod);
        }
        self.open_and_close(now);
        self.leave(now);
        self.count_pods();
        // Decisions are by what is there before this second's viewers come: what pods said a second ago.
        let announced: Vec<Announcement> = self
            .live
            .iter()
            .map(|room| announcement(room, now))
            .collect();
        self.replicas = scaler.replicas(&Look {
            now,
            replicas: self.replicas,
            site: &self.site,
            capacity: self.model.pods.capacity,
            rooms: &announced,
        });
        self.site.scale(now, self.replicas);
        self.place(now);
        self.move_on();
        let refused = self.join(now);
        self.site.sweep();
        self.record(refused);
    }

    /// Who were, are or will be somewhere.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        self.outcome.remain = self.present();
        self.outcome
    }

    /// Viewers who are there or wait.
    #[must_use]
    pub fn present(&self) -> u64 {
        let rooms = self.live.iter();
        rooms
            .flat_map(|room| {
                let there = room.parts.iter().map(|part| part.crowd.len());
                there.chain(room.waiting.iter().map(Crowd::len))
            })
            .map(u64::from)
            .sum()
    }

    /// What has come of it so far.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The site's pods.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    fn cut_off(&mut self, pod: usize) {
        for room in &mut self.live {
            room.parts.retain(|part| {
                let is_lost = part.pod == pod;
                if is_lost {
                    room.waiting[0].add(part.crowd);
                    self.outcome.cut_off += u64::from(part.crowd.len());
                }
                !is_lost
            });
        }
    }

    fn open_and_close(&mut self, now: u32) {
        while let Some(show) = self.day.shows.get(self.next_show)
            && show.opens <= now
        {
            self.next_show += 1;
            self.live.push(Live {
                show,
                arrivals: show.arrivals(&self.day.model),
                parts: Vec::new(),
                waiting: Default::default(),
            });
        }
        self.live.retain(|room| {
            let is_empty = room.parts.iter().all(|part| part.crowd.is_empty())
                && room.waiting.iter().all(Crowd::is_empty);
            !(room.show.is_over(now) && is_empty)
        });
    }

    fn leave(&mut self, now: u32) {
        let model = &self.day.model;
        for room in &mut self.live {
            let is_over = room.show.is_over(now);
            for part in &mut room.parts {
                let left = part.crowd.leave(model, is_over, &mut self.random);
                self.outcome.left += u64::from(left);
            }
        }
    }

    fn count_pods(&mut self) {
        for pod in &mut self.site.pods {
            (pod.viewers, pod.edges, pod.rooms) = (0, 0, 0);
        }
        for part in self.live.iter().flat_map(|room| &room.parts) {
            let pod = &mut self.site.pods[part.pod];
            pod.viewers += part.crowd.len();
            pod.rooms += 1;
            if let Some(parent) = part.parent {
                self.site.pods[parent].edges += 1;
            }
        }
    }

    /// Places all rooms anew, and does what the plan says.
    fn place(&mut self, now: u32) {
        let pods: Vec<placement::Pod> = self.site.for_placement().collect();
        let rooms: Vec<Room> = self
            .live
            .iter()
            .map(|room| self.as_room(room, now))
            .collect();
        let plan = placement::plan(&pods, &self.reaches, &rooms, &self.model.rules);
        for (room, plan) in self.live.iter_mut().zip(plan.rooms) {
            for part in &mut room.parts {
                (part.is_planned, part.reserved) = (false, 0);
            }
            for share in plan.shares {
                let pod = share.pod.0 as usize;
                let known = room.parts.iter().position(|part| part.pod == pod);
                let at = known.unwrap_or_else(|| {
                    room.parts.push(Part {
                        pod,
                        parent: None,
                        crowd: Crowd::default(),
                        reserved: 0,
                        is_planned: true,
                    });
                    room.parts.len() - 1
                });
                let part = &mut room.parts[at];
                part.parent = share.parent.map(|parent| parent.0 as usize);
                (part.reserved, part.is_planned) = (share.viewers, true);
            }
            room.parts
                .retain(|part| part.is_planned || !part.crowd.is_empty());
        }
        self.count_pods();
    }

    /// As the operator knows it: who wait are known to the gateway only.
    fn as_room(&self, room: &Live<'_>, now: u32) -> Room {
        let announced = announcement(room, now);
        Room {
            reach: 0,
            expected: announced.viewers + announced.to_keep_space_for(now.into()),
            per_viewer: self.model.pods.per_viewer,
            per_edge: self.model.pods.per_viewer,
            present: room
                .parts
                .iter()
                .map(|part| Present {
                    pod: index(part.pod),
                    parent: part.parent.map(index),
                    viewers: part.crowd.len(),
                    reserved: part.reserved,
                    has_host: false,
                })
                .collect(),
        }
    }

    /// Viewers on pods that drain go to the room's other pods, an eighth of them each second.
    fn move_on(&mut self) {
        let most = self.most_sessions();
        for room in &mut self.live {
            for at in 0..room.parts.len() {
                let part = &room.parts[at];
                if part.is_planned || self.site.pods[part.pod].stage != Stage::Draining {
                    continue;
                }
                let turn = part.crowd.len().div_ceil(DRAIN_SPREAD);
                let mut going = room.parts[at].crowd.take(turn);
                let from = room.parts[at].pod;
                let before = going.len();
                seat(&mut room.parts, &mut self.site, &mut going, most);
                let moved = before - going.len();
                self.outcome.moved += u64::from(moved);
                self.site.pods[from].viewers -= moved;
                // Who finds no place stays for now.
                room.parts[at].crowd.add(going);
            }
        }
    }

    /// Viewers, and edges, that a pod lets in: placement plans with less. In earnest it lets in as many more as it may
    /// have rooms, since hosts are sessions too.
    fn most_sessions(&self) -> u32 {
        u32::try_from(self.model.pods.capacity.viewers).unwrap_or(u32::MAX)
    }

    /// Viewers come in where there is space. Returns how many were refused.
    fn join(&mut self, now: u32) -> u32 {
        let most = self.most_sessions();
        let mut refused = 0;
        for room in &mut self.live {
            let new = room.arrivals.next(room.show, now);
            self.outcome.joins += u64::from(new.len());
            room.waiting[0].add(new);
            for crowd in room.waiting.iter_mut().rev() {
                seat(&mut room.parts, &mut self.site, crowd, most);
            }
            let [.., last] = &mut room.waiting;
            refused += std::mem::take(last).len();
            room.waiting.rotate_right(1);
        }
        refused
    }

    fn record(&mut self, refused: u32) {
        let outcome = &mut self.outcome;
        outcome.refused += u64::from(refused);
        outcome.refusals.push(refused);
        outcome.pods.push(self.site.count());
        outcome.ready.push(self.site.ready());
        outcome.pod_seconds += u64::from(self.site.count());
    }
}

/// Seats viewers on a room's pods as the gateway does: each on the one with the fewest sessions of those that are to
/// keep their viewers, wherever the plan wants them.
fn seat(parts: &mut [Part], site: &mut Site, crowd: &mut Crowd, most: u32) {
    let is_open = |part: &Part| part.is_open() && site.pods[part.pod].stage == Stage::Ready;
    let mut open: Vec<(&mut Part, u32, u32)> = parts
        .iter_mut()
        .filter(|part| is_open(part))
        .map(|part| {
            let pod = &site.pods[part.pod];
            (part, pod.viewers + pod.edges, 0)
        })
        .collect();
    for _ in 0..crowd.len() {
        let least = open.iter_mut().min_by_key(|(_, sessions, _)| *sessions);
        let Some((_, sessions, sent)) = least.filter(|(_, sessions, _)| *sessions < most) else {
            break;
        };
        *sessions += 1;
        *sent += 1;
    }
    for (part, _, sent) in open {
        site.pods[part.pod].viewers += sent;
        part.crowd.add(crowd.take(sent));
    }
}

fn index(pod: usize) -> PodIndex {
    PodIndex(u32::try_from(pod).unwrap_or(u32::MAX))
}

fn announcement(room: &Live<'_>, now: u32) -> Announcement {
    let on_air = room.show.on_air();
    Announcement {
        start: room.show.start.into(),
        on_air: (on_air <= now).then_some(on_air.into()),
        expected: room.show.announced,
        viewers: room.parts.iter().map(|part| part.crowd.len()).sum(),
    }
}

/// What the fewest pods could carry, if whoever makes them knew the day: at each second as many as the viewers and
/// rooms of the time fill to the last place, made before by as long as pods take to get ready on average. A pod that
/// would be needed again sooner than a new one is ready stays.
#[must_use]
pub fn oracle(day: &Day, model: &PodModel) -> Vec<u32> {
    let Load { viewers, rooms, .. } = model.capacity;
    let need = day.viewers.iter().zip(&day.rooms).map(|(viewer, room)| {
        let by = |amount: u32, each: u64| u64::from(amount).div_ceil(each.max(1));
        let pods = by(*viewer, viewers).max(by(*room, rooms)).max(1);
        u32::try_from(pods).unwrap_or(u32::MAX)
    });
    let need: Vec<u32> = need.collect();
    let lead = model.mean_ready_seconds().ceil() as usize;
    (0..need.len())
        .map(|now| {
            let soon = &need[now..need.len().min(now + lead + 1)];
            soon.iter().copied().max().unwrap_or(1)
        })
        .collect()
}

#[cfg(test)]
mod tests;
