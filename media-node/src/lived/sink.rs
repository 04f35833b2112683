//! Where session records go: lines to a file or to standard output, by one thread behind a bounded queue.
//!
//! Nobody waits for it. When the queue is full a record is dropped, and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::record::Record;
use crate::metrics::{self, RecordResult};

/// Records that wait to be written: some megabytes.
const QUEUE: usize = 8192;
/// How often a file is looked after that has nothing to write: whether it was moved.
const LOOK: Duration = Duration::from_secs(5);

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, which is appended to.
    File {
        /// Its path.
        path: PathBuf,
        /// When it has this many bytes it is moved to the same name with `.1`, and a new one begins; none: it grows.
        most: Option<u64>,
    },
}

/// The way in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Records(SyncSender<Message>);

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    records: Records,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Message {
    Record(Box<Record>),
    Reopen,
    End,
}

impl Records {
    /// Has a record written.
    pub fn write(&self, record: Record) {
        match self.0.try_send(Message::Record(Box::new(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                metrics::session_record(RecordResult::Dropped);
            }
        }
    }

    /// Opens the file anew, which was moved by now. A full queue is as good: the thread looks by itself.
    pub fn reopen(&self) {
        let _ = self.0.try_send(Message::Reopen);
    }
}

impl Writer {
    /// Opens the target and starts the thread.
    ///
    /// # Errors
    /// If the file can't be opened, or the thread not started.
    pub fn start(target: Target) -> io::Result<Writer> {
        let mut out = Out::open(target)?;
        let (sender, messages) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("session-records".into())
            .spawn(move || run(&messages, &mut out))?;
        Ok(Writer {
            records: Records(sender),
            thread,
        })
    }

    /// The way in.
    #[must_use]
    pub fn records(&self) -> Records {
        self.records.clone()
    }

    /// Writes what waits, and ends.
    pub fn finish(self) {
        // Waits for a place in a full queue; an error means that the thread has ended.
        let _ = self.records.0.send(Message::End);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the session records has panicked");
        }
    }
}

fn run(messages: &Receiver<Message>, out: &mut Out) {
    loop {
        match messages.recv_timeout(LOOK) {
            Ok(Message::Record(record)) => {
                let Some(line) = record.line() else { continue };
                let written = out.write(&line);
                metrics::session_record(match &written {
                    Ok(()) => RecordResult::Written,
                    Err(_) => RecordResult::Failed,
                });
                if let Err(error) = written {
                    tracing::warn!(%error, "a session record could not be written");
                }
            }
            Ok(Message::Reopen) | Err(RecvTimeoutError::Timeout) => out.look(),
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// An open target.
enum Out {
    Stdout,
    File {
        path: PathBuf,
        most: Option<u64>,
        file: File,
    },
}

impl Out {
    fn open(target: Target) -> io::Result<Out> {
        Ok(match target {
            Target::Stdout => Out::Stdout,
            Target::File { path, most } => Out::File {
                file: append_to(&path)?,
                path,
                most,
            },
        })
    }

    /// Writes a line with one system call, so that a reader never finds half of one.
    fn write(&mut self, line: &str) -> io::Result<()> {
        self.look();
        match self {
            Out::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line.as_bytes())?;
                stdout.flush()
            }
            Out::File { path, most, file } => {
                let length = file.metadata()?.len() + line.len() as u64;
                if most.is_some_and(|most| length > most) {
                    std::fs::rename(&*path, older(path))?;
                    *file = append_to(path)?;
                }
                file.write_all(line.as_bytes())
            }
        }
    }

    /// Opens a file that was moved or removed anew.
    fn look(&mut self) {
        let Out::File { path, file, .. } = self else {
            return;
        };
        if is_there(path, file) {
            return;
        }
        match append_to(path) {
            Ok(opened) => *file = opened,
            // Until it can be, the one that was moved is written to.
            Err(error) => tracing::warn!(%error, "the session records can't be opened anew"),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Whether a path leads to the file that is open.
fn is_there(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(open)) = (path.metadata(), file.metadata()) else {
        return false;
    };
    (there.dev(), there.ino()) == (open.dev(), open.ino())
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is removed with the test.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("records-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("a directory");
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_file_that_is_moved_is_opened_anew() {
        let dir = Dir::new("moved");
        let path = dir.0.join("sessions.jsonl");
        let target = Target::File {
            path: path.clone(),
            most: None,
        };
        let mut out = Out::open(target).expect("a file");
        out.write("a\n").expect("written");
        let moved = dir.0.join("moved");
        std::fs::rename(&path, &moved).expect("moved");
        out.write("b\n").expect("written");
        assert_eq!((read(&moved), read(&path)), ("a\n".into(), "b\n".into()));
    }

    #[test]
    fn a_file_has_a_bound_and_what_was_there_is_kept() {
        let dir = Dir::new("bound");
        let path = dir.0.join("sessions.jsonl");
        std::fs::write(&path, "before\n").expect("written");
        let target = Target::File {
            path: path.clone(),
            most: Some(10),
        };
        let mut out = Out::open(target).expect("a file");
        out.write("a\n").expect("written");
        assert_eq!(read(&path), "before\na\n");
        for line in ["bb\n", "cc\n", "dd\n"] {
            out.write(line).expect("written");
        }
        assert_eq!(read(&path), "bb\ncc\ndd\n");
        assert_eq!(read(&older(&path)), "before\na\n");
        out.write("e\n").expect("written");
        assert_eq!(
            (read(&path), read(&older(&path))),
            ("e\n".into(), "bb\ncc\ndd\n".into())
        );
    }

    #[test]
    fn a_directory_is_no_target() {
        let dir = Dir::new("none");
        let target = Target::File {
            path: dir.0.clone(),
            most: None,
        };
        assert!(Writer::start(target).is_err());
    }
}
