//! Takes the rooms that this pod is an edge of from their sources, and does so again when a link breaks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use showrunner_door::pods::PodRequest;
use showrunner_protocol::control::{
    LinkAnswer, LinkOffer, MAX_REQUEST, PodRole, RelaySource, links_path,
};
use showrunner_protocol::room::RoomUid;
use showrunner_protocol::token::RelayGrant;
use showrunner_transport::IceCredentials;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::End;
use super::feed::Ends;
use crate::clock::unix_seconds;
use crate::node::Node;
use crate::node::state::State;
use crate::room::RoomName;
use crate::shard::message::Carries;

/// Rest before a link is asked for again; doubles each time up to the longest.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(2);
/// A link that lasted this long was none that fails at once: the next rest is the first again.
const LASTED: Duration = Duration::from_secs(5);
/// How long the source may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The rooms that are taken from other pods, and what tells their tasks from where; none: from nowhere any more, but
/// what there is stays.
#[derive(Default)]
pub(in crate::node) struct Pulls(HashMap<RoomName, watch::Sender<Option<RelaySource>>>);

impl Pulls {
    /// Takes a room no more.
    pub(in crate::node) fn stop(&mut self, name: &RoomName) {
        self.0.remove(name);
    }
}

/// Why a source gives no link.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("this node has no authority's certificate to know other pods by")]
    NoPeers,
    #[error("there is no randomness")]
    NoRandomness,
    #[error("{0}")]
    Unreachable(String),
    #[error("it answers {0}")]
    Refused(StatusCode),
    #[error("its answer makes no sense")]
    Answer,
    #[error("{0}")]
    Here(#[from] super::LinkError),
    #[error("the room has gone")]
    Gone,
}

impl Node {
    /// Sees to it that a room comes from where its assignment says.
    pub(in crate::node) fn follow_assignment(&self, state: &mut State, name: &RoomName) {
        let assignment = state.assigned.as_ref().and_then(|rooms| rooms.get(name));
        let Some(assignment) = assignment else {
            state.pulls.stop(name);
            return;
        };
        let uid = assignment.uid.clone();
        let source = match &assignment.role {
            PodRole::Origin => None,
            PodRole::Edge { source } => Some(source.clone()),
        };
        match (state.pulls.0.get(name), source) {
            (Some(pull), source) => {
                pull.send_if_modified(|told| {
                    let is_other = *told != source;
                    *told = source;
                    is_other
                });
            }
            (None, Some(source)) => {
                let (tell, told) = watch::channel(Some(source));
                state.pulls.0.insert(name.clone(), tell);
                tokio::spawn(self.clone().pull(name.clone(), uid, told));
            }
            (None, None) => {}
        }
        state.look_at_links(name);
    }

    /// Takes a room from its source, whichever that is, until the room is no longer this pod's.
    async fn pull(
        self,
        room: RoomName,
        uid: RoomUid,
        mut told: watch::Receiver<Option<RelaySource>>,
    ) {
        let mut rest = FIRST_REST;
        loop {
            let source = told.borrow_and_update().clone();
            let Some(source) = source else {
                if told.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let began = tokio::time::Instant::now();
            let over = async {
                match self.take(&room, &uid, &source).await {
                    Ok(mut ended) => {
                        // The sender goes with the link.
                        let _ = ended.wait_for(|ended| *ended).await;
                    }
                    Err(error) => {
                        tracing::warn!(room = %room, source = %source.address, %error, "the room can't be taken from its source");
                    }
                }
                if began.elapsed() > LASTED {
                    rest = FIRST_REST;
                }
                sleep(rest).await;
                rest = (rest * 2).min(LONGEST_REST);
            };
            tokio::select! {
                () = over => {}
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    rest = FIRST_REST;
                }
            }
        }
    }

    /// Asks a source for a link. What comes back tells when it is over.
    async fn take(
        &self,
        room: &RoomName,
        uid: &RoomUid,
        source: &RelaySource,
    ) -> Result<watch::Receiver<bool>, PullError> {
        let local = IceCredentials::generate();
        let offer = LinkOffer {
            end: self.link_end(local.clone()),
        };
        let answer = timeout(PATIENCE, self.offer(room, uid, source.address, &offer));
        let answer = answer
            .await
            .unwrap_or_else(|_| Err(PullError::Unreachable("it takes too long".to_owned())))?;
        let next_door = SocketAddr::new(source.address.ip(), answer.port);
        let mut candidates = vec![next_door];
        candidates.extend(answer.candidates.iter().filter(|one| **one != next_door));
        candidates.truncate(MAX_CANDIDATES);
        let ends = Ends::new(local, answer.end)?;
        let mut state = self.state();
        if !state.takes(room, Some(uid)) || state.rooms.get(room).is_some_and(|r| r.closing) {
            return Err(PullError::Gone);
        }
        let end = End::Take {
            source: source.clone(),
            down: None,
            is_live: false,
            is_ending: false,
        };
        let (number, _, ended) =
            self.link(&mut state, room, ends, end, Carries::Take(candidates))?;
        tracing::info!(room = %room, number = number.0, source = %source.address, "the room is taken from another pod");
        Ok(ended)
    }

    async fn offer(
        &self,
        room: &RoomName,
        uid: &RoomUid,
        source: SocketAddr,
        offer: &LinkOffer,
    ) -> Result<LinkAnswer, PullError> {
        let peers = self.0.peers.get().ok_or(PullError::NoPeers)?;
        let relay = RelayGrant {
            room: room.clone(),
            uid: uid.clone(),
        };
        let credential = peers.keys.get().sign_relay(&relay, unix_seconds());
        let credential = credential.ok_or(PullError::NoRandomness)?;
        let credential = HeaderValue::try_from(format!("Bearer {credential}"));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, credential.map_err(|_| PullError::Answer)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = PodRequest {
            method: Method::POST,
            path: links_path(room),
            headers,
            body: serde_json::to_vec(offer)
                .map_err(|_| PullError::Answer)?
                .into(),
        };
        let answer = peers.pods.get().call(source, &request).await;
        let answer = answer.map_err(|error| PullError::Unreachable(error.to_string()))?;
        if answer.status() != StatusCode::CREATED {
            return Err(PullError::Refused(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_REQUEST)
            .collect()
            .await;
        let body = body.map_err(|error| PullError::Unreachable(error.to_string()))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|_| PullError::Answer)
    }
}

/// The most addresses that one source is looked for at.
const MAX_CANDIDATES: usize = 8;
