//! `showrunner-fleet`: machines and media pods that are simulated, in a cluster whose API server and scheduler are real.
//!
//! It registers machines and keeps them alive, as kubelets would. Media pods that are scheduled to them are reported as
//! running at a loopback address each, where this program answers the control API over TLS, as the pods would. So the
//! operator under test must run on the same machine, outside of the cluster.

mod control;
mod machines;
mod pods;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Simulates machines and media pods until it is ended by SIGTERM or SIGINT.
#[derive(Clone, Debug, Parser)]
#[command(name = "showrunner-fleet", version)]
struct Arguments {
    /// Machines to simulate; each has space for 250 pods.
    #[arg(long, default_value_t = 4, value_name = "N")]
    machines: u16,

    /// The port that pods answer at, as the operator expects it.
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    port: u16,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let result = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn run(arguments: &Arguments) -> Result<(), Error> {
    let client = kube::Client::try_default().await?;
    machines::register(&client, arguments.machines).await?;
    tracing::info!(machines = arguments.machines, "the machines are there");
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        ended = machines::keep_alive(&client, arguments.machines) => ended,
        ended = pods::run(&client, arguments.port) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
