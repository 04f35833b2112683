//! HTTPS: a certificate and its key from files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What is offered to clients by ALPN (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A certificate chain and its key, as they are now.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    cert: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

/// A certificate or its key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{0} can't be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// A file isn't PEM of what it should be.
    #[error("{0} has no {1} in PEM format")]
    NotPem(PathBuf, &'static str),
    /// Key and certificate don't belong together, or are of a kind that TLS doesn't know.
    #[error("{0} and its key can't be used: {1}")]
    Unusable(PathBuf, rustls::Error),
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// If they can't be used.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Tls, TlsError> {
        let config = RwLock::new(load(cert, key)?);
        let (cert, key) = (cert.to_owned(), key.to_owned());
        Ok(Tls(Arc::new(Shared { cert, key, config })))
    }

    /// Reads both files again. New connections get what they say now; if it can't be used, what they said before.
    ///
    /// # Errors
    /// If they can't be used.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = load(&self.0.cert, &self.0.key)?;
        *self
            .0
            .config
            .write()
            .unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(&read(cert)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::NotPem(cert.to_owned(), "certificate"))?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| TlsError::NotPem(key.to_owned(), "private key"))?;
    let unusable = |error| TlsError::Unusable(cert.to_owned(), error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    super::read_file(path, MAX_FILE).map_err(|error| TlsError::Unreadable(path.to_owned(), error))
}
