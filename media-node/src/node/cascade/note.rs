//! What the two ends of a link tell each other, as it is written: JSON, of which the reader skips what it does not know,
//! so that pods of two releases understand each other.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use showrunner_rtp::codec::Codec;
use showrunner_sdp::Program;

use crate::media::notes::MAX_NOTE;
use crate::shard::message::Announced;

/// From the pod that sends: what it has of the room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Down {
    /// Pods between the one that sends and the host; none: nobody is on air.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hops: Option<u8>,
    /// The sound's codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<String>,
    /// The picture's codec and its format parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<(String, String)>,
    /// What can be had.
    streams: Vec<Stream>,
    /// Who watches the room, on whichever pod.
    pub(super) viewers: u32,
}

/// SSRC, RID, codec, picture size, bit/s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stream(u32, String, String, Option<(u16, u16)>, u64);

/// From the pod that takes: what it needs, and whom it feeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Up {
    /// Layers, by RID, and sound with them; none: nothing.
    pub(super) wants: Option<Vec<String>>,
    /// Viewers of that pod, and of those that take the room from it.
    pub(super) viewers: u32,
}

impl Down {
    pub(super) fn new(source: Option<(u8, &Program)>, streams: &[Announced], viewers: u32) -> Down {
        let Some((hops, program)) = source else {
            return Down {
                viewers,
                ..Down::default()
            };
        };
        let stream = |stream: &Announced| {
            Stream(
                stream.ssrc,
                stream.rid.as_ref().to_owned(),
                stream.codec.name().to_owned(),
                stream.size,
                stream.bitrate_bps,
            )
        };
        Down {
            hops: Some(hops),
            audio: program.audio.map(|codec| codec.name().to_owned()),
            video: program
                .video
                .as_ref()
                .map(|(codec, fmtp)| (codec.name().to_owned(), fmtp.clone())),
            streams: streams.iter().map(stream).collect(),
            viewers,
        }
    }

    /// What is on air; none if nobody is.
    pub(super) fn program(&self) -> Option<Program> {
        self.hops?;
        let video = self.video.as_ref();
        Some(Program {
            audio: self.audio.as_deref().and_then(Codec::from_name),
            video: video.and_then(|(codec, fmtp)| Some((Codec::from_name(codec)?, fmtp.clone()))),
        })
    }

    /// What can be had of it. Codecs that this release does not know are left out.
    pub(super) fn streams(&self) -> impl Iterator<Item = Announced> {
        self.streams.iter().filter_map(|stream| {
            let Stream(ssrc, rid, codec, size, bitrate_bps) = stream;
            Some(Announced {
                ssrc: *ssrc,
                rid: rid.as_str().into(),
                codec: Codec::from_name(codec)?,
                size: *size,
                bitrate_bps: *bitrate_bps,
            })
        })
    }

    /// Whether two pods have the same host's media.
    pub(super) fn is_same_show(&self, other: &Down) -> bool {
        let has = |ssrc: u32| other.streams.iter().any(|stream| stream.0 == ssrc);
        self.streams.iter().any(|stream| has(stream.0))
    }
}

/// As it goes on the wire; none if it is longer than a note can be, as with RIDs of hundreds of characters.
pub(super) fn write(note: &impl Serialize) -> Option<Arc<[u8]>> {
    let text = serde_json::to_vec(note).ok()?;
    (text.len() <= MAX_NOTE).then(|| text.into())
}

/// Reads a note; none if it makes no sense.
pub(super) fn read<T: DeserializeOwned>(note: &[u8]) -> Option<T> {
    serde_json::from_slice(note).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams() -> Vec<Announced> {
        let stream = |ssrc, rid: &str, codec, size| Announced {
            ssrc,
            rid: rid.into(),
            codec,
            size,
            bitrate_bps: 12_345_678,
        };
        vec![
            stream(u32::MAX, "", Codec::Opus, None),
            stream(u32::MAX - 1, "q", Codec::H264, Some((480, 270))),
            stream(u32::MAX - 2, "h", Codec::H264, Some((960, 540))),
            stream(u32::MAX - 3, "f", Codec::H264, Some((1920, 1080))),
            stream(u32::MAX - 4, "g", Codec::H264, Some((3840, 2160))),
            stream(u32::MAX - 5, "t.1", Codec::H264, Some((1600, 900))),
            stream(u32::MAX - 6, "t.2", Codec::H264, Some((1280, 720))),
            stream(u32::MAX - 7, "t.3", Codec::H264, Some((1024, 576))),
            stream(u32::MAX - 8, "t.4", Codec::H264, Some((1024, 576))),
        ]
    }

    #[test]
    fn what_is_on_air_reads_back_as_written_and_fits() {
        let fmtp =
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".to_owned();
        let program = Program {
            audio: Some(Codec::Opus),
            video: Some((Codec::H264, fmtp)),
        };
        let note = Down::new(Some((1, &program)), &streams(), 10_000_000);
        let written = write(&note).expect("it fits");
        let back: Down = read(&written).unwrap();
        assert_eq!(back, note);
        assert_eq!((back.hops, back.program()), (Some(1), Some(program)));
        assert_eq!(back.streams().collect::<Vec<_>>(), streams());
        let nobody = Down::new(None, &streams(), 7);
        assert_eq!((nobody.program(), nobody.viewers), (None, 7));
        assert!(back.is_same_show(&note) && !back.is_same_show(&nobody));
    }

    #[test]
    fn what_another_release_says_besides_is_skipped() {
        let note = br#"{"hops":0,"streams":[[1,"f","H266",null,5],[2,"q","VP8",null,6]],"new":{}}"#;
        let note: Down = read(note).unwrap();
        assert_eq!(note.streams().map(|s| s.ssrc).collect::<Vec<_>>(), [2]);
        assert_eq!(note.program(), Some(Program::default()));
        for bad in [&b"{"[..], b"\xff", br#"{"hops":-1}"#] {
            assert_eq!(read::<Down>(bad), None);
        }
        let up: Up = read(br#"{"wants":["q","f"]}"#).unwrap();
        assert_eq!(up.wants.map(|wants| wants.len()), Some(2));
    }
}
