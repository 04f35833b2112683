//! Tells the API server by which authority it knows this one: the `caBundle` of the chart's APIServices, which the chart
//! can't know.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::Notify;

use crate::cluster::names::MANAGER;
use crate::cluster::watch::Watched;
use crate::cluster::write::Hand;
use crate::keys::ServingKeys;

/// Rest after something failed, or as long as another replica may write it.
const REST: Duration = Duration::from_secs(2);

/// Keeps them.
pub struct Registration {
    /// Writes while this replica leads.
    pub hand: Hand,
    /// The authority.
    pub serving: ServingKeys,
    /// The APIServices, whoever serves them.
    pub services: Vec<Watched<APIService>>,
    /// Rung when one of them changes.
    pub changed: Arc<Notify>,
    /// Namespace and name of the Service that leads here.
    pub own: (String, String),
}

impl Registration {
    /// Keeps them, for ever.
    pub async fn run(mut self) {
        loop {
            let is_done = self.keep().await;
            let changed = async {
                tokio::select! {
                    () = self.changed.notified() => {}
                    Ok(()) = self.serving.changed() => {}
                }
            };
            if is_done {
                changed.await;
            } else {
                let _ = tokio::time::timeout(REST, changed).await;
            }
        }
    }

    /// Whether all are as they should be.
    async fn keep(&mut self) -> bool {
        let Some(serving) = self.serving.borrow_and_update().clone() else {
            return false;
        };
        let authority = ByteString(serving.ca_certificate.clone().into_bytes());
        let mut is_done = true;
        for service in self.services.iter().flat_map(Watched::all) {
            if !is_due(&service, &self.own, &authority) {
                continue;
            }
            is_done = false;
            if self.hand.may_write() {
                self.put(&service.name_any(), &authority).await;
            }
        }
        is_done
    }

    async fn put(&self, name: &str, authority: &ByteString) {
        let api: Api<APIService> = Api::all(self.hand.client());
        let patch = json!({"spec": {"caBundle": authority}});
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        let written = self
            .hand
            .write("apiservices", api.patch(name, &params, &patch))
            .await;
        match written {
            Ok(_) => tracing::info!("the API server knows the authority of {name}"),
            Err(error) => tracing::warn!("the APIService {name} can't be written: {error}"),
        }
    }
}

/// Whether one that leads here is to be told of the authority. One of somebody else is left alone.
fn is_due(
    service: &APIService,
    (namespace, name): &(String, String),
    authority: &ByteString,
) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    let leads_here = spec.service.as_ref().is_some_and(|to| {
        to.namespace.as_ref() == Some(namespace) && to.name.as_ref() == Some(name)
    });
    leads_here && spec.ca_bundle.as_ref() != Some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_are_written_and_only_if_they_are_other() {
        let own = ("live".to_owned(), "showrunner-metrics-api".to_owned());
        let authority = ByteString(b"pem".to_vec());
        let service = |name: &str, bundle: Option<&ByteString>| -> APIService {
            serde_json::from_value(json!({
                "metadata": {"name": "v1beta2.custom.metrics.k8s.io"},
                "spec": {"groupPriorityMinimum": 100, "versionPriority": 100, "caBundle": bundle,
                    "service": {"namespace": "live", "name": name}},
            }))
            .unwrap()
        };
        let other = ByteString(b"old".to_vec());
        assert!(is_due(
            &service("showrunner-metrics-api", None),
            &own,
            &authority
        ));
        assert!(is_due(
            &service("showrunner-metrics-api", Some(&other)),
            &own,
            &authority
        ));
        assert!(!is_due(
            &service("showrunner-metrics-api", Some(&authority)),
            &own,
            &authority
        ));
        assert!(!is_due(
            &service("prometheus-adapter", None),
            &own,
            &authority
        ));
    }
}
