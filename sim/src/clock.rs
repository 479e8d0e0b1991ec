//! The simulator's clock: real time, plus how far tests and curious users have moved it ahead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The clock cannot be moved further ahead than this: a hundred years.
pub(super) const AHEAD_MAX: Duration = Duration::from_hours(100 * 366 * 24);

/// Unix time that a test can move, and that follows tokio's clock where that is paused.
#[derive(Debug)]
pub(super) struct Clock {
    started_unix_ms: u64,
    started: Instant,
    ahead_ms: AtomicU64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the double keeps its own time")]
    pub(super) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_unix_ms: whole_ms(unix),
            started: Instant::now(),
            ahead_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.started_unix_ms
            + whole_ms(self.started.elapsed())
            + self.ahead_ms.load(Ordering::Relaxed)
    }

    /// How far it has been moved ahead, in milliseconds.
    pub(super) fn ahead_ms(&self) -> u64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Moves it ahead, in total at most [`AHEAD_MAX`].
    pub(super) fn advance(&self, by: Duration) {
        let later = |ahead_ms: u64| ahead_ms.saturating_add(whole_ms(by)).min(whole_ms(AHEAD_MAX));
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.ahead_ms.fetch_update(set, fetch, |ahead_ms| Some(later(ahead_ms))).ok();
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
