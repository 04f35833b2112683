//! Real offers, and ways to bend them.

#![allow(dead_code, unreachable_pub)]

use showrunner_sdp::{Candidate, IceParameters, Local, Offer, OfferError};

/// What Chromium 156 publishes with: Opus, and VP8 first of all codecs in three layers.
pub const CHROMIUM_WHIP: &str = include_str!("../offers/chromium-156-whip.sdp");
/// What Chromium 156 watches with.
pub const CHROMIUM_WHEP: &str = include_str!("../offers/chromium-156-whep.sdp");
/// In the manner of GStreamer's webrtcbin with the max-bundle policy: announced SSRCs, a bundle-only section, long mids.
pub const GSTREAMER: &str = include_str!("../offers/gstreamer-webrtcbin.sdp");
/// In the manner of Pion: sendrecv, transport attributes at session level, LF line ends.
pub const SESSION_LEVEL: &str = include_str!("../offers/session-level-transport.sdp");

pub const ALL: [&str; 4] = [CHROMIUM_WHIP, CHROMIUM_WHEP, GSTREAMER, SESSION_LEVEL];

pub fn parse(text: &str) -> Offer {
    Offer::parse(text).expect("a good offer")
}

pub fn refused(text: &str) -> OfferError {
    Offer::parse(text).expect_err("a bad offer")
}

/// The offer with one string replaced wherever it stands.
pub fn bent(offer: &str, from: &str, to: &str) -> String {
    assert!(offer.contains(from), "nothing to bend: {from:?}");
    offer.replace(from, to)
}

/// The offer without the lines that begin so.
pub fn without(offer: &str, prefix: &str) -> String {
    let kept: Vec<&str> = offer.lines().filter(|l| !l.starts_with(prefix)).collect();
    assert!(kept.len() < offer.lines().count(), "no line {prefix:?}");
    kept.join("\r\n") + "\r\n"
}

pub fn local() -> Local {
    let addr = "192.0.2.7:7000".parse().expect("address");
    let v6 = "[2001:db8::7]:7000".parse().expect("address");
    Local {
        ice: IceParameters::new("nodeufrag", "nodepasswordnodepassword").expect("credentials"),
        fingerprint: [0xa5; 32],
        candidates: vec![
            Candidate::udp(addr),
            Candidate::udp(v6),
            Candidate::tcp_passive(addr),
        ],
        session_id: 42,
    }
}

/// The lines of one m-section of an answer, without the m-line; the session's for "session".
pub fn section<'a>(answer: &'a str, media: &str) -> Vec<&'a str> {
    let mut lines = answer.split("\r\n").peekable();
    if media != "session" {
        let start = format!("m={media} ");
        lines.by_ref().find(|l| l.starts_with(&start));
    }
    let mut section = Vec::new();
    while let Some(line) = lines.next_if(|l| !l.starts_with("m=") && !l.is_empty()) {
        section.push(line);
    }
    section
}

pub fn m_lines(answer: &str) -> Vec<&str> {
    answer
        .split("\r\n")
        .filter(|l| l.starts_with("m="))
        .collect()
}
