//! The certificate of a process and how handshakes are done with it.

use std::sync::Arc;

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use super::{CM, DtlsError, GCM, RETRANSMIT_AFTER};
use crate::Fingerprint;
use crate::srtp::Profile;

/// Largest datagram that a handshake makes: fits wherever WebRTC's media does.
const MTU: usize = 1200;

/// The certificate of a process and its handshake configurations, which all sessions share.
pub struct Identity {
    fingerprint: Fingerprint,
    /// A server that takes GCM alone, as long as the client may still know it.
    pub(super) prefer_gcm: Arc<HandshakeConfig>,
    /// A server for clients that don't.
    pub(super) accept_cm: Arc<HandshakeConfig>,
    pub(super) client: Arc<HandshakeConfig>,
    /// A client of servers that are known to take GCM.
    pub(super) client_with_gcm: Arc<HandshakeConfig>,
}

impl Identity {
    /// Makes a self-signed P-256 certificate; peers know it by its fingerprint.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate() -> Result<Identity, DtlsError> {
        Self::knowing_in(&[GCM, CM], MTU)
    }

    /// The same, knowing one SRTP profile alone.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate_knowing(profile: Profile) -> Result<Identity, DtlsError> {
        let profile = match profile {
            Profile::AeadAes128Gcm => GCM,
            Profile::Aes128CmHmacSha1_80 => CM,
        };
        Self::knowing_in(&[profile], MTU)
    }

    /// An identity that knows these SRTP profiles, in the order in which its clients offer them,
    /// in datagrams of this size.
    pub(super) fn knowing_in(
        profiles: &[SrtpProtectionProfile],
        mtu: usize,
    ) -> Result<Identity, DtlsError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate =
            Certificate::generate_self_signed(vec!["showrunner".to_owned()], provider.crypto())?;
        let der = certificate
            .certificate
            .first()
            .ok_or(DtlsError::WrongCertificate)?;
        let fingerprint = Fingerprint::of(der);
        let config = |is_client, profiles: &[SrtpProtectionProfile], mtu| {
            ConfigBuilder::default()
                .with_crypto_provider(Arc::clone(&provider))
                .with_certificates(vec![certificate.clone()])
                // Nobody signs certificates of WebRTC: `Dtls` compares their fingerprints. That
                // the peer has the certificate's key is checked in any case.
                .with_insecure_skip_verify(true)
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .with_srtp_protection_profiles(profiles.to_vec())
                .with_flight_interval(RETRANSMIT_AFTER)
                .with_mtu(mtu)
                .with_server_name("showrunner".to_owned())
                .build(is_client, None)
                .map(Arc::new)
        };
        let known = |wanted| profiles.iter().copied().find(|known| *known == wanted);
        let [best, last] = match (known(GCM), known(CM)) {
            (Some(gcm), Some(cm)) => [gcm, cm],
            (Some(one), None) | (None, Some(one)) => [one; 2],
            (None, None) => return Err(DtlsError::NoSrtp),
        };
        Ok(Identity {
            fingerprint,
            prefer_gcm: config(false, &[best], MTU)?,
            accept_cm: config(false, &[last], MTU)?,
            client: config(true, profiles, mtu)?,
            client_with_gcm: config(true, &[GCM], mtu)?,
        })
    }

    /// What peers are told of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}
