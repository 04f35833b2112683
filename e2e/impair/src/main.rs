//! `showrunner-impair`: parses arguments, and carries packets until it is stopped.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use showrunner_impair::link::{Link, Report};
use showrunner_impair::namespaces::End;
use showrunner_impair::probe;
use showrunner_impair::scenario::Scenario;
use showrunner_impair::statistics::Figures;
use showrunner_impair::units::Rate;
use signal_hook::consts::{SIGINT, SIGTERM};

/// A bad network between two network namespaces, as a scenario file says.
///
/// Needs root and the program 'ip'. README.md describes scenario files.
#[derive(Debug, Parser)]
#[command(name = "showrunner-impair", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lay a link between two namespaces, until Ctrl-C; namespaces that are missing are made, and
    /// removed at the end.
    Run(Run),
    /// Check a scenario file, and print what its bottleneck carries, each second as JSON.
    Trace(Trace),
    /// Send numbered datagrams evenly, to see what a path does to them.
    ProbeSend(ProbeSend),
    /// Receive them, and print what became of them as JSON.
    ProbeReceive(ProbeReceive),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The scenario file.
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
    /// One end, whose default route the link will be.
    #[arg(long, value_name = "NAMESPACE=ADDRESS")]
    client: End,
    /// The other end. Its namespace may have the ends of other links too, with the same address.
    #[arg(long, value_name = "NAMESPACE=ADDRESS")]
    server: End,
    /// How long; without it, until Ctrl-C.
    #[arg(long)]
    seconds: Option<f64>,
    /// Print what happened each so many seconds as a line of JSON, and the sum as the last.
    #[arg(long, value_name = "SECONDS")]
    every: Option<f64>,
}

#[derive(Debug, clap::Args)]
struct Trace {
    /// The scenario file.
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
    /// Which direction.
    #[arg(long, value_enum, default_value = "down")]
    direction: Which,
    /// How many seconds of it.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

#[derive(Debug, clap::Args)]
struct ProbeSend {
    /// The receiver.
    #[arg(long)]
    to: SocketAddr,
    /// How many.
    #[arg(long, default_value_t = 1000)]
    packets: u64,
    /// Length of each as an IP packet.
    #[arg(long, default_value_t = 1200)]
    bytes: usize,
    /// How fast.
    #[arg(long, default_value = "1 Mbit/s")]
    rate: Rate,
}

#[derive(Debug, clap::Args)]
struct ProbeReceive {
    /// Where.
    #[arg(long)]
    bind: SocketAddr,
    /// It ends when nothing has come for so many seconds.
    #[arg(long, default_value_t = 2.0)]
    silence: f64,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => lay(&run),
        Command::Trace(trace) => print_trace(&trace),
        Command::ProbeSend(send) => match send.rate {
            Rate(None) => Err("a probe needs a rate, like --rate '1 Mbit/s'".into()),
            Rate(Some(rate)) => {
                probe::send(send.to, send.packets, send.bytes, rate).map_err(|e| e.to_string())
            }
        },
        Command::ProbeReceive(receive) => seconds(receive.silence)
            .and_then(|silence| probe::receive(receive.bind, silence).map_err(|e| e.to_string()))
            .map(|found| print_json(&found)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "showrunner-impair: {error}");
            ExitCode::FAILURE
        }
    }
}

fn seconds(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|span| !span.is_zero())
        .ok_or_else(|| format!("'{seconds}' is no number of seconds above 0"))
}

fn lay(run: &Run) -> Result<(), String> {
    let scenario = Scenario::load(&run.scenario).map_err(|e| e.to_string())?;
    let at_most = run.seconds.map(seconds).transpose()?;
    let every = run.every.map(seconds).transpose()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|e| format!("can't listen to signals: {e}"))?;
    }
    let mut link = Link::new(&scenario, &run.client, &run.server).map_err(|e| e.to_string())?;
    if let Err(e) = showrunner_impair::link::come_first() {
        let _ = writeln!(
            io::stderr(),
            "no real-time priority here, so times are less exact: {e}"
        );
    }
    let _ = writeln!(
        io::stderr(),
        "linked {} and {}",
        run.client.namespace,
        run.server.namespace
    );
    let sum = link
        .run(&stop, at_most, every, print_json)
        .map_err(|e| format!("the link failed: {e}"))?;
    if every.is_some() {
        print_json(&sum);
    } else {
        print_lines(&sum);
    }
    Ok(())
}

fn print_trace(trace: &Trace) -> Result<(), String> {
    #[derive(Serialize)]
    struct Second {
        t: u64,
        capacity_bps: Option<f64>,
    }
    let scenario = Scenario::load(&trace.scenario).map_err(|e| e.to_string())?;
    let capacity = match trace.direction {
        Which::Up => scenario.up.capacity,
        Which::Down => scenario.down.capacity,
    };
    for t in 0..trace.seconds {
        let at = Duration::from_secs(t);
        let capacity_bps = capacity.mean(at, at + Duration::from_secs(1));
        print_json(&Second { t, capacity_bps });
    }
    Ok(())
}

/// Who doesn't read it any more doesn't miss it.
fn print_json(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}

fn print_lines(report: &Report) {
    let line = |name: &str, f: &Figures| {
        let ms = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
        let mbit = |bps: f64| format!("{:.3} Mbit/s", bps / 1e6);
        let _ = writeln!(
            io::stdout(),
            "{name}: {} packets in, {} lost, {} dropped by the queue, {} doubled, {} held back; \
             {} delivered, {} of {}; delay p50 {} p95 {} p99 {} ms; given out at most {} ms late (p99)",
            f.packets,
            f.lost,
            f.queue_dropped,
            f.duplicated,
            f.reordered,
            f.delivered,
            mbit(f.delivered_bps),
            f.capacity_bps.map_or("unlimited".into(), mbit),
            ms(f.delay_ms_p50),
            ms(f.delay_ms_p95),
            ms(f.delay_ms_p99),
            ms(f.late_ms_p99),
        );
    };
    line("up", &report.up);
    line("down", &report.down);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
