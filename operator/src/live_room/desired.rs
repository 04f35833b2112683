//! What is to be done with a room now. Pure: no clock, no I/O, and nothing of what came before.

/// What is known of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Whether somebody deleted it.
    pub is_deleted: bool,
    /// When it closes, in seconds since 1970.
    pub end: Option<u64>,
    /// How its pod is; none if it has none.
    pub pod: Option<Pod>,
}

/// How the pod of a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Where it is in its life.
    pub state: State,
    /// Whether a host is connected to the room there.
    pub has_host: bool,
    /// Whether it can send its clients on. One of an earlier release can't.
    pub sends_on: bool,
}

/// Where the pod of a room is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no such pod, or its process has ended for good.
    Gone,
    /// It has not answered for a while, and the kubelet doesn't say that it is ready.
    Lost,
    /// It is to go and takes no new sessions, or the room may not be there any more.
    Leaving,
    /// It serves, as far as is known.
    Serving,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take it off its pod, and let its resource go.
    Finish,
    /// Take it off its pod: it is over.
    End,
    /// Leave it where it is.
    Stay,
    /// Find a pod.
    Place(Why),
}

/// Why a room needs a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has none.
    New,
    /// Its pod is gone.
    Gone,
    /// Its pod seems gone. If there is no other, it may come back.
    Lost,
    /// Its pod is to go or not for it any more. If there is no other, it stays for now.
    Leaving,
}

impl Why {
    /// Whether a room that finds no other pod stays where it is.
    #[must_use]
    pub fn may_stay(self) -> bool {
        matches!(self, Why::Lost | Why::Leaving)
    }
}

/// Decides.
#[must_use]
pub fn decide(room: Room, now: u64) -> Step {
    if room.is_deleted {
        return Step::Finish;
    }
    if room.end.is_some_and(|end| end <= now) {
        return Step::End;
    }
    let Some(pod) = room.pod else {
        return Step::Place(Why::New);
    };
    match pod.state {
        State::Gone => Step::Place(Why::Gone),
        State::Lost => Step::Place(Why::Lost),
        // A host who can't be sent on would be cut off.
        State::Leaving if pod.sends_on || !pod.has_host => Step::Place(Why::Leaving),
        State::Leaving | State::Serving => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_a_room() {
        let on = |state, has_host| Room {
            is_deleted: false,
            end: None,
            pod: Some(Pod {
                state,
                has_host,
                sends_on: false,
            }),
        };
        let modern = Room {
            pod: Some(Pod {
                state: State::Leaving,
                has_host: true,
                sends_on: true,
            }),
            ..on(State::Leaving, true)
        };
        let ended = |end| Room {
            end: Some(end),
            ..on(State::Serving, true)
        };
        for (room, expected) in [
            (
                Room {
                    pod: None,
                    ..on(State::Gone, false)
                },
                Step::Place(Why::New),
            ),
            (on(State::Gone, true), Step::Place(Why::Gone)),
            (on(State::Lost, true), Step::Place(Why::Lost)),
            (on(State::Leaving, false), Step::Place(Why::Leaving)),
            (on(State::Leaving, true), Step::Stay),
            (modern, Step::Place(Why::Leaving)),
            (on(State::Serving, false), Step::Stay),
            (ended(100), Step::End),
            (ended(101), Step::Stay),
            (
                Room {
                    is_deleted: true,
                    ..ended(1)
                },
                Step::Finish,
            ),
        ] {
            assert_eq!(decide(room, 100), expected, "{room:?}");
        }
    }
}
