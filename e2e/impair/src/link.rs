//! The shell: a TUN device at each end, and a thread that carries packets from one to the other
//! through the model.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::direction::Direction;
use crate::namespaces::{self, End, Made};
use crate::scenario::Scenario;
use crate::statistics::Figures;
use crate::sys;
pub use crate::sys::come_first;

/// The largest IP packet.
const MAX_PACKET: usize = 65_535;

/// How often it is looked whether to stop, if nothing else happens.
const TICK: Duration = Duration::from_millis(50);

/// How many packets of an end are taken before those that are due elsewhere get their turn.
const BURST: usize = 64;

/// What a link did, from the beginning or in the last stretch.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// From when on: seconds since the scenario began.
    pub since: f64,
    /// Until when.
    pub t: f64,
    /// That moment in seconds since 1970.
    pub unix: f64,
    /// From the client to the server.
    pub up: Figures,
    /// From the server to the client.
    pub down: Figures,
}

/// A link that is there.
#[derive(Debug)]
pub struct Link {
    client: File,
    server: File,
    up: Direction<Vec<u8>>,
    down: Direction<Vec<u8>>,
    // Last, so that the devices are gone before their namespaces are.
    _made: Made,
}

impl Link {
    /// Makes the namespaces that are missing and a device in each.
    ///
    /// # Errors
    /// What the system refused.
    pub fn new(scenario: &Scenario, client: &End, server: &End) -> io::Result<Self> {
        let mut made = Made::default();
        for end in [client, server] {
            made.ensure(&end.namespace)?;
        }
        // Unique while both are still in this namespace, and in those that have several links.
        let name = |end: &str| format!("im{}{end}", std::process::id());
        let make = |name: &str| {
            sys::make_tun(name).map_err(|e| {
                let what = format!("can't make a TUN device (as root, with /dev/net/tun?): {e}");
                io::Error::new(e.kind(), what)
            })
        };
        let (client_name, server_name) = (name("c"), name("s"));
        let (client_file, server_file) = (make(&client_name)?, make(&server_name)?);
        namespaces::connect(&server_name, server, client, false)?;
        namespaces::connect(&client_name, client, server, true)?;
        let seeds = scenario.seeds();
        Ok(Self {
            client: client_file,
            server: server_file,
            up: Direction::new(scenario.up.clone(), seeds.0),
            down: Direction::new(scenario.down.clone(), seeds.1),
            _made: made,
        })
    }

    /// Carries packets until `stop` is set or for this long; the scenario begins now. Calls `tell`
    /// with what happened in each `every`. What happened in all.
    ///
    /// # Errors
    /// If a device fails.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        at_most: Option<Duration>,
        every: Option<Duration>,
        mut tell: impl FnMut(&Report),
    ) -> io::Result<Report> {
        let began = Instant::now();
        let mut buffer = vec![0; MAX_PACKET];
        let mut next_report = every;
        let mut told_until = Duration::ZERO;
        loop {
            let now = began.elapsed();
            deliver(&mut self.up, now, &mut self.server);
            deliver(&mut self.down, now, &mut self.client);
            if let (Some(every), Some(at)) = (every, next_report)
                && at <= now
            {
                next_report = Some(at + every);
                let since = std::mem::replace(&mut told_until, now);
                let (up, down) = (self.up.recent_figures(now), self.down.recent_figures(now));
                tell(&report(since, now, up, down));
            }
            if stop.load(Ordering::Relaxed) || at_most.is_some_and(|limit| now >= limit) {
                let (up, down) = (self.up.figures(now), self.down.figures(now));
                return Ok(report(Duration::ZERO, now, up, down));
            }
            let moments = [self.up.due(), self.down.due(), next_report, at_most];
            let due = moments.into_iter().flatten().min();
            let wait = due.map_or(TICK, |at| at.saturating_sub(began.elapsed()).min(TICK));
            let readable = sys::wait([self.client.as_fd(), self.server.as_fd()], wait)?;
            if readable[0] {
                take(&mut self.client, &mut buffer, began, &mut self.up)?;
            }
            if readable[1] {
                take(&mut self.server, &mut buffer, began, &mut self.down)?;
            }
        }
    }
}

fn report(since: Duration, now: Duration, up: Figures, down: Figures) -> Report {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Report {
        since: since.as_secs_f64(),
        t: now.as_secs_f64(),
        unix: unix.as_secs_f64(),
        up,
        down,
    }
}

/// Takes in the packets that wait at a device.
fn take(
    device: &mut File,
    buffer: &mut [u8],
    began: Instant,
    direction: &mut Direction<Vec<u8>>,
) -> io::Result<()> {
    for _ in 0..BURST {
        match device.read(buffer) {
            Ok(len) => {
                let packet = buffer.get(..len).unwrap_or_default().to_vec();
                direction.send(began.elapsed(), packet, len);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Gives out the packets that have arrived. The kernel refuses what is no IP packet or finds the
/// device down; a network would have lost it too.
fn deliver(direction: &mut Direction<Vec<u8>>, now: Duration, device: &mut File) {
    while let Some(packet) = direction.receive(now) {
        let _ = device.write(&packet);
    }
}
