//! Why an offer or a fragment is refused, in words that tell its sender what to change.

/// What kind of refusal this is; each kind maps to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferErrorKind {
    /// Not SDP, or SDP that contradicts itself (400).
    Malformed,
    /// Well-formed, but asks for what WHIP, WHEP or this node does not do (422).
    Unprocessable,
    /// No codec in common (422 too: to a WHEP player, 406 announces a counter-offer).
    NoCommonCodec,
}

/// Why an offer was refused. The text says what the client should change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// More text than any real offer has.
    #[error("the SDP has {0} bytes; offers of at most {max} bytes are read", max = crate::offer::MAX_BYTES)]
    TooLong(usize),
    /// Not SDP.
    #[error("the body is not a session description: {0}")]
    Malformed(String),
    /// More m-sections than are read.
    #[error("the offer has {0} m-sections; at most {max} are read", max = crate::offer::MAX_SECTIONS)]
    TooManySections(usize),
    /// Nothing to send or receive.
    #[error("the offer has no audio or video m-section; add a transceiver before creating it")]
    NoMedia,
    /// Two tracks of a kind.
    #[error(
        "the offer has more than one {0} m-section; a session carries at most one audio and one video track, so offer one and open another session for the other"
    )]
    MoreThanOne(MediaKind),
    /// An m-section that is not WebRTC's RTP profile.
    #[error("m-section {mid:?} uses {protocol:?}; offer UDP/TLS/RTP/SAVPF (RTP over DTLS-SRTP)")]
    Protocol {
        /// The m-section.
        mid: String,
        /// Its transport protocol.
        protocol: String,
    },
    /// Several m-sections, not all in one bundle.
    #[error(
        "m-section {0:?} is outside of the offer's first BUNDLE group; use the max-bundle policy (RFC 9143), so that all media shares one transport"
    )]
    NotBundled(String),
    /// No `a=mid`, or the same one twice.
    #[error("every m-section needs an a=mid of its own; {0:?} is missing or used twice")]
    Mid(String),
    /// No RTCP multiplexing.
    #[error("m-section {0:?} has no a=rtcp-mux; RTP and RTCP share one transport here")]
    NoRtcpMux(String),
    /// No ICE credentials.
    #[error(
        "the offer has no a=ice-ufrag or no a=ice-pwd for m-section {0:?}; both are needed (RFC 8839 §5.4)"
    )]
    NoIce(String),
    /// ICE credentials outside of the grammar.
    #[error(
        "the offer's ICE credentials for m-section {0:?} are not 4-256 and 22-256 letters, digits, '+' or '/' (RFC 8839 §5.4)"
    )]
    BadIce(String),
    /// The offerer is ICE-lite too.
    #[error(
        "the offer says a=ice-lite; this node is ICE-lite itself, so the client must implement full ICE"
    )]
    IceLite,
    /// No certificate fingerprint.
    #[error(
        "the offer has no a=fingerprint for m-section {0:?}; media is only carried over DTLS-SRTP, so add the SHA-256 of the client's certificate"
    )]
    NoFingerprint(String),
    /// Only fingerprints by other hashes.
    #[error(
        "the offer's only fingerprint for m-section {mid:?} uses {algorithm}; offer one that uses sha-256"
    )]
    FingerprintAlgorithm {
        /// The m-section.
        mid: String,
        /// The hash that was offered.
        algorithm: String,
    },
    /// A sha-256 fingerprint that is not 32 bytes in hex.
    #[error("the sha-256 fingerprint for m-section {0:?} is not 32 colon-separated hex bytes")]
    BadFingerprint(String),
    /// The client wants no DTLS handshake now.
    #[error(
        "the offer says a=setup:{0}; offer a=setup:actpass, or the side of the DTLS handshake that the client can be on (active, passive)"
    )]
    Setup(String),
    /// WHIP, but the client does not send.
    #[error(
        "the {kind} m-section is {direction}; a publisher offers sendonly (WHIP, RFC 9725 §4.2)"
    )]
    NotSending {
        /// Audio or video.
        kind: MediaKind,
        /// What was offered.
        direction: Direction,
    },
    /// WHEP, but the client does not receive.
    #[error("the {kind} m-section is {direction}; a viewer offers recvonly (WHEP)")]
    NotReceiving {
        /// Audio or video.
        kind: MediaKind,
        /// What was offered.
        direction: Direction,
    },
    /// A publisher offers no codec that the node forwards.
    #[error("the {kind} m-section offers no codec that this node forwards; offer {supported}")]
    NoSupportedCodec {
        /// Audio or video.
        kind: MediaKind,
        /// What would do.
        supported: &'static str,
    },
    /// A host offers no codec that the room takes.
    #[error("the video m-section offers none of the codecs that this room takes; offer {codecs}")]
    NotInRoom {
        /// What would do.
        codecs: String,
    },
    /// A transcoder offers something else than a picture.
    #[error("a transcoder sends the picture alone; offer one video m-section and no audio")]
    NotPictureAlone,
    /// A viewer does not offer the codec that is on air.
    #[error(
        "the {kind} on air is {codec}{parameters}, which the offer's {kind} m-section does not have; add it to the offer"
    )]
    NotOnAir {
        /// Audio or video.
        kind: MediaKind,
        /// The program's codec.
        codec: &'static str,
        /// Its format parameters in brackets, where they matter.
        parameters: String,
    },
    /// Simulcast with more layers than are forwarded.
    #[error("the offer has {0} simulcast layers; at most {max} are taken", max = crate::offer::MAX_RIDS)]
    TooManyLayers(usize),
    /// A RID outside of the grammar.
    #[error("RID {0:?} is not 1 to 255 letters, digits, '-' or '_' (RFC 8851 §10)")]
    BadRid(String),
    /// Simulcast without the header extension that tells layers apart.
    #[error(
        "the offer has simulcast layers but not the header extension {uri}; without it the layers can't be told apart",
        uri = crate::extensions::RID
    )]
    NoRidExtension,
}

impl OfferError {
    /// Which kind of refusal this is.
    #[must_use]
    pub fn kind(&self) -> OfferErrorKind {
        match self {
            OfferError::TooLong(_)
            | OfferError::Malformed(_)
            | OfferError::Mid(_)
            | OfferError::BadIce(_)
            | OfferError::BadFingerprint(_)
            | OfferError::BadRid(_) => OfferErrorKind::Malformed,
            OfferError::NoSupportedCodec { .. }
            | OfferError::NotInRoom { .. }
            | OfferError::NotOnAir { .. } => OfferErrorKind::NoCommonCodec,
            OfferError::TooManySections(_)
            | OfferError::NoMedia
            | OfferError::MoreThanOne(_)
            | OfferError::Protocol { .. }
            | OfferError::NotBundled(_)
            | OfferError::NoRtcpMux(_)
            | OfferError::NoIce(_)
            | OfferError::IceLite
            | OfferError::NoFingerprint(_)
            | OfferError::FingerprintAlgorithm { .. }
            | OfferError::Setup(_)
            | OfferError::NotSending { .. }
            | OfferError::NotReceiving { .. }
            | OfferError::NotPictureAlone
            | OfferError::TooManyLayers(_)
            | OfferError::NoRidExtension => OfferErrorKind::Unprocessable,
        }
    }
}

/// What an m-section carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl std::fmt::Display for MediaKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        })
    }
}

/// Direction of an m-section, as its offerer sees it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways; what an m-section without the attribute means.
    #[default]
    SendRecv,
    /// The offerer sends.
    SendOnly,
    /// The offerer receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    pub(crate) fn from_attribute(key: &str) -> Option<Direction> {
        match key {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        })
    }
}
