//! What pods last said, and for how long those that don't answer have not.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use showrunner_protocol::RoomName;
use showrunner_protocol::control::{PodStatus, RoomStatus};

use super::PodId;

/// A pod that has not answered for this long may be gone.
pub const LOST_AFTER: Duration = Duration::from_secs(5);

/// What all pods last said.
#[derive(Debug, Default)]
pub struct Sights(RwLock<HashMap<PodId, Arc<Sight>>>);

/// What one pod last said.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Which pod of that name.
    pub uid: String,
    /// All but its rooms; none before its first answer.
    pub status: Option<Arc<PodStatus>>,
    /// Its rooms.
    pub rooms: Arc<HashMap<RoomName, RoomStatus>>,
    /// Since when it gives no answer; none if it did the last time.
    pub silent_since: Option<Instant>,
    /// Whether it was given up.
    is_given_up: bool,
}

/// What is new of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rooms that are there now, or are not any more, or not as they were.
    pub rooms: Vec<RoomName>,
    /// Whether it takes rooms or drains other than before, or is told other addresses, or its process is another.
    pub is_other: bool,
    /// Whether it has other numbers of sessions or rooms.
    pub has_other_counts: bool,
    /// Whether it has just been silent for [`LOST_AFTER`].
    pub is_lost: bool,
}

impl Changes {
    /// Whether there is something new.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Changes::default()
    }
}

impl Sight {
    fn unknown(uid: &str) -> Sight {
        Sight {
            uid: uid.to_owned(),
            status: None,
            rooms: Arc::default(),
            silent_since: None,
            is_given_up: false,
        }
    }

    /// Whether it answered the last time.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.status.is_some() && self.silent_since.is_none()
    }

    /// Whether it has been silent for [`LOST_AFTER`].
    #[must_use]
    pub fn is_lost(&self, now: Instant) -> bool {
        self.silent_since
            .is_some_and(|since| now.saturating_duration_since(since) >= LOST_AFTER)
    }
}

impl Sights {
    /// What a pod last said; none of another pod of that name.
    #[must_use]
    pub fn get(&self, pod: &PodId, uid: &str) -> Option<Arc<Sight>> {
        let sights = self
            .0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sights.get(pod).filter(|sight| sight.uid == uid).cloned()
    }

    /// A pod answered.
    pub fn answered(&self, pod: &PodId, uid: &str, mut status: PodStatus) -> Changes {
        let rooms = std::mem::take(&mut status.rooms);
        let rooms: HashMap<_, _> = rooms
            .into_iter()
            .map(|room| (room.name.clone(), room))
            .collect();
        self.change(pod, uid, |old| {
            let changes = Changes {
                rooms: differing(&old.rooms, &rooms),
                is_other: old.status.as_ref().is_none_or(|old| is_other(old, &status))
                    || !old.answers(),
                has_other_counts: old.status.as_ref().is_none_or(|old_status| {
                    old_status.sessions != status.sessions || old.rooms.len() != rooms.len()
                }),
                is_lost: false,
            };
            let new = Sight {
                uid: uid.to_owned(),
                status: Some(Arc::new(status)),
                rooms: if changes.rooms.is_empty() {
                    Arc::clone(&old.rooms)
                } else {
                    Arc::new(rooms)
                },
                silent_since: None,
                is_given_up: false,
            };
            (new, changes)
        })
    }

    /// A pod did not answer. Once it is lost, its rooms are news.
    pub fn silent(&self, pod: &PodId, uid: &str, now: Instant) -> Changes {
        self.change(pod, uid, |old| {
            let since = old.silent_since.unwrap_or(now);
            let new = Sight {
                silent_since: Some(since),
                ..old.clone()
            };
            // Said only once.
            let is_lost = new.is_lost(now) && !old.is_given_up;
            let new = Sight {
                is_given_up: old.is_given_up || is_lost,
                ..new
            };
            let changes = Changes {
                is_other: old.silent_since.is_none() || is_lost,
                is_lost,
                ..Changes::default()
            };
            (new, changes)
        })
    }

    /// A pod took a room: until it says so itself, this is what is known.
    pub fn assigned(&self, pod: &PodId, uid: &str, room: RoomStatus) {
        self.change(pod, uid, |old| {
            let mut rooms = (*old.rooms).clone();
            rooms
                .entry(room.name.clone())
                .and_modify(|known| {
                    known.uid.clone_from(&room.uid);
                    known.generation = room.generation;
                    known.revision = room.revision;
                })
                .or_insert(room);
            let new = Sight {
                rooms: Arc::new(rooms),
                ..old.clone()
            };
            (new, Changes::default())
        });
    }

    /// Forgets all but these.
    pub fn retain(&self, is_there: impl Fn(&PodId) -> bool) {
        let mut sights = self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sights.retain(|pod, _| is_there(pod));
    }

    fn change(
        &self,
        pod: &PodId,
        uid: &str,
        how: impl FnOnce(&Sight) -> (Sight, Changes),
    ) -> Changes {
        let mut sights = self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = sights.get(pod).filter(|sight| sight.uid == uid).cloned();
        let old = old.unwrap_or_else(|| Arc::new(Sight::unknown(uid)));
        let (new, changes) = how(&old);
        sights.insert(pod.clone(), Arc::new(new));
        changes
    }
}

fn differing(
    old: &HashMap<RoomName, RoomStatus>,
    new: &HashMap<RoomName, RoomStatus>,
) -> Vec<RoomName> {
    let changed = new
        .values()
        .filter(|room| old.get(&room.name).is_none_or(|old| is_news(old, room)));
    let gone = old.values().filter(|room| !new.contains_key(&room.name));
    changed.chain(gone).map(|room| room.name.clone()).collect()
}

/// Whether a LiveRoom's status would say something else.
fn is_news(old: &RoomStatus, new: &RoomStatus) -> bool {
    let of = |room: &RoomStatus| {
        (
            room.uid.clone(),
            room.generation,
            room.active,
            room.publishers,
            room.viewers,
            room.retention,
            room.revision,
            room.source.clone(),
        )
    };
    of(old) != of(new)
}

fn is_other(old: &PodStatus, new: &PodStatus) -> bool {
    let of = |status: &PodStatus| {
        (
            status.ready,
            status.draining,
            status.public.clone(),
            status.capacity,
        )
    };
    of(old) != of(new) || new.uptime_seconds < old.uptime_seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodId {
        PodId {
            namespace: "media".into(),
            name: "eu-0".into(),
        }
    }

    fn name(room: &str) -> RoomName {
        RoomName::new("shop", room).unwrap()
    }

    fn status(rooms: &[(&str, u32)]) -> PodStatus {
        PodStatus {
            ready: true,
            uptime_seconds: 5,
            sessions: rooms.iter().map(|(_, viewers)| viewers).sum(),
            rooms: rooms
                .iter()
                .map(|(room, viewers)| RoomStatus {
                    viewers: *viewers,
                    ..RoomStatus::of(name(room))
                })
                .collect(),
            ..PodStatus::default()
        }
    }

    #[test]
    fn only_what_is_new_is_news() {
        let sights = Sights::default();
        let first = sights.answered(&pod(), "1", status(&[("a", 0), ("b", 0)]));
        assert_eq!(first.rooms.len(), 2);
        assert!(first.is_other);
        assert!(
            !sights
                .answered(&pod(), "1", status(&[("a", 0), ("b", 0)]))
                .is_some()
        );
        let more = sights.answered(&pod(), "1", status(&[("a", 3), ("b", 0)]));
        assert_eq!(
            (more.rooms, more.is_other, more.has_other_counts),
            (vec![name("a")], false, true)
        );
        let empty = sights.answered(
            &pod(),
            "1",
            PodStatus {
                uptime_seconds: 0,
                ..status(&[])
            },
        );
        assert_eq!(empty.rooms.len(), 2, "it began anew without its rooms");
        assert!(empty.is_other);
    }

    #[test]
    fn a_pod_is_lost_once_when_it_was_silent_for_long() {
        let (sights, start) = (Sights::default(), Instant::now());
        sights.answered(&pod(), "1", status(&[("a", 1)]));
        let after = |seconds| sights.silent(&pod(), "1", start + Duration::from_secs(seconds));
        assert!(after(0).is_other);
        assert!(!after(4).is_some());
        assert!(after(5).is_lost);
        assert!(!after(6).is_some());
        assert!(
            sights
                .get(&pod(), "1")
                .unwrap()
                .is_lost(start + Duration::from_secs(6))
        );
        assert!(
            sights.answered(&pod(), "1", status(&[("a", 1)])).is_other,
            "and is back"
        );
        assert!(sights.get(&pod(), "1").unwrap().answers());
    }

    #[test]
    fn another_pod_of_the_same_name_begins_anew() {
        let sights = Sights::default();
        sights.answered(&pod(), "1", status(&[("a", 1)]));
        assert!(sights.get(&pod(), "2").is_none());
        let changes = sights.answered(&pod(), "2", status(&[]));
        assert!(changes.is_other && changes.rooms.is_empty());
        sights.retain(|_| false);
        assert!(sights.get(&pod(), "2").is_none());
    }
}
