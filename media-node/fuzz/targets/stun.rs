//! A datagram to an ICE agent. None is authentic without the password, so none may change it.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use showrunner_transport::IceCredentials;
use showrunner_transport::ice::{IceClient, IceLite};
use showrunner_transport::stun;

fuzz_target!(|datagram: &[u8]| {
    let now = Instant::now();
    let local = IceCredentials { ufrag: "abcd".into(), pwd: "0123456789012345678901".into() };
    let remote = IceCredentials { ufrag: "efgh".into(), pwd: "1234567890123456789012".into() };
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let mut reply = [0; 512];

    let _ = stun::username(datagram);
    let mut agent = IceLite::new(local.clone(), Some(remote.clone()), now);
    if agent.handle(now, 0_u8, peer, datagram, &mut reply).is_err() {
        assert!(!agent.is_validated(0) && agent.selected().is_none());
    }
    let mut client = IceClient::new(remote, local);
    assert!(!client.handle(now, datagram), "nothing was asked, so nothing is an answer");
});
