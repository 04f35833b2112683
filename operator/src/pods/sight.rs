//! What pods last said, and for how long those that don't answer have not.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use showrunner_protocol::RoomName;
use showrunner_protocol::control::{PodStatus, RoomStatus};

use super::PodId;

/// A pod that has been silent for this long may be gone: one question, which it has 700 ms to answer …
pub const LOST_AFTER: Duration = Duration::from_millis(650);
/// … one that has been for this long is, whatever its kubelet says, which may be dead with it; …
pub const DEAD_AFTER: Duration = Duration::from_millis(2500);
/// … and one that takes no connections for this long is, or its program is.
pub const GONE_AFTER: Duration = Duration::from_millis(200);

/// What all pods last said.
#[derive(Debug, Default)]
pub struct Sights(RwLock<All>);

#[derive(Debug, Default)]
struct All {
    pods: HashMap<PodId, Arc<Sight>>,
    /// The pods that said they have a room.
    by_room: HashMap<RoomName, HashSet<PodId>>,
}

/// How a pod does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Its machine says that nobody listens there: its program has ended.
    Refused,
    /// Nothing comes back.
    Silent,
}

/// What is said once of a pod that does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    is_lost: bool,
    hangs: bool,
    is_dead: bool,
}

/// What one pod last said.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Which pod of that name.
    pub uid: String,
    /// All but its rooms; none before its first answer.
    pub status: Option<Arc<PodStatus>>,
    /// Its rooms.
    pub rooms: Arc<HashMap<RoomName, RoomStatus>>,
    /// When it last answered; none if it never did.
    pub heard_at: Option<Instant>,
    /// Since when it gives no answer; none if it did the last time.
    pub silent_since: Option<Instant>,
    /// Since when it takes no connections; none if it did the last time.
    pub refused_since: Option<Instant>,
    /// Whether those of its neighbours that could tell get no answer from it either.
    is_unseen: bool,
    /// What was said of it already.
    said: Said,
}

/// What is new of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rooms that are there now, or are not any more, or not as they were.
    pub rooms: Vec<RoomName>,
    /// Whether it takes rooms, drains or is cut off other than before, or is told other addresses, or its process is
    /// another.
    pub is_other: bool,
    /// Whether it has other numbers of sessions or rooms.
    pub has_other_counts: bool,
    /// Whether it has just been silent for [`LOST_AFTER`], to its neighbours as well, or for [`DEAD_AFTER`], or is gone.
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
            heard_at: None,
            silent_since: None,
            refused_since: None,
            is_unseen: false,
            said: Said::default(),
        }
    }

    /// Whether it answered the last time.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.status.is_some() && self.silent_since.is_none()
    }

    /// Whether it is ready and last said that it is not, or the other way round.
    #[must_use]
    pub fn is_other_than(&self, is_ready: bool) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| status.ready != is_ready)
    }

    /// Whether it says that it is cut off from its viewers.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| status.cut_off)
    }

    /// Whether it has been silent for [`LOST_AFTER`], or is gone.
    #[must_use]
    pub fn is_lost(&self, now: Instant) -> bool {
        is_past(self.silent_since, LOST_AFTER, now) || self.is_gone(now)
    }

    /// Whether it has been silent for [`DEAD_AFTER`], or is gone.
    #[must_use]
    pub fn is_dead(&self, now: Instant) -> bool {
        is_past(self.silent_since, DEAD_AFTER, now) || self.is_gone(now)
    }

    /// Whether it is lost, and to its neighbours as well: it is not only cut off from us.
    #[must_use]
    pub fn hangs(&self, now: Instant) -> bool {
        self.is_unseen && self.is_lost(now)
    }

    /// Whether it has taken no connections for [`GONE_AFTER`]. One that is only cut off from us refuses none.
    #[must_use]
    pub fn is_gone(&self, now: Instant) -> bool {
        is_past(self.refused_since, GONE_AFTER, now)
    }
}

impl Sight {
    /// What is new of a pod that does not answer. Each is said only once.
    fn say(self, old: &Sight, now: Instant) -> (Sight, Changes) {
        let said = Said {
            is_lost: old.said.is_lost || self.is_lost(now),
            hangs: old.said.hangs || self.hangs(now),
            is_dead: old.said.is_dead || self.is_dead(now),
        };
        let is_lost = said != old.said;
        let changes = Changes {
            is_other: old.silent_since.is_none() || is_lost,
            is_lost,
            ..Changes::default()
        };
        (Sight { said, ..self }, changes)
    }
}

fn is_past(since: Option<Instant>, patience: Duration, now: Instant) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) >= patience)
}

impl Sights {
    /// What a pod last said; none of another pod of that name.
    #[must_use]
    pub fn get(&self, pod: &PodId, uid: &str) -> Option<Arc<Sight>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.pods.get(pod).filter(|sight| sight.uid == uid).cloned()
    }

    /// The pods that last said they have a room of this name.
    #[must_use]
    pub fn pods_with(&self, room: &RoomName) -> Vec<PodId> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pods = all.by_room.get(room);
        pods.into_iter().flatten().cloned().collect()
    }

    /// A pod answered that it is there, and no more.
    pub fn is_there(&self, pod: &PodId, uid: &str) -> Changes {
        let known = self.get(pod, uid);
        if known.is_none_or(|sight| sight.silent_since.is_none()) {
            return Changes::default();
        }
        self.change(pod, uid, |old| {
            let new = Sight {
                silent_since: None,
                refused_since: None,
                is_unseen: false,
                said: Said::default(),
                ..old.clone()
            };
            let changes = Changes {
                is_other: true,
                ..Changes::default()
            };
            (new, changes)
        })
    }

    /// A pod answered.
    pub fn answered(&self, pod: &PodId, uid: &str, mut status: PodStatus, now: Instant) -> Changes {
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
                heard_at: Some(now),
                silent_since: None,
                refused_since: None,
                is_unseen: false,
                said: Said::default(),
            };
            (new, changes)
        })
    }

    /// A pod did not answer. Once it is lost, its rooms are news. `since` is when it was asked.
    pub fn silent(
        &self,
        pod: &PodId,
        uid: &str,
        how: Silence,
        since: Instant,
        now: Instant,
    ) -> Changes {
        self.change(pod, uid, |old| {
            let refused = (how == Silence::Refused).then_some(since);
            let new = Sight {
                silent_since: Some(old.silent_since.unwrap_or(since)),
                refused_since: refused.map(|since| old.refused_since.unwrap_or(since)),
                ..old.clone()
            };
            new.say(old, now)
        })
    }

    /// Its neighbours get no answer from a pod, which we have been asking since then.
    pub fn unseen(&self, pod: &PodId, uid: &str, since: Instant, now: Instant) -> Changes {
        self.change(pod, uid, |old| {
            let since = old.silent_since.map_or(since, |known| known.min(since));
            let new = Sight {
                silent_since: Some(since),
                is_unseen: true,
                ..old.clone()
            };
            new.say(old, now)
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
                    known.leaving = room.leaving;
                    let address = |of: &RoomStatus| of.source.as_ref().map(|source| source.address);
                    if address(known) != address(&room) {
                        known.source.clone_from(&room.source);
                    }
                    let version =
                        |of: &RoomStatus| of.pull.as_ref().map(|pull| pull.version.clone());
                    if version(known) != version(&room) {
                        known.pull.clone_from(&room.pull);
                    }
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
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.pods.retain(|pod, _| is_there(pod));
        all.by_room.retain(|_, pods| {
            pods.retain(&is_there);
            !pods.is_empty()
        });
    }

    fn change(
        &self,
        pod: &PodId,
        uid: &str,
        how: impl FnOnce(&Sight) -> (Sight, Changes),
    ) -> Changes {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = all.pods.get(pod).cloned();
        let old = known.clone().filter(|sight| sight.uid == uid);
        let old = old.unwrap_or_else(|| Arc::new(Sight::unknown(uid)));
        let (new, changes) = how(&old);
        let before = known.map(|sight| Arc::clone(&sight.rooms));
        all.note_rooms(pod, &before.unwrap_or_default(), &new.rooms);
        all.pods.insert(pod.clone(), Arc::new(new));
        changes
    }
}

impl All {
    fn note_rooms(
        &mut self,
        pod: &PodId,
        before: &Arc<HashMap<RoomName, RoomStatus>>,
        now: &Arc<HashMap<RoomName, RoomStatus>>,
    ) {
        if Arc::ptr_eq(before, now) {
            return;
        }
        for room in before.keys().filter(|room| !now.contains_key(room)) {
            if let Some(pods) = self.by_room.get_mut(room) {
                pods.remove(pod);
                if pods.is_empty() {
                    self.by_room.remove(room);
                }
            }
        }
        for room in now.keys().filter(|room| !before.contains_key(room)) {
            let pods = self.by_room.entry(room.clone()).or_default();
            pods.insert(pod.clone());
        }
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
            room.leaving,
            room.source.clone(),
            room.pull.clone(),
        )
    };
    of(old) != of(new)
}

fn is_other(old: &PodStatus, new: &PodStatus) -> bool {
    let of = |status: &PodStatus| {
        (
            status.ready,
            status.draining,
            status.cut_off,
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
        let first = sights.answered(&pod(), "1", status(&[("a", 0), ("b", 0)]), Instant::now());
        assert_eq!(first.rooms.len(), 2);
        assert!(first.is_other);
        assert!(
            !sights
                .answered(&pod(), "1", status(&[("a", 0), ("b", 0)]), Instant::now())
                .is_some()
        );
        let more = sights.answered(&pod(), "1", status(&[("a", 3), ("b", 0)]), Instant::now());
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
            Instant::now(),
        );
        assert_eq!(empty.rooms.len(), 2, "it began anew without its rooms");
        assert!(empty.is_other);
    }

    #[test]
    fn it_is_asked_for_more_when_it_is_ready_other_than_it_said() {
        let sights = Sights::default();
        let sight = || sights.get(&pod(), "1").unwrap();
        sights.silent(&pod(), "1", Silence::Silent, Instant::now(), Instant::now());
        assert!(!sight().is_other_than(true), "it is asked in any case");
        sights.answered(&pod(), "1", status(&[]), Instant::now());
        assert!(sight().is_other_than(false) && !sight().is_other_than(true));
        let cut_off = PodStatus {
            ready: false,
            cut_off: true,
            ..status(&[])
        };
        assert!(
            sights
                .answered(&pod(), "1", cut_off, Instant::now())
                .is_other
        );
        assert!(sight().is_other_than(true) && sight().is_cut_off());
    }

    #[test]
    fn a_pod_is_lost_once_when_it_was_silent_for_long() {
        let (sights, start) = (Sights::default(), Instant::now());
        sights.answered(&pod(), "1", status(&[("a", 1)]), Instant::now());
        let after = |milliseconds| {
            let now = start + Duration::from_millis(milliseconds);
            sights.silent(&pod(), "1", Silence::Silent, start, now)
        };
        assert!(after(0).is_other);
        assert!(!after(600).is_some());
        assert!(after(700).is_lost);
        assert!(!after(900).is_some());
        assert!(after(2600).is_lost, "whatever else is said of it");
        assert!(!after(2700).is_some());
        let sight = sights.get(&pod(), "1").unwrap();
        assert!(sight.is_lost(start + LOST_AFTER));
        assert!(!sight.is_gone(start + LOST_AFTER), "it refused nobody");
        assert!(
            sights
                .answered(&pod(), "1", status(&[("a", 1)]), Instant::now())
                .is_other,
            "and is back"
        );
        assert!(sights.get(&pod(), "1").unwrap().answers());
    }

    #[test]
    fn a_pod_that_its_neighbours_get_no_answer_from_hangs() {
        let (sights, start) = (Sights::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let sight = || sights.get(&pod(), "1").unwrap();
        sights.answered(&pod(), "1", status(&[("a", 1)]), start);
        assert!(!sights.unseen(&pod(), "1", at(0), at(600)).is_lost, "yet");
        assert!(!sight().answers());
        let silent = |asked, now| sights.silent(&pod(), "1", Silence::Silent, at(asked), at(now));
        assert!(silent(250, 700).is_lost, "since it was asked first");
        assert!(sight().hangs(at(700)));
        sights.answered(&pod(), "1", status(&[("a", 1)]), at(800));
        assert!(silent(900, 1600).is_lost);
        assert!(!sight().hangs(at(1600)), "they were not asked again");
        assert!(
            sights.unseen(&pod(), "1", at(1000), at(1650)).is_lost,
            "now it is more"
        );
        assert!(sight().hangs(at(1650)));
        assert!(
            !sights.unseen(&pod(), "1", at(1000), at(1700)).is_some(),
            "once"
        );
    }

    #[test]
    fn a_pod_that_refuses_connections_is_gone_sooner() {
        let (sights, start) = (Sights::default(), Instant::now());
        sights.answered(&pod(), "1", status(&[("a", 1)]), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let refused = |asked, now| sights.silent(&pod(), "1", Silence::Refused, at(asked), at(now));
        assert!(!refused(0, 5).is_lost);
        assert!(refused(250, 255).is_lost);
        assert!(sights.get(&pod(), "1").unwrap().is_gone(at(255)));
        assert!(sights.is_there(&pod(), "1").is_other, "and is back");
        assert!(!sights.is_there(&pod(), "1").is_some());
    }

    #[test]
    fn the_pods_of_a_room_are_those_that_say_so() {
        let sights = Sights::default();
        let other = PodId {
            name: "eu-1".into(),
            ..pod()
        };
        sights.answered(&pod(), "1", status(&[("a", 0), ("b", 0)]), Instant::now());
        sights.answered(&other, "2", status(&[("a", 0)]), Instant::now());
        let mut both = sights.pods_with(&name("a"));
        both.sort();
        assert_eq!(both, [pod(), other.clone()]);
        sights.answered(&pod(), "1", status(&[("b", 0)]), Instant::now());
        assert_eq!(sights.pods_with(&name("a")), std::slice::from_ref(&other));
        // Another pod of the name has nothing of the one before.
        sights.answered(&other, "3", status(&[]), Instant::now());
        assert!(sights.pods_with(&name("a")).is_empty());
        sights.retain(|_| false);
        assert!(sights.pods_with(&name("b")).is_empty());
    }

    #[test]
    fn another_pod_of_the_same_name_begins_anew() {
        let sights = Sights::default();
        sights.answered(&pod(), "1", status(&[("a", 1)]), Instant::now());
        assert!(sights.get(&pod(), "2").is_none());
        let changes = sights.answered(&pod(), "2", status(&[]), Instant::now());
        assert!(changes.is_other && changes.rooms.is_empty());
        sights.retain(|_| false);
        assert!(sights.get(&pod(), "2").is_none());
    }
}
