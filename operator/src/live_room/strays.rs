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

/// The rooms that a pod is to end. Those that went elsewhere stay as long as somebody is in them: the pod sends its
/// clients on, and they follow in their own time.
pub fn strays<'a>(
    rooms: impl Iterator<Item = &'a RoomStatus>,
    known: impl Fn(&RoomName, &RoomUid) -> Known,
) -> Vec<(RoomName, RoomUid)> {
    let stray = |room: &&RoomStatus| {
        let uid = room.uid.as_ref()?;
        let is_stray = match known(&room.name, uid) {
            Known::Gone => true,
            Known::Elsewhere => room.publishers == 0 && room.viewers == 0,
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
        for (known, viewers, expected) in [
            (Known::Gone, 5, true),
            (Known::Elsewhere, 5, false),
            (Known::Elsewhere, 0, true),
            (Known::Here, 0, false),
        ] {
            let found = strays([room(viewers)].iter(), |_, _| known);
            assert_eq!(!found.is_empty(), expected, "{known:?} {viewers}");
        }
        let any = RoomStatus {
            uid: None,
            ..room(0)
        };
        assert!(
            strays([any].iter(), |_, _| Known::Gone).is_empty(),
            "of a pod that takes any room"
        );
    }
}
