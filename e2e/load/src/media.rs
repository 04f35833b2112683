//! Encoded files, read whole into memory as frames.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use showrunner_rtp::codec::Codec;
use showrunner_rtp::packetize::{Temporal, nal_units};

/// One encoded frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The bytes, as the codec's packetizer takes them.
    pub data: Vec<u8>,
    /// A decoder can begin here.
    pub key: bool,
    /// Its temporal layer; for VP8 alone.
    pub temporal: Temporal,
}

impl Frame {
    fn new(data: Vec<u8>, key: bool) -> Self {
        Self {
            data,
            key,
            temporal: Temporal::default(),
        }
    }
}

/// The temporal layers of frames in turn, as libvpx makes them (`ts_layering_mode` 2 and 3 of FFmpeg), for one, two and
/// three layers; and which of them build on the lowest alone.
const PATTERNS: [&[(u8, bool)]; 3] = [
    &[(0, false)],
    &[(0, false), (1, true)],
    &[(0, false), (2, true), (1, true), (2, false)],
];

/// A stream that is played over and over.
#[derive(Clone, Debug)]
pub struct Clip {
    /// What it is encoded with.
    pub codec: Codec,
    /// Its frames, at least one; the first is a keyframe.
    pub frames: Arc<[Frame]>,
    /// Time between frames, in RTP timestamp units.
    pub frame_ticks: u32,
}

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It can't be read.
    #[error("can't read {0}: {1}")]
    Read(String, std::io::Error),
    /// Its contents are wrong.
    #[error("{0} {1}")]
    Format(String, &'static str),
}

impl Clip {
    /// Reads a video: Annex B H.264 (`.h264`) or VP8 in IVF (`.ivf`). Annex B says nothing of time,
    /// so `fps` counts there; and IVF nothing of temporal layers: it is told how many there are, three at most.
    ///
    /// # Errors
    /// If it can't be read or isn't one of these.
    pub fn video(path: &Path, fps: u32, temporal_layers: usize) -> Result<Self, MediaError> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|e| MediaError::Read(name.clone(), e))?;
        let (codec, frames, frame_ticks) = match path.extension().and_then(|e| e.to_str()) {
            Some("h264") => (Codec::H264, access_units(&bytes), 90_000 / fps.max(1)),
            Some("ivf") => {
                let (mut frames, ticks) =
                    ivf(&bytes).map_err(|e| MediaError::Format(name.clone(), e))?;
                lay(&mut frames, temporal_layers)
                    .map_err(|e| MediaError::Format(name.clone(), e))?;
                (Codec::Vp8, frames, ticks)
            }
            _ => return Err(MediaError::Format(name, "is neither .h264 nor .ivf")),
        };
        if !frames.first().is_some_and(|f| f.key) {
            return Err(MediaError::Format(name, "doesn't begin with a keyframe"));
        }
        Ok(Self {
            codec,
            frames: frames.into(),
            frame_ticks,
        })
    }

    /// Reads Opus in Ogg (RFC 7845); all packets must be of the same length in time.
    ///
    /// # Errors
    /// If it can't be read or isn't that.
    pub fn opus(path: &Path) -> Result<Self, MediaError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| MediaError::Read(name.clone(), e))?;
        let wrong = |what| MediaError::Format(name.clone(), what);
        let mut reader = ogg::PacketReader::new(file);
        let mut frames = Vec::new();
        while let Some(packet) = reader
            .read_packet()
            .map_err(|_| wrong("isn't a whole Ogg stream"))?
        {
            let is_header =
                packet.data.starts_with(b"OpusHead") || packet.data.starts_with(b"OpusTags");
            if !is_header {
                frames.push(Frame::new(packet.data, true));
            }
        }
        let ticks = frames.first().and_then(|f| opus_ticks(&f.data));
        let frame_ticks = ticks.ok_or_else(|| wrong("has no Opus packets"))?;
        if frames
            .iter()
            .any(|f| opus_ticks(&f.data) != Some(frame_ticks))
        {
            return Err(wrong("has Opus packets of different lengths in time"));
        }
        Ok(Self {
            codec: Codec::Opus,
            frames: frames.into(),
            frame_ticks,
        })
    }
}

/// Says of which temporal layer each frame is, as their order tells.
fn lay(frames: &mut [Frame], temporal_layers: usize) -> Result<(), &'static str> {
    let pattern = PATTERNS[temporal_layers.clamp(1, PATTERNS.len()) - 1];
    for (frame, (layer, is_sync)) in frames.iter_mut().zip(pattern.iter().cycle()) {
        let (layer, is_sync) = (*layer, *is_sync);
        if frame.key && layer > 0 {
            return Err("has a keyframe in an upper temporal layer: is their number right?");
        }
        frame.temporal = Temporal { layer, is_sync };
    }
    Ok(())
}

/// How long an Opus packet sounds, in units of 1/48,000 s (RFC 6716 §3.1 and §3.2).
fn opus_ticks(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = usize::from(toc >> 3);
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][config % 4], // SILK
        12..16 => [480, 960][config % 2],            // hybrid
        _ => [120, 240, 480, 960][config % 4],       // CELT
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * count).filter(|ticks| *ticks > 0)
}

/// IVF: a header of 32 bytes, then frames with headers of 12.
fn ivf(bytes: &[u8]) -> Result<(Vec<Frame>, u32), &'static str> {
    let le32 = |at: usize| {
        let chunk = bytes.get(at..).and_then(|b| b.first_chunk::<4>());
        chunk.map(|b| u32::from_le_bytes(*b)).ok_or("is cut off")
    };
    if bytes.get(..4) != Some(b"DKIF") || bytes.get(8..12) != Some(b"VP80") {
        return Err("isn't VP8 in IVF");
    }
    let (rate, scale) = (le32(16)?, le32(20)?);
    let ticks = (90_000 * u64::from(scale))
        .checked_div(u64::from(rate))
        .unwrap_or(0);
    let ticks = u32::try_from(ticks)
        .ok()
        .filter(|t| *t > 0)
        .ok_or("has no frame rate")?;
    let mut frames = Vec::new();
    let mut at = 32;
    while at < bytes.len() {
        let len = le32(at)? as usize;
        let data = bytes
            .get(at + 12..at + 12 + len)
            .ok_or("is cut off")?
            .to_vec();
        let key = data.first().is_some_and(|b| b & 1 == 0);
        frames.push(Frame::new(data, key));
        at += 12 + len;
    }
    Ok((frames, ticks))
}

/// Cuts an Annex B stream into access units (ITU-T H.264 §7.4.1.2.3): after a picture's slices, a
/// new one begins with what precedes slices, or with a slice of the picture's first macroblock.
fn access_units(stream: &[u8]) -> Vec<Frame> {
    const SLICE: u8 = 1;
    const IDR: u8 = 5;
    let mut frames = Vec::new();
    let mut current = Frame::new(Vec::new(), false);
    let mut has_slice = false;
    for unit in nal_units(stream) {
        let kind = unit.first().map_or(0, |header| header & 0x1f);
        let is_slice = matches!(kind, SLICE..=IDR);
        // first_mb_in_slice is 0: one bit, which is set.
        let is_first_slice = is_slice && unit.get(1).is_some_and(|b| b & 0x80 != 0);
        if has_slice && (is_first_slice || matches!(kind, 6..=9 | 14..=18)) {
            let next = Frame::new(Vec::new(), false);
            frames.push(std::mem::replace(&mut current, next));
            has_slice = false;
        }
        has_slice |= is_slice;
        current.key |= kind == IDR;
        current.data.extend([0, 0, 0, 1]);
        current.data.extend_from_slice(unit);
    }
    if has_slice {
        frames.push(current);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_unit_has_all_slices_of_its_picture_and_what_precedes_them() {
        let stream = [
            &[0, 0, 0, 1, 0x67, 1][..],
            &[0, 0, 1, 0x68, 2],
            &[0, 0, 1, 0x65, 0x80, 3],
            &[0, 0, 1, 0x65, 0x40, 4], // a later slice of the same picture
            &[0, 0, 1, 0x41, 0x80, 5],
            &[0, 0, 1, 0x09, 0xf0],
            &[0, 0, 1, 0x41, 0x80, 6],
        ]
        .concat();
        let units = access_units(&stream);
        assert_eq!(
            units.iter().map(|u| u.key).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert_eq!(units[1].data, [0, 0, 0, 1, 0x41, 0x80, 5]);
        assert_eq!(
            units[2].data,
            [0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x41, 0x80, 6]
        );
    }

    #[test]
    fn ivf_frames_have_the_rate_of_the_header() {
        let mut bytes = b"DKIF\0\0\x20\0VP80\0\0\0\0".to_vec();
        bytes.extend(30u32.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend([0; 8]);
        for frame in [[0u8, 9], [1, 9]] {
            bytes.extend(2u32.to_le_bytes());
            bytes.extend([0; 8]);
            bytes.extend(frame);
        }
        let (frames, ticks) = ivf(&bytes).unwrap();
        assert_eq!(ticks, 3000);
        assert_eq!(
            frames.iter().map(|f| f.key).collect::<Vec<_>>(),
            [true, false]
        );
        assert!(ivf(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn temporal_layers_follow_from_the_order_of_frames() {
        let frames = |keys: &[usize]| -> Vec<Frame> {
            let frames = (0..8).map(|n| Frame::new(vec![0], keys.contains(&n)));
            frames.collect()
        };
        let mut three = frames(&[0, 4]);
        lay(&mut three, 3).unwrap();
        let layers: Vec<u8> = three.iter().map(|frame| frame.temporal.layer).collect();
        assert_eq!(layers, [0, 2, 1, 2, 0, 2, 1, 2]);
        // The last of four builds on that of layer 1.
        let synced = |n: usize| three[n].temporal.is_sync;
        assert_eq!([1, 2, 3].map(synced), [true, true, false]);
        assert!(lay(&mut frames(&[0, 3]), 3).is_err());
        assert!(lay(&mut frames(&[0, 3]), 1).is_ok());
    }

    #[test]
    fn opus_packets_tell_their_length() {
        assert_eq!(opus_ticks(&[19 << 3]), Some(960)); // CELT, 20 ms
        assert_eq!(opus_ticks(&[0]), Some(480)); // SILK, 10 ms
        assert_eq!(opus_ticks(&[1 << 3 | 1]), Some(1920)); // two of 20 ms
        assert_eq!(opus_ticks(&[1 << 3 | 3, 3]), Some(2880)); // three of 20 ms
        assert_eq!(opus_ticks(&[3]), None);
        assert_eq!(opus_ticks(&[]), None);
    }
}
