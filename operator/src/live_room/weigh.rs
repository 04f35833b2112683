//! What a room costs pods, and how many viewers it is to have space for. Pure.

use k8s_openapi::jiff::Timestamp;
use showrunner_capacity::autoscaling::Announcement;
use showrunner_capacity::load::Rate;
use showrunner_crds::LiveRoom;
use showrunner_crds::condition::LIVE;
use showrunner_crds::live_room::Resolution;
use showrunner_protocol::control::RoomStatus;

/// Sound with its headers, bit/s.
const AUDIO_BPS: u64 = 50_000;
/// The payload of a packet of video, in bits.
const PACKET_BITS: u64 = 1_150 * 8;
/// Packets of sound each second.
const AUDIO_PACKETS: u64 = 50;

/// Viewers whom a room expects and who are not there yet, at a time in seconds since 1970. With no time for its start,
/// they are expected from its making on.
#[must_use]
pub fn promised(room: &LiveRoom, viewers: u32, now: i64) -> u32 {
    let Some(schedule) = &room.spec.schedule else {
        return 0;
    };
    let made = room.metadata.creation_timestamp.as_ref();
    let Some(start) = schedule.start.as_ref().or(made) else {
        return 0;
    };
    let announced = Announcement {
        start: start.0.as_second(),
        on_air: on_air(room).map(Timestamp::as_second),
        expected: schedule.expected_viewers,
        viewers,
    };
    announced.to_keep_space_for(now)
}

/// Since when a host is on air.
fn on_air(room: &LiveRoom) -> Option<Timestamp> {
    let status = room.status.as_ref()?;
    let live = status.conditions.iter().find(|one| one.type_ == LIVE)?;
    (live.status == "True").then_some(live.last_transition_time.0)
}

/// What one viewer and one edge of a room cost the pod that sends to them: a viewer is sent the best layer, an edge all
/// of them. Off air it is what the largest picture that the room may have takes as a rule.
#[must_use]
pub fn rates(room: &LiveRoom, report: Option<&RoomStatus>) -> (Rate, Rate) {
    let layers = report.filter(|report| report.active);
    let layers = layers.map_or(&[][..], |report| &report.layers);
    let best = layers.iter().map(|layer| layer.bitrate_bps).max();
    let all: u64 = layers.iter().map(|layer| layer.bitrate_bps).sum();
    match best.filter(|best| *best > 0) {
        Some(best) => (rate(best), rate(all)),
        None => {
            let usual = usual(room.spec.video.max_resolution);
            // The layers below the best take a third of what that takes.
            (rate(usual), rate(usual + usual / 3))
        }
    }
}

fn rate(video_bps: u64) -> Rate {
    Rate {
        egress_bps: video_bps + AUDIO_BPS,
        packets: video_bps.div_ceil(PACKET_BITS) + AUDIO_PACKETS,
    }
}

/// What browsers send of a picture of that size, bit/s.
fn usual(size: Resolution) -> u64 {
    match size {
        Resolution::R360p => 700_000,
        Resolution::R540p => 1_200_000,
        Resolution::R720p => 2_000_000,
        Resolution::R1080p => 3_500_000,
    }
}

/// What viewers cost in fact, by what a pod sends: of `counted` bit/s, which all its viewers would cost with the best
/// layer each, so many per cent. With few viewers it says nothing.
#[must_use]
pub fn share_percent(sent_bps: u64, counted_bps: u64, viewers: u64) -> u64 {
    if viewers < TELLING || counted_bps == 0 {
        return 100;
    }
    (sent_bps.saturating_mul(100) / counted_bps).clamp(LEAST_PERCENT, MOST_PERCENT)
}

/// Viewers by which a pod's average means something.
const TELLING: u64 = 20;
/// Those who watch the smallest picture can come to like the largest.
const LEAST_PERCENT: u64 = 40;
/// What is sent again, and what is sent unasked.
const MOST_PERCENT: u64 = 150;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use showrunner_protocol::RoomName;
    use showrunner_protocol::control::Layer;

    use super::*;

    /// 2027-01-01.
    const START: i64 = 1_798_761_600;

    fn room(spec: Value, status: Value) -> LiveRoom {
        serde_json::from_value(json!({
            "apiVersion": "showrunner.dev/v1alpha1", "kind": "LiveRoom",
            "metadata": {"name": "sale", "namespace": "shop", "creationTimestamp": "2026-12-31T00:00:00Z"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn space_is_kept_from_before_the_start_until_they_have_come() {
        let spec = json!({"schedule": {"start": "2027-01-01T00:00:00Z", "expectedViewers": 900}});
        let live = |since: &str| {
            json!({"conditions": [{"type": "Live", "status": "True", "reason": "OnAir", "message": "",
                "lastTransitionTime": since}]})
        };
        let off = room(spec.clone(), json!({}));
        assert_eq!(promised(&off, 0, START - 121), 0);
        assert_eq!(promised(&off, 0, START - 120), 900);
        assert_eq!(promised(&off, 100, START), 800);
        let on = room(spec, live("2027-01-01T00:01:00Z"));
        assert_eq!(promised(&on, 300, START + 60), 600);
        assert_eq!(promised(&on, 300, START + 60 + 75), 300);
        assert_eq!(promised(&on, 300, START + 60 + 150), 0);
        let at_once = room(json!({"schedule": {"expectedViewers": 900}}), json!({}));
        assert_eq!(promised(&at_once, 0, START - 86_400), 900);
        assert_eq!(promised(&room(json!({}), json!({})), 0, START), 0);
    }

    #[test]
    fn viewers_cost_the_best_layer_and_edges_all() {
        let layer = |bitrate_bps| Layer {
            rid: "h".into(),
            spatial_layer_id: None,
            temporal_layer_id: None,
            size: None,
            bitrate_bps,
        };
        let report = RoomStatus {
            active: true,
            layers: vec![layer(2_000_000), layer(500_000), layer(0)],
            ..RoomStatus::of(RoomName::new("shop", "sale").unwrap())
        };
        let any = room(json!({}), json!({}));
        let (viewer, edge) = rates(&any, Some(&report));
        assert_eq!((viewer.egress_bps, edge.egress_bps), (2_050_000, 2_550_000));
        assert_eq!(viewer.packets, 218 + 50);
        let small = room(json!({"video": {"maxResolution": "360p"}}), json!({}));
        assert!(rates(&small, None).0.egress_bps < rates(&any, None).0.egress_bps);
    }

    #[test]
    fn what_is_measured_counts_once_there_are_enough() {
        for (sent, viewers, percent) in [
            (60, 100, 60),
            (60, 19, 100),
            (1, 100, LEAST_PERCENT),
            (900, 100, MOST_PERCENT),
        ] {
            assert_eq!(share_percent(sent * 1000, 100_000, viewers), percent);
        }
        assert_eq!(share_percent(5, 0, 100), 100);
    }
}
