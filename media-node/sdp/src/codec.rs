//! Codecs as offers name them: payload types, format parameters, retransmission and feedback.

use showrunner_rtp::codec::Codec;

use crate::NegotiatedCodec;
use crate::offer::Attributes;

/// Longest format parameters that are kept; what is longer is not one of ours.
const MAX_FMTP: usize = 1024;

/// A payload type of an offer that carries a codec of ours.
#[derive(Clone, Debug)]
pub(crate) struct OfferedCodec {
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
    pub(crate) red_payload_type: Option<u8>,
    pub(crate) fmtp: Fmtp,
    pub(crate) feedback: Feedback,
}

impl OfferedCodec {
    /// The codec as an answer agrees to it, with the format parameters that `state` picks from the offer's.
    pub(crate) fn agreed(&self, state: impl Fn(&Fmtp) -> String) -> NegotiatedCodec {
        NegotiatedCodec {
            codec: self.codec,
            payload_type: self.payload_type,
            rtx_payload_type: self.rtx_payload_type,
            red_payload_type: self.red_payload_type,
            fmtp: state(&self.fmtp),
        }
    }
}

/// Feedback that the offer allows for a payload type (RFC 4585 §4.2, RFC 5104 §7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Feedback {
    pub(crate) nack: bool,
    pub(crate) nack_pli: bool,
    pub(crate) ccm_fir: bool,
    pub(crate) transport_cc: bool,
    pub(crate) goog_remb: bool,
}

impl Feedback {
    fn allow(&mut self, what: &str) {
        match what.trim() {
            "nack" => self.nack = true,
            "nack pli" => self.nack_pli = true,
            "ccm fir" => self.ccm_fir = true,
            "transport-cc" => self.transport_cc = true,
            "goog-remb" => self.goog_remb = true,
            _ => {}
        }
    }
}

/// Format parameters: `key=value` pairs between semicolons.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fmtp(String);

impl Fmtp {
    pub(crate) fn new(text: &str) -> Fmtp {
        Fmtp(text.to_owned())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(k, _)| k.trim().eq_ignore_ascii_case(key))
            .map(|(_, value)| value.trim())
            // So that nothing of it can break out of a line of the answer.
            .filter(|value| value.bytes().all(|b| b.is_ascii_graphic()))
    }

    /// The named parameters, in that order, as far as they are there.
    fn only(&self, keys: &[&str]) -> String {
        let pairs: Vec<String> = keys
            .iter()
            .filter_map(|key| Some(format!("{key}={}", self.get(key)?)))
            .collect();
        pairs.join(";")
    }

    /// What an answer to a host says: parameters that select the format, and what this node wants to receive.
    pub(crate) fn to_host(&self, codec: Codec) -> String {
        match codec {
            // Stereo is asked for where the host can send it (RFC 7587 §6.1); inband FEC costs little and helps.
            Codec::Opus => {
                let stereo = [self.get("stereo"), self.get("sprop-stereo")].contains(&Some("1"));
                opus(self, if stereo { ";stereo=1" } else { "" })
            }
            _ => self.video(codec),
        }
    }

    /// What an answer to a viewer says. Stereo is announced to those who ask for it.
    pub(crate) fn to_viewer(&self, codec: Codec) -> String {
        match codec {
            Codec::Opus => {
                let stereo = self.get("stereo") == Some("1");
                opus(
                    self,
                    if stereo {
                        ";stereo=1;sprop-stereo=1"
                    } else {
                        ""
                    },
                )
            }
            _ => self.video(codec),
        }
    }

    fn video(&self, codec: Codec) -> String {
        match codec {
            Codec::H264 => self.only(&[
                "level-asymmetry-allowed",
                "packetization-mode",
                "profile-level-id",
            ]),
            Codec::Vp9 => self.only(&["profile-id"]),
            Codec::Av1 => self.only(&["level-idx", "profile", "tier"]),
            Codec::Vp8 | Codec::Opus => String::new(),
        }
    }

    pub(crate) fn h264_profile(&self) -> H264Profile {
        H264Profile::from_level_id(self.get("profile-level-id"))
    }
}

fn opus(offer: &Fmtp, stereo: &str) -> String {
    let fec = if offer.get("useinbandfec") == Some("0") {
        0
    } else {
        1
    };
    format!("minptime=10;useinbandfec={fec}{stereo}")
}

/// The payload types of an m-section that carry codecs of ours, in the offer's order of preference.
pub(crate) fn offered_codecs(formats: &[String], own: Attributes<'_>) -> Vec<OfferedCodec> {
    let mut codecs: Vec<OfferedCodec> = Vec::new();
    for payload_type in formats.iter().filter_map(|f| f.parse::<u8>().ok()) {
        // RFC 5761 §4: 64 to 95 would be taken for RTCP.
        let usable = matches!(payload_type, 0..=63 | 96..=127);
        if !usable || codecs.iter().any(|c| c.payload_type == payload_type) {
            continue;
        }
        let fmtp = Fmtp::new(by_payload_type(own, "fmtp", payload_type).unwrap_or_default());
        let codec = by_payload_type(own, "rtpmap", payload_type).and_then(codec_of);
        if let Some(codec) = codec
            && fmtp.0.len() <= MAX_FMTP
            && is_forwarded(codec, &fmtp)
        {
            codecs.push(OfferedCodec {
                codec,
                payload_type,
                rtx_payload_type: rtx_for(payload_type, formats, own),
                red_payload_type: red_for(codec, payload_type, formats, own),
                fmtp,
                feedback: feedback_for(payload_type, own),
            });
        }
    }
    codecs
}

/// `opus/48000/2`, `VP8/90000` …
fn codec_of(rtpmap: &str) -> Option<Codec> {
    let mut parts = rtpmap.trim().split('/');
    let (name, clock_rate) = (parts.next()?, parts.next()?);
    match (name.to_ascii_lowercase().as_str(), clock_rate) {
        ("opus", "48000") => Some(Codec::Opus),
        ("vp8", "90000") => Some(Codec::Vp8),
        ("h264", "90000") => Some(Codec::H264),
        ("vp9", "90000") => Some(Codec::Vp9),
        ("av1", "90000") => Some(Codec::Av1),
        _ => None,
    }
}

/// Formats whose packets can be forwarded to every viewer of that codec: fragmentation for H.264 (RFC 6184 §6.3),
/// 8-bit 4:2:0 for VP9 and AV1.
fn is_forwarded(codec: Codec, fmtp: &Fmtp) -> bool {
    match codec {
        Codec::H264 => fmtp.get("packetization-mode") == Some("1"),
        Codec::Vp9 => matches!(fmtp.get("profile-id"), None | Some("0")),
        Codec::Av1 => matches!(fmtp.get("profile"), None | Some("0")),
        Codec::Opus | Codec::Vp8 => true,
    }
}

/// The value of `a={key}:{payload_type} {value}`.
fn by_payload_type<'a>(
    own: Attributes<'a>,
    key: &'static str,
    payload_type: u8,
) -> Option<&'a str> {
    own.all(key).find_map(|value| {
        let (number, rest) = value.split_once(' ')?;
        (number.parse() == Ok(payload_type)).then_some(rest)
    })
}

/// The payload type of RTX whose `apt` is the given one (RFC 4588 §8.1).
fn rtx_for(payload_type: u8, formats: &[String], own: Attributes<'_>) -> Option<u8> {
    own.all("fmtp").find_map(|value| {
        let (number, fmtp) = value.split_once(' ')?;
        let apt = Fmtp::new(fmtp).get("apt")?.parse::<u8>();
        if apt != Ok(payload_type) || !formats.iter().any(|f| f == number) {
            return None;
        }
        let rtx = number
            .parse()
            .ok()
            .filter(|pt| matches!(pt, 0..=63 | 96..=127))?;
        let name = by_payload_type(own, "rtpmap", rtx)?;
        name.to_ascii_lowercase().starts_with("rtx/").then_some(rtx)
    })
}

/// The payload type of redundant audio (RFC 2198 §5) all of whose frames have the given one. Of
/// pictures it means something else: the packets that ULPFEC goes with (RFC 5109).
fn red_for(codec: Codec, payload_type: u8, formats: &[String], own: Attributes<'_>) -> Option<u8> {
    if codec != Codec::Opus {
        return None;
    }
    own.all("fmtp").find_map(|value| {
        let (number, frames) = value.split_once(' ')?;
        let is_of_codec = |frame: &str| frame.trim().parse() == Ok(payload_type);
        if !frames.split('/').all(is_of_codec) || !formats.iter().any(|f| f == number) {
            return None;
        }
        let red = number
            .parse()
            .ok()
            .filter(|pt| matches!(pt, 0..=63 | 96..=127))?;
        let name = by_payload_type(own, "rtpmap", red)?.to_ascii_lowercase();
        (name.trim() == "red/48000/2").then_some(red)
    })
}

fn feedback_for(payload_type: u8, own: Attributes<'_>) -> Feedback {
    let mut feedback = Feedback::default();
    for value in own.all("rtcp-fb") {
        if let Some((number, what)) = value.split_once(' ')
            && (number == "*" || number.parse() == Ok(payload_type))
        {
            feedback.allow(what);
        }
    }
    feedback
}

/// A profile of H.264, from the first two bytes of `profile-level-id` (RFC 6184 §8.1, table 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    Extended,
    ConstrainedHigh,
    High,
    Other(u8, u8),
}

impl H264Profile {
    fn from_level_id(text: Option<&str>) -> H264Profile {
        // RFC 6184 §8.1: absent means Baseline, level 1.
        let id = match text.map(|t| u32::from_str_radix(t, 16)) {
            Some(Ok(id)) if id <= 0xff_ffff => id,
            _ => 0x42_000a,
        };
        let [_, idc, iop, _level] = id.to_be_bytes();
        match idc {
            0x42 if iop & 0x4f == 0x40 => H264Profile::ConstrainedBaseline,
            0x4d if iop & 0x8f == 0x80 => H264Profile::ConstrainedBaseline,
            0x58 if iop & 0xcf == 0xc0 => H264Profile::ConstrainedBaseline,
            0x42 if iop & 0x4f == 0 => H264Profile::Baseline,
            0x58 if iop & 0xcf == 0x80 => H264Profile::Baseline,
            0x4d if iop & 0xaf == 0 => H264Profile::Main,
            0x58 if iop & 0xcf == 0 => H264Profile::Extended,
            0x64 if iop == 0x0c => H264Profile::ConstrainedHigh,
            0x64 if iop == 0 => H264Profile::High,
            _ => H264Profile::Other(idc, iop),
        }
    }

    /// How far a decoder of this profile is from one made for `stream`: 0 the same, 1 able to decode it, 2 neither.
    pub(crate) fn distance(self, stream: H264Profile) -> u8 {
        use H264Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
        let decodes = match stream {
            ConstrainedBaseline => {
                matches!(self, Baseline | Main | ConstrainedHigh | High)
            }
            Main | ConstrainedHigh => self == High,
            _ => false,
        };
        match (self == stream, decodes) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: &str) -> H264Profile {
        H264Profile::from_level_id(Some(id))
    }

    #[test]
    fn profile_level_ids_map_to_the_profiles_of_rfc_6184() {
        assert_eq!(profile("42e01f"), H264Profile::ConstrainedBaseline);
        assert_eq!(profile("42001f"), H264Profile::Baseline);
        assert_eq!(profile("4d001f"), H264Profile::Main);
        assert_eq!(profile("4d801f"), H264Profile::ConstrainedBaseline);
        assert_eq!(profile("64001f"), H264Profile::High);
        assert_eq!(profile("640c1f"), H264Profile::ConstrainedHigh);
        assert_eq!(profile("f4001f"), H264Profile::Other(0xf4, 0));
    }

    #[test]
    fn a_missing_or_unreadable_profile_means_baseline() {
        assert_eq!(H264Profile::from_level_id(None), H264Profile::Baseline);
        assert_eq!(profile("not hex"), H264Profile::Baseline);
        assert_eq!(profile("42e01f00"), H264Profile::Baseline);
    }

    #[test]
    fn format_parameters_are_found_whatever_their_case_and_spacing() {
        let fmtp = Fmtp::new("Packetization-Mode=1; profile-level-id = 42e01f;apt");
        assert_eq!(fmtp.get("packetization-mode"), Some("1"));
        assert_eq!(fmtp.get("profile-level-id"), Some("42e01f"));
        assert_eq!(fmtp.get("apt"), None);
    }

    #[test]
    fn stereo_goes_both_ways_only_where_it_was_offered() {
        let mono = Fmtp::new("minptime=10;useinbandfec=1");
        assert_eq!(mono.to_host(Codec::Opus), "minptime=10;useinbandfec=1");
        let stereo = Fmtp::new("sprop-stereo=1;useinbandfec=0");
        assert_eq!(
            stereo.to_host(Codec::Opus),
            "minptime=10;useinbandfec=0;stereo=1"
        );
        assert_eq!(stereo.to_viewer(Codec::Opus), "minptime=10;useinbandfec=0");
        let asks = Fmtp::new("stereo=1");
        assert_eq!(
            asks.to_viewer(Codec::Opus),
            "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"
        );
    }
}
