//! How sessions come up and stay up, seen by clients: ICE, DTLS, SRTP and retransmission over real
//! sockets.

mod peer;
mod support;

use axum::http::StatusCode;
use peer::show::{Show, until_on_air};
use peer::{Peer, Stranger, Who, client_hello, sdp};
use showrunner_rtp::packet::is_rtcp;
use showrunner_transport::IceCredentials;
use showrunner_transport::dtls::Identity;
use showrunner_transport::srtp::Profile;
use support::{FRAGMENT, Harness, WHEP};

/// The ClientHello race of 2024: whoever's hello came first took the session.
#[tokio::test]
async fn a_hello_from_an_address_that_passed_no_check_is_never_answered() {
    let harness = Harness::new();
    let mut client = Peer::host(&harness, Who::anyone()).await;
    let attacker = Stranger::new(client.node);
    let hello = client_hello();
    attacker.send(&hello);
    client.check().await;
    attacker.send(&hello);
    client.check().await;
    assert!(!attacker.was_answered());
    client.connect().await;
    attacker.send(&hello);
    attacker.send(&[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40]); // a fatal alert
    client.check().await;
    assert!(!attacker.was_answered());
    until_on_air(&harness).await;
    let session = harness.request("GET", &client.url).send().await;
    assert_eq!(session.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_check_with_a_wrong_password_opens_nothing() {
    let harness = Harness::new();
    let mut client = Peer::host(&harness, Who::anyone()).await;
    let stranger = Stranger::new(client.node);
    let wrong = IceCredentials {
        ufrag: client.answer.ice.ufrag.clone(),
        pwd: "a".repeat(24),
    };
    stranger.send(&peer::check([7; 12], &client.credentials(), &wrong));
    stranger.send(&client_hello());
    client.check().await;
    assert!(!stranger.was_answered());
    client.connect().await;
}

#[tokio::test]
async fn a_viewer_whose_address_changes_keeps_its_session_and_its_stream() {
    let mut show = Show::begin().await;
    show.carry(5).await;
    let old = show.viewer.move_away().await;
    show.viewer.check().await;
    show.carry(5).await;
    let old = old.into_std().expect("a socket");
    let mut buffer = [0; 2048];
    while let Ok(len) = old.recv(&mut buffer) {
        // A report may have been on its way before the move.
        assert!(is_rtcp(&buffer[..len]), "media went on to the old address");
    }
}

#[tokio::test]
async fn a_host_whose_address_changes_stays_on_air() {
    let mut show = Show::begin().await;
    show.host.move_away().await;
    show.host.check().await;
    show.carry(5).await;
}

#[tokio::test]
async fn an_ice_restart_goes_on_with_the_same_keys_and_stream() {
    let mut show = Show::begin().await;
    let local = IceCredentials::generate();
    let fragment = format!(
        "a=ice-options:trickle\r\nm=video 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:0\r\n\
         a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        local.ufrag, local.pwd
    );
    let request = show.harness.request("PATCH", &show.viewer.url);
    let answer = request
        .header("if-match", "*")
        .body(FRAGMENT, fragment)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // The old credentials serve until the new ones are used.
    show.viewer.check().await;
    show.carry(3).await;
    let before = show.viewer.credentials();
    let old_remote = show.viewer.answer.ice.clone();
    show.viewer.restart(local, sdp::credentials(&answer.body));
    show.viewer.move_away().await;
    show.viewer.check().await;
    show.carry(3).await;
    let late = Stranger::new(show.viewer.node);
    late.send(&peer::check([9; 12], &before, &old_remote));
    show.viewer.check().await;
    assert!(!late.was_answered(), "the old credentials are over");
}

#[tokio::test]
async fn a_client_with_another_certificate_than_it_announced_ends_alone() {
    let mut show = Show::begin().await;
    let announced = Identity::generate().expect("a certificate").fingerprint();
    let impostor = Who {
        announced,
        ..Who::anyone()
    };
    let mut impostor = Peer::viewer(&show.harness, impostor).await;
    impostor.be_ended(&show.harness).await;
    let session = show.harness.request("GET", &impostor.url).send().await;
    assert_eq!(session.status, StatusCode::NOT_FOUND);
    show.carry(5).await;
}

#[tokio::test]
async fn aes_gcm_is_preferred_and_clients_without_it_get_aes_cm() {
    let profiles = [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80];
    for host in profiles {
        for viewer in profiles {
            let offers = |profile| match profile {
                Profile::AeadAes128Gcm => Identity::generate(),
                cm => Identity::generate_knowing(cm),
            };
            let who = |profile| Who::honest(offers(profile).expect("a certificate"));
            let mut show = Show::on(Harness::new(), who(host), who(viewer)).await;
            assert_eq!(show.host.profile(), Some(host));
            assert_eq!(show.viewer.profile(), Some(viewer));
            show.carry(5).await;
        }
    }
}

/// As ffmpeg's WHIP muxer offers.
#[tokio::test]
async fn a_host_may_be_the_dtls_server() {
    let mut show = Show::begin().await;
    let room = "/whip/shop/passive";
    let mut host = Peer::with_offer(&show.harness, room, Who::anyone(), |ice, fingerprint| {
        sdp::publish(ice, fingerprint).replace("setup:actpass", "setup:passive")
    })
    .await;
    assert!(host.answer.is_dtls_client);
    host.connect().await;
    show.carry(5).await;
}

#[tokio::test]
async fn what_a_host_loses_is_asked_for_and_takes_its_place_at_viewers() {
    let mut show = Show::begin().await;
    let before = show.carry(3).await[2].seq;
    let lost = show.host.lose_frame();
    show.host.send_frame(1001).await;
    let after = show.viewer.next_packet().await;
    assert_eq!((after.number(), after.seq), (1001, before.wrapping_add(2)));
    assert_eq!(show.host.next_asked().await, (peer::HOST_SSRC, lost));
    show.host.send_frame_again(1000, lost, 1).await;
    let repaired = show.viewer.next_packet().await;
    assert_eq!(
        (repaired.number(), repaired.seq),
        (1000, before.wrapping_add(1))
    );
}

#[tokio::test]
async fn what_a_viewer_misses_comes_again_as_a_retransmission() {
    let mut show = Show::begin().await;
    let sent = show.carry(20).await;
    show.viewer.nack(&[sent[7].seq, sent[9].seq]).await;
    for missed in [&sent[7], &sent[9]] {
        let again = show.viewer.next_packet().await;
        assert_eq!(again.ssrc, show.viewer.answer.rtx_ssrc);
        let expected = [&missed.seq.to_be_bytes()[..], &missed.payload].concat();
        assert_eq!(again.payload, expected);
    }
    show.carry(5).await;
}

#[tokio::test]
async fn what_is_no_longer_stored_or_was_never_sent_is_not_retransmitted() {
    let mut show = Show::begin().await;
    let sent = show.carry(1100).await;
    let newest = sent[1099].seq;
    show.viewer
        .nack(&[sent[0].seq, newest.wrapping_add(100)])
        .await;
    show.viewer.nack(&[newest]).await;
    let again = show.viewer.next_packet().await;
    assert_eq!(again.payload[..2], newest.to_be_bytes());
    show.viewer.check().await;
    assert_eq!(show.viewer.waiting_packet(), None);
    show.carry(5).await;
}

/// A number under which two different packets went out would give the keys away (GCM).
#[tokio::test]
async fn without_rtx_a_packet_that_goes_out_again_is_the_same_to_the_last_byte() {
    let harness = Harness::new();
    let mut host = Peer::host(&harness, Who::anyone()).await;
    host.connect().await;
    until_on_air(&harness).await;
    let viewer = Peer::with_offer(&harness, WHEP, Who::anyone(), sdp::watch_without_rtx);
    let mut viewer = viewer.await;
    viewer.connect().await;
    viewer.kept = Some(Vec::new());
    for number in 0..8 {
        host.send_frame(number).await;
    }
    let first = viewer.keep(8).await;
    let ssrc = u32::from_be_bytes(*first[3][8..].first_chunk().expect("a header"));
    viewer.answer.ssrc = ssrc;
    let seq = u16::from_be_bytes(*first[3][2..].first_chunk().expect("a header"));
    viewer.nack(&[seq]).await;
    let all = viewer.keep(9).await;
    assert_eq!(all[8], all[3]);
    // What went out since then has other numbers, of both kinds.
    host.send_frame(8).await;
    let all = viewer.keep(10).await;
    assert_ne!(all[9][..24], all[3][..24]);
}
