//! A room's transcoders: sessions that add smaller layers to the picture of its host, which somebody else encodes.

use std::sync::Arc;

use showrunner_protocol::room::RoomUid;
use showrunner_sdp::{Offer, accept_layers, answer_publish};
use showrunner_transport::IceCredentials;

use super::Node;
use super::joining::{Connection, Newcomer, refuse};
use super::session::{JoinError, Joined, Role};
use crate::lived::agent::Client;
use crate::media::ladder::{self, MAX_RUNGS};
use crate::metrics;
use crate::room::RoomName;
use crate::shard::message::{Carries, SessionNumber};

/// The transcoders of a room, connected or not.
#[derive(Default)]
pub(super) struct Ladder(Vec<Transcoder>);

struct Transcoder {
    number: SessionNumber,
    /// What tells its layers from those of the others.
    place: usize,
    /// How many layers it may send.
    layers: usize,
}

impl Ladder {
    /// The place of one more transcoder with so many layers, if they may be.
    fn place_for(&self, layers: usize) -> Option<usize> {
        let taken: usize = self.0.iter().map(|known| known.layers).sum();
        if taken + layers > MAX_RUNGS {
            return None;
        }
        let is_free = |place: &usize| self.0.iter().all(|known| known.place != *place);
        (1..=MAX_RUNGS).find(is_free)
    }

    /// A transcoder is gone.
    pub(super) fn leave(&mut self, number: SessionNumber) {
        self.0.retain(|known| known.number != number);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What the names of a transcoder's layers begin with.
    pub(super) fn prefix(&self, number: SessionNumber) -> Option<Arc<str>> {
        let known = self.0.iter().find(|known| known.number == number)?;
        Some(ladder::prefix(known.place))
    }
}

impl Node {
    /// Takes a transcoder's offer of further layers.
    ///
    /// # Errors
    /// Why it can't come in.
    pub async fn transcode(
        &self,
        room: &RoomName,
        uid: Option<&RoomUid>,
        offer: &Offer,
        client: Client,
    ) -> Result<Joined, JoinError> {
        let mut state = self.admit_sender(room, uid)?;
        let known = state.rooms.get(room);
        let Some((known, (host, on_air))) = known.and_then(|r| Some((r, r.host.as_ref()?))) else {
            return refuse("not_live", JoinError::NotLive);
        };
        let Some((codec, _)) = on_air.video else {
            return refuse("not_live", JoinError::NoPicture);
        };
        let publishing =
            accept_layers(offer, codec).inspect_err(|_| metrics::join_refused("offer"))?;
        let rids = publishing
            .video
            .as_ref()
            .map_or(0, |video| video.rids.len());
        let layers = rids.max(1);
        let Some(place) = known.ladder.place_for(layers) else {
            return refuse("occupied", JoinError::LadderFull);
        };
        let (shard, host) = (known.home, *host);
        let ice = IceCredentials::generate();
        let answer = answer_publish(offer, &publishing, &self.local_description(&ice, shard));
        let transcoder = Newcomer {
            role: Role::Transcoder,
            client,
            publishes: None,
            connection: Connection::new(ice, &publishing.remote),
            carries: Carries::AddLayers {
                publishing,
                prefix: ladder::prefix(place),
                host,
            },
        };
        let (id, number) = self.add(&mut state, room, shard, transcoder)?;
        if let Some(known) = state.rooms.get_mut(room) {
            known.ladder.0.push(Transcoder {
                number,
                place,
                layers,
            });
        }
        tracing::info!(room = %room, session = %id.for_logs(), shard, layers, "a transcoder joins");
        Ok(Joined { id, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rooms_transcoders_have_so_many_layers_together() {
        let mut ladder = Ladder::default();
        let join = |ladder: &mut Ladder, number, layers| {
            let place = ladder.place_for(layers)?;
            let number = SessionNumber(number);
            ladder.0.push(Transcoder {
                number,
                place,
                layers,
            });
            ladder.prefix(number).map(|prefix| prefix.to_string())
        };
        assert_eq!(join(&mut ladder, 10, 1).as_deref(), Some("t.1"));
        assert_eq!(join(&mut ladder, 11, 2).as_deref(), Some("t.2"));
        assert_eq!(join(&mut ladder, 12, 2), None);
        ladder.leave(SessionNumber(10));
        assert_eq!(join(&mut ladder, 13, 2).as_deref(), Some("t.1"));
        assert_eq!(ladder.len(), 2);
    }
}
