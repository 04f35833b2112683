//! `operator`: parses arguments, starts logging, and runs until it is told to end.

use std::process::ExitCode;

use clap::Parser;
use showrunner_operator::config::Config;
use showrunner_operator::logging;
use showrunner_operator::run::run;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let config = Config::parse();
    logging::start(config.log_format);
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
