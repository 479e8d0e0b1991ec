//! Where the audit is written: standard output, or a file of its own. Like the log it waits for no
//! reader and no disk: lines without room are dropped and counted.
//!
//! What it must not know: what a line says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use tracing::warn;

use super::log_queue::{LogQueue, Purpose};
use crate::clock::Clock;
use crate::grpc::audit::Audit;
use crate::metrics::AUDIT_DROPPED;

/// The words for no audit and for standard output; everything else is a path.
pub const OFF: &str = "off";
pub const STDOUT: &str = "stdout";

/// The audit of a process that serves; cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    queue: LogQueue,
    reopen: Arc<AtomicBool>,
    audit: Audit,
}

const PURPOSE: Purpose = Purpose {
    thread: "audit-writer",
    dropped: &AUDIT_DROPPED,
    tell: |lines| warn!(lines, "lines of the audit were dropped: it could not be written"),
    sums_up: false,
};

impl AuditLog {
    /// `to`: [`OFF`], [`STDOUT`] or the path of a file, to which lines are added.
    pub fn open(to: &str, clock: Clock) -> io::Result<Option<Self>> {
        let reopen = Arc::new(AtomicBool::new(false));
        let queue = match to {
            OFF => return Ok(None),
            STDOUT => LogQueue::start(StandardOutput, &PURPOSE),
            path => {
                let file = AuditFile::open(Path::new(path), Arc::clone(&reopen))?;
                LogQueue::start(file, &PURPOSE)
            }
        };
        let lines = queue.clone();
        let audit = Audit::new(clock, move |line| lines.push(line));
        Ok(Some(Self { queue, reopen, audit }))
    }

    /// What writes lines to it.
    pub fn audit(&self) -> Audit {
        self.audit.clone()
    }

    /// Tells what was held back. To be called every [`crate::log_limit::INTERVAL`].
    pub fn sum_up(&self) {
        self.audit.sum_up();
    }

    /// Before the next line the file is opened by its name again: a tool has moved it.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Waits until all lines are written or cannot be, for a limited time.
    pub fn finish(&self) {
        self.sum_up();
        self.queue.finish();
    }
}

/// A file that may be moved away.
struct AuditFile {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
    /// The last line is whole. The rest of another one belongs into the same file.
    at_line_end: bool,
}

impl AuditFile {
    fn open(path: &Path, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        let file = open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), file, reopen, at_line_end: true })
    }
}

/// Only its owner may read who called. Nothing is waited for: to open a pipe without a reader would
/// take until it has one.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match fs::metadata(path) {
        Ok(found) if found.file_type().is_fifo() => {
            io::Error::new(error.kind(), "it is a pipe, and no program reads it")
        }
        Ok(_) | Err(_) => error,
    })?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_fifo() || kind.is_char_device() {
        return Ok(file);
    }
    Err(io::Error::other("it is no file, no pipe and no character device"))
}

impl Write for AuditFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at_line_end && self.reopen.swap(false, Ordering::Relaxed) {
            match open(&self.path) {
                Ok(file) => self.file = file,
                // The lines go on where they went.
                Err(error) => {
                    let path = self.path.display();
                    warn!(%path, %error, "cannot open the audit's file again: the old one goes on");
                }
            }
        }
        let written = self.file.write(bytes)?;
        if let Some(last) = bytes.get(..written).and_then(<[u8]>::last) {
            self.at_line_end = *last == b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output without the lock and the buffer of the standard library.
struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_is_opened_anew_between_two_lines() {
        let dir = tempfile::TempDir::new().unwrap();
        let (path, moved) = (dir.path().join("audit"), dir.path().join("audit.1"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut file = AuditFile::open(&path, Arc::clone(&reopen)).unwrap();
        file.write_all(b"one\ntw").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        reopen.store(true, Ordering::Relaxed);
        file.write_all(b"o\n").unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        // A folder that is gone does not end the audit.
        reopen.store(true, Ordering::Relaxed);
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(&path).unwrap();
        file.write_all(b"four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "three\nfour\n");
    }
}
