//! All viewers: they come and go by HTTP on a few threads, and receive on their shards.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::Waker;
use showrunner_transport::dtls::Identity;

use crate::checker::Depth;
use crate::screen::Screen;
use crate::sdp::Wish;
use crate::shard::{Command, Shard};
use crate::signalling::Http;
use crate::socket::ClientSocket;
use crate::stay::{Moves, Person};
use crate::viewer::Experience;

/// Threads that talk HTTP: enough for hundreds of joins a second, each of some milliseconds.
pub const HTTP_THREADS: usize = 16;

/// The stack of a thread that mostly waits for HTTP.
const STACK: usize = 256 << 10;

/// Of how many viewers one is looked at in full, if only some are.
const SAMPLE: usize = 10;

/// Something to be said to the node by HTTP.
pub enum Job {
    /// A viewer joins.
    Join(Join),
    /// A viewer leaves. Its socket is open until then: packets that find it closed cost the node
    /// errors.
    Leave {
        /// The session.
        url: String,
        /// Its socket.
        socket: Option<ClientSocket>,
    },
    /// A viewer chooses a layer.
    Choose {
        /// The session.
        url: String,
        /// The layer.
        rid: String,
    },
}

/// A viewer to be.
pub struct Join {
    room: String,
    /// The layer that it chooses.
    rid: Option<String>,
    depth: Depth,
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

/// What became of a viewer.
#[derive(Debug)]
pub enum Outcome {
    /// It couldn't join, or go on.
    Refused(String),
    /// It was there, and left or was left.
    Left(Box<Experience>),
    /// The node refused the layer that it chose.
    ChoiceRefused(String),
}

/// Whose packets are looked at in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// Everybody's are opened and looked into.
    All,
    /// One viewer's in ten; of the others, headers and retransmissions.
    Sample,
}

/// How viewers behave.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Rooms, which viewers join in turn.
    pub rooms: Vec<String>,
    /// Layers, which viewers choose in turn; none: what the node gives.
    pub layers: Vec<String>,
    /// Whose packets are looked at in full.
    pub verify: Verify,
    /// They go where they are sent, and come back when their node dies.
    pub stay: bool,
}

/// What those saw who stay.
#[derive(Clone, Debug, Default)]
pub struct Stayed {
    /// Of each, the longest time without a new frame; none: it never saw one.
    pub gaps: Vec<Option<Duration>>,
    /// The longest time that one of them has had no new frame for, now.
    pub still: Option<Duration>,
    /// How many have no picture now.
    pub lost: usize,
    /// Changes to another session.
    pub moves: usize,
    /// Attempts that were refused.
    pub refusals: usize,
}

/// Sums over all shards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// RTP packets received.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Viewers who came up, failed to, or were refused.
    pub settled: usize,
    /// Viewers who are there.
    pub present: usize,
}

/// All viewers.
pub struct Audience {
    habits: Habits,
    shards: Vec<Shard>,
    jobs: Sender<Job>,
    workers: Vec<JoinHandle<()>>,
    outcomes: Receiver<Outcome>,
    shared: Arc<Shared>,
    /// Viewers sent to join so far.
    pub asked: usize,
    switches: usize,
    leaves: usize,
    stayers: Vec<(JoinHandle<()>, Arc<Screen>)>,
    moved: Arc<Moves>,
}

struct Shared {
    http: Http,
    identity: Arc<Identity>,
    jobs: Mutex<Receiver<Job>>,
    refused: AtomicUsize,
    /// Viewers whose offer was posted, and whose shard doesn't know them yet.
    joining: AtomicUsize,
    /// Nobody joins any more.
    closed: Arc<AtomicBool>,
}

impl Audience {
    /// An audience of nobody, with this many threads to receive on.
    ///
    /// # Errors
    /// If the system has no more to give.
    pub fn open(
        http: Http,
        identity: Arc<Identity>,
        habits: Habits,
        threads: usize,
    ) -> io::Result<Self> {
        let (jobs, to_do) = mpsc::channel();
        let (tell, outcomes) = mpsc::channel();
        let shared = Arc::new(Shared {
            http,
            identity: Arc::clone(&identity),
            jobs: Mutex::new(to_do),
            refused: AtomicUsize::new(0),
            joining: AtomicUsize::new(0),
            closed: Arc::default(),
        });
        let shards: io::Result<Vec<Shard>> = (0..threads.max(1))
            .map(|_| Shard::start(Arc::clone(&identity), jobs.clone(), tell.clone()))
            .collect();
        let worker = |_| {
            let (shared, tell) = (Arc::clone(&shared), tell.clone());
            thread::Builder::new()
                .name("http".into())
                .spawn(move || work(&shared, &tell))
        };
        let workers: io::Result<Vec<_>> = (0..HTTP_THREADS).map(worker).collect();
        Ok(Self {
            habits,
            shards: shards?,
            jobs,
            workers: workers?,
            outcomes,
            shared,
            asked: 0,
            switches: 0,
            leaves: 0,
            stayers: Vec::new(),
            moved: Arc::default(),
        })
    }

    /// Sends another viewer to join.
    pub fn join_one(&mut self) {
        let n = self.asked;
        self.asked += 1;
        let rooms = &self.habits.rooms;
        let layers = &self.habits.layers;
        let (commands, waker) = self.shards[n % self.shards.len()].commands();
        let join = Join {
            room: rooms[n % rooms.len()].clone(),
            // Everybody in the room gets a turn, however many rooms there are.
            rid: layers.get(n / rooms.len() % layers.len().max(1)).cloned(),
            depth: match self.habits.verify {
                Verify::Sample if !n.is_multiple_of(SAMPLE) => Depth::Headers,
                _ => Depth::Full,
            },
            commands,
            waker,
        };
        if self.habits.stay {
            self.let_stay(join);
        } else {
            let _ = self.jobs.send(Job::Join(join));
        }
    }

    /// Each on a thread of its own, which mostly waits.
    fn let_stay(&mut self, join: Join) {
        let whose = format!("viewer {} of {}", self.asked, join.room);
        let screen = Arc::new(Screen::new(whose));
        let person = Person {
            room: join.room,
            rid: join.rid,
            depth: join.depth,
            http: self.shared.http.clone(),
            identity: Arc::clone(&self.shared.identity),
            commands: join.commands,
            waker: join.waker,
            screen: Arc::clone(&screen),
            closed: Arc::clone(&self.shared.closed),
            moved: Arc::clone(&self.moved),
        };
        let staying = thread::Builder::new()
            .name("stays".into())
            .stack_size(STACK);
        match staying.spawn(|| person.watch()) {
            Ok(thread) => self.stayers.push((thread, screen)),
            Err(_) => drop(self.shared.refused.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// From now on longest gaps are those from here on.
    pub fn begin_anew(&self) {
        for (_, screen) in &self.stayers {
            screen.reset();
        }
    }

    /// What those who stay saw.
    pub fn stayed(&self) -> Stayed {
        let now = Instant::now();
        let gaps = self
            .stayers
            .iter()
            .map(|(_, screen)| screen.longest_gap(now));
        Stayed {
            gaps: gaps.collect(),
            still: self.stayers.iter().filter_map(|(_, s)| s.still(now)).max(),
            lost: self.asked - self.stayers.iter().filter(|(_, s)| s.is_on(now)).count(),
            moves: self.moved.moves.load(Ordering::Relaxed),
            refusals: self.moved.refusals.load(Ordering::Relaxed),
        }
    }

    /// Sends away the viewer that has been there longest.
    pub fn leave_one(&mut self) {
        self.shards[self.leaves % self.shards.len()].tell(Command::LeaveOne);
        self.leaves += 1;
    }

    /// Makes a viewer choose the next layer.
    pub fn switch_one(&mut self) {
        let (viewers, layers) = (self.shards.len(), &self.habits.layers);
        if let Some(rid) = layers.get(self.switches / viewers % layers.len().max(1)) {
            self.shards[self.switches % viewers].tell(Command::SwitchOne(rid.clone()));
        }
        self.switches += 1;
    }

    /// What was received so far, and who is there.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums {
            settled: self.shared.refused.load(Ordering::Relaxed),
            ..Sums::default()
        };
        for totals in self.shards.iter().map(|s| &s.totals) {
            sums.packets += totals.packets.load(Ordering::Relaxed);
            sums.bytes += totals.bytes.load(Ordering::Relaxed);
            sums.settled += totals.settled.load(Ordering::Relaxed);
            sums.present += totals.present.load(Ordering::Relaxed);
        }
        sums
    }

    /// Everybody leaves, and the node is told of each; what became of all that ever joined.
    pub fn close(self) -> Vec<Outcome> {
        self.shared.closed.store(true, Ordering::SeqCst);
        while self.shared.joining.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(5));
        }
        for (stayer, _) in self.stayers {
            // Its panic was printed.
            let _ = stayer.join();
        }
        for shard in self.shards {
            shard.end();
        }
        drop(self.jobs);
        for worker in self.workers {
            // Its panic was printed; the others have done its work.
            let _ = worker.join();
        }
        self.outcomes.into_iter().collect()
    }
}

/// Does what is to be done, until nobody can have more.
fn work(shared: &Shared, outcomes: &Sender<Outcome>) {
    loop {
        let job = shared
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match job {
            Ok(Job::Join(join)) => {
                // Counted before the look at whether it may: nobody slips in after the last ones.
                shared.joining.fetch_add(1, Ordering::SeqCst);
                if !shared.closed.load(Ordering::SeqCst) {
                    shared.join(join, outcomes);
                }
                shared.joining.fetch_sub(1, Ordering::SeqCst);
            }
            Ok(Job::Leave { url, socket }) => {
                shared.http.leave(&url);
                drop(socket);
            }
            Ok(Job::Choose { url, rid }) => shared.choose(&url, &rid, outcomes),
            Err(_) => return,
        }
    }
}

impl Shared {
    fn join(&self, join: Join, outcomes: &Sender<Outcome>) {
        match self.http.join(Wish::Watch, &join.room, &self.identity) {
            Ok(joined) => {
                let url = joined.url.clone();
                // The shard ends after the last join.
                let _ = join
                    .commands
                    .send(Command::Watch(Box::new(joined), join.depth, None));
                let _ = join.waker.wake();
                if let Some(rid) = join.rid {
                    self.choose(&url, &rid, outcomes);
                }
            }
            Err(refused) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let _ = outcomes.send(Outcome::Refused(refused.into()));
            }
        }
    }

    fn choose(&self, url: &str, rid: &str, outcomes: &Sender<Outcome>) {
        if let Err(refused) = self.http.choose_layer(url, rid) {
            let _ = outcomes.send(Outcome::ChoiceRefused(refused));
        }
    }
}
