//! Viewers and hosts who stay whatever happens, as pages do: they go where a node sends them, and find the next one when
//! theirs dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;
use showrunner_transport::dtls::Identity;

use crate::checker::Depth;
use crate::frame_log::FrameLog;
use crate::hosts::Hosts;
use crate::program::Program;
use crate::report::say;
use crate::screen::{Said, Screen, Spectator};
use crate::sdp::Wish;
use crate::shard::Command;
use crate::signalling::{Http, There};

/// How long a session that was made may take to show something.
const START: Duration = Duration::from_secs(10);
/// How long it takes to notice that everybody is to leave.
const LOOK: Duration = Duration::from_millis(200);
/// Between two attempts, at first and at most; half of it is random.
const RETRY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(5);
/// Event streams wait for their node: they need little.
const STACK: usize = 192 << 10;

/// One who stays.
pub struct Person {
    /// Which room.
    pub room: String,
    /// The layer to choose.
    pub rid: Option<String>,
    /// How closely packets are looked at.
    pub depth: Depth,
    /// How to talk to the node.
    pub http: Http,
    /// Who it is to DTLS.
    pub identity: Arc<Identity>,
    /// Of the shard that receives for it.
    pub commands: Sender<Command>,
    /// Wakes that shard.
    pub waker: Arc<Waker>,
    /// What it sees.
    pub screen: Arc<Screen>,
    /// Everybody leaves.
    pub closed: Arc<AtomicBool>,
    /// What all of them do.
    pub moved: Arc<Moves>,
}

/// What those who stay did.
#[derive(Debug, Default)]
pub struct Moves {
    /// Moves to another session.
    pub moves: AtomicUsize,
    /// Attempts that were refused.
    pub refusals: AtomicUsize,
}

/// A session that plays.
struct Playing {
    url: String,
    number: u32,
}

impl Person {
    /// Watches until everybody leaves.
    pub fn watch(self) {
        let (tell, said) = mpsc::channel();
        let mut current: Option<Playing> = None;
        let mut retry = Retry::default();
        for number in 1u32.. {
            let Some(next) = self.join(number, &tell, &said, &mut retry) else {
                break;
            };
            if let Some(old) = current.replace(next) {
                self.command(Command::Leave(old.url));
                self.moved.moves.fetch_add(1, Ordering::Relaxed);
            }
            let Some(playing) = &current else { break };
            if !self.stay(playing, &said) {
                break;
            }
        }
    }

    /// Makes a session and waits for its picture; tries until it works. None once everybody leaves.
    fn join(
        &self,
        number: u32,
        tell: &Sender<(u32, Said)>,
        said: &Receiver<(u32, Said)>,
        retry: &mut Retry,
    ) -> Option<Playing> {
        loop {
            if self.closed.load(Ordering::SeqCst) {
                return None;
            }
            match self.http.join(Wish::Watch, &self.room, &self.identity) {
                Ok(joined) => {
                    let url = joined.url.clone();
                    let spectator = Spectator::new(number, tell.clone(), Arc::clone(&self.screen));
                    self.command(Command::Watch(
                        Box::new(joined),
                        self.depth,
                        Some(Box::new(spectator)),
                    ));
                    if let Some(rid) = &self.rid {
                        // One that is not on air yet is as good as none.
                        let _ = self.http.choose_layer(&url, rid);
                    }
                    if self.plays(number, said) {
                        self.listen(&url, number, tell);
                        retry.reset();
                        return Some(Playing { url, number });
                    }
                    self.command(Command::Leave(url));
                }
                Err(refused) => {
                    self.moved.refusals.fetch_add(1, Ordering::Relaxed);
                    retry.rest(refused.retry_after);
                    continue;
                }
            }
            retry.rest(None);
        }
    }

    /// Whether a new session has a picture before long.
    fn plays(&self, number: u32, said: &Receiver<(u32, Said)>) -> bool {
        let until = Instant::now() + START;
        while Instant::now() < until && !self.closed.load(Ordering::SeqCst) {
            match said.recv_timeout(LOOK) {
                Ok((of, Said::Plays)) if of == number => return true,
                Ok((of, Said::Over)) if of == number => return false,
                // What is left is as it may be.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    /// Watches until another session is due. False once everybody leaves.
    fn stay(&self, playing: &Playing, said: &Receiver<(u32, Said)>) -> bool {
        loop {
            match said.recv_timeout(LOOK) {
                Ok((of, said)) if of == playing.number => match said {
                    Said::Plays => {}
                    Said::Told | Said::Over => return true,
                    Said::Silent | Said::Broken => {
                        if self.http.ask(&playing.url) != There::Yes {
                            return true;
                        }
                    }
                },
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            if self.closed.load(Ordering::SeqCst) {
                return false;
            }
        }
    }

    /// Follows the session's events on a thread of their own, which ends with the session.
    fn listen(&self, session: &str, number: u32, tell: &Sender<(u32, Said)>) {
        follow(&self.http, session, {
            let tell = tell.clone();
            move |said| tell.send((number, said)).is_ok()
        });
    }

    fn command(&self, command: Command) {
        // The shard ends after everybody has left.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

/// Tells of `reconnect` and of the end of a session's event stream, until nobody wants to know.
pub fn follow(http: &Http, session: &str, tell: impl Fn(Said) -> bool + Send + 'static) {
    let (http, session) = (http.clone(), session.to_owned());
    let listening = thread::Builder::new()
        .name("events".into())
        .stack_size(STACK);
    // Without a thread nobody is told, as with a player that knows no events.
    let _ = listening.spawn(move || {
        let mut retry = Retry::default();
        while let Some(events) = http.events(&session, "[\"reconnect\"]") {
            for event in events {
                if event == "event: reconnect" && !tell(Said::Told) {
                    return;
                }
            }
            if !tell(Said::Broken) || http.ask(&session) == There::No {
                return;
            }
            retry.rest(None);
        }
    });
}

/// Who goes on elsewhere sends here for so long, for viewers who have not gone yet.
const OVERLAP: Duration = Duration::from_secs(15);

/// Puts a host on air in each room, who stays until `stop` is set.
///
/// # Errors
/// If one can't go on air at first.
pub fn host(
    http: Http,
    rooms: &[String],
    program: &Program,
    identity: &Arc<Identity>,
    stop: &AtomicBool,
) -> Result<(), String> {
    let start = |room: &String| {
        let (program, log) = (program.clone(), FrameLog::default());
        let rooms = std::slice::from_ref(room);
        Hosts::start(
            http.clone(),
            rooms,
            program,
            Arc::clone(identity),
            log,
            stop,
        )
    };
    let (tell, said) = mpsc::channel();
    let listen = |hosts: &Hosts, at: usize, number: u32| {
        let tell = tell.clone();
        for session in hosts.sessions() {
            let tell = tell.clone();
            follow(&http, session, move |said| {
                tell.send((at, number, said)).is_ok()
            });
        }
    };
    let mut on_air: Vec<(Hosts, u32)> = Vec::new();
    for (at, room) in rooms.iter().enumerate() {
        let hosts = start(room)?;
        listen(&hosts, at, 0);
        on_air.push((hosts, 0));
    }
    say(format_args!("on air: {}", rooms.join(", ")));
    let mut retiring: Vec<(Hosts, Instant)> = Vec::new();
    let mut retry = Retry::default();
    while !stop.load(Ordering::Relaxed) {
        let (over, left): (Vec<_>, _) = retiring
            .into_iter()
            .partition(|(_, until)| *until <= Instant::now());
        retiring = left;
        for (hosts, _) in over {
            // One on a node that hangs takes its time.
            let _ = thread::Builder::new().spawn(|| hosts.end());
        }
        let is_there = |hosts: &Hosts| {
            let sessions = hosts.sessions();
            sessions.iter().all(|url| http.ask(url) == There::Yes)
        };
        let is_lost =
            |hosts: &Hosts| hosts.failure().is_some() || (hosts.is_silent() && !is_there(hosts));
        let lost = on_air.iter().position(|(hosts, _)| is_lost(hosts));
        let due = match said.recv_timeout(LOOK) {
            Ok((at, number, said)) if on_air[at].1 == number => match said {
                Said::Told | Said::Over => Some(at),
                Said::Broken | Said::Silent => (!is_there(&on_air[at].0)).then_some(at),
                Said::Plays => None,
            },
            Ok(_) | Err(_) => lost,
        };
        let Some(at) = due else { continue };
        while !stop.load(Ordering::Relaxed) {
            match start(&rooms[at]) {
                Ok(hosts) => {
                    let number = on_air[at].1 + 1;
                    listen(&hosts, at, number);
                    let (old, _) = std::mem::replace(&mut on_air[at], (hosts, number));
                    retiring.push((old, Instant::now() + OVERLAP));
                    retry.reset();
                    break;
                }
                Err(_) => retry.rest(None),
            }
        }
    }
    let retired = retiring.into_iter().map(|(hosts, _)| hosts);
    for hosts in on_air.into_iter().map(|(hosts, _)| hosts).chain(retired) {
        hosts.end();
    }
    Ok(())
}

/// Waits between attempts.
#[derive(Debug, Default)]
struct Retry {
    attempt: u32,
}

impl Retry {
    fn reset(&mut self) {
        self.attempt = 0;
    }

    fn rest(&mut self, at_least: Option<Duration>) {
        let ceiling = RETRY
            .start()
            .saturating_mul(1 << self.attempt.min(10))
            .min(*RETRY.end());
        self.attempt += 1;
        let half = ceiling / 2;
        let least = at_least.map_or(half, |least| least.max(half));
        thread::sleep(least + half.mul_f64(share()));
    }
}

/// A random share.
fn share() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0);
    (random >> 11) as f64 / (1u64 << 53) as f64
}
