//! Offers that no purpose allows: each is refused for its own reason, in words that say what to change.

mod common;

use common::{ALL, CHROMIUM_WHIP, bent, refused, without};
use proptest::prelude::*;
use showrunner_sdp::{
    MediaKind, Offer, OfferError, OfferErrorKind, Program, PublishRules, accept_publish,
    accept_watch, answer_publish, answer_watch,
};

/// The refusal of an offer, its kind, and what its sentence must name.
fn check(offer: &str, expected: &OfferError, kind: OfferErrorKind, names: &str) {
    let error = refused(offer);
    assert_eq!(error, *expected);
    assert_eq!(error.kind(), kind);
    assert!(error.to_string().contains(names), "{error}");
}

#[test]
fn text_that_is_not_sdp() {
    for text in [
        "",
        "hello",
        "{\"sdp\": 1}",
        "v=0\r\n",
        "v=1\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
    ] {
        let error = refused(text);
        assert_eq!(error.kind(), OfferErrorKind::Malformed, "{text:?}: {error}");
    }
}

#[test]
fn no_audio_or_video() {
    let start = CHROMIUM_WHIP.find("m=audio").expect("audio");
    check(
        &CHROMIUM_WHIP[..start],
        &OfferError::NoMedia,
        OfferErrorKind::Unprocessable,
        "transceiver",
    );
}

#[test]
fn more_text_or_sections_than_are_read() {
    let long = format!("{CHROMIUM_WHIP}{}", "a=x\r\n".repeat(20_000));
    assert!(matches!(refused(&long), OfferError::TooLong(_)));
    let many = format!(
        "{CHROMIUM_WHIP}{}",
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(20)
    );
    assert_eq!(refused(&many), OfferError::TooManySections(22));
}

#[test]
fn more_than_one_track_of_a_kind() {
    let video = &CHROMIUM_WHIP[CHROMIUM_WHIP.find("m=video").expect("video")..];
    let offer = format!("{CHROMIUM_WHIP}{}", bent(video, "a=mid:1", "a=mid:2"));
    check(
        &offer,
        &OfferError::MoreThanOne(MediaKind::Video),
        OfferErrorKind::Unprocessable,
        "another session",
    );
}

#[test]
fn tracks_outside_of_the_bundle() {
    let error = OfferError::NotBundled("0".into());
    let none = without(CHROMIUM_WHIP, "a=group:BUNDLE");
    check(&none, &error, OfferErrorKind::Unprocessable, "max-bundle");
    let error = OfferError::NotBundled("1".into());
    check(
        &bent(CHROMIUM_WHIP, "BUNDLE 0 1", "BUNDLE 0"),
        &error,
        OfferErrorKind::Unprocessable,
        "max-bundle",
    );
}

#[test]
fn mids_that_are_missing_or_used_twice() {
    let error = OfferError::Mid("0".into());
    check(
        &bent(CHROMIUM_WHIP, "a=mid:1", "a=mid:0"),
        &error,
        OfferErrorKind::Malformed,
        "a=mid",
    );
    let error = OfferError::Mid(String::new());
    check(
        &without(CHROMIUM_WHIP, "a=mid:0"),
        &error,
        OfferErrorKind::Malformed,
        "a=mid",
    );
}

#[test]
fn no_rtcp_mux() {
    let error = OfferError::NoRtcpMux("0".into());
    check(
        &without(CHROMIUM_WHIP, "a=rtcp-mux"),
        &error,
        OfferErrorKind::Unprocessable,
        "rtcp-mux",
    );
}

#[test]
fn no_ice_credentials_or_bad_ones() {
    let error = OfferError::NoIce("0".into());
    check(
        &without(CHROMIUM_WHIP, "a=ice-ufrag"),
        &error,
        OfferErrorKind::Unprocessable,
        "ice-ufrag",
    );
    check(
        &without(CHROMIUM_WHIP, "a=ice-pwd"),
        &error,
        OfferErrorKind::Unprocessable,
        "ice-pwd",
    );
    let error = OfferError::BadIce("0".into());
    check(
        &bent(CHROMIUM_WHIP, "ice-ufrag:vsbV", "ice-ufrag:v"),
        &error,
        OfferErrorKind::Malformed,
        "4-256",
    );
}

#[test]
fn a_client_that_is_ice_lite_too() {
    let offer = bent(CHROMIUM_WHIP, "a=extmap-allow-mixed", "a=ice-lite");
    check(
        &offer,
        &OfferError::IceLite,
        OfferErrorKind::Unprocessable,
        "full ICE",
    );
}

#[test]
fn no_fingerprint_or_none_by_sha_256() {
    let error = OfferError::NoFingerprint("0".into());
    check(
        &without(CHROMIUM_WHIP, "a=fingerprint"),
        &error,
        OfferErrorKind::Unprocessable,
        "SHA-256",
    );
    let error = OfferError::FingerprintAlgorithm {
        mid: "0".into(),
        algorithm: "sha-1".into(),
    };
    let sha1 = bent(CHROMIUM_WHIP, "fingerprint:sha-256", "fingerprint:sha-1");
    check(&sha1, &error, OfferErrorKind::Unprocessable, "sha-256");
    let error = OfferError::BadFingerprint("0".into());
    check(
        &bent(CHROMIUM_WHIP, ":A1:", ":+1:"),
        &error,
        OfferErrorKind::Malformed,
        "32",
    );
    check(
        &bent(CHROMIUM_WHIP, ":A1:", ":"),
        &error,
        OfferErrorKind::Malformed,
        "32",
    );
}

#[test]
fn a_fingerprint_by_sha_256_is_found_among_others() {
    let both = bent(
        CHROMIUM_WHIP,
        "a=setup:",
        "a=fingerprint:sha-1 AA:BB\r\na=setup:",
    );
    assert!(Offer::parse(&both).is_ok());
}

#[test]
fn a_client_that_wants_no_dtls_handshake_now() {
    check(
        &bent(CHROMIUM_WHIP, "setup:actpass", "setup:holdconn"),
        &OfferError::Setup("holdconn".into()),
        OfferErrorKind::Unprocessable,
        "actpass",
    );
}

#[test]
fn media_that_is_not_over_dtls() {
    let offer = bent(
        CHROMIUM_WHIP,
        "m=video 9 UDP/TLS/RTP/SAVPF",
        "m=video 9 RTP/AVP",
    );
    let error = OfferError::Protocol {
        mid: "1".into(),
        protocol: "RTP/AVP".into(),
    };
    check(
        &offer,
        &error,
        OfferErrorKind::Unprocessable,
        "UDP/TLS/RTP/SAVPF",
    );
}

/// Everything that can be done with a text that somebody sends.
fn judge(text: &str) {
    let Ok(offer) = Offer::parse(text) else {
        return;
    };
    let local = common::local();
    if let Ok(publishing) = accept_publish(&offer, &PublishRules::default()) {
        let answer = answer_publish(&offer, &publishing, &local);
        assert_eq!(
            answer.matches("\r\nm=").count(),
            text.lines().filter(|l| l.starts_with("m=")).count()
        );
    }
    if let Ok(watching) = accept_watch(&offer, &Program::default(), || 1) {
        let answer = answer_watch(&offer, &watching, &local);
        assert!(answer.contains("a=sendonly"));
    }
}

#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    Cut(usize),
    Remove(usize),
    Repeat(usize),
    Swap(usize, usize),
    Blank(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        any::<usize>().prop_map(Change::Cut),
        any::<usize>().prop_map(Change::Remove),
        any::<usize>().prop_map(Change::Repeat),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Change::Swap(a, b)),
        any::<usize>().prop_map(Change::Blank),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.is_empty() {
        return String::new();
    }
    let count = lines.len();
    match *change {
        Change::Byte(at, byte) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at % text.len()] = byte;
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Change::Cut(at) => {
            let bytes = &text.as_bytes()[..at % text.len()];
            return String::from_utf8_lossy(bytes).into_owned();
        }
        Change::Remove(at) => {
            lines.remove(at % count);
        }
        Change::Repeat(at) => lines.insert(at % count, lines[at % count]),
        Change::Swap(a, b) => lines.swap(a % count, b % count),
        Change::Blank(at) => {
            let line = lines[at % count];
            let key = line.find(':').map_or(line, |colon| &line[..=colon]);
            lines[at % count] = key;
        }
    }
    lines.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bent_offer_panics(which in 0..ALL.len(), changes in prop::collection::vec(change(), 1..8)) {
        let bent = changes.iter().fold(ALL[which].to_owned(), |text, change| apply(&text, change));
        judge(&bent);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,400}") {
        judge(&text);
        judge(&format!("{CHROMIUM_WHIP}a={text}\r\n"));
    }
}
