//! `media-node`: parses arguments, starts the shards and the HTTP server, and ends them cleanly.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use media_node::config::{Config, LogFormat};
use media_node::http::{self, HttpConfig};
use media_node::metrics::ShardMetrics;
use media_node::node::{Node, NodeParts};
use media_node::shard::{Bound, ShardConfig};
use showrunner_transport::dtls::Identity;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How long the last HTTP answers may take at shutdown.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let config = Config::parse();
    start_logging(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .map_err(|e| format!("could not start: {e}"))
        .and_then(|runtime| runtime.block_on(run(config)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(format: LogFormat) {
    // The DTLS library warns of every extension of a browser's hello that it doesn't know.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,rtc_dtls=error"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

async fn run(config: Config) -> Result<(), String> {
    let identity =
        Identity::generate().map_err(|e| format!("could not make a certificate: {e}"))?;
    let identity = Arc::new(identity);
    let bound = bind_shards(&config)?;
    let addresses = public_addresses(&config)?;
    let ports: Vec<u16> = bound.iter().map(Bound::port).collect();
    let parts = NodeParts {
        shards: bound.iter().map(|b| (b.handle(), b.port())).collect(),
        addresses: addresses.clone(),
        fingerprint: identity.fingerprint(),
        max_sessions: config.max_sessions,
    };
    let relays: Vec<_> = bound.iter().map(Bound::relay).collect();
    let (tell, events) = tokio::sync::mpsc::unbounded_channel();
    let mut threads = Vec::new();
    for (index, shard) in bound.into_iter().enumerate() {
        let metrics = ShardMetrics::new(index);
        let started = shard.start(Arc::clone(&identity), relays.clone(), tell.clone(), metrics);
        threads.push(started.map_err(|e| format!("could not start a shard: {e}"))?);
    }
    drop(tell);
    let node = Node::new(parts, events);

    let listener = tokio::net::TcpListener::bind(config.http)
        .await
        .map_err(|e| {
            format!(
                "HTTP can't listen on {}: {e}; choose another address with --http",
                config.http
            )
        })?;
    let local = listener.local_addr().unwrap_or(config.http);
    tracing::info!(http = %local, media_ports = ?ports, ?addresses, "the node is up");
    let router = http::router(node.clone(), HttpConfig::from(&config));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut stopping = stopped.clone();
    let server = tokio::spawn(async move {
        axum::serve(listener, service)
            .with_graceful_shutdown(async move {
                // An error means that the sender is gone, which is as good a reason to stop.
                let _ = stopping.wait_for(|stop| *stop).await;
            })
            .await
    });
    wait_for_signal().await?;
    tracing::info!("shutting down");
    node.shut_down();
    let _ = stop.send(true);
    if tokio::time::timeout(GRACE, server).await.is_err() {
        tracing::warn!("some HTTP requests were still open");
    }
    for thread in threads {
        if thread.join().is_err() {
            return Err("a shard has panicked".into());
        }
    }
    Ok(())
}

async fn wait_for_signal() -> Result<(), String> {
    let failed = |e| format!("could not wait for signals: {e}");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn bind_shards(config: &Config) -> Result<Vec<Bound>, String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let count = config.shards.unwrap_or(cores.len()).max(1);
    (0..count)
        .map(|index| {
            let port = u16::try_from(index)
                .ok()
                .and_then(|i| config.media_port.checked_add(i))
                .ok_or_else(|| {
                    format!("{count} shards don't fit above port {}", config.media_port)
                })?;
            let core = cores.get(index % cores.len().max(1)).copied();
            let bind = SocketAddr::new(config.media_bind, port);
            Bound::bind(ShardConfig {
                index,
                bind,
                core: core.filter(|_| config.pin_shards),
            })
            .map_err(|e| {
                format!("media can't listen on {bind}: {e}; choose other ports with --media-port")
            })
        })
        .collect()
}

/// The addresses that clients are told: those given, or the bound one, or all of this machine.
/// Loopback is left out, unless HTTP itself is only there or nothing else is left.
fn public_addresses(config: &Config) -> Result<Vec<IpAddr>, String> {
    if !config.public_ip.is_empty() {
        return Ok(config.public_ip.clone());
    }
    if !config.media_bind.is_unspecified() {
        return Ok(vec![config.media_bind]);
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|e| {
        format!("can't list this machine's addresses: {e}; give one with --public-ip")
    })?;
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => config.media_bind.is_ipv6() && !v6.is_unicast_link_local(),
    };
    let all: Vec<IpAddr> = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(usable)
        .collect();
    let (loopback, mut outside): (Vec<IpAddr>, Vec<IpAddr>) =
        all.into_iter().partition(IpAddr::is_loopback);
    if config.http.ip().is_loopback() || outside.is_empty() {
        outside.extend(loopback);
    }
    Ok(outside)
}
