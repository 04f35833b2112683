//! Sending clients on: who can be told goes to another pod that has the room, and who can't stays as long as this one.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Node;
use super::session::{EndReason, RoomEvent};
use super::state::State;
use crate::room::RoomName;

/// Viewers are told at moments spread over so much time for each that is to go: the next pod takes a hundred of them a
/// second without falling behind.
const SPREAD_PER_VIEWER: Duration = Duration::from_millis(10);
/// At least so long, and at most.
const SPREAD: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(20);
/// At most so long if they don't get anything here any more.
const HURRIED_SPREAD: Duration = Duration::from_secs(2);
/// The operator says of each room of a draining node where it goes, and has its clients told then. If it is away, they
/// are told after this time: wherever the room is, they find it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a join waits for a host who is on its way from another pod …
const HOST_PATIENCE: Duration = Duration::from_secs(3);
/// … at most so long after the node was told of the room.
const HOST_EXPECTED: Duration = Duration::from_secs(10);

/// When the clients of a room go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// Until then all are told.
    told: Instant,
    /// Who is left then is cut off; none: nobody, but for the end of the node's drain.
    ends: Option<Instant>,
}

impl Node {
    /// Does for a room what its assignment says of leaving.
    pub(super) fn heed(&self, state: &mut State, name: &RoomName, leave: Option<u32>) {
        match leave {
            Some(seconds) => {
                self.send_on(state, name);
                let ends = Instant::now() + Duration::from_secs(seconds.into());
                if let Some(leaving) = state.leaving.get_mut(name) {
                    leaving.ends = Some(leaving.ends.map_or(ends, |known| known.min(ends)));
                }
            }
            None if self.is_draining() => {}
            None => drop(state.leaving.remove(name)),
        }
    }

    /// Cuts off those whose time is over.
    pub(super) fn end_left(&self, state: &State) {
        let now = Instant::now();
        let is_over = |room: &RoomName| {
            let leaving = state.leaving.get(room);
            leaving
                .and_then(|leaving| leaving.ends)
                .is_some_and(|ends| ends <= now)
        };
        let left = state.sessions.values().filter(|s| is_over(&s.who.room));
        let left: Vec<_> = left.map(|s| (s.number, s.shard)).collect();
        if !left.is_empty() {
            tokio::spawn(self.clone().end_all(left, EndReason::Shutdown));
        }
    }

    /// Lets go of hosts who publish to the next pod as well, once nobody needs them here.
    pub(super) fn end_moved_hosts(&self, state: &State) {
        let moved = state.moved_hosts();
        if !moved.is_empty() {
            tokio::spawn(self.clone().end_all(moved, EndReason::Replaced));
        }
    }

    /// Sends on whoever was not sent on by the operator.
    pub(super) async fn send_all_on(self, within: Duration) {
        let is_of_a_cluster = self.state().assigned.is_some();
        if is_of_a_cluster {
            tokio::time::sleep(PATIENCE.min(within / 4)).await;
        }
        let mut state = self.state();
        let names: Vec<RoomName> = state.rooms.keys().cloned().collect();
        for name in names {
            self.send_on(&mut state, &name);
        }
    }

    /// Tells the clients of a room to go on; once.
    fn send_on(&self, state: &mut State, name: &RoomName) {
        if state.leaving.contains_key(name) {
            return;
        }
        let count = match state.rooms.get(name) {
            _ if self.is_draining() => state.sessions.len(),
            Some(room) => room.sessions,
            None => 0,
        };
        let spread = SPREAD_PER_VIEWER.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let spread = if state.cut_off.is_so() {
            spread.min(HURRIED_SPREAD)
        } else {
            spread.clamp(*SPREAD.start(), *SPREAD.end())
        };
        let left = self
            .0
            .drain_until
            .borrow()
            .map(|until| until - Instant::now());
        let spread = left.map_or(spread, |left| spread.min(left / 2));
        let told = Instant::now() + spread;
        state
            .leaving
            .insert(name.clone(), Leaving { told, ends: None });
        tracing::info!(room = %name, seconds = spread.as_secs_f32(), "the clients of a room are sent on");
        if let Some(room) = state.rooms.get(name) {
            room.tell(reconnect(told));
        }
    }

    /// Waits for the host of a room, if it was on air on another pod a moment ago: whoever is refused comes back only
    /// after seconds.
    pub(super) async fn await_host(&self, name: &RoomName) {
        let Some((mut came, until)) = self.expected(name) else {
            return;
        };
        let here = async { while !self.is_on_air(name) && came.changed().await.is_ok() {} };
        // If it does not come, the join is refused as any other.
        let _ = timeout_at(until, here).await;
    }

    fn expected(&self, name: &RoomName) -> Option<(watch::Receiver<()>, Instant)> {
        let state = self.state();
        let since = *state.expecting.get(name)?;
        let (now, over) = (Instant::now(), since + HOST_EXPECTED);
        (now < over).then(|| (state.came.subscribe(), over.min(now + HOST_PATIENCE)))
    }

    fn is_on_air(&self, name: &RoomName) -> bool {
        let state = self.state();
        let room = state.rooms.get(name);
        room.is_some_and(|room| room.on_air().is_some())
    }
}

impl State {
    /// What clients of a room are told who come, or come back, while it is left.
    pub(super) fn reconnect(&self, name: &RoomName) -> Option<RoomEvent> {
        self.leaving
            .get(name)
            .map(|leaving| reconnect(leaving.told))
    }
}

/// To whom they came from, who knows where else the room is.
fn reconnect(told: Instant) -> RoomEvent {
    RoomEvent::Reconnect {
        url: None,
        within: told - Instant::now(),
    }
}
