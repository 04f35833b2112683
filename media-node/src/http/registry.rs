//! What HTTP remembers of a session beside the node: its ICE session and its event streams.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use showrunner_sdp::fragment::Tagged;
use showrunner_sdp::{IceParameters, MediaKind, Offer};

use super::events::Streams;
use crate::node::{Node, RoomEvent, SessionId};

/// The sessions that have a resource.
#[derive(Clone, Default)]
pub(super) struct Registry(Arc<Mutex<HashMap<SessionId, Arc<Entry>>>>);

/// One session.
pub(super) struct Entry {
    /// Held over an ICE restart, so that PATCHes of one session don't overtake one another.
    pub(super) ice: tokio::sync::Mutex<IceSession>,
    /// The m-section that its fragments are about.
    pub(super) tagged: Tagged,
    /// Which m-section of its offer is the video.
    pub(super) video_index: Option<usize>,
    /// A host has been on air while it existed.
    pub(super) seen_active: AtomicBool,
    /// Its event streams.
    pub(super) streams: Mutex<Streams>,
}

/// One ICE session: between two restarts.
pub(super) struct IceSession {
    /// Names it.
    pub(super) etag: EntityTag,
    /// The client's credentials.
    pub(super) remote: IceParameters,
}

/// A strong entity-tag (RFC 9110 §8.8.3) that no other ICE session has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntityTag(String);

impl EntityTag {
    /// A tag from 96 random bits; none if the system has no randomness.
    pub(super) fn unique() -> Option<EntityTag> {
        let mut bytes = [0; 12];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Some(EntityTag(format!("\"{}\"", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// As a header has it, with its quotes.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.as_str()).ok()
    }
}

impl Registry {
    /// Remembers a new session until it ends.
    pub(super) fn add(&self, node: &Node, id: &SessionId, offer: &Offer, etag: EntityTag) {
        let Some(mut ended) = node.ended(id) else {
            return;
        };
        let is_active = node
            .events(id)
            .is_ok_and(|(now, _)| now.contains(&RoomEvent::Active));
        let entry = Entry {
            ice: tokio::sync::Mutex::new(IceSession {
                etag,
                remote: offer.remote().ice.clone(),
            }),
            tagged: Tagged::of(offer),
            video_index: offer.index_of(MediaKind::Video),
            seen_active: AtomicBool::new(is_active),
            streams: Mutex::default(),
        };
        self.entries().insert(id.clone(), Arc::new(entry));
        let (registry, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            // An error means that the session is gone without a word, which is over all the same.
            let _ = ended.wait_for(Option::is_some).await;
            registry.entries().remove(&id);
        });
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<Arc<Entry>> {
        self.entries().get(id).cloned()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(super) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a host is on air.
    pub(super) fn saw_active(&self) {
        self.seen_active.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_seen_active(&self) -> bool {
        self.seen_active.load(Ordering::Relaxed)
    }
}
