//! How busy a node is: what its shards' threads took of their cores, and what left the node, in the last second.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use showrunner_protocol::control::Load;

use crate::metrics::{self, Traffic};

/// Where Linux lists the threads of a process.
const THREADS: &str = "/proc/self/task";

/// Measures from one call to the next.
pub(crate) struct Meter {
    since: Instant,
    before: Reading,
}

/// Sums since the start.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reading {
    /// Time on a core of each shard.
    shards: BTreeMap<u16, Duration>,
    sent: Traffic,
}

impl Meter {
    pub(crate) fn new() -> Meter {
        Meter {
            since: Instant::now(),
            before: Reading::now(),
        }
    }

    /// The load since the last call; shards' times are added to the metrics.
    pub(crate) fn measure(&mut self) -> Load {
        let (at, now) = (Instant::now(), Reading::now());
        for (shard, time) in &now.shards {
            metrics::shard_ran(*shard, time.saturating_sub(self.before.shard(*shard)));
        }
        let load = now.since(&self.before, at - self.since);
        (self.since, self.before) = (at, now);
        load
    }
}

impl Reading {
    fn now() -> Reading {
        Reading {
            shards: shard_times(),
            sent: metrics::sent(),
        }
    }

    fn shard(&self, shard: u16) -> Duration {
        self.shards.get(&shard).copied().unwrap_or_default()
    }

    fn since(&self, before: &Reading, elapsed: Duration) -> Load {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let per_second = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds) as u64;
        let cpu = |(shard, now): (&u16, &Duration)| {
            let time = now.saturating_sub(before.shard(*shard));
            (time.as_secs_f64() / seconds).min(1.0)
        };
        Load {
            shard_cpu: self.shards.iter().map(cpu).collect(),
            egress_bps: per_second(self.sent.bytes, before.sent.bytes).saturating_mul(8),
            packets_per_second: per_second(self.sent.packets, before.sent.packets),
        }
    }
}

/// Empty where the kernel doesn't tell.
fn shard_times() -> BTreeMap<u16, Duration> {
    let Ok(threads) = fs::read_dir(THREADS) else {
        return BTreeMap::new();
    };
    threads
        .flatten()
        .filter_map(|thread| {
            let name = fs::read_to_string(thread.path().join("comm")).ok()?;
            let shard = name.trim_end().strip_prefix("shard-")?.parse().ok()?;
            let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some((shard, on_core(&times)?))
        })
        .collect()
}

/// The first number of `schedstat`: nanoseconds on a core.
fn on_core(schedstat: &str) -> Option<Duration> {
    let nanos = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_the_difference_over_the_time() {
        let reading = |millis: &[(u16, u64)], packets, bytes| Reading {
            shards: millis
                .iter()
                .map(|(shard, ms)| (*shard, Duration::from_millis(*ms)))
                .collect(),
            sent: Traffic { packets, bytes },
        };
        let before = reading(&[(0, 1000), (1, 500)], 100, 10_000);
        let now = reading(&[(0, 1500), (1, 500), (2, 9000)], 300, 60_000);
        let load = now.since(&before, Duration::from_secs(2));
        assert_eq!(load.shard_cpu, [0.25, 0.0, 1.0]);
        assert_eq!((load.egress_bps, load.packets_per_second), (200_000, 100));
        assert_eq!(now.since(&now, Duration::ZERO).egress_bps, 0);
    }

    #[test]
    fn the_kernels_line_is_read() {
        assert_eq!(
            on_core("1234567 89 10\n"),
            Some(Duration::from_nanos(1_234_567))
        );
        for odd in ["", "x 1 2", "-1 2 3"] {
            assert_eq!(on_core(odd), None, "{odd}");
        }
    }
}
