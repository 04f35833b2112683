//! A client over UDP, built of the same protocol crates as the node: it joins by HTTP, then does
//! ICE, DTLS and SRTP. It moves only while it is awaited.

#![allow(dead_code, unreachable_pub)]

pub mod camera;
pub mod sdp;
pub mod show;
pub mod slow;
pub mod viewer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use media_node::node::SessionId;
use showrunner_rtp::packet::{self, Header, HeaderWriter};
use showrunner_rtp::rtcp;
use showrunner_transport::dtls::{Dtls, DtlsEvent, Identity};
use showrunner_transport::ice::IceClient;
use showrunner_transport::srtp::{
    MAX_OVERHEAD, Profile, Receiver, Sender, SrtpError, SrtpKeys, StreamState,
};
use showrunner_transport::stun::{Builder, Class, Message, TransactionId};
use showrunner_transport::{Fingerprint, IceCredentials};
use tokio::net::UdpSocket;

use crate::support::{Harness, SDP, WHEP, WHIP};
use sdp::Answer;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a client that waits for datagrams looks at its clock.
const CLOCK: Duration = Duration::from_millis(20);

/// The host's stream.
pub const HOST_SSRC: u32 = 0x1234;

struct Srtp {
    profile: Profile,
    sender: Sender,
    receiver: Receiver,
}

/// An RTP packet that came, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub ssrc: u32,
    pub payload_type: u8,
    pub seq: u16,
    pub timestamp: u32,
    /// Id and value of each header extension.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub payload: Vec<u8>,
}

/// One session's client.
pub struct Peer {
    pub id: SessionId,
    /// Path of the session's resource.
    pub url: String,
    pub node: SocketAddr,
    pub answer: Answer,
    local: IceCredentials,
    remote: IceCredentials,
    socket: UdpSocket,
    ice: IceClient,
    dtls: Dtls,
    srtp: Option<Srtp>,
    streams: HashMap<u32, StreamState>,
    packets: VecDeque<Packet>,
    /// What the node asked for: SSRC and number.
    asked: VecDeque<(u32, u16)>,
    /// How often it asked for a keyframe.
    keyframes_asked: usize,
    /// What it reported of times (RFC 3611).
    extended: VecDeque<rtcp::Extended>,
    checks: u64,
    succeeded: HashSet<TransactionId>,
    closed: bool,
    next_index: u64,
    /// Media datagrams as they came, those that came twice as well, if they are to be kept.
    pub kept: Option<Vec<Vec<u8>>>,
    /// What its media comes by, if that is slow.
    slow: Option<slow::SlowPath>,
}

/// What a client signals, and what it then is.
pub struct Who {
    pub identity: Identity,
    /// Of the certificate that it announces.
    pub announced: Fingerprint,
}

impl Who {
    pub fn honest(identity: Identity) -> Who {
        let announced = identity.fingerprint();
        Who {
            identity,
            announced,
        }
    }

    pub fn anyone() -> Who {
        Who::honest(Identity::generate().expect("a certificate"))
    }
}

impl Peer {
    /// Joins as the room's host.
    pub async fn host(harness: &Harness, who: Who) -> Peer {
        Peer::host_of(harness, WHIP, who).await
    }

    /// Joins as the host of the room with this endpoint.
    pub async fn host_of(harness: &Harness, endpoint: &str, who: Who) -> Peer {
        let local = IceCredentials::generate();
        let offer = sdp::publish(&local, who.announced);
        Peer::join(harness, endpoint, offer, local, who).await
    }

    /// Joins as a viewer of the room.
    pub async fn viewer(harness: &Harness, who: Who) -> Peer {
        Peer::viewer_of(harness, WHEP, who).await
    }

    /// Joins as a viewer of the room with this endpoint.
    pub async fn viewer_of(harness: &Harness, endpoint: &str, who: Who) -> Peer {
        let local = IceCredentials::generate();
        let offer = sdp::watch(&local, who.announced);
        Peer::join(harness, endpoint, offer, local, who).await
    }

    /// Joins as a viewer of sound and picture who reports when each packet came by a path that
    /// carries so many bit/s.
    pub async fn viewer_on(harness: &Harness, bps: u64) -> Peer {
        let mut peer = Peer::with_offer(harness, WHEP, Who::anyone(), sdp::watch_reporting).await;
        peer.slow = Some(slow::SlowPath::new(bps));
        peer
    }

    /// The path carries so many bit/s from now on.
    pub fn set_path(&mut self, bps: u64) {
        if let Some(slow) = &mut self.slow {
            slow.set(bps);
        }
    }

    /// Joins with an offer that is made for it.
    pub async fn with_offer(
        harness: &Harness,
        path: &str,
        who: Who,
        offer: impl Fn(&IceCredentials, Fingerprint) -> String,
    ) -> Peer {
        let local = IceCredentials::generate();
        let offer = offer(&local, who.announced);
        Peer::join(harness, path, offer, local, who).await
    }

    async fn join(
        harness: &Harness,
        path: &str,
        offer: String,
        local: IceCredentials,
        who: Who,
    ) -> Peer {
        let joined = harness.request("POST", path).body(SDP, offer).await;
        assert_eq!(joined.status, StatusCode::CREATED, "{}", joined.body);
        let answer = Answer::parse(&joined.body);
        let url = joined.location().to_owned();
        let id = url.rsplit('/').next().and_then(SessionId::parse);
        let dtls = if answer.is_dtls_client {
            Ok(Dtls::server(&who.identity, answer.fingerprint))
        } else {
            Dtls::client(&who.identity, answer.fingerprint, Instant::now())
        };
        Peer {
            id: id.expect("an id"),
            url,
            node: answer.udp,
            remote: answer.ice.clone(),
            ice: IceClient::new(local.clone(), answer.ice.clone()),
            local,
            socket: socket(answer.udp).await,
            dtls: dtls.expect("a side of the handshake"),
            answer,
            srtp: None,
            streams: HashMap::new(),
            packets: VecDeque::new(),
            asked: VecDeque::new(),
            keyframes_asked: 0,
            extended: VecDeque::new(),
            checks: 0,
            succeeded: HashSet::new(),
            closed: false,
            next_index: 1000,
            kept: None,
            slow: None,
        }
    }

    /// Comes up.
    pub async fn connect(&mut self) {
        let is_up = |peer: &Peer| peer.srtp.is_some() && !peer.dtls.is_handshaking();
        self.until("connect", |peer| is_up(peer).then_some(()))
            .await;
    }

    /// Until the node has ended the session, and says so or not.
    pub async fn be_ended(&mut self, harness: &Harness) {
        let has_ended = |peer: &Peer| {
            let ended = harness.node.ended(&peer.id);
            // None is known of one that has.
            ended.is_none_or(|ended| ended.borrow().is_some())
        };
        self.until("be ended", |peer| has_ended(peer).then_some(()))
            .await;
    }

    /// What the handshake chose.
    pub fn profile(&self) -> Option<Profile> {
        self.srtp.as_ref().map(|srtp| srtp.profile)
    }

    /// The same session from another address. Gives back the socket that it had.
    pub async fn move_away(&mut self) -> UdpSocket {
        std::mem::replace(&mut self.socket, socket(self.node).await)
    }

    /// Takes the credentials that an ICE restart brought.
    pub fn restart(&mut self, local: IceCredentials, remote: IceCredentials) {
        self.ice = IceClient::new(local.clone(), remote.clone());
        self.local = local;
        self.remote = remote;
    }

    /// Its ICE credentials.
    pub fn credentials(&self) -> IceCredentials {
        self.local.clone()
    }

    /// One ICE check, from here, and its success. What was sent to the node before has then been
    /// dealt with, by whomever.
    pub async fn check(&mut self) {
        let (id, check) = self.next_check();
        self.send(&check).await;
        self.until("be answered", |peer| {
            peer.succeeded.remove(&id).then_some(())
        })
        .await;
    }

    fn next_check(&mut self) -> (TransactionId, Vec<u8>) {
        self.checks += 1;
        let mut id = [0xab; 12];
        id[4..].copy_from_slice(&self.checks.to_be_bytes());
        (id, check(id, &self.local, &self.remote))
    }

    /// Seals and sends a frame of one packet; its number can be read from its end.
    pub async fn send_frame(&mut self, number: u32) {
        let index = self.next_index;
        self.next_index += 1;
        let header = HeaderWriter {
            marker: true,
            payload_type: sdp::VP8,
            sequence_number: index as u16,
            timestamp: number.wrapping_mul(3000),
            ssrc: HOST_SSRC,
        };
        self.send_rtp(&header, &[], &frame(number), index).await;
    }

    /// A frame that the network loses; its sequence number.
    pub fn lose_frame(&mut self) -> u16 {
        self.next_index += 1;
        (self.next_index - 1) as u16
    }

    /// Sends a frame as the retransmission of the one that had this sequence number (RFC 4588).
    pub async fn send_frame_again(&mut self, number: u32, original: u16, index: u16) {
        let header = HeaderWriter {
            marker: true,
            payload_type: sdp::RTX,
            sequence_number: index,
            timestamp: number.wrapping_mul(3000),
            ssrc: HOST_SSRC + 1,
        };
        let payload = [&original.to_be_bytes()[..], &frame(number)].concat();
        self.send_rtp(&header, &[], &payload, index.into()).await;
    }

    /// The next packet that the node asks for.
    pub async fn next_asked(&mut self) -> (u32, u16) {
        self.until("be asked", |peer| peer.asked.pop_front()).await
    }

    /// Seals and sends any RTP packet.
    pub async fn send_rtp(
        &mut self,
        header: &HeaderWriter,
        extensions: &[(u8, &[u8])],
        payload: &[u8],
        index: u64,
    ) {
        let mut buffer = vec![0; 256 + payload.len() + MAX_OVERHEAD];
        let header_len = header
            .write_with(&mut buffer, extensions)
            .expect("there is room");
        let len = header_len + payload.len();
        buffer[header_len..len].copy_from_slice(payload);
        self.seal_rtp(buffer, header_len, len, index).await;
    }

    /// Seals and sends a packet whose first `len` bytes are given.
    pub async fn seal_rtp(
        &mut self,
        mut buffer: Vec<u8>,
        header_len: usize,
        len: usize,
        index: u64,
    ) {
        let srtp = self.srtp.as_ref().expect("a connection");
        let len = srtp
            .sender
            .seal_rtp(&mut buffer, header_len, len, index)
            .expect("a packet");
        self.send(&buffer[..len]).await;
    }

    /// Seals and sends anything as RTCP.
    pub async fn send_rtcp(&mut self, plain: &[u8]) {
        let mut buffer = vec![0; plain.len() + 64];
        buffer[..plain.len()].copy_from_slice(plain);
        let srtp = self.srtp.as_mut().expect("a connection");
        let len = srtp
            .sender
            .seal_rtcp(&mut buffer, plain.len())
            .expect("a packet");
        self.send(&buffer[..len]).await;
    }

    /// Asks for packets of the node's stream again.
    pub async fn nack(&mut self, seqs: &[u16]) {
        let mut buffer = [0; 256];
        let mut writer = rtcp::Writer::new(&mut buffer);
        writer
            .nack(1, self.answer.ssrc, seqs)
            .expect("there is room");
        let len = writer.finish();
        self.send_rtcp(&buffer[..len]).await;
    }

    /// Until so many media datagrams have come that are kept.
    pub async fn keep(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.until("receive", |peer| {
            let kept = peer.kept.as_ref()?;
            (kept.len() >= count).then(|| kept.clone())
        })
        .await
    }

    /// Until the node asks for a keyframe.
    pub async fn be_asked_for_keyframe(&mut self) {
        let before = self.keyframes_asked;
        self.until("be asked for a keyframe", |peer| {
            (peer.keyframes_asked > before).then_some(())
        })
        .await;
    }

    /// The next that the node reports of times.
    pub async fn next_extended(&mut self) -> rtcp::Extended {
        self.until("be told of times", |peer| peer.extended.pop_front())
            .await
    }

    /// The next packet that comes.
    pub async fn next_packet(&mut self) -> Packet {
        self.until("receive", |peer| peer.packets.pop_front()).await
    }

    /// A packet that has come already.
    pub fn waiting_packet(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    /// Sends bytes as they are.
    pub async fn send(&self, datagram: &[u8]) {
        self.socket
            .send_to(datagram, self.node)
            .await
            .expect("sent");
    }

    async fn until<T>(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(done) = is_so(self) {
                    return done;
                }
                self.step().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("the client did not {what}"))
    }

    /// Sends what is due, then takes in what comes.
    async fn step(&mut self) {
        self.step_until(Instant::now() + CLOCK).await;
    }

    /// The same, waiting for it until then at most.
    pub async fn step_until(&mut self, until: Instant) {
        let now = Instant::now();
        if let Some(slow) = &mut self.slow
            && self.srtp.is_some()
        {
            while let Some(packet) = slow.leave(now) {
                self.packets.push_back(packet);
            }
            if let Some(report) = slow.report(now) {
                self.send_rtcp(&report).await;
            }
        }
        let mut check = [0; 256];
        if let Some(len) = self.ice.poll_transmit(now, &mut check).expect("a check") {
            self.send(&check[..len]).await;
        }
        if self.ice.is_connected() {
            if self.dtls.poll_timeout().is_some_and(|at| at <= now) {
                self.closed |= self.dtls.handle_timeout(now).is_err();
            }
            while let Some(datagram) = self.dtls.poll_transmit() {
                self.send(&datagram).await;
            }
        }
        let mut buffer = [0; 2048];
        let until = match self.slow {
            Some(_) => until.min(now + Duration::from_millis(2)),
            None => until,
        };
        let received = tokio::time::timeout_at(until.into(), self.socket.recv(&mut buffer));
        if let Ok(received) = received.await {
            let len = received.expect("a datagram");
            self.take(&mut buffer[..len]);
            while let Ok(len) = self.socket.try_recv(&mut buffer) {
                self.take(&mut buffer[..len]);
            }
        }
    }

    fn take(&mut self, datagram: &mut [u8]) {
        let now = Instant::now();
        match datagram.first() {
            Some(0..=3) => {
                self.ice.handle(now, datagram);
                let message = Message::parse(datagram).expect("STUN");
                let is_success = message.class == Class::Success;
                if is_success && message.verify(&self.remote.pwd).is_ok() {
                    self.succeeded.insert(message.transaction_id);
                }
            }
            Some(20..=63) => match self.dtls.handle(now, datagram) {
                Ok(Some(DtlsEvent::Connected(keys))) => self.srtp = Some(srtp(&keys)),
                Ok(None) => {}
                Ok(Some(DtlsEvent::Closed)) | Err(_) => self.closed = true,
            },
            _ if packet::is_rtcp(datagram) => {
                let srtp = self.srtp.as_mut().expect("a connection");
                let len = srtp.receiver.open_rtcp(datagram);
                self.take_rtcp(&datagram[..len.expect("authentic RTCP")]);
            }
            _ => self.take_rtp(datagram),
        }
    }

    fn take_rtcp(&mut self, compound: &[u8]) {
        for packet in rtcp::packets(compound) {
            match packet.expect("RTCP") {
                rtcp::Packet::Nack {
                    media_ssrc,
                    entries,
                    ..
                } => self.asked.extend(entries.map(|seq| (media_ssrc, seq))),
                rtcp::Packet::Pli { .. } => self.keyframes_asked += 1,
                rtcp::Packet::ExtendedReport { blocks, .. } => self.extended.extend(blocks),
                _ => {}
            }
        }
    }

    fn take_rtp(&mut self, datagram: &mut [u8]) {
        let header = Header::parse(datagram).expect("RTP");
        let srtp = self.srtp.as_ref().expect("a connection");
        let state = self.streams.entry(header.ssrc).or_default();
        let as_it_came = self.kept.is_some().then(|| datagram.to_vec());
        let opened = srtp.receiver.open_rtp(state, datagram, header.len);
        if let Some((kept, as_it_came)) = self.kept.as_mut().zip(as_it_came) {
            kept.push(as_it_came);
            if opened == Err(SrtpError::Replay) {
                return;
            }
        }
        let opened = opened.expect("an authentic packet that never came before");
        let payload = packet::payload(&datagram[..opened.len], &header).expect("a payload");
        let packet = Packet {
            ssrc: header.ssrc,
            payload_type: header.payload_type,
            seq: header.sequence_number,
            timestamp: header.timestamp,
            extensions: header
                .extensions(datagram)
                .map(|(id, value)| (id, value.to_vec()))
                .collect(),
            payload: payload.to_vec(),
        };
        let Some(slow) = &mut self.slow else {
            self.packets.push_back(packet);
            return;
        };
        let mut extensions = header.extensions(datagram);
        let number = extensions.find(|(id, _)| *id == sdp::TRANSPORT_CC);
        let number = number.map(|(_, value)| value.try_into().expect("two bytes"));
        let number = number.map(u16::from_be_bytes);
        slow.enter(Instant::now(), datagram.len(), number, packet);
    }
}

/// A frame of VP8 that ends with its number; every 32nd is a keyframe.
fn frame(number: u32) -> Vec<u8> {
    let is_key = number.is_multiple_of(32);
    let mut payload = [&[0x10, u8::from(!is_key)][..], &[0; 98]].concat();
    if is_key {
        payload[4..11].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    }
    payload.extend(number.to_be_bytes());
    payload
}

fn srtp(keys: &SrtpKeys) -> Srtp {
    Srtp {
        profile: keys.profile,
        sender: Sender::new(keys),
        receiver: Receiver::new(keys),
    }
}

impl Packet {
    /// The number that the host gave the frame.
    pub fn number(&self) -> u32 {
        let last = self.payload.last_chunk().expect("a payload");
        u32::from_be_bytes(*last)
    }
}

/// An ICE check with these credentials.
pub fn check(id: TransactionId, local: &IceCredentials, remote: &IceCredentials) -> Vec<u8> {
    let mut out = [0; 256];
    let written = Builder::new(&mut out, Class::Request, id)
        .and_then(|b| b.username(&remote.ufrag, &local.ufrag))
        .and_then(|b| b.priority(1))
        .and_then(|b| b.controlling(1))
        .and_then(Builder::use_candidate)
        .and_then(|b| b.finish(&remote.pwd));
    out[..written.expect("a check")].to_vec()
}

/// The first datagram of a handshake.
pub fn client_hello() -> Vec<u8> {
    let identity = Identity::generate().expect("a certificate");
    let mut dtls = Dtls::client(&identity, identity.fingerprint(), Instant::now()).expect("DTLS");
    dtls.poll_transmit().expect("a hello").to_vec()
}

async fn socket(node: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let socket = socket.expect("a socket");
    socket.connect(node).await.expect("an address");
    socket
}

/// Somebody whom the node doesn't know.
pub struct Stranger(std::net::UdpSocket);

impl Stranger {
    pub fn new(node: SocketAddr) -> Stranger {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(node).expect("an address");
        socket.set_nonblocking(true).expect("set");
        Stranger(socket)
    }

    pub fn send(&self, datagram: &[u8]) {
        self.0.send(datagram).expect("sent");
    }

    /// Whether anything has come.
    pub fn was_answered(&self) -> bool {
        self.0.recv(&mut [0; 2048]).is_ok()
    }
}
