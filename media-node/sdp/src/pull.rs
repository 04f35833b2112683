//! The other side of WHEP: the offer of a node that is a viewer of another server, and what that server answers.

use std::fmt::Write;
use std::io::Cursor;
use std::net::SocketAddr;

use rtc_sdp::description::session::SessionDescription;
use showrunner_rtp::codec::{Codec, Kind};

use crate::error::{Direction, MediaKind};
use crate::negotiate::name;
use crate::offer::{
    Attributes, GCM, MAX_BYTES, MAX_SECTIONS, MIXED, SRTP_PROFILES, Section, bundle_group,
    check_transport, read_remote,
};
use crate::{CandidateTransport, ExtensionIds, Local, Publishing, RecvTrack, Setup};

macro_rules! h264 {
    ($profile:literal) => {
        concat!(
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=",
            $profile
        )
    };
}

/// The most addresses of a server that are taken from its answer.
const MAX_CANDIDATES: usize = 8;
/// Payload types of sound, plain and repeated.
const OPUS: u8 = 96;
const RED: u8 = 97;
/// Payload types of pictures with their formats; the one after each is that of its retransmissions.
const VIDEO: [(Codec, u8, &str); 7] = [
    (Codec::H264, 98, h264!("42e01f")),
    (Codec::H264, 100, h264!("4d001f")),
    (Codec::H264, 102, h264!("640c1f")),
    (Codec::H264, 104, h264!("64001f")),
    (Codec::Vp8, 106, ""),
    (Codec::Vp9, 108, "profile-id=0"),
    (Codec::Av1, 110, ""),
];

/// Why the answer to a node's own offer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not SDP, or more of it than any real answer has.
    #[error("it is not SDP")]
    Malformed,
    /// It has neither sound nor picture.
    #[error("it sends neither sound nor picture")]
    NothingSent,
    /// A codec that the room does not take.
    #[error("its {0} has no codec that the room takes")]
    NoCommonCodec(MediaKind),
    /// Its transport is none that the node can use.
    #[error("its ICE, DTLS or RTP transport can't be used")]
    Transport,
    /// It does not say where it is.
    #[error("it names no UDP address of the server")]
    NoAddress,
}

/// What a server answers, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulling {
    /// What comes from it, as from a host.
    pub publishing: Publishing,
    /// Its UDP addresses, the best first; at least one.
    pub candidates: Vec<SocketAddr>,
}

/// The offer of a node that wants a show from another server: sound, and pictures of these codecs, the best first; none:
/// of all that it forwards.
#[must_use]
pub fn offer_pull(codecs: &[Codec], local: &Local) -> String {
    let mut text = format!(
        "v=0\r\no=- {} 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na={MIXED}\r\n\
         a={SRTP_PROFILES}:{GCM}\r\n",
        local.session_id
    );
    section(&mut text, MediaKind::Audio, &[OPUS, RED], local);
    text.push_str(&format!(
        "a=rtpmap:{OPUS} opus/48000/2\r\na=fmtp:{OPUS} minptime=10;useinbandfec=1;stereo=1\r\n\
         a=rtcp-fb:{OPUS} transport-cc\r\na=rtpmap:{RED} red/48000/2\r\na=fmtp:{RED} {OPUS}/{OPUS}\r\n"
    ));
    let offered = wanted(codecs);
    let payload_types: Vec<u8> = offered
        .iter()
        .flat_map(|(_, pt, _)| [*pt, pt + 1])
        .collect();
    section(&mut text, MediaKind::Video, &payload_types, local);
    for (codec, pt, fmtp) in offered {
        // Writing to a String can't fail.
        let _ = write!(text, "a=rtpmap:{pt} {}/90000\r\n", name(codec));
        if !fmtp.is_empty() {
            let _ = write!(text, "a=fmtp:{pt} {fmtp}\r\n");
        }
        for feedback in ["nack", "nack pli", "transport-cc"] {
            let _ = write!(text, "a=rtcp-fb:{pt} {feedback}\r\n");
        }
        let rtx = pt + 1;
        let _ = write!(
            text,
            "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n"
        );
    }
    text
}

/// The formats of these codecs.
fn wanted(codecs: &[Codec]) -> Vec<(Codec, u8, &'static str)> {
    let rank = |codec: Codec| codecs.iter().position(|one| *one == codec);
    let mut formats: Vec<_> = VIDEO
        .into_iter()
        .filter(|(codec, ..)| codecs.is_empty() || rank(*codec).is_some())
        .collect();
    // Stable: the formats of one codec keep their order.
    formats.sort_by_key(|(codec, ..)| rank(*codec));
    formats
}

/// What all formats of an m-section have in common.
fn section(text: &mut String, kind: MediaKind, payload_types: &[u8], local: &Local) {
    let formats: Vec<String> = payload_types.iter().map(u8::to_string).collect();
    let mid = mid(kind);
    // Writing to a String can't fail.
    let _ = write!(
        text,
        "m={kind} 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
         a=ice-options:trickle\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=rtcp-xr:rcvr-rtt=all\r\na=recvonly\r\n",
        formats.join(" "),
        local.ice.ufrag,
        local.ice.pwd,
        crate::answer::Hex(&local.fingerprint),
    );
    for (id, uri) in extensions(kind).agreed() {
        let _ = write!(text, "a=extmap:{id} {uri}\r\n");
    }
    let udp = local.candidates.iter().enumerate();
    let udp = udp.filter(|(_, one)| one.transport == CandidateTransport::Udp);
    for (rank, candidate) in udp {
        let _ = write!(text, "a={}\r\n", candidate.attribute(rank));
    }
    text.push_str("a=end-of-candidates\r\n");
}

fn mid(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "0",
        MediaKind::Video => "1",
    }
}

/// The header extensions that the node has a use for.
fn extensions(kind: MediaKind) -> ExtensionIds {
    let is_video = kind == MediaKind::Video;
    ExtensionIds {
        mid: Some(1),
        transport_cc: Some(2),
        orientation: is_video.then_some(3),
        dependency_descriptor: is_video.then_some(4),
        ..ExtensionIds::default()
    }
}

/// Reads the answer to an offer of [`offer_pull`] with the same codecs.
///
/// # Errors
/// Why it is of no use.
pub fn read_pull_answer(text: &str, codecs: &[Codec]) -> Result<Pulling, AnswerError> {
    if text.len() > MAX_BYTES {
        return Err(AnswerError::Malformed);
    }
    let sdp = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
        .map_err(|_| AnswerError::Malformed)?;
    if sdp.media_descriptions.len() > MAX_SECTIONS {
        return Err(AnswerError::Malformed);
    }
    let session = Attributes(&sdp.attributes);
    let mut sections = Vec::new();
    for media in &sdp.media_descriptions {
        let section = Section::read(session, media).map_err(|_| AnswerError::Malformed)?;
        let is_ours = section.wanted.is_some_and(|kind| section.mid == mid(kind));
        let sends = matches!(section.direction, Direction::SendOnly | Direction::SendRecv);
        if is_ours && sends {
            check_transport(&section, media).map_err(|_| AnswerError::Transport)?;
            sections.push((section, Attributes(&media.attributes)));
        }
    }
    let bundle = bundle_group(session);
    let is_bundled = |(section, _): &(Section, _)| bundle.contains(&section.mid);
    if sections.len() > 2 || (sections.len() == 2 && !sections.iter().all(is_bundled)) {
        return Err(AnswerError::Transport);
    }
    // The one that the transport is described in.
    let place = |section: &Section| bundle.iter().position(|mid| *mid == section.mid);
    let tagged = sections.iter().min_by_key(|(section, _)| place(section));
    let (tagged, own) = tagged.ok_or(AnswerError::NothingSent)?;
    let remote = read_remote(session, *own, &tagged.mid).map_err(|_| AnswerError::Transport)?;
    if remote.setup == Setup::ActPass {
        return Err(AnswerError::Transport);
    }
    let candidates = candidates(session, *own);
    if candidates.is_empty() {
        return Err(AnswerError::NoAddress);
    }
    let track = |kind| {
        let mut of_kind = sections.iter().map(|(section, _)| section);
        let section = of_kind.find(|section| section.wanted == Some(kind));
        section
            .map(|section| receive(section, kind, codecs))
            .transpose()
    };
    Ok(Pulling {
        publishing: Publishing {
            remote,
            audio: track(MediaKind::Audio)?,
            video: track(MediaKind::Video)?,
        },
        candidates,
    })
}

/// Of the codecs that are agreed on the first: a server answers with that of the show first.
fn receive(section: &Section, kind: MediaKind, rules: &[Codec]) -> Result<RecvTrack, AnswerError> {
    let fits = |codec: Codec| match kind {
        MediaKind::Audio => codec.kind() == Kind::Audio,
        MediaKind::Video => {
            codec.kind() == Kind::Video && (rules.is_empty() || rules.contains(&codec))
        }
    };
    let chosen = section.codecs.iter().find(|c| fits(c.codec));
    let chosen = chosen.ok_or(AnswerError::NoCommonCodec(kind))?;
    Ok(RecvTrack {
        mid: section.mid.clone(),
        codecs: vec![chosen.agreed(|fmtp| fmtp.to_host(chosen.codec))],
        extensions: section
            .extensions
            .receivable(false, chosen.feedback.transport_cc),
        rids: Vec::new(),
    })
}

/// UDP addresses (RFC 8839 §5.1), of either level. Names, as of mDNS, are passed over.
fn candidates(session: Attributes<'_>, own: Attributes<'_>) -> Vec<SocketAddr> {
    let lines = own.all("candidate").chain(session.all("candidate"));
    let mut found: Vec<(u32, SocketAddr)> = lines.filter_map(candidate).collect();
    found.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for (_, address) in found {
        if addresses.len() < MAX_CANDIDATES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn candidate(value: &str) -> Option<(u32, SocketAddr)> {
    let mut words = value.split_ascii_whitespace();
    let (_foundation, component) = (words.next()?, words.next()?);
    let (transport, priority) = (words.next()?, words.next()?.parse().ok()?);
    let address = SocketAddr::new(words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let is_udp = component == "1" && transport.eq_ignore_ascii_case("udp");
    (is_udp && address.port() != 0).then_some((priority, address))
}
