//! How a room goes from one pod to another without anybody being cut off. Pure.
//!
//! The room's status names the pod that is its origin, and numbers its placements. That pod first takes the room from
//! the one that was (as an edge), then is its origin. Whoever else still has the room is a *former* pod: it sends its
//! clients on, takes the room from the new origin for those who are left, and lets it go with the last of them. What
//! pods are told bears the number of the placement, doubled, and one more for the origin: who hears late of an earlier
//! placement, or of an earlier step, refuses it.

use std::net::SocketAddr;

use showrunner_protocol::control::{PodRole, RelaySource, RoomStatus};

/// What a pod is told of its part in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub role: PodRole,
    /// Fences what is told late.
    pub revision: u64,
    /// That its clients are to go on, in seconds until those who are left are cut off.
    pub leave: Option<u32>,
    /// Whether a host is about to come from another pod.
    pub awaits_host: bool,
}

/// The number of a room's placement on a pod.
#[must_use]
pub fn placement(known: u64, is_where_it_was: bool) -> u64 {
    if is_where_it_was {
        known.max(1)
    } else {
        known.saturating_add(1)
    }
}

/// The pod that is the origin now: what it says, and what else is known.
#[derive(Clone, Copy, Debug)]
pub struct Successor<'a> {
    /// The number of the placement.
    pub placement: u64,
    /// What it says of the room, if it has it.
    pub report: Option<&'a RoomStatus>,
    /// Where a former pod with a host listens, if there is one.
    pub feeds: Option<SocketAddr>,
    /// Whether it has tried for long to take the room from there.
    pub gives_up: bool,
    /// Whether a host was on air when it was placed there, or is.
    pub was_live: bool,
}

/// Of the pod that is the origin now. It first takes the room from the one that was, so that viewers can come before the
/// host does. Once that works it is the origin, and goes on with what it takes until its own host is there.
#[must_use]
pub fn origin(successor: Successor<'_>) -> Part {
    let as_edge = successor.placement.saturating_mul(2);
    let as_origin = as_edge.saturating_add(1);
    let is_origin = successor
        .report
        .and_then(|report| report.revision)
        .is_some_and(|known| known >= as_origin);
    let source = successor.report.and_then(|report| report.source.as_ref());
    let takes_it = source.is_some_and(|source| {
        source.connected && source.hops.is_some() && Some(source.address) == successor.feeds
    });
    let (role, revision) = match successor.feeds {
        Some(address) if !is_origin && !takes_it && !successor.gives_up => {
            let source = RelaySource { address };
            (PodRole::Edge { source }, as_edge)
        }
        _ => (PodRole::Origin, as_origin),
    };
    Part {
        role,
        revision,
        leave: None,
        awaits_host: successor.was_live,
    }
}

/// Of one that was. `origin`: where the pod listens that is the origin now, from which it takes the room for those who
/// are left when its host has gone. `patience`: seconds that clients have who can't be told to go on.
#[must_use]
pub fn former(placement: u64, origin: SocketAddr, patience: u32) -> Part {
    Part {
        role: PodRole::Edge {
            source: RelaySource { address: origin },
        },
        revision: placement.saturating_mul(2).saturating_add(1),
        leave: Some(patience),
        awaits_host: false,
    }
}

/// What is to be done with a former pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing: its clients are on their way.
    Wait,
    /// Tell it to send them on.
    SendOn,
    /// Take the room off it: nobody is there any more.
    End,
}

/// By what it says of the room.
#[must_use]
pub fn farewell(report: &RoomStatus) -> Farewell {
    if report.publishers == 0 && report.viewers == 0 {
        Farewell::End
    } else if report.leaving {
        Farewell::Wait
    } else {
        Farewell::SendOn
    }
}

/// All that pods say of a room, as one. While it goes from one to another both have a host and viewers, and nobody is
/// counted twice but those who are just moving.
#[must_use]
pub fn together<'a>(
    origin: Option<&RoomStatus>,
    formers: impl Iterator<Item = &'a RoomStatus>,
) -> Option<RoomStatus> {
    formers.fold(origin.cloned(), |all, former| {
        let Some(mut all) = all else {
            return Some(former.clone());
        };
        all.active |= former.active;
        all.publishers = all.publishers.max(former.publishers);
        all.viewers = all.viewers.saturating_add(former.viewers);
        Some(all)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use showrunner_protocol::RoomName;
    use showrunner_protocol::control::SourceStatus;

    use super::*;

    fn report(publishers: u32, viewers: u32) -> RoomStatus {
        RoomStatus {
            publishers,
            viewers,
            active: publishers > 0,
            ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
        }
    }

    const OLD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8443);
    const NEW: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 8443);

    fn successor<'a>(placement: u64, report: Option<&'a RoomStatus>) -> Successor<'a> {
        Successor {
            placement,
            report,
            feeds: Some(OLD),
            gives_up: false,
            was_live: true,
        }
    }

    #[test]
    fn a_placement_outranks_all_before_it_and_what_former_pods_are_told_does_too() {
        let first = placement(0, false);
        assert_eq!(placement(first, true), first);
        let second = placement(first, false);
        let of = |placement| origin(successor(placement, None)).revision;
        assert!(of(second) > of(first) + 1);
        assert!(former(second, NEW, 9).revision > of(second));
        // One of a release that did not count placements yet.
        assert_eq!(placement(0, true), 1);
    }

    #[test]
    fn the_next_pod_takes_the_room_from_the_one_before_and_then_is_its_origin() {
        let known = |revision, source: Option<(SocketAddr, bool)>| RoomStatus {
            revision: Some(revision),
            source: source.map(|(address, connected)| SourceStatus {
                address,
                connected,
                hops: connected.then_some(0),
            }),
            ..report(0, 0)
        };
        let edge = PodRole::Edge {
            source: RelaySource { address: OLD },
        };
        for (report, role, revision) in [
            (None, edge.clone(), 6),
            (Some(known(6, Some((OLD, false)))), edge.clone(), 6),
            // Of another pod it took it before that.
            (Some(known(6, Some((NEW, true)))), edge, 6),
            (Some(known(6, Some((OLD, true)))), PodRole::Origin, 7),
            // And stays so when its source is gone.
            (Some(known(7, None)), PodRole::Origin, 7),
        ] {
            let part = origin(successor(3, report.as_ref()));
            assert_eq!((part.role, part.revision), (role, revision), "{report:?}");
        }
        let alone = Successor {
            feeds: None,
            ..successor(3, None)
        };
        let late = Successor {
            gives_up: true,
            ..successor(3, None)
        };
        for without in [alone, late] {
            assert_eq!(origin(without).role, PodRole::Origin);
        }
    }

    #[test]
    fn a_former_pod_sends_its_clients_on_and_goes_with_the_last() {
        let leaving = |report| RoomStatus {
            leaving: true,
            ..report
        };
        for (report, expected) in [
            (report(1, 0), Farewell::SendOn),
            (report(0, 3), Farewell::SendOn),
            (leaving(report(1, 3)), Farewell::Wait),
            (leaving(report(0, 1)), Farewell::Wait),
            (leaving(report(0, 0)), Farewell::End),
            (report(0, 0), Farewell::End),
        ] {
            assert_eq!(farewell(&report), expected, "{report:?}");
        }
    }

    #[test]
    fn a_room_on_its_way_is_on_air_as_long_as_it_is_anywhere() {
        let (old, new) = (report(1, 7), report(0, 2));
        let all = together(Some(&new), [&old].into_iter()).unwrap();
        assert_eq!((all.active, all.publishers, all.viewers), (true, 1, 9));
        assert_eq!(together(None, [].into_iter()), None);
        assert_eq!(together(None, [&old].into_iter()), Some(old));
    }
}
