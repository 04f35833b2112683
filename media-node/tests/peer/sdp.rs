//! Offers of one VP8 stream, and what answers to them say.

use std::net::SocketAddr;

use showrunner_transport::{Fingerprint, IceCredentials};

use super::HOST_SSRC;

pub const VP8: u8 = 98;
pub const RTX: u8 = 99;
pub const OPUS: u8 = 111;
/// The MID extension's number.
pub const MID: u8 = 1;
/// The RID extension's.
pub const RID: u8 = 2;
/// The transport-wide sequence number's.
pub const TRANSPORT_CC: u8 = 3;

pub fn publish(ice: &IceCredentials, fingerprint: Fingerprint) -> String {
    let rtx = HOST_SSRC + 1;
    let source = format!(
        "a=sendonly\r\na=msid:show show\r\na=ssrc-group:FID {HOST_SSRC} {rtx}\r\n\
         a=ssrc:{HOST_SSRC} cname:show\r\na=ssrc:{rtx} cname:show\r\n"
    );
    offer(ice, fingerprint) + &source
}

pub fn watch(ice: &IceCredentials, fingerprint: Fingerprint) -> String {
    offer(ice, fingerprint) + "a=recvonly\r\n"
}

fn offer(IceCredentials { ufrag, pwd }: &IceCredentials, fingerprint: Fingerprint) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF {VP8} {RTX}\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=rtcp-mux\r\n\
         a=rtcp-rsize\r\na=extmap:{MID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=rtpmap:{VP8} VP8/90000\r\na=rtcp-fb:{VP8} nack\r\na=rtcp-fb:{VP8} nack pli\r\n\
         a=rtpmap:{RTX} rtx/90000\r\na=fmtp:{RTX} apt={VP8}\r\n"
    )
}

pub const RED: u8 = 63;
/// The playout-delay extension's number.
pub const PLAYOUT_DELAY: u8 = 5;

/// An offer with sound, that may be redundant, and bounds of delay.
pub fn with_sound(offer: String) -> String {
    let direction = if offer.ends_with("a=recvonly\r\n") {
        "recvonly"
    } else {
        "sendonly"
    };
    let extension = format!(
        "a=extmap:{PLAYOUT_DELAY} http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n"
    );
    let offer = offer.replace("BUNDLE 0\r\n", "BUNDLE 0 1\r\n") + &extension;
    let ice: String = offer
        .lines()
        .filter(|l| {
            ["a=ice-", "a=fingerprint", "a=setup", "a=rtcp-"]
                .iter()
                .any(|p| l.starts_with(p) && !l.starts_with("a=rtcp-fb"))
        })
        .map(|l| format!("{l}\r\n"))
        .collect();
    format!(
        "{offer}m=audio 9 UDP/TLS/RTP/SAVPF {OPUS} {RED}\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n{ice}\
         a=rtpmap:{OPUS} opus/48000/2\r\na=fmtp:{OPUS} minptime=10;useinbandfec=1\r\n\
         a=rtpmap:{RED} red/48000/2\r\na=fmtp:{RED} {OPUS}/{OPUS}\r\na={direction}\r\n"
    )
}

/// Sound, and a picture in layers.
pub fn publish_simulcast(ice: &IceCredentials, fingerprint: Fingerprint, rids: &[&str]) -> String {
    let mut offer = both(ice, fingerprint, "a=sendonly\r\n", false);
    for rid in rids {
        offer.push_str(&format!("a=rid:{rid} send\r\n"));
    }
    match rids {
        [] => offer,
        _ => offer + &format!("a=simulcast:send {}\r\n", rids.join(";")),
    }
}

/// A picture alone, in layers.
pub fn publish_layers(ice: &IceCredentials, fingerprint: Fingerprint, rids: &[&str]) -> String {
    let rid_lines: String = rids
        .iter()
        .map(|rid| format!("a=rid:{rid} send\r\n"))
        .collect();
    publish(ice, fingerprint)
        + &format!(
            "a=extmap:{RID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n{rid_lines}\
             a=simulcast:send {}\r\n",
            rids.join(";")
        )
}

/// Sound and picture, with transport-wide feedback on both.
pub fn watch_reporting(ice: &IceCredentials, fingerprint: Fingerprint) -> String {
    both(ice, fingerprint, "a=recvonly\r\n", true)
}

/// The same, without retransmissions by RTX.
pub fn watch_without_rtx(ice: &IceCredentials, fingerprint: Fingerprint) -> String {
    let offer = watch_reporting(ice, fingerprint);
    let rtx = format!("a=rtpmap:{RTX} rtx/90000\r\na=fmtp:{RTX} apt={VP8}\r\n");
    offer
        .replace(&rtx, "")
        .replace(&format!("SAVPF {VP8} {RTX}"), &format!("SAVPF {VP8}"))
}

/// An offer of sound, and of a picture whose section is the last.
fn both(
    IceCredentials { ufrag, pwd }: &IceCredentials,
    fingerprint: Fingerprint,
    direction: &str,
    reports: bool,
) -> String {
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=extmap:{MID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n{direction}"
    );
    let if_reports = |line: String| if reports { line } else { String::new() };
    let numbers = if_reports(format!(
        "a=extmap:{TRANSPORT_CC} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
    ));
    let feedback = |pt: u8| if_reports(format!("a=rtcp-fb:{pt} transport-cc\r\n"));
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF {OPUS}\r\n{transport}{numbers}a=mid:0\r\n\
         a=rtpmap:{OPUS} opus/48000/2\r\n{}\
         m=video 9 UDP/TLS/RTP/SAVPF {VP8} {RTX}\r\n{transport}{numbers}a=mid:1\r\n\
         a=extmap:{RID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
         a=rtpmap:{VP8} VP8/90000\r\na=rtcp-fb:{VP8} nack\r\na=rtcp-fb:{VP8} nack pli\r\n{}\
         a=rtpmap:{RTX} rtx/90000\r\na=fmtp:{RTX} apt={VP8}\r\n",
        feedback(OPUS),
        feedback(VP8)
    )
}

/// What an answer says.
pub struct Answer {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    pub is_dtls_client: bool,
    pub udp: SocketAddr,
    /// Of the node's stream, and of its retransmissions; 0 to a host.
    pub ssrc: u32,
    pub rtx_ssrc: u32,
}

impl Answer {
    pub fn parse(text: &str) -> Answer {
        let candidate = text
            .lines()
            .filter_map(|line| line.strip_prefix("a=candidate:"))
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|words| words[2].eq_ignore_ascii_case("udp"))
            .expect("a UDP candidate");
        let ssrcs = find(text, "ssrc-group:FID ").unwrap_or("0 0");
        let (ssrc, rtx_ssrc) = ssrcs.split_once(' ').expect("two");
        Answer {
            ice: credentials(text),
            fingerprint: find(text, "fingerprint:sha-256 ")
                .and_then(|f| f.parse().ok())
                .expect("a fingerprint"),
            is_dtls_client: find(text, "setup:").expect("a side") == "active",
            udp: format!("{}:{}", candidate[4], candidate[5])
                .parse()
                .expect("an address"),
            ssrc: ssrc.parse().expect("an SSRC"),
            rtx_ssrc: rtx_ssrc.parse().expect("an SSRC"),
        }
    }
}

/// The ICE credentials of an answer or a fragment.
pub fn credentials(text: &str) -> IceCredentials {
    IceCredentials {
        ufrag: find(text, "ice-ufrag:").expect("a ufrag").to_owned(),
        pwd: find(text, "ice-pwd:").expect("a password").to_owned(),
    }
}

fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix("a=")?.strip_prefix(name))
}
