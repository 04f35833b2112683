//! Writes answers (RFC 9429 §5.3.1), with what WHIP and WHEP ask of them.

use std::fmt::{self, Write};

use showrunner_rtp::codec::Codec;

use crate::codec::Feedback;
use crate::negotiate::name;
use crate::offer::{MIXED, Section};
use crate::{
    Candidate, DtlsRole, ExtensionIds, IceParameters, NegotiatedCodec, Offer, Publishing,
    RecvTrack, SendTrack, Watching,
};

/// Canonical name of everything that the node sends (RFC 3550 §6.5.1): one clock for sound and picture.
pub const CNAME: &str = "showrunner";
/// The one MediaStream of a viewer (RFC 8830).
const STREAM: &str = "program";

/// The node's side of a session.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its ICE credentials.
    pub ice: IceParameters,
    /// SHA-256 of its DTLS certificate.
    pub fingerprint: [u8; 32],
    /// All of its candidates, the preferred first.
    pub candidates: Vec<Candidate>,
    /// Session id of the answer's origin line (RFC 8866 §5.2), below 2^63.
    pub session_id: u64,
}

/// The answer to a host's offer.
#[must_use]
pub fn answer_publish(offer: &Offer, publishing: &Publishing, local: &Local) -> String {
    let find = |mid: &str| {
        let tracks = [&publishing.audio, &publishing.video];
        let track = tracks.into_iter().flatten().find(|t| t.mid == mid)?;
        Some(Track::Receives(track))
    };
    Answer::of(publishing.dtls_role()).write(offer, local, find)
}

/// The answer to a viewer's offer.
#[must_use]
pub fn answer_watch(offer: &Offer, watching: &Watching, local: &Local) -> String {
    let find = |mid: &str| {
        let tracks = [&watching.audio, &watching.video];
        let track = tracks.into_iter().flatten().find(|t| t.mid == mid)?;
        Some(Track::Sends(track))
    };
    Answer::of(watching.dtls_role()).write(offer, local, find)
}

/// A negotiated m-section, as the node sees it.
#[derive(Clone, Copy)]
enum Track<'a> {
    Receives(&'a RecvTrack),
    Sends(&'a SendTrack),
}

impl<'a> Track<'a> {
    fn codecs(self) -> &'a [NegotiatedCodec] {
        match self {
            Track::Receives(track) => &track.codecs,
            Track::Sends(track) => &track.codecs,
        }
    }

    fn extensions(self) -> &'a ExtensionIds {
        match self {
            Track::Receives(track) => &track.extensions,
            Track::Sends(track) => &track.extensions,
        }
    }
}

struct Answer {
    text: String,
    role: DtlsRole,
}

impl Answer {
    fn of(role: DtlsRole) -> Self {
        Self {
            text: String::new(),
            role,
        }
    }

    fn write<'a>(
        mut self,
        offer: &Offer,
        local: &Local,
        find: impl Fn(&str) -> Option<Track<'a>>,
    ) -> String {
        self.session(offer, local, |mid| find(mid).is_some());
        let mut candidates = local.candidates.as_slice();
        for section in &offer.sections {
            match find(&section.mid) {
                Some(track) => {
                    self.transport(section, track, local, candidates, offer.mixed_extensions);
                    self.media(section, track);
                    // The others are bundled with the first.
                    candidates = &[];
                }
                None => self.rejected(section),
            }
        }
        self.text
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.text.write_fmt(line);
        self.text.push_str("\r\n");
    }

    fn session(&mut self, offer: &Offer, local: &Local, is_taken: impl Fn(&str) -> bool) {
        self.line(format_args!("v=0"));
        self.line(format_args!("o=- {} 1 IN IP4 0.0.0.0", local.session_id));
        self.line(format_args!("s=-"));
        self.line(format_args!("t=0 0"));
        let bundled: Vec<&str> = offer
            .bundle
            .iter()
            .map(String::as_str)
            .filter(|mid| is_taken(mid))
            .collect();
        if !bundled.is_empty() {
            self.line(format_args!("a=group:BUNDLE {}", bundled.join(" ")));
        }
        self.line(format_args!("a=ice-lite"));
        if offer.mixed_extensions {
            self.line(format_args!("a={MIXED}"));
        }
        self.line(format_args!("a=msid-semantic: WMS *"));
    }

    /// Everything about how packets travel. Candidates go into the first section, the one that tags the bundle.
    fn transport(
        &mut self,
        section: &Section,
        track: Track<'_>,
        local: &Local,
        candidates: &[Candidate],
        is_mixed: bool,
    ) {
        let payload_types = track.codecs().iter().flat_map(|c| {
            let own = Some(c.payload_type);
            // Browsers send what comes first: from hosts redundancy is wanted, viewers get it as
            // their path needs it.
            let media = match track {
                Track::Receives(_) => [c.red_payload_type, own],
                Track::Sends(_) => [own, c.red_payload_type],
            };
            media.into_iter().flatten().chain(c.rtx_payload_type)
        });
        let formats: Vec<String> = payload_types.map(|pt| pt.to_string()).collect();
        self.line(format_args!(
            "m={} 9 {} {}",
            section.media,
            section.protocol,
            formats.join(" ")
        ));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.line(format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
        self.line(format_args!("a=mid:{}", section.mid));
        self.line(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.ice.pwd));
        self.line(format_args!("a=ice-options:trickle"));
        self.line(format_args!(
            "a=fingerprint:sha-256 {}",
            Hex(&local.fingerprint)
        ));
        self.line(format_args!("a=setup:{}", self.role.setup()));
        for (rank, candidate) in candidates.iter().enumerate() {
            self.line(format_args!("a={}", candidate.attribute(rank)));
        }
        if !candidates.is_empty() {
            self.line(format_args!("a=end-of-candidates"));
        }
        self.line(format_args!("a=rtcp-mux"));
        self.line(format_args!("a=rtcp-mux-only"));
        if section.rtcp_rsize {
            self.line(format_args!("a=rtcp-rsize"));
        }
        if section.mixed_extensions && !is_mixed {
            self.line(format_args!("a={MIXED}"));
        }
        if section.receiver_rtt {
            self.line(format_args!("a=rtcp-xr:rcvr-rtt=all"));
        }
    }

    /// Everything about what the packets mean.
    fn media(&mut self, section: &Section, track: Track<'_>) {
        for (id, uri) in track.extensions().agreed() {
            self.line(format_args!("a=extmap:{id} {uri}"));
        }
        for codec in track.codecs() {
            let offered = section
                .codecs
                .iter()
                .find(|c| c.payload_type == codec.payload_type);
            let mut feedback = offered.map(|c| c.feedback).unwrap_or_default();
            feedback.transport_cc &= track.extensions().transport_cc.is_some();
            // The receiver's own estimate is asked for only where there is no better: a browser that agrees on both
            // sends one of them, and which is up to it. Of a host none is asked: the node makes none.
            feedback.goog_remb &= matches!(track, Track::Sends(_)) && !feedback.transport_cc;
            self.codec(codec, feedback);
        }
        match track {
            Track::Receives(track) => self.receives(track),
            Track::Sends(track) => self.sends(track, &section.media),
        }
    }

    fn codec(&mut self, codec: &NegotiatedCodec, feedback: Feedback) {
        let pt = codec.payload_type;
        let rate = match codec.codec {
            Codec::Opus => "48000/2",
            Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1 => "90000",
        };
        self.line(format_args!("a=rtpmap:{pt} {}/{rate}", name(codec.codec)));
        if !codec.fmtp.is_empty() {
            self.line(format_args!("a=fmtp:{pt} {}", codec.fmtp));
        }
        for (allowed, what) in [
            (feedback.nack, "nack"),
            (feedback.nack_pli, "nack pli"),
            (feedback.ccm_fir, "ccm fir"),
            (feedback.transport_cc, "transport-cc"),
            (feedback.goog_remb, "goog-remb"),
        ] {
            if allowed {
                self.line(format_args!("a=rtcp-fb:{pt} {what}"));
            }
        }
        if let Some(red) = codec.red_payload_type {
            self.line(format_args!("a=rtpmap:{red} red/{rate}"));
            self.line(format_args!("a=fmtp:{red} {pt}/{pt}"));
        }
        if let Some(rtx) = codec.rtx_payload_type {
            let clock = rate.split('/').next().unwrap_or(rate);
            self.line(format_args!("a=rtpmap:{rtx} rtx/{clock}"));
            self.line(format_args!("a=fmtp:{rtx} apt={pt}"));
        }
    }

    fn receives(&mut self, track: &RecvTrack) {
        for rid in &track.rids {
            self.line(format_args!("a=rid:{rid} recv"));
        }
        if !track.rids.is_empty() {
            self.line(format_args!("a=simulcast:recv {}", track.rids.join(";")));
        }
        self.line(format_args!("a=recvonly"));
    }

    fn sends(&mut self, track: &SendTrack, media: &str) {
        self.line(format_args!("a=sendonly"));
        self.line(format_args!("a=msid:{STREAM} {media}"));
        let ssrc = track.ssrc;
        if let Some(rtx) = track.rtx_ssrc {
            self.line(format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
        }
        for ssrc in std::iter::once(ssrc).chain(track.rtx_ssrc) {
            self.line(format_args!("a=ssrc:{ssrc} cname:{CNAME}"));
            self.line(format_args!("a=ssrc:{ssrc} msid:{STREAM} {media}"));
        }
    }

    /// A section that is not taken: port 0 and out of the bundle (RFC 9429 §5.3.1).
    fn rejected(&mut self, section: &Section) {
        self.line(format_args!(
            "m={} 0 {} {}",
            section.media,
            section.protocol,
            section.formats.join(" ")
        ));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.line(format_args!("a=mid:{}", section.mid));
        self.line(format_args!("a=inactive"));
    }
}

/// `AB:CD:…`
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}
