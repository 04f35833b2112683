//! What the operator has a node do: take a room, end it, drain.

use std::sync::atomic::Ordering;
use std::time::Duration;

use showrunner_protocol::control::{MAX_DRAIN_SECONDS, RoomAssignment};
use showrunner_protocol::room::RoomUid;
use tokio::time::Instant;

use super::Node;
use super::assignments::{AssignError, Assigned, EndRoomError};
use super::session::{EndReason, RoomEvent, SessionError};
use super::state::State;
use crate::room::RoomName;
use crate::shard::message::{Command, SessionNumber};

/// How often a draining node looks whether all have gone.
const LOOK: Duration = Duration::from_millis(250);
/// Rest after a shard was too busy to end a session.
const BUSY_REST: Duration = Duration::from_millis(10);

impl Node {
    /// Takes a room. Sessions of an earlier room of that name end.
    ///
    /// # Errors
    /// If the node knows a newer generation, or takes no more rooms, or any.
    pub fn assign(
        &self,
        name: RoomName,
        assignment: RoomAssignment,
    ) -> Result<Assigned, AssignError> {
        let mut state = self.state();
        let draining = self.is_leaving();
        let (uid, generation) = (assignment.uid.clone(), assignment.generation);
        let (leave, awaits_host) = (assignment.leave, assignment.awaits_host);
        let rooms = state.assigned.as_mut().ok_or(AssignError::TakesAny)?;
        let assigned = rooms.put(name.clone(), assignment, draining)?;
        if assigned != Assigned::Known {
            tracing::info!(room = %name, %uid, generation, "the node takes a room");
        }
        if assigned == Assigned::Replaced {
            self.close_room(&mut state, &name);
        }
        if assigned != Assigned::Known && awaits_host {
            state.expecting.insert(name.clone(), Instant::now());
        }
        self.heed(&mut state, &name, leave);
        self.follow_assignment(&mut state, &name);
        self.follow_host(&mut state, &name);
        self.carry_out(&mut state);
        Ok(assigned)
    }

    /// Ends a room: its viewers are told, its sessions end, and nobody comes in any more.
    ///
    /// # Errors
    /// If there is no such room here.
    pub fn end_room(&self, name: &RoomName, uid: &RoomUid) -> Result<(), EndRoomError> {
        let mut state = self.state();
        let rooms = state.assigned.as_mut().ok_or(EndRoomError::NotFound)?;
        rooms.remove(name, uid)?;
        tracing::info!(room = %name, %uid, "a room ends");
        self.close_room(&mut state, name);
        self.follow_assignment(&mut state, name);
        self.follow_host(&mut state, name);
        self.carry_out(&mut state);
        Ok(())
    }

    /// Whether this node takes this room, for those who come with a grant.
    pub fn has_room(&self, name: &RoomName, uid: &RoomUid) -> bool {
        self.state().takes(name, Some(uid))
    }

    fn close_room(&self, state: &mut State, name: &RoomName) {
        state.stays.remove(name);
        state.leaving.remove(name);
        state.expecting.remove(name);
        state.pulls.stop(name);
        state.pulled.stop(name);
        let Some(room) = state.rooms.get_mut(name) else {
            return;
        };
        room.closing = true;
        room.tell(RoomEvent::Ended);
        let of_room = state.sessions.values().filter(|s| s.who.room == *name);
        let mut sessions: Vec<_> = of_room.map(|s| (s.number, s.shard)).collect();
        sessions.extend(state.links_of(name));
        tokio::spawn(self.clone().end_all(sessions, EndReason::RoomEnded));
    }

    /// Ends sessions as fast as their shards take it.
    pub(super) async fn end_all(self, sessions: Vec<(SessionNumber, usize)>, reason: EndReason) {
        for (number, shard) in sessions {
            while let Err(SessionError::Overloaded) =
                self.command(shard, Command::End { number, reason })
            {
                // A shard that has stopped has ended them already.
                if self.0.stopped.load(Ordering::Relaxed) {
                    return;
                }
                tokio::time::sleep(BUSY_REST).await;
            }
        }
    }

    /// Takes no more sessions and rooms, and sends viewers on. Who is left when the time is over is sent away; until
    /// then [`Node::drained`] waits. Asked again, the earlier end counts.
    pub fn drain(&self, within: Duration) {
        let within = within.min(Duration::from_secs(MAX_DRAIN_SECONDS.into()));
        let until = Instant::now() + within;
        self.0.draining.store(true, Ordering::Relaxed);
        let mut first = false;
        self.0.drain_until.send_modify(|known| {
            first = known.is_none();
            *known = Some(known.map_or(until, |known| known.min(until)));
        });
        if first {
            tracing::info!(seconds = within.as_secs(), "the node drains");
            tokio::spawn(self.clone().send_all_on(within));
            tokio::spawn(self.clone().send_away());
        }
    }

    /// Ends the sessions that are left when a drain is over.
    async fn send_away(self) {
        self.drained().await;
        let sessions: Vec<_> = {
            let state = self.state();
            let left = state.sessions.values();
            left.map(|session| (session.number, session.shard))
                .collect()
        };
        tracing::info!(left = sessions.len(), "the drain is over");
        self.end_all(sessions, EndReason::Shutdown).await;
    }

    /// Whether the node was told to drain.
    pub fn is_draining(&self) -> bool {
        self.0.drain_until.borrow().is_some()
    }

    /// Waits until the node was told to drain, and all have gone or the time is over.
    pub async fn drained(&self) {
        let mut until = self.0.drain_until.subscribe();
        // The sender is as old as the node.
        let _ = until.wait_for(Option::is_some).await;
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let is_over = until.borrow().is_none_or(|until| until <= Instant::now());
            let is_empty = |state: &State| state.sessions.is_empty() && state.all_edges() == 0;
            if is_over || is_empty(&self.state()) {
                return;
            }
        }
    }
}
