//! `gateway`: parses arguments, opens the doors, follows the cluster, and ends so that nobody notices.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use showrunner_door::{Door, Tls};
use showrunner_operator::gateway::check::check;
use showrunner_operator::gateway::config::{Command, Config};
use showrunner_operator::gateway::keys::Keys;
use showrunner_operator::gateway::live_view::LiveView;
use showrunner_operator::gateway::metrics::Metrics;
use showrunner_operator::gateway::{Gateway, GatewayParts, poll, watches};
use showrunner_operator::logging;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long the last answers may take at the end.
const GRACE: Duration = Duration::from_secs(10);
/// Connections for probes and metrics at a time.
const MAX_ADMIN_CONNECTIONS: usize = 64;

fn main() -> ExitCode {
    let config = Config::parse();
    logging::start(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|e| format!("could not start: {e}"))
        .and_then(|runtime| match config.command {
            Some(Command::Check { url }) => runtime.block_on(check(&url)),
            None => runtime.block_on(run(config)),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let view = Arc::new(LiveView::default());
    let metrics = Metrics::new().map_err(|e| format!("the metrics: {e}"))?;
    let keys = Keys::from_files(&config).map_err(|e| format!("the keys: {e}"))?;
    let client = kube::Client::try_default()
        .await
        .map_err(|e| format!("the API server's address and credentials can't be found: {e}"))?;
    let gateway = Gateway::new(GatewayParts {
        view: Arc::clone(&view),
        keys,
        metrics: metrics.clone(),
        region: config.region.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        address_limit: config.address_limit,
        token_limit: config.token_limit,
    });
    let public = listen(config.http, "--http").await?;
    let admin = listen(config.admin, "--admin").await?;
    let at = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let (http_at, admin_at) = (at(&public, config.http), at(&admin, config.admin));
    let public = Server::start(Door {
        listener: public,
        router: gateway.public(config.web_dir.as_deref()),
        tls: certificate(&config)?,
        max_connections: config.max_connections,
    });
    let admin = Server::start(Door {
        listener: admin,
        router: gateway.admin(),
        tls: None,
        max_connections: MAX_ADMIN_CONNECTIONS,
    });
    tracing::info!(http = %http_at, admin = %admin_at, "the gateway is up");
    let follow = async {
        tokio::join!(
            watches::follow(client, &view, &metrics),
            poll::run(&gateway)
        )
    };
    let serve = async {
        signals.next().await;
        tracing::info!("leaving");
        gateway.leave();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(config.drain_seconds.into())) => {}
            () = signals.next() => tracing::info!("asked again to end"),
        }
        tracing::info!("shutting down");
        gateway.end_streams();
        public.stop().await?;
        admin.stop().await
    };
    tokio::select! {
        ended = serve => ended,
        _ = follow => Err("the watches of the API server have ended".into()),
    }
}

/// A server that runs.
struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    fn start(door: Door) -> Server {
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // An error means that the sender is gone, which is as good a reason to stop.
            let _ = stopped.await;
        };
        Server {
            stop,
            task: tokio::spawn(door.serve(stopped, GRACE)),
        }
    }

    async fn stop(self) -> Result<(), String> {
        let _ = self.stop.send(());
        self.task
            .await
            .map_err(|_| "an HTTP server has panicked".into())
    }
}

async fn listen(at: SocketAddr, flag: &str) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(at).await;
    listener.map_err(|e| format!("can't listen on {at}: {e}; choose another address with {flag}"))
}

fn certificate(config: &Config) -> Result<Option<Tls>, String> {
    let (Some(chain), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Ok(None);
    };
    let tls = Tls::from_files(chain, key).map_err(|e| format!("the certificate: {e}"))?;
    Ok(Some(tls))
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        let wait_for = |kind| signal(kind).map_err(|e| format!("could not wait for signals: {e}"));
        Ok(Signals {
            terminate: wait_for(SignalKind::terminate())?,
            interrupt: wait_for(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
