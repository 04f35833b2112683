//! The thread of all hosts: one socket each, and their frames at their times.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token, Waker};
use showrunner_transport::dtls::Identity;

use crate::frame_log::FrameLog;
use crate::program::Program;
use crate::publisher::{Asked, Publisher};
use crate::sdp::Wish;
use crate::signalling::{Http, Joined};
use crate::socket::{Buffers, ClientSocket};

const WAKE: Token = Token(usize::MAX);

/// How often the clocks of ICE and DTLS are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Hosts on air.
pub struct Hosts {
    http: Http,
    shared: Arc<Shared>,
    waker: Waker,
    thread: JoinHandle<Vec<Publisher>>,
    sessions: Vec<String>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    on_air: AtomicUsize,
    is_silent: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Shared {
    fn fail(&self, failure: String) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
    }
}

impl Hosts {
    /// Puts a host on air in each room; returns when all of them send. When they send which frame
    /// of a layer goes to the log.
    ///
    /// # Errors
    /// What the node or the system refused.
    pub fn start(
        http: Http,
        rooms: &[String],
        program: Program,
        identity: Arc<Identity>,
        log: FrameLog,
        stop: &AtomicBool,
    ) -> Result<Self, String> {
        let failed = |e: io::Error| format!("can't start the hosts: {e}");
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), WAKE).map_err(failed)?;
        let (joins, joined) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let sources = program.sources();
        let host_loop = Loop {
            poll,
            joined,
            program,
            identity: Arc::clone(&identity),
            shared: Arc::clone(&shared),
            publishers: Vec::new(),
            log,
        };
        let thread = thread::Builder::new()
            .name("hosts".into())
            .spawn(|| host_loop.run())
            .map_err(failed)?;
        let mut hosts = Self {
            http,
            shared,
            waker,
            thread,
            sessions: Vec::new(),
        };
        match hosts.go_on_air(rooms, Wish::Publish(&sources), &identity, &joins, stop) {
            Ok(()) => Ok(hosts),
            Err(e) => {
                hosts.end();
                Err(e)
            }
        }
    }

    /// The sessions' URLs.
    pub fn sessions(&self) -> &[String] {
        &self.sessions
    }

    fn go_on_air(
        &mut self,
        rooms: &[String],
        wish: Wish<'_>,
        identity: &Identity,
        joins: &Sender<Joined>,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        for room in rooms {
            let joined = self.http.join(wish, room, identity)?;
            self.sessions.push(joined.url.clone());
            // The thread only ends when it is told to.
            let _ = joins.send(joined);
            let _ = self.waker.wake();
        }
        while self.shared.on_air.load(Ordering::Relaxed) < rooms.len() {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if stop.load(Ordering::Relaxed) {
                return Err("stopped before all hosts were on air".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether one of them hears nothing from its node.
    pub fn is_silent(&self) -> bool {
        self.shared.is_silent.load(Ordering::Relaxed)
    }

    /// Why a host has ended before its time, if one has.
    pub fn failure(&self) -> Option<String> {
        self.shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends all of them; what they were asked for in all.
    pub fn end(self) -> Asked {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        let mut sum = Asked::default();
        for publisher in self.thread.join().unwrap_or_default() {
            self.http.leave(publisher.url());
            let asked = publisher.asked();
            sum.keyframes += asked.keyframes;
            sum.packets += asked.packets;
            sum.resent += asked.resent;
        }
        sum
    }
}

struct Loop {
    poll: Poll,
    joined: Receiver<Joined>,
    program: Program,
    identity: Arc<Identity>,
    shared: Arc<Shared>,
    publishers: Vec<Publisher>,
    log: FrameLog,
}

impl Loop {
    fn run(mut self) -> Vec<Publisher> {
        let mut buffers = Buffers::default();
        let mut events = Events::with_capacity(256);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = self.publishers.iter().filter_map(Publisher::due).min();
            let wait = due.map_or(TICK, |at| at.saturating_duration_since(now).min(TICK));
            if let Err(e) = self.poll.poll(&mut events, Some(wait))
                && e.kind() != io::ErrorKind::Interrupted
            {
                self.shared.fail(format!("can't wait for packets: {e}"));
                break;
            }
            for event in &events {
                if let Some(publisher) = self.publishers.get_mut(event.token().0) {
                    publisher.on_readable(
                        Instant::now(),
                        &mut buffers,
                        &self.identity,
                        &mut self.log,
                    );
                }
            }
            while let Ok(joined) = self.joined.try_recv() {
                match host(
                    joined,
                    &self.program,
                    self.poll.registry(),
                    self.publishers.len(),
                ) {
                    Ok(publisher) => self.publishers.push(publisher),
                    Err(e) => self.shared.fail(e),
                }
            }
            let now = Instant::now();
            for publisher in &mut self.publishers {
                publisher.on_time(now, &mut self.log);
                if let Some(failure) = publisher.failure(now) {
                    self.shared.fail(failure);
                }
            }
            let on_air = self.publishers.iter().filter(|p| p.is_on_air()).count();
            self.shared.on_air.store(on_air, Ordering::Relaxed);
            let is_silent = self.publishers.iter().any(|p| p.is_silent(now));
            self.shared.is_silent.store(is_silent, Ordering::Relaxed);
        }
        self.publishers
    }
}

fn host(
    joined: Joined,
    program: &Program,
    registry: &Registry,
    at: usize,
) -> Result<Publisher, String> {
    let socket = ClientSocket::connect(&joined.answer.candidates, registry, Token(at));
    let socket = socket.map_err(|e| format!("can't open a socket to the node: {e}"))?;
    Publisher::new(joined, socket, program)
}
