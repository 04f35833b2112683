//! The server under the router: connections bounded in number, request heads bounded in time.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tower::ServiceExt;

/// How long a client may take to send the head of a request, the first one counted from when it
/// connects, and stay idle between requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Connections at a time. Each viewer may hold one for its events.
const MAX_CONNECTIONS: usize = 16_384;
/// Rest after a failed accept: the usual cause is a lack of file descriptors, which takes time to pass.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves until `stop` is done, then lets open requests finish for as long as `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_PATIENCE)
        .max_concurrent_streams(128);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("could not accept an HTTP connection: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let asked = Arc::new(Notify::new());
        let asks = Arc::clone(&asked);
        let service = router.clone().map_request(move |request| {
            asks.notify_one();
            request
        });
        let service = TowerToHyperService::new(service);
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // The library's own limit begins only once it knows which version of HTTP it is to speak.
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!("an HTTP connection broke: {error}");
                },
                Err(_) = tokio::time::timeout(HEAD_PATIENCE, asked.notified()) => {
                    tracing::debug!("an HTTP connection asked for nothing");
                }
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some HTTP requests were still open");
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}
