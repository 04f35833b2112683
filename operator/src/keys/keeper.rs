//! Keeps the keys' Secrets as they should be, and tells all parts of the operator what they are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::sync::{Notify, watch};

use super::material::{Control, Data, JWKS, KeyError, Tokens};
use super::{Keyring, Keys, Serving, ServingKeys, Source, source};
use crate::clock::now;
use crate::cluster::names::{MANAGER, annotation, label};
use crate::cluster::watch::{Watched, watch as watch_objects};
use crate::cluster::write::{Hand, WriteError};
use crate::metrics::Metrics;

/// How often all is looked at if nothing is heard.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Rest after something failed.
const REST: Duration = Duration::from_secs(2);

/// Keeps keys.
pub struct Keeper {
    hand: Hand,
    metrics: Metrics,
    namespace: String,
    name: String,
    secrets: Vec<Watched<Secret>>,
    config: Watched<ConfigMap>,
    changed: Arc<Notify>,
    control: Option<Control>,
    tokens: Option<Tokens>,
    keyring: watch::Sender<Option<Arc<Keyring>>>,
    /// The name that the metrics API is called by; none: it is not served.
    server_name: Option<String>,
    serving: watch::Sender<Option<Arc<Serving>>>,
}

const CONTROL: usize = 0;
const TOKENS: usize = 1;
const GATEWAY: usize = 2;
const SERVING: usize = 3;

impl Keeper {
    /// Keeps those of an installation; with a server's name that of its metrics API too. The futures are its watches, and
    /// must run.
    #[must_use]
    pub fn new(
        hand: Hand,
        metrics: Metrics,
        (namespace, name): (&str, &str),
        server_name: Option<String>,
    ) -> (Keeper, Keys, ServingKeys, Vec<BoxFuture<'static, ()>>) {
        let changed = Arc::new(Notify::new());
        let mut watches = Vec::new();
        let parts = ["control", "token-keys", "gateway"].into_iter();
        let parts = parts.chain(server_name.is_some().then_some("metrics-api"));
        let secrets = parts.map(|part| {
            let api = Api::namespaced(hand.client(), namespace);
            let only = watcher::Config::default().fields(&format!("metadata.name={name}-{part}"));
            let notify = Arc::clone(&changed);
            let (watched, run) =
                watch_objects(api, only, |_: &mut Secret| {}, move |_| notify.notify_one());
            watches.push(run.boxed());
            watched
        });
        let secrets = secrets.collect();
        let api = Api::namespaced(hand.client(), namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={name}-gateway"));
        let notify = Arc::clone(&changed);
        let (config, run) = watch_objects(
            api,
            only,
            |_: &mut ConfigMap| {},
            move |_| notify.notify_one(),
        );
        watches.push(run.boxed());
        let (keyring, keys) = watch::channel(None);
        let (serving, serving_keys) = watch::channel(None);
        let keeper = Keeper {
            hand,
            metrics,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            secrets,
            config,
            changed,
            control: None,
            tokens: None,
            keyring,
            server_name,
            serving,
        };
        (keeper, keys, serving_keys, watches)
    }

    /// Keeps them, for ever.
    pub async fn run(mut self) {
        for secret in &self.secrets {
            secret.completed().await;
        }
        self.config.completed().await;
        loop {
            let kept = match self.keep().await {
                Ok(()) => self.keep_serving(now()).await,
                failed => failed,
            };
            let rest = match kept {
                Ok(()) => LOOK_EVERY,
                // One that stands by waits for what the leader makes.
                Err(Failed::Write(WriteError::NotLeader)) => REST,
                Err(error) => {
                    tracing::warn!("the keys' Secrets can't be kept: {error}");
                    REST
                }
            };
            let _ = tokio::time::timeout(rest, self.changed.notified()).await;
        }
    }

    async fn keep(&mut self) -> Result<(), Failed> {
        let now = now();
        let control = self.settle_control(now).await?;
        let tokens = self.settle_tokens().await?;
        let is_new =
            self.control.as_ref() != Some(&control) || self.tokens.as_ref() != Some(&tokens);
        if is_new || self.keyring.borrow().is_none() {
            let keyring = Keyring::new(&control, &tokens)?;
            self.keyring.send_replace(Some(Arc::new(keyring)));
            (self.control, self.tokens) = (Some(control.clone()), Some(tokens.clone()));
            tracing::info!("keys are in use");
        }
        if !self.hand.may_write() {
            return Ok(());
        }
        if control.is_due(now) {
            let renewed = control.renewed(now)?;
            tracing::info!("the pods' certificate is made anew");
            return self
                .put("control", renewed.to_data(), renewed.renew_at)
                .await;
        }
        self.publish(&control, &tokens).await
    }

    /// The metrics API's certificate.
    async fn keep_serving(&self, now: u64) -> Result<(), Failed> {
        let Some(name) = &self.server_name else {
            return Ok(());
        };
        let secret = self.secret(SERVING, "metrics-api");
        let read = secret.map(|secret| {
            Serving::read(&secret.data.clone().unwrap_or_default(), renew_at(&secret))
        });
        let memory = self.serving.borrow().as_deref().cloned();
        let serving = self
            .settle(
                "metrics-api",
                read,
                memory,
                || Serving::make(name, now),
                |serving| (serving.to_data(), serving.renew_at),
            )
            .await?;
        let is_due = serving.is_due(now);
        self.serving.send_if_modified(|known| {
            let is_new = known.as_deref() != Some(&serving);
            if is_new {
                *known = Some(Arc::new(serving.clone()));
            }
            is_new
        });
        if is_due && self.hand.may_write() {
            let renewed = serving.renewed(name, now)?;
            tracing::info!("the metrics API's certificate is made anew");
            self.put("metrics-api", renewed.to_data(), renewed.renew_at)
                .await?;
        }
        Ok(())
    }

    async fn settle_control(&self, now: u64) -> Result<Control, Failed> {
        let secret = self.secret(CONTROL, "control");
        let read = secret.map(|secret| {
            Control::read(&secret.data.clone().unwrap_or_default(), renew_at(&secret))
        });
        self.settle(
            "control",
            read,
            self.control.clone(),
            || Control::make(now),
            |control| (control.to_data(), control.renew_at),
        )
        .await
    }

    async fn settle_tokens(&self) -> Result<Tokens, Failed> {
        let secret = self.secret(TOKENS, "token-keys");
        let read = secret.map(|secret| Tokens::read(&secret.data.clone().unwrap_or_default()));
        self.settle(
            "token-keys",
            read,
            self.tokens.clone(),
            Tokens::make,
            |tokens| (tokens.to_data(), None),
        )
        .await
    }

    async fn settle<T>(
        &self,
        part: &'static str,
        read: Option<Result<T, KeyError>>,
        memory: Option<T>,
        make: impl FnOnce() -> Result<T, KeyError>,
        contents: impl FnOnce(&T) -> (Data, Option<u64>),
    ) -> Result<T, Failed> {
        let source = source(read.as_ref().map(Result::is_ok), memory.is_some());
        let refused = read.as_ref().and_then(|read| read.as_ref().err());
        if let Some(error) = refused {
            self.metrics.keys_refused();
            tracing::warn!(
                "the Secret {}-{part} is not used until it is mended: {error}",
                self.name
            );
        }
        match (source, read, memory) {
            (Source::Secret, Some(Ok(keys)), _) | (Source::MemoryUntilMended, _, Some(keys)) => {
                Ok(keys)
            }
            (Source::Memory, _, Some(keys)) => {
                let (data, renew_at) = contents(&keys);
                match self.create(part, data, renew_at).await {
                    Ok(()) => tracing::warn!(
                        "the Secret {}-{part} was gone and is written again",
                        self.name
                    ),
                    Err(Failed::Write(WriteError::NotLeader)) => {}
                    Err(error) => return Err(error),
                }
                Ok(keys)
            }
            (Source::New, ..) => {
                if !self.hand.may_write() {
                    return Err(WriteError::NotLeader.into());
                }
                let keys = make()?;
                let (data, renew_at) = contents(&keys);
                self.create(part, data, renew_at).await?;
                tracing::info!("the Secret {}-{part} is made", self.name);
                Ok(keys)
            }
            _ => Err(KeyError::Unusable("the Secret", "see the line before".to_owned()).into()),
        }
    }

    /// What follows from the keys: what the gateway reads.
    async fn publish(&self, control: &Control, tokens: &Tokens) -> Result<(), Failed> {
        let gateway = control.for_gateway();
        let there = self.secret(GATEWAY, "gateway");
        if there.and_then(|secret| secret.data.clone()).as_ref() != Some(&gateway) {
            self.put("gateway", gateway, None).await?;
        }
        let name = self.named("gateway");
        let jwks = [(JWKS.to_owned(), tokens.jwks()?)].into();
        let there = self.config.get(Some(&self.namespace), &name);
        if there.and_then(|config| config.data.clone()).as_ref() != Some(&jwks) {
            let config = ConfigMap {
                metadata: self.meta("gateway", None),
                data: Some(jwks),
                ..ConfigMap::default()
            };
            let api: Api<ConfigMap> = Api::namespaced(self.hand.client(), &self.namespace);
            let params = PatchParams::apply(MANAGER).force();
            self.hand
                .write(
                    "configmaps",
                    api.patch(&name, &params, &Patch::Apply(&config)),
                )
                .await?;
        }
        Ok(())
    }

    /// Makes a Secret, and never writes over one that is there.
    async fn create(&self, part: &str, data: Data, renew_at: Option<u64>) -> Result<(), Failed> {
        let api: Api<Secret> = Api::namespaced(self.hand.client(), &self.namespace);
        let secret = self.make(part, data, renew_at);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.hand
            .write("secrets", api.create(&params, &secret))
            .await?;
        Ok(())
    }

    async fn put(&self, part: &str, data: Data, renew_at: Option<u64>) -> Result<(), Failed> {
        let api: Api<Secret> = Api::namespaced(self.hand.client(), &self.namespace);
        let secret = self.make(part, data, renew_at);
        let params = PatchParams::apply(MANAGER).force();
        let name = self.named(part);
        self.hand
            .write("secrets", api.patch(&name, &params, &Patch::Apply(&secret)))
            .await?;
        Ok(())
    }

    fn make(&self, part: &str, data: Data, renew_at: Option<u64>) -> Secret {
        Secret {
            metadata: self.meta(part, renew_at),
            data: Some(data),
            ..Secret::default()
        }
    }

    fn meta(&self, part: &str, renew_at: Option<u64>) -> ObjectMeta {
        let labels = [
            (label::NAME, label::SHOWRUNNER),
            (label::MANAGED_BY, MANAGER),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        ObjectMeta {
            name: Some(self.named(part)),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels.into()),
            annotations: renew_at
                .map(|at| [(annotation::RENEW_AT.to_owned(), at.to_string())].into()),
            ..ObjectMeta::default()
        }
    }

    fn secret(&self, which: usize, part: &str) -> Option<Arc<Secret>> {
        let secrets = self.secrets.get(which)?;
        secrets.get(Some(&self.namespace), &self.named(part))
    }

    fn named(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }
}

fn renew_at(secret: &Secret) -> Option<u64> {
    let at = secret.annotations().get(annotation::RENEW_AT)?;
    at.parse().ok()
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("{0}")]
    Keys(#[from] KeyError),
}
