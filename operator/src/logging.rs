//! Logs of both programs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The client of the API server tells of every failed request by itself; those that matter are told of where they are
/// made.
const DEFAULT: &str = "info,kube_client::client::builder=off";

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For log collectors.
    Json,
}

/// Writes logs to standard error from now on; `RUST_LOG` says which.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
