//! What a pod is told of a room. Pure.

use showrunner_crds::LiveRoom;
use showrunner_crds::live_room::VideoCodec;
use showrunner_protocol::control::{RoomAssignment, RoomLimits, Title, VideoRules};
use showrunner_protocol::room::RoomUid;

use super::handover::Part;

/// For a pod that has this part in it.
#[must_use]
pub fn assignment(room: &LiveRoom, uid: &RoomUid, part: Part) -> RoomAssignment {
    let video = &room.spec.video;
    RoomAssignment {
        uid: uid.clone(),
        generation: room
            .metadata
            .generation
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or(0),
        revision: part.revision,
        // The API server refuses titles that pods would; one that came by an older rule is left out.
        title: Title::try_from(room.spec.title.clone()).unwrap_or_default(),
        role: part.role,
        limits: RoomLimits::default(),
        leave: part.leave,
        awaits_host: part.awaits_host,
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
    use super::super::handover;
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
        let part = handover::former(3, ([10, 0, 0, 1], 8443).into(), 60);
        let told = assignment(&room, &RoomUid::new("1").unwrap(), part);
        assert_eq!((told.revision, told.leave), (7, Some(60)));
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
}
