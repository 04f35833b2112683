//! Where a room's show comes from: reads what its spec refers to, from time to time, since it is not watched. The
//! operator may get only what somebody in the room's namespace has allowed it to.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::{Metadata, NamespaceResourceScope};
use kube::Api;
use serde::de::DeserializeOwned;
use showrunner_crds::source::{KeyReference, Pull};
use showrunner_protocol::control::{HostSource, PullSource};

use super::{Rooms, Work};
use crate::live_room::pull::{self, Found, Source, Trouble};

/// How long what was read counts …
const FRESH: Duration = Duration::from_secs(60);
/// … and how long it does if it was of no use.
const FRESH_TROUBLE: Duration = Duration::from_secs(10);
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was read of a room's source.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// The spec that it is of.
    pull: Pull,
    generation: Option<i64>,
    /// When it is to be read again.
    pub(super) due: Instant,
    source: Option<PullSource>,
    pub(super) trouble: Option<Trouble>,
}

impl Rooms {
    /// Where a room's show comes from, as far as is known.
    pub(super) async fn source(&self, work: &Work<'_>) -> Source {
        let Some(pull) = pull::of(work.room) else {
            self.remember(&work.uid, |memory| memory.source = None);
            return Source::default();
        };
        let generation = work.room.metadata.generation;
        let known = self.remember(&work.uid, |memory| memory.source.clone());
        let known = known.filter(|read| read.pull == *pull);
        let is_fresh = |read: &Read| read.generation == generation && read.due > Instant::now();
        let read = match known {
            Some(read) if is_fresh(&read) => read,
            known => {
                let read = self
                    .read(work, pull, known.and_then(|read| read.source))
                    .await;
                self.remember(&work.uid, |memory| memory.source = Some(read.clone()));
                read
            }
        };
        Source {
            host: HostSource::Pull { from: read.source },
            trouble: read.trouble,
        }
    }

    /// What can't be read any more stays as it was.
    async fn read(&self, work: &Work<'_>, pull: &Pull, before: Option<PullSource>) -> Read {
        let found = async {
            let secret = self.get::<Secret>(work, pull.token_secret_ref.as_ref(), "Secret");
            let map = self.get::<ConfigMap>(work, pull.ca_config_map_ref.as_ref(), "ConfigMap");
            let (secret, config_map) = tokio::try_join!(secret, map)?;
            let found = Found { secret, config_map };
            let allow_insecure = self.world.config.pull_insecure;
            pull::source(work.room, pull, &found, allow_insecure)
        };
        let found = found.await;
        let fresh = if found.is_ok() { FRESH } else { FRESH_TROUBLE };
        let (source, trouble) = match found {
            Ok(source) => (Some(source), None),
            Err(trouble) => (before, Some(trouble)),
        };
        Read {
            pull: pull.clone(),
            generation: work.room.metadata.generation,
            due: Instant::now() + fresh,
            source,
            trouble,
        }
    }

    async fn get<K>(
        &self,
        work: &Work<'_>,
        reference: Option<&KeyReference>,
        kind: &str,
    ) -> Result<Option<K>, Trouble>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let Some(reference) = reference else {
            return Ok(None);
        };
        let api: Api<K> = Api::namespaced(self.world.hand.client(), work.name.namespace());
        let code = match tokio::time::timeout(PATIENCE, api.get(&reference.name)).await {
            Ok(Ok(found)) => return Ok(Some(found)),
            Ok(Err(kube::Error::Api(status))) => Some(status.code),
            Ok(Err(_)) | Err(_) => None,
        };
        Err(pull::unread(kind, reference, code))
    }
}
