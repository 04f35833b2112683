//! How connections to the metrics API are secured: with the operator's certificate for it, and asking for that of the
//! API server in front.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use showrunner_door::PROTOCOLS;
use tokio::sync::watch;

use super::front_proxy::FrontProxy;
use crate::keys::{Serving, ServingKeys};

/// The configuration can't be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or a key is none.
    #[error("a certificate or its key can't be read: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// They can't be used.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The authority of the API server can't be used.
    #[error("the authority of the API server's certificate can't be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Clients may show a certificate of the API server's authority, or none, and then a token.
///
/// # Errors
/// If certificates can't be used.
pub fn config(serving: &Serving, proxy: &FrontProxy) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = if proxy.authority.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in &proxy.authority {
            roots.add(certificate.clone())?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
    };
    let chain = CertificateDer::pem_slice_iter(serving.certificate.as_bytes());
    let chain = chain.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(serving.key.as_bytes())?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// Follows the certificate and the API server's authority, for ever. What can't be used leaves the last good one in use.
pub async fn follow(
    mut serving: ServingKeys,
    mut proxy: watch::Receiver<FrontProxy>,
    to: watch::Sender<Option<Arc<ServerConfig>>>,
) {
    loop {
        let current = serving.borrow_and_update().clone();
        let made = current.map(|serving| config(&serving, &proxy.borrow_and_update()));
        match made {
            Some(Ok(config)) => {
                to.send_replace(Some(Arc::new(config)));
            }
            Some(Err(error)) => tracing::warn!("the metrics API goes on as it was: {error}"),
            None => {}
        }
        let changed = tokio::select! {
            changed = serving.changed() => changed,
            changed = proxy.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
