//! What the node's process uses, from `/proc` (proc(5)).

use std::fs;
use std::time::{Duration, Instant};

/// Ticks a second of `/proc/PID/stat`: the same on all Linux systems.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The moment.
    pub at: Instant,
    /// CPU time, user and system, of all threads.
    pub cpu: Duration,
    /// Resident memory in KiB.
    pub rss_kib: u64,
}

/// Reads what a process has used until now.
///
/// # Errors
/// If there is no such process.
pub fn usage(pid: u32) -> Result<Usage, String> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).map_err(|e| format!("can't read {path}: {e}"))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let cpu = cpu_time(&stat).ok_or_else(|| format!("/proc/{pid}/stat says no CPU time"))?;
    let rss_kib =
        rss_kib(&status).ok_or_else(|| format!("process {pid} has no memory: has it ended?"))?;
    Ok(Usage {
        at: Instant::now(),
        cpu,
        rss_kib,
    })
}

/// Fields 14 and 15. The second, the command's name, may have spaces and parentheses.
fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user + TICK * system)
}

fn rss_kib(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// How fast the memory of a process grows: the slope of the straight line through the samples with
/// the least squares, in KiB a minute. None for fewer than two.
pub fn rss_slope(samples: &[Usage]) -> Option<f64> {
    let first = samples.first()?.at;
    let count = samples.len() as f64;
    let minutes = |u: &Usage| u.at.saturating_duration_since(first).as_secs_f64() / 60.0;
    let mean_x = samples.iter().map(minutes).sum::<f64>() / count;
    let mean_y = samples.iter().map(|u| u.rss_kib as f64).sum::<f64>() / count;
    let (mut covariance, mut variance) = (0.0, 0.0);
    for sample in samples {
        let x = minutes(sample) - mean_x;
        covariance += x * (sample.rss_kib as f64 - mean_y);
        variance += x * x;
    }
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_is_found_whatever_the_process_is_called() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 9 9 20 0 3 0 100 1000 200";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("7 (x) S 1"), None);
    }

    #[test]
    fn memory_is_that_which_is_resident() {
        assert_eq!(rss_kib("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1234));
        assert_eq!(rss_kib("Name:\tzombie\n"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(usage(std::process::id()).unwrap().rss_kib > 0);
        assert!(usage(u32::MAX).is_err());
    }

    #[test]
    fn the_slope_is_in_kib_a_minute() {
        let at = Instant::now();
        let sample = |s: u64, rss_kib| Usage {
            at: at + Duration::from_secs(s),
            cpu: Duration::ZERO,
            rss_kib,
        };
        let samples = [
            sample(0, 1000),
            sample(30, 1002),
            sample(60, 1004),
            sample(120, 1008),
        ];
        assert!((rss_slope(&samples).unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(rss_slope(&samples[..1]), None);
    }
}
