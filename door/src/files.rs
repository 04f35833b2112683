//! What somebody else keeps in files and may change at any time: certificates, keys.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

/// How often the files are looked at. Those of a Secret follow it within a minute or two anyway.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Whatever makes the contents of files useless.
pub type BoxError = Box<dyn Error + Send + Sync>;

type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, BoxError> + Send + Sync>;

/// A value made of files' contents, and made again when they change. Cheap to clone.
pub struct Files<T>(Arc<Watched<T>>);

/// Files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One can't be read.
    #[error("{0} can't be read: {1}")]
    Unreadable(String, io::Error),
    /// They don't contain what they should.
    #[error("{0} can't be used: {1}")]
    Unusable(String, BoxError),
}

struct Watched<T> {
    paths: Vec<PathBuf>,
    parse: Parse<T>,
    /// What the last look found, good or bad: only news is worth a line in the log.
    seen: Mutex<Result<Vec<Vec<u8>>, String>>,
    value: RwLock<Arc<T>>,
}

impl<T: Send + Sync + 'static> Files<T> {
    /// Reads the files, and keeps looking after them until the value is dropped. `parse` gets their contents in the
    /// order of the paths.
    ///
    /// # Errors
    /// If they can't be used now. Later they may be: then the last good value stays.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn watch(
        paths: &[&Path],
        parse: impl Fn(&[Vec<u8>]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Result<Files<T>, FilesError> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
        let contents = read_all(&paths)?;
        let value = parse(&contents).map_err(|e| FilesError::Unusable(names(&paths), e))?;
        let watched = Arc::new(Watched {
            paths,
            parse: Box::new(parse),
            seen: Mutex::new(Ok(contents)),
            value: RwLock::new(Arc::new(value)),
        });
        tokio::spawn(look_after(Arc::downgrade(&watched)));
        Ok(Files(watched))
    }

    /// The last good value.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files now rather than within some seconds.
    pub fn look(&self) {
        self.0.look();
    }
}

impl<T> Watched<T> {
    /// Files may be replaced one after the other: those that don't fit each other yet will the next time.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = read_all(&self.paths).map_err(|error| error.to_string());
        if *seen == found {
            return;
        }
        let value = match &found {
            Ok(contents) => (self.parse)(contents).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        *seen = found;
        let files = names(&self.paths);
        match value {
            Ok(value) => {
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                tracing::info!("{files} changed and is in use");
            }
            Err(error) => tracing::warn!("{files} changed, the last good one stays: {error}"),
        }
    }
}

async fn look_after<T>(watched: Weak<Watched<T>>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let Some(watched) = watched.upgrade() else {
            return;
        };
        watched.look();
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FilesError> {
    let unreadable = |path: &PathBuf, e| FilesError::Unreadable(path.display().to_string(), e);
    let read = |path: &PathBuf| read(path).map_err(|e| unreadable(path, e));
    paths.iter().map(read).collect()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!(
            "it has more than {MAX_FILE} bytes"
        )));
    }
    Ok(bytes)
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(" with ")
}

impl<T> Clone for Files<T> {
    fn clone(&self) -> Files<T> {
        Files(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Files<T> {
    /// Without what is in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.0.paths).finish()
    }
}
