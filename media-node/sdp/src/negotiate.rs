//! What of an offer is accepted: from hosts one codec a track, from viewers every codec that may come.

use showrunner_rtp::codec::Codec;

use crate::codec::OfferedCodec;
use crate::error::{Direction, MediaKind};
use crate::offer::Section;
use crate::{
    Offer, OfferError, Publishing, RecvTrack, SendTrack, Watching, codec::Fmtp, codec::H264Profile,
};

/// What is on air in a room, as far as an answer to a viewer must know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Codec of the sound; none: no sound.
    pub audio: Option<Codec>,
    /// Codec of the picture and its format parameters; none: no picture.
    pub video: Option<(Codec, String)>,
}

/// What a room lets its hosts send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishRules {
    /// Codecs of the picture, the best first; empty: all that the node forwards, as the host prefers.
    pub codecs: Vec<Codec>,
    /// The most simulcast layers; none: any number.
    pub max_layers: Option<u8>,
}

/// Judges a host's offer (WHIP, RFC 9725).
///
/// Of each track exactly one codec is taken, so that a host can't change it under its viewers: the first of the room's
/// that is offered, or the first of the offer that the node forwards. Of layers that are too many the last ones are
/// taken: hosts name them from the smallest to the largest.
///
/// # Errors
/// A track that the host does not send, or without a codec of ours, or with layers that can't be told apart. Nothing is
/// accepted by halves (RFC 9725 §4.4.2).
pub fn accept_publish(offer: &Offer, rules: &PublishRules) -> Result<Publishing, OfferError> {
    let track = |kind| {
        offer
            .section(kind)
            .map(|section| receive(section, kind, rules))
            .transpose()
    };
    Ok(Publishing {
        remote: offer.remote.clone(),
        audio: track(MediaKind::Audio)?,
        video: track(MediaKind::Video)?,
    })
}

/// Judges a transcoder's offer: further layers of the picture that is on air, in its codec.
///
/// # Errors
/// As of a host's offer; and sound, no picture, or one in another codec.
pub fn accept_layers(offer: &Offer, on_air: Codec) -> Result<Publishing, OfferError> {
    let has = |kind| offer.section(kind).is_some();
    if has(MediaKind::Audio) || !has(MediaKind::Video) {
        return Err(OfferError::NotPictureAlone);
    }
    let rules = PublishRules {
        codecs: vec![on_air],
        max_layers: None,
    };
    accept_publish(offer, &rules)
}

fn receive(
    section: &Section,
    kind: MediaKind,
    rules: &PublishRules,
) -> Result<RecvTrack, OfferError> {
    if !matches!(section.direction, Direction::SendOnly | Direction::SendRecv) {
        return Err(OfferError::NotSending {
            kind,
            direction: section.direction,
        });
    }
    let chosen = preferred(section, kind, rules)?;
    let rids = match kind {
        MediaKind::Audio => Vec::new(),
        MediaKind::Video => last(&section.rids, rules.max_layers),
    };
    if !rids.is_empty() && section.extensions.rid.is_none() {
        return Err(OfferError::NoRidExtension);
    }
    let extensions = section
        .extensions
        .receivable(!rids.is_empty(), chosen.feedback.transport_cc);
    Ok(RecvTrack {
        mid: section.mid.clone(),
        codecs: vec![chosen.agreed(|fmtp| fmtp.to_host(chosen.codec))],
        extensions,
        rids,
    })
}

fn preferred<'a>(
    section: &'a Section,
    kind: MediaKind,
    rules: &PublishRules,
) -> Result<&'a OfferedCodec, OfferError> {
    let mut usable = section.codecs.iter().filter(|c| fits(c.codec, kind));
    if kind == MediaKind::Audio || rules.codecs.is_empty() {
        return usable.next().ok_or(OfferError::NoSupportedCodec {
            kind,
            supported: supported(kind),
        });
    }
    let rank = |c: &&OfferedCodec| rules.codecs.iter().position(|allowed| *allowed == c.codec);
    let allowed = usable.filter_map(|c| Some((rank(&c)?, c)));
    // The first of equals.
    let best = allowed.min_by_key(|(rank, _)| *rank);
    best.map(|(_, c)| c).ok_or_else(|| OfferError::NotInRoom {
        codecs: rules
            .codecs
            .iter()
            .map(|c| name(*c))
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn last(rids: &[String], most: Option<u8>) -> Vec<String> {
    let most = most.map_or(usize::MAX, usize::from);
    rids.iter()
        .skip(rids.len().saturating_sub(most))
        .cloned()
        .collect()
}

/// Judges a viewer's offer (WHEP).
///
/// Every codec that the viewer offers and the node forwards is agreed on, each once, the program's first: the program may
/// come from another host later. A track of which nothing is on air yet is negotiated all the same. `ssrc` gives the
/// numbers that the node will send with.
///
/// # Errors
/// A track that the viewer does not receive, or without the codec that is on air.
pub fn accept_watch(
    offer: &Offer,
    on_air: &Program,
    mut ssrc: impl FnMut() -> u32,
) -> Result<Watching, OfferError> {
    let mut track = |kind, program| {
        offer
            .section(kind)
            .map(|section| send(section, kind, program, &mut ssrc))
            .transpose()
    };
    let audio = on_air.audio.map(|codec| (codec, ""));
    let video = on_air
        .video
        .as_ref()
        .map(|(codec, fmtp)| (*codec, fmtp.as_str()));
    Ok(Watching {
        remote: offer.remote.clone(),
        audio: track(MediaKind::Audio, audio)?,
        video: track(MediaKind::Video, video)?,
    })
}

fn send(
    section: &Section,
    kind: MediaKind,
    program: Option<(Codec, &str)>,
    ssrc: &mut impl FnMut() -> u32,
) -> Result<SendTrack, OfferError> {
    if !matches!(section.direction, Direction::RecvOnly | Direction::SendRecv) {
        return Err(OfferError::NotReceiving {
            kind,
            direction: section.direction,
        });
    }
    let profile = program.map(|(_, fmtp)| Fmtp::new(fmtp).h264_profile());
    let mut chosen = one_of_each(section, kind, profile);
    if let Some((on_air, fmtp)) = program
        && !chosen.iter().any(|c| c.codec == on_air)
    {
        return Err(OfferError::NotOnAir {
            kind,
            codec: name(on_air),
            parameters: match fmtp {
                "" => String::new(),
                fmtp => format!(" ({fmtp})"),
            },
        });
    }
    if chosen.is_empty() {
        return Err(OfferError::NoSupportedCodec {
            kind,
            supported: supported(kind),
        });
    }
    // Stable: the others keep the viewer's order.
    chosen.sort_by_key(|c| Some(c.codec) != program.map(|(codec, _)| codec));
    let has_rtx = chosen.iter().any(|c| c.rtx_payload_type.is_some());
    // Of all codecs or of none: a number means nothing to a receiver that reports on some of a path's packets only.
    let transport_cc = chosen.iter().all(|c| c.feedback.transport_cc);
    Ok(SendTrack {
        mid: section.mid.clone(),
        codecs: chosen
            .iter()
            .map(|c| c.agreed(|fmtp| fmtp.to_viewer(c.codec)))
            .collect(),
        extensions: section.extensions.sendable(
            &section.mid,
            transport_cc,
            section.mixed_extensions,
        ),
        ssrc: ssrc(),
        rtx_ssrc: has_rtx.then(ssrc),
    })
}

/// The best payload type of each codec: for H.264 the one whose profile is nearest to the program's, else the first.
fn one_of_each(
    section: &Section,
    kind: MediaKind,
    profile: Option<H264Profile>,
) -> Vec<&OfferedCodec> {
    let distance = |c: &OfferedCodec| match (c.codec, profile) {
        (Codec::H264, Some(stream)) => c.fmtp.h264_profile().distance(stream),
        _ => 0,
    };
    let mut chosen: Vec<&OfferedCodec> = Vec::new();
    for candidate in section.codecs.iter().filter(|c| fits(c.codec, kind)) {
        match chosen.iter_mut().find(|c| c.codec == candidate.codec) {
            Some(best) if distance(candidate) < distance(best) => *best = candidate,
            Some(_) => {}
            None => chosen.push(candidate),
        }
    }
    chosen
}

fn fits(codec: Codec, kind: MediaKind) -> bool {
    match codec {
        Codec::Opus => kind == MediaKind::Audio,
        Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1 => kind == MediaKind::Video,
    }
}

fn supported(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "opus/48000/2",
        MediaKind::Video => {
            "VP8, H264 with packetization-mode=1, VP9 with profile-id=0 or AV1 with profile=0"
        }
    }
}

/// The encoding name as `a=rtpmap` has it.
pub(crate) fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Vp8 => "VP8",
        Codec::H264 => "H264",
        Codec::Vp9 => "VP9",
        Codec::Av1 => "AV1",
    }
}
