//! Time, as the gateway reads it. Floor 0: nothing here knows what the time is used for.
//!
//! Two clocks, because they answer different questions. `now` is the wall clock: it is written into
//! records, compared across restarts and may jump. `uptime` never jumps and keeps running while the
//! machine is suspended: it answers "how long ago did this process decide to send?", the question
//! on which money depends.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment of the wall clock: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Saturates at the ends of time instead of wrapping.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration_ms(duration)))
    }

    /// Saturates at the ends of time instead of wrapping.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration_ms(duration)))
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let ms = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

/// Milliseconds of a duration, for storage; saturates.
pub fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A moment of the clock that never jumps; comparable only within one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Uptime(Duration);

impl Uptime {
    /// How long after `earlier` this moment is; zero if it is not after it.
    pub fn since(self, earlier: Uptime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where the gateway gets the time from. Cheap to clone; clones share one source.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    /// Runs with the runtime's timer, so that a test that pauses or advances the runtime's time
    /// moves this clock too. `jump_ms` displaces the wall clock only.
    Runtime {
        start: Timestamp,
        origin: tokio::time::Instant,
        jump_ms: AtomicI64,
    },
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A clock that starts at `start` and runs with the runtime's timer (tests, simulation).
    pub fn runtime(start: Timestamp) -> Self {
        Self(Arc::new(Source::Runtime {
            start,
            origin: tokio::time::Instant::now(),
            jump_ms: AtomicI64::new(0),
        }))
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Source::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since_epoch) => Timestamp(duration_ms(since_epoch)),
                Err(before_epoch) => Timestamp(-duration_ms(before_epoch.duration())),
            },
            Source::Runtime { start, origin, jump_ms } => {
                let now = start.plus(origin.elapsed());
                Timestamp(now.0.saturating_add(jump_ms.load(Ordering::Relaxed)))
            }
        }
    }

    /// The clock that never jumps and runs through suspend (`CLOCK_BOOTTIME`).
    pub fn uptime(&self) -> Uptime {
        match &*self.0 {
            Source::System => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let secs = u64::try_from(time.tv_sec).unwrap_or(0);
                let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
                Uptime(Duration::new(secs, nanos))
            }
            Source::Runtime { origin, .. } => Uptime(origin.elapsed()),
        }
    }

    /// Moves the wall clock of a runtime clock by `ms`, as an operator or NTP would; the machine's
    /// own clock does not listen.
    pub fn jump_ms(&self, ms: i64) {
        match &*self.0 {
            Source::System => {}
            Source::Runtime { jump_ms, .. } => {
                jump_ms.fetch_add(ms, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_saturate_instead_of_wrapping() {
        let end = Timestamp::from_ms(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        let begin = Timestamp::from_ms(i64::MIN);
        assert_eq!(begin.minus(Duration::from_secs(1)), begin);
        assert_eq!(begin.since(end), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_moves_the_wall_clock_and_not_the_uptime() {
        let clock = Clock::runtime(Timestamp::from_ms(1_000));
        let up = clock.uptime();
        clock.jump_ms(-500);
        tokio::time::advance(Duration::from_millis(20)).await;
        assert_eq!(clock.now(), Timestamp::from_ms(520));
        assert_eq!(clock.uptime().since(up), Duration::from_millis(20));
    }
}
