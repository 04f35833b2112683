//! What a connected session's DTLS costs in memory: `cargo run --release -p showrunner-transport
//! --example dtls_memory`. Prints resident KiB per established server, of 1000.

use std::error::Error;
use std::time::Instant;

use showrunner_transport::dtls::{Dtls, DtlsError, Identity};

const SERVERS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let (node, browser) = (Identity::generate()?, Identity::generate()?);
    let now = Instant::now();
    // The first ones pay for what all share.
    let mut servers = Vec::with_capacity(2 * SERVERS);
    for _ in 0..SERVERS {
        servers.push(connected(&node, &browser, now)?);
    }
    let before = resident_kib()?;
    for _ in 0..SERVERS {
        servers.push(connected(&node, &browser, now)?);
    }
    let after = resident_kib()?;
    println!("{:.1} KiB", (after - before) as f64 / SERVERS as f64);
    Ok(())
}

fn connected(node: &Identity, browser: &Identity, now: Instant) -> Result<Dtls, DtlsError> {
    let mut server = Dtls::server(node, browser.fingerprint());
    let mut client = Dtls::client(browser, node.fingerprint(), now)?;
    loop {
        let mut quiet = true;
        while let Some(datagram) = client.poll_transmit() {
            server.handle(now, &datagram)?;
            quiet = false;
        }
        while let Some(datagram) = server.poll_transmit() {
            client.handle(now, &datagram)?;
            quiet = false;
        }
        if quiet {
            return Ok(server);
        }
    }
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(number.parse()?)
}
