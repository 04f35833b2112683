//! Which pod a room, or a part of one, goes to.

use std::collections::HashMap;

use super::books::{Books, Level};
use super::{Pod, PodIndex, PodState, Reach, Region, Site, Zone};
use crate::load::{Load, Rate};

/// Pods as candidates: by reach and tier, with what is known of their sites and zones.
pub(super) struct Candidates {
    /// For each reach, for each of its tiers: the pods that are ready.
    tiers: Vec<Vec<Vec<PodIndex>>>,
    /// What of each pod decides where an origin goes.
    traits: Vec<Traits>,
    zones: Vec<ZoneBooks>,
    sites: Vec<SiteBooks>,
}

#[derive(Clone, Copy)]
struct Traits {
    region: Region,
    site: u32,
    zone: u32,
    is_outdated: bool,
}

#[derive(Clone, Copy, Default)]
struct ZoneBooks {
    origins: u32,
    is_crowded: bool,
}

#[derive(Clone, Default)]
struct SiteBooks {
    zones: Vec<u32>,
    origins: u32,
    /// Whether it replaces its pods: rooms are spread over the new ones.
    is_rolling: bool,
}

/// For what a pod is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A room's origin.
    Origin,
    /// An edge of a room whose origin is in this region.
    Edge(Region),
}

impl Candidates {
    pub(super) fn new(pods: &[Pod], reaches: &[Reach]) -> Candidates {
        let mut site_numbers: HashMap<Site, u32> = HashMap::new();
        let mut zone_numbers: HashMap<(Site, Zone), u32> = HashMap::new();
        let mut sites: Vec<SiteBooks> = Vec::new();
        let mut ready: Vec<Vec<PodIndex>> = Vec::new();
        let mut zones: Vec<ZoneBooks> = Vec::new();
        let mut traits = Vec::with_capacity(pods.len());
        for (pod, index) in pods.iter().zip((0..).map(PodIndex)) {
            let site = *site_numbers.entry(pod.site).or_insert_with(|| {
                sites.push(SiteBooks::default());
                ready.push(Vec::new());
                sites.len() as u32 - 1
            });
            let zone = *zone_numbers.entry((pod.site, pod.zone)).or_insert_with(|| {
                zones.push(ZoneBooks::default());
                zones.len() as u32 - 1
            });
            let books = &mut sites[site as usize];
            books.is_rolling |= pod.is_outdated && pod.state != PodState::Gone;
            if pod.state == PodState::Ready {
                ready[site as usize].push(index);
                if !books.zones.contains(&zone) {
                    books.zones.push(zone);
                }
            }
            traits.push(Traits {
                region: pod.region,
                site,
                zone,
                is_outdated: pod.is_outdated,
            });
        }
        let of_tier = |tier: &Vec<Site>| {
            let sites = tier.iter().filter_map(|site| site_numbers.get(site));
            sites
                .flat_map(|site| ready[*site as usize].iter().copied())
                .collect()
        };
        let tiers = reaches
            .iter()
            .map(|reach| reach.tiers.iter().map(of_tier).collect())
            .collect();
        Candidates {
            tiers,
            traits,
            zones,
            sites,
        }
    }

    pub(super) fn has_any(&self, reach: usize) -> bool {
        let tiers = self.tiers.get(reach);
        tiers.is_some_and(|tiers| tiers.iter().any(|tier| !tier.is_empty()))
    }

    pub(super) fn region(&self, pod: PodIndex) -> Region {
        self.traits[pod.at()].region
    }

    /// A pod has become an origin.
    pub(super) fn count_origin(&mut self, pod: PodIndex) {
        let traits = self.traits[pod.at()];
        self.zones[traits.zone as usize].origins += 1;
        let site = &mut self.sites[traits.site as usize];
        site.origins += 1;
        let count = u32::try_from(site.zones.len()).unwrap_or(u32::MAX).max(1);
        // A quarter more than its share, and one: packing goes before an exact spread.
        let fair = (site.origins + 1).saturating_mul(5) / (4 * count) + 1;
        for zone in &site.zones {
            let zone = &mut self.zones[*zone as usize];
            zone.is_crowded = count > 1 && zone.origins >= fair;
        }
    }

    /// The fullest pod that takes all of it, or the emptiest where a site replaces its pods.
    pub(super) fn whole(
        &self,
        reach: usize,
        part: Part,
        (need, level): (&Load, Level),
        books: &Books,
        is_taken: impl Fn(PodIndex) -> bool,
    ) -> Option<PodIndex> {
        self.search(reach, part, |pod| {
            let free = books.free(pod, level);
            if !need.fits(free) || is_taken(pod) {
                return None;
            }
            let traits = &self.traits[pod.at()];
            let is_rolling = self.sites[traits.site as usize].is_rolling;
            let order = if is_rolling {
                u64::MAX - free.viewers
            } else {
                free.viewers
            };
            Some((self.is_worse(traits, part), order))
        })
    }

    /// The pod that takes the most of it, of those that are worth it.
    pub(super) fn largest(
        &self,
        reach: usize,
        part: Part,
        (rate, level): (&Rate, Level),
        books: &Books,
        is_worth_it: impl Fn(PodIndex, &Load) -> bool,
    ) -> Option<PodIndex> {
        self.search(reach, part, |pod| {
            let free = books.free(pod, level);
            if free.rooms == 0 || !is_worth_it(pod, free) {
                return None;
            }
            let traits = &self.traits[pod.at()];
            let space = rate.viewers_in(free);
            Some((self.is_worse(traits, part), u64::MAX - space))
        })
    }

    /// Whether another pod is better, however full it is: one that stays, and one in a zone with fewer origins.
    fn is_worse(&self, traits: &Traits, part: Part) -> (bool, bool) {
        let is_crowded = part == Part::Origin && self.zones[traits.zone as usize].is_crowded;
        (traits.is_outdated, is_crowded)
    }

    /// The pod with the least key: of the origin's region first, then tier by tier.
    fn search<K: Ord>(
        &self,
        reach: usize,
        part: Part,
        key: impl Fn(PodIndex) -> Option<K>,
    ) -> Option<PodIndex> {
        let tiers = self.tiers.get(reach)?;
        let best = |near: &dyn Fn(PodIndex) -> bool| {
            tiers.iter().find_map(|tier| {
                let pods = tier.iter().copied().filter(|pod| near(*pod));
                let keyed = pods.filter_map(|pod| Some((key(pod)?, pod)));
                keyed.min().map(|(_, pod)| pod)
            })
        };
        match part {
            Part::Origin => best(&|_| true),
            Part::Edge(region) => best(&|pod| self.region(pod) == region)
                .or_else(|| best(&|pod| self.region(pod) != region)),
        }
    }
}
