//! A thread of viewers: a socket each, no task each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use showrunner_transport::dtls::Identity;
use slab::Slab;

use crate::audience::{Job, Outcome};
use crate::checker::Depth;
use crate::screen::{Said, Spectator};
use crate::signalling::Joined;
use crate::socket::{Buffers, ClientSocket};
use crate::viewer::Viewer;

const WAKE: Token = Token(usize::MAX);

/// How often the clocks of all viewers are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long packets are left to gather. A thread that waits for its sockets is woken by each
/// datagram, at the sender's cost: the node's, when it runs on the same machine.
const GATHER: Duration = Duration::from_millis(1);

/// What a shard is told to do.
pub enum Command {
    /// Receive what this session brings; of somebody who stays, with who looks at it for them.
    Watch(Box<Joined>, Depth, Option<Box<Spectator>>),
    /// The viewer with this session leaves.
    Leave(String),
    /// The viewer that has been there longest leaves.
    LeaveOne,
    /// Another viewer's turn to choose this layer.
    SwitchOne(String),
    /// All leave, and the shard ends.
    End,
}

/// Counts of a shard.
#[derive(Debug, Default)]
pub struct Totals {
    /// RTP packets received.
    pub packets: AtomicU64,
    /// Bytes in them.
    pub bytes: AtomicU64,
    /// Viewers who came up or failed to.
    pub settled: AtomicUsize,
    /// Viewers who are there.
    pub present: AtomicUsize,
}

/// A running shard.
pub struct Shard {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    /// Its counts.
    pub totals: Arc<Totals>,
    thread: JoinHandle<()>,
}

impl Shard {
    /// Starts a shard that has sessions ended by `jobs` and tells of them to `outcomes`.
    ///
    /// # Errors
    /// If the system has no more to give.
    pub fn start(
        identity: Arc<Identity>,
        jobs: Sender<Job>,
        outcomes: Sender<Outcome>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (commands, commanded) = mpsc::channel();
        let totals = Arc::new(Totals::default());
        let shard_loop = Loop {
            poll,
            commands: commanded,
            identity,
            totals: Arc::clone(&totals),
            jobs,
            outcomes,
            viewers: Slab::new(),
            cursor: 0,
        };
        let thread = thread::Builder::new()
            .name("viewers".into())
            .spawn(|| shard_loop.run())?;
        Ok(Self {
            commands,
            waker,
            totals,
            thread,
        })
    }

    /// Where to send commands, each followed by a wake.
    pub fn commands(&self) -> (Sender<Command>, Arc<Waker>) {
        (self.commands.clone(), Arc::clone(&self.waker))
    }

    /// Tells it something.
    pub fn tell(&self, command: Command) {
        // It only ends when it is told to.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }

    /// Ends it, with all of its viewers.
    pub fn end(self) {
        self.tell(Command::End);
        // Its panic was printed, and its viewers are missing in the report.
        let _ = self.thread.join();
    }
}

struct Loop {
    poll: Poll,
    commands: Receiver<Command>,
    identity: Arc<Identity>,
    totals: Arc<Totals>,
    jobs: Sender<Job>,
    outcomes: Sender<Outcome>,
    viewers: Slab<Viewer>,
    /// Whose turn it is to switch.
    cursor: usize,
}

impl Loop {
    fn run(mut self) {
        let mut buffers = Buffers::default();
        let mut events = Events::with_capacity(1024);
        let mut next_tick = Instant::now();
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            if let Err(e) = self.poll.poll(&mut events, Some(wait))
                && e.kind() != io::ErrorKind::Interrupted
            {
                let _ = self
                    .outcomes
                    .send(Outcome::Refused(format!("can't wait for packets: {e}")));
                return;
            }
            for event in &events {
                if event.token() != WAKE {
                    self.receive(event.token().0, &mut buffers);
                }
            }
            while let Ok(command) = self.commands.try_recv() {
                if matches!(command, Command::End) {
                    return self.end();
                }
                self.obey(command);
            }
            let now = Instant::now();
            if next_tick <= now {
                next_tick = now + TICK;
                self.on_tick(now);
            }
            thread::sleep(GATHER);
        }
    }

    fn receive(&mut self, at: usize, buffers: &mut Buffers) {
        let Some(viewer) = self.viewers.get_mut(at) else {
            return; // it left while its packets waited
        };
        let (packets, bytes) = viewer.received();
        let was_connected = viewer.is_connected();
        viewer.on_readable(Instant::now(), buffers, &self.identity);
        let received = viewer.received();
        self.totals
            .packets
            .fetch_add(received.0 - packets, Ordering::Relaxed);
        self.totals
            .bytes
            .fetch_add(received.1 - bytes, Ordering::Relaxed);
        if !was_connected && viewer.is_connected() {
            self.totals.settled.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn on_tick(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (at, viewer) in &mut self.viewers {
            viewer.on_time(now);
            if viewer.is_over(now) {
                over.push(at);
            }
        }
        for at in over {
            self.remove(at, now);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Watch(joined, depth, spectator) => {
                self.add(now, *joined, depth, spectator);
            }
            Command::Leave(url) => {
                let found = self.viewers.iter().find(|(_, v)| v.url() == url);
                if let Some(at) = found.map(|(at, _)| at) {
                    self.remove(at, now);
                }
            }
            Command::LeaveOne => {
                let oldest = self
                    .viewers
                    .iter()
                    .min_by_key(|(_, v)| v.since())
                    .map(|(at, _)| at);
                if let Some(at) = oldest {
                    self.remove(at, now);
                }
            }
            Command::SwitchOne(rid) => {
                let next = self
                    .viewers
                    .iter()
                    .map(|(at, _)| at)
                    .find(|at| *at > self.cursor);
                let first = self.viewers.iter().map(|(at, _)| at).next();
                if let Some(at) = next.or(first) {
                    self.cursor = at;
                    let url = self.viewers[at].url().to_owned();
                    let _ = self.jobs.send(Job::Choose { url, rid });
                }
            }
            Command::End => {}
        }
    }

    fn add(
        &mut self,
        now: Instant,
        joined: Joined,
        depth: Depth,
        spectator: Option<Box<Spectator>>,
    ) {
        let entry = self.viewers.vacant_entry();
        let token = Token(entry.key());
        match ClientSocket::connect(&joined.answer.candidates, self.poll.registry(), token) {
            Ok(socket) => {
                let viewer = entry.insert(Viewer::new(joined, socket, depth, spectator));
                viewer.on_time(now);
                self.totals.present.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) => {
                if let Some(spectator) = spectator {
                    spectator.say(Said::Over);
                }
                let refused = format!("can't open a socket to the node: {e}");
                let _ = self.outcomes.send(Outcome::Refused(refused));
                let _ = self.jobs.send(Job::Leave {
                    url: joined.url,
                    socket: None,
                });
                self.totals.settled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn remove(&mut self, at: usize, now: Instant) {
        let Some(viewer) = self.viewers.try_remove(at) else {
            return;
        };
        if !viewer.is_connected() {
            self.totals.settled.fetch_add(1, Ordering::Relaxed);
        }
        self.totals.present.fetch_sub(1, Ordering::Relaxed);
        let (url, mut socket, experience) = viewer.leave(now);
        socket.deregister(self.poll.registry());
        let _ = self.outcomes.send(Outcome::Left(Box::new(experience)));
        let _ = self.jobs.send(Job::Leave {
            url,
            socket: Some(socket),
        });
    }

    fn end(mut self) {
        let now = Instant::now();
        let all: Vec<usize> = self.viewers.iter().map(|(at, _)| at).collect();
        for at in all {
            self.remove(at, now);
        }
    }
}
