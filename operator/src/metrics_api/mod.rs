//! The metrics of pods, sites and rooms for autoscalers of the cluster: an aggregated API server for
//! `custom.metrics.k8s.io` and `external.metrics.k8s.io`.
//!
//! Every replica of the operator asks all pods how they are each second, so every replica answers: a horizontal
//! autoscaler goes on when the leader goes. Only the leader writes, and all that is written is the authority of the
//! certificate ([`registration`]).
//!
//! A request goes through [`front_proxy`] and [`review`] (who asks, and may they), [`request`] (what for), and becomes a
//! value in [`population`] and [`reading`], which are pure.

pub mod answer;
pub mod catalog;
pub mod discovery;
pub mod front_proxy;
pub mod memory;
pub mod population;
pub mod quantity;
pub mod reading;
pub mod refusal;
pub mod registration;
pub mod request;
pub mod review;
pub mod selector;
pub mod serve;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, future};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::runtime::watcher;
use kube::{Api, Client};
use showrunner_door::{Door, Tls};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use self::catalog::{CUSTOM, EXTERNAL};
use self::front_proxy::FrontProxy;
use self::registration::Registration;
use self::review::Reviews;
use self::serve::Server;
use crate::cluster::watch::watch as watch_objects;
use crate::keys::ServingKeys;
use crate::world::World;

/// The API server keeps few connections; others may come directly, with a token.
const MAX_CONNECTIONS: usize = 256;
/// How long open requests may take when the operator ends.
const GRACE: Duration = Duration::from_secs(2);

/// The name of the Service that leads here, of an installation.
#[must_use]
pub fn service_name(installation: &str) -> String {
    format!("{installation}-metrics-api")
}

/// The name that the API server calls this one by, and that its certificate is for.
#[must_use]
pub fn server_name(installation: &str, namespace: &str) -> String {
    format!("{}.{namespace}.svc", service_name(installation))
}

/// Serves until `stop` is done.
pub async fn run(
    world: Arc<World>,
    serving: ServingKeys,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    let (proxy, proxies) = watch::channel(FrontProxy::default());
    let (config, configs) = watch::channel(None);
    let server = Server {
        reviews: Reviews::new(world.hand.client(), proxies.clone()),
        world: Arc::clone(&world),
    };
    let tasks = tokio::spawn(future::join3(
        follow_proxy(world.hand.client(), proxy),
        tls::follow(serving.clone(), proxies, config),
        register(world, serving),
    ));
    let door = Door {
        listener,
        router: serve::router(Arc::new(server)),
        tls: Some(Tls::kept(configs)),
        max_connections: MAX_CONNECTIONS,
    };
    door.serve(stop, GRACE).await;
    tasks.abort();
}

/// Follows the ConfigMap that says how the API server is told from others, for ever. One that can't be used leaves the
/// last good one in use.
async fn follow_proxy(client: Client, to: watch::Sender<FrontProxy>) {
    let api = Api::namespaced(client, front_proxy::NAMESPACE);
    let only = watcher::Config::default().fields(&format!("metadata.name={}", front_proxy::NAME));
    let changed = Arc::new(Notify::new());
    let notify = Arc::clone(&changed);
    let (watched, watching) = watch_objects(
        api,
        only,
        |_: &mut ConfigMap| {},
        move |_| notify.notify_one(),
    );
    let reading = async {
        loop {
            changed.notified().await;
            let found = watched.get(Some(front_proxy::NAMESPACE), front_proxy::NAME);
            match found.map(|config| FrontProxy::read(&config)) {
                Some(Ok(proxy)) => {
                    to.send_if_modified(|known| {
                        let is_new = *known != proxy;
                        *known = proxy;
                        is_new
                    });
                }
                Some(Err(error)) => {
                    tracing::warn!("the API server in front stays as it was: {error}")
                }
                None => tracing::warn!(
                    "there is no ConfigMap {}: only tokens are taken",
                    front_proxy::NAME
                ),
            }
        }
    };
    future::join(watching, reading).await;
}

/// Has the leader keep the APIServices that lead here.
async fn register(world: Arc<World>, serving: ServingKeys) {
    let changed = Arc::new(Notify::new());
    let mut watches = Vec::new();
    let services = [CUSTOM, EXTERNAL].map(|api| {
        let notify = Arc::clone(&changed);
        let only = watcher::Config::default().fields(&format!("metadata.name={}", api.service()));
        let (watched, watching) = watch_objects(
            Api::all(world.hand.client()),
            only,
            |_: &mut APIService| {},
            move |_| notify.notify_one(),
        );
        watches.push(watching.boxed());
        watched
    });
    let config = &world.config;
    let registration = Registration {
        hand: world.hand.clone(),
        serving,
        services: services.into(),
        changed,
        own: (config.namespace.clone(), service_name(&config.name)),
    };
    future::join(future::join_all(watches), registration.run()).await;
}
