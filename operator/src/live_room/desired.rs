//! What is to be done with a room now, and how its pods are to be. Pure: no clock, no I/O, and nothing of what came
//! before.

use std::collections::HashMap;

use super::ledger::Share;
use crate::pods::PodId;

/// A pod's part in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which pod.
    pub pod: PodId,
    /// The pod that it takes the room from; none for the origin.
    pub source: Option<PodId>,
    /// Viewers that it has space for, those who are there among them.
    pub space: u32,
    /// Whether its clients are to go to the room's other pods.
    pub leaves: bool,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no such pod, or its process has ended for good.
    Gone,
    /// It has not answered for a while, and there are other signs that it is not there.
    Lost,
    /// It is to go and takes no new sessions.
    Leaving,
    /// It serves, as far as is known.
    Serving,
}

impl State {
    /// Whether clients on it are served.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, State::Leaving | State::Serving)
    }
}

/// How a pod stands with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Where it is in its life.
    pub state: State,
    /// Viewers of the room who are there.
    pub viewers: u32,
    /// Whether a host is connected to the room there.
    pub has_host: bool,
    /// Whether others can take the room from it, as far as is known: it may only be cut off from us.
    pub may_feed: bool,
    /// Whether it can send its clients on. One of an earlier release can't.
    pub sends_on: bool,
    /// Whether it takes the room from another pod, or has tried for long enough.
    pub is_fed: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take it off its pods, and let its resource go.
    Finish,
    /// Take it off its pods: it is over.
    End,
    /// Have it where it should be.
    Keep,
}

/// Decides, by whether somebody deleted the room, and when it closes and what time it is, in seconds since 1970.
#[must_use]
pub fn decide(is_deleted: bool, end: Option<u64>, now: u64) -> Step {
    if is_deleted {
        Step::Finish
    } else if end.is_some_and(|end| end <= now) {
        Step::End
    } else {
        Step::Keep
    }
}

/// The pods of a room as they are to be next, the origin first; none: no pod has it, and none can.
///
/// `now` is how they are, and `planned` what placement has in mind. The way there has steps, since nobody is cut off
/// on it:
///
/// - While a host is on air at an origin that is to go, the next origin is an edge of it. It becomes the origin once it
///   has the room, and only then the other's clients are moved.
/// - A pod that is to have the room no more keeps it as an edge for as long as somebody is in the room there.
/// - If no pod takes the room, it stays on those that there are.
#[must_use]
pub fn parts(now: &[Part], planned: &[Share], look: impl Fn(&PodId) -> Look) -> Vec<Part> {
    let Some(first) = planned.first() else {
        return stay(now, look);
    };
    let held = now.first().filter(|origin| {
        let (old, new) = (look(&origin.pod), look(&first.pod));
        let is_handed_over = new.has_host || (new.is_fed && old.sends_on);
        origin.pod != first.pod && old.has_host && old.may_feed && !is_handed_over
    });
    let origin = held.map_or(&first.pod, |held| &held.pod);
    let mut parts: Vec<Part> = Vec::with_capacity(planned.len() + 1);
    let known = |pod: &PodId| planned.iter().find(|share| share.pod == *pod);
    parts.push(Part {
        pod: origin.clone(),
        source: None,
        space: known(origin).map_or(0, |share| share.viewers),
        leaves: false,
    });
    for share in planned.iter().filter(|share| share.pod != *origin) {
        parts.push(Part {
            pod: share.pod.clone(),
            source: Some(share.source.as_ref().unwrap_or(origin).clone()),
            space: share.viewers,
            leaves: share.viewers == 0 && look(&share.pod).viewers > 0,
        });
    }
    for part in now {
        let there = look(&part.pod);
        let is_in_use = there.state.is_alive() && (there.viewers > 0 || there.has_host);
        if !is_in_use || parts.iter().any(|one| one.pod == part.pod) {
            continue;
        }
        let source = part
            .source
            .as_ref()
            .filter(|source| known(source).is_some());
        parts.push(Part {
            pod: part.pod.clone(),
            source: Some(source.unwrap_or(origin).clone()),
            space: 0,
            leaves: true,
        });
    }
    parts
}

/// The room on what is left of its pods: who may come back counts as left.
fn stay(now: &[Part], look: impl Fn(&PodId) -> Look) -> Vec<Part> {
    let mut left: Vec<Part> = now
        .iter()
        .filter(|part| look(&part.pod).state != State::Gone)
        .cloned()
        .collect();
    // The origin stays it. Else one that has a host, or can be reached.
    left.sort_by_key(|part| {
        let there = look(&part.pod);
        (
            part.source.is_some(),
            !there.has_host,
            !there.state.is_alive(),
        )
    });
    let Some(origin) = left.first().map(|part| part.pod.clone()) else {
        return left;
    };
    let sources: HashMap<PodId, Option<PodId>> = left
        .iter()
        .map(|part| (part.pod.clone(), part.source.clone()))
        .collect();
    for part in &mut left {
        // Nobody leaves: there is nowhere to go.
        part.leaves = false;
        if part.pod == origin {
            part.source = None;
        } else if !leads_to(&origin, part.source.as_ref(), &sources) {
            part.source = Some(origin.clone());
        }
    }
    left
}

/// Whether a way from source to source ends at the origin.
fn leads_to(
    origin: &PodId,
    source: Option<&PodId>,
    sources: &HashMap<PodId, Option<PodId>>,
) -> bool {
    let next = |pod: &&PodId| sources.get(*pod).and_then(Option::as_ref);
    std::iter::successors(source, next)
        .take(sources.len())
        .any(|pod| pod == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_WORK: Look = Look {
        state: State::Serving,
        viewers: 10,
        has_host: false,
        may_feed: true,
        sends_on: true,
        is_fed: true,
    };

    fn pod(name: &str) -> PodId {
        PodId {
            namespace: "media".into(),
            name: name.into(),
        }
    }

    /// Of pods, sources and space: `a`, `b<a 5`.
    fn shares(text: &[(&str, &str, u32)]) -> Vec<Share> {
        text.iter()
            .map(|(name, source, viewers)| Share {
                pod: pod(name),
                source: (!source.is_empty()).then(|| pod(source)),
                viewers: *viewers,
            })
            .collect()
    }

    fn on(text: &[(&str, &str)]) -> Vec<Part> {
        text.iter()
            .map(|(name, source)| Part {
                pod: pod(name),
                source: (!source.is_empty()).then(|| pod(source)),
                space: 20,
                leaves: false,
            })
            .collect()
    }

    fn said(parts: &[Part]) -> Vec<String> {
        let text = |part: &Part| {
            let source = part.source.as_ref();
            let source = source.map_or(String::new(), |source| format!("<{}", source.name));
            let leaves = if part.leaves { " leaves" } else { "" };
            format!("{}{source}{leaves}", part.pod.name)
        };
        parts.iter().map(text).collect()
    }

    /// The parts, where some pods are not [`AT_WORK`].
    fn next(now: &[Part], planned: &[Share], others: &[(&str, Look)]) -> Vec<String> {
        let look = |id: &PodId| {
            let other = others.iter().find(|(name, _)| *name == id.name);
            other.map_or(AT_WORK, |(_, look)| *look)
        };
        said(&parts(now, planned, look))
    }

    #[test]
    fn what_is_done_with_a_room() {
        for (is_deleted, end, step) in [
            (false, None, Step::Keep),
            (false, Some(101), Step::Keep),
            (false, Some(100), Step::End),
            (true, Some(1), Step::Finish),
            (true, None, Step::Finish),
        ] {
            assert_eq!(decide(is_deleted, end, 100), step);
        }
    }

    #[test]
    fn a_room_is_where_it_is_planned() {
        let planned = shares(&[("a", "", 9), ("b", "a", 5), ("c", "b", 3)]);
        assert_eq!(next(&[], &planned, &[]), ["a", "b<a", "c<b"]);
        let parts = parts(&[], &planned, |_| AT_WORK);
        assert_eq!(parts.iter().map(|part| part.space).sum::<u32>(), 17);
    }

    #[test]
    fn an_edge_that_gets_no_viewers_leaves_and_goes_when_the_last_has_left() {
        let now = on(&[("a", ""), ("b", "a")]);
        let closes = shares(&[("a", "", 9), ("b", "a", 0)]);
        assert_eq!(next(&now, &closes, &[]), ["a", "b<a leaves"]);
        let gone = shares(&[("a", "", 9)]);
        assert_eq!(next(&now, &gone, &[]), ["a", "b<a leaves"]);
        let empty = Look {
            viewers: 0,
            ..AT_WORK
        };
        assert_eq!(next(&now, &gone, &[("b", empty)]), ["a"]);
    }

    #[test]
    fn the_next_origin_is_an_edge_until_it_is_connected() {
        let leaving = Look {
            state: State::Leaving,
            has_host: true,
            ..AT_WORK
        };
        let unfed = Look {
            is_fed: false,
            viewers: 0,
            ..AT_WORK
        };
        let planned = shares(&[("b", "", 9), ("c", "b", 9)]);
        let now = on(&[("a", ""), ("c", "a")]);
        let first = parts(&now, &planned, |id| match id.name.as_str() {
            "a" => leaving,
            "b" => unfed,
            _ => AT_WORK,
        });
        assert_eq!(said(&first), ["a", "b<a", "c<b"]);
        let second = next(&first, &planned, &[("a", leaving)]);
        assert_eq!(second, ["b", "c<b", "a<b leaves"]);
        let empty = Look {
            viewers: 0,
            has_host: false,
            ..leaving
        };
        assert_eq!(
            next(
                &on(&[("b", ""), ("c", "b"), ("a", "b")]),
                &planned,
                &[("a", empty)]
            ),
            ["b", "c<b"]
        );
        assert_eq!(
            next(&now, &planned, &[("a", empty), ("b", unfed)]),
            ["b", "c<b"],
            "without a host there is nothing to hand over"
        );
    }

    #[test]
    fn nobody_waits_for_an_origin_that_is_gone() {
        let planned = shares(&[("b", "", 9), ("c", "b", 9)]);
        let now = on(&[("a", ""), ("b", "a"), ("c", "a")]);
        for state in [State::Gone, State::Lost] {
            let gone = Look {
                state,
                has_host: true,
                may_feed: false,
                ..AT_WORK
            };
            let unfed = Look {
                is_fed: false,
                ..AT_WORK
            };
            assert_eq!(
                next(&now, &planned, &[("a", gone), ("b", unfed)]),
                ["b", "c<b"]
            );
        }
    }

    #[test]
    fn a_host_who_cannot_be_sent_on_stays_where_it_is() {
        let old = Look {
            state: State::Leaving,
            has_host: true,
            sends_on: false,
            ..AT_WORK
        };
        let planned = shares(&[("b", "", 9)]);
        assert_eq!(
            next(&on(&[("a", "")]), &planned, &[("a", old)]),
            ["a", "b<a"]
        );
    }

    #[test]
    fn a_room_that_nobody_takes_stays_on_what_there_is() {
        let now = on(&[("a", ""), ("b", "a"), ("c", "b")]);
        let with = |state| Look { state, ..AT_WORK };
        assert_eq!(
            next(&now, &[], &[("a", with(State::Lost))]),
            ["a", "b<a", "c<b"]
        );
        let left = ["a", "b", "c"].map(|name| (name, with(State::Leaving)));
        assert_eq!(next(&now, &[], &left), ["a", "b<a", "c<b"], "nobody leaves");
        assert_eq!(next(&now, &[], &[("a", with(State::Gone))]), ["b", "c<b"]);
        assert_eq!(next(&now, &[], &[("b", with(State::Gone))]), ["a", "c<a"]);
        let all = ["a", "b", "c"].map(|name| (name, with(State::Gone)));
        assert!(next(&now, &[], &all).is_empty());
    }
}
