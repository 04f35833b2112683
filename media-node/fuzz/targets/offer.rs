//! An SDP offer, judged as a host's and as a viewer's; what is accepted is answered.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use showrunner_sdp::{
    Candidate, Codec, IceParameters, Local, Offer, Program, PublishRules, accept_publish, accept_watch,
    answer_publish, answer_watch,
};

fuzz_target!(|text: &str| {
    let offer = match Offer::parse(text) {
        Ok(offer) => offer,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7000));
    let local = Local {
        ice: IceParameters { ufrag: "abcd".into(), pwd: "0123456789012345678901".into() },
        fingerprint: [7; 32],
        candidates: vec![Candidate::udp(address), Candidate::tcp_passive(address)],
        session_id: 1,
    };
    if let Ok(publishing) = accept_publish(&offer, &PublishRules::default()) {
        check(&answer_publish(&offer, &publishing, &local), text);
    }
    let on_air = Program { audio: Some(Codec::Opus), video: Some((Codec::Vp8, String::new())) };
    if let Ok(watching) = accept_watch(&offer, &on_air, || 7) {
        check(&answer_watch(&offer, &watching, &local), text);
    }
});

/// An answer has as many m-sections as its offer (RFC 3264 §6), and nothing of the offer may break
/// out of its line.
fn check(answer: &str, offer: &str) {
    let sections = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(sections(answer), sections(offer));
    for line in answer.split_terminator("\r\n") {
        let mut start = line.chars();
        assert!(start.next().is_some_and(|c| c.is_ascii_lowercase()) && start.next() == Some('='));
        assert!(!line.contains(['\r', '\n']));
    }
}
