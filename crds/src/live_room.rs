//! LiveRoom: one live show.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;
use crate::schema;
use crate::source::Source;

/// What a show is to be.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "showrunner.dev",
    version = "v1alpha1",
    kind = "LiveRoom",
    namespaced,
    doc = "A live show: its host, its viewers, and where they find it.",
    status = "LiveRoomStatus",
    derive = "PartialEq",
    shortname = "lr",
    category = "showrunner",
    annotation("helm.sh/resource-policy", "keep"),
    validation = Rule::new("self.metadata.name.size() <= 200")
        .message("metadata.name has more than 200 characters: shorten it, since the room's Secret is named after it"),
    validation = Rule::new("!has(self.spec.source) || !has(self.spec.source.pull) || !has(self.spec.access) || !has(self.spec.access.publish) || self.spec.access.publish == 'Token'")
        .message("access.publish: Anyone goes with hosts who publish, and source.pull has none: remove one of them"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Viewers", type_ = "integer", json_path = ".status.viewers"),
    printcolumn(name = "Origin", type_ = "string", json_path = ".status.origin.pod"),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.origin.region"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.title", priority = "1"),
    printcolumn(name = "Page", type_ = "string", json_path = ".status.endpoints.page", priority = "1"),
    printcolumn(
        name = "Why",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveRoomSpec {
    /// What viewers see as the name of the show: at most 200 characters, without line breaks.
    #[schemars(length(max = 200))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "!self.matches('[\\\\x00-\\\\x1f\\\\x7f]')",
        "title has a line break or another control character: remove it",
    )]))]
    pub title: String,
    /// When the show begins and ends. Without it the room is open for as long as it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Where its media pods may be, by the `spec.region` of MediaNodes, the best first. Empty: anywhere.
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.all(r, r.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",
        "a region has lower case letters, digits and hyphens, as in eu-west: correct regions",
    ),
    Rule::new(
        "self.all(r, self.exists_one(other, other == r))",
        "a region is named twice: remove one",
    )]))]
    pub regions: Vec<String>,
    /// Where the show comes from, if no host publishes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What hosts may send.
    pub video: Video,
    /// Who may come in.
    pub access: Access,
    /// Who may be on air together.
    pub stage: Stage,
}

/// When a show begins and ends.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "!has(self.start) || !has(self.end) || self.start < self.end",
        "schedule.end is not after schedule.start: correct one of them",
    )]))]
pub struct Schedule {
    /// When viewers are expected (RFC 3339). Hosts may come before, to rehearse.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub start: Option<Time>,
    /// When the room closes, whoever is in it (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub end: Option<Time>,
    /// How many viewers to make room for.
    #[schemars(range(max = 10_000_000))]
    pub expected_viewers: u32,
}

/// What hosts may send.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Video {
    /// Codecs that a host may send, the best first. The first of them that the host offers is taken.
    #[schemars(length(min = 1, max = 4))]
    #[schemars(extend("x-kubernetes-validations" = [Rule::new(
        "self.all(c, self.exists_one(other, other == c))",
        "a codec is named twice: remove one",
    )]))]
    pub codecs: Vec<VideoCodec>,
    /// The largest layer that is sent to viewers. A host that sends larger pictures only is sent on as it is.
    pub max_resolution: Resolution,
    /// The most simulcast layers that a host may send; of more, the largest are taken.
    #[schemars(range(min = 1, max = 3))]
    pub max_layers: u8,
}

impl Default for Video {
    fn default() -> Video {
        use VideoCodec::{Av1, H264, Vp8, Vp9};
        Video {
            codecs: vec![H264, Vp8, Vp9, Av1],
            max_resolution: Resolution::R1080p,
            max_layers: 3,
        }
    }
}

/// A codec of video.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VideoCodec {
    /// H.264.
    H264,
    /// VP8.
    #[serde(rename = "VP8")]
    Vp8,
    /// VP9.
    #[serde(rename = "VP9")]
    Vp9,
    /// AV1.
    #[serde(rename = "AV1")]
    Av1,
}

/// A size of the picture, by its shorter side.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// 360 lines.
    #[serde(rename = "360p")]
    R360p,
    /// 540 lines.
    #[serde(rename = "540p")]
    R540p,
    /// 720 lines.
    #[serde(rename = "720p")]
    R720p,
    /// 1080 lines.
    #[serde(rename = "1080p")]
    R1080p,
}

impl Resolution {
    /// The picture's shorter side, in pixels.
    #[must_use]
    pub fn lines(self) -> u16 {
        match self {
            Resolution::R360p => 360,
            Resolution::R540p => 540,
            Resolution::R720p => 720,
            Resolution::R1080p => 1080,
        }
    }
}

/// Who may come in.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// Who may publish: those with a token of a host (the room's Secret has one), or anyone.
    pub publish: Admission,
    /// Who may watch: anyone, or those with a token.
    pub watch: Admission,
}

impl Default for Access {
    fn default() -> Access {
        Access {
            publish: Admission::Token,
            watch: Admission::Anyone,
        }
    }
}

/// Who is let in.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// Those with a token for the room.
    Token,
    /// Whoever comes.
    Anyone,
}

/// Who may be on air together.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stage {
    /// How many may be on air at once. Media pods of this version put one host on air, and refuse a second one for as
    /// long as the first one's media flows.
    #[schemars(range(min = 1, max = 16))]
    pub size: u8,
}

impl Default for Stage {
    fn default() -> Stage {
        Stage { size: 1 }
    }
}

/// How a show is.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveRoomStatus {
    /// In one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The pod that hosts publish to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<PodReference>,
    /// Pods that take the room from another and have viewers of their own; at most 255.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 255))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "pod"]))]
    pub edges: Vec<Edge>,
    /// Counts who has had which part in the room: it rises with each change of its pods. Pods refuse what they are told
    /// under a lower number than they know.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub revision: u64,
    /// Where hosts and viewers find it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// The Secret with the token of its host, in the room's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_token_secret: Option<String>,
    /// Hosts that are connected. A server that the show is pulled from counts as one.
    pub publishers: u32,
    /// Viewers that are connected, of all its pods.
    pub viewers: u32,
    /// The most viewers that were seen at once.
    pub peak_viewers: u32,
    /// Who stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What is so and what is not: Placed, Ready, Live, and Pulled of a room with `source.pull`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How a show is, in one word.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It waits for a media pod.
    Pending,
    /// It has a pod, and begins later.
    Scheduled,
    /// It takes hosts and viewers, and no host is on air.
    Ready,
    /// A host is on air.
    Live,
    /// It is over.
    Ended,
}

/// A media pod.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReference {
    /// The namespace of its MediaNode.
    pub namespace: String,
    /// Its MediaNode.
    pub media_node: String,
    /// Its name.
    pub pod: String,
    /// Where it is.
    pub region: String,
}

/// A media pod that takes a show from another pod.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// The namespace of its MediaNode.
    pub namespace: String,
    /// Its MediaNode.
    pub media_node: String,
    /// Its name.
    pub pod: String,
    /// Where it is.
    pub region: String,
    /// The pod that it takes the show from, as namespace/name: the origin, or another edge.
    #[serde(default)]
    pub source: String,
    /// Whether it is connected to that pod.
    #[serde(default)]
    pub connected: bool,
    /// Viewers that are connected to it.
    #[serde(default)]
    pub viewers: u32,
    /// Viewers that it has space for, those who are there among them.
    #[serde(default)]
    pub space: u32,
    /// Whether its viewers are to go to another pod: it gets no more, and goes when the last one has left.
    #[serde(default)]
    pub leaving: bool,
}

/// Where hosts and viewers find a show.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Where hosts publish (WHIP, RFC 9725).
    pub publish: String,
    /// Where players watch (WHEP).
    pub watch: String,
    /// The room's page.
    pub page: String,
}

/// Who stays, of the viewers' sessions of this show so far.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// Of those that could have stayed 10 minutes, how many did, in percent; none if there is nobody to tell by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stayed_10_minutes_percent: Option<u8>,
    /// Of those that could have stayed 30 minutes, how many did, in percent; none if there is nobody to tell by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stayed_30_minutes_percent: Option<u8>,
}
