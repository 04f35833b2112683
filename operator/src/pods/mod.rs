//! Media pods as they are themselves: what they are told ([`control`]), and what they say ([`poll`], [`sight`]).

pub mod control;
pub mod poll;
pub mod questions;
pub mod sight;
pub mod witness;

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::cluster::names::{POD_HTTPS_PORT, annotation, label};

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PodId {
    /// Of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> PodId {
        PodId {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
        }
    }
}

impl std::fmt::Display for PodId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A text is not `namespace/name`.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a pod is named namespace/name")]
pub struct InvalidPodId;

impl std::str::FromStr for PodId {
    type Err = InvalidPodId;

    fn from_str(text: &str) -> Result<PodId, InvalidPodId> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(PodId {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(InvalidPodId),
        }
    }
}

/// Where a pod is told its rooms; none if it has no address (yet, or any more).
#[must_use]
pub fn address(pod: &Pod) -> Option<SocketAddr> {
    if is_ended(pod) {
        return None;
    }
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, POD_HTTPS_PORT))
}

/// Whether its process has ended and nobody will start it again.
#[must_use]
pub fn is_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether the kubelet says that it answers.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|one| one.type_ == "Ready" && one.status == "True")
}

/// When a pod that is to go does so even with sessions on it, in seconds since 1970.
#[must_use]
pub fn drain_deadline(pod: &Pod) -> Option<u64> {
    pod.annotations()
        .get(annotation::DRAIN_DEADLINE)?
        .parse()
        .ok()
}

/// Whether it is to go, or going.
#[must_use]
pub fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || pod.annotations().contains_key(annotation::DRAIN_DEADLINE)
}

/// The name of its MediaNode.
#[must_use]
pub fn site_of(pod: &Pod) -> Option<&str> {
    pod.labels().get(label::MEDIA_NODE).map(String::as_str)
}
