//! `operator`: parses arguments, starts logging, and runs until it is told to end.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use showrunner_operator::config::Config;
use showrunner_operator::gateway::config::LogFormat;
use showrunner_operator::run::run;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The client of the API server tells of every failed request by itself; those that matter are told of where they are
/// made.
const DEFAULT_LOG: &str = "info,kube_client::client::builder=off";

fn main() -> ExitCode {
    let config = Config::parse();
    start_logging(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|e| format!("could not start: {e}"))
        .and_then(|runtime| runtime.block_on(until_told(config)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn until_told(config: Config) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|e| format!("no signals: {e}"));
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    run(config, stop).await.map_err(|error| error.to_string())
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
