//! Names, labels and annotations that the operator's objects have.

/// The field manager of all that the operator applies.
pub const MANAGER: &str = "showrunner-operator";
/// A room that is to be told that it is over before it goes.
pub const ROOM_FINALIZER: &str = "showrunner.dev/room";
/// The port of a pod where it is told its rooms, and where signalling comes in.
pub const POD_HTTPS_PORT: u16 = 8443;
/// The name of that port.
pub const POD_HTTPS: &str = "https";
/// The Secret with what pods need to be trusted, in each namespace that has pods.
pub const PODS_SECRET: &str = "showrunner-media-pods";

/// What sees to it when somebody asks for the eviction of a media pod; a label of that name is on the Eviction.
pub const EVICTION_RESPONDER: &str = "showrunner.dev/drain";

/// Labels.
pub mod label {
    /// What program it belongs to.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// What it is in it.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// Who keeps it.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The MediaNode of a pod.
    pub const MEDIA_NODE: &str = "showrunner.dev/media-node";
    /// The region of a pod.
    pub const REGION: &str = "showrunner.dev/region";
    /// The name of a pod, for the Service that is its alone.
    pub const POD: &str = "showrunner.dev/pod";
    /// A pod without sessions: the site's disruption budget lets it go.
    pub const IDLE: &str = "showrunner.dev/idle";
    /// The zone of a machine: what fails together, as clouds and administrators label it.
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    /// The value of [`NAME`].
    pub const SHOWRUNNER: &str = "showrunner";
    /// The value of [`COMPONENT`] that media pods have.
    pub const MEDIA_POD: &str = "media-pod";
}

/// Annotations.
pub mod annotation {
    /// Names what a pod was made from.
    pub const TEMPLATE: &str = "showrunner.dev/template";
    /// A pod is to go: seconds since 1970 when it goes even with sessions on it.
    pub const DRAIN_DEADLINE: &str = "showrunner.dev/drain-deadline";
    /// Seconds since 1970 from when on a certificate is to be made anew.
    pub const RENEW_AT: &str = "showrunner.dev/renew-certificate-at";
    /// Keeps the cluster's autoscaler from moving pods that have sessions.
    pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    /// Keeps Karpenter from the machines of pods that have sessions.
    pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
}
