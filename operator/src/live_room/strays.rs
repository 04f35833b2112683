//! Rooms on a pod that should not be there: of LiveRooms that are gone or over, or that are on another pod now. Pure.

use showrunner_protocol::RoomName;
use showrunner_protocol::control::RoomStatus;
use showrunner_protocol::room::RoomUid;

/// What is known of a room by that name and uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// There is none, or it is over.
    Gone,
    /// It is on another pod.
    Elsewhere,
    /// It belongs here, or nobody has decided yet.
    Here,
}

/// The rooms that a pod is to end. Those that went elsewhere from a pod that is to go stay as long as somebody is in
/// them: the pod has sent its viewers on, and they follow in their own time.
pub fn strays<'a>(
    rooms: impl Iterator<Item = &'a RoomStatus>,
    is_leaving: bool,
    known: impl Fn(&RoomName, &RoomUid) -> Known,
) -> Vec<(RoomName, RoomUid)> {
    let stray = |room: &&RoomStatus| {
        let uid = room.uid.as_ref()?;
        let is_stray = match known(&room.name, uid) {
            Known::Gone => true,
            Known::Elsewhere => !is_leaving || room.publishers + room.viewers == 0,
            Known::Here => false,
        };
        is_stray.then(|| (room.name.clone(), uid.clone()))
    };
    rooms.filter_map(|room| stray(&room)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ended() {
        let room = |viewers| RoomStatus {
            uid: Some(RoomUid::new("1").unwrap()),
            viewers,
            ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
        };
        for (known, is_leaving, viewers, expected) in [
            (Known::Gone, false, 5, true),
            (Known::Gone, true, 5, true),
            (Known::Elsewhere, false, 5, true),
            (Known::Elsewhere, true, 5, false),
            (Known::Elsewhere, true, 0, true),
            (Known::Here, false, 0, false),
        ] {
            let found = strays([room(viewers)].iter(), is_leaving, |_, _| known);
            assert_eq!(
                !found.is_empty(),
                expected,
                "{known:?} {is_leaving} {viewers}"
            );
        }
        let any = RoomStatus {
            uid: None,
            ..room(0)
        };
        assert!(
            strays([any].iter(), false, |_, _| Known::Gone).is_empty(),
            "of a pod that takes any room"
        );
    }
}
