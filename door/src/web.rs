//! Calls to servers that are none of ours: by HTTPS, one connection a request, and with limits on all that they answer.
//!
//! Whoever names the server need not be somebody whom this machine's other services trust. So redirects are not
//! followed, and addresses that mean this machine or this link alone are not called.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// How long a whole call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one address may take for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// Addresses of a server that are tried.
const MAX_ADDRESSES: usize = 4;
/// The largest body that is read, in bytes.
const MAX_BODY: usize = 64 << 10;
/// The largest head that is read, in bytes, and the most fields of it.
const MAX_HEAD: usize = 32 << 10;
const MAX_FIELDS: usize = 64;

/// How servers are called. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    tls: Arc<ClientConfig>,
    allow_insecure: bool,
}

/// A request.
#[derive(Clone, Debug)]
pub struct WebRequest {
    /// What to do.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// All fields but those of the connection.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

/// All of an answer.
#[derive(Clone, Debug)]
pub struct WebAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer. Nothing in it is the server's own text.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Only HTTPS is spoken.
    #[error("its URL does not begin with https://")]
    Scheme,
    /// It has no name or address.
    #[error("its URL names no host")]
    NoHost,
    /// Its name is not known.
    #[error("its name has no address")]
    Unknown,
    /// It is not to be called.
    #[error("its address is one of this machine or this link alone")]
    Forbidden,
    /// Nobody takes a connection there.
    #[error("it takes no connection")]
    NoConnection,
    /// It is not who it says it is.
    #[error("its certificate is not for its name, or of no authority that is known")]
    Certificate,
    /// It does not speak TLS as we do.
    #[error("no TLS connection can be made")]
    Tls,
    /// It does not speak HTTP.
    #[error("its answer is not HTTP, or was cut off")]
    Protocol,
    /// It takes too long.
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// It sends too much.
    #[error("its answer has more than {MAX_BODY} bytes")]
    TooLarge,
}

/// Why servers can't be called at all.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// There are no certificates in what was given.
    #[error("the authorities are no certificates in PEM")]
    Given,
    /// This machine has no list of public authorities.
    #[error("this machine has no certificates of public authorities")]
    Public,
    /// The TLS library refuses.
    #[error("TLS can't be set up")]
    Tls,
}

impl Web {
    /// Servers whose certificates are of these authorities (PEM), or of those that this machine takes for public ones.
    /// With `allow_insecure` also servers without TLS, and those on this machine itself.
    ///
    /// # Errors
    /// If there are no authorities.
    pub fn new(authorities: Option<&[u8]>, allow_insecure: bool) -> Result<Web, AuthoritiesError> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|_| AuthoritiesError::Given)?;
                    let added = roots.add(certificate);
                    added.map_err(|_| AuthoritiesError::Given)?;
                }
                if roots.is_empty() {
                    return Err(AuthoritiesError::Given);
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                // Without TLS there is nothing to check.
                if roots.is_empty() && !allow_insecure {
                    return Err(AuthoritiesError::Public);
                }
            }
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|_| AuthoritiesError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Web {
            tls: Arc::new(tls),
            allow_insecure,
        })
    }

    /// Whether an address may be called, or sent media: it is neither of this machine nor of this link alone.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allow_insecure || is_elsewhere(address)
    }

    /// Sends a request, and reads all of the answer.
    ///
    /// # Errors
    /// If there is none, or it is too much.
    pub async fn call(&self, request: WebRequest) -> Result<WebAnswer, WebError> {
        let answer = timeout(PATIENCE, self.ask(request)).await;
        answer.unwrap_or(Err(WebError::Silent))
    }

    async fn ask(&self, request: WebRequest) -> Result<WebAnswer, WebError> {
        let is_https = match request.url.scheme() {
            "https" => true,
            "http" if self.allow_insecure => false,
            _ => return Err(WebError::Scheme),
        };
        let tcp = self.connect(&request.url).await?;
        if !is_https {
            return exchange(tcp, request).await;
        }
        let name = match request.url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).ok(),
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address).into()),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address).into()),
            None => None,
        };
        let name = name.ok_or(WebError::NoHost)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let tls = tls.connect(name, tcp).await.map_err(|error| {
            let cause = error.get_ref().and_then(|e| e.downcast_ref());
            match cause {
                Some(rustls::Error::InvalidCertificate(_)) => WebError::Certificate,
                _ => WebError::Tls,
            }
        })?;
        exchange(tls, request).await
    }

    async fn connect(&self, url: &Url) -> Result<TcpStream, WebError> {
        let port = url.port_or_known_default().ok_or(WebError::NoHost)?;
        let addresses: Vec<SocketAddr> = match url.host().ok_or(WebError::NoHost)? {
            Host::Ipv4(address) => vec![SocketAddr::new(address.into(), port)],
            Host::Ipv6(address) => vec![SocketAddr::new(address.into(), port)],
            Host::Domain(name) => {
                let found = lookup_host((name, port)).await;
                found.map_err(|_| WebError::Unknown)?.collect()
            }
        };
        let mut failure = WebError::Unknown;
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            if !self.allows(address.ip()) {
                failure = WebError::Forbidden;
                continue;
            }
            match timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(_)) | Err(_) => failure = WebError::NoConnection,
            }
        }
        Err(failure)
    }
}

/// One request by a connection of its own.
async fn exchange(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: WebRequest,
) -> Result<WebAnswer, WebError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
    let connecting = builder.handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = connecting.map_err(|_| WebError::Protocol)?;
    // It ends with this call.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(to(request)?).await;
    let (head, body) = answer.map_err(|_| WebError::Protocol)?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => WebError::TooLarge,
        false => WebError::Protocol,
    })?;
    Ok(WebAnswer {
        status: head.status,
        headers: head.headers,
        body: body.to_bytes(),
    })
}

fn to(from: WebRequest) -> Result<Request<Full<Bytes>>, WebError> {
    let (host, port) = (from.url.host_str(), from.url.port());
    let host = host.ok_or(WebError::NoHost)?;
    let host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = match from.url.query() {
        Some(query) => format!("{}?{query}", from.url.path()),
        None => from.url.path().to_owned(),
    };
    let mut request = Request::new(Full::new(from.body));
    *request.method_mut() = from.method;
    *request.uri_mut() = Uri::try_from(path).map_err(|_| WebError::NoHost)?;
    *request.headers_mut() = from.headers;
    let host = HeaderValue::try_from(host).map_err(|_| WebError::NoHost)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// Whether an address is neither one of this machine nor one that has a meaning on this link alone, as those of a
/// cloud's metadata service have.
fn is_elsewhere(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_none = v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast();
            !is_none && !v4.is_loopback() && !v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            let is_none = v6.is_unspecified() || v6.is_multicast();
            !is_none && !v6.is_loopback() && !v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_this_machine_or_link_are_not_called() {
        let web = Web::new(None, false).ok();
        let is_called = |text: &str| {
            let address = text.parse().expect("an address");
            web.as_ref()
                .map_or(is_elsewhere(address), |w| w.allows(address))
        };
        for address in ["192.0.2.1", "10.1.2.3", "2001:db8::1", "fd00::1"] {
            assert!(is_called(address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(!is_called(address), "{address}");
        }
    }
}
