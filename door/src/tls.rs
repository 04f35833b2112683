//! HTTPS: a certificate and its key from files, or whatever somebody else keeps as a configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::files::{BoxError, Files, FilesError};

/// What a door speaks, for ALPN (RFC 7301).
pub const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How connections are secured, as it is now. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Source);

#[derive(Clone)]
enum Source {
    Files {
        certificate: Files<CertifiedKey>,
        config: Arc<ServerConfig>,
    },
    Kept(watch::Receiver<Option<Arc<ServerConfig>>>),
}

impl Tls {
    /// Reads the certificate (with those that lead to its authority) and its key, and keeps looking after them: new
    /// connections get what the files say now; if that can't be used, what they said before.
    ///
    /// # Errors
    /// If they can't be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Tls, FilesError> {
        let certificate = Files::watch(&[chain, key], certified_key)?;
        let unusable =
            |error: rustls::Error| FilesError::Unusable(chain.display().to_string(), error.into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Current(certificate.clone())));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Tls(Source::Files {
            certificate,
            config: Arc::new(config),
        }))
    }

    /// New connections get what somebody else keeps, and are closed as long as there is none. It should offer
    /// [`PROTOCOLS`]. If it asks clients for certificates, handlers find them as [`Shown`](crate::Shown).
    #[must_use]
    pub fn kept(config: watch::Receiver<Option<Arc<ServerConfig>>>) -> Tls {
        Tls(Source::Kept(config))
    }

    /// Looks at the files now rather than within some seconds.
    pub fn look(&self) {
        if let Source::Files { certificate, .. } = &self.0 {
            certificate.look();
        }
    }

    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        let config = match &self.0 {
            Source::Files { config, .. } => Some(Arc::clone(config)),
            Source::Kept(config) => config.borrow().clone(),
        };
        config.map(TlsAcceptor::from)
    }
}

/// Answers every hello with the certificate of the moment.
#[derive(Debug)]
struct Current(Files<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

fn certified_key(files: &[Vec<u8>]) -> Result<CertifiedKey, BoxError> {
    let [chain, key] = files else {
        return Err("it takes a certificate and a key".into());
    };
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or("there is no certificate in PEM format")?;
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| "there is no private key in PEM format")?;
    Ok(CertifiedKey::from_der(chain, key, &default_provider())?)
}
