//! Coming in: how an offer becomes a session that a shard carries.
//!
//! Whoever comes is admitted to the room, or told why not; what it offers is answered; and what comes of that, a
//! [`Newcomer`], is handed to a shard. Transcoders ([`super::ladder`]), shows of other servers ([`super::whep`]) and links
//! to other pods ([`super::cascade`]) come in by the same steps.

use std::sync::{Arc, MutexGuard};
use std::time::{Instant, SystemTime};

use aws_lc_rs::rand::SecureRandom;
use showrunner_protocol::room::RoomUid;
use showrunner_sdp::{
    Offer, Program, Publishing, RecvTrack, Remote, accept_publish, accept_watch, answer_publish,
    answer_watch,
};
use showrunner_transport::{Fingerprint, IceCredentials};
use tokio::sync::watch;

use super::Node;
use super::retention::Mark;
use super::session::{JoinError, Joined, Role, SessionId};
use super::state::{Session, State};
use crate::lived::agent::Client;
use crate::lived::record::Who;
use crate::metrics;
use crate::room::RoomName;
use crate::shard::message::{Carries, Command, NewSession, SessionNumber};

/// Sessions that wait for their peer; more joins than that at once are refused.
const MAX_CONNECTING: usize = 4096;

/// Both ends of a media connection.
pub(super) struct Connection {
    pub(super) local: IceCredentials,
    pub(super) remote: IceCredentials,
    pub(super) fingerprint: Fingerprint,
}

impl Connection {
    pub(super) fn new(local: IceCredentials, remote: &Remote) -> Self {
        Self {
            local,
            remote: IceCredentials {
                ufrag: remote.ice.ufrag.clone(),
                pwd: remote.ice.pwd.clone(),
            },
            fingerprint: Fingerprint(remote.fingerprint),
        }
    }
}

/// A session that is to be.
pub(super) struct Newcomer {
    pub(super) role: Role,
    pub(super) client: Client,
    /// The codecs that a publisher will be on air with.
    pub(super) publishes: Option<Program>,
    pub(super) connection: Connection,
    pub(super) carries: Carries,
}

impl Newcomer {
    /// Who is to be a room's host.
    pub(super) fn publisher(
        client: Client,
        local: IceCredentials,
        publishing: Publishing,
        carries: impl FnOnce(Publishing) -> Carries,
    ) -> Self {
        Self {
            role: Role::Publisher,
            client,
            publishes: Some(on_air(&publishing)),
            connection: Connection::new(local, &publishing.remote),
            carries: carries(publishing),
        }
    }
}

/// What viewers are offered of a publisher.
fn on_air(publishing: &Publishing) -> Program {
    let codec = |track: &Option<RecvTrack>| {
        let codec = track.as_ref()?.codecs.first()?;
        Some((codec.codec, codec.fmtp.clone()))
    };
    Program {
        audio: codec(&publishing.audio).map(|(codec, _)| codec),
        video: codec(&publishing.video),
    }
}

/// Counts who is not let in.
pub(super) fn refuse<T>(reason: &str, error: JoinError) -> Result<T, JoinError> {
    metrics::join_refused(reason);
    Err(error)
}

impl Node {
    /// Takes a host's offer.
    ///
    /// # Errors
    /// Why the host can't come in.
    pub async fn publish(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
        offer: &Offer,
        client: Client,
    ) -> Result<Joined, JoinError> {
        let mut state = self.admit_sender(room, uid)?;
        if state.is_pulled(room) {
            return refuse("pulled", JoinError::Pulled);
        }
        let publishing = accept_publish(offer, &state.publish_rules(room))
            .inspect_err(|_| metrics::join_refused("offer"))?;
        // A host whose media stopped may have lost its network: it can be replaced.
        let known = state.rooms.get(room);
        if known.is_some_and(|known| known.host.is_some() && known.active) {
            return refuse("occupied", JoinError::Occupied);
        }
        let shard = state.home(room);
        let ice = IceCredentials::generate();
        let answer = answer_publish(offer, &publishing, &self.local_description(&ice, shard));
        let host = Newcomer::publisher(client, ice, publishing, Carries::Publish);
        let (id, _) = self.add(&mut state, room, shard, host)?;
        tracing::info!(room = %room, session = %id.for_logs(), shard, "a host joins");
        Ok(Joined { id, answer })
    }

    /// Takes a viewer's offer. One that `transcodes` is to get the host's own picture.
    ///
    /// # Errors
    /// Why the viewer can't come in.
    pub async fn watch(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
        offer: &Offer,
        client: Client,
        transcodes: bool,
    ) -> Result<Joined, JoinError> {
        self.await_host(room).await;
        let mut state = self.admit(room, uid)?;
        if !state.has_place_for_viewer(room) {
            let full = "the room has all the viewers that it may have on this node";
            return refuse("room_full", JoinError::Overloaded(full));
        }
        let Some(on_air) = state.rooms.get(room).and_then(|known| known.on_air()) else {
            return match state.awaits_source(room) {
                true => refuse("edge", JoinError::NoSuchRoom),
                false => refuse("not_live", JoinError::NotLive),
            };
        };
        let mut ssrcs = self.ssrcs()?;
        let watching = accept_watch(offer, on_air, || ssrcs.next().unwrap_or_default())
            .inspect_err(|_| metrics::join_refused("offer"))?;
        let shard = state.least_loaded();
        let ice = IceCredentials::generate();
        let answer = answer_watch(offer, &watching, &self.local_description(&ice, shard));
        let viewer = Newcomer {
            role: Role::Viewer,
            client,
            publishes: None,
            connection: Connection::new(ice, &watching.remote),
            carries: Carries::Watch {
                watching,
                transcodes,
            },
        };
        let (id, _) = self.add(&mut state, room, shard, viewer)?;
        tracing::info!(room = %room, session = %id.for_logs(), shard, "a viewer joins");
        Ok(Joined { id, answer })
    }

    /// Whether there is room for one more in a room that is taken here.
    pub(super) fn admit(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
    ) -> Result<MutexGuard<'_, State>, JoinError> {
        let overloaded = |reason, text| refuse(reason, JoinError::Overloaded(text));
        // Who is let in before a drain is told of it with the others.
        let state = self.state();
        if self.is_leaving() {
            return overloaded(
                "draining",
                "the node takes no new sessions: it is about to end",
            );
        }
        if self.public().is_none() {
            return overloaded(
                "not_ready",
                "the node takes no sessions yet: it was not told how clients reach it",
            );
        }
        if !state.takes(room, uid) {
            return refuse("no_such_room", JoinError::NoSuchRoom);
        }
        if state.rooms.get(room).is_some_and(|r| r.closing) {
            return overloaded(
                "closing",
                "the room of that name before is still being closed",
            );
        }
        if state.leaving.contains_key(room) {
            return overloaded("leaving", "the room goes to another pod");
        }
        if state.sessions.len() >= self.0.parts.max_sessions {
            return overloaded("full", "the node has all the sessions that it may have");
        }
        if state.connecting >= MAX_CONNECTING {
            return overloaded("connecting", "too many sessions are being set up at once");
        }
        Ok(state)
    }

    /// Whether there is room for one who brings media: on the room's origin only.
    pub(super) fn admit_sender(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
    ) -> Result<MutexGuard<'_, State>, JoinError> {
        let state = self.admit(room, uid)?;
        if !state.takes_hosts(room) {
            return refuse("edge", JoinError::Edge);
        }
        Ok(state)
    }

    /// SSRCs for what is sent to one viewer.
    pub(super) fn ssrcs(&self) -> Result<impl Iterator<Item = u32> + use<>, JoinError> {
        let mut bytes = [0; 64];
        self.0
            .random
            .fill(&mut bytes)
            .map_err(|_| JoinError::Overloaded("the system has no randomness"))?;
        let numbers: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|c| c.iter().fold(0, |n, b| (n << 8) | u32::from(*b)))
            // 0 is legal but confuses clients; 1 is the SSRC of our feedback.
            .filter(|n| *n > 1)
            .collect();
        Ok(numbers.into_iter())
    }

    /// Has a shard carry a session, and remembers it.
    pub(super) fn add(
        &self,
        state: &mut State,
        room: &RoomName,
        shard: usize,
        newcomer: Newcomer,
    ) -> Result<(SessionId, SessionNumber), JoinError> {
        let overloaded = || JoinError::Overloaded("the node is too busy to take the session");
        let id = SessionId::generate(&self.0.random).ok_or_else(overloaded)?;
        let log_id = |_| id.for_logs();
        let Newcomer {
            role,
            client,
            publishes,
            connection,
            carries,
        } = newcomer;
        let Some(number) = self.hand_over(state, room, shard, connection, carries, log_id) else {
            return refuse("shard_busy", overloaded());
        };
        state.connecting += 1;
        if let Some(room) = state.rooms.get_mut(room) {
            room.sessions += 1;
        }
        state.numbers.insert(number, id.clone());
        state.sessions.insert(
            id.clone(),
            Session {
                number,
                who: Who {
                    id: id.clone(),
                    uid: state.uid(room),
                    room: room.clone(),
                    role,
                    client,
                    joined: SystemTime::now(),
                },
                joined: Instant::now(),
                shard,
                connected: None,
                publishes,
                first_stall: None,
                mark: Mark::default(),
                report: None,
                reports: 0,
                adaptation: watch::Sender::new(None),
                ended: watch::Sender::new(None),
            },
        );
        Ok((id, number))
    }

    /// Has a shard carry a session or a link of a room; its number. None if the shard is too busy.
    pub(super) fn hand_over(
        &self,
        state: &mut State,
        room: &RoomName,
        shard: usize,
        connection: Connection,
        carries: Carries,
        log_id: impl FnOnce(SessionNumber) -> Arc<str>,
    ) -> Option<SessionNumber> {
        let home = state.home(room);
        let program = state.program(room, home);
        let number = SessionNumber(state.next_number);
        let new = NewSession {
            number,
            log_id: log_id(number),
            program,
            home,
            max_lines: state.max_lines(room),
            local: connection.local,
            remote: connection.remote,
            fingerprint: connection.fingerprint,
            carries,
        };
        if self.command(shard, Command::Add(Box::new(new))).is_err() {
            state.drop_room_if_empty(room);
            return None;
        }
        state.next_number += 1;
        state.shard_load[shard] += 1;
        Some(number)
    }
}
