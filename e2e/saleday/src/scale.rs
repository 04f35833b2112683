//! How long one pass of placement takes at full size.

use showrunner_capacity::load::{Load, Rate, UNLIMITED};
use showrunner_capacity::placement::{
    Pod, PodState, Present, Reach, Region, Room, Rules, Site, Zone, plan,
};

use crate::random::Random;

/// Rooms of the full size.
pub const ROOMS: usize = 10_000;
/// Pods of the full size.
pub const PODS: usize = 1000;
/// Sites that the pods are of.
const SITES: u16 = 10;
/// Passes of each kind, of which the median counts.
const PASSES: usize = 15;

/// Milliseconds of one pass, the median of several.
#[derive(Clone, Copy, Debug)]
pub struct PassTimes {
    /// No room is anywhere yet: all are placed at once.
    pub all_new: f64,
    /// All are placed, and have a few viewers more or less than a moment ago.
    pub steady: f64,
    /// A zone, a third of the pods, has just died.
    pub zone_lost: f64,
}

impl PassTimes {
    /// The longest of them.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.all_new.max(self.steady).max(self.zone_lost)
    }
}

/// Measures passes over rooms of all sizes, a few larger than a pod, that may be on any of the sites.
#[must_use]
pub fn measure(rooms: usize, pods: usize) -> PassTimes {
    let mut random = Random::new(1, 5 << 32);
    let mut pods: Vec<Pod> = (0..pods).map(pod).collect();
    let reaches = [Reach {
        tiers: vec![(0..SITES).map(Site).collect()],
    }];
    let mut rooms: Vec<Room> = (0..rooms).map(|_| room(&mut random)).collect();
    let rules = Rules::default();
    let all_new = median(|| {
        let started = on_processor();
        let planned = plan(&pods, &reaches, &rooms, &rules);
        (on_processor() - started, planned)
    });
    for (room, planned) in rooms.iter_mut().zip(&all_new.1.rooms) {
        let shares = planned.shares.iter();
        room.present = shares
            .map(|share| Present {
                pod: share.pod,
                parent: share.parent,
                // With the growth that placement expects they need what they have.
                viewers: share.viewers.saturating_sub(10) * 10 / 11,
                reserved: share.viewers,
                has_host: false,
            })
            .collect();
        room.expected = 0;
    }
    let steady = median(|| {
        for room in &mut rooms {
            for part in &mut room.present {
                part.viewers = part
                    .viewers
                    .saturating_add_signed(random.between(-3.0, 4.0) as i32);
            }
        }
        let started = on_processor();
        let planned = plan(&pods, &reaches, &rooms, &rules);
        (on_processor() - started, planned)
    });
    for pod in pods.iter_mut().filter(|pod| pod.zone == Zone(0)) {
        pod.state = PodState::Gone;
    }
    let zone_lost = median(|| {
        let started = on_processor();
        let planned = plan(&pods, &reaches, &rooms, &rules);
        (on_processor() - started, planned)
    });
    PassTimes {
        all_new: all_new.0,
        steady: steady.0,
        zone_lost: zone_lost.0,
    }
}

/// The median time of some passes in milliseconds, and what the last one said. Time is that of the thread on its
/// processor: what else the machine does while it waits is not the pass's.
fn median<T>(mut pass: impl FnMut() -> (f64, T)) -> (f64, T) {
    let mut passes: Vec<(f64, T)> = (0..PASSES).map(|_| pass()).collect();
    let mut times: Vec<f64> = passes.iter().map(|(time, _)| 1000.0 * time).collect();
    times.sort_by(f64::total_cmp);
    let (_, last) = passes.swap_remove(PASSES - 1);
    (times[PASSES / 2], last)
}

/// Seconds that this thread has run, as Linux counts them.
fn on_processor() -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = counted
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

fn pod(number: usize) -> Pod {
    let site = (number % usize::from(SITES)) as u16;
    Pod {
        site: Site(site),
        region: Region(site / 2),
        zone: Zone((number / usize::from(SITES) % 3) as u16),
        state: PodState::Ready,
        is_outdated: false,
        capacity: Load {
            viewers: 1000,
            rooms: 100,
            egress_bps: 2_500_000_000,
            packets: UNLIMITED,
        },
        other: Load::default(),
    }
}

/// Most rooms are small, one in a thousand is larger than a pod; together they fill half of the pods.
fn room(random: &mut Random) -> Room {
    let size = (1.0 - random.unit()).powf(-1.0 / 1.3) * 13.0;
    Room {
        reach: 0,
        expected: size.min(20_000.0) as u32,
        per_viewer: Rate {
            egress_bps: 2_000_000,
            packets: 250,
        },
        per_edge: Rate {
            egress_bps: 3_000_000,
            packets: 400,
        },
        present: Vec::new(),
    }
}
