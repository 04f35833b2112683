//! What a test host sends: clips, each as one stream.

use std::path::{Path, PathBuf};

use showrunner_rtp::codec::{Codec, Kind};

use crate::media::{Clip, MediaError};
use crate::sdp::Source;

/// One stream of a host.
#[derive(Clone, Debug)]
pub struct Stream {
    /// How it is offered.
    pub source: Source,
    /// What it plays.
    pub clip: Clip,
}

/// What a host sends.
#[derive(Clone, Debug)]
pub struct Program {
    /// Sound first, then the layers of the picture as they were named.
    pub streams: Vec<Stream>,
}

/// A video file, with its RID if it is a layer of a simulcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoFile {
    /// RID.
    pub rid: Option<String>,
    /// `.h264` or `.ivf`.
    pub path: PathBuf,
}

impl std::str::FromStr for VideoFile {
    type Err = &'static str;

    /// `RID=FILE`, or `FILE` alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((rid, path)) = text.split_once('=') else {
            return Ok(Self {
                rid: None,
                path: text.into(),
            });
        };
        if !(1..=16).contains(&rid.len()) || !rid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("a RID has up to 16 letters and digits");
        }
        Ok(Self {
            rid: Some(rid.into()),
            path: path.into(),
        })
    }
}

/// Why files don't make a program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// One of them can't be used.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// They don't go together.
    #[error("{0}")]
    Mismatch(&'static str),
}

impl Program {
    /// A program of these files, H.264 at `fps` frames a second, VP8 with so many temporal layers.
    ///
    /// # Errors
    /// If a file can't be used, or they don't go together.
    pub fn load(
        videos: &[VideoFile],
        audio: Option<&Path>,
        fps: u32,
        temporal_layers: usize,
    ) -> Result<Self, ProgramError> {
        const FIRST_SSRC: u32 = 0x1000;
        let mut streams = Vec::new();
        if let Some(path) = audio {
            let source = Source {
                codec: Codec::Opus,
                rid: None,
                ssrc: FIRST_SSRC,
                rtx_ssrc: None,
            };
            streams.push(Stream {
                source,
                clip: Clip::opus(path)?,
            });
        }
        for (ssrc, video) in (FIRST_SSRC + 2..).step_by(2).zip(videos) {
            let clip = Clip::video(&video.path, fps, temporal_layers)?;
            // One layer is no simulcast, whatever its name.
            let rid = video.rid.clone().filter(|_| videos.len() > 1);
            let source = Source {
                codec: clip.codec,
                rid,
                ssrc,
                rtx_ssrc: Some(ssrc + 1),
            };
            streams.push(Stream { source, clip });
        }
        check(&streams).map_err(ProgramError::Mismatch)?;
        Ok(Self { streams })
    }

    /// Its streams as they are offered.
    pub fn sources(&self) -> Vec<Source> {
        self.streams.iter().map(|s| s.source.clone()).collect()
    }
}

fn check(streams: &[Stream]) -> Result<(), &'static str> {
    let layers: Vec<&Source> = streams
        .iter()
        .map(|s| &s.source)
        .filter(|s| s.codec.kind() == Kind::Video)
        .collect();
    if streams.is_empty() {
        return Err("there is nothing to publish: name a video or an audio file");
    }
    if layers.iter().any(|s| s.codec != layers[0].codec) {
        return Err("all layers must be of one codec");
    }
    let rids: Vec<_> = layers.iter().map(|s| &s.rid).collect();
    if layers.len() > 1
        && (0..rids.len()).any(|i| rids[i].is_none() || rids[..i].contains(&rids[i]))
    {
        return Err("each of several video files needs a RID of its own: q=FILE");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_file_may_have_a_rid() {
        let with = "q=media/q.h264".parse::<VideoFile>().unwrap();
        assert_eq!(
            (with.rid.as_deref(), with.path),
            (Some("q"), "media/q.h264".into())
        );
        assert_eq!("f.ivf".parse::<VideoFile>().unwrap().rid, None);
        assert!("a b=f.ivf".parse::<VideoFile>().is_err());
        assert!("=f.ivf".parse::<VideoFile>().is_err());
    }

    #[test]
    fn layers_must_differ_in_rid_and_agree_in_codec() {
        let stream = |codec, rid: Option<&str>| Stream {
            source: Source {
                codec,
                rid: rid.map(str::to_owned),
                ssrc: 1,
                rtx_ssrc: Some(2),
            },
            clip: Clip {
                codec,
                frames: [].into(),
                frame_ticks: 3000,
            },
        };
        let check = |layers: &[(Codec, Option<&str>)]| {
            check(
                &layers
                    .iter()
                    .map(|(c, r)| stream(*c, *r))
                    .collect::<Vec<_>>(),
            )
        };
        assert!(check(&[(Codec::H264, None)]).is_ok());
        assert!(check(&[(Codec::H264, Some("q")), (Codec::H264, Some("f"))]).is_ok());
        assert!(check(&[(Codec::H264, Some("q")), (Codec::H264, Some("q"))]).is_err());
        assert!(check(&[(Codec::H264, Some("q")), (Codec::H264, None)]).is_err());
        assert!(check(&[(Codec::H264, Some("q")), (Codec::Vp8, Some("f"))]).is_err());
        assert!(check(&[]).is_err());
    }
}
