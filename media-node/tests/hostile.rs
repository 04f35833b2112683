//! What strangers, and clients gone bad, can do to a node: little, and nothing to other sessions.
//! Beside each attack a host and a viewer go on, and the viewer must get every packet.

mod peer;
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::http::StatusCode;
use media_node::http::{HttpConfig, router};
use media_node::metrics;
use peer::show::{Show, until_on_air};
use peer::{PATIENCE, Peer, Stranger, Who, client_hello, sdp};
use showrunner_door::Door;
use showrunner_rtp::packet::{Header, HeaderWriter};
use showrunner_transport::IceCredentials;
use showrunner_transport::srtp::MAX_OVERHEAD;
use socket2::SockRef;
use support::{Harness, SDP, WHEP};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Numbers that look random and are the same each time (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Serves a node's HTTP as its program does.
async fn door(harness: &Harness) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let door = Door {
        listener,
        router: router(harness.node.clone(), HttpConfig::default()),
        tls: None,
        max_connections: 1000,
    };
    tokio::spawn(door.serve(std::future::pending(), Duration::ZERO));
    addr
}

/// All that the server says to these bytes until it closes. The client closes its own half if it
/// is not to look slow.
async fn says(addr: SocketAddr, bytes: &[u8], finish: bool) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    // The server may have heard enough before the end.
    let _ = stream.write_all(bytes).await;
    if finish {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    // A connection that is reset is closed as well.
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection was left open");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn is_healthy(addr: SocketAddr) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    says(addr, request, false).await.starts_with("HTTP/1.1 200")
}

fn statuses(answers: &str) -> Vec<u16> {
    let words = answers.split("HTTP/1.1 ").skip(1);
    words.filter_map(|w| w.get(..3)?.parse().ok()).collect()
}

#[tokio::test]
async fn broken_http_gets_a_clear_refusal_or_a_closed_door() {
    let mut show = Show::begin().await;
    let addr = door(&show.harness).await;
    let mut noise = Noise(1);
    let long = "a".repeat(1 << 20);
    let post = |rest: &str| format!("POST {WHEP} HTTP/1.1\r\nhost: a\r\n{rest}").into_bytes();
    let offer = format!("content-type: {SDP}\r\n");
    let attacks: Vec<Vec<u8>> = vec![
        Vec::new(),
        noise.bytes(10_000),
        vec![0; 100_000],
        b"\r\n\r\n\r\n\r\n".to_vec(),
        b"GET".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/1.1\r\nhost a\r\n\r\n".to_vec(),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000)).into_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &noise.bytes(5000)].concat(),
        post("content-length: 99999999999999999999\r\n\r\n"),
        post("content-length: -1\r\n\r\n"),
        post(&format!("{offer}content-length: 1000\r\n\r\nv=0\r\n")),
        post(&format!("{offer}transfer-encoding: chunked\r\n\r\nzz\r\n")),
        post(&format!(
            "{offer}content-length: {}\r\n\r\n{long}",
            long.len()
        )),
        post(&format!("{offer}content-length: 4\r\n\r\nv=0\n")),
    ];
    for attack in &attacks {
        let answer = says(addr, attack, true).await;
        let start = String::from_utf8_lossy(&attack[..attack.len().min(40)]).into_owned();
        for status in statuses(&answer) {
            assert!((400..500).contains(&status), "{start:?}: {answer}");
        }
        show.carry(1).await;
    }
    assert!(is_healthy(addr).await);
}

#[tokio::test]
async fn requests_sent_together_are_answered_in_turn_up_to_the_first_broken_one() {
    let show = Show::begin().await;
    let addr = door(&show.harness).await;
    let good = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let missing = "GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n";
    let requests = format!("{good}{missing}{good}\u{1}\u{2}\u{3}\r\n\r\n{good}{good}");
    let answer = says(addr, requests.as_bytes(), true).await;
    assert_eq!(statuses(&answer), [200, 404, 200, 400]);
    assert!(is_healthy(addr).await);
}

#[tokio::test]
async fn clients_that_never_finish_a_request_are_cut_off() {
    let harness = Harness::new();
    let addr = door(&harness).await;
    let body = format!(
        "POST {WHEP} HTTP/1.1\r\nhost: a\r\ncontent-type: {SDP}\r\ncontent-length: 500\r\n\r\nv=0\r\n"
    );
    let silent = says(addr, b"", false);
    let preface = says(addr, b"PRI * HTTP/2", false);
    let head = says(addr, b"GET / HTTP/1.1\r\nhost: a\r\nx: y", false);
    let body = says(addr, body.as_bytes(), false);
    let (silent, preface, head, body) = tokio::join!(silent, preface, head, body);
    assert_eq!(preface, "");
    assert_eq!(silent, "");
    assert!(
        statuses(&head).iter().all(|status| *status == 408),
        "{head}"
    );
    assert_eq!(statuses(&body), [408], "{body}");
    assert!(is_healthy(addr).await);
}

/// A metric of all nodes of this process.
fn count(metric: &str) -> u64 {
    let text = metrics::render();
    let line = text.lines().find_map(|line| line.strip_prefix(metric));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {metric} in\n{text}"))
}

const UNKNOWN: &str = "showrunner_dropped_total{reason=\"unknown_path\",shard=\"0\"}";
const UNKNOWN_STREAM: &str = "showrunner_dropped_total{reason=\"unknown_stream\",shard=\"0\"}";
const MALFORMED: &str = "showrunner_dropped_total{reason=\"malformed\",shard=\"0\"}";

#[tokio::test]
async fn a_flood_from_strangers_is_dropped_and_counted_and_never_answered() {
    let mut show = Show::begin().await;
    let (unknown, malformed) = (count(UNKNOWN), count(MALFORMED));
    let strangers: Vec<Stranger> = (0..8).map(|_| Stranger::new(show.viewer.node)).collect();
    let mut noise = Noise(2);
    let hello = client_hello();
    let anyone = IceCredentials::generate();
    let check = peer::check([1; 12], &anyone, &IceCredentials::generate());
    let known = peer::check([2; 12], &anyone, &show.viewer.answer.ice);
    let (mut of_kinds, mut of_none) = (0, 0);
    for round in 0..200 {
        // No more at a time than the socket's buffer holds, so that nothing is lost but by the node.
        for stranger in &strangers {
            let whole = [&hello, &check, &known][round % 3];
            let cut = noise.next() as usize % whole.len();
            let mut rtp = noise.bytes(12 + round);
            rtp[0] = 0x80;
            let mut other = noise.bytes(1 + round);
            other[0] = 200;
            let datagrams = [&whole[..=cut], whole, &rtp];
            datagrams
                .iter()
                .for_each(|datagram| stranger.send(datagram));
            stranger.send(&other);
            stranger.send(&[]);
            // A check that bears a session's name fails by its password.
            of_kinds += if round % 3 == 2 { 1 } else { 3 };
            of_none += 1;
        }
        show.carry(1).await;
    }
    assert!(count(UNKNOWN) >= unknown + of_kinds);
    assert!(count(MALFORMED) >= malformed + of_none);
    assert!(!strangers.iter().any(Stranger::was_answered));
    assert_eq!(show.harness.node.status().sessions, 2);
}

#[tokio::test]
async fn a_host_that_sends_nonsense_harms_nobody_but_its_own_viewers() {
    let mut show = Show::begin().await;
    let room = "/whip/shop/nonsense";
    let mut bad = Peer::host_of(&show.harness, room, Who::anyone()).await;
    bad.connect().await;
    let mut noise = Noise(3);
    let (before, unknown) = (resident_kib(), count(UNKNOWN_STREAM));
    for round in 0..2000u64 {
        let header = HeaderWriter {
            marker: noise.next().is_multiple_of(2),
            payload_type: [sdp::VP8, sdp::RTX, 111, noise.next() as u8 & 127][round as usize % 4],
            sequence_number: noise.next() as u16,
            timestamp: noise.next() as u32,
            ssrc: (round % 500) as u32,
        };
        let payload_len = noise.next() as usize % 1400;
        let payload = noise.bytes(payload_len);
        let mut index = u64::from(header.sequence_number);
        if round % 5 == 0 {
            index += (noise.next() % 4) << 16;
        }
        let (id, value) = (1 + (noise.next() % 14) as u8, noise.bytes(16));
        bad.send_rtp(&header, &[(id, &value)], &payload, index)
            .await;
        // Header extensions of random bytes, some of them longer than the packet.
        let mut garbage = noise.bytes(200 + MAX_OVERHEAD);
        garbage[0] = 0x90 | (garbage[0] & 0x2f);
        garbage[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
        garbage[12..14].copy_from_slice(&[0xbe, 0xde]);
        garbage[14] = (round % 8 == 0).into();
        garbage[15] %= 32;
        let header_len = Header::parse(&garbage[..200]).map_or(12, |header| header.len);
        let index = u64::from(u16::from_be_bytes([garbage[2], garbage[3]]));
        bad.seal_rtp(garbage, header_len, 200, index).await;
        let len = 8 + noise.next() as usize % 1000;
        let mut rtcp = noise.bytes(len);
        (rtcp[0], rtcp[1]) = (0x80 | (rtcp[0] & 0x3f), 200 + (round % 8) as u8);
        bad.send_rtcp(&rtcp).await;
        if round % 8 == 0 {
            show.carry(1).await;
        }
    }
    show.carry(50).await;
    assert!(
        count(UNKNOWN_STREAM) > unknown + 100,
        "authentic packets of more streams than a session may have"
    );
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 256 << 10, "{grown} KiB more");
}

#[tokio::test]
async fn a_viewer_that_sends_nonsense_gets_no_more_than_is_due() {
    let mut show = Show::begin().await;
    let mut bad = Peer::viewer(&show.harness, Who::anyone()).await;
    bad.connect().await;
    let mut noise = Noise(4);
    for round in 0..500u16 {
        let seqs: Vec<u16> = (0..40).map(|_| noise.next() as u16).collect();
        bad.nack(&seqs).await;
        let mut rtcp = noise.bytes(8 + usize::from(round));
        (rtcp[0], rtcp[1]) = (0x80 | (rtcp[0] & 0x1f), 200 + (round % 8) as u8);
        bad.send_rtcp(&rtcp).await;
        let header = HeaderWriter {
            marker: true,
            payload_type: sdp::VP8,
            sequence_number: round,
            timestamp: 0,
            ssrc: peer::HOST_SSRC,
        };
        bad.send_rtp(&header, &[], b"not mine to send", u64::from(round))
            .await;
        show.carry(1).await;
    }
}

#[tokio::test]
async fn tcp_connections_that_say_nothing_or_nonsense_are_closed() {
    let mut show = Show::begin().await;
    let node = show.viewer.node;
    let mut noise = Noise(5);
    let hello = client_hello();
    let framed = |datagram: &[u8]| {
        let len = u16::try_from(datagram.len()).expect("a short one");
        [&len.to_be_bytes()[..], datagram].concat()
    };
    let attacks = [
        Vec::new(),
        vec![0],
        vec![0xff; 100_000],
        noise.bytes(100_000),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        framed(&hello).repeat(10),
        framed(&noise.bytes(1000)).repeat(100),
        vec![0; 50_000],
    ];
    let mut closings = JoinSet::new();
    for attack in attacks {
        closings.spawn(async move { says(node, &attack, false).await });
    }
    show.carry(50).await;
    while let Some(answer) = closings.join_next().await {
        assert_eq!(answer.expect("closed"), "");
        show.carry(1).await;
    }
    show.carry(5).await;
}

#[tokio::test]
async fn there_are_no_more_tcp_connections_than_the_limit() {
    /// That of a shard.
    const LIMIT: usize = 4096;
    let mut show = Show::begin().await;
    let node = show.viewer.node;
    let mut streams = Vec::new();
    for n in 0..LIMIT + 64 {
        let mut stream = TcpStream::connect(node).await.expect("a connection");
        // Closed by a reset in the end, so that these ports are free for the next test.
        let at_once = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        at_once.expect("set");
        if n >= LIMIT {
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
            // Closed, be it by FIN or RST.
            assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
        }
        streams.push(stream);
        if n % 64 == 0 {
            show.carry(1).await;
        }
    }
    show.carry(5).await;
}

/// Memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn ten_thousand_half_open_joins_fill_the_node_and_no_more() {
    const LIMIT: usize = 1000;
    let mut show = Show::begin_with(LIMIT).await;
    let offer = sdp::watch(&IceCredentials::generate(), client_fingerprint());
    let before = resident_kib();
    let (mut taken, mut refused) = (0, 0);
    for n in 0..10_000 {
        let request = show.harness.request("POST", WHEP);
        let answer = request.body(SDP, offer.clone()).await;
        match answer.status {
            StatusCode::CREATED => taken += 1,
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(answer.has("retry-after"));
                refused += 1;
            }
            other => panic!("{other}: {}", answer.body),
        }
        assert!(show.harness.node.status().sessions as usize <= LIMIT);
        if n % 100 == 0 {
            show.carry(1).await;
        }
    }
    assert!(taken >= LIMIT - 2 && refused > 0, "{taken} and {refused}");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 128 << 10, "{grown} KiB more");
    show.carry(10).await;
}

fn client_fingerprint() -> showrunner_transport::Fingerprint {
    Who::anyone().announced
}

#[tokio::test]
async fn a_node_full_of_half_open_joins_takes_new_ones_when_those_give_up() {
    let harness = Harness::of(HttpConfig::default(), 3);
    let mut host = Peer::host(&harness, Who::anyone()).await;
    host.connect().await;
    until_on_air(&harness).await;
    let first = harness.watch().await;
    harness.watch().await;
    let refused = harness
        .request("POST", WHEP)
        .body(SDP, support::VIEWER)
        .await;
    refused.is_problem(503, "all the sessions");
    let gone = harness.request("DELETE", first.location()).send().await;
    assert_eq!(gone.status, StatusCode::OK);
    harness.watch().await;
}
