//! What a forwarder has to know of payloads: which codec, whether a keyframe begins, how large the
//! picture is. Frames are never decoded.

mod av1;
mod bits;
pub mod dependency;
mod h264;
pub mod layering;
pub mod opus;
pub mod vp8;
pub mod vp9;

use layering::{Layering, SpatialSizes};

/// The codecs that are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7587.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 6184.
    H264,
    /// RFC 9628.
    Vp9,
    /// The AV1 RTP specification of AOMedia.
    Av1,
}

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Opus, Self::Vp8, Self::H264, Self::Vp9, Self::Av1];

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
        }
    }

    /// The codec of an encoding name, which case doesn't matter in (RFC 4855 §3).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(name))
    }

    /// RTP clock rate in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self.kind() {
            Kind::Audio => 48_000,
            Kind::Video => 90_000,
        }
    }

    /// Sound or picture.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Opus => Kind::Audio,
            _ => Kind::Video,
        }
    }
}

/// What a payload's headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadInfo {
    /// A keyframe begins here: with what comes from here on, a decoder can start.
    pub starts_keyframe: bool,
    /// Width and height in pixels of the largest picture, where the payload says.
    pub size: Option<(u16, u16)>,
    /// The same of every spatial layer, where the payload says.
    pub spatial_sizes: Option<SpatialSizes>,
    /// Which layer it is of, as far as the payload alone says; see
    /// [`layering::LayerTracker::place`].
    pub layering: Layering,
    /// VP8's descriptor, whose ids a forwarder rewrites.
    pub vp8: Option<vp8::Descriptor>,
    /// VP9's.
    pub vp9: Option<vp9::Descriptor>,
}

/// Reads the headers of a payload. Of what is cut off or wrong, it says no more than is there.
pub fn inspect(codec: Codec, payload: &[u8]) -> PayloadInfo {
    match codec {
        Codec::Opus => PayloadInfo::default(),
        Codec::Vp8 => vp8::inspect(payload).unwrap_or_default(),
        Codec::H264 => h264::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload).unwrap_or_default(),
        Codec::Av1 => av1::inspect(payload).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_name(&codec.name().to_uppercase()), Some(codec));
        }
        assert_eq!(Codec::from_name("H265"), None);
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), id in any::<u16>(), tl0 in any::<u8>()) {
            for codec in Codec::ALL {
                let info = inspect(codec, &bytes);
                if let Some(descriptor) = info.vp8 {
                    let mut copy = bytes.clone();
                    vp8::rewrite(&mut copy, &descriptor, Some(id), Some(tl0));
                    vp8::rewrite(&mut copy[..bytes.len() / 2], &descriptor, Some(id), Some(tl0));
                }
            }
        }
    }
}
