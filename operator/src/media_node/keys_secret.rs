//! The Secret that pods have their keys from. Pure.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use showrunner_crds::MediaNode;

use crate::cluster::names::{MANAGER, PODS_SECRET, label};
use crate::keys::Control;

/// How often it is written again, in case somebody deleted it.
pub const REFRESH_EVERY: Duration = Duration::from_secs(60);

/// The Secret of a namespace: it goes with the last of the sites there.
#[must_use]
pub fn secret(namespace: &str, control: &Control, sites: &[Arc<MediaNode>]) -> Secret {
    let labels = [
        (label::NAME, label::SHOWRUNNER),
        (label::MANAGED_BY, MANAGER),
    ];
    let owners = sites.iter().filter_map(|site| site.owner_ref(&()));
    Secret {
        metadata: ObjectMeta {
            name: Some(PODS_SECRET.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            owner_references: Some(owners.collect()),
            ..ObjectMeta::default()
        },
        data: Some(control.for_pods()),
        ..Secret::default()
    }
}
