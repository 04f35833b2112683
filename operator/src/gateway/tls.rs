//! The gateway's own certificate, for where no Ingress ends TLS. It is read again when its files change, because
//! certificates are renewed while the gateway runs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at. Those of a Secret follow it within a minute or two anyway.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where certificate and key are, in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its authority.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("{0}: {1}")]
    Unreadable(String, String),
    /// Certificate and key don't belong together, or TLS can't use them.
    #[error("certificate and key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate of the moment.
#[derive(Debug)]
struct Current {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    pair: RwLock<Arc<CertifiedKey>>,
}

/// Ends TLS with these files' certificate, and keeps looking after them.
///
/// # Errors
/// If they are of no use now. Later they may be: then the last good ones stay.
pub fn acceptor(files: CertificateFiles) -> Result<TlsAcceptor, CertificateError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pair = RwLock::new(Arc::new(read(&files, &provider)?));
    let current = Arc::new(Current {
        files,
        provider: Arc::clone(&provider),
        pair,
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tokio::spawn(look_after(current));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn look_after(current: Arc<Current>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        current.refresh();
    }
}

impl Current {
    /// Certificate and key may be replaced one after the other; a pair that does not match yet will the next time.
    fn refresh(&self) {
        match read(&self.files, &self.provider) {
            Ok(pair) if pair.cert == self.get().cert => {}
            Ok(pair) => {
                tracing::info!("the certificate was renewed");
                *self.pair.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
            }
            Err(error) => tracing::warn!("the last good certificate stays in use: {error}"),
        }
    }

    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.pair.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

fn read(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let unreadable = |path: &PathBuf, error: rustls::pki_types::pem::Error| {
        CertificateError::Unreadable(path.display().to_string(), error.to_string())
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|e| unreadable(&files.chain, e))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unreadable(&files.key, e))?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}
