//! Trickle ICE fragments, as browsers and libraries send them.

mod common;

use common::{CHROMIUM_WHIP, GSTREAMER, local, parse};
use proptest::prelude::*;
use showrunner_sdp::fragment::{Fragment, FragmentError, Tagged};

const TRICKLED: &str = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
    a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
    a=candidate:3471623853 1 udp 2122194687 2001:db8::1 61765 typ srflx raddr 10.0.0.1 rport 9\r\n\
    a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n\
    a=candidate:4 1 udp 2122194687 0f2c6a3e-3f1e-4a52-8f4b-3a0d4b7c8d9e.local 50000 typ host\r\n\
    a=end-of-candidates\r\n";

#[test]
fn a_fragment_gives_credentials_mid_candidates_and_their_end() {
    let fragment = Fragment::parse(TRICKLED).expect("a good fragment");
    let ice = fragment.ice.expect("credentials");
    assert_eq!(
        (ice.ufrag.as_str(), ice.pwd.as_str()),
        ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    );
    assert_eq!(fragment.mids, ["0"]);
    assert!(fragment.end_of_candidates);
}

#[test]
fn candidates_that_the_node_can_not_reach_are_passed_over() {
    let fragment = Fragment::parse(TRICKLED).expect("a good fragment");
    assert_eq!(
        fragment.candidates,
        [
            ("192.0.2.1".parse().expect("address"), 61764),
            ("2001:db8::1".parse().expect("address"), 61765)
        ]
    );
}

#[test]
fn credentials_may_stand_before_the_m_line() {
    let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n";
    assert!(
        Fragment::parse(text)
            .expect("a good fragment")
            .ice
            .is_some()
    );
}

#[test]
fn line_ends_may_be_lf_and_blank_lines_are_passed_over() {
    assert_eq!(
        Fragment::parse(&TRICKLED.replace('\r', "")),
        Fragment::parse(TRICKLED)
    );
    assert!(Fragment::parse(&format!("{TRICKLED}\r\n\r\n")).is_ok());
}

#[test]
fn what_is_no_fragment_is_refused_with_its_reason() {
    let error = |text: &str| Fragment::parse(text).expect_err("refused");
    assert_eq!(error(""), FragmentError::Empty);
    assert_eq!(error("a=mid:0\r\n"), FragmentError::Empty);
    assert!(matches!(
        error("{}"),
        FragmentError::NotSdp { number: 1, .. }
    ));
    assert!(matches!(error(CHROMIUM_WHIP), FragmentError::NotSdp { .. }));
    assert_eq!(
        error("a=ice-ufrag:EsAw\r\n"),
        FragmentError::HalfCredentials
    );
    assert_eq!(
        error("a=ice-ufrag:E\r\na=ice-pwd:short\r\n"),
        FragmentError::BadCredentials
    );
    assert_eq!(
        error("a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n"),
        FragmentError::NoMid
    );
    assert!(matches!(
        error("m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp x\r\n"),
        FragmentError::BadCandidate(_)
    ));
    let other = TRICKLED.replace(
        "m=audio",
        "a=ice-ufrag:Othr\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio",
    );
    assert_eq!(error(&other), FragmentError::MixedCredentials);
    let many = format!(
        "a=mid:0\r\n{}",
        "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n".repeat(100)
    );
    assert_eq!(error(&many), FragmentError::TooManyCandidates);
    assert!(matches!(
        error(&"a=x\r\n".repeat(9_000)),
        FragmentError::TooLong(_)
    ));
}

#[test]
fn a_restart_is_answered_with_credentials_all_candidates_and_the_ice_attributes_of_the_answer() {
    let local = local();
    let text = Tagged::of(&parse(CHROMIUM_WHIP)).restarted(&local.ice, &local.candidates);
    assert_eq!(
        text,
        "a=ice-lite\r\na=ice-options:trickle\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=ice-ufrag:nodeufrag\r\na=ice-pwd:nodepasswordnodepassword\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.7 7000 typ host\r\n\
         a=candidate:2 1 udp 2130706175 2001:db8::7 7000 typ host\r\n\
         a=candidate:3 1 tcp 1520434687 192.0.2.7 7000 typ host tcptype passive\r\n\
         a=end-of-candidates\r\n"
    );
    assert!(Fragment::parse(&text).is_ok());
}

#[test]
fn a_restart_is_about_the_section_that_tags_the_bundle() {
    let local = local();
    let text = Tagged::of(&parse(GSTREAMER)).restarted(&local.ice, &[]);
    assert!(text.contains("m=video 9 ") && text.contains("a=mid:video0\r\n"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,300}", at in 0..TRICKLED.len(), byte in any::<u8>()) {
        let _ = Fragment::parse(&text);
        let _ = Fragment::parse(&format!("a=mid:0\r\na=candidate:{text}\r\n"));
        let mut bytes = TRICKLED.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = Fragment::parse(&String::from_utf8_lossy(&bytes));
    }
}
