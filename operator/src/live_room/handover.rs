//! How a room goes from one pod to another without anybody being cut off. Pure.
//!
//! The room's status names the pod that is its origin, and numbers its placements. Whoever else still has the room is a
//! *former* pod: it sends its clients on, and lets the room go with the last of them. What pods are told bears the
//! number of the placement, doubled: one that was the origin and hears late of an earlier placement refuses it.

use showrunner_protocol::control::{PodRole, RoomStatus};

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

/// Of the pod that is the origin now. `was_live`: a host was on air when it was placed there, or is.
#[must_use]
pub fn origin(placement: u64, was_live: bool) -> Part {
    Part {
        role: PodRole::Origin,
        revision: placement.saturating_mul(2).saturating_add(1),
        leave: None,
        awaits_host: was_live,
    }
}

/// Of one that was. `patience`: seconds that clients have who can't be told to go on.
#[must_use]
pub fn former(placement: u64, patience: u32) -> Part {
    Part {
        leave: Some(patience),
        awaits_host: false,
        ..origin(placement, false)
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
    use showrunner_protocol::RoomName;

    use super::*;

    fn report(publishers: u32, viewers: u32) -> RoomStatus {
        RoomStatus {
            publishers,
            viewers,
            active: publishers > 0,
            ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
        }
    }

    #[test]
    fn a_placement_outranks_all_before_it_and_what_former_pods_are_told_does_too() {
        let first = placement(0, false);
        assert_eq!(placement(first, true), first);
        let second = placement(first, false);
        assert!(origin(second, true).revision > origin(first, true).revision);
        assert!(former(second, 9).revision > origin(first, false).revision);
        // One of a release that did not count placements yet.
        assert_eq!(placement(0, true), 1);
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
