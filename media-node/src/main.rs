//! `media-node`: parses arguments, starts the shards and the HTTP server, and ends them cleanly.

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use media_node::config::{Config, LogFormat};
use media_node::http::{self, ControlAccess, HttpConfig};
use media_node::lived::sink::{Records, Writer};
use media_node::metrics::ShardMetrics;
use media_node::node::{Node, NodeParts, Peers, Rooms};
use media_node::shard::{Bound, ShardConfig};
use showrunner_door::{Door, Tls};
use showrunner_protocol::control::PublicAddresses;
use showrunner_transport::dtls::Identity;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// How long the last HTTP answers may take at shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// HTTP connections at a time. Each viewer may hold one for its events.
const MAX_CONNECTIONS: usize = 16_384;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .map_err(|e| format!("could not start: {e}"))
        .and_then(|runtime| runtime.block_on(start()));
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
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

async fn start() -> Result<(), String> {
    // Before all else: the first process of a container does not get a signal that it does not wait for, and a pod that
    // is deleted while it starts would stay for all of its grace period.
    let signals = Signals::new()?;
    let config = Config::parse();
    start_logging(config.log_format);
    run(config, signals).await
}

async fn run(config: Config, mut signals: Signals) -> Result<(), String> {
    let identity =
        Identity::generate().map_err(|e| format!("could not make a certificate: {e}"))?;
    let identity = Arc::new(identity);
    let bound = bind_shards(&config)?;
    let ports: Vec<u16> = bound.iter().map(Bound::port).collect();
    let parts = NodeParts {
        shards: bound.iter().map(|b| (b.handle(), b.port())).collect(),
        fingerprint: identity.fingerprint(),
        max_sessions: config.max_sessions,
        rooms: match config.control_key_file {
            Some(_) => Rooms::Assigned {
                most: config.max_rooms,
            },
            None => Rooms::Any,
        },
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
    if let Some(public) = public_addresses(&config)? {
        node.tell_addresses(public)
            .map_err(|e| format!("clients can't be told --public-ip and --public-port: {e}"))?;
    }

    let records = open_records(&config)?;
    if let Some(records) = &records {
        node.record(records.records());
    }
    let door = open_door(&config, node.clone(), records.as_ref().map(Writer::records)).await?;
    let http = door.listener.local_addr().unwrap_or(config.http);
    let scheme = if door.tls.is_some() { "https" } else { "http" };
    tracing::info!(%http, scheme, media_ports = ?ports, "the node is up");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        // An error means that the sender is gone, which is as good a reason to stop.
        let _ = stopped.await;
    };
    let server = tokio::spawn(door.serve(stopped, GRACE));
    signals.next().await;
    if config.drain_seconds > 0 {
        node.drain(Duration::from_secs(config.drain_seconds.into()));
        tokio::select! {
            () = node.drained() => {}
            () = signals.next() => tracing::info!("asked again to end"),
        }
    }
    tracing::info!("shutting down");
    node.shut_down();
    let _ = stop.send(());
    if server.await.is_err() {
        return Err("the HTTP server has panicked".into());
    }
    for thread in threads {
        if thread.join().is_err() {
            return Err("a shard has panicked".into());
        }
    }
    node.fell_silent().await;
    if let Some(records) = records {
        records.finish();
    }
    Ok(())
}

fn open_records(config: &Config) -> Result<Option<Writer>, String> {
    let records = config.records().map(Writer::start).transpose();
    records.map_err(|e| format!("session records can't be written: {e}"))
}

async fn open_door(config: &Config, node: Node, records: Option<Records>) -> Result<Door, String> {
    let http = HttpConfig::try_from(config).map_err(|e| format!("the control keys: {e}"))?;
    if let (Some(control), Some(authority)) = (&http.control, &config.control_ca_file) {
        let peers = Peers::new(control.keys(), authority);
        node.call_peers(peers.map_err(|e| format!("the other pods' authority: {e}"))?);
    }
    let tls = match (&config.tls_cert_file, &config.tls_key_file) {
        (Some(cert), Some(key)) => Some(Tls::from_files(cert, key)),
        _ => None,
    };
    let tls = tls
        .transpose()
        .map_err(|e| format!("the certificate: {e}"))?;
    let listener = TcpListener::bind(config.http).await.map_err(|e| {
        format!(
            "HTTP can't listen on {}: {e}; choose another address with --http",
            config.http
        )
    })?;
    look_on_hangup(tls.clone(), http.control.clone(), records)?;
    Ok(Door {
        listener,
        router: http::router(node, http),
        tls,
        max_connections: MAX_CONNECTIONS,
    })
}

/// SIGHUP asks to look at the files now, if there are any. They are looked at every few seconds anyway.
fn look_on_hangup(
    tls: Option<Tls>,
    control: Option<ControlAccess>,
    records: Option<Records>,
) -> Result<(), String> {
    if tls.is_none() && control.is_none() && records.is_none() {
        return Ok(());
    }
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tls.iter().for_each(Tls::look);
            control.iter().for_each(ControlAccess::look);
            records.iter().for_each(Records::reopen);
        }
    });
    Ok(())
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|e| format!("could not wait for signals: {e}"))
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

/// How clients reach this node, as far as it knows: a node of a cluster is told by the operator, unless it was
/// configured.
fn public_addresses(config: &Config) -> Result<Option<PublicAddresses>, String> {
    let addresses = match config.public_ip.is_empty() {
        false => config.public_ip.clone(),
        true if config.control_key_file.is_some() => return Ok(None),
        true => own_addresses(config)?,
    };
    Ok(Some(PublicAddresses {
        addresses,
        media_port: config.public_port,
    }))
}

/// The bound address, or all of this machine. Loopback is left out, unless HTTP itself is only there or nothing else is
/// left.
fn own_addresses(config: &Config) -> Result<Vec<IpAddr>, String> {
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
