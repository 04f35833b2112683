//! Which frame of a layer was sent when. Frames that show their number tell a viewer what it sees,
//! and with this how old it is.

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::Path;
use std::time::Duration;

/// A log, or by default none.
#[derive(Debug, Default)]
pub struct FrameLog(Option<LineWriter<File>>);

impl FrameLog {
    /// A log in this file.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Some(LineWriter::new(File::create(path)?))))
    }

    /// A frame of a layer was sent at this time since 1970.
    pub(crate) fn add(&mut self, rid: &str, frame: usize, unix: Duration) {
        if let Some(log) = &mut self.0 {
            // A full disk spoils the log, not the broadcast.
            let _ = writeln!(log, "{rid},{frame},{:.3}", unix.as_secs_f64() * 1e3);
        }
    }
}
