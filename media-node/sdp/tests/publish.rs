//! Answers to hosts: what RFC 9725 and browsers rely on.

mod common;

use common::{
    CHROMIUM_WHIP, GSTREAMER, SESSION_LEVEL, bent, local, m_lines, parse, section, without,
};
use showrunner_sdp::{
    Codec, Direction, ExtensionIds, MediaKind, OfferError, PublishRules, Publishing, accept_layers,
    accept_publish, answer_publish,
};

fn publish(text: &str) -> (Publishing, String) {
    let offer = parse(text);
    let publishing = accept_publish(&offer, &PublishRules::default()).expect("a good offer");
    let answer = answer_publish(&offer, &publishing, &local());
    (publishing, answer)
}

fn refused(text: &str) -> OfferError {
    accept_publish(&parse(text), &PublishRules::default()).expect_err("a bad offer")
}

#[test]
fn chromium_publishes_its_first_codec_in_three_layers() {
    let (publishing, answer) = publish(CHROMIUM_WHIP);
    let video = publishing.video.expect("video");
    assert_eq!(video.mid, "1");
    assert_eq!(video.rids, ["q", "h", "f"]);
    assert_eq!(video.codecs.len(), 1);
    assert_eq!(video.codecs[0].codec, Codec::Vp8);
    assert_eq!(video.codecs[0].payload_type, 96);
    assert_eq!(video.codecs[0].rtx_payload_type, Some(97));
    assert_eq!(
        video.extensions,
        ExtensionIds {
            mid: Some(4),
            rid: Some(10),
            repaired_rid: Some(11),
            transport_cc: Some(3),
            orientation: Some(13),
            dependency_descriptor: Some(12),
            ..ExtensionIds::default()
        }
    );
    let audio = publishing.audio.expect("audio");
    assert_eq!(audio.codecs[0].payload_type, 111);
    assert_eq!(
        m_lines(&answer),
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 63 111",
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97"
        ]
    );
    let video = section(&answer, "video");
    for line in [
        "a=mid:1",
        "a=rid:q recv",
        "a=rid:h recv",
        "a=rid:f recv",
        "a=simulcast:recv q;h;f",
        "a=rtpmap:96 VP8/90000",
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
        "a=rtcp-fb:96 transport-cc",
        "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    ] {
        assert!(video.contains(&line), "{line} is not in {answer}");
    }
}

#[test]
fn the_answer_is_recvonly_whatever_was_offered() {
    for offer in [CHROMIUM_WHIP, SESSION_LEVEL] {
        let (_, answer) = publish(offer);
        for media in ["audio", "video"] {
            let lines = section(&answer, media);
            assert!(lines.contains(&"a=recvonly"));
            assert!(
                !lines
                    .iter()
                    .any(|l| l.starts_with("a=ssrc") || l.starts_with("a=msid"))
            );
        }
    }
}

#[test]
fn the_answer_is_ice_lite_passive_and_bundled() {
    let (_, answer) = publish(CHROMIUM_WHIP);
    let session = section(&answer, "session");
    assert!(session.contains(&"a=ice-lite"));
    assert!(session.contains(&"a=group:BUNDLE 0 1"));
    for media in ["audio", "video"] {
        let lines = section(&answer, media);
        for line in [
            "a=setup:passive",
            "a=rtcp-mux",
            "a=rtcp-mux-only",
            "a=rtcp-rsize",
            "a=ice-ufrag:nodeufrag",
            "a=ice-pwd:nodepasswordnodepassword",
        ] {
            assert!(lines.contains(&line), "{line} is not in {media}");
        }
        let fingerprint = format!("a=fingerprint:sha-256 {}", ["A5"; 32].join(":"));
        assert!(lines.contains(&fingerprint.as_str()));
    }
}

#[test]
fn the_answer_has_all_candidates_in_its_first_section_and_says_that_no_more_come() {
    let (_, answer) = publish(CHROMIUM_WHIP);
    let audio = section(&answer, "audio");
    let candidates: Vec<_> = audio
        .iter()
        .filter(|l| l.starts_with("a=candidate"))
        .collect();
    assert_eq!(
        candidates,
        [
            &"a=candidate:1 1 udp 2130706431 192.0.2.7 7000 typ host",
            &"a=candidate:2 1 udp 2130706175 2001:db8::7 7000 typ host",
            &"a=candidate:3 1 tcp 1520434687 192.0.2.7 7000 typ host tcptype passive",
        ]
    );
    assert!(audio.contains(&"a=end-of-candidates"));
    assert!(
        !section(&answer, "video")
            .iter()
            .any(|l| l.contains("candidate"))
    );
}

/// A browser sends what comes first in the answer.
#[test]
fn a_host_is_asked_to_send_its_sound_redundantly() {
    let (publishing, answer) = publish(CHROMIUM_WHIP);
    let audio = publishing.audio.expect("audio");
    assert_eq!(audio.codecs[0].red_payload_type, Some(63));
    let lines = section(&answer, "audio");
    for line in ["a=rtpmap:63 red/48000/2", "a=fmtp:63 111/111"] {
        assert!(lines.contains(&line), "{line} is not in {answer}");
    }
    let (publishing, answer) =
        publish(&bent(CHROMIUM_WHIP, "a=fmtp:63 111/111", "a=fmtp:63 111/9"));
    let audio = publishing.audio.expect("audio");
    assert_eq!(
        audio.codecs[0].red_payload_type, None,
        "frames of two codecs"
    );
    assert!(!answer.contains("red/"));
}

#[test]
fn only_feedback_that_was_offered_is_answered() {
    let (publishing, answer) = publish(&without(CHROMIUM_WHIP, "a=rtcp-fb:96 transport-cc"));
    assert_eq!(
        publishing.video.expect("video").extensions.transport_cc,
        None
    );
    let video = section(&answer, "video");
    assert!(video.contains(&"a=rtcp-fb:96 nack"));
    assert!(!video.iter().any(|l| l.contains("transport-cc")));
    assert!(!video.iter().any(|l| l.contains("transport-wide-cc")));
}

#[test]
fn gstreamer_publishes_h264_in_one_layer() {
    let (publishing, answer) = publish(GSTREAMER);
    let video = publishing.video.expect("video");
    assert_eq!(video.mid, "video0");
    assert_eq!(
        video.codecs[0].fmtp,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f"
    );
    assert!(video.rids.is_empty());
    assert_eq!(publishing.audio.expect("audio").mid, "audio1");
    assert_eq!(
        m_lines(&answer),
        [
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
            "m=audio 9 UDP/TLS/RTP/SAVPF 98"
        ]
    );
    assert!(section(&answer, "session").contains(&"a=group:BUNDLE video0 audio1"));
    assert!(section(&answer, "audio").contains(&"a=fmtp:98 minptime=10;useinbandfec=1;stereo=1"));
}

#[test]
fn transport_attributes_count_at_session_level() {
    let (publishing, _) = publish(SESSION_LEVEL);
    assert_eq!(publishing.remote.ice.ufrag, "wLdNvCqIeGZDQXQb");
    assert_eq!(publishing.remote.fingerprint[..2], [0xf2, 0xab]);
    assert_eq!(publishing.video.expect("video").codecs[0].codec, Codec::Vp8);
}

#[test]
fn without_simulcast_the_rid_extensions_are_left_out() {
    let offer = without(&without(CHROMIUM_WHIP, "a=simulcast"), "a=rid:");
    let (publishing, answer) = publish(&offer);
    let video = publishing.video.expect("video");
    assert!(video.rids.is_empty());
    assert_eq!(video.extensions.rid, None);
    assert!(!answer.contains("rtp-stream-id"));
}

#[test]
fn h264_counts_only_with_packetization_mode_1() {
    let only_h264 = bent(
        CHROMIUM_WHIP,
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 107",
        "m=video 9 UDP/TLS/RTP/SAVPF 104 107",
    );
    let (publishing, _) = publish(&only_h264);
    assert_eq!(publishing.video.expect("video").codecs[0].payload_type, 108);
}

#[test]
fn one_track_alone_needs_no_bundle() {
    let start = CHROMIUM_WHIP.find("m=video").expect("video");
    let audio = without(&CHROMIUM_WHIP[..start], "a=group");
    let (publishing, answer) = publish(&audio);
    assert!(publishing.audio.is_some() && publishing.video.is_none());
    assert!(!answer.contains("BUNDLE"));
}

#[test]
fn a_data_channel_is_rejected_and_unbundled_and_the_rest_goes_on() {
    let application = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n\
                       a=sctp-port:5000\r\n";
    let offer = bent(CHROMIUM_WHIP, "BUNDLE 0 1", "BUNDLE 2 0 1") + application;
    let (publishing, answer) = publish(&offer);
    assert!(publishing.audio.is_some() && publishing.video.is_some());
    assert!(section(&answer, "session").contains(&"a=group:BUNDLE 0 1"));
    assert_eq!(
        m_lines(&answer)[2],
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"
    );
    assert!(section(&answer, "application").contains(&"a=mid:2"));
}

#[test]
fn a_track_that_was_switched_off_keeps_its_place_with_port_0() {
    let offer = bent(CHROMIUM_WHIP, "m=audio 9", "m=audio 0");
    let (publishing, answer) = publish(&offer);
    assert!(publishing.audio.is_none());
    assert!(m_lines(&answer)[0].starts_with("m=audio 0 "));
    assert!(section(&answer, "session").contains(&"a=group:BUNDLE 1"));
    assert!(section(&answer, "video").contains(&"a=end-of-candidates"));
}

#[test]
fn a_host_that_does_not_send_is_refused() {
    for (direction, meant) in [
        ("recvonly", Direction::RecvOnly),
        ("inactive", Direction::Inactive),
    ] {
        let offer = bent(CHROMIUM_WHIP, "a=sendonly", &format!("a={direction}"));
        assert_eq!(
            refused(&offer),
            OfferError::NotSending {
                kind: MediaKind::Audio,
                direction: meant
            }
        );
    }
}

#[test]
fn a_track_without_a_codec_of_ours_is_refused_and_not_left_out() {
    let offer = bent(CHROMIUM_WHIP, "opus/48000/2", "mystery/48000/2");
    let error = refused(&offer);
    assert!(matches!(error, OfferError::NoSupportedCodec { .. }));
    assert!(error.to_string().contains("offer opus/48000/2"));
}

#[test]
fn more_layers_than_are_forwarded_are_refused() {
    let offer = bent(CHROMIUM_WHIP, "send q;h;f", "send a;b;c;d;e");
    assert_eq!(
        showrunner_sdp::Offer::parse(&offer).expect_err("refused"),
        OfferError::TooManyLayers(5)
    );
}

#[test]
fn simulcast_without_the_rid_extension_is_refused() {
    let offer = without(CHROMIUM_WHIP, "a=extmap:10 ");
    assert_eq!(refused(&offer), OfferError::NoRidExtension);
}

#[test]
fn of_alternative_layers_the_first_counts_and_paused_ones_are_layers() {
    let (publishing, answer) = publish(&bent(CHROMIUM_WHIP, "send q;h;f", "send q,x;~h"));
    assert_eq!(publishing.video.expect("video").rids, ["q", "h"]);
    assert!(answer.contains("a=simulcast:recv q;h\r\n"));
}

#[test]
fn a_room_chooses_among_the_codecs_that_are_offered() {
    let offer = parse(CHROMIUM_WHIP);
    let chosen = |codecs: &[Codec]| {
        let rules = PublishRules {
            codecs: codecs.to_vec(),
            max_layers: None,
        };
        accept_publish(&offer, &rules).map(|p| p.video.map(|video| video.codecs[0].codec))
    };
    assert_eq!(chosen(&[]), Ok(Some(Codec::Vp8)));
    assert_eq!(chosen(&[Codec::H264, Codec::Vp8]), Ok(Some(Codec::H264)));
    assert_eq!(chosen(&[Codec::Vp9]), Ok(Some(Codec::Vp9)));
    let vp8_only = bent(CHROMIUM_WHIP, "H264/90000", "mystery/90000");
    let rules = PublishRules {
        codecs: vec![Codec::H264],
        max_layers: None,
    };
    let error = accept_publish(&parse(&vp8_only), &rules).expect_err("no H.264");
    assert!(error.to_string().ends_with("offer H264"), "{error}");
}

#[test]
fn a_room_takes_as_many_layers_as_it_says() {
    let offer = parse(CHROMIUM_WHIP);
    for (most, rids) in [(1, &["f"][..]), (2, &["h", "f"]), (3, &["q", "h", "f"])] {
        let rules = PublishRules {
            codecs: Vec::new(),
            max_layers: Some(most),
        };
        let publishing = accept_publish(&offer, &rules).expect("a good offer");
        assert_eq!(publishing.video.as_ref().expect("video").rids, rids);
        let answer = answer_publish(&offer, &publishing, &local());
        assert!(
            answer.contains(&format!("a=simulcast:recv {}\r\n", rids.join(";"))),
            "{answer}"
        );
    }
}

#[test]
fn a_transcoder_offers_the_picture_alone_in_the_rooms_codec() {
    let refused = |text: &str| accept_layers(&parse(text), Codec::H264).expect_err("sound");
    let (session, rest) = CHROMIUM_WHIP.split_once("m=audio").expect("sound");
    let (audio, video) = rest.split_once("m=video").expect("a picture");
    let bundle = |mid: &str| bent(session, "BUNDLE 0 1", &format!("BUNDLE {mid}"));
    let sound_alone = format!("{}m=audio{audio}", bundle("0"));
    for with_sound in [CHROMIUM_WHIP, &sound_alone] {
        assert_eq!(refused(with_sound), OfferError::NotPictureAlone);
    }
    let offer = format!("{}m=video{video}", bundle("1"));
    let accepted = accept_layers(&parse(&offer), Codec::H264).expect("a good offer");
    let track = accepted.video.expect("video");
    assert_eq!(track.codecs[0].codec, Codec::H264);
    assert_eq!(track.rids, ["q", "h", "f"]);
    let other = bent(&offer, " H264/", " H263/");
    let error = accept_layers(&parse(&other), Codec::H264).expect_err("no H.264");
    assert!(error.to_string().contains("offer H264"), "{error}");
}
