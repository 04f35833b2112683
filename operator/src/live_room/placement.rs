//! Which pod a room goes to. Pure.
//!
//! Rooms are packed: the fullest pod that has room for the expected viewers takes the next one, so that others can
//! empty. Regions are tried in the order in which the room names them. While a site changes its pods, those that are to
//! stay come first, so that a room doesn't go from one old pod to the next.

use crate::pods::PodId;

/// A pod that may be there for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Which.
    pub pod: &'a PodId,
    /// Where its site is.
    pub region: &'a str,
    /// Whether its site takes rooms of the room's namespace.
    pub is_allowed: bool,
    /// Whether it is ready, answers, and does not drain.
    pub takes_rooms: bool,
    /// Whether it is to stay: of the present template, on a machine that isn't to go.
    pub is_current: bool,
    /// Rooms that are on it or on their way.
    pub rooms: u32,
    /// The most rooms that it takes.
    pub max_rooms: Option<u32>,
    /// Sessions that are on it or expected.
    pub sessions: u32,
    /// The most sessions that it takes.
    pub max_sessions: u32,
}

/// What a room needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    /// In this order; empty: anywhere.
    pub regions: &'a [String],
    /// Viewers to expect.
    pub viewers: u32,
}

/// Why there is no pod for a room.
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
}

/// The pod for a room.
///
/// # Errors
/// Why there is none.
pub fn place<'a>(
    need: Need<'_>,
    sites: &[(&str, bool)],
    candidates: impl Iterator<Item = Candidate<'a>>,
) -> Result<&'a PodId, Unplaceable> {
    is_possible(need, sites)?;
    let mut is_any_ready = false;
    let ready = candidates.filter(|one| one.is_allowed && one.takes_rooms);
    let wanted = ready.filter_map(|one| Some((region_rank(need, one.region)?, one)));
    let best = wanted
        .inspect(|_| is_any_ready = true)
        .filter(|(_, one)| one.max_rooms.is_none_or(|max| one.rooms < max))
        .filter(|(_, one)| one.sessions < one.max_sessions)
        .min_by_key(|(region, one)| {
            let fits = one.sessions.saturating_add(need.viewers) <= one.max_sessions;
            // Where it fits, the fullest; where it fits nowhere, the one with the most space.
            let space = one.max_sessions - one.sessions;
            let order = if fits { space } else { u32::MAX - space };
            (!fits, *region, !one.is_current, order, one.pod)
        });
    match best {
        Some((_, one)) => Ok(one.pod),
        None if is_any_ready => Err(Unplaceable::Full),
        None => Err(Unplaceable::NoneReady),
    }
}

/// Whether there are sites for it at all: each with its region, and whether it takes the room's namespace.
fn is_possible(need: Need<'_>, sites: &[(&str, bool)]) -> Result<(), Unplaceable> {
    let near: Vec<bool> = sites
        .iter()
        .filter(|(region, _)| region_rank(need, region).is_some())
        .map(|(_, is_allowed)| *is_allowed)
        .collect();
    if near.is_empty() && !need.regions.is_empty() {
        return Err(Unplaceable::NoSuchRegion(need.regions.join(", ")));
    }
    if !near.is_empty() && !near.contains(&true) {
        return Err(Unplaceable::NotAllowed);
    }
    Ok(())
}

fn region_rank(need: Need<'_>, region: &str) -> Option<usize> {
    if need.regions.is_empty() {
        return Some(0);
    }
    need.regions.iter().position(|wanted| wanted == region)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone)]
    struct Pod {
        id: PodId,
        region: String,
        is_allowed: bool,
        takes_rooms: bool,
        is_current: bool,
        rooms: (u32, Option<u32>),
        sessions: u32,
    }

    impl Pod {
        fn candidate(&self) -> Candidate<'_> {
            Candidate {
                pod: &self.id,
                region: &self.region,
                is_allowed: self.is_allowed,
                takes_rooms: self.takes_rooms,
                is_current: self.is_current,
                rooms: self.rooms.0,
                max_rooms: self.rooms.1,
                sessions: self.sessions,
                max_sessions: 100,
            }
        }
    }

    fn candidate(name: &str, region: &str, sessions: u32) -> Pod {
        Pod {
            id: PodId {
                namespace: "media".into(),
                name: name.into(),
            },
            region: region.into(),
            is_allowed: true,
            takes_rooms: true,
            is_current: true,
            rooms: (0, None),
            sessions,
        }
    }

    fn chosen((regions, viewers): (&[&str], u32), pods: &[Pod]) -> Result<String, Unplaceable> {
        let regions: Vec<String> = regions.iter().map(ToString::to_string).collect();
        let need = Need {
            regions: &regions,
            viewers,
        };
        let sites: Vec<(&str, bool)> = pods
            .iter()
            .map(|one| (one.region.as_str(), one.is_allowed))
            .collect();
        place(need, &sites, pods.iter().map(Pod::candidate)).map(|pod| pod.name.clone())
    }

    #[test]
    fn the_fullest_pod_that_fits_takes_it() {
        let pods = [
            candidate("a", "eu", 10),
            candidate("b", "eu", 70),
            candidate("c", "eu", 95),
        ];
        for (viewers, expected) in [
            (0, "c"),
            (5, "c"),
            (6, "b"),
            (30, "b"),
            (31, "a"),
            (90, "a"),
        ] {
            assert_eq!(
                chosen((&[], viewers), &pods).unwrap(),
                expected,
                "{viewers}"
            );
        }
    }

    #[test]
    fn pods_that_are_to_be_replaced_get_rooms_last() {
        let old = |name, sessions| Pod {
            is_current: false,
            ..candidate(name, "eu", sessions)
        };
        let pods = [
            old("a", 90),
            candidate("b", "eu", 60),
            candidate("c", "us", 0),
        ];
        assert_eq!(chosen((&["eu", "us"], 5), &pods).unwrap(), "b");
        assert_eq!(
            chosen((&["eu"], 41), &[old("a", 10), pods[1].clone()]).unwrap(),
            "a"
        );
    }

    #[test]
    fn a_room_larger_than_any_pod_gets_the_one_with_the_most_space() {
        let pods = [candidate("a", "eu", 10), candidate("b", "eu", 70)];
        assert_eq!(chosen((&[], 1000), &pods).unwrap(), "a");
    }

    #[test]
    fn regions_are_tried_in_order() {
        let pods = [
            candidate("a", "us", 95),
            candidate("b", "eu", 10),
            candidate("c", "asia", 99),
        ];
        assert_eq!(chosen((&["eu", "us"], 1), &pods).unwrap(), "b");
        assert_eq!(chosen((&["us", "eu"], 1), &pods).unwrap(), "a");
        assert_eq!(
            chosen((&["us", "eu"], 50), &pods).unwrap(),
            "b",
            "where it fits"
        );
    }

    #[test]
    fn it_says_why_there_is_none() {
        let good = candidate("a", "eu", 10);
        let not = |change: &dyn Fn(&mut Pod)| {
            let mut one = good.clone();
            change(&mut one);
            chosen((&["eu"], 1), &[one]).unwrap_err()
        };
        assert_eq!(
            chosen((&["mars"], 1), std::slice::from_ref(&good)),
            Err(Unplaceable::NoSuchRegion("mars".into()))
        );
        assert_eq!(not(&|one| one.is_allowed = false), Unplaceable::NotAllowed);
        assert_eq!(not(&|one| one.takes_rooms = false), Unplaceable::NoneReady);
        assert_eq!(not(&|one| one.sessions = 100), Unplaceable::Full);
        assert_eq!(not(&|one| one.rooms = (3, Some(3))), Unplaceable::Full);
        assert_eq!(chosen((&[], 1), &[]), Err(Unplaceable::NoneReady));
    }

    proptest! {
        /// Whatever there is: never a pod that can't, and never none while one can.
        #[test]
        fn what_can_take_it_does(
            pods in prop::collection::vec((0..3u8, any::<bool>(), any::<bool>(), 0..3u32, 0..120u32), 0..8),
            viewers in 0..150u32,
            regions in prop::collection::vec(0..3u8, 0..3),
        ) {
            let pods: Vec<Pod> = pods.into_iter().enumerate().map(|(i, pod)| Pod {
                is_allowed: pod.1,
                takes_rooms: pod.2,
                rooms: (pod.3, Some(2)),
                ..candidate(&i.to_string(), &pod.0.to_string(), pod.4)
            }).collect();
            let regions: Vec<String> = regions.iter().map(ToString::to_string).collect();
            let names: Vec<&str> = regions.iter().map(String::as_str).collect();
            let can = |one: &Pod| one.is_allowed && one.takes_rooms && one.rooms.0 < 2 && one.sessions < 100
                && (names.is_empty() || names.contains(&one.region.as_str()));
            match chosen((&names, viewers), &pods) {
                Ok(name) => {
                    let one = pods.iter().find(|one| one.id.name == name).unwrap();
                    prop_assert!(can(one));
                    let fits = |one: &Pod| one.sessions + viewers <= 100;
                    prop_assert!(fits(one) || !pods.iter().any(|one| can(one) && fits(one)));
                }
                Err(_) => prop_assert!(!pods.iter().any(can)),
            }
        }
    }
}
