//! Which sites a room may be at, in which order, and why there is none. Pure.

use showrunner_capacity::placement::{self, Reach, Site};

/// Why there is no pod for a room, or not for all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplaceable {
    /// No site is in any of its regions.
    #[error("no MediaNode is in region {0}: correct spec.regions, or create a MediaNode there")]
    NoSuchRegion(String),
    /// Sites there are, but for other namespaces.
    #[error("no MediaNode takes rooms of this namespace: see spec.allowedRooms of the MediaNodes")]
    NotAllowed,
    /// No pod is ready.
    #[error("no media pod is ready: see the MediaNodes")]
    NoneReady,
    /// All are full.
    #[error("all media pods are full: give a MediaNode more replicas")]
    Full,
    /// It has as many pods as one room can have.
    #[error(
        "the room has as many media pods as it can have: have fewer expected viewers, or larger pods"
    )]
    TooLarge,
}

impl From<placement::Unplaceable> for Unplaceable {
    fn from(why: placement::Unplaceable) -> Unplaceable {
        match why {
            placement::Unplaceable::NoneReady => Unplaceable::NoneReady,
            placement::Unplaceable::Full => Unplaceable::Full,
            placement::Unplaceable::TreeFull => Unplaceable::TooLarge,
        }
    }
}

/// The sites of a room's regions, tier by tier; without regions, all sites are as good. Each site comes with its region,
/// and whether it takes rooms of the room's namespace.
///
/// # Errors
/// If there is none.
pub fn reach(regions: &[String], sites: &[(Site, &str, bool)]) -> Result<Reach, Unplaceable> {
    let tier = |is_in: &dyn Fn(&str) -> bool| -> Vec<Site> {
        let sites = sites
            .iter()
            .filter(|(_, region, allowed)| *allowed && is_in(region));
        sites.map(|(site, ..)| *site).collect()
    };
    let tiers: Vec<Vec<Site>> = if regions.is_empty() {
        vec![tier(&|_| true)]
    } else {
        let regions = regions.iter();
        regions
            .map(|wanted| tier(&|region| region == wanted))
            .collect()
    };
    if tiers.iter().any(|tier| !tier.is_empty()) {
        return Ok(Reach { tiers });
    }
    let is_wanted = |region: &str| regions.is_empty() || regions.iter().any(|one| one == region);
    let is_any_there = sites.iter().any(|(_, region, _)| is_wanted(region));
    Err(match (is_any_there, regions.is_empty()) {
        (true, _) => Unplaceable::NotAllowed,
        (false, true) => Unplaceable::NoneReady,
        (false, false) => Unplaceable::NoSuchRegion(regions.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_tried_by_region_and_only_those_that_take_the_room() {
        let sites = [
            (Site(0), "eu", true),
            (Site(1), "us", true),
            (Site(2), "eu", true),
            (Site(3), "us", false),
            (Site(4), "asia", false),
        ];
        let of = |regions: &[&str]| {
            let regions: Vec<String> = regions.iter().map(ToString::to_string).collect();
            reach(&regions, &sites).map(|reach| {
                let tiers = reach.tiers.iter();
                tiers
                    .map(|tier| tier.iter().map(|site| site.0).collect())
                    .collect()
            })
        };
        let tiers = |tiers: &[&[u16]]| -> Result<Vec<Vec<u16>>, Unplaceable> {
            Ok(tiers.iter().map(|tier| tier.to_vec()).collect())
        };
        assert_eq!(of(&[]), tiers(&[&[0, 1, 2]]));
        assert_eq!(of(&["us", "eu"]), tiers(&[&[1], &[0, 2]]));
        assert_eq!(of(&["mars", "eu"]), tiers(&[&[], &[0, 2]]));
        assert_eq!(of(&["asia"]), Err(Unplaceable::NotAllowed));
        assert_eq!(of(&["mars"]), Err(Unplaceable::NoSuchRegion("mars".into())));
        assert_eq!(reach(&[], &[]), Err(Unplaceable::NoneReady));
    }
}
