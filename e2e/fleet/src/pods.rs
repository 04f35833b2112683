//! Pods: what is scheduled to the machines is reported as running, and taken away when it is deleted.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use showrunner_door::{Door, Tls};
use showrunner_protocol::token::ControlKeys;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::{Error, control, machines};

const MEDIA_PODS: &str = "app.kubernetes.io/component=media-pod";
/// The Secret of a namespace with what its media pods need.
const SECRET: &str = "showrunner-media-pods";
const SECRET_REST: Duration = Duration::from_millis(200);
/// The operator and some gateways.
const MAX_CONNECTIONS: usize = 64;

/// Which pod it is, of those that had the name.
type Uid = String;

pub(crate) async fn run(client: &Client, port: u16) -> Result<(), Error> {
    let pods: Api<Pod> = Api::all(client.clone());
    let config = watcher::Config::default().labels(MEDIA_PODS);
    let mut events = pin!(
        watcher(pods, config)
            .default_backoff()
            .applied_objects()
            .try_filter(|pod| std::future::ready(is_ours(pod)))
    );
    let mut fleet = Fleet {
        client: client.clone(),
        port,
        next: 0,
        doors: HashMap::new(),
        keys: HashMap::new(),
    };
    loop {
        match events.try_next().await {
            Ok(Some(pod)) => fleet.follow(&pod).await?,
            Ok(None) => return Ok(()),
            Err(error) => tracing::warn!("the watch of pods broke: {error}"),
        }
    }
}

fn is_ours(pod: &Pod) -> bool {
    let machine = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    machine.is_some_and(machines::is_ours)
}

struct Fleet {
    client: Client,
    port: u16,
    /// Counts addresses.
    next: u32,
    /// Closes the door of a pod when it is dropped.
    doors: HashMap<Uid, oneshot::Sender<()>>,
    /// By namespace.
    keys: HashMap<String, (Tls, ControlKeys)>,
}

impl Fleet {
    async fn follow(&mut self, pod: &Pod) -> Result<(), Error> {
        let uid = pod.uid().unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            self.doors.remove(&uid);
            return self.take_away(pod).await;
        }
        if self.doors.contains_key(&uid) {
            return Ok(());
        }
        let (listener, address) = self.listen().await?;
        let door = self
            .open(&pod.namespace().unwrap_or_default(), listener)
            .await?;
        self.doors.insert(uid, door);
        self.report(pod, address).await
    }

    /// Finds an address that no other fleet of this machine has.
    async fn listen(&mut self) -> io::Result<(TcpListener, Ipv4Addr)> {
        loop {
            self.next += 1;
            let [_, high, middle, low] = self.next.to_be_bytes();
            let address = Ipv4Addr::new(127, high.saturating_add(1), middle, low);
            match TcpListener::bind(SocketAddr::from((address, self.port))).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return Ok((bound?, address)),
            }
        }
    }

    /// Answers the control API.
    async fn open(
        &mut self,
        namespace: &str,
        listener: TcpListener,
    ) -> Result<oneshot::Sender<()>, Error> {
        let (tls, keys) = self.keys(namespace).await?;
        let door = Door {
            listener,
            router: control::router(keys),
            tls: Some(tls),
            max_connections: MAX_CONNECTIONS,
        };
        let (close, closed) = oneshot::channel::<()>();
        tokio::spawn(door.serve(
            async {
                // Closed by being dropped.
                let _ = closed.await;
            },
            Duration::ZERO,
        ));
        Ok(close)
    }

    /// A kubelet waits for a pod's Secret, too.
    async fn keys(&mut self, namespace: &str) -> Result<(Tls, ControlKeys), Error> {
        if let Some(known) = self.keys.get(namespace) {
            return Ok(known.clone());
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = loop {
            match secrets.get_opt(SECRET).await? {
                Some(secret) => break secret,
                None => tokio::time::sleep(SECRET_REST).await,
            }
        };
        let data = secret.data.unwrap_or_default();
        let entry = |name: &str| {
            let value = data.get(name).map(|value| value.0.clone());
            value.ok_or_else(|| format!("the Secret {namespace}/{SECRET} has no {name}"))
        };
        let directory =
            std::env::temp_dir().join(format!("fleet-{}-{namespace}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let (chain, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        std::fs::write(&chain, entry("tls.crt")?)?;
        std::fs::write(&key, entry("tls.key")?)?;
        let tls = Tls::from_files(&chain, &key)?;
        forget(&directory);
        let keys = ControlKeys::parse(&String::from_utf8(entry("control-keys")?)?)?;
        self.keys
            .insert(namespace.to_owned(), (tls.clone(), keys.clone()));
        Ok((tls, keys))
    }

    /// As a kubelet reports a pod whose container has started and is ready.
    async fn report(&self, pod: &Pod, address: Ipv4Addr) -> Result<(), Error> {
        let now = Time(jiff::Timestamp::now());
        let conditions: Vec<_> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
            .into_iter()
            .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}))
            .collect();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let containers: Vec<_> = containers
            .map(|container| {
                json!({
                    "name": container.name,
                    "image": container.image,
                    "imageID": "simulated",
                    "ready": true,
                    "started": true,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": now}},
                })
            })
            .collect();
        let status = json!({"status": {
            "phase": "Running",
            "podIP": address.to_string(),
            "podIPs": [{"ip": address.to_string()}],
            "startTime": now,
            "conditions": conditions,
            "containerStatuses": containers,
        }});
        let (pods, by) = (self.pods(pod), PatchParams::default());
        let patched = pods
            .patch_status(&pod.name_any(), &by, &Patch::Merge(status))
            .await;
        unless_gone(patched.map(drop))
    }

    async fn take_away(&self, pod: &Pod) -> Result<(), Error> {
        // Another pod may have its name by now.
        let now = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            });
        let deleted = self.pods(pod).delete(&pod.name_any(), &now).await;
        unless_gone(deleted.map(drop))
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

/// What is gone needs nothing more.
fn unless_gone(result: kube::Result<()>) -> Result<(), Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => Ok(other?),
    }
}

/// The keys are in memory.
fn forget(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!("{} is left behind: {error}", directory.display());
    }
}
