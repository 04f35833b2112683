//! What each signal needs, in pods.

use super::schedule::Floor;
use super::trend::Trend;
use super::{Observation, Pod, Policy, Report, Signal, Stage};
use crate::load::{Load, UNLIMITED};

/// A report that is older says nothing of how a pod is, in seconds.
const FRESH: u32 = 10;
/// From how many of the last seconds noise is taken where there is no forecast.
const TREMBLING: u32 = 30;
/// So many standard deviations of its noise count as load when pods are to be given up.
const DEVIATIONS: f64 = 3.0;
/// Who were on a pod that is to go and does not answer are somewhere else after this, in seconds.
const MOVED: u32 = 60;
/// What viewers cost is taken from what is measured once there are this many, as a share of what a pod takes: with
/// fewer, what a pod does anyway would count as theirs.
const TELLING: f64 = 0.1;

/// What all signals need.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    /// The largest, with its signal.
    pub(super) most: Need,
    /// What is announced, whatever is measured.
    pub(super) planned: u32,
    /// Pods without which a little more load would be too much.
    pub(super) cautious: u32,
    /// Pods that serve and don't say how they are.
    pub(super) silent: u32,
    pub(super) load_percent: Option<u32>,
    /// For the reason.
    pub(super) viewers: f64,
    pub(super) promised: f64,
    pub(super) spare: f64,
    pub(super) totals: Totals,
    pub(super) schedule: Option<String>,
}

/// What one signal needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) signal: Signal,
    pub(super) pods: u32,
}

/// What is on all pods.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) viewers: f64,
    pub(super) rooms: f64,
    pub(super) egress_bps: f64,
    pub(super) packets: f64,
    pub(super) cpu: f64,
}

impl Totals {
    fn add(&mut self, load: &Load, cpu: f64) {
        self.viewers += load.viewers as f64;
        self.rooms += load.rooms as f64;
        self.egress_bps += load.egress_bps as f64;
        self.packets += load.packets as f64;
        self.cpu += cpu;
    }

    fn scaled(&self, by: f64) -> Totals {
        Totals {
            viewers: self.viewers * by,
            rooms: self.rooms * by,
            egress_bps: self.egress_bps * by,
            packets: self.packets * by,
            cpu: self.cpu * by,
        }
    }
}

impl Needs {
    pub(super) fn find(
        policy: &Policy,
        seen: &Observation<'_>,
        trend: &mut Trend,
        lead: u32,
    ) -> Needs {
        let (mut totals, silent) = measure(seen.pods, policy.targets.cpu.is_some());
        totals.rooms += f64::from(seen.waiting_rooms);
        let viewers = totals.viewers;
        let promised = promised(policy, seen, lead);
        trend.add(
            seen.now,
            viewers,
            policy.forecast_seconds.unwrap_or(TREMBLING),
        );
        let growth = policy.forecast_seconds.map_or(0.0, |_| trend.growth(lead));
        // Those who come now may be those who were announced: the larger counts, not both.
        let (ahead, by) = if promised > 0.0 && promised >= growth {
            (promised, Signal::Expected)
        } else if growth > 0.0 {
            (growth, Signal::Forecast)
        } else {
            (0.0, Signal::Viewers)
        };
        let soon = viewers + ahead;
        let spare = policy.buffer.viewers.of(soon);
        let scale = Scale {
            policy,
            seen,
            totals,
        };
        let floor = Need {
            signal: Signal::Minimum,
            pods: policy.min,
        };
        let (scheduled, schedule) = scheduled(policy, seen, lead);
        let measured = scale.needs(viewers, soon + spare, by);
        let all = [floor, scheduled].into_iter().chain(measured);
        let most = all.fold(floor, larger);
        // Announced viewers come on top of those who are there.
        let expected = viewers + promised;
        let expected = scale.by_viewers(expected + policy.buffer.viewers.of(expected));
        let planned = scheduled
            .pods
            .max(policy.min)
            .max(if promised > 0.0 { expected } else { 0 });
        let trembling = DEVIATIONS * trend.noise() / viewers.max(1.0);
        let more = 1.0 + trembling.max(f64::from(policy.tolerance_percent) / 100.0);
        let careful = Scale {
            totals: totals.scaled(more),
            ..scale
        };
        let careful = careful.needs(viewers * more, (soon + spare) * more, by);
        let cautious = careful.into_iter().fold(floor, larger).pods;
        Needs {
            most,
            planned,
            cautious: cautious.max(most.pods),
            silent,
            load_percent: scale.load_percent(),
            viewers,
            promised: ahead,
            spare,
            totals,
            schedule,
        }
    }

    /// What decided, when so many pods are wanted.
    pub(super) fn signal(&self, wanted: u32) -> Signal {
        if wanted > self.most.pods {
            Signal::Minimum
        } else {
            self.most.signal
        }
    }
}

/// The larger one; of equal ones the first.
fn larger(one: Need, other: Need) -> Need {
    if other.pods > one.pods { other } else { one }
}

#[derive(Clone, Copy)]
struct Scale<'a> {
    policy: &'a Policy,
    seen: &'a Observation<'a>,
    totals: Totals,
}

impl Scale<'_> {
    /// What each signal needs, if there will be so many viewers where there are so many now. What viewers cost grows
    /// with them.
    fn needs(&self, viewers: f64, soon: f64, by: Signal) -> [Need; 5] {
        let is_telling = viewers >= TELLING * self.seen.capacity.viewers as f64 && viewers > 0.0;
        let growth = if is_telling { soon / viewers } else { 1.0 };
        let rooms = self.totals.rooms;
        let soon = Totals {
            viewers: soon,
            rooms: rooms + self.policy.buffer.rooms.of(rooms),
            ..self.totals.scaled(growth)
        };
        let parts = self.parts(&soon);
        parts.map(|(signal, pods)| Need {
            signal: if signal == Signal::Viewers {
                by
            } else {
                signal
            },
            pods: whole(pods),
        })
    }

    fn by_viewers(&self, viewers: f64) -> u32 {
        whole(part(
            viewers,
            self.seen.capacity.viewers,
            self.policy.targets.viewers,
        ))
    }

    fn load_percent(&self) -> Option<u32> {
        let serving = self.seen.pods.iter();
        let serving = serving.filter(|pod| pod.stage == Stage::Serving).count();
        let parts = self.parts(&self.totals);
        let most = parts.into_iter().map(|(_, pods)| pods).fold(0.0, f64::max);
        (serving > 0).then(|| (100.0 * most / serving as f64).round() as u32)
    }

    /// How many pods all this fills as they should be filled, by each signal.
    fn parts(&self, totals: &Totals) -> [(Signal, f64); 5] {
        let (targets, capacity) = (&self.policy.targets, &self.seen.capacity);
        let cpu = targets
            .cpu
            .map_or(0.0, |target| 100.0 * totals.cpu / f64::from(target.max(1)));
        [
            (
                Signal::Viewers,
                part(totals.viewers, capacity.viewers, targets.viewers),
            ),
            (
                Signal::Rooms,
                part(totals.rooms, capacity.rooms, targets.rooms),
            ),
            (
                Signal::Egress,
                part(totals.egress_bps, capacity.egress_bps, targets.egress),
            ),
            (
                Signal::Packets,
                part(totals.packets, capacity.packets, targets.packets),
            ),
            (Signal::Cpu, cpu),
        ]
    }
}

/// Pods of which each takes so much, for so much of it; 0 if there is no limit, or it is not looked at.
fn part(amount: f64, each: u64, target_percent: Option<u32>) -> f64 {
    let full = each as f64 * f64::from(target_percent.unwrap_or(0)) / 100.0;
    if each >= UNLIMITED || full <= 0.0 || amount <= 0.0 {
        return 0.0;
    }
    amount / full
}

/// A float that is too large becomes the largest number; a little less than a whole pod is none more.
fn whole(pods: f64) -> u32 {
    (pods - 1e-9).ceil() as u32
}

/// What is on all pods, and how many of those that serve don't say.
fn measure(pods: &[Pod], needs_cpu: bool) -> (Totals, u32) {
    let (mut known, mut count) = (Totals::default(), 0.0_f64);
    let (mut cpus, mut cpu_count) = (0.0, 0.0_f64);
    for report in pods.iter().filter_map(fresh) {
        known.add(&report.load, 0.0);
        count += 1.0;
        if let Some(cpu) = sane(report.cpu) {
            cpus += cpu;
            cpu_count += 1.0;
        }
    }
    let mean = known.scaled(1.0 / count.max(1.0));
    let mean_cpu = cpus / cpu_count.max(1.0);
    let (mut totals, mut silent) = (Totals::default(), 0);
    for pod in pods {
        let last = pod.report.unwrap_or(Report {
            age: u32::MAX,
            load: Load::default(),
            cpu: f64::NAN,
        });
        let cpu = sane(last.cpu).unwrap_or(mean_cpu);
        match (fresh(pod), pod.stage) {
            (Some(report), stage) => {
                totals.add(&report.load, cpu);
                if needs_cpu && sane(report.cpu).is_none() && stage == Stage::Serving {
                    silent += 1;
                }
            }
            (None, Stage::Starting) => {}
            // It may carry what it last said, or as much as the others do.
            (None, Stage::Serving) => {
                silent += 1;
                let mut assumed = Totals::default();
                assumed.add(&last.load, cpu);
                totals.viewers += assumed.viewers.max(mean.viewers);
                totals.rooms += assumed.rooms.max(mean.rooms);
                totals.egress_bps += assumed.egress_bps.max(mean.egress_bps);
                totals.packets += assumed.packets.max(mean.packets);
                totals.cpu += cpu.max(mean_cpu);
            }
            (None, Stage::Leaving) if last.age > MOVED => {}
            (None, Stage::Leaving) => totals.add(&last.load, sane(last.cpu).unwrap_or(0.0)),
        }
    }
    (totals, silent)
}

fn fresh(pod: &Pod) -> Option<Report> {
    pod.report.filter(|report| report.age <= FRESH)
}

/// A share of a core that can be one.
fn sane(cpu: f64) -> Option<f64> {
    (cpu.is_finite() && (0.0..=1.5).contains(&cpu)).then_some(cpu)
}

/// Viewers whom rooms expect and who are not there yet.
fn promised(policy: &Policy, seen: &Observation<'_>, lead: u32) -> f64 {
    let Some(patience) = policy.announced_seconds else {
        return 0.0;
    };
    let rooms = seen.rooms.iter();
    rooms
        .map(|room| room.promised(seen.now, lead, patience))
        .sum()
}

/// What the schedules that are on want.
fn scheduled(policy: &Policy, seen: &Observation<'_>, lead: u32) -> (Need, Option<String>) {
    let target = policy.targets.viewers.or(Some(100));
    let floors = policy.schedules.iter().filter_map(|schedule| {
        let pods = match schedule.floor(seen.now, lead)? {
            Floor::Pods(pods) => pods,
            Floor::Viewers(viewers) => whole(part(viewers.into(), seen.capacity.viewers, target)),
        };
        Some((pods, schedule.name.clone()))
    });
    let most = floors.max_by_key(|(pods, _)| *pods);
    let need = Need {
        signal: Signal::Schedule,
        pods: most.as_ref().map_or(0, |(pods, _)| *pods),
    };
    (need, most.map(|(_, name)| name))
}
