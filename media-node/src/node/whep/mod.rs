//! Takes shows from other servers, as one of their viewers by WHEP, and does so again when they end.
//!
//! To the rest of the node such a show is one that a host publishes: it is a publisher's session, which this node has
//! begun. One task a room keeps it.

mod attempts;
mod call;

use std::collections::HashMap;
use std::time::Duration;

use showrunner_protocol::control::{
    HostSource, PodRole, PullFailure, PullProblem, PullSource, PullStatus,
};
use showrunner_protocol::room::RoomUid;
use showrunner_sdp::offer_pull;
use showrunner_transport::IceCredentials;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until};

use self::attempts::Attempts;
use self::call::{Failure, Made, Server};
use super::Node;
use super::joining::Newcomer;
use super::session::{EndReason, JoinError, RoomEvent, SessionId};
use super::state::State;
use crate::lived::agent::Client;
use crate::room::RoomName;
use crate::shard::message::Carries;

/// A server that sends nothing for so long is asked anew: its show may go on with another codec, or by another way.
const SILENCE: Duration = Duration::from_secs(10);
/// A pod that is an edge now goes on for those who take the room from it, until the origin has the show itself, and at
/// most so long.
const HANDOVER: Duration = Duration::from_secs(30);

/// The rooms whose show is pulled.
#[derive(Default)]
pub(super) struct Pulled(HashMap<RoomName, Show>);

/// One of them.
struct Show {
    /// The server; none: nobody has told it yet.
    source: Option<PullSource>,
    /// Tells the task; without it, or when it goes, the show ends.
    tell: Option<watch::Sender<Wish>>,
    /// The session that it comes by.
    session: Option<SessionId>,
    /// Why it is not there.
    problem: Option<PullProblem>,
}

/// What a room's task is to do.
#[derive(Clone, PartialEq, Eq)]
enum Wish {
    /// Pull it from there.
    From(PullSource),
    /// End it, once another pod has it.
    HandOver,
}

/// Why a session is over.
enum Over {
    /// By itself.
    Failed(Failure),
    /// It is another server's turn, or another pod's.
    Changed,
    /// The room is not this pod's any more, or is not pulled.
    Stopped,
}

impl Pulled {
    /// Takes a room's show no more.
    pub(super) fn stop(&mut self, name: &RoomName) {
        self.0.remove(name);
    }
}

impl State {
    /// Whether a room's show comes from another server, so that nobody may publish it.
    pub(super) fn is_pulled(&self, name: &RoomName) -> bool {
        let assignment = self.assigned.as_ref().and_then(|rooms| rooms.get(name));
        assignment.is_some_and(|known| matches!(known.host, HostSource::Pull { .. }))
    }

    /// How a room stands with the server that it is pulled from.
    pub(super) fn pull_status(&self, name: &RoomName) -> Option<PullStatus> {
        let show = self.pulled.0.get(name)?;
        let connected = show
            .session
            .as_ref()
            .is_some_and(|id| self.is_connected(id));
        // An edge that was the origin only finishes what it has.
        if !connected && !self.takes_hosts(name) {
            return None;
        }
        Some(PullStatus {
            version: show
                .source
                .as_ref()
                .map(|source| source.version.clone())
                .unwrap_or_default(),
            connected,
            problem: show.problem.clone().filter(|_| !connected),
        })
    }

    fn is_active(&self, name: &RoomName) -> bool {
        self.rooms.get(name).is_some_and(|room| room.active)
    }

    fn is_connected(&self, id: &SessionId) -> bool {
        self.sessions.get(id).is_some_and(|s| s.connected.is_some())
    }
}

impl Node {
    /// Sees to it that a room's show comes from where its assignment says.
    pub(super) fn follow_host(&self, state: &mut State, name: &RoomName) {
        let assignment = state.assigned.as_ref().and_then(|rooms| rooms.get(name));
        let Some(assignment) = assignment else {
            state.pulled.stop(name);
            return;
        };
        let (uid, role, host) = (&assignment.uid, &assignment.role, &assignment.host);
        let from = match (role, host) {
            (PodRole::Origin, HostSource::Publish) => {
                state.pulled.stop(name);
                return;
            }
            (PodRole::Edge { .. }, _) => {
                if let Some(show) = state.pulled.0.get(name) {
                    show.tell(Wish::HandOver);
                }
                return;
            }
            (PodRole::Origin, HostSource::Pull { from }) => from.clone(),
        };
        let uid = uid.clone();
        let show = state.pulled.0.entry(name.clone()).or_insert(Show {
            source: None,
            tell: None,
            session: None,
            problem: None,
        });
        if from.is_some() {
            show.source = from;
        }
        let Some(source) = show.source.clone() else {
            return;
        };
        match &show.tell {
            Some(_) => show.tell(Wish::From(source)),
            None => {
                let (tell, told) = watch::channel(Wish::From(source));
                show.tell = Some(tell);
                tokio::spawn(self.clone().keep_pulling(name.clone(), uid, told));
            }
        }
    }

    /// Pulls a room's show for as long as it is to come from anywhere.
    async fn keep_pulling(self, room: RoomName, uid: RoomUid, mut told: watch::Receiver<Wish>) {
        let mut attempts = Attempts::default();
        loop {
            let wish = told.borrow_and_update().clone();
            let Wish::From(source) = wish else {
                if told.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let began = Instant::now();
            let failure = match self.pull_once(&room, &uid, source, &mut told).await {
                Over::Failed(failure) => failure,
                Over::Changed => {
                    attempts = Attempts::default();
                    continue;
                }
                Over::Stopped => return,
            };
            let Failure {
                problem,
                retry_after,
            } = failure;
            let rest = attempts.rest(
                problem.failure,
                began.elapsed(),
                retry_after,
                self.any_share(),
            );
            self.say_problem(&room, problem, rest);
            tokio::select! {
                () = sleep(rest) => {}
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    attempts = Attempts::default();
                }
            }
        }
    }

    /// One session, from its offer to its end.
    async fn pull_once(
        &self,
        room: &RoomName,
        uid: &RoomUid,
        source: PullSource,
        told: &mut watch::Receiver<Wish>,
    ) -> Over {
        let server = match Server::new(&source) {
            Ok(server) => server,
            Err(failure) => return Over::Failed(failure),
        };
        let joined = tokio::select! {
            joined = self.join_server(room, uid, &server) => joined,
            // What the server has made ends by itself: nobody comes.
            changed = told.changed() => return match changed {
                Ok(()) => Over::Changed,
                Err(_) => Over::Stopped,
            },
        };
        let (id, made) = match joined {
            Ok(joined) => joined,
            Err(failure) => return Over::Failed(failure),
        };
        let over = self.follow_pulled(room, &id, &source, told).await;
        if !matches!(over, Over::Failed(_)) {
            // It may have ended meanwhile.
            let _ = self.end(&id, EndReason::Replaced).await;
        }
        server.leave(&made).await;
        over
    }

    /// Makes an offer to a server, and a session of what it answers.
    async fn join_server(
        &self,
        room: &RoomName,
        uid: &RoomUid,
        server: &Server,
    ) -> Result<(SessionId, Made), Failure> {
        let busy = |why: &dyn std::fmt::Display| {
            Failure::new(
                PullFailure::Busy,
                format!("the pod can't take it now: {why}"),
            )
        };
        let ice = IceCredentials::generate();
        let (home, codecs) = {
            let state = self.admit(room, Some(uid)).map_err(|error| busy(&error))?;
            (state.home(room), state.publish_rules(room).codecs)
        };
        let local = self.local_description(&ice, home);
        let made = server.offer(offer_pull(&codecs, &local), &codecs).await?;
        let id = self.add_pulled(room, uid, ice, &made);
        match id {
            Ok(id) => {
                tracing::info!(room = %room, session = %id.for_logs(), server = server.host(), "the show is pulled from another server");
                Ok((id, made))
            }
            Err(error) => {
                server.leave(&made).await;
                Err(busy(&error))
            }
        }
    }

    fn add_pulled(
        &self,
        room: &RoomName,
        uid: &RoomUid,
        ice: IceCredentials,
        made: &Made,
    ) -> Result<SessionId, JoinError> {
        let mut state = self.admit(room, Some(uid))?;
        let publishing = made.pulling.publishing.clone();
        let candidates = made.pulling.candidates.clone();
        let carries = |publishing| Carries::Pull(publishing, candidates);
        let server = Newcomer::publisher(Client::default(), ice, publishing, carries);
        let home = state.home(room);
        let (id, _) = self.add(&mut state, room, home, server)?;
        if let Some(show) = state.pulled.0.get_mut(room) {
            show.session = Some(id.clone());
        }
        Ok(id)
    }

    /// Waits until a session is over, or is to be.
    async fn follow_pulled(
        &self,
        room: &RoomName,
        id: &SessionId,
        source: &PullSource,
        told: &mut watch::Receiver<Wish>,
    ) -> Over {
        let gone = || Over::Failed(Failure::new(PullFailure::Ended, "the show has ended there"));
        let (Some(mut ended), Some(mut watcher)) = (self.ended(id), self.watcher(room)) else {
            return gone();
        };
        // When it is given up.
        let mut until = Instant::now() + CONNECTS;
        let mut is_handed_over = false;
        let mut was_connected = false;
        loop {
            let heard = tokio::select! {
                reason = ended.wait_for(Option::is_some) => {
                    Heard::Ended(reason.ok().and_then(|reason| *reason))
                }
                changed = told.changed() => match changed {
                    Ok(()) => Heard::Told(told.borrow_and_update().clone()),
                    Err(_) => return Over::Stopped,
                },
                is_active = watcher.changed() => Heard::Changed(is_active),
                () = sleep_until(until) => Heard::Nothing,
            };
            match heard {
                Heard::Ended(reason) => {
                    return Over::Failed(failure_of(reason, was_connected));
                }
                // Only what is shown there is new: that counts from the next session on.
                Heard::Told(Wish::From(new)) if new.url == source.url => {
                    if std::mem::take(&mut is_handed_over) {
                        until = Instant::now() + SILENCE;
                    }
                }
                Heard::Told(Wish::From(_)) => return Over::Changed,
                Heard::Told(Wish::HandOver) => {
                    is_handed_over = true;
                    until = Instant::now() + HANDOVER;
                }
                Heard::Changed(is_active) => {
                    let state = self.state();
                    was_connected |= state.is_connected(id);
                    if is_handed_over && state.comes_from_a_host(room) {
                        return Over::Changed;
                    }
                    if !is_handed_over && is_active == Some(false) {
                        until = Instant::now() + SILENCE;
                    }
                }
                Heard::Nothing if is_handed_over => return Over::Changed,
                Heard::Nothing if self.state().is_active(room) => {
                    until = Instant::now() + SILENCE;
                }
                Heard::Nothing => {
                    // It may have ended meanwhile.
                    let _ = self.end(id, EndReason::ConsentExpired).await;
                    return Over::Failed(failure_of(None, was_connected));
                }
            }
        }
    }

    fn watcher(&self, room: &RoomName) -> Option<Watcher> {
        let state = self.state();
        Some(Watcher {
            events: state.rooms.get(room)?.events.subscribe(),
            came: state.came.subscribe(),
        })
    }

    fn say_problem(&self, room: &RoomName, problem: PullProblem, rest: Duration) {
        tracing::warn!(room = %room, problem = problem.message, seconds = rest.as_secs_f32(), "the show can't be pulled; it is tried again");
        if let Some(show) = self.state().pulled.0.get_mut(room) {
            show.session = None;
            show.problem = Some(problem);
        }
    }

    /// A number between 0 and 1; 0 if the system has no randomness.
    fn any_share(&self) -> f64 {
        let number = self.ssrcs().ok().and_then(|mut numbers| numbers.next());
        number.map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX))
    }
}

/// How long a session takes to connect, or to fail by itself.
const CONNECTS: Duration = Duration::from_secs(20);

/// What happened while a session was there.
enum Heard {
    /// It is over.
    Ended(Option<EndReason>),
    /// The task is to do something else.
    Told(Wish),
    /// Something about the room: it went on or off air, if that is said.
    Changed(Option<bool>),
    /// The time is over.
    Nothing,
}

/// What tells of a room's changes.
struct Watcher {
    events: broadcast::Receiver<RoomEvent>,
    came: watch::Receiver<()>,
}

impl Watcher {
    /// Waits for any. What the room is now, if it went on or off air.
    async fn changed(&mut self) -> Option<bool> {
        tokio::select! {
            event = self.events.recv() => match event {
                Ok(RoomEvent::Active) => Some(true),
                Ok(RoomEvent::Inactive) => Some(false),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
                // The room is gone, and so is the session.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            },
            changed = self.came.changed() => match changed {
                Ok(()) => None,
                // It is as old as the node.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Show {
    fn tell(&self, wish: Wish) {
        if let Some(tell) = &self.tell {
            tell.send_if_modified(|told| {
                let is_other = *told != wish;
                *told = wish;
                is_other
            });
        }
    }
}

fn failure_of(reason: Option<EndReason>, was_connected: bool) -> Failure {
    let (failure, message) = match (reason, was_connected) {
        (Some(EndReason::Shutdown), _) => (PullFailure::Busy, "the pod is about to end"),
        (_, false) => (
            PullFailure::NoMedia,
            "the server takes the viewer, but no media connection to it comes up",
        ),
        (Some(EndReason::ClosedByPeer), true) => (PullFailure::Ended, "the server has ended it"),
        (_, true) => (PullFailure::Ended, "nothing comes from the server any more"),
    };
    Failure::new(failure, message)
}
