//! How many lines one place in the code may log, so that no peer can fill the disk with them. Floor
//! 0: nothing here knows what a line says, or where it goes.
//!
//! Each place has a limit per interval, or one for each of those who cause its lines. Further lines
//! are held back and counted, and one line at the end of the interval tells how many. [`sum_up`]
//! ends the intervals; this module reads no clock, so that a limit costs one addition. Without a
//! log (simulation) nothing is held back. Lines of level ERROR are counted: each wants a person.

mod each;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::{Level, debug, info, warn};

pub(crate) use each::{Each, HeldBack};

use crate::metrics::{LOG_ERRORS, LOG_HELD_BACK};

/// How often [`sum_up`] is to be called.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// Who can cause a line as often as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Any peer that reaches a port. Its lines are worth little.
    Stranger,
    /// A caller, Douyin, the disk. Each of its lines names a settle that an operator may look for,
    /// so many are kept.
    Peer,
}

impl Cause {
    /// Lines of one place in one interval, or of one who causes them.
    pub(crate) const fn lines_max(self) -> u64 {
        match self {
            Cause::Stranger => 10,
            Cause::Peer => 200,
        }
    }

    /// How many have a limit of their own: all callers that can be configured; of strangers fewer,
    /// because they can come from any number of addresses.
    pub(crate) const fn causers_max(self) -> usize {
        match self {
            Cause::Stranger => 64,
            Cause::Peer => 256,
        }
    }
}

/// The limit of one place in the code.
pub(crate) struct LogLimit {
    level: Level,
    target: &'static str,
    line: &'static str,
    lines_max: u64,
    /// Lines in this interval, those held back included.
    lines: AtomicU64,
    /// The same for those that are told apart.
    each: Each,
    /// Whether the place is in [`PLACES`].
    listed: AtomicBool,
}

/// Every place that has logged. There are only as many as the code has.
static PLACES: Mutex<Vec<&LogLimit>> = Mutex::new(Vec::new());
static SUMMED_UP: AtomicBool = AtomicBool::new(false);

impl LogLimit {
    /// Of the place in `target` that logs `line` at `level`.
    pub(crate) const fn new(
        cause: Cause,
        level: Level,
        target: &'static str,
        line: &'static str,
    ) -> Self {
        let (lines, listed) = (AtomicU64::new(0), AtomicBool::new(false));
        let lines_max = cause.lines_max();
        Self { level, target, line, lines_max, lines, each: Each::new(cause), listed }
    }

    /// Whether one more line may be logged in this interval. If not, it is counted.
    pub(crate) fn admits(&'static self) -> bool {
        !self.is_summed_up() || self.lines.fetch_add(1, Ordering::Relaxed) < self.lines_max
    }

    /// The same for one who causes lines.
    pub(crate) fn admits_of(&'static self, who: &str) -> bool {
        !self.is_summed_up() || self.each.admits(who)
    }

    fn is_summed_up(&'static self) -> bool {
        let summed_up = SUMMED_UP.load(Ordering::Relaxed);
        let listed = &self.listed;
        if summed_up && !listed.load(Ordering::Relaxed) && !listed.swap(true, Ordering::Relaxed) {
            PLACES.lock().unwrap_or_else(PoisonError::into_inner).push(self);
        }
        summed_up
    }

    /// Begins the next interval; returns how many lines this one held back, and of whom.
    fn turn(&self) -> Vec<(u64, Option<String>)> {
        let lines = self.lines.swap(0, Ordering::Relaxed).saturating_sub(self.lines_max);
        let of_all = (lines > 0).then_some((lines, None));
        let of_each = self.each.turn().into_iter();
        of_all.into_iter().chain(of_each.map(|held| (held.lines, Some(held.who)))).collect()
    }

    fn tell(&self, more: u64, who: Option<&str>) {
        let (line, place) = (self.line, self.target);
        match self.level {
            Level::ERROR => error!(more, who, line, place, "held back more lines like this one"),
            Level::WARN => warn!(more, who, line, place, "held back more lines like this one"),
            Level::INFO => info!(more, who, line, place, "held back more lines like this one"),
            Level::DEBUG | Level::TRACE => {
                debug!(more, who, line, place, "held back more lines like this one");
            }
        }
    }
}

/// From now on lines are held back, and [`sum_up`] counts them.
pub(crate) fn begin() {
    SUMMED_UP.store(true, Ordering::Relaxed);
}

/// Ends the interval of every place, and logs one line for each that held lines back, or for each
/// who caused them.
pub(crate) fn sum_up() {
    // Copied, so that the lock is free while they are logged: logging takes other locks.
    let places = PLACES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for place in places {
        for (more, who) in place.turn() {
            LOG_HELD_BACK.add([], more);
            place.tell(more, who.as_deref());
        }
    }
}

/// Logs a line whose cause is outside, within the limit of this place:
/// `limited!(Stranger, WARN, { %app_id, %error }, "callback refused")`; or within the limit of one
/// who causes its lines: `limited!(Peer of caller, INFO, "answered")`.
macro_rules! limited {
    ($cause:ident $(of $who:expr)?, $level:ident, $({ $($fields:tt)* },)? $line:literal) => {{
        static PLACE: $crate::log_limit::LogLimit = $crate::log_limit::LogLimit::new(
            $crate::log_limit::Cause::$cause,
            tracing::Level::$level,
            module_path!(),
            $line,
        );
        if $crate::log_limit::admitted!(PLACE $(, $who)?) {
            $crate::log_limit::count(tracing::Level::$level);
            tracing::event!(tracing::Level::$level, $({ $($fields)* },)? $line);
        }
    }};
}
pub(crate) use limited;

macro_rules! admitted {
    ($place:ident) => {
        $place.admits()
    };
    ($place:ident, $who:expr) => {
        $place.admits_of($who)
    };
}
pub(crate) use admitted;

/// Logs a line of level ERROR, and counts it. The library's own macro of this name counts nothing.
macro_rules! error {
    ($($line:tt)*) => {{
        $crate::log_limit::count(tracing::Level::ERROR);
        tracing::event!(tracing::Level::ERROR, $($line)*);
    }};
}
pub(crate) use error;

/// Counts a line if it wants a person, wherever `RUST_LOG` sends it.
pub(crate) fn count(level: Level) {
    if level == Level::ERROR {
        LOG_ERRORS.count([]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_logs_within_its_budget_and_counts_the_rest_interval_by_interval() {
        static PLACE: LogLimit = LogLimit::new(Cause::Stranger, Level::DEBUG, "here", "a line");
        let lines = |n: u64| (0..n).filter(|_| PLACE.admits()).count();
        begin();
        assert_eq!(lines(1_000), 10);
        assert_eq!(PLACE.turn(), [(990, None)]);
        assert_eq!(lines(7), 7, "the next interval has a budget of its own");
        assert_eq!((0..12).filter(|_| PLACE.admits_of("one")).count(), 10);
        assert!(PLACE.admits_of("another"));
        assert_eq!(PLACE.turn(), [(2, Some("one".to_owned()))], "and only this to tell of");
        let listed = PLACES.lock().unwrap().iter().filter(|place| place.target == "here").count();
        assert_eq!(listed, 1, "it is summed up, once");
    }
}
