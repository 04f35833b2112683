//! A node as the viewer of a server: what it offers, and what it makes of answers.

mod common;

use common::{bent, local, parse, without};
use showrunner_sdp::{
    AnswerError, Codec, DtlsRole, MediaKind, Program, Pulling, accept_watch, answer_watch,
    offer_pull, read_pull_answer,
};

/// What this project's own server answers, with this on air.
fn answer_of(codecs: &[Codec], video: (Codec, &str)) -> String {
    let text = offer_pull(codecs, &local());
    let offer = parse(&text);
    let program = Program {
        audio: Some(Codec::Opus),
        video: Some((video.0, video.1.to_owned())),
    };
    let mut ssrcs = 1000..;
    let watching = accept_watch(&offer, &program, || ssrcs.next().expect("a number"));
    answer_watch(&offer, &watching.expect("a good offer"), &local())
}

fn pulled(codecs: &[Codec], video: (Codec, &str)) -> Pulling {
    read_pull_answer(&answer_of(codecs, video), codecs).expect("a good answer")
}

#[test]
fn a_server_of_ours_takes_the_offer_and_its_answer_is_understood() {
    for (codec, fmtp, payload_type) in [
        (Codec::Vp8, "", 106),
        (Codec::Vp9, "profile-id=0", 108),
        (Codec::Av1, "", 110),
        (
            Codec::H264,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f",
            102,
        ),
    ] {
        let pulling = pulled(&[], (codec, fmtp));
        let video = pulling.publishing.video.as_ref().expect("a picture");
        let [chosen] = video.codecs.as_slice() else {
            panic!("{:?}", video.codecs);
        };
        assert_eq!((chosen.codec, chosen.payload_type), (codec, payload_type));
        assert_eq!(chosen.rtx_payload_type, Some(payload_type + 1));
        assert_eq!(chosen.fmtp, fmtp);
        assert_eq!(video.extensions.dependency_descriptor, Some(4));
        assert_eq!(video.extensions.transport_cc, Some(2));
        let audio = pulling.publishing.audio.as_ref().expect("sound");
        assert_eq!(audio.codecs[0].red_payload_type, Some(97));
        // It begins the handshake, and offers GCM alone since we know that.
        assert_eq!(pulling.publishing.dtls_role(), DtlsRole::Server);
        let addresses: Vec<String> = pulling.candidates.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.7:7000", "[2001:db8::7]:7000"]);
    }
    assert!(parse(&offer_pull(&[], &local())).remote().knows_gcm);
}

#[test]
fn only_what_the_room_takes_is_offered_the_best_first() {
    let offer = offer_pull(&[Codec::Vp9, Codec::H264], &local());
    assert!(offer.contains("SAVPF 108 109 98 99 100 101 102 103 104 105\r\n"));
    assert!(!offer.contains("VP8") && !offer.contains("AV1"));
    let answer = answer_of(&[Codec::Vp9, Codec::Vp8], (Codec::Vp8, ""));
    let other = read_pull_answer(&answer, &[Codec::H264]);
    assert_eq!(other, Err(AnswerError::NoCommonCodec(MediaKind::Video)));
}

#[test]
fn an_answer_without_a_track_gives_the_other() {
    let answer = answer_of(&[], (Codec::Vp8, ""));
    let silent = bent(&answer, "m=audio 9", "m=audio 0");
    let pulling = read_pull_answer(&silent, &[]);
    // The transport was described in the part that is refused.
    assert_eq!(pulling, Err(AnswerError::NoAddress));
    let line = "a=candidate:1 1 udp 2130706431 192.0.2.7 7000 typ host\r\n";
    let moved = bent(&silent, "a=mid:1\r\n", &format!("a=mid:1\r\n{line}"));
    let moved = bent(&moved, "BUNDLE 0 1", "BUNDLE 1");
    let pulling = read_pull_answer(&moved, &[]).expect("a picture is enough");
    assert!(pulling.publishing.audio.is_none() && pulling.publishing.video.is_some());
}

#[test]
fn answers_that_are_of_no_use_are_refused() {
    let good = answer_of(&[], (Codec::Vp8, ""));
    let long = format!("{good}a=x:{}\r\n", "x".repeat(1 << 16));
    for (answer, why) in [
        (String::new(), AnswerError::Malformed),
        ("junk".to_owned(), AnswerError::Malformed),
        (long, AnswerError::Malformed),
        (
            bent(&good, "a=sendonly", "a=inactive"),
            AnswerError::NothingSent,
        ),
        (bent(&good, "a=mid:", "a=mid:9"), AnswerError::NothingSent),
        (without(&good, "a=candidate"), AnswerError::NoAddress),
        (bent(&good, " udp ", " tcp "), AnswerError::NoAddress),
        (
            bent(&good, "192.0.2.7 7000", "printer.local 7000").replace("2001:db8::7", "x"),
            AnswerError::NoAddress,
        ),
        (without(&good, "a=ice-pwd"), AnswerError::Transport),
        (without(&good, "a=fingerprint"), AnswerError::Transport),
        (
            bent(&good, "a=setup:active", "a=setup:actpass"),
            AnswerError::Transport,
        ),
        (without(&good, "a=rtcp-mux"), AnswerError::Transport),
        (
            bent(&good, "BUNDLE 0 1", "BUNDLE 0"),
            AnswerError::Transport,
        ),
    ] {
        assert_eq!(read_pull_answer(&answer, &[]), Err(why), "{answer}");
    }
}

#[test]
fn of_many_addresses_the_best_are_taken() {
    let good = answer_of(&[], (Codec::Vp8, ""));
    let more: String = (1..=20)
        .map(|n| format!("a=candidate:{n} 1 udp {n} 198.51.100.{n} 7000 typ host\r\n"))
        .collect();
    let first = "a=candidate:1 1 udp";
    let many = bent(&good, first, &format!("{more}{first}"));
    let pulling = read_pull_answer(&many, &[]).expect("a good answer");
    assert_eq!(pulling.candidates.len(), 8);
    assert_eq!(pulling.candidates[0].to_string(), "192.0.2.7:7000");
    assert_eq!(pulling.candidates[2].to_string(), "198.51.100.20:7000");
}
