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
}

impl Identity {
    /// Makes a self-signed P-256 certificate; peers know it by its fingerprint.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate() -> Result<Identity, DtlsError> {
        Self::with_client(&[GCM, CM], MTU)
    }

    /// The same, with clients that offer these SRTP profiles alone, in this order.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate_offering(profiles: &[Profile]) -> Result<Identity, DtlsError> {
        let profiles: Vec<_> = profiles
            .iter()
            .map(|profile| match profile {
                Profile::AeadAes128Gcm => GCM,
                Profile::Aes128CmHmacSha1_80 => CM,
            })
            .collect();
        Self::with_client(&profiles, MTU)
    }

    /// An identity whose clients offer these SRTP profiles in datagrams of this size.
    pub(super) fn with_client(
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
        Ok(Identity {
            fingerprint,
            prefer_gcm: config(false, &[GCM], MTU)?,
            accept_cm: config(false, &[CM], MTU)?,
            client: config(true, profiles, mtu)?,
        })
    }

    /// What peers are told of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}
