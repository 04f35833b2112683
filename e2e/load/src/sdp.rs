//! The offers that the load generator makes, and what it needs of their answers.

use std::fmt::Write;
use std::net::SocketAddr;

use showrunner_rtp::codec::{Codec, Kind};
use showrunner_transport::{Fingerprint, IceCredentials};

/// Numbers of the header extensions in our offers.
pub mod extension {
    /// MID of a packet.
    pub const MID: u8 = 1;
    /// RID of a packet.
    pub const RID: u8 = 2;
    /// RID of the stream that a retransmission repairs.
    pub const REPAIRED_RID: u8 = 3;
    /// Transport-wide sequence number.
    pub const TRANSPORT_CC: u8 = 4;
}

/// Payload type of Opus.
const OPUS: u8 = 111;

/// The codecs of video with their payload types; the one after each is that of its retransmissions.
const VIDEO: [(Codec, u8); 4] = [
    (Codec::H264, 96),
    (Codec::Vp8, 98),
    (Codec::Vp9, 100),
    (Codec::Av1, 102),
];

/// The payload type that a codec has in our offers.
pub fn payload_type(codec: Codec) -> u8 {
    VIDEO
        .iter()
        .find(|(c, _)| *c == codec)
        .map_or(OPUS, |(_, pt)| *pt)
}

/// The payload type of a codec's retransmissions.
pub fn rtx_payload_type(codec: Codec) -> u8 {
    payload_type(codec) + 1
}

/// The codec of a payload type of our offers.
pub fn codec_of(payload_type: u8) -> Option<Codec> {
    let video = VIDEO
        .iter()
        .find(|(_, pt)| *pt == payload_type)
        .map(|(codec, _)| *codec);
    video.or((payload_type == OPUS).then_some(Codec::Opus))
}

/// MID of the section of a kind.
pub const fn mid(kind: Kind) -> &'static str {
    match kind {
        Kind::Audio => "0",
        Kind::Video => "1",
    }
}

/// A stream that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is encoded with.
    pub codec: Codec,
    /// RID, where it is a layer of a simulcast.
    pub rid: Option<String>,
    /// Its SSRC.
    pub ssrc: u32,
    /// That of its retransmissions; none for audio.
    pub rtx_ssrc: Option<u32>,
}

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// To send these.
    Publish(&'a [Source]),
    /// To receive sound and picture of any codec.
    Watch,
}

impl Wish<'_> {
    /// What a section of a kind would carry; none if there is to be no such section.
    fn codecs(&self, kind: Kind) -> Vec<Codec> {
        match self {
            Self::Publish(sources) => {
                let codec = sources.iter().map(|s| s.codec).find(|c| c.kind() == kind);
                codec.into_iter().collect()
            }
            Self::Watch => match kind {
                Kind::Audio => vec![Codec::Opus],
                Kind::Video => VIDEO.map(|(codec, _)| codec).to_vec(),
            },
        }
    }

    fn sources(&self, kind: Kind) -> impl Iterator<Item = &Source> {
        let all = match self {
            Self::Publish(sources) => *sources,
            Self::Watch => &[],
        };
        all.iter().filter(move |s| s.codec.kind() == kind)
    }
}

/// An offer's text.
pub fn offer(wish: Wish<'_>, ice: &IceCredentials, fingerprint: Fingerprint) -> String {
    let kinds = [Kind::Audio, Kind::Video];
    let kinds: Vec<Kind> = kinds
        .into_iter()
        .filter(|k| !wish.codecs(*k).is_empty())
        .collect();
    let mids: Vec<&str> = kinds.iter().map(|k| mid(*k)).collect();
    let mut text = Text(String::new());
    text.line(format_args!("v=0"));
    text.line(format_args!("o=- 1 1 IN IP4 127.0.0.1"));
    text.line(format_args!("s=-"));
    text.line(format_args!("t=0 0"));
    text.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    for kind in kinds {
        text.section(wish, kind, ice, fingerprint);
    }
    text.0
}

struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.0.write_fmt(line);
        self.0.push_str("\r\n");
    }

    fn section(
        &mut self,
        wish: Wish<'_>,
        kind: Kind,
        ice: &IceCredentials,
        fingerprint: Fingerprint,
    ) {
        let codecs = wish.codecs(kind);
        let (media, types) = match kind {
            Kind::Audio => ("audio", vec![OPUS.to_string()]),
            Kind::Video => {
                let pair = |c: &Codec| format!("{} {}", payload_type(*c), rtx_payload_type(*c));
                ("video", codecs.iter().map(pair).collect())
            }
        };
        self.line(format_args!(
            "m={media} 9 UDP/TLS/RTP/SAVPF {}",
            types.join(" ")
        ));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.line(format_args!("a=mid:{}", mid(kind)));
        self.line(format_args!("a=ice-ufrag:{}", ice.ufrag));
        self.line(format_args!("a=ice-pwd:{}", ice.pwd));
        self.line(format_args!("a=ice-options:trickle"));
        self.line(format_args!("a=fingerprint:sha-256 {fingerprint}"));
        self.line(format_args!("a=setup:actpass"));
        self.line(format_args!("a=rtcp-mux"));
        self.line(format_args!("a=rtcp-rsize"));
        self.extensions(kind);
        for codec in codecs {
            self.codec(codec);
        }
        match wish {
            Wish::Watch => self.line(format_args!("a=recvonly")),
            Wish::Publish(_) => self.sources(wish, kind),
        }
    }

    fn extensions(&mut self, kind: Kind) {
        let common = [
            (extension::MID, "urn:ietf:params:rtp-hdrext:sdes:mid"),
            (
                extension::TRANSPORT_CC,
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            ),
        ];
        let layers = [
            (
                extension::RID,
                "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            ),
            (
                extension::REPAIRED_RID,
                "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            ),
        ];
        let layers = layers.into_iter().filter(|_| kind == Kind::Video);
        for (id, uri) in common.into_iter().chain(layers) {
            self.line(format_args!("a=extmap:{id} {uri}"));
        }
    }

    fn codec(&mut self, codec: Codec) {
        let pt = payload_type(codec);
        self.line(format_args!("a=rtcp-fb:{pt} transport-cc"));
        if codec.kind() == Kind::Audio {
            self.line(format_args!("a=rtpmap:{pt} opus/48000/2"));
            self.line(format_args!("a=fmtp:{pt} minptime=10;useinbandfec=1"));
            return;
        }
        self.line(format_args!("a=rtpmap:{pt} {}/90000", codec.name()));
        for feedback in ["ccm fir", "nack", "nack pli"] {
            self.line(format_args!("a=rtcp-fb:{pt} {feedback}"));
        }
        match codec {
            Codec::H264 => self.line(format_args!(
                "a=fmtp:{pt} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
            )),
            Codec::Vp9 => self.line(format_args!("a=fmtp:{pt} profile-id=0")),
            _ => {}
        }
        let rtx = rtx_payload_type(codec);
        self.line(format_args!("a=rtpmap:{rtx} rtx/90000"));
        self.line(format_args!("a=fmtp:{rtx} apt={pt}"));
    }

    /// Layers are told by their RIDs; a stream that is alone, by its SSRCs.
    fn sources(&mut self, wish: Wish<'_>, kind: Kind) {
        self.line(format_args!("a=sendonly"));
        self.line(format_args!("a=msid:load load"));
        let rids: Vec<&str> = wish
            .sources(kind)
            .filter_map(|s| s.rid.as_deref())
            .collect();
        for rid in &rids {
            self.line(format_args!("a=rid:{rid} send"));
        }
        if !rids.is_empty() {
            self.line(format_args!("a=simulcast:send {}", rids.join(";")));
            return;
        }
        for source in wish.sources(kind) {
            if let Some(rtx) = source.rtx_ssrc {
                self.line(format_args!("a=ssrc-group:FID {} {rtx}", source.ssrc));
            }
            for ssrc in std::iter::once(source.ssrc).chain(source.rtx_ssrc) {
                self.line(format_args!("a=ssrc:{ssrc} cname:load"));
            }
        }
    }
}

/// What an answer says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The node's credentials.
    pub ice: IceCredentials,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// It begins the DTLS handshake.
    pub is_dtls_client: bool,
    /// Its UDP addresses, best first.
    pub candidates: Vec<SocketAddr>,
    /// What became of the audio section.
    pub audio: Section,
    /// What became of the video section.
    pub video: Section,
}

/// A section of an answer. One that was refused or never offered has no payload types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Payload types agreed on.
    pub payload_types: Vec<u8>,
    /// Numbers of the header extensions agreed on.
    pub extensions: Vec<u8>,
    /// SSRC of what the node sends.
    pub ssrc: Option<u32>,
    /// SSRC of its retransmissions.
    pub rtx_ssrc: Option<u32>,
}

impl Section {
    /// Reads the section that begins with `m=` and `kind`.
    fn parse(text: &str, kind: &str) -> Self {
        let sections = text.split("\nm=").skip(1);
        let found = sections.map(|s| s.lines()).find_map(|mut lines| {
            let mut words = lines.next()?.split_whitespace();
            (words.next()? == kind && words.next()? != "0").then_some((words, lines))
        });
        let Some((words, lines)) = found else {
            return Self::default();
        };
        let mut this = Self {
            payload_types: words.filter_map(|w| w.parse().ok()).collect(),
            ..Self::default()
        };
        for line in lines {
            if let Some(value) = line.strip_prefix("a=extmap:") {
                let id = value.split([' ', '/']).next();
                this.extensions
                    .extend(id.and_then(|id| id.parse::<u8>().ok()));
            } else if let Some(value) = line.strip_prefix("a=ssrc:") {
                let ssrc = value.split(' ').next().and_then(|s| s.parse().ok());
                this.ssrc = this.ssrc.or(ssrc);
            } else if let Some(value) = line.strip_prefix("a=ssrc-group:FID ") {
                let mut ssrcs = value.split_whitespace().map_while(|s| s.parse().ok());
                this.ssrc = ssrcs.next();
                this.rtx_ssrc = ssrcs.next();
            }
        }
        this
    }
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value = |name: &str| {
            let found = text
                .lines()
                .find_map(|l| l.strip_prefix("a=")?.strip_prefix(name));
            found
                .map(str::trim)
                .ok_or_else(|| format!("the answer has no {name}"))
        };
        let fingerprint = value("fingerprint:sha-256 ")?
            .parse()
            .map_err(|e| format!("the answer's fingerprint: {e}"))?;
        let candidates: Vec<_> = text.lines().filter_map(udp_candidate).collect();
        if candidates.is_empty() {
            return Err("the answer has no UDP candidate".into());
        }
        Ok(Self {
            ice: IceCredentials {
                ufrag: value("ice-ufrag:")?.into(),
                pwd: value("ice-pwd:")?.into(),
            },
            fingerprint,
            is_dtls_client: value("setup:")? == "active",
            candidates,
            audio: Section::parse(text, "audio"),
            video: Section::parse(text, "video"),
        })
    }

    /// The section of a kind.
    pub fn section(&self, kind: Kind) -> &Section {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }
}

/// The address of a line with a UDP candidate (RFC 8839 §5.1).
fn udp_candidate(line: &str) -> Option<SocketAddr> {
    let mut words = line
        .strip_prefix("a=candidate:")?
        .split_whitespace()
        .skip(2);
    if !words.next()?.eq_ignore_ascii_case("udp") {
        return None;
    }
    let mut words = words.skip(1);
    Some(SocketAddr::new(
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:secretsecretsecretsecret\r\n\
        a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
        a=setup:active\r\na=candidate:1 1 udp 2130706431 192.0.2.1 7000 typ host\r\n\
        a=candidate:2 1 tcp 1671430143 192.0.2.1 7000 typ host tcptype passive\r\n\
        a=candidate:3 1 UDP 2130706430 2001:db8::1 7000 typ host\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=ssrc:7 cname:x\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=ssrc-group:FID 8 9\r\na=ssrc:8 cname:x\r\na=ssrc:9 cname:x\r\n";

    #[test]
    fn an_answer_tells_where_to_go_and_what_will_come() {
        let answer = Answer::parse(ANSWER).unwrap();
        let addresses: [SocketAddr; 2] =
            ["192.0.2.1:7000", "[2001:db8::1]:7000"].map(|a| a.parse().unwrap());
        assert_eq!(answer.candidates, addresses);
        assert_eq!((answer.audio.ssrc, answer.audio.rtx_ssrc), (Some(7), None));
        assert_eq!(answer.audio.extensions, [extension::MID]);
        assert_eq!(answer.video.payload_types, [96, 97]);
        assert_eq!(
            (answer.video.ssrc, answer.video.rtx_ssrc),
            (Some(8), Some(9))
        );
    }

    #[test]
    fn a_refused_section_carries_nothing_and_a_cut_answer_is_an_error() {
        let refused = ANSWER.replace("m=video 9", "m=video 0");
        assert_eq!(Answer::parse(&refused).unwrap().video, Section::default());
        for needed in ["a=candidate", "a=ice-pwd", "a=fingerprint"] {
            assert!(
                Answer::parse(&ANSWER.replace(needed, "a=x")).is_err(),
                "{needed}"
            );
        }
    }

    #[test]
    fn layers_are_offered_by_rid_and_a_single_stream_by_ssrc() {
        let ice = IceCredentials::generate();
        let source = |rid: Option<&str>, ssrc| Source {
            codec: Codec::Vp8,
            rid: rid.map(str::to_owned),
            ssrc,
            rtx_ssrc: Some(ssrc + 1),
        };
        let layers = [source(Some("q"), 2), source(Some("f"), 4)];
        let text = offer(Wish::Publish(&layers), &ice, Fingerprint([0; 32]));
        assert!(text.contains("a=simulcast:send q;f\r\n") && !text.contains("a=ssrc"));
        assert!(
            text.contains("a=group:BUNDLE 1\r\n"),
            "there is no sound to offer"
        );
        let text = offer(
            Wish::Publish(&[source(None, 2)]),
            &ice,
            Fingerprint([0; 32]),
        );
        assert!(text.contains("a=ssrc-group:FID 2 3\r\n") && !text.contains("a=simulcast"));
    }
}
