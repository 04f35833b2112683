//! Calls to media pods: over TLS with the certificate of their own authority, from a pool of connections, with a time
//! limit.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::uri::{Authority, Scheme, Uri};
use axum::http::{HeaderMap, Method, Request, Response};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

/// A pod is next door: who does not take a connection, with its handshake, within this time is gone.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a pod may take for the head of its answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(4);
/// How long a connection is kept for the next request: less than pods keep it, so that none is closed under a request.
const IDLE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// How to reach pods.
#[derive(Clone)]
pub struct Pods {
    client: Client<Connector, Full<Bytes>>,
}

/// A request to a pod. It can be sent again.
#[derive(Clone, Debug)]
pub struct PodRequest {
    /// What to do.
    pub method: Method,
    /// Path on the pod.
    pub path: String,
    /// All fields but those of the connection.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

/// A pod gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Its machine says that nobody listens there.
    #[error("no connection: {0}")]
    Refused(String),
    /// There was no connection, or it broke before the answer. If the pod took the request, it is gone with it.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The pod is there, but says nothing. It may have taken the request.
    #[error("no answer within {} s", ANSWER_PATIENCE.as_secs())]
    Silent,
}

/// Why pods can't be called at all.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// There are no certificates.
    #[error("this is no authority's certificate in PEM: {0}")]
    Authority(String),
    /// The name is none that a certificate can have.
    #[error("{0:?} is not a DNS name")]
    Name(String),
    /// The TLS library refuses.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Pods {
    /// Calls pods over TLS. Their certificates are of one authority, and all for one name: pods are known by address,
    /// which no certificate could list beforehand.
    ///
    /// # Errors
    /// If the authority's certificates (in PEM) or the name are of no use.
    pub fn over_tls(authority: &[u8], name: &str) -> Result<Pods, PodsError> {
        let unusable = |e: &dyn std::fmt::Display| PodsError::Authority(e.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority) {
            let certificate = certificate.map_err(|e| unusable(&e))?;
            roots.add(certificate).map_err(|e| unusable(&e))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"it has none"));
        }
        let server = ServerName::try_from(name.to_owned());
        let server = server.map_err(|_| PodsError::Name(name.to_owned()))?;
        Ok(Pods::new(tls(roots)?, server))
    }

    /// One request has a connection to itself (HTTP/1.1): event streams stay open as long as viewers do, and there are
    /// more of them than a connection of HTTP/2 takes.
    fn new(tls: ClientConfig, server: ServerName<'static>) -> Pods {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(server))
            .enable_http1()
            .wrap_connector(tcp);
        // A process that hangs still gets its connections from the kernel: only the handshake tells.
        let connector = tower::service_fn(move |pod: Uri| {
            let connecting = connector.clone().oneshot(pod);
            async move { tokio::time::timeout(CONNECT_PATIENCE, connecting).await? }
        });
        let connector = Connector::new(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        Pods { client }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn call(
        &self,
        pod: SocketAddr,
        request: &PodRequest,
    ) -> Result<Response<Incoming>, CallError> {
        let request = to(pod, request)?;
        match tokio::time::timeout(ANSWER_PATIENCE, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_refusal(&error) => Err(CallError::Refused(with_causes(&error))),
            Ok(Err(error)) => Err(CallError::Unreachable(with_causes(&error))),
            Err(_) => Err(CallError::Silent),
        }
    }
}

fn to(pod: SocketAddr, from: &PodRequest) -> Result<Request<Full<Bytes>>, CallError> {
    let invalid = |e: axum::http::Error| CallError::Unreachable(e.to_string());
    let authority = Authority::try_from(pod.to_string()).map_err(|e| invalid(e.into()))?;
    let uri = Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority)
        .path_and_query(from.path.as_str())
        .build()
        .map_err(invalid)?;
    let mut request = Request::new(Full::new(from.body.clone()));
    *request.method_mut() = from.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = from.headers.clone();
    Ok(request)
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |e| e.source());
    let mut kinds =
        causes.filter_map(|e| e.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
    kinds.any(|kind| kind == std::io::ErrorKind::ConnectionRefused)
}

/// An error in full: the client's own says no more than "client error (Connect)".
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
