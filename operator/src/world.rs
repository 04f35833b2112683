//! What all parts of the operator share: what is watched, what pods say, and how to write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use kube::runtime::reflector::ObjectRef;
use showrunner_crds::{LiveRoom, MediaNode};
use tokio::sync::mpsc;

use crate::cluster::events::Reports;
use crate::cluster::evictions::Evictions;
use crate::cluster::watch::{Kind, Watched};
use crate::cluster::write::Hand;
use crate::config::Config;
use crate::keys::{Keyring, Keys};
use crate::live_room::fleet::Fleet;
use crate::metrics::Metrics;
use crate::pods::control::Control;
use crate::pods::sight::Sights;

/// All of it.
pub struct World {
    /// What the operator was told at its start.
    pub config: Config,
    /// All rooms.
    pub rooms: Watched<LiveRoom>,
    /// All sites.
    pub sites: Watched<MediaNode>,
    /// All media pods.
    pub pods: Watched<Pod>,
    /// All machines.
    pub machines: Watched<Node>,
    /// The Services of media pods.
    pub services: Watched<Service>,
    /// The HorizontalPodAutoscalers of sites.
    pub autoscalers: Watched<HorizontalPodAutoscaler>,
    /// All namespaces, for their labels.
    pub namespaces: Watched<Namespace>,
    /// The evictions of media pods that somebody asked for.
    pub evictions: Evictions,
    /// What pods last said.
    pub sights: Arc<Sights>,
    /// Calls pods.
    pub control: Control,
    /// The keys of the moment.
    pub keyring: Keys,
    /// Places rooms.
    pub fleet: Fleet,
    /// Writes.
    pub hand: Hand,
    /// Takes Events.
    pub reports: Reports,
    /// Counts.
    pub metrics: Metrics,
    /// Rooms that had no status when they were last counted: nobody has looked at them yet.
    pub untouched: AtomicUsize,
}

/// So many rooms without a status are a flood, in which only what is needed to open them is done.
const FLOOD: usize = 100;

impl World {
    /// The keys of the moment, once there are some.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<Keyring>> {
        self.keyring.borrow().clone()
    }

    /// Whether many rooms came at once, or wait since before this operator began.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.untouched.load(Ordering::Relaxed) > FLOOD
    }

    /// Waits until all that is watched was read once.
    pub async fn completed(&self) {
        self.rooms.completed().await;
        self.sites.completed().await;
        self.pods.completed().await;
        self.machines.completed().await;
        self.services.completed().await;
        self.autoscalers.completed().await;
        self.namespaces.completed().await;
        self.evictions.completed().await;
    }

    /// Whether all that is watched was read once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.rooms.is_complete()
            && self.sites.is_complete()
            && self.pods.is_complete()
            && self.machines.is_complete()
            && self.services.is_complete()
            && self.autoscalers.is_complete()
            && self.namespaces.is_complete()
            && self.evictions.is_complete()
    }
}

/// Passes on which objects of a kind are to be looked at: to a controller while there is one.
#[derive(Debug)]
pub struct Bell<K: Kind>(Mutex<Option<mpsc::UnboundedSender<ObjectRef<K>>>>);

impl<K: Kind> Default for Bell<K> {
    fn default() -> Bell<K> {
        Bell(Mutex::default())
    }
}

impl<K: Kind> Bell<K> {
    /// Has one looked at.
    pub fn ring(&self, object: ObjectRef<K>) {
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = &*listener {
            // A controller that is about to stop needs nothing any more.
            let _ = listener.send(object);
        }
    }

    /// From now on they come here.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<ObjectRef<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// From now on nobody listens.
    pub fn hang_up(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
