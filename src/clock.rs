//! Time, as the gateway reads it. Floor 0: nothing here knows what the time is used for.
//!
//! Two clocks for two questions. `now` is the time of day, which is written into records and
//! compared across restarts. It is read from the machine once, when the process starts, and then
//! runs with `uptime`, so that it cannot jump while the process lives; a change of the machine's
//! clock shows at the next start. `uptime` never jumps, and runs on while the machine is suspended.
//! It answers how long ago this process decided to send, the question on which money depends.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time of day: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Stops at the ends of time instead of wrapping.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration_ms(duration)))
    }

    /// Stops at the ends of time instead of wrapping.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration_ms(duration)))
    }

    /// How long after the Unix epoch it is.
    pub fn since_epoch(self) -> Duration {
        self.since(Timestamp(0))
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
    /// Stops at the end of time instead of wrapping.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

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
    /// The machine's time of day and uptime when this clock was made.
    System { start: Timestamp, origin: Uptime },
    /// Runs with the runtime's timer, so that a test that pauses or advances the runtime's time
    /// moves this clock too. `jump_ms` displaces the time of day only.
    /// `drift_ppm`: how many microseconds more than a second it counts per second.
    Runtime { start: Timestamp, origin: tokio::time::Instant, jump_ms: AtomicI64, drift_ppm: i32 },
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Arc::new(Source::System { start: time_of_day(), origin: boot_time() }))
    }

    /// How far the machine's time of day has moved from this clock's since the start, in
    /// milliseconds. More than a little means that it was set.
    pub fn machine_moved_ms(&self) -> i64 {
        match &*self.0 {
            Source::System { .. } => time_of_day().0.saturating_sub(self.now().0),
            Source::Runtime { .. } => 0,
        }
    }

    /// The machine's time of day, read anew: for what another machine compares with its own.
    pub fn time_of_day(&self) -> Timestamp {
        match &*self.0 {
            Source::System { .. } => time_of_day(),
            Source::Runtime { .. } => self.now(),
        }
    }

    /// A clock that starts at `start` and runs with the runtime's timer (tests, simulation).
    pub fn runtime(start: Timestamp) -> Self {
        Self::drifting(start, 0)
    }

    /// The same, but it runs this many millionths too fast (or too slow, if negative).
    pub fn drifting(start: Timestamp, drift_ppm: i32) -> Self {
        let (origin, jump_ms) = (tokio::time::Instant::now(), AtomicI64::new(0));
        Self(Arc::new(Source::Runtime { start, origin, jump_ms, drift_ppm }))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { start, origin } => start.plus(boot_time().since(*origin)),
            Source::Runtime { start, origin, jump_ms, drift_ppm } => {
                let now = start.plus(drifted(origin.elapsed(), *drift_ppm));
                Timestamp(now.0.saturating_add(jump_ms.load(Ordering::Relaxed)))
            }
        }
    }

    /// The clock that never jumps and runs through suspend (`CLOCK_BOOTTIME`).
    pub fn uptime(&self) -> Uptime {
        match &*self.0 {
            Source::System { .. } => boot_time(),
            Source::Runtime { origin, drift_ppm, .. } => {
                Uptime(drifted(origin.elapsed(), *drift_ppm))
            }
        }
    }

    /// Moves the time of day of a runtime clock by `ms`, as between two starts of a process. A
    /// system clock ignores it.
    pub fn jump_ms(&self, ms: i64) {
        match &*self.0 {
            Source::System { .. } => {}
            Source::Runtime { jump_ms, .. } => {
                jump_ms.fetch_add(ms, Ordering::Relaxed);
            }
        }
    }
}

/// Waits for a moment of the runtime's timer; without one, for ever.
pub async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A duration as a drifting clock measures it.
fn drifted(elapsed: Duration, drift_ppm: i32) -> Duration {
    let drift = elapsed / 1_000_000 * drift_ppm.unsigned_abs();
    if drift_ppm < 0 { elapsed.saturating_sub(drift) } else { elapsed + drift }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn time_of_day() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since_epoch) => Timestamp(duration_ms(since_epoch)),
        Err(before_epoch) => Timestamp(-duration_ms(before_epoch.duration())),
    }
}

/// The machine's time of day for a line of the log: seconds since 1970, and nanoseconds.
pub(crate) fn time_of_a_line() -> (i64, i64) {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (time.tv_sec, time.tv_nsec)
}

fn boot_time() -> Uptime {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Uptime(Duration::new(secs, nanos))
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
    async fn a_clock_drifts_by_what_it_is_told() {
        for (drift_ppm, ms) in [(200, 10_002), (-200, 9_998), (0, 10_000)] {
            let clock = Clock::drifting(Timestamp::from_ms(0), drift_ppm);
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(clock.now(), Timestamp::from_ms(ms));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_moves_the_time_of_day_and_not_the_uptime() {
        let clock = Clock::runtime(Timestamp::from_ms(1_000));
        let up = clock.uptime();
        clock.jump_ms(-500);
        tokio::time::advance(Duration::from_millis(20)).await;
        assert_eq!(clock.now(), Timestamp::from_ms(520));
        assert_eq!(clock.uptime().since(up), Duration::from_millis(20));
    }
}
