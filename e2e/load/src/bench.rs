//! Joins an audience, lets it watch, and measures meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use showrunner_transport::dtls::Identity;

use crate::args::Viewers;
use crate::audience::{Audience, HTTP_THREADS};
use crate::hosts::Hosts;
use crate::proc::{self, Usage};
use crate::report::{Measured, NodeUsage, Report, say};
use crate::signalling::Http;

/// How long the node is left alone before its memory is read, and before the measurement begins:
/// it must be done with what went before.
const SETTLE: Duration = Duration::from_secs(2);

/// How often the node's memory is read, and somebody told how it goes.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

/// Somebody who is neither up nor refused by then won't be; sessions give up before.
const JOIN_LIMIT: Duration = Duration::from_secs(40);

/// What to do.
pub struct Bench<'a> {
    /// The node's address.
    pub url: &'a str,
    /// The rooms to watch.
    pub rooms: Vec<String>,
    /// How viewers behave.
    pub viewers: &'a Viewers,
    /// How long to measure; none: until `stop`.
    pub time: Option<Duration>,
    /// The node's process, if it is to be measured.
    pub node_pid: Option<u32>,
    /// Our own hosts, if we have any: the measurement ends with them.
    pub hosts: Option<&'a Hosts>,
    /// Who we are.
    pub identity: Arc<Identity>,
    /// Set when the person at the terminal has had enough.
    pub stop: &'a AtomicBool,
    /// Set when somebody wants to know what those who stay have seen.
    pub tell: &'a AtomicBool,
    /// Set when what they see from now on is what somebody will want to know.
    pub anew: &'a AtomicBool,
}

impl Bench<'_> {
    /// Does it.
    ///
    /// # Errors
    /// If it can't be started, or the node can't be measured.
    pub fn run(self) -> Result<Report, String> {
        let rooms = self.rooms.len();
        let total = self.viewers.viewers * rooms;
        self.wait(SETTLE);
        let idle = self.node_usage()?;
        let http = Http::new(self.url, self.viewers.watch_token.clone(), HTTP_THREADS);
        let threads = self
            .viewers
            .threads
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let habits = self.viewers.habits(self.rooms.clone());
        let audience = Audience::open(http, Arc::clone(&self.identity), habits, threads);
        let mut audience = audience.map_err(|e| format!("can't start the viewers: {e}"))?;
        self.fill(&mut audience, total);
        self.wait(SETTLE);
        let measured = self.measure(&mut audience, idle);
        let (asked, stayed) = (audience.asked, audience.stayed());
        let outcomes = audience.close();
        let mut report = Report::new(rooms, asked, &measured?, &outcomes);
        if self.viewers.stay {
            report.count_stayed(&stayed);
        }
        Ok(report)
    }

    /// Sends viewers to join, and waits for them to be up.
    fn fill(&self, audience: &mut Audience, total: usize) {
        let began = Instant::now();
        let mut joins = Pace::new(self.viewers.join_rate, began);
        while audience.asked < total && !self.is_over() {
            for _ in 0..joins.due(Instant::now()).min(total - audience.asked) {
                audience.join_one();
            }
            thread::sleep(joins.pause());
        }
        let limit = Instant::now() + JOIN_LIMIT;
        while audience.sums().settled < audience.asked && Instant::now() < limit && !self.is_over()
        {
            thread::sleep(Duration::from_millis(5));
        }
        let (present, asked) = (audience.sums().present, audience.asked);
        say(format_args!(
            "{present} of {asked} viewers are there after {:.1} s",
            began.elapsed().as_secs_f64()
        ));
    }

    fn measure(&self, audience: &mut Audience, idle: Option<Usage>) -> Result<Measured, String> {
        let began = Instant::now();
        let mut measured = Measured {
            before: audience.sums(),
            ..Measured::default()
        };
        let own = proc::usage(std::process::id())?.cpu;
        let mut samples: Vec<Usage> = self.node_usage()?.into_iter().collect();
        let mut leaves = Pace::new(self.viewers.churn, began);
        let mut switches = Pace::new(self.viewers.switch_rate, began);
        let (mut next_sample, mut next_progress) =
            (began + SAMPLE_INTERVAL, began + PROGRESS_INTERVAL);
        while !self.is_over() && self.time.is_none_or(|time| began.elapsed() < time) {
            let now = Instant::now();
            for _ in 0..leaves.due(now) {
                audience.leave_one();
                audience.join_one();
            }
            for _ in 0..switches.due(now) {
                audience.switch_one();
            }
            if next_sample <= now {
                next_sample += SAMPLE_INTERVAL;
                samples.extend(self.node_usage()?);
            }
            if self.anew.swap(false, Ordering::Relaxed) {
                audience.begin_anew();
            }
            if self.viewers.stay && self.tell.swap(false, Ordering::Relaxed) {
                println!("{}", Report::of_stayed(&audience.stayed()).lines());
            }
            if next_progress <= now {
                next_progress += PROGRESS_INTERVAL;
                self.tell_progress(began.elapsed(), audience, samples.last());
            }
            thread::sleep(leaves.pause().min(switches.pause()));
        }
        samples.extend(self.node_usage()?);
        measured.after = audience.sums();
        measured.time = began.elapsed();
        measured.own_cpu = proc::usage(std::process::id())?.cpu.saturating_sub(own);
        measured.node = idle.map(|idle| NodeUsage { idle, samples });
        if let Some(failure) = self.hosts.and_then(Hosts::failure) {
            return Err(format!("a host has ended: {failure}"));
        }
        Ok(measured)
    }

    fn tell_progress(&self, elapsed: Duration, audience: &Audience, node: Option<&Usage>) {
        let sums = audience.sums();
        let memory = node.map_or_else(String::new, |usage| {
            format!(", node's memory {} KiB", usage.rss_kib)
        });
        let minutes = elapsed.as_secs() / 60;
        say(format_args!(
            "{minutes} min: {} viewers, {} packets{memory}",
            sums.present, sums.packets
        ));
    }

    fn node_usage(&self) -> Result<Option<Usage>, String> {
        self.node_pid.map(proc::usage).transpose()
    }

    /// Nobody wants to know any more, or there is nothing left to be known.
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.hosts.is_some_and(|h| h.failure().is_some())
    }

    fn wait(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && !self.is_over() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Something that happens so often a second.
struct Pace {
    per_second: f64,
    began: Instant,
    done: u64,
}

impl Pace {
    fn new(per_second: f64, began: Instant) -> Self {
        Self {
            per_second: per_second.max(0.0),
            began,
            done: 0,
        }
    }

    /// How often it is to happen now.
    fn due(&mut self, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let due = (elapsed * self.per_second) as u64 - self.done;
        self.done += due;
        usize::try_from(due).unwrap_or(usize::MAX)
    }

    /// How long to sleep before looking again.
    fn pause(&self) -> Duration {
        Duration::from_secs_f64((0.5 / self.per_second.max(1.0)).clamp(0.001, 0.02))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_at_their_rate_and_none_is_forgotten() {
        let began = Instant::now();
        let mut pace = Pace::new(2.5, began);
        let counts =
            [0, 399, 400, 1000, 3000].map(|ms| pace.due(began + Duration::from_millis(ms)));
        assert_eq!(counts, [0, 0, 1, 1, 5]);
        assert_eq!(
            Pace::new(0.0, began).due(began + Duration::from_secs(100)),
            0
        );
    }
}
