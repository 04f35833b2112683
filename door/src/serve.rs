//! The server: who comes in, how many at a time, and who is shown out.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use crate::tls::Tls;

/// How long a client may take for its TLS handshake, then for the head of its first request, and between requests.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rest after a failed accept: the usual cause is a lack of file descriptors, which takes time to pass.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Requests at a time on a connection of HTTP/2: a viewer needs two, a proxy many.
const MAX_STREAMS: u32 = 256;

/// The other end of a connection, as handlers see it among a request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The certificate that a client showed in its handshake, and that the door's configuration believes, as handlers see it
/// among a request's extensions. Missing if it showed none.
#[derive(Clone, Debug)]
pub struct Shown(pub CertificateDer<'static>);

/// A way in to a router.
pub struct Door {
    /// Where clients come in.
    pub listener: TcpListener,
    /// What answers them.
    pub router: Router,
    /// Without it, clients come in the clear.
    pub tls: Option<Tls>,
    /// Connections at a time; more wait. Each viewer may hold one for its events.
    pub max_connections: usize,
}

impl Door {
    /// Serves until `stop` is done, then lets open requests finish for as long as `grace`.
    pub async fn serve(self, stop: impl Future<Output = ()>, grace: Duration) {
        let builder = Arc::new(builder());
        let places = Arc::new(Semaphore::new(self.max_connections));
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.accept(&places) => accepted,
            };
            let (stream, peer, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("could not accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let connection = Connection {
                router: self.router.clone(),
                builder: Arc::clone(&builder),
                watcher: graceful.watcher(),
                peer: Peer(peer),
            };
            let tls = self.tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => connection.serve(stream, None).await,
                    Some(tls) => connection.serve_tls(stream, &tls).await,
                }
                drop(place);
            });
        }
        drop(self.listener);
        let finished = tokio::time::timeout(grace, graceful.shutdown()).await;
        if finished.is_err() {
            tracing::warn!("some requests were still open");
        }
    }

    /// The next connection, once there is a place for it.
    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer, place))
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PATIENCE)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

struct Connection {
    router: Router,
    builder: Arc<Builder<TokioExecutor>>,
    watcher: Watcher,
    peer: Peer,
}

impl Connection {
    async fn serve_tls(self, stream: TcpStream, tls: &Tls) {
        let Some(acceptor) = tls.acceptor() else {
            tracing::debug!("a connection came before there was a certificate");
            return;
        };
        match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let chain = session.peer_certificates();
                let shown = chain.and_then(|chain| chain.first().cloned());
                self.serve(stream, shown.map(|first| Shown(first.into_owned())))
                    .await;
            }
            Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        shown: Option<Shown>,
    ) {
        let asked = Arc::new(Notify::new());
        let (asks, peer) = (Arc::clone(&asked), self.peer);
        let service = self
            .router
            .map_request(move |mut request: Request<Incoming>| {
                asks.notify_one();
                request.extensions_mut().insert(peer);
                if let Some(shown) = &shown {
                    request.extensions_mut().insert(shown.clone());
                }
                request
            });
        let service = TowerToHyperService::new(service);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        // The library's own limit begins only once it knows which version of HTTP it is to speak.
        tokio::select! {
            ended = self.watcher.watch(connection) => if let Err(error) = ended {
                tracing::debug!("a connection broke: {error}");
            },
            Err(_) = tokio::time::timeout(PATIENCE, asked.notified()) => {
                tracing::debug!("a connection asked for nothing");
            }
        }
    }
}
