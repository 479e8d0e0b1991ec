//! How far a command has come, for a person who waits for it at a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::clock::{Clock, Uptime};

/// How often the line is written again.
const INTERVAL: Duration = Duration::from_millis(200);

/// One line on standard error, if that is a terminal.
pub(super) struct Progress {
    what: &'static str,
    clock: Clock,
    /// When the line was written last; `None`: nothing is written.
    told: Option<Uptime>,
    is_written: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        let clock = Clock::system();
        let told = std::io::stderr().is_terminal().then(|| clock.uptime());
        Self { what, clock, told, is_written: false }
    }

    pub(super) fn tell(&mut self, number: u64) {
        let now = self.clock.uptime();
        if let Some(told) = &mut self.told
            && now.since(*told) >= INTERVAL
        {
            *told = now;
            self.is_written = true;
            let _ = write!(std::io::stderr(), "\r{number} {}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_written {
            let _ = writeln!(std::io::stderr());
        }
    }
}
