//! What a pod is told of a room. Pure.

use showrunner_crds::LiveRoom;
use showrunner_crds::live_room::VideoCodec;
use showrunner_protocol::control::{
    HostSource, PodRole, PodStatus, RoomAssignment, RoomLimits, RoomStatus, Title, VideoRules,
};
use showrunner_protocol::room::RoomUid;

/// What a pod is told of its part in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Of the set of the room's pods.
    pub revision: u64,
    /// Its part.
    pub role: PodRole,
    /// That its clients are to go on, in seconds until those who are left are cut off.
    pub leave: Option<u32>,
    /// Whether a host may be about to come from another pod.
    pub awaits_host: bool,
    /// Where the show comes from, if it is the origin.
    pub host: HostSource,
}

/// For a pod with these orders.
#[must_use]
pub fn assignment(room: &LiveRoom, uid: &RoomUid, orders: Orders) -> RoomAssignment {
    let video = &room.spec.video;
    RoomAssignment {
        uid: uid.clone(),
        generation: room
            .metadata
            .generation
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or(0),
        revision: orders.revision,
        // The API server refuses titles that pods would; one that came by an older rule is left out.
        title: Title::try_from(room.spec.title.clone()).unwrap_or_default(),
        role: orders.role,
        limits: RoomLimits::default(),
        leave: orders.leave,
        awaits_host: orders.awaits_host,
        host: orders.host,
        video: VideoRules {
            codecs: video
                .codecs
                .iter()
                .map(|codec| codec_name(*codec).to_owned())
                .collect(),
            max_lines: Some(video.max_resolution.lines()),
            max_layers: Some(video.max_layers),
        },
    }
}

/// Whether a pod that says this of itself and of a room has taken this assignment.
#[must_use]
pub fn has_taken(pod: &PodStatus, report: &RoomStatus, wanted: &RoomAssignment) -> bool {
    let has = |known: Option<u64>, wanted| known.is_some_and(|known| known >= wanted);
    // One that drains sends on whom nobody speaks of.
    let leaves = match wanted.leave {
        Some(_) => report.leaving || !pod.sends_on,
        None => !report.leaving || pod.draining,
    };
    let is_right = match &wanted.role {
        // One that was an edge may still go on with its source.
        PodRole::Origin => is_pulled_as(report, &wanted.host),
        PodRole::Edge { source } => {
            let known = report.source.as_ref();
            known.is_some_and(|known| known.address == source.address)
        }
    };
    report.uid.as_ref() == Some(&wanted.uid)
        && has(report.generation, wanted.generation)
        && has(report.revision, wanted.revision)
        && is_right
        && leaves
}

/// Whether a pod has taken from where the show comes.
fn is_pulled_as(report: &RoomStatus, wanted: &HostSource) -> bool {
    match (&report.pull, wanted) {
        (known, HostSource::Publish) => known.is_none(),
        (known, HostSource::Pull { from: None }) => known.is_some(),
        (known, HostSource::Pull { from: Some(source) }) => known
            .as_ref()
            .is_some_and(|known| known.version == source.version),
    }
}

/// As SDP has it.
fn codec_name(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "H264",
        VideoCodec::Vp8 => "VP8",
        VideoCodec::Vp9 => "VP9",
        VideoCodec::Av1 => "AV1",
    }
}

#[cfg(test)]
mod tests {
    use showrunner_protocol::RoomName;
    use showrunner_protocol::control::{PullSource, PullStatus, RelaySource, SourceStatus};

    use super::*;

    #[test]
    fn a_pod_is_told_what_the_spec_says() {
        let room: LiveRoom = serde_json::from_value(serde_json::json!({
            "apiVersion": "showrunner.dev/v1alpha1",
            "kind": "LiveRoom",
            "metadata": {"name": "sale", "namespace": "shop", "uid": "1", "generation": 7},
            "spec": {"title": "Sale", "video": {"codecs": ["VP8", "AV1"], "maxResolution": "720p", "maxLayers": 2}},
        }))
        .unwrap();
        let uid = RoomUid::new("1").unwrap();
        let orders = Orders {
            revision: 3,
            role: PodRole::Origin,
            leave: Some(60),
            awaits_host: false,
            host: HostSource::Publish,
        };
        let told = assignment(&room, &uid, orders);
        assert_eq!((told.revision, &told.role), (3, &PodRole::Origin));
        assert_eq!(
            (told.generation, told.title.to_string()),
            (7, "Sale".to_owned())
        );
        assert_eq!(told.video.codecs, ["VP8", "AV1"]);
        assert_eq!(
            (told.video.max_lines, told.video.max_layers),
            (Some(720), Some(2))
        );
    }

    #[test]
    fn what_a_pod_has_taken() {
        let source = |port: u16| RelaySource {
            address: ([10, 0, 0, 1], port).into(),
        };
        let wanted = |role| RoomAssignment {
            uid: RoomUid::new("1").unwrap(),
            generation: 7,
            revision: 3,
            title: Title::default(),
            role,
            limits: RoomLimits::default(),
            leave: None,
            awaits_host: false,
            host: HostSource::Publish,
            video: VideoRules::default(),
        };
        let edge = |port| {
            wanted(PodRole::Edge {
                source: source(port),
            })
        };
        let mut report = RoomStatus {
            uid: RoomUid::new("1").ok(),
            generation: Some(7),
            revision: Some(3),
            ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
        };
        let mut pod = PodStatus {
            sends_on: true,
            ..PodStatus::default()
        };
        assert!(has_taken(&pod, &report, &wanted(PodRole::Origin)));
        assert!(!has_taken(&pod, &report, &edge(1)), "it has no source yet");
        let from = |version: &str| RoomAssignment {
            host: HostSource::Pull {
                from: Some(PullSource {
                    version: version.into(),
                    url: "https://live.example.com/whep/shop/sale".into(),
                    bearer: None,
                    authorities: None,
                    allow_insecure: false,
                }),
            },
            ..wanted(PodRole::Origin)
        };
        assert!(!has_taken(&pod, &report, &from("1")));
        report.pull = Some(PullStatus {
            version: "1".into(),
            ..PullStatus::default()
        });
        assert!(has_taken(&pod, &report, &from("1")));
        assert!(
            !has_taken(&pod, &report, &from("2")),
            "the token is another"
        );
        let any = RoomAssignment {
            host: HostSource::Pull { from: None },
            ..wanted(PodRole::Origin)
        };
        assert!(has_taken(&pod, &report, &any));
        assert!(!has_taken(&pod, &report, &wanted(PodRole::Origin)));
        report.pull = None;
        report.source = Some(SourceStatus {
            address: source(1).address,
            connected: false,
            hops: None,
        });
        assert!(has_taken(&pod, &report, &edge(1)));
        assert!(!has_taken(&pod, &report, &edge(2)));
        let leaves = RoomAssignment {
            leave: Some(9),
            ..edge(1)
        };
        assert!(!has_taken(&pod, &report, &leaves));
        report.leaving = true;
        assert!(has_taken(&pod, &report, &leaves));
        assert!(!has_taken(&pod, &report, &edge(1)), "they are to stay");
        pod.draining = true;
        assert!(has_taken(&pod, &report, &edge(1)));
        report.revision = Some(2);
        assert!(!has_taken(&pod, &report, &edge(1)));
        report.revision = None;
        assert!(!has_taken(&pod, &report, &wanted(PodRole::Origin)));
    }
}
