//! Answers to viewers: what WHEP and browsers rely on.

mod common;

use common::{CHROMIUM_WHEP, SESSION_LEVEL, bent, local, m_lines, parse, section};
use showrunner_sdp::{
    CNAME, Codec, Direction, DtlsRole, MediaKind, OfferError, Program, Watching, accept_watch,
    answer_watch,
};

fn program(codec: Codec, fmtp: &str) -> Program {
    Program {
        audio: Some(Codec::Opus),
        video: Some((codec, fmtp.to_owned())),
    }
}

fn watch(text: &str, on_air: &Program) -> (Watching, String) {
    let offer = parse(text);
    let mut ssrcs = 1000..;
    let watching = accept_watch(&offer, on_air, || ssrcs.next().expect("number"));
    let watching = watching.expect("a good offer");
    let answer = answer_watch(&offer, &watching, &local());
    (watching, answer)
}

fn codecs(watching: &Watching) -> Vec<(Codec, u8)> {
    let video = watching.video.as_ref().expect("video");
    video
        .codecs
        .iter()
        .map(|c| (c.codec, c.payload_type))
        .collect()
}

#[test]
fn every_codec_of_ours_is_agreed_on_once_and_the_programs_first() {
    let (watching, answer) = watch(CHROMIUM_WHEP, &program(Codec::Vp9, "profile-id=0"));
    assert_eq!(
        codecs(&watching),
        [
            (Codec::Vp9, 98),
            (Codec::Vp8, 96),
            (Codec::H264, 102),
            (Codec::Av1, 45)
        ]
    );
    assert_eq!(
        m_lines(&answer)[1],
        "m=video 9 UDP/TLS/RTP/SAVPF 98 99 96 97 102 103 45 46"
    );
}

#[test]
fn of_h264_the_payload_type_with_the_programs_profile_is_taken() {
    for (profile, payload_type) in [
        ("42e01f", 108),
        ("42001f", 102),
        ("4d0028", 116),
        ("f4001f", 41),
        ("42c00b", 108),
    ] {
        let fmtp = format!("packetization-mode=1;profile-level-id={profile}");
        let (watching, _) = watch(CHROMIUM_WHEP, &program(Codec::H264, &fmtp));
        assert_eq!(
            codecs(&watching)[0],
            (Codec::H264, payload_type),
            "{profile}"
        );
    }
}

#[test]
fn h264_of_another_profile_is_taken_where_there_is_no_better() {
    let fmtp = "packetization-mode=1;profile-level-id=640028";
    let (watching, answer) = watch(CHROMIUM_WHEP, &program(Codec::H264, fmtp));
    assert_eq!(codecs(&watching)[0], (Codec::H264, 102));
    assert!(answer.contains(
        "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n"
    ));
}

#[test]
fn the_answer_is_sendonly_with_one_stream_and_announced_ssrcs() {
    let (watching, answer) = watch(CHROMIUM_WHEP, &program(Codec::Vp8, ""));
    let audio = watching.audio.expect("audio");
    let video = watching.video.expect("video");
    assert_eq!((audio.ssrc, audio.rtx_ssrc), (1000, None));
    assert_eq!((video.ssrc, video.rtx_ssrc), (1001, Some(1002)));
    let lines = section(&answer, "video");
    for line in [
        "a=sendonly",
        "a=msid:program video",
        "a=ssrc-group:FID 1001 1002",
        &format!("a=ssrc:1001 cname:{CNAME}"),
        &format!("a=ssrc:1002 cname:{CNAME}"),
    ] {
        assert!(lines.contains(&line), "{line} is not in {answer}");
    }
    let lines = section(&answer, "audio");
    assert!(lines.contains(&"a=sendonly") && lines.contains(&"a=msid:program audio"));
    assert!(!lines.iter().any(|l| l.starts_with("a=ssrc-group")));
}

#[test]
fn viewers_get_extensions_that_the_node_writes_and_no_simulcast() {
    let (watching, answer) = watch(CHROMIUM_WHEP, &program(Codec::Vp8, ""));
    let extensions = watching.video.expect("video").extensions;
    assert_eq!(
        (extensions.mid, extensions.orientation),
        (Some(4), Some(13))
    );
    assert_eq!(extensions.rid, None);
    assert!(!answer.contains("simulcast"));
}

#[test]
fn viewers_report_on_every_packet_of_sound_and_picture() {
    let (watching, answer) = watch(CHROMIUM_WHEP, &program(Codec::Vp8, ""));
    let ids = [watching.audio, watching.video].map(|t| t.expect("track").extensions.transport_cc);
    assert_eq!(ids, [Some(3), Some(3)], "one number for the whole bundle");
    for media in ["audio", "video"] {
        let lines = section(&answer, media);
        assert!(
            lines
                .iter()
                .any(|l| l.starts_with("a=extmap:3 ") && l.ends_with("cc-extensions-01"))
        );
        let payload_type = if media == "audio" { 111 } else { 96 };
        let feedback = format!("a=rtcp-fb:{payload_type} transport-cc");
        assert!(lines.contains(&feedback.as_str()), "{answer}");
    }
    assert!(!answer.contains("goog-remb"), "one estimate is enough");
}

#[test]
fn a_viewer_without_transport_wide_feedback_is_asked_for_its_own_estimate() {
    let offer = CHROMIUM_WHEP.replace(" transport-cc", " x-transport-cc");
    let (watching, answer) = watch(&offer, &program(Codec::Vp8, ""));
    let video = watching.video.expect("video");
    assert_eq!(video.extensions.transport_cc, None);
    assert!(!answer.contains("transport-cc") && !answer.contains("transport-wide"));
    assert!(section(&answer, "video").contains(&"a=rtcp-fb:96 goog-remb"));
}

#[test]
fn numbers_that_the_node_could_not_write_are_not_agreed_on() {
    let offer = CHROMIUM_WHEP.replace("a=extmap:3 http", "a=extmap:20 http");
    let (watching, answer) = watch(&offer, &program(Codec::Vp8, ""));
    assert_eq!(watching.video.expect("video").extensions.transport_cc, None);
    assert!(!answer.contains("transport-cc"));
    assert!(section(&answer, "video").contains(&"a=rtcp-fb:96 goog-remb"));
}

#[test]
fn a_viewer_can_be_sent_redundant_sound_and_bounds_of_its_delay() {
    let (watching, answer) = watch(CHROMIUM_WHEP, &program(Codec::Vp8, ""));
    let audio = &watching.audio.expect("audio").codecs[0];
    assert_eq!(
        (audio.payload_type, audio.red_payload_type),
        (111, Some(63))
    );
    assert_eq!(m_lines(&answer)[0], "m=audio 9 UDP/TLS/RTP/SAVPF 111 63");
    let lines = section(&answer, "audio");
    for line in ["a=rtpmap:63 red/48000/2", "a=fmtp:63 111/111"] {
        assert!(lines.contains(&line), "{line} is not in {answer}");
    }
    let video = watching.video.expect("video");
    assert_eq!(video.extensions.playout_delay, Some(5));
    // "red" of a picture is another format.
    assert!(video.codecs.iter().all(|c| c.red_payload_type.is_none()));
}

#[test]
fn a_viewer_that_wants_to_learn_the_round_trip_is_told_that_it_can() {
    let (_, answer) = watch(CHROMIUM_WHEP, &program(Codec::Vp8, ""));
    for media in ["audio", "video"] {
        assert!(section(&answer, media).contains(&"a=rtcp-xr:rcvr-rtt=all"));
    }
    let silent = CHROMIUM_WHEP.replace("rcvr-rtt=all", "pkt-loss-rle");
    let (_, answer) = watch(&silent, &program(Codec::Vp8, ""));
    assert!(!answer.contains("rtcp-xr"));
}

#[test]
fn sendrecv_is_taken_as_recvonly() {
    let (_, answer) = watch(SESSION_LEVEL, &program(Codec::Vp8, ""));
    assert_eq!(answer.matches("a=sendonly\r\n").count(), 2);
}

#[test]
fn a_viewer_that_does_not_receive_is_refused() {
    let offer = parse(&bent(CHROMIUM_WHEP, "a=recvonly", "a=sendonly"));
    assert_eq!(
        accept_watch(&offer, &Program::default(), || 1),
        Err(OfferError::NotReceiving {
            kind: MediaKind::Audio,
            direction: Direction::SendOnly
        })
    );
}

#[test]
fn a_viewer_without_the_programs_codec_is_told_which_it_is() {
    let offer = parse(SESSION_LEVEL);
    let error = accept_watch(&offer, &program(Codec::Av1, "profile=0"), || 1).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the video on air is AV1 (profile=0), which the offer's video m-section does not have; add it to the offer"
    );
}

#[test]
fn a_track_that_is_not_on_air_yet_is_negotiated() {
    let sound_only = Program {
        audio: Some(Codec::Opus),
        video: None,
    };
    let (watching, _) = watch(CHROMIUM_WHEP, &sound_only);
    assert_eq!(codecs(&watching)[0], (Codec::Vp8, 96));
}

#[test]
fn header_extensions_that_the_node_could_not_write_are_left_out() {
    let offer = bent(CHROMIUM_WHEP, "a=extmap:13 ", "a=extmap:33 ");
    let (watching, _) = watch(&offer, &program(Codec::Vp8, ""));
    assert_eq!(watching.video.expect("video").extensions.orientation, None);
    let long_mid = bent(
        &bent(CHROMIUM_WHEP, "a=mid:1", "a=mid:seventeen-letters"),
        "BUNDLE 0 1",
        "BUNDLE 0 seventeen-letters",
    );
    let (watching, _) = watch(&long_mid, &program(Codec::Vp8, ""));
    assert_eq!(watching.video.expect("video").extensions.mid, None);
}

#[test]
fn dependency_descriptors_are_sent_to_those_who_take_extensions_of_both_forms() {
    const EXTMAP: &str = "a=extmap:12 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
    let offered = bent(CHROMIUM_WHEP, "a=mid:1", &format!("a=mid:1\r\n{EXTMAP}"));
    let on_air = program(Codec::Av1, "");
    let (watching, answer) = watch(&offered, &on_air);
    let video = watching.video.expect("video");
    assert_eq!(video.extensions.dependency_descriptor, Some(12));
    assert!(section(&answer, "video").contains(&EXTMAP));
    assert!(answer.contains("\r\na=extmap-allow-mixed\r\n"));

    let one_form = bent(&offered, "a=extmap-allow-mixed", "a=x-other");
    let (watching, answer) = watch(&one_form, &on_air);
    let video = watching.video.expect("video");
    assert_eq!(video.extensions.dependency_descriptor, None);
    assert!(!answer.contains("extmap-allow-mixed"));
}

#[test]
fn the_node_is_the_dtls_client_of_viewers_unless_they_are() {
    for (offered, role, answered) in [
        ("actpass", DtlsRole::Client, "active"),
        ("passive", DtlsRole::Client, "active"),
        ("active", DtlsRole::Server, "passive"),
    ] {
        let offer = bent(CHROMIUM_WHEP, "setup:actpass", &format!("setup:{offered}"));
        let (watching, answer) = watch(&offer, &program(Codec::Vp8, ""));
        assert_eq!(watching.dtls_role(), role);
        let setup = format!("a=setup:{answered}\r\n");
        assert_eq!(answer.matches(&setup).count(), 2, "{answer}");
    }
}

#[test]
fn a_viewer_can_say_that_it_knows_aes_gcm() {
    for (stated, knows) in [
        ("", false),
        (
            "a=showrunner-srtp-profiles:AES128_CM_HMAC_SHA1_80\r\n",
            false,
        ),
        (
            "a=showrunner-srtp-profiles:AEAD_AES_256_GCM AEAD_AES_128_GCM\r\n",
            true,
        ),
    ] {
        let offer = CHROMIUM_WHEP.replacen("m=audio", &format!("{stated}m=audio"), 1);
        let (watching, answer) = watch(&offer, &program(Codec::Vp8, ""));
        assert_eq!(watching.remote.knows_gcm, knows, "{stated}");
        assert!(!answer.contains("showrunner-srtp"));
    }
}
