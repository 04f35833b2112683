//! The control API of media pods: the operator tells them their rooms, and asks how they are.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `PUT /v1/rooms/{namespace}/{room}` | [`RoomAssignment`] | 201 new, 200 known; 409 if the pod has a newer generation; 503 while draining or full |
//! | `DELETE /v1/rooms/{namespace}/{room}?uid=…` | | 204; 404 if unknown; 409 if the room there has another uid |
//! | `PUT /v1/addresses` | [`PublicAddresses`] | 204 |
//! | `GET /v1/status` | | 200 with [`PodStatus`] |
//! | `POST /v1/drain` | [`DrainRequest`] | 202 |
//! | `GET /v1/peers?ip=…&port=…` | | 200 with [`PeerSight`] |
//! | `POST /v1/rooms/{namespace}/{room}/links` | [`LinkOffer`] | 201 with [`LinkAnswer`]; 404 if unknown; 503 while full |
//!
//! All need a control credential ([`crate::token::ControlKeys`]) as a bearer token. The last is what an edge asks of the
//! pod that it takes the room from, and needs a credential for that one room. Errors are problem documents (RFC 9457).

mod pull;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::room::{RoomName, RoomUid};

pub use self::pull::{Bearer, HostSource, PullFailure, PullProblem, PullSource, PullStatus};

/// Where anybody is told that a pod is there. Its kubelet asks as well.
pub const HEALTH_PATH: &str = "/healthz";
/// Where anybody is told whether new sessions may come to a pod: 503 if not. Its kubelet and the operator ask.
pub const READY_PATH: &str = "/readyz";
/// Where a pod tells of itself.
pub const STATUS_PATH: &str = "/v1/status";
/// Where a pod is told how clients reach it.
pub const ADDRESSES_PATH: &str = "/v1/addresses";
/// Where a pod is told to drain.
pub const DRAIN_PATH: &str = "/v1/drain";
/// Where a pod is asked for its [`PeerSight`].
pub const PEERS_PATH: &str = "/v1/peers";
/// Where rooms are, as the router writes it.
pub const ROOM_ROUTE: &str = "/v1/rooms/{namespace}/{room}";
/// Where edges ask for a link, as the router writes it.
pub const LINKS_ROUTE: &str = "/v1/rooms/{namespace}/{room}/links";
/// The name in the certificate of every pod. Callers connect to an address, and check the certificate against this.
pub const POD_SERVER_NAME: &str = "media-pod.showrunner.internal";
/// The largest body that a pod reads, in bytes.
pub const MAX_REQUEST: usize = 64 << 10;
/// The largest status that a reader takes, in bytes: 10,000 rooms with three layers each are under 5 MB.
pub const MAX_STATUS: usize = 8 << 20;
/// The longest title of a room, in characters.
pub const MAX_TITLE: usize = 200;
/// The longest drain, in seconds: a day.
pub const MAX_DRAIN_SECONDS: u32 = 86_400;

/// The path of one room.
#[must_use]
pub fn room_path(room: &RoomName) -> String {
    format!("/v1/rooms/{room}")
}

/// The path of the links that a pod feeds of one room.
#[must_use]
pub fn links_path(room: &RoomName) -> String {
    format!("/v1/rooms/{room}/links")
}

/// The path and query that ask whether a pod is answered by another one, which listens there.
#[must_use]
pub fn peer_path(peer: SocketAddr) -> String {
    format!("{PEERS_PATH}?ip={}&port={}", peer.ip(), peer.port())
}

/// The path and query that end one room, and no later one of the same name.
#[must_use]
pub fn end_room_path(room: &RoomName, uid: &RoomUid) -> String {
    format!("/v1/rooms/{room}?uid={uid}")
}

/// What a pod is to do for a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomAssignment {
    /// Which room of that name. Another uid than the known one ends the old room and begins this one.
    pub uid: RoomUid,
    /// Of the LiveRoom's spec. A pod refuses one that is older than what it has of the same uid.
    pub generation: u64,
    /// Counts who has had which part in the room: it rises with each change of its pods. A pod refuses one that is
    /// older than what it has of the same uid, so that one which was the origin can't be made it again by a message
    /// that comes late.
    #[serde(default)]
    pub revision: u64,
    /// For people.
    #[serde(default)]
    pub title: Title,
    /// The pod's part in the room.
    pub role: PodRole,
    /// What the pod may spend on the room.
    #[serde(default)]
    pub limits: RoomLimits,
    /// What hosts may send.
    #[serde(default)]
    pub video: VideoRules,
    /// That its clients are to go on to another pod that has the room. Those who can be told are; the sessions that are
    /// left after so many seconds end. None: they stay. Told again, the earlier end counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<u32>,
    /// Whether a host was on air on another pod a moment ago, and is about to come: viewers who are here before wait
    /// for a few seconds rather than being refused.
    #[serde(default)]
    pub awaits_host: bool,
    /// Where the origin gets the show from. Edges are told nothing of it.
    #[serde(default)]
    pub host: HostSource,
}

/// What hosts of a room may send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoRules {
    /// Codecs by their names in SDP (`H264`, `VP8` …), the best first; empty: all that the pod knows.
    pub codecs: Vec<String>,
    /// The longest that the shorter side of a picture for viewers may be, in pixels; none: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lines: Option<u16>,
    /// The most simulcast layers; none: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_layers: Option<u8>,
}

/// How clients reach a pod: what it tells them in its answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicAddresses {
    /// Its addresses, of either family; at least one.
    pub addresses: Vec<IpAddr>,
    /// The port of its first shard, and of each further shard the next; none: the ports that it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_port: Option<u16>,
}

/// A pod's part in a room. It changes in place: viewers stay.
///
/// An edge that becomes the origin goes on with what its source sends until a host is on air with itself, or the source
/// goes away. An origin that becomes an edge keeps the host that it has, and takes the room from its source when that
/// host has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum PodRole {
    /// Hosts publish to it.
    Origin,
    /// It takes the room from another pod, and no hosts.
    Edge {
        /// Which. With another one the pod changes over without a gap.
        source: RelaySource,
    },
}

/// A pod to take a room from: its origin, or another edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelaySource {
    /// Where its control API listens.
    pub address: SocketAddr,
}

/// What a pod may spend on a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomLimits {
    /// Viewers at a time; none: as many as the pod takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_viewers: Option<u32>,
}

/// A room's title: at most [`MAX_TITLE`] characters, none of them a control character.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Title(String);

/// A title is too long, or has line breaks or other control characters.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a title has at most {MAX_TITLE} characters, none of them a control character")]
pub struct InvalidTitle;

impl TryFrom<String> for Title {
    type Error = InvalidTitle;

    fn try_from(title: String) -> Result<Title, InvalidTitle> {
        let fits = title.chars().nth(MAX_TITLE).is_none();
        if fits && !title.contains(char::is_control) {
            Ok(Title(title))
        } else {
            Err(InvalidTitle)
        }
    }
}

impl From<Title> for String {
    fn from(title: Title) -> String {
        title.0
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pod is to take no more sessions and rooms. Its rooms' assignments say who is sent on and when; whom nobody sends on
/// is after some seconds. It is drained once its status counts no
/// sessions, and waits to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainRequest {
    /// Seconds until the sessions that are left end; more than [`MAX_DRAIN_SECONDS`] counts as that. A second request
    /// can make it shorter, not longer.
    pub deadline_seconds: u32,
}

/// What a pod found when it called another one, which the operator can't reach and would like to know of: does it hang,
/// or is it only cut off from the operator?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerSight {
    /// Whether it answered at once.
    pub answers: bool,
}

/// A pod and all that is on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// The program's version.
    pub version: String,
    /// Whether it takes new sessions.
    pub ready: bool,
    /// Whether it was told to drain.
    #[serde(default)]
    pub draining: bool,
    /// Whether it hears nobody of those who should be heard on its media ports: rooms are better off elsewhere.
    #[serde(default)]
    pub cut_off: bool,
    /// Whether it knows what `leave` means in an assignment.
    #[serde(default)]
    pub sends_on: bool,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// How clients reach it; none: nobody has told it yet, so it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicAddresses>,
    /// The most that it takes.
    #[serde(default)]
    pub capacity: Capacity,
    /// Sessions of all kinds.
    pub sessions: u32,
    /// Its rooms, by name.
    #[serde(default)]
    pub rooms: Vec<RoomStatus>,
    /// How busy it is.
    #[serde(default)]
    pub load: Load,
}

/// The most that a pod takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// Sessions of all kinds.
    pub max_sessions: u32,
    /// Rooms; none: as many as fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rooms: Option<u32>,
}

/// How busy a pod is, over the last second or so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Load {
    /// The share of a core that each shard uses: 0 to 1.
    pub shard_cpu: Vec<f64>,
    /// Media sent, bit/s.
    pub egress_bps: u64,
    /// Media packets sent each second.
    pub packets_per_second: u64,
}

impl Load {
    /// The busiest shard's share of its core; 0 where nothing was measured.
    #[must_use]
    pub fn peak_cpu(&self) -> f64 {
        self.shard_cpu.iter().copied().fold(0.0, f64::max)
    }
}

/// One room on a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomStatus {
    /// `namespace/name`.
    pub name: RoomName,
    /// Which room of that name; none on a pod that takes any room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<RoomUid>,
    /// The generation of its assignment; none on a pod that takes any room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Whether a host is on air.
    pub active: bool,
    /// Connected publishers.
    #[serde(default)]
    pub publishers: u32,
    /// Connected viewers.
    pub viewers: u32,
    /// Codec of the audio, if any.
    #[serde(default)]
    pub audio_codec: Option<String>,
    /// Codec of the video, if any.
    #[serde(default)]
    pub video_codec: Option<String>,
    /// Video layers that can be had, best first: those on air, and those that their host does not send as long as nobody
    /// wants them.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// How long viewers stay.
    #[serde(default)]
    pub retention: Retention,
    /// The revision of its assignment; none on a pod that takes any room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Whether its clients were told to go on to another pod.
    #[serde(default)]
    pub leaving: bool,
    /// Where the pod takes the room from; none if hosts publish to it, and it has no source left from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// Edges that take it from this pod.
    #[serde(default)]
    pub edges: u32,
    /// How it stands with the server that the show is pulled from; none if it is not pulled here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullStatus>,
}

/// How a pod stands with the pod that it takes a room from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Which it is told to take it from; on an origin, which it still does.
    pub address: SocketAddr,
    /// Whether that one's state is known now: a link to it is up.
    pub connected: bool,
    /// Pods between this one and the host: 0 if the host publishes to the source; none while nobody is on air.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u8>,
}

/// How long the viewers of a room stay, of those on one pod since it took the room. Those who are there and have not
/// reached a mark yet count on neither side of it, nor do those whom the pod sent away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// Sessions of viewers that have lasted 10 minutes, ended or not.
    pub reached10: u32,
    /// Sessions that viewers left before.
    pub left10: u32,
    /// Sessions of viewers that have lasted 30 minutes, ended or not.
    pub reached30: u32,
    /// Sessions that viewers left before.
    pub left30: u32,
}

impl RoomStatus {
    /// A room that nobody is in.
    #[must_use]
    pub fn of(name: RoomName) -> RoomStatus {
        RoomStatus {
            name,
            uid: None,
            generation: None,
            active: false,
            publishers: 0,
            viewers: 0,
            audio_codec: None,
            video_codec: None,
            layers: Vec::new(),
            retention: Retention::default(),
            revision: None,
            leaving: false,
            source: None,
            edges: 0,
            pull: None,
        }
    }
}

/// What an edge says of its end of a link, to the pod that it wants to take a room from. The edge is the client: it sends
/// the connectivity checks (it is controlling, RFC 8445) and begins the DTLS handshake. Either may end the link by DTLS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkOffer {
    /// Its end.
    #[serde(flatten)]
    pub end: LinkEnd,
}

/// What the pod answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkAnswer {
    /// Its end.
    #[serde(flatten)]
    pub end: LinkEnd,
    /// Its media port for UDP, at the address that the offer was sent to.
    pub port: u16,
    /// Where it can be reached besides, the best first.
    #[serde(default)]
    pub candidates: Vec<SocketAddr>,
}

/// One end of a link: how its transport proves itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkEnd {
    /// ICE user name fragment (RFC 8445 §5.3).
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 of its DTLS certificate, as `a=fingerprint` writes it (RFC 8122 §5).
    pub fingerprint: String,
    /// Tells the process at this end from all others.
    pub process: String,
}

/// One simulcast layer on air.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// RID; empty without simulcast.
    pub rid: String,
    /// The highest spatial layer of a scalable stream in it; none for one that isn't scalable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spatial_layer_id: Option<u8>,
    /// The highest temporal layer in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporal_layer_id: Option<u8>,
    /// Picture size in pixels, once known.
    #[serde(default)]
    pub size: Option<(u16, u16)>,
    /// Measured bitrate, bit/s; 0: not sent now.
    pub bitrate_bps: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn an_assignment_needs_no_more_than_it_must_and_skips_what_it_does_not_know() {
        let least = r#"{"uid":"u-1","generation":3,"role":{"kind":"origin","new":1},"newer":[]}"#;
        let assignment: RoomAssignment = read(least).unwrap();
        assert_eq!(assignment.generation, 3);
        assert_eq!(assignment.role, PodRole::Origin);
        assert_eq!(assignment.limits.max_viewers, None);
        assert_eq!(assignment.title.to_string(), "");
        let written = serde_json::to_string(&assignment).unwrap();
        assert_eq!(read::<RoomAssignment>(&written).unwrap(), assignment);
    }

    #[test]
    fn an_edge_is_told_its_source() {
        let text = r#"{"uid":"u-1","generation":3,"revision":7,
            "role":{"kind":"edge","source":{"address":"10.1.2.3:8443"}}}"#;
        let assignment: RoomAssignment = read(text).unwrap();
        assert_eq!(assignment.revision, 7);
        let source = RelaySource {
            address: "10.1.2.3:8443".parse().unwrap(),
        };
        assert_eq!(assignment.role, PodRole::Edge { source });
        let written = serde_json::to_string(&assignment).unwrap();
        assert_eq!(read::<RoomAssignment>(&written).unwrap(), assignment);
    }

    #[test]
    fn an_assignment_that_would_be_misunderstood_is_refused() {
        for (bad, why) in [
            (
                r#"{"uid":"u","generation":3,"role":{"kind":"mirror"}}"#,
                "an unknown role",
            ),
            (
                r#"{"uid":"u","generation":3,"role":{"kind":"edge"}}"#,
                "an edge of nothing",
            ),
            (
                r#"{"uid":"","generation":3,"role":{"kind":"origin"}}"#,
                "no uid",
            ),
            (
                r#"{"uid":"u","generation":-1,"role":{"kind":"origin"}}"#,
                "a negative generation",
            ),
            (
                r#"{"uid":"u","generation":1,"role":{"kind":"origin"},"title":"a\nb"}"#,
                "a line break",
            ),
        ] {
            assert!(read::<RoomAssignment>(bad).is_err(), "{why}");
        }
        assert!(Title::try_from("ä".repeat(MAX_TITLE)).is_ok());
        assert_eq!(
            Title::try_from("ä".repeat(MAX_TITLE + 1)),
            Err(InvalidTitle)
        );
    }

    #[test]
    fn the_status_of_an_older_pod_can_be_read() {
        let old = r#"{"version":"0.1.0","ready":true,"uptimeSeconds":5,"sessions":2,"rooms":
            [{"name":"shop/sale","active":true,"viewers":1,"audioCodec":"opus","videoCodec":null,
              "layers":[{"rid":"f","size":[1280,720],"bitrateBps":1500000}]}]}"#;
        let status: PodStatus = read(old).unwrap();
        assert!(!status.draining && !status.cut_off);
        assert_eq!(status.rooms[0].retention, Retention::default());
        assert_eq!(status.rooms[0].layers[0].size, Some((1280, 720)));
        let written = serde_json::to_string(&status).unwrap();
        assert_eq!(read::<PodStatus>(&written).unwrap(), status);
    }

    #[test]
    fn ten_thousand_rooms_fit_a_status() {
        let layer = Layer {
            rid: "f".into(),
            size: Some((1920, 1080)),
            bitrate_bps: 12_345_678,
            spatial_layer_id: None,
            temporal_layer_id: None,
        };
        let room = RoomStatus {
            name: RoomName::new("a-shop-of-some-size", "the-great-sale-of-november").unwrap(),
            uid: Some(RoomUid::new("4f0c2ab0-9a0e-4f6d-8d2e-52f1b7f0a001").unwrap()),
            generation: Some(12),
            active: true,
            publishers: 1,
            viewers: 10_000,
            audio_codec: Some("opus".into()),
            video_codec: Some("H264".into()),
            layers: vec![layer; 3],
            retention: Retention {
                reached10: 10_000,
                left10: 10_000,
                reached30: 10_000,
                left30: 10_000,
            },
            revision: Some(12),
            leaving: true,
            source: Some(SourceStatus {
                address: "[fd00:10:244:1:2:3:4:5]:8443".parse().unwrap(),
                connected: true,
                hops: Some(1),
            }),
            edges: 8,
            pull: Some(PullStatus {
                version: "12-123456789-123456789".into(),
                connected: false,
                problem: Some(PullProblem {
                    failure: PullFailure::Unauthorized,
                    message: "the server answers 401: the token is not good for it".into(),
                }),
            }),
        };
        let status = PodStatus {
            rooms: vec![room; 10_000],
            ..PodStatus::default()
        };
        assert!(serde_json::to_vec(&status).unwrap().len() <= MAX_STATUS);
    }

    #[test]
    fn paths_name_the_room() {
        let room = RoomName::new("shop", "sale").unwrap();
        let uid = RoomUid::new("u-1").unwrap();
        assert_eq!(room_path(&room), "/v1/rooms/shop/sale");
        assert_eq!(end_room_path(&room, &uid), "/v1/rooms/shop/sale?uid=u-1");
        let at = |text: &str| peer_path(text.parse().unwrap());
        assert_eq!(at("10.0.0.7:7443"), "/v1/peers?ip=10.0.0.7&port=7443");
        assert_eq!(at("[fd00::7]:7443"), "/v1/peers?ip=fd00::7&port=7443");
    }

    #[test]
    fn the_busiest_shard_counts() {
        assert_eq!(Load::default().peak_cpu(), 0.0);
        let load = Load {
            shard_cpu: vec![0.25, 0.75, 0.5],
            ..Load::default()
        };
        assert_eq!(load.peak_cpu(), 0.75);
    }
}
