//! The record of a session: one line of JSON. `docs/session-records.md` says what each field means.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use showrunner_protocol::room::RoomUid;

use super::Lived;
use super::agent::{Agent, Client};
use super::report::Report;
use crate::node::{EndReason, Role, SessionId};
use crate::room::RoomName;

/// Of the fields and their meanings. New fields don't change it.
const VERSION: u32 = 1;

/// Whose session it was.
#[derive(Clone, Debug)]
pub struct Who {
    /// The session's name.
    pub id: SessionId,
    /// Its room.
    pub room: RoomName,
    /// Which room of that name; none on a node that takes any room.
    pub uid: Option<RoomUid>,
    /// Which way its media went.
    pub role: Role,
    /// What the client is.
    pub client: Client,
    /// When its offer came.
    pub joined: SystemTime,
}

/// One line. Its names are those of SQL columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    version: u32,
    session_id: String,
    room_namespace: String,
    room_name: String,
    room_uid: Option<String>,
    role: &'static str,
    agent: Agent,
    mobile: bool,
    joined_at: String,
    connected_at: Option<String>,
    left_at: String,
    reason: &'static str,
    connect_ms: Option<u64>,
    first_media_ms: Option<u64>,
    /// Of viewers: hosts have [`Self::on_air_seconds`].
    watched_seconds: Option<f64>,
    on_air_seconds: Option<f64>,
    off_air_seconds: f64,
    silent_seconds: f64,
    stall_count: u32,
    stall_seconds: f64,
    longest_stall_seconds: f64,
    first_stall_after_seconds: Option<f64>,
    video_paused_seconds: f64,
    video_off_seconds: f64,
    switches_up: u32,
    switches_down: u32,
    layers: Vec<OnLayer>,
    packets: u64,
    bytes: u64,
    mean_bitrate_bps: u64,
    packets_lost: u64,
    packets_retransmitted: u64,
    loss: f64,
    rtt_ms: Option<f64>,
    rtt_max_ms: Option<f64>,
    keyframe_requests: u32,
    client: Option<Report>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct OnLayer {
    rid: String,
    spatial_layer: Option<u8>,
    width: Option<u16>,
    height: Option<u16>,
    seconds: f64,
    mean_bitrate_bps: u64,
}

/// When a session was connected and over, since its offer.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// None if it never was.
    pub connected: Option<Duration>,
    /// The end.
    pub left: Duration,
}

impl Record {
    /// Puts it together.
    #[must_use]
    pub fn new(
        who: &Who,
        times: Times,
        reason: EndReason,
        lived: &Lived,
        client: Option<Report>,
    ) -> Record {
        let at = |after: Duration| timestamp(who.joined + after);
        let present = seconds(lived.present);
        let is_viewer = who.role == Role::Viewer;
        let sent = lived.packets.max(1) as f64;
        Record {
            version: VERSION,
            session_id: who.id.to_string(),
            room_namespace: who.room.namespace().to_owned(),
            room_name: who.room.name().to_owned(),
            room_uid: who.uid.as_ref().map(ToString::to_string),
            role: who.role.name(),
            agent: who.client.agent,
            mobile: who.client.is_mobile,
            joined_at: at(Duration::ZERO),
            connected_at: times.connected.map(at),
            left_at: at(times.left),
            reason: reason.name(),
            connect_ms: times.connected.map(millis),
            first_media_ms: lived.first_media.map(millis),
            watched_seconds: is_viewer.then_some(present),
            on_air_seconds: (!is_viewer).then_some(present),
            off_air_seconds: seconds(lived.off_air),
            silent_seconds: seconds(lived.silent),
            stall_count: lived.stalls,
            stall_seconds: seconds(lived.stalled),
            longest_stall_seconds: seconds(lived.longest_stall),
            first_stall_after_seconds: lived.first_stall.map(seconds),
            video_paused_seconds: seconds(lived.paused),
            video_off_seconds: seconds(lived.off),
            switches_up: lived.switches_up,
            switches_down: lived.switches_down,
            layers: lived
                .layers
                .iter()
                .map(|layer| OnLayer {
                    rid: layer.rid.to_string(),
                    spatial_layer: layer.spatial,
                    width: layer.size.map(|(width, _)| width),
                    height: layer.size.map(|(_, height)| height),
                    seconds: seconds(layer.time),
                    mean_bitrate_bps: bits_a_second(layer.bytes, layer.time),
                })
                .collect(),
            packets: lived.packets,
            bytes: lived.bytes,
            mean_bitrate_bps: bits_a_second(lived.bytes, lived.present),
            packets_lost: lived.lost,
            packets_retransmitted: lived.retransmitted,
            loss: round((lived.lost as f64 / sent).min(1.0), 5),
            rtt_ms: lived.round_trip.map(|rtt| seconds(rtt.mean * 1000)),
            rtt_max_ms: lived.round_trip.map(|rtt| seconds(rtt.longest * 1000)),
            keyframe_requests: lived.keyframe_requests,
            client,
        }
    }

    /// The line, with its end; none if it can't be written, which would be a mistake here.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let json = serde_json::to_string(self);
        json.map(|json| json + "\n")
            .inspect_err(|error| tracing::error!(%error, "a session record can't be written"))
            .ok()
    }
}

/// RFC 3339, UTC, with milliseconds.
fn timestamp(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(time: Duration) -> f64 {
    round(time.as_secs_f64(), 3)
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// A mean over a time; 0 over none.
fn bits_a_second(bytes: u64, time: Duration) -> u64 {
    let seconds = time.as_secs_f64();
    if seconds < 1e-3 {
        return 0;
    }
    (bytes as f64 * 8.0 / seconds) as u64
}

#[cfg(test)]
mod tests {
    use super::super::RoundTrip;
    use super::super::layers::LayerTime;
    use super::*;

    #[test]
    fn a_record_says_all() {
        let who = Who {
            id: SessionId::parse("AAAAAAAAAAAAAAAAAAAAAA").unwrap(),
            room: RoomName::new("shop", "sale").unwrap(),
            uid: Some(RoomUid::new("u-1").unwrap()),
            role: Role::Viewer,
            client: Client {
                agent: Agent::GStreamer,
                is_mobile: false,
            },
            joined: SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_043_449_007),
        };
        let ms = Duration::from_millis;
        let times = Times {
            connected: Some(ms(120)),
            left: ms(60_250),
        };
        let lived = Lived {
            first_media: Some(ms(250)),
            present: ms(60_000),
            stalls: 1,
            stalled: ms(1500),
            longest_stall: ms(1500),
            first_stall: Some(ms(3000)),
            layers: vec![LayerTime {
                rid: "f".into(),
                spatial: Some(2),
                size: Some((1280, 720)),
                time: ms(60_000),
                bytes: 7_200_000,
            }],
            packets: 10_000,
            bytes: 7_500_000,
            lost: 25,
            round_trip: Some(RoundTrip {
                mean: Duration::from_micros(12_345),
                longest: ms(40),
            }),
            ..Lived::default()
        };
        let report = Report::parse(r#"{"afterMs":60000,"firstFrameMs":300}"#, ms(60_000)).unwrap();
        let record = Record::new(&who, times, EndReason::Deleted, &lived, Some(report));
        let line = record.line().unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        let expected = r#"{
            "version": 1, "session_id": "AAAAAAAAAAAAAAAAAAAAAA",
            "room_namespace": "shop", "room_name": "sale", "room_uid": "u-1",
            "role": "viewer", "agent": "gstreamer", "mobile": false,
            "joined_at": "2025-11-25T04:04:09.007Z", "connected_at": "2025-11-25T04:04:09.127Z",
            "left_at": "2025-11-25T04:05:09.257Z", "reason": "deleted",
            "connect_ms": 120, "first_media_ms": 250,
            "watched_seconds": 60.0, "on_air_seconds": null, "off_air_seconds": 0.0, "silent_seconds": 0.0,
            "stall_count": 1, "stall_seconds": 1.5, "longest_stall_seconds": 1.5,
            "first_stall_after_seconds": 3.0, "video_paused_seconds": 0.0, "video_off_seconds": 0.0,
            "switches_up": 0, "switches_down": 0,
            "layers": [{
                "rid": "f", "spatial_layer": 2, "width": 1280, "height": 720, "seconds": 60.0,
                "mean_bitrate_bps": 960000
            }],
            "packets": 10000, "bytes": 7500000, "mean_bitrate_bps": 1000000,
            "packets_lost": 25, "packets_retransmitted": 0, "loss": 0.0025,
            "rtt_ms": 12.345, "rtt_max_ms": 40.0, "keyframe_requests": 0,
            "client": {
                "after_ms": 60000, "first_frame_ms": 300, "freeze_count": 0, "freeze_seconds": 0.0,
                "frames_decoded": 0, "frames_dropped": 0, "width": null, "height": null,
                "jitter_buffer_ms": null, "concealed_samples": 0, "total_samples": 0, "hidden_seconds": 0.0
            }
        }"#;
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        let written: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(written, expected);
    }
}
