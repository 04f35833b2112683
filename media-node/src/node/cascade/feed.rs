//! A pod asks for a room of this one.

use showrunner_protocol::control::{LinkAnswer, LinkEnd, LinkOffer};
use showrunner_protocol::room::RoomUid;
use showrunner_sdp::CandidateTransport;
use showrunner_transport::{Fingerprint, IceCredentials};
use tokio::sync::watch;

use super::note::Up;
use super::{End, Link};
use crate::node::Node;
use crate::node::joining::Connection;
use crate::node::state::State;
use crate::room::RoomName;
use crate::shard::message::{Carries, SessionNumber};

/// The most pods that take one room from this one: no tree has a larger fan-out.
const MAX_FEEDS: u32 = 64;

/// Why there is no link.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LinkError {
    /// The room is not here (404).
    #[error("this node does not have the room")]
    NoSuchRoom,
    /// It would take the room from itself (409).
    #[error("a pod can't take a room from itself")]
    Loop,
    /// What the other end says of itself makes no sense (400).
    #[error("{0}")]
    Invalid(&'static str),
    /// Too many pods take the room from this one, or its shard is behind (503).
    #[error("{0}")]
    Overloaded(&'static str),
}

/// One end of a link that is to be.
pub(super) struct Ends {
    connection: Connection,
    /// The process at the other end.
    peer: String,
}

impl Ends {
    /// What the other end says of itself, and what this one does.
    pub(super) fn new(local: IceCredentials, remote: LinkEnd) -> Result<Ends, LinkError> {
        let invalid = LinkError::Invalid("these are no ICE credentials or no fingerprint");
        let fingerprint: Fingerprint = remote.fingerprint.parse().map_err(|_| invalid.clone())?;
        let ice = showrunner_sdp::IceParameters::new(&remote.ufrag, &remote.pwd).ok_or(invalid)?;
        let connection = Connection {
            local,
            remote: IceCredentials {
                ufrag: ice.ufrag,
                pwd: ice.pwd,
            },
            fingerprint,
        };
        Ok(Ends {
            connection,
            peer: remote.process,
        })
    }
}

impl Node {
    /// Lets another pod take a room from here. A pod that drains does as well: its rooms are to go there.
    ///
    /// # Errors
    /// Why not.
    pub fn feed(
        &self,
        room: &RoomName,
        uid: &RoomUid,
        offer: LinkOffer,
    ) -> Result<LinkAnswer, LinkError> {
        let local = IceCredentials::generate();
        if offer.end.process == *self.0.process {
            return Err(LinkError::Loop);
        }
        let ends = Ends::new(local.clone(), offer.end)?;
        let mut state = self.state();
        if !state.takes(room, Some(uid)) || state.rooms.get(room).is_some_and(|r| r.closing) {
            return Err(LinkError::NoSuchRoom);
        }
        if state.edges(room) >= MAX_FEEDS {
            let full = "as many pods take the room from here as may";
            return Err(LinkError::Overloaded(full));
        }
        let end = End::Feed(Up::default());
        let (number, home, _) = self.link(&mut state, room, ends, end, Carries::Feed)?;
        tracing::info!(room = %room, number = number.0, "a pod takes the room from here");
        let bound = self.0.parts.shards.get(home).map_or(0, |(_, port)| *port);
        let public = self.candidates(home).into_iter();
        Ok(LinkAnswer {
            end: self.link_end(local),
            port: bound,
            candidates: public
                .filter(|candidate| candidate.transport == CandidateTransport::Udp)
                .map(|candidate| candidate.addr)
                .collect(),
        })
    }

    /// This end of a link.
    pub(super) fn link_end(&self, local: IceCredentials) -> LinkEnd {
        LinkEnd {
            ufrag: local.ufrag,
            pwd: local.pwd,
            fingerprint: self.0.parts.fingerprint.to_string(),
            process: self.0.process.to_string(),
        }
    }

    /// Hands a link to the home shard of its room, and remembers it: its number, the shard, and what tells when it ends.
    pub(super) fn link(
        &self,
        state: &mut State,
        room: &RoomName,
        ends: Ends,
        end: End,
        carries: Carries,
    ) -> Result<(SessionNumber, usize, watch::Receiver<bool>), LinkError> {
        let home = state.home(room);
        let log_id = |number: SessionNumber| format!("link {}", number.0).into();
        let number = self
            .hand_over(state, room, home, ends.connection, carries, log_id)
            .ok_or(LinkError::Overloaded(
                "the shard is too busy to take the link",
            ))?;
        if let Some(room) = state.rooms.get_mut(room) {
            room.links += 1;
        }
        let ended = watch::Sender::new(false);
        let tells = ended.subscribe();
        let link = Link {
            room: room.clone(),
            shard: home,
            peer: ends.peer,
            is_up: false,
            end,
            said: None,
            ended,
        };
        state.links.insert(number, link);
        Ok((number, home, tells))
    }
}
