//! Measures what a path really does: evenly spaced numbered datagrams from one program to another
//! on the same machine, so that both read the same clock.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::statistics::Histogram;
use crate::sys;

/// Number and time of sending.
const HEADER: usize = 16;

/// IPv4 and UDP headers.
const OVERHEAD: usize = 28;

/// What the receiver found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// Datagrams that came.
    pub received: u64,
    /// Of those, how many came a second time.
    pub duplicates: u64,
    /// How many came after one that was sent later.
    pub late: u64,
    /// The share that never came, of those up to the last that did.
    pub lost: f64,
    /// How many were lost in a row, on average.
    pub burst: f64,
    /// Bits of IPv4 packets a second, from the first to the last.
    pub bps: f64,
    /// Median of the time under way, in milliseconds.
    pub delay_ms_p50: Option<f64>,
    /// 5th percentile of it.
    pub delay_ms_p5: Option<f64>,
    /// 95th percentile of it.
    pub delay_ms_p95: Option<f64>,
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Sends `packets` datagrams that make IPv4 packets of `bytes`, at `rate` bits a second.
///
/// # Errors
/// What the system refused.
pub fn send(to: SocketAddr, packets: u64, bytes: usize, rate: u64) -> io::Result<()> {
    // Punctual, or else what is measured is this program; where it isn't allowed it goes without.
    let _ = sys::come_first();
    let any: SocketAddr = if to.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let mut datagram = vec![0; bytes.saturating_sub(OVERHEAD).max(HEADER)];
    let gap = (datagram.len() + OVERHEAD) as f64 * 8.0 / rate.max(1) as f64;
    let began = Instant::now();
    for number in 0..packets {
        let due = Duration::from_secs_f64(gap * number as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        datagram[8..HEADER].copy_from_slice(&unix_nanos().to_be_bytes());
        // A full queue of the system's is one more way to lose it.
        let _ = socket.send(&datagram);
    }
    Ok(())
}

/// Receives until none has come for `silence` after the first; how long it waits for that is not
/// bounded.
///
/// # Errors
/// What the system refused.
pub fn receive(bind: SocketAddr, silence: Duration) -> io::Result<Found> {
    let _ = sys::come_first();
    let socket = UdpSocket::bind(bind)?;
    let mut buffer = [0; 65_536];
    let mut seen: Vec<bool> = Vec::new();
    let mut found = Found::default();
    let mut delays = Histogram::default();
    let (mut first, mut last, mut bits) = (0, 0, 0);
    loop {
        let len = match socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                break;
            }
            Err(e) => return Err(e),
        };
        let now = unix_nanos();
        let field = |at: usize| buffer[..len].get(at..).and_then(|b| b.first_chunk::<8>());
        let (Some(number), Some(sent)) = (field(0), field(8)) else {
            continue;
        };
        // No run sends as many as would make this large.
        let number = (u64::from_be_bytes(*number) & 0xff_ffff) as usize;
        if found.received == 0 {
            socket.set_read_timeout(Some(silence))?;
            first = now;
        } else {
            bits += (len + OVERHEAD) as u64 * 8;
        }
        last = now;
        found.received += 1;
        found.late += u64::from(number < seen.len().saturating_sub(1));
        if seen.len() <= number {
            seen.resize(number + 1, false);
        }
        found.duplicates += u64::from(std::mem::replace(&mut seen[number], true));
        delays.add(Duration::from_nanos(
            now.saturating_sub(u64::from_be_bytes(*sent)),
        ));
    }
    let lost = seen.iter().filter(|came| !**came).count() as f64;
    let bursts = seen
        .split(|came| *came)
        .filter(|burst| !burst.is_empty())
        .count();
    found.lost = lost / seen.len().max(1) as f64;
    found.burst = lost / bursts.max(1) as f64;
    found.bps = bits as f64 / ((last - first).max(1) as f64 / 1e9);
    found.delay_ms_p5 = delays.percentile_ms(0.05);
    found.delay_ms_p50 = delays.percentile_ms(0.5);
    found.delay_ms_p95 = delays.percentile_ms(0.95);
    Ok(found)
}
