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
    /// Whether its site replaces its pods: rooms are spread over the new ones.
    is_rolling: bool,
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
                is_rolling: false,
            });
        }
        for traits in &mut traits {
            traits.is_rolling = sites[traits.site as usize].is_rolling;
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
        let sessions = u32::try_from(need.viewers).ok()?;
        let bound = |pod, traits: &Traits| {
            let free = books.sessions(pod, level);
            let order = if traits.is_rolling {
                u32::MAX - free
            } else {
                free
            };
            (free >= sessions).then_some(order)
        };
        let order = |pod, bound| {
            let takes_it = books.fits(pod, level, need) && !is_taken(pod);
            takes_it.then_some(bound)
        };
        self.search(reach, part, bound, order)
    }

    /// The pod that takes the most of it, of those that are worth it.
    pub(super) fn largest(
        &self,
        reach: usize,
        part: Part,
        (rate, level): (&Rate, Level),
        books: &Books,
        is_worth_it: impl Fn(PodIndex) -> bool,
    ) -> Option<PodIndex> {
        let bound = |pod, _: &Traits| {
            let free = books.sessions(pod, level);
            (free > 0).then_some(u32::MAX - free)
        };
        let order = |pod, _| is_worth_it(pod).then(|| u32::MAX - books.space(pod, level, rate));
        self.search(reach, part, bound, order)
    }

    /// The pod that is best: of the origin's region first, then tier by tier, then one that stays, then one in a zone
    /// that has not too many origins, then the one with the least order, then the first. A pod's order is looked
    /// for only if its bound, which is no more and quickly known, is better than the best so far.
    fn search(
        &self,
        reach: usize,
        part: Part,
        bound: impl Fn(PodIndex, &Traits) -> Option<u32>,
        order: impl Fn(PodIndex, u32) -> Option<u32>,
    ) -> Option<PodIndex> {
        let tiers = self.tiers.get(reach)?;
        let best_of = |tier: &[PodIndex], is_near: Option<bool>| {
            let mut best: Option<((bool, bool, u32), PodIndex)> = None;
            for pod in tier {
                let traits = &self.traits[pod.at()];
                if let (Part::Edge(region), Some(is_near)) = (part, is_near)
                    && (traits.region == region) != is_near
                {
                    continue;
                }
                let Some(bound) = bound(*pod, traits) else {
                    continue;
                };
                let is_crowded =
                    part == Part::Origin && self.zones[traits.zone as usize].is_crowded;
                let key = |order| (traits.is_outdated, is_crowded, order);
                if best.is_some_and(|(best, _)| key(bound) >= best) {
                    continue;
                }
                if let Some(order) = order(*pod, bound)
                    && best.is_none_or(|(best, _)| key(order) < best)
                {
                    best = Some((key(order), *pod));
                }
            }
            best.map(|(_, pod)| pod)
        };
        let best = |is_near| tiers.iter().find_map(|tier| best_of(tier, is_near));
        match part {
            Part::Origin => best(None),
            Part::Edge(_) => best(Some(true)).or_else(|| best(Some(false))),
        }
    }
}
