use super::*;
use crate::srtp::{MAX_OVERHEAD, Receiver, Sender};

/// A server, a client, and the network between them, on a virtual clock.
struct Pair {
    server: Dtls,
    client: Dtls,
    now: Instant,
    server_keys: Option<SrtpKeys>,
    client_keys: Option<SrtpKeys>,
    /// Datagrams sent so far, both ways, and which of them are lost.
    sent: usize,
    lost: Vec<usize>,
}

fn pair(client: &Identity) -> Pair {
    let server = Identity::generate().unwrap();
    let now = Instant::now();
    Pair {
        server: Dtls::server(&server, client.fingerprint()),
        client: Dtls::client(client, server.fingerprint(), now).unwrap(),
        now,
        server_keys: None,
        client_keys: None,
        sent: 0,
        lost: Vec::new(),
    }
}

fn identity() -> Identity {
    Identity::generate().unwrap()
}

/// Hands over what waits, unless it is lost. True if anything was sent.
fn deliver(
    from: &mut Dtls,
    to: &mut Dtls,
    now: Instant,
    keys: &mut Option<SrtpKeys>,
    (sent, lost): (&mut usize, &[usize]),
) -> Result<bool, DtlsError> {
    let before = *sent;
    while let Some(datagram) = from.poll_transmit() {
        *sent += 1;
        if !lost.contains(&(*sent - 1))
            && let Some(DtlsEvent::Connected(connected)) = to.handle(now, &datagram)?
        {
            *keys = Some(*connected);
        }
    }
    Ok(*sent > before)
}

impl Pair {
    fn reach_server(&mut self) -> Result<bool, DtlsError> {
        let count = (&mut self.sent, self.lost.as_slice());
        deliver(
            &mut self.client,
            &mut self.server,
            self.now,
            &mut self.server_keys,
            count,
        )
    }

    fn reach_client(&mut self) -> Result<bool, DtlsError> {
        let count = (&mut self.sent, self.lost.as_slice());
        deliver(
            &mut self.server,
            &mut self.client,
            self.now,
            &mut self.client_keys,
            count,
        )
    }

    /// Until nobody has anything to send any more, nor to wait for.
    fn run(&mut self) -> Result<(), DtlsError> {
        loop {
            if self.reach_server()? | self.reach_client()? {
                continue;
            }
            let due = [self.server.poll_timeout(), self.client.poll_timeout()];
            let Some(next) = due.into_iter().flatten().min() else {
                return Ok(());
            };
            self.now = next;
            self.server.handle_timeout(next)?;
            self.client.handle_timeout(next)?;
        }
    }

    /// The profile, after checking that each side opens what the other seals.
    fn profile(&self) -> Profile {
        let server = self.server_keys.as_ref().expect("the server is connected");
        let client = self.client_keys.as_ref().expect("the client is connected");
        for (from, to) in [(server, client), (client, server)] {
            let mut packet = [0; 8 + MAX_OVERHEAD];
            packet[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 1]);
            let len = Sender::new(from).seal_rtcp(&mut packet, 8).unwrap();
            assert_eq!(Receiver::new(to).open_rtcp(&mut packet[..len]), Ok(8));
        }
        server.profile
    }
}

#[test]
fn gcm_is_taken_even_if_the_client_likes_cm_better() {
    let mut pair = pair(&Identity::knowing_in(&[CM, GCM], 1200).unwrap());
    pair.run().unwrap();
    assert_eq!(pair.profile(), Profile::AeadAes128Gcm);
}

#[test]
fn a_client_without_gcm_gets_cm() {
    // The second one's hello comes in several datagrams.
    for mtu in [1200, 100] {
        let mut pair = pair(&Identity::knowing_in(&[CM], mtu).unwrap());
        pair.run().unwrap();
        assert_eq!(pair.profile(), Profile::Aes128CmHmacSha1_80);
    }
}

#[test]
fn a_hello_in_fragments_is_read() {
    for mtu in [200, 100, 60] {
        let mut pair = pair(&Identity::knowing_in(&[CM, GCM], mtu).unwrap());
        pair.run().unwrap();
        assert_eq!(pair.profile(), Profile::AeadAes128Gcm);
    }
}

#[test]
fn another_certificate_than_signalled_gets_no_keys() {
    let mut wrong_client = pair(&identity());
    wrong_client.server.peer = Fingerprint([0; 32]);
    assert!(matches!(
        wrong_client.run(),
        Err(DtlsError::WrongCertificate)
    ));
    assert!(wrong_client.server_keys.is_none());
    let mut wrong_server = pair(&identity());
    wrong_server.client.peer = Fingerprint([0; 32]);
    assert!(matches!(
        wrong_server.run(),
        Err(DtlsError::WrongCertificate)
    ));
    assert!(wrong_server.client_keys.is_none());
}

#[test]
fn any_datagram_of_a_handshake_may_be_lost() {
    let mut whole = pair(&identity());
    whole.run().unwrap();
    for first in 0..whole.sent {
        // One, or two in a row.
        for lost in [vec![first], vec![first, first + 1]] {
            let mut pair = pair(&identity());
            pair.lost = lost;
            pair.run().unwrap();
            pair.profile();
        }
    }
}

/// Browsers repeat a hello after 50 ms, before we would. The library takes that for progress.
#[test]
fn a_lost_answer_is_sent_again_though_the_client_repeats_its_hello() {
    let mut pair = pair(&identity());
    pair.reach_server().unwrap();
    pair.reach_client().unwrap();
    pair.reach_server().unwrap();
    while pair.server.poll_transmit().is_some() {} // hello, certificate …: lost
    pair.now = pair.client.poll_timeout().unwrap();
    pair.client.handle_timeout(pair.now).unwrap();
    assert!(pair.reach_server().unwrap(), "the client repeats its hello");
    pair.run().unwrap();
    pair.profile();
}

#[test]
fn a_client_has_the_keys_a_round_trip_before_the_handshake_is_over() {
    let mut pair = pair(&identity());
    while pair.client_keys.is_none() {
        pair.reach_server().unwrap();
        pair.reach_client().unwrap();
    }
    assert!(pair.server_keys.is_none());
    assert!(pair.client.is_handshaking());
    // What came so far is repeated: there are no keys a second time.
    pair.run().unwrap();
    pair.profile();
    assert!(!pair.client.is_handshaking());
}

#[test]
fn keys_that_the_server_never_confirms_end_with_the_session() {
    let mut pair = pair(&identity());
    while pair.client_keys.is_none() {
        pair.reach_server().unwrap();
        pair.reach_client().unwrap();
    }
    while pair.client.poll_transmit().is_some() {} // its last flight: lost
    let error = loop {
        pair.now = pair.client.poll_timeout().expect("it waits");
        if let Err(error) = pair.client.handle_timeout(pair.now) {
            break error;
        }
    };
    assert!(matches!(error, DtlsError::TimedOut));
    assert!(!pair.client.is_handshaking());
}

#[test]
fn a_client_may_insist_on_gcm() {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
        let server = Identity::generate_knowing(profile).unwrap();
        let client = identity();
        let mut pair = pair(&client);
        pair.server = Dtls::server(&server, client.fingerprint());
        let hello = Dtls::client_with_gcm(&client, server.fingerprint(), pair.now);
        pair.client = hello.unwrap();
        match profile {
            Profile::AeadAes128Gcm => {
                pair.run().unwrap();
                assert_eq!(pair.profile(), profile);
            }
            Profile::Aes128CmHmacSha1_80 => assert!(pair.run().is_err()),
        }
    }
}

#[test]
fn a_silent_peer_ends_the_handshake() {
    let mut pair = pair(&identity());
    let begin = pair.now;
    pair.reach_server().unwrap();
    let error = loop {
        pair.now = pair
            .client
            .poll_timeout()
            .expect("the client waits for an answer");
        if let Err(error) = pair.client.handle_timeout(pair.now) {
            break error;
        }
    };
    assert!(matches!(error, DtlsError::TimedOut));
    assert!(pair.now - begin < Duration::from_secs(30));
    assert_eq!(pair.client.poll_timeout(), None);
}

#[test]
fn garbage_ends_no_session() {
    let mut pair = pair(&identity());
    let garbage = |server: &mut Dtls, now| {
        for first in 0..=255 {
            for len in 0..60 {
                assert!(matches!(server.handle(now, &vec![first; len]), Ok(None)));
            }
        }
    };
    garbage(&mut pair.server, pair.now);
    pair.reach_server().unwrap();
    garbage(&mut pair.server, pair.now);
    pair.run().unwrap();
    pair.profile();
    garbage(&mut pair.server, pair.now);
    // Plain records that anybody can make: fatal alert, goodbye, a new hello's beginning.
    let plain = |content_type: u8, body: &[u8]| {
        let header = [
            content_type,
            0xfe,
            0xfd,
            0,
            0,
            0,
            0,
            0,
            0,
            9,
            9,
            0,
            body.len() as u8,
        ];
        [&header, body].concat()
    };
    for forged in [plain(21, &[2, 40]), plain(21, &[1, 0]), plain(20, &[1])] {
        assert!(matches!(pair.server.handle(pair.now, &forged), Ok(None)));
    }
    pair.client.close(pair.now);
    let goodbye = pair.client.poll_transmit().unwrap();
    assert!(matches!(
        pair.server.handle(pair.now, &goodbye),
        Ok(Some(DtlsEvent::Closed))
    ));
}

#[test]
fn a_goodbye_is_heard_once_on_either_side() {
    for server_leaves in [true, false] {
        let mut pair = pair(&identity());
        pair.run().unwrap();
        let (leaves, stays) = if server_leaves {
            (&mut pair.server, &mut pair.client)
        } else {
            (&mut pair.client, &mut pair.server)
        };
        leaves.close(pair.now);
        let goodbye = leaves.poll_transmit().expect("a goodbye");
        assert!(matches!(
            stays.handle(pair.now, &goodbye),
            Ok(Some(DtlsEvent::Closed))
        ));
        assert!(matches!(stays.handle(pair.now, &goodbye), Ok(None)));
        assert_eq!(stays.poll_timeout(), None);
    }
}
