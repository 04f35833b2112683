//! Datagrams to either side of a DTLS handshake, of a peer that has passed ICE: whatever they are, no
//! keys come of them without the peer's certificate.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use showrunner_transport::Fingerprint;
use showrunner_transport::dtls::{Dtls, DtlsEvent, Identity};

static IDENTITY: LazyLock<Identity> =
    LazyLock::new(|| Identity::generate().expect("a certificate can be made"));

#[derive(Arbitrary, Debug)]
enum Datagram<'a> {
    Any(&'a [u8]),
    /// In a record that gets as far as the library.
    Record {
        content_type: u8,
        epoch: bool,
        body: &'a [u8],
    },
    /// A whole handshake message.
    Message {
        kind: u8,
        sequence: u8,
        body: &'a [u8],
    },
}

impl Datagram<'_> {
    fn bytes(&self, number: u8) -> Vec<u8> {
        match *self {
            Datagram::Any(bytes) => bytes.to_vec(),
            Datagram::Record {
                content_type,
                epoch,
                body,
            } => record(20 + content_type % 4, epoch.into(), number, body),
            Datagram::Message {
                kind,
                sequence,
                body,
            } => {
                let len = &(body.len() as u32).to_be_bytes()[1..];
                let header = [&[kind], len, &[0, sequence % 16, 0, 0, 0], len].concat();
                record(22, 0, number, &[&header, body].concat())
            }
        }
    }
}

fn record(content_type: u8, epoch: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let header = [content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, number];
    [&header[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fuzz_target!(|datagrams: Vec<Datagram<'_>>| {
    let begun = Instant::now();
    let peer = Fingerprint([0; 32]);
    let client = Dtls::client(&IDENTITY, peer, begun).expect("a hello can be made");
    for mut side in [Dtls::server(&IDENTITY, peer), client] {
        talk_to(&mut side, begun, &datagrams);
    }
});

fn talk_to(side: &mut Dtls, begun: Instant, datagrams: &[Datagram<'_>]) {
    let mut now = begun;
    for (number, datagram) in datagrams.iter().enumerate() {
        match side.handle(now, &datagram.bytes(number as u8)) {
            Ok(event) => assert!(!matches!(event, Some(DtlsEvent::Connected(_)))),
            Err(_) => return,
        }
        while side.poll_transmit().is_some() {}
        now += Duration::from_millis(100);
        if side.handle_timeout(now).is_err() {
            return;
        }
    }
}
