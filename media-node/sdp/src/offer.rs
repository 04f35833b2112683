//! Reads an offer: SDP text in, the m-sections that matter and the client's transport out.
//!
//! What holds for every offer is checked here (RFC 9725 §4.4, RFC 9429): one bundle, RTP over DTLS-SRTP with RTCP
//! multiplexed, full ICE, a sha-256 fingerprint, a DTLS handshake. What depends on the purpose
//! (direction, codecs) is judged by [`crate::accept_publish`] and [`crate::accept_watch`].

use std::io::Cursor;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;

use crate::codec::{OfferedCodec, offered_codecs};
use crate::error::{Direction, MediaKind};
use crate::{ExtensionIds, IceParameters, OfferError, Remote, Setup};

/// Longest offer that is read. Browsers send less than 10 KiB.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// Most m-sections that are read.
pub(crate) const MAX_SECTIONS: usize = 16;
/// Most simulcast layers that are taken.
pub(crate) const MAX_RIDS: usize = 4;
/// RFC 8285 §6.
pub(crate) const MIXED: &str = "extmap-allow-mixed";
/// Longest a=mid.
const MAX_MID: usize = 64;

/// A session attribute of this project: the names of the SRTP profiles that the client is sure to know, by spaces.
pub(crate) const SRTP_PROFILES: &str = "showrunner-srtp-profiles";
/// The one that matters (RFC 7714 §14.2).
pub(crate) const GCM: &str = "AEAD_AES_128_GCM";

/// A client's offer, read and found to be one that the node's transport can serve.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(crate) sections: Vec<Section>,
    /// Mids of the first BUNDLE group, in its order.
    pub(crate) bundle: Vec<String>,
    /// Extensions of both forms may stand in one packet, for all m-sections (RFC 8285 §6).
    pub(crate) mixed_extensions: bool,
    pub(crate) remote: Remote,
}

/// One m-section of an offer.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// As in the m-line: `audio`, `video`, `application` …
    pub(crate) media: String,
    pub(crate) protocol: String,
    pub(crate) formats: Vec<String>,
    pub(crate) mid: String,
    /// Audio or video that the client did not switch off; the only sections that are negotiated.
    pub(crate) wanted: Option<MediaKind>,
    pub(crate) direction: Direction,
    pub(crate) rtcp_rsize: bool,
    /// Whether the client wants to learn the round trip though it sends nothing (RFC 3611 §5.1).
    pub(crate) receiver_rtt: bool,
    pub(crate) codecs: Vec<OfferedCodec>,
    pub(crate) extensions: ExtensionIds,
    /// Extensions of both forms may stand in one stream (RFC 8285 §6), by this section or the session.
    pub(crate) mixed_extensions: bool,
    /// RIDs to be sent, in the order of `a=simulcast`.
    pub(crate) rids: Vec<String>,
}

impl Offer {
    /// Reads an offer of at most 64 KiB and 16 m-sections.
    ///
    /// # Errors
    /// Says what the client should change.
    pub fn parse(text: &str) -> Result<Offer, OfferError> {
        if text.len() > MAX_BYTES {
            return Err(OfferError::TooLong(text.len()));
        }
        let sdp = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|e| OfferError::Malformed(shortened(e.to_string())))?;
        Offer::read(&sdp)
    }

    fn read(sdp: &SessionDescription) -> Result<Offer, OfferError> {
        let count = sdp.media_descriptions.len();
        if count > MAX_SECTIONS {
            return Err(OfferError::TooManySections(count));
        }
        let session = Attributes(&sdp.attributes);
        if session.has("ice-lite") {
            return Err(OfferError::IceLite);
        }
        let sections = sdp
            .media_descriptions
            .iter()
            .map(|media| Section::read(session, media))
            .collect::<Result<Vec<_>, _>>()?;
        check_mids(&sections)?;
        check_kinds(&sections)?;

        let bundle = bundle_group(session);
        let wanted = || sections.iter().filter(|s| s.wanted.is_some());
        if wanted().count() > 1
            && let Some(outside) = wanted().find(|s| !bundle.contains(&s.mid))
        {
            return Err(OfferError::NotBundled(outside.mid.clone()));
        }
        for (section, media) in sections.iter().zip(&sdp.media_descriptions) {
            check_transport(section, media)?;
        }

        let tagged = sections
            .iter()
            .zip(&sdp.media_descriptions)
            .filter(|(section, _)| section.wanted.is_some())
            .min_by_key(|(section, _)| bundle.iter().position(|mid| *mid == section.mid));
        let (tagged, media) = tagged.ok_or(OfferError::NoMedia)?;
        let remote = read_remote(session, Attributes(&media.attributes), &tagged.mid)?;
        Ok(Offer {
            sections,
            bundle,
            mixed_extensions: session.has(MIXED),
            remote,
        })
    }

    /// The client's transport, as the offer describes it.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The place of the one m-section of a kind among all of the offer, counted from 0.
    #[must_use]
    pub fn index_of(&self, kind: MediaKind) -> Option<usize> {
        self.sections.iter().position(|s| s.wanted == Some(kind))
    }

    /// The one m-section of a kind.
    pub(crate) fn section(&self, kind: MediaKind) -> Option<&Section> {
        self.sections.iter().find(|s| s.wanted == Some(kind))
    }
}

impl Section {
    pub(crate) fn read(
        session: Attributes<'_>,
        media: &MediaDescription,
    ) -> Result<Section, OfferError> {
        let own = Attributes(&media.attributes);
        let name = &media.media_name;
        let kind = match name.media.as_str() {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        };
        let on = name.port.value != 0 || own.has("bundle-only");
        let mut extensions = ExtensionIds::default();
        for value in own.all("extmap").chain(session.all("extmap")) {
            extensions.offer(value);
        }
        Ok(Section {
            media: name.media.clone(),
            protocol: name.protos.join("/"),
            formats: name.formats.clone(),
            mid: own.first("mid").unwrap_or_default().trim().to_owned(),
            wanted: kind.filter(|_| on),
            direction: own
                .direction()
                .or_else(|| session.direction())
                .unwrap_or_default(),
            rtcp_rsize: own.has("rtcp-rsize"),
            receiver_rtt: own
                .all("rtcp-xr")
                .chain(session.all("rtcp-xr"))
                .flat_map(str::split_ascii_whitespace)
                .any(|format| format == "rcvr-rtt=all"),
            codecs: offered_codecs(&name.formats, own),
            extensions,
            mixed_extensions: own.has(MIXED) || session.has(MIXED),
            rids: read_rids(own)?,
        })
    }
}

/// The attributes of a session or an m-section.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [Attribute]);

impl<'a> Attributes<'a> {
    fn has(self, key: &str) -> bool {
        self.0.iter().any(|a| a.key == key)
    }

    pub(crate) fn all(self, key: &'static str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |a| a.key == key)
            .filter_map(|a| a.value.as_deref())
    }

    fn first(self, key: &'static str) -> Option<&'a str> {
        self.all(key).next()
    }

    fn direction(self) -> Option<Direction> {
        self.0
            .iter()
            .find_map(|a| Direction::from_attribute(&a.key))
    }
}

/// Mids are what answers and packets refer to m-sections by, so each needs its own.
fn check_mids(sections: &[Section]) -> Result<(), OfferError> {
    for (i, section) in sections.iter().enumerate() {
        let is_token = (1..=MAX_MID).contains(&section.mid.len())
            && section.mid.bytes().all(|b| b.is_ascii_graphic());
        let earlier = sections.iter().take(i);
        if !is_token || earlier.into_iter().any(|s| s.mid == section.mid) {
            return Err(OfferError::Mid(section.mid.clone()));
        }
    }
    Ok(())
}

/// At most one track a kind (RFC 9725 §4.4.2).
fn check_kinds(sections: &[Section]) -> Result<(), OfferError> {
    for kind in [MediaKind::Audio, MediaKind::Video] {
        if sections.iter().filter(|s| s.wanted == Some(kind)).count() > 1 {
            return Err(OfferError::MoreThanOne(kind));
        }
    }
    Ok(())
}

pub(crate) fn check_transport(
    section: &Section,
    media: &MediaDescription,
) -> Result<(), OfferError> {
    if section.wanted.is_none() {
        return Ok(());
    }
    // RFC 8829 §5.1.2: these profiles all mean RTP over DTLS-SRTP to a WebRTC endpoint.
    if !matches!(
        section.protocol.as_str(),
        "UDP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF" | "TCP/DTLS/RTP/SAVPF" | "RTP/SAVPF"
    ) {
        return Err(OfferError::Protocol {
            mid: section.mid.clone(),
            protocol: section.protocol.clone(),
        });
    }
    if !Attributes(&media.attributes).has("rtcp-mux") {
        return Err(OfferError::NoRtcpMux(section.mid.clone()));
    }
    Ok(())
}

/// The mids of the first `a=group:BUNDLE`.
pub(crate) fn bundle_group(session: Attributes<'_>) -> Vec<String> {
    session
        .all("group")
        .find_map(|group| group.strip_prefix("BUNDLE "))
        .map(|mids| {
            mids.split_ascii_whitespace()
                .take(MAX_SECTIONS)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

/// Transport attributes may stand in the m-section or, for all of them, at session level.
pub(crate) fn read_remote(
    session: Attributes<'_>,
    own: Attributes<'_>,
    mid: &str,
) -> Result<Remote, OfferError> {
    let setup = own
        .first("setup")
        .or_else(|| session.first("setup"))
        .unwrap_or("actpass");
    let setup = match setup {
        "actpass" => Setup::ActPass,
        "active" => Setup::Active,
        "passive" => Setup::Passive,
        _ => return Err(OfferError::Setup(setup.to_owned())),
    };
    let either = |key| own.first(key).or_else(|| session.first(key));
    let (Some(ufrag), Some(pwd)) = (either("ice-ufrag"), either("ice-pwd")) else {
        return Err(OfferError::NoIce(mid.to_owned()));
    };
    let ice = IceParameters::new(ufrag, pwd).ok_or_else(|| OfferError::BadIce(mid.to_owned()))?;
    let fingerprint = read_fingerprint(session, own, mid)?;
    let knows_gcm = session
        .all(SRTP_PROFILES)
        .any(|names| names.split_ascii_whitespace().any(|name| name == GCM));
    Ok(Remote {
        ice,
        fingerprint,
        setup,
        knows_gcm,
    })
}

/// RFC 8122 §5: there may be several; one by SHA-256 is enough, and the node asks for it.
fn read_fingerprint(
    session: Attributes<'_>,
    own: Attributes<'_>,
    mid: &str,
) -> Result<[u8; 32], OfferError> {
    let level = if own.has("fingerprint") { own } else { session };
    let mut other = None;
    for value in level.all("fingerprint") {
        let (algorithm, hex) = value.split_once(' ').unwrap_or((value, ""));
        if algorithm.eq_ignore_ascii_case("sha-256") {
            return parse_hex(hex.trim()).ok_or_else(|| OfferError::BadFingerprint(mid.to_owned()));
        }
        other.get_or_insert(algorithm);
    }
    Err(match other {
        Some(algorithm) => OfferError::FingerprintAlgorithm {
            mid: mid.to_owned(),
            algorithm: algorithm.to_owned(),
        },
        None => OfferError::NoFingerprint(mid.to_owned()),
    })
}

/// 32 bytes as `AB:CD:…`.
fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|p| p.len() == 2)?;
        // from_str_radix would take "+A".
        if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// RIDs that `a=simulcast` says are sent (RFC 8853 §5.1), each the first of its alternatives.
fn read_rids(own: Attributes<'_>) -> Result<Vec<String>, OfferError> {
    let Some(simulcast) = own.first("simulcast") else {
        return Ok(Vec::new());
    };
    let mut words = simulcast.split_ascii_whitespace();
    let Some(list) = words
        .by_ref()
        .find(|word| *word == "send")
        .and_then(|_| words.next())
    else {
        return Ok(Vec::new());
    };
    let rids: Vec<String> = list
        .split(';')
        .map(|layer| layer.split(',').next().unwrap_or_default())
        .map(|rid| rid.trim_start_matches('~').to_owned())
        .collect();
    if rids.len() > MAX_RIDS {
        return Err(OfferError::TooManyLayers(rids.len()));
    }
    match rids.iter().find(|rid| !is_rid(rid)) {
        Some(bad) => Err(OfferError::BadRid(bad.clone())),
        None => Ok(rids),
    }
}

/// RFC 8851 §10.
fn is_rid(rid: &str) -> bool {
    (1..=255).contains(&rid.len())
        && rid
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Error texts quote the client's input; keep them short.
fn shortened(mut text: String) -> String {
    const MAX: usize = 200;
    if let Some((end, _)) = text.char_indices().nth(MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}
