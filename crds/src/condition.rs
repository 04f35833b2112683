//! The types and reasons of conditions, as constants: people and programs wait for them by name.

/// A LiveRoom has a pod that hosts publish to.
pub const PLACED: &str = "Placed";
/// A LiveRoom takes hosts and viewers; a MediaNode has all the pods that it should have, ready and of its template.
pub const READY: &str = "Ready";
/// A LiveRoom's host is on air.
pub const LIVE: &str = "Live";
/// A LiveRoom's show comes from the server that it is pulled from.
pub const PULLED: &str = "Pulled";
/// A MediaNode is on its way to what its spec says.
pub const PROGRESSING: &str = "Progressing";
/// A MediaNode can't become what its spec says by itself: somebody must do something.
pub const DEGRADED: &str = "Degraded";

/// Reasons of a LiveRoom's conditions.
pub mod room {
    /// A pod was chosen.
    pub const PLACED: &str = "Placed";
    /// No MediaNode is in any of the room's regions.
    pub const NO_SUCH_REGION: &str = "NoSuchRegion";
    /// The MediaNodes in its regions don't take rooms of its namespace.
    pub const NOT_ALLOWED: &str = "NotAllowed";
    /// No media pod is ready.
    pub const NO_POD_READY: &str = "NoPodReady";
    /// All media pods are full.
    pub const NO_CAPACITY: &str = "NoCapacity";
    /// Its pod has it.
    pub const ASSIGNED: &str = "Assigned";
    /// Its pod is about to be told of it.
    pub const ASSIGNING: &str = "Assigning";
    /// Its pod does not answer.
    pub const POD_UNREACHABLE: &str = "PodUnreachable";
    /// Its pod refuses it.
    pub const POD_REFUSED: &str = "PodRefused";
    /// Its `schedule.end` is over.
    pub const ENDED: &str = "Ended";
    /// A host is on air.
    pub const ON_AIR: &str = "OnAir";
    /// No host is on air.
    pub const OFF_AIR: &str = "OffAir";
    /// Its show comes from the server that it is pulled from.
    pub const CONNECTED: &str = "Connected";
    /// Its pod asks that server.
    pub const CONNECTING: &str = "Connecting";
    /// The Secret or ConfigMap that its source refers to is not there, or lacks the key.
    pub const SOURCE_NOT_FOUND: &str = "SourceNotFound";
    /// The operator may not get that Secret or ConfigMap.
    pub const SOURCE_FORBIDDEN: &str = "SourceForbidden";
    /// The API server does not give that Secret or ConfigMap.
    pub const SOURCE_UNREAD: &str = "SourceUnread";
    /// Nothing can be asked there, for the URL, the token or the authorities.
    pub const SOURCE_INVALID: &str = "SourceInvalid";
    /// The server does not answer.
    pub const SOURCE_UNREACHABLE: &str = "SourceUnreachable";
    /// The server does not take the token.
    pub const SOURCE_UNAUTHORIZED: &str = "SourceUnauthorized";
    /// The server has no such show, or nobody is on air in it.
    pub const SOURCE_NOT_LIVE: &str = "SourceNotLive";
    /// The server gives another error.
    pub const SOURCE_REFUSED: &str = "SourceRefused";
    /// The server's answer can't be used.
    pub const SOURCE_BAD_ANSWER: &str = "SourceBadAnswer";
    /// The server takes the viewer, and its media does not come.
    pub const SOURCE_NO_MEDIA: &str = "SourceNoMedia";
    /// The server has ended the show.
    pub const SOURCE_ENDED: &str = "SourceEnded";
}

/// Reasons of a MediaNode's conditions.
pub mod site {
    /// All pods are ready and of the present template.
    pub const COMPLETE: &str = "Complete";
    /// Pods are being made or become ready.
    pub const SCALING: &str = "Scaling";
    /// Pods of an older template are being replaced.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Pods that are to go still have sessions.
    pub const DRAINING: &str = "Draining";
    /// Nothing is wrong.
    pub const AS_EXPECTED: &str = "AsExpected";
    /// The API server refuses to make a pod, such as for a quota.
    pub const POD_REFUSED: &str = "PodRefused";
    /// A pod's image can't be pulled.
    pub const IMAGE_PULL: &str = "ImagePull";
    /// A pod's process ends again and again.
    pub const CRASH_LOOP: &str = "CrashLoop";
    /// A pod answers, and hears nobody of those who should be heard on its media ports.
    pub const CUT_OFF: &str = "CutOff";
    /// No node takes a pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// A schedule of its autoscaling can't be used.
    pub const INVALID_SCHEDULE: &str = "InvalidSchedule";
    /// A pod's public address can't be found.
    pub const NO_ADDRESS: &str = "NoAddress";
    /// The HorizontalPodAutoscaler that is asked for can't be made.
    pub const AUTOSCALER: &str = "Autoscaler";
}
