//! What is next for a settle and when. Every write asks this one function, which also says what
//! happens to the due row. It is pure: it returns delays, which the store turns into moments of its
//! own clock, and randomness comes in as a number.
//!
//! Soon after something happened, then with growing waits up to a cap. Jitter keeps settles that
//! were created together from being asked about together. Watched settles have a lower cap.

use std::time::Duration;

use super::observation::Policy;
use super::record::Record;
use super::step::{Last, Progress, Step, next_step};
use crate::clock::Timestamp;

/// Who wrote the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By<'a> {
    /// A worker that holds the lease, with what it did in this turn.
    Worker(&'a Progress),
    /// An observer without a lease, which records a fact: a callback, a caller's query, an
    /// operator, or a worker that lost its lease.
    WithoutLease,
}

/// What a worker does next, and what the same write does to the due row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next {
    pub step: Step,
    pub due: Due,
}

/// What a write does to the due row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Keep,
    /// Nothing more is asked about the settle.
    Remove,
    /// The worker goes on: its lease runs this long from now.
    Extend {
        lease: Duration,
    },
    /// The worker is done for now: its lease ends and the schedule is written.
    Release(Release),
    /// An observer without a lease wants a worker to look by then. It never postpones, and creates
    /// a missing row. If a worker holds the lease, it applies when the lease ends.
    NotLater {
        wait: Duration,
    },
}

/// The schedule after a worker's turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Release {
    /// The row is due after this, or earlier if an observer asked for it during the lease.
    pub wait: Duration,
    /// Calls to Douyin since the settle was created.
    pub attempts: u32,
    /// Waits since the last news.
    pub backoff: u32,
}

/// What decides beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub now: Timestamp,
    pub policy: &'a Policy,
    pub schedule: &'a Schedule,
    pub watched: Watched,
    /// A random number in 0..1.
    pub chance: f64,
    /// How long a lease runs.
    pub lease: Duration,
    /// How long a final settle is asked about if Douyin never answers.
    pub patience: Duration,
}

/// What is next after a record was written over `before`.
pub(crate) fn next(before: &Record, after: &Record, by: By<'_>, terms: &Terms<'_>) -> Next {
    let By::Worker(progress) = by else {
        return Next { step: Step::Rest, due: after_a_fact(before, after) };
    };
    let step = next_step(after, progress, terms.now, terms.policy);
    let due = match step {
        Step::Send | Step::Query(_) => Due::Extend { lease: terms.lease },
        Step::Rest => at_rest(after, progress, terms),
    };
    Next { step, due }
}

/// What a worker writes into the due row when its turn ends.
pub(crate) fn at_rest(record: &Record, progress: &Progress, terms: &Terms<'_>) -> Due {
    if record.is_final() && !asks_again(record, progress, terms) {
        return Due::Remove;
    }
    let news = record.revision > progress.revision;
    let backoff = if news { 0 } else { progress.backoff.saturating_add(1) };
    let wait = terms.schedule.wait(backoff, terms.watched, terms.chance);
    Due::Release(Release { wait, attempts: progress.attempts, backoff })
}

/// Whether a final settle must be asked about after this turn.
fn asks_again(record: &Record, progress: &Progress, terms: &Terms<'_>) -> bool {
    match progress.last {
        Last::Definite => false,
        // What a callback showed may be missing in queries for the visibility grace.
        Last::Absent => {
            record.is_known_in_part() && terms.now <= record.update_time.plus(terms.policy.grace)
        }
        // A query that Douyin never answers is not repeated for ever.
        Last::Nothing | Last::Unknown | Last::NotSent | Last::Throttled => {
            record.owes_a_query() && terms.now <= record.update_time.plus(terms.patience)
        }
    }
}

/// A fact without a lease. It ends the schedule of a settle about which nothing more is asked, and
/// starts one for a settle that now needs a query.
fn after_a_fact(before: &Record, after: &Record) -> Due {
    let is_open = |record: &Record| record.open_contradiction().is_some();
    let (disputed, decided) =
        (!is_open(before) && is_open(after), is_open(before) && !is_open(after));
    // The query about the contradiction may have been made, and have told nothing else.
    let in_part = after.is_known_in_part() && (decided || !before.is_known_in_part());
    let owes = disputed || in_part;
    let asked = |record: &Record| !record.is_final() || record.owes_a_query();
    let now = Due::NotLater { wait: Duration::ZERO };
    match (owes, asked(before), asked(after)) {
        // For example a settle that was rejected and lives.
        (true, _, _) | (false, false, true) => now,
        (false, true, false) => Due::Remove,
        (false, true, true) if !after.is_final() && before != after => now,
        (false, true, true) | (false, false, false) => Due::Keep,
    }
}

/// The growing waits of one settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// The first wait after news.
    pub first: Duration,
    /// The longest wait of a settle without a watcher.
    pub cap: Duration,
    /// The longest wait of a settle with a watcher.
    pub watched_cap: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(600),
            watched_cap: Duration::from_secs(5),
        }
    }
}

/// Whether a caller watches the settle on this replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    Yes,
    No,
}

impl Schedule {
    /// The wait after `backoff` looks without news: doubled each time, capped, and spread over ± 20
    /// % by `chance` in 0..1.
    #[expect(clippy::float_arithmetic, reason = "jitter needs no exact arithmetic")]
    pub fn wait(&self, backoff: u32, watched: Watched, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(backoff).unwrap_or(u32::MAX));
        let cap = match watched {
            Watched::Yes => self.watched_cap,
            Watched::No => self.cap,
        };
        doubled.min(cap).mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
    }

    /// The longest wait that this schedule can give. A row due later was written by a clock that
    /// jumped.
    pub fn wait_max(&self) -> Duration {
        self.cap.max(self.watched_cap).mul_f64(1.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_leave_the_jitter() {
        let schedule = Schedule::default();
        for backoff in [0, 1, 2, 5, 9, 10, 31, 32, 40, u32::MAX] {
            let doubled = 2_f64.powi(i32::try_from(backoff.min(40)).unwrap()).min(600.0);
            for (watched, cap) in [(Watched::No, 600.0), (Watched::Yes, 5.0)] {
                let low = schedule.wait(backoff, watched, 0.0).as_secs_f64();
                let high = schedule.wait(backoff, watched, 1.0).as_secs_f64();
                let middle = doubled.min(cap);
                assert!((low - middle * 0.8).abs() < 1e-6, "{backoff} {low} {middle}");
                assert!((high - middle * 1.2).abs() < 1e-6, "{backoff} {high} {middle}");
                assert!(high <= schedule.wait_max().as_secs_f64() + 1e-6);
            }
        }
    }
}
