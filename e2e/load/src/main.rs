//! `showrunner-load`: parses arguments, and does what they say until it is done or stopped.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use showrunner_load::args::{self, Cli, Command, Publish, Run, Watch};
use showrunner_load::bench::Bench;
use showrunner_load::frame_log::FrameLog;
use showrunner_load::hosts::Hosts;
use showrunner_load::report::{Report, say};
use showrunner_load::signalling::Http;
use showrunner_load::stay;
use showrunner_transport::dtls::Identity;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

/// Sockets and files that a large run needs; more than the usual limit.
const OPEN_FILES: u64 = 65_536;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the limit is in the end shows when sockets run out.
    let _ = rlimit::increase_nofile_limit(OPEN_FILES);
    let result = stop_on_signals().and_then(|stop| match cli.command {
        Command::Publish(publish) => on_air(&publish, &stop).map(|()| true),
        Command::Watch(watch) => audience(&watch, &stop),
        Command::Run(run) => rooms(&run, &stop),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(error);
            ExitCode::FAILURE
        }
    }
}

/// A flag that the first Ctrl-C sets; the second ends the process at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|e| format!("can't listen to signals: {e}"))?;
    }
    Ok(stop)
}

/// A flag that a signal sets.
fn flag(signal: i32) -> Result<Arc<AtomicBool>, String> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = signal_hook::flag::register(signal, Arc::clone(&flag));
    set.map_err(|e| format!("can't listen to signals: {e}"))?;
    Ok(flag)
}

fn identity() -> Result<Arc<Identity>, String> {
    Identity::generate()
        .map(Arc::new)
        .map_err(|e| format!("can't make a certificate: {e}"))
}

/// `publish`
fn on_air(publish: &Publish, stop: &AtomicBool) -> Result<(), String> {
    let program = publish
        .media
        .load(&publish.layers)
        .map_err(|e| e.to_string())?;
    let http = Http::new(&publish.url, publish.publish_token.clone(), 1);
    let log = publish.frame_log.as_deref();
    let log = log
        .map(FrameLog::create)
        .transpose()
        .map_err(|e| format!("can't write the frame log: {e}"))?;
    let log = log.unwrap_or_default();
    if publish.stay {
        return stay::host(http, &publish.room, &program, &identity()?, stop);
    }
    let hosts = Hosts::start(http, &publish.room, program, identity()?, log, stop)?;
    say(format_args!("on air: {}", publish.room.join(", ")));
    let began = Instant::now();
    let limit = publish.seconds.map(Duration::from_secs);
    while !stop.load(Ordering::Relaxed) && limit.is_none_or(|limit| began.elapsed() < limit) {
        if let Some(failure) = hosts.failure() {
            hosts.end();
            return Err(format!("a host has ended: {failure}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let asked = hosts.end();
    say(format_args!(
        "off air; the node asked for {} keyframes and {} packets, of which {} were sent again",
        asked.keyframes, asked.packets, asked.resent
    ));
    Ok(())
}

/// `watch`; whether it went well enough.
fn audience(watch: &Watch, stop: &AtomicBool) -> Result<bool, String> {
    let (wish, anew) = (flag(SIGUSR1)?, flag(SIGUSR2)?);
    let bench = Bench {
        url: &watch.url,
        rooms: watch.room.clone(),
        viewers: &watch.viewers,
        time: watch.seconds.map(Duration::from_secs),
        node_pid: watch.report.node_pid,
        hosts: None,
        identity: identity()?,
        stop,
        tell: &wish,
        anew: &anew,
    };
    tell(&bench.run()?, &watch.report)
}

/// `run`; whether it went well enough.
fn rooms(run: &Run, stop: &AtomicBool) -> Result<bool, String> {
    let program = run.media.load(&run.layers).map_err(|e| e.to_string())?;
    let rooms: Vec<String> = (1..=run.rooms.max(1))
        .map(|n| format!("{}/room-{n}", run.namespace))
        .collect();
    let identity = identity()?;
    let http = Http::new(&run.url, run.publish_token.clone(), 1);
    let log = FrameLog::default();
    let hosts = Hosts::start(http, &rooms, program, Arc::clone(&identity), log, stop)?;
    let (wish, anew) = (flag(SIGUSR1)?, flag(SIGUSR2)?);
    let bench = Bench {
        url: &run.url,
        rooms,
        viewers: &run.viewers,
        time: Some(Duration::from_secs(run.seconds)),
        node_pid: run.report.node_pid,
        hosts: Some(&hosts),
        identity,
        stop,
        tell: &wish,
        anew: &anew,
    };
    let report = bench.run();
    hosts.end();
    tell(&report?, &run.report)
}

/// Prints a report as asked for; whether it is good enough.
fn tell(report: &Report, how: &args::Report) -> Result<bool, String> {
    let text = if how.name_value {
        report.lines()
    } else {
        report.table()
    };
    // Who doesn't read it any more may still want the file.
    let _ = io::stdout().write_all(text.as_bytes());
    if let Some(path) = &how.json {
        let failed = |e: String| format!("can't write {}: {e}", path.display());
        let json = report.to_json().map_err(|e| failed(e.to_string()))?;
        fs::write(path, json + "\n").map_err(|e| failed(e.to_string()))?;
    }
    Ok(!how.strict || report.is_flawless())
}
