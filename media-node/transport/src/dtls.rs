//! DTLS (RFC 6347) for one session, by rtc-dtls: agrees on SRTP keys (RFC 5764) with the peer whose
//! certificate was signalled, and with nobody else.
//!
//! The library picks the first SRTP profile of the *client's* list that a server has; browsers list
//! the expensive one first. So a server begins with a configuration that has GCM alone; if the
//! client knows no GCM, the hello is given to a second one before anything was answered.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_crypto::{RTCCryptoProvider, SecretVec};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use crate::Fingerprint;
use crate::srtp::{Profile, SrtpKeys};

/// The library finds a peer by address. Each session has its own endpoint and one peer, whose real
/// address may change, so it is always shown this one.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1));
const LOCAL: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 1));

const GCM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

/// Largest datagram that the handshake makes.
const MTU: usize = 1200;

/// How long a lost flight is waited for before it is sent again.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(250);

/// Datagrams of a hello that are kept in case it has to be read again.
const MAX_HELLO: usize = 8;

/// Why a session can't go on. No error says anything secret.
#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    /// The library refused, or gave up after its retransmissions.
    #[error("DTLS failed: {0}")]
    Handshake(String),
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

/// The certificate of a process, and how its handshakes are done.
pub struct Identity {
    fingerprint: Fingerprint,
    server: [Arc<HandshakeConfig>; 2],
    client: Arc<HandshakeConfig>,
}

impl Identity {
    /// Makes a self-signed P-256 certificate; peers know it by its fingerprint.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate() -> Result<Self, DtlsError> {
        Self::with_client_profiles(&[GCM, CM])
    }

    fn with_client_profiles(client_profiles: &[SrtpProtectionProfile]) -> Result<Self, DtlsError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate =
            Certificate::generate_self_signed(vec!["showrunner".to_owned()], provider.crypto())?;
        let der = certificate
            .certificate
            .first()
            .ok_or(DtlsError::WrongCertificate)?;
        let fingerprint = Fingerprint::of(der);
        let config = |client: bool, profiles: &[SrtpProtectionProfile]| {
            ConfigBuilder::default()
                .with_crypto_provider(Arc::clone(&provider))
                .with_certificates(vec![certificate.clone()])
                // Certificates are self-signed: their fingerprint is what is checked, here.
                .with_insecure_skip_verify(true)
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .with_srtp_protection_profiles(profiles.to_vec())
                .with_flight_interval(FLIGHT_INTERVAL)
                .with_mtu(MTU)
                .build(client, None)
                .map(Arc::new)
        };
        Ok(Self {
            fingerprint,
            server: [config(false, &[GCM])?, config(false, &[CM])?],
            client: config(true, client_profiles)?,
        })
    }

    /// What peers are told of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// What happened.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The peer is the one that was signalled, and these are the keys. Comes once.
    Connected(Box<SrtpKeys>),
    /// The peer said goodbye.
    Closed,
}

/// One session's DTLS.
pub struct Dtls {
    endpoint: Endpoint,
    peer: Fingerprint,
    /// While a server may still have to change its mind about the profile.
    hello: Option<Hello>,
    connected: bool,
}

struct Hello {
    datagrams: Vec<BytesMut>,
    fall_back: Arc<HandshakeConfig>,
}

impl Dtls {
    /// A server that waits for the client's hello.
    pub fn server(identity: &Identity, peer: Fingerprint) -> Self {
        let [preferred, fall_back] = identity.server.clone();
        Self {
            endpoint: Endpoint::new(LOCAL, TransportProtocol::UDP, Some(preferred)),
            peer,
            hello: Some(Hello {
                datagrams: Vec::new(),
                fall_back,
            }),
            connected: false,
        }
    }

    /// A client, with its hello ready to be sent.
    ///
    /// # Errors
    /// If the library fails.
    pub fn client(identity: &Identity, peer: Fingerprint, now: Instant) -> Result<Self, DtlsError> {
        let mut endpoint = Endpoint::new(LOCAL, TransportProtocol::UDP, None);
        endpoint.connect(now, PEER, Arc::clone(&identity.client), None)?;
        Ok(Self {
            endpoint,
            peer,
            hello: None,
            connected: false,
        })
    }

    /// Takes a datagram of the peer.
    ///
    /// # Errors
    /// If the handshake has failed: the session must end. After the handshake bad datagrams are
    /// dropped in silence, as they may be anybody's.
    pub fn handle(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<DtlsEvent>, DtlsError> {
        if let Some(hello) = &mut self.hello {
            if hello.datagrams.len() < MAX_HELLO {
                hello.datagrams.push(datagram.into());
            }
        }
        let events = match self.endpoint.read(now, PEER, None, datagram.into()) {
            Ok(events) => events,
            Err(Error::ErrServerNoMatchingSrtpProfile) if self.hello.is_some() => {
                self.fall_back(now)?
            }
            Err(_) if self.connected => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete if !self.connected => {
                    let keys = self.keys()?;
                    self.connected = true;
                    self.hello = None;
                    return Ok(Some(DtlsEvent::Connected(Box::new(keys))));
                }
                EndpointEvent::PeerClosed => return Ok(Some(DtlsEvent::Closed)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Reads the hello again with the second configuration; the first one's alert is never sent.
    fn fall_back(&mut self, now: Instant) -> Result<Vec<EndpointEvent>, DtlsError> {
        let Some(hello) = self.hello.take() else {
            return Err(DtlsError::NoSrtp);
        };
        self.endpoint = Endpoint::new(LOCAL, TransportProtocol::UDP, Some(hello.fall_back));
        let mut events = Vec::new();
        for datagram in hello.datagrams {
            events.extend(self.endpoint.read(now, PEER, None, datagram)?);
        }
        Ok(events)
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
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmHmacSha1_80,
            _ => return Err(DtlsError::NoSrtp),
        };
        let material: SecretVec = state.export_keying_material(
            "EXTRACTOR-dtls_srtp",
            &[],
            profile.keying_material_len(),
        )?;
        SrtpKeys::from_keying_material(profile, state.is_client(), material.as_ref())
            .map_err(|_| DtlsError::NoSrtp)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|t| t.message)
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER)
    }

    /// Sends lost flights again.
    ///
    /// # Errors
    /// If the peer has been silent for too long: the session must end.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsError> {
        if self.poll_timeout().is_none() {
            return Ok(());
        }
        match self.endpoint.handle_timeout(PEER, now) {
            // A server that has heard nothing yet, or a session that needs no handshake any more.
            Err(Error::InvalidRemoteAddress(_)) => Ok(()),
            Err(_) if self.connected => Ok(()),
            result => Ok(result?),
        }
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Instant) {
        // There is nothing to do about a goodbye that can't be said.
        let _ = self.endpoint.close(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::{MAX_OVERHEAD, Receiver, Sender};

    struct Pair {
        server: Dtls,
        client: Dtls,
        now: Instant,
        keys: (Option<SrtpKeys>, Option<SrtpKeys>),
    }

    fn pair(server: &Identity, client: &Identity) -> Pair {
        let now = Instant::now();
        Pair {
            server: Dtls::server(server, client.fingerprint()),
            client: Dtls::client(client, server.fingerprint(), now).unwrap(),
            now,
            keys: (None, None),
        }
    }

    fn deliver(
        from: &mut Dtls,
        to: &mut Dtls,
        now: Instant,
        keys: &mut Option<SrtpKeys>,
    ) -> Result<usize, DtlsError> {
        let mut count = 0;
        while let Some(datagram) = from.poll_transmit() {
            count += 1;
            if let Some(DtlsEvent::Connected(k)) = to.handle(now, &datagram)? {
                *keys = Some(*k);
            }
        }
        Ok(count)
    }

    impl Pair {
        fn run(&mut self) -> Result<(), DtlsError> {
            for _ in 0..40 {
                let there = deliver(
                    &mut self.client,
                    &mut self.server,
                    self.now,
                    &mut self.keys.0,
                )?;
                let back = deliver(
                    &mut self.server,
                    &mut self.client,
                    self.now,
                    &mut self.keys.1,
                )?;
                if there + back == 0 {
                    self.now += FLIGHT_INTERVAL;
                    self.client.handle_timeout(self.now)?;
                    self.server.handle_timeout(self.now)?;
                }
            }
            Ok(())
        }

        fn profile(&self) -> Option<Profile> {
            let (server, client) = (self.keys.0.as_ref()?, self.keys.1.as_ref()?);
            assert_eq!(server.profile, client.profile);
            // What one seals the other opens.
            let (mut sender, mut receiver) = (Sender::new(server), Receiver::new(client));
            let mut packet = [0; 8 + MAX_OVERHEAD + 16];
            packet[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 1]);
            let len = sender.seal_rtcp(&mut packet, 8).unwrap();
            assert_eq!(receiver.open_rtcp(&mut packet[..len]), Ok(8));
            Some(server.profile)
        }
    }

    fn client_with(profiles: &[SrtpProtectionProfile]) -> Identity {
        Identity::with_client_profiles(profiles).unwrap()
    }

    #[test]
    fn gcm_is_taken_even_if_the_client_likes_cm_better() {
        let (server, client) = (Identity::generate().unwrap(), client_with(&[CM, GCM]));
        let mut pair = pair(&server, &client);
        pair.run().unwrap();
        assert_eq!(pair.profile(), Some(Profile::AeadAes128Gcm));
    }

    #[test]
    fn a_client_without_gcm_gets_cm() {
        let (server, client) = (Identity::generate().unwrap(), client_with(&[CM]));
        let mut pair = pair(&server, &client);
        pair.run().unwrap();
        assert_eq!(pair.profile(), Some(Profile::Aes128CmHmacSha1_80));
    }

    #[test]
    fn another_certificate_than_signalled_gets_no_keys() {
        let (server, client) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let mut pair = pair(&server, &client);
        pair.server.peer = server.fingerprint();
        assert!(matches!(pair.run(), Err(DtlsError::WrongCertificate)));
        assert!(pair.keys.0.is_none());
    }

    #[test]
    fn a_lost_flight_is_sent_again() {
        let (server, client) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let mut pair = pair(&server, &client);
        while pair.client.poll_transmit().is_some() {} // the first hello is lost
        pair.run().unwrap();
        assert!(pair.profile().is_some());
    }

    #[test]
    fn garbage_does_not_end_an_established_session() {
        let (server, client) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let mut pair = pair(&server, &client);
        pair.run().unwrap();
        for first in 20..64 {
            for len in 1..40 {
                let result = pair.server.handle(pair.now, &vec![first; len]);
                assert!(matches!(result, Ok(None)), "{first} x {len}");
            }
        }
        pair.client.close(pair.now);
        let goodbye = pair.client.poll_transmit().unwrap();
        let event = pair.server.handle(pair.now, &goodbye).unwrap();
        assert!(matches!(event, Some(DtlsEvent::Closed)));
    }
}
