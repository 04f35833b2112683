//! DTLS (RFC 6347) for one session, by rtc-dtls: agrees on SRTP keys (RFC 5764) with the peer
//! whose certificate was signalled, and with nobody else.
//!
//! Four things are ours, because the library does them in a way that doesn't suit a peer of
//! browsers:
//! - **Profile.** The library takes the first SRTP profile of the *client's* list that the server
//!   has, and browsers list the expensive one first. So a server begins with a configuration
//!   that has GCM alone; if the client knows no GCM, its hello is read again with a second one,
//!   before anything was answered. Browsers that are the server choose by their own list, so a
//!   client that wants GCM has to offer it alone.
//! - **Early keys.** A client hands out the keys with its Finished, and doesn't wait for the
//!   server's, which takes a round trip (False Start, RFC 7918). By then the server has signed
//!   both sides' random numbers with the certificate that was signalled, and all cipher suites
//!   are forward secret. If its Finished then proves that the handshake was tampered with, or
//!   never comes, the session ends.
//! - **Retransmission.** The library stops its timer when anything of a handshake comes, even a
//!   repeated flight, and then neither side would ever repeat what was lost. So we keep time.
//! - **Limits**: see [`guard`].

mod guard;
mod identity;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_dtls::config::HandshakeConfig;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use crate::Fingerprint;
use crate::srtp::{Profile, SrtpKeys};
use guard::Guard;
pub use identity::Identity;

const GCM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

/// The library finds a peer by its address. Each session has its own endpoint and one peer, whose
/// real address may change, so it is always shown this one.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1));
const LOCAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 1));

/// How long an answer is waited for before a flight is sent again; doubles each time.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);

/// How often a flight is sent again: the peer has 25 s in all.
const MAX_RETRANSMISSIONS: u32 = 6;

/// Datagrams of a hello that are kept in case it has to be read again; a browser's has two.
const MAX_HELLO: usize = 32;

/// Why a session can't go on. No error says anything secret.
#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    /// The handshake failed.
    #[error("DTLS handshake failed: {0}")]
    Handshake(String),
    /// The peer doesn't answer.
    #[error("DTLS handshake timed out")]
    TimedOut,
    /// The peer has another certificate than it signalled.
    #[error("the peer's certificate is not the one that was signalled")]
    WrongCertificate,
    /// The peer negotiated no SRTP profile of ours.
    #[error("no SRTP protection profile was negotiated")]
    NoSrtp,
}

impl From<Error> for DtlsError {
    fn from(error: Error) -> Self {
        Self::Handshake(error.to_string())
    }
}

/// What happened.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The peer is the one that was signalled, and these are the keys. Comes once; on the client's
    /// side before the handshake is over.
    Connected(Box<SrtpKeys>),
    /// The peer said goodbye, or that it can't go on. Comes once.
    Closed,
}

/// One session's DTLS. Give it datagrams with [`Dtls::handle`] and time with
/// [`Dtls::handle_timeout`]; after each of both, and after [`Dtls::close`], send what
/// [`Dtls::poll_transmit`] has.
pub struct Dtls {
    endpoint: Endpoint,
    peer: Fingerprint,
    guard: Guard,
    phase: Phase,
    outgoing: VecDeque<BytesMut>,
}

enum Phase {
    Handshake(Box<Handshake>),
    Established,
    Over,
}

/// What is needed only until the keys are there.
#[derive(Default)]
struct Handshake {
    hello: Option<Hello>,
    /// What we sent last, and when to send it again.
    flight: Vec<BytesMut>,
    deadline: Option<Instant>,
    retransmissions: u32,
    /// The keys have been handed out.
    has_keys: bool,
}

/// A client's hello, as long as a server may have to change its mind about the profile.
struct Hello {
    datagrams: Vec<BytesMut>,
    fall_back: Arc<HandshakeConfig>,
}

impl Dtls {
    /// A server that waits for the client's hello.
    pub fn server(identity: &Identity, peer: Fingerprint) -> Dtls {
        let config = Some(Arc::clone(&identity.prefer_gcm));
        let fall_back = Arc::clone(&identity.accept_cm);
        let hello = Some(Hello {
            datagrams: Vec::new(),
            fall_back,
        });
        Dtls::new(
            config,
            peer,
            Handshake {
                hello,
                ..Handshake::default()
            },
        )
    }

    /// A client, with its hello ready to be sent.
    ///
    /// # Errors
    /// If the library fails.
    pub fn client(identity: &Identity, peer: Fingerprint, now: Instant) -> Result<Dtls, DtlsError> {
        Self::connect(&identity.client, peer, now)
    }

    /// The same, for a server that is known to take GCM.
    ///
    /// # Errors
    /// If the library fails.
    pub fn client_with_gcm(
        identity: &Identity,
        peer: Fingerprint,
        now: Instant,
    ) -> Result<Dtls, DtlsError> {
        Self::connect(&identity.client_with_gcm, peer, now)
    }

    fn connect(
        config: &Arc<HandshakeConfig>,
        peer: Fingerprint,
        now: Instant,
    ) -> Result<Dtls, DtlsError> {
        let mut dtls = Dtls::new(None, peer, Handshake::default());
        dtls.endpoint.connect(now, PEER, Arc::clone(config), None)?;
        dtls.take_flight(now);
        Ok(dtls)
    }

    fn new(config: Option<Arc<HandshakeConfig>>, peer: Fingerprint, handshake: Handshake) -> Dtls {
        Dtls {
            endpoint: Endpoint::new(LOCAL, TransportProtocol::UDP, config),
            peer,
            guard: Guard::new(),
            phase: Phase::Handshake(Box::new(handshake)),
            outgoing: VecDeque::new(),
        }
    }

    /// Takes a datagram of the peer. What isn't DTLS or isn't authentic is dropped in silence, as
    /// it may be anybody's.
    ///
    /// # Errors
    /// If the handshake has failed: the session must end, once what [`Dtls::poll_transmit`] has
    /// to say about it is sent.
    pub fn handle(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<DtlsEvent>, DtlsError> {
        if !self.guard.admits(datagram) {
            return Ok(None);
        }
        let result = match &mut self.phase {
            Phase::Handshake(handshake) => {
                handshake.remember(datagram);
                self.shake_hands(now, datagram)
            }
            Phase::Established => Ok(self.listen(now, datagram)),
            Phase::Over => return Ok(None),
        };
        self.take_flight(now);
        if matches!(result, Ok(Some(DtlsEvent::Closed)) | Err(_)) {
            self.phase = Phase::Over;
        }
        result
    }

    fn shake_hands(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<DtlsEvent>, DtlsError> {
        let events = match self.endpoint.read(now, PEER, None, datagram.into()) {
            Err(Error::ErrServerNoMatchingSrtpProfile) => self.fall_back(now)?,
            result => result?,
        };
        let mut is_complete = false;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => is_complete = true,
                EndpointEvent::PeerClosed => return Ok(Some(DtlsEvent::Closed)),
                _ => {}
            }
        }
        if !is_complete && !self.has_made_finished() {
            return Ok(None);
        }
        let keys = self.keys().inspect_err(|_| {
            if is_complete {
                self.endpoint_goodbye(now);
            } else {
                // Nobody but the peer that was signalled is to finish the handshake with us, nor
                // could it read a goodbye before that.
                transmits(&mut self.endpoint).for_each(drop);
            }
        })?;
        let Phase::Handshake(handshake) = &mut self.phase else {
            return Ok(None);
        };
        let is_news = !std::mem::replace(&mut handshake.has_keys, true);
        if is_complete {
            self.phase = Phase::Established;
            self.guard.establish();
        }
        Ok(is_news.then(|| DtlsEvent::Connected(Box::new(keys))))
    }

    /// Whether this is a client whose last flight is made: from then on the library exports keys.
    fn has_made_finished(&self) -> bool {
        let state = self.endpoint.get_connection_state(PEER);
        state.is_some_and(|state| {
            state.is_client() && state.export_keying_material(EXPORTER, &[], 1).is_ok()
        })
    }

    /// Reads the hello again with the second configuration. The first one's alert goes with its
    /// endpoint.
    fn fall_back(&mut self, now: Instant) -> Result<Vec<EndpointEvent>, DtlsError> {
        let Phase::Handshake(handshake) = &mut self.phase else {
            return Ok(Vec::new());
        };
        let hello = handshake.hello.take().ok_or(DtlsError::NoSrtp)?;
        self.endpoint = Endpoint::new(LOCAL, TransportProtocol::UDP, Some(hello.fall_back));
        let mut events = Vec::new();
        for datagram in hello.datagrams {
            events.extend(self.endpoint.read(now, PEER, None, datagram)?);
        }
        Ok(events)
    }

    /// After the handshake only goodbyes matter: media doesn't go through DTLS.
    fn listen(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsEvent> {
        match self.endpoint.read(now, PEER, None, datagram.into()) {
            Ok(events) => events
                .iter()
                .any(|event| matches!(event, EndpointEvent::PeerClosed))
                .then_some(DtlsEvent::Closed),
            // Authentic: the library drops plain alerts once there are keys.
            Err(Error::ErrAlertFatalOrClose) => Some(DtlsEvent::Closed),
            Err(_) => None,
        }
    }

    fn keys(&self) -> Result<SrtpKeys, DtlsError> {
        let state = self
            .endpoint
            .get_connection_state(PEER)
            .ok_or(DtlsError::NoSrtp)?;
        let certificate = state
            .peer_certificates
            .first()
            .ok_or(DtlsError::WrongCertificate)?;
        if Fingerprint::of(certificate) != self.peer {
            return Err(DtlsError::WrongCertificate);
        }
        let profile = match state.srtp_protection_profile() {
            GCM => Profile::AeadAes128Gcm,
            CM => Profile::Aes128CmHmacSha1_80,
            _ => return Err(DtlsError::NoSrtp),
        };
        let material =
            state.export_keying_material(EXPORTER, &[], profile.keying_material_len())?;
        SrtpKeys::from_keying_material(profile, state.is_client(), material.as_ref())
            .map_err(|_| DtlsError::NoSrtp)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.outgoing.pop_front()
    }

    /// Whether the handshake is still going on. Keys may be there already.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Handshake(_))
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.deadline,
            Phase::Established | Phase::Over => None,
        }
    }

    /// Sends a flight again that was not answered in time.
    ///
    /// # Errors
    /// If the peer has been silent for too long: the session must end.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsError> {
        let Phase::Handshake(handshake) = &mut self.phase else {
            return Ok(());
        };
        if handshake.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        if handshake.retransmissions == MAX_RETRANSMISSIONS {
            self.phase = Phase::Over;
            return Err(DtlsError::TimedOut);
        }
        handshake.retransmissions += 1;
        handshake.deadline = Some(now + RETRANSMIT_AFTER * (1 << handshake.retransmissions));
        if self.endpoint.poll_timeout(&PEER).is_some() {
            // With fresh record numbers, so that a peer that got the first copy takes the hint.
            let result = self.endpoint.handle_timeout(PEER, now);
            self.outgoing.extend(transmits(&mut self.endpoint));
            result?;
        } else {
            self.outgoing.extend(handshake.flight.iter().cloned());
        }
        Ok(())
    }

    /// Says goodbye. Nothing comes of this session any more.
    pub fn close(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Over) {
            self.endpoint_goodbye(now);
            self.phase = Phase::Over;
        }
    }

    fn endpoint_goodbye(&mut self, now: Instant) {
        // There is nothing to do about a goodbye that can't be said.
        let _ = self.endpoint.close(now);
        self.outgoing.extend(transmits(&mut self.endpoint));
    }

    /// Moves what the library wants to be sent to what is sent, and waits for the answer.
    fn take_flight(&mut self, now: Instant) {
        let flight: Vec<BytesMut> = transmits(&mut self.endpoint).collect();
        if flight.is_empty() {
            return;
        }
        self.outgoing.extend(flight.iter().cloned());
        if let Phase::Handshake(handshake) = &mut self.phase {
            **handshake = Handshake {
                // A server that answers has found a profile.
                hello: None,
                flight,
                deadline: Some(now + RETRANSMIT_AFTER),
                retransmissions: 0,
                has_keys: handshake.has_keys,
            };
        }
    }
}

/// The label under which SRTP's keys are exported (RFC 5764 §4.2).
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";

impl Handshake {
    fn remember(&mut self, datagram: &[u8]) {
        if let Some(hello) = &mut self.hello
            && hello.datagrams.len() < MAX_HELLO
        {
            hello.datagrams.push(datagram.into());
        }
    }
}

fn transmits(endpoint: &mut Endpoint) -> impl Iterator<Item = BytesMut> {
    std::iter::from_fn(|| endpoint.poll_transmit().map(|transmit| transmit.message))
}
