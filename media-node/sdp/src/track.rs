//! What a negotiation leaves for the media path: whom to expect, and which numbers mean what in its packets.

use std::fmt;

use showrunner_rtp::codec::Codec;

use crate::ExtensionIds;

/// ICE credentials of one side (RFC 8839 §5.4). The password is left out of `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct IceParameters {
    /// Username fragment, 4 to 256 ice-chars.
    pub ufrag: String,
    /// Password, 22 to 256 ice-chars.
    pub pwd: String,
}

impl IceParameters {
    /// Checks both against the grammar of RFC 8839 §5.4.
    #[must_use]
    pub fn new(ufrag: &str, pwd: &str) -> Option<IceParameters> {
        let is_ice = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
        };
        let fits = (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len());
        (fits && is_ice(ufrag) && is_ice(pwd)).then(|| IceParameters {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        })
    }
}

impl fmt::Debug for IceParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceParameters")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// The client, as its transport will prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Credentials of its connectivity checks.
    pub ice: IceParameters,
    /// SHA-256 of its DTLS certificate (RFC 8122 §5).
    pub fingerprint: [u8; 32],
    /// The sides of the DTLS handshake that it can be on.
    pub setup: Setup,
    /// It has said that it knows SRTP's AEAD_AES_128_GCM (RFC 7714), as this project's page client does. A DTLS client
    /// needs to know that beforehand: who offers another profile beside it gets the other one from browsers.
    pub knows_gcm: bool,
}

/// What an offer says of the DTLS handshake (RFC 8842 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Either side will do.
    ActPass,
    /// It is the DTLS client.
    Active,
    /// It is the DTLS server.
    Passive,
}

/// A side of the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// Says hello first.
    Client,
    /// Waits for that.
    Server,
}

impl DtlsRole {
    /// The value of `a=setup` that says so in an answer.
    pub(crate) fn setup(self) -> &'static str {
        match self {
            Self::Client => "active",
            Self::Server => "passive",
        }
    }
}

/// A codec that both sides speak, under the payload type that the offer gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedCodec {
    /// Which codec.
    pub codec: Codec,
    /// Its RTP payload type.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), where offered.
    pub rtx_payload_type: Option<u8>,
    /// Payload type of packets that repeat earlier frames of it (RFC 2198), where offered.
    pub red_payload_type: Option<u8>,
    /// Format parameters as the answer states them; empty where there are none.
    pub fmtp: String,
}

/// A track that the client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecvTrack {
    /// Media identification (RFC 9143).
    pub mid: String,
    /// What it may send: one codec, so that it can't change under the viewers.
    pub codecs: Vec<NegotiatedCodec>,
    /// Header extensions in its packets.
    pub extensions: ExtensionIds,
    /// RIDs of its simulcast layers, in the offer's order (RFC 8853); empty without simulcast.
    pub rids: Vec<String>,
}

/// A track that the client receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendTrack {
    /// Media identification (RFC 9143).
    pub mid: String,
    /// What may be sent to it, the program's codec first.
    pub codecs: Vec<NegotiatedCodec>,
    /// Header extensions that it understands.
    pub extensions: ExtensionIds,
    /// SSRC announced for the media.
    pub ssrc: u32,
    /// SSRC announced for retransmissions; none where no codec of the track has RTX.
    pub rtx_ssrc: Option<u32>,
}

/// An accepted offer to publish (WHIP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// The host's transport.
    pub remote: Remote,
    /// Sound, where offered.
    pub audio: Option<RecvTrack>,
    /// Picture, where offered.
    pub video: Option<RecvTrack>,
}

impl Publishing {
    /// Which side the node is on: the server where it has the choice, as WHIP has it (RFC 9725 §4.4).
    #[must_use]
    pub fn dtls_role(&self) -> DtlsRole {
        match self.remote.setup {
            Setup::ActPass | Setup::Active => DtlsRole::Server,
            Setup::Passive => DtlsRole::Client,
        }
    }
}

/// An accepted offer to watch (WHEP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The viewer's transport.
    pub remote: Remote,
    /// Sound, where offered.
    pub audio: Option<SendTrack>,
    /// Picture, where offered.
    pub video: Option<SendTrack>,
}

impl Watching {
    /// Which side the node is on: the client where it has the choice. That saves the viewer the round trip in which a
    /// server asks who is there, and one more, as a client can send media a round trip before a server.
    #[must_use]
    pub fn dtls_role(&self) -> DtlsRole {
        match self.remote.setup {
            Setup::ActPass | Setup::Passive => DtlsRole::Client,
            Setup::Active => DtlsRole::Server,
        }
    }
}
