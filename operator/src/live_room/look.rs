//! How pods are, as far as rooms mind. Pure.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;

use super::desired::State;
use crate::pods::sight::Sight;
use crate::pods::{self, address, is_leaving, is_ready};

/// Where a pod is in its life, by the API server and by what it says itself.
#[must_use]
pub fn state(pod: Option<&Pod>, sight: Option<&Sight>, now: Instant) -> State {
    let Some(pod) = pod.filter(|pod| !pods::is_ended(pod)) else {
        return State::Gone;
    };
    let is_being_deleted = pod.metadata.deletion_timestamp.is_some();
    // One that has an address and was not asked yet may well answer.
    let was_asked = sight.is_some() || address(pod).is_none();
    let is_lost = sight.is_none_or(|sight| sight.is_lost(now));
    let drains = sight.and_then(|sight| sight.status.as_ref());
    let drains = drains.is_some_and(|status| status.draining);
    // One that its kubelet finds ready may only be cut off from us for a moment.
    let is_confirmed =
        is_being_deleted || !is_ready(pod) || sight.is_some_and(|sight| sight.is_dead(now));
    if is_lost && was_asked && is_confirmed {
        State::Lost
    } else if is_leaving(pod) || drains {
        State::Leaving
    } else {
        State::Serving
    }
}

/// Whether its program has ended.
#[must_use]
pub fn is_gone(pod: Option<&Pod>, sight: Option<&Sight>, now: Instant) -> bool {
    pod.is_none_or(pods::is_ended) || sight.is_some_and(|sight| sight.is_gone(now))
}

/// Whether a pod takes rooms that it does not have.
#[must_use]
pub fn is_open(pod: &Pod, sight: Option<&Sight>) -> bool {
    let answers = sight.filter(|sight| sight.answers());
    let status = answers.and_then(|sight| sight.status.as_ref());
    is_ready(pod)
        && !is_leaving(pod)
        && status.is_some_and(|status| status.ready && !status.draining)
}
