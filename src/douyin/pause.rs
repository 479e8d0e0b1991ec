//! When an app may not call Douyin: after throttling, while its credentials are rejected, while no
//! token can be fetched. All settles of the app wait, because each call would fail the same way.
//!
//! Measured on the clock that never jumps, so that a wall clock set back does not lengthen a pause.
//! All replicas keep a pause: the one that begins it tells the others through the store.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::codes::{self, Handling};
use super::config::ClientConfig;
use crate::clock::{Clock, Timestamp, Uptime};
use crate::metrics::{OTHER, PAUSED_UNTIL, PAUSES};
use crate::settle::{AppId, Failure, Reason};

/// Why and until when an app is not called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pause {
    pub until: Timestamp,
    /// Why.
    pub failure: Failure,
}

/// The pauses of one app.
pub(super) struct Pauses {
    app_id: AppId,
    clock: Clock,
    min: Duration,
    max: Duration,
    /// Never locked across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Pauses begun since the last good answer.
    begun: u32,
    current: Option<Current>,
    /// The other replicas do not know of the current one yet.
    is_untold: bool,
    /// The last number of a pause that came through the store, or went there. Each counts once, so
    /// that one that was ended here does not come back.
    last_number: i64,
}

struct Current {
    since: Uptime,
    length: Duration,
    failure: Failure,
}

impl Pauses {
    pub(super) fn new(app_id: AppId, clock: Clock, config: &ClientConfig) -> Self {
        let state = Mutex::new(State::default());
        PAUSED_UNTIL.set([app_id.as_str()], 0);
        for reason in [Reason::UpstreamCredentialsRejected, Reason::UpstreamRateLimited] {
            PAUSES.begin([app_id.as_str(), reason.as_str()]);
        }
        Self { app_id, clock, min: config.pause_min, max: config.pause_max, state }
    }

    /// The pause that runs now, if any.
    pub(super) fn current(&self) -> Option<Pause> {
        let state = self.lock();
        let current = state.current.as_ref()?;
        let left = self.left(current);
        let until = self.clock.now().plus(left);
        (!left.is_zero()).then(|| Pause { until, failure: current.failure.clone() })
    }

    /// Whether the last call of the app failed for want of a token that Douyin takes. Also after
    /// the pause that this began, until a call is answered.
    pub(super) fn is_locked_out(&self) -> bool {
        self.lock().current.as_ref().is_some_and(|current| !is_throttling(&current.failure))
    }

    /// Pauses the app. The more pauses in a row, the longer, and at least `at_least` (both up to
    /// the longest pause). Calls that failed together count once.
    pub(super) fn begin(&self, failure: Failure, at_least: Duration) {
        let mut state = self.lock();
        let left = self.left_now(&state);
        let backoff = match left.is_zero() {
            true => self.min.saturating_mul(2_u32.saturating_pow(state.begun)),
            false => Duration::ZERO,
        };
        if left.is_zero() {
            state.begun = state.begun.saturating_add(1);
            let reason = failure.reason.known().map_or(OTHER, Reason::as_str);
            PAUSES.count([self.app_id.as_str(), reason]);
        }
        let length = backoff.max(at_least).min(self.max);
        if length > left {
            let until = self.clock.now().plus(length);
            PAUSED_UNTIL.set_time([self.app_id.as_str()], until.since_epoch());
            state.current = Some(Current { since: self.clock.uptime(), length, failure });
            state.is_untold = true;
        }
    }

    /// The pause that the other replicas do not know of yet, and what is left of it.
    pub(super) fn untold(&self) -> Option<(Failure, Duration)> {
        let state = self.lock();
        let current = state.current.as_ref().filter(|_| state.is_untold)?;
        let left = self.left(current);
        (!left.is_zero()).then(|| (current.failure.clone(), left))
    }

    /// The pause that [`Pauses::untold`] returned was told, with this number if it counts.
    pub(super) fn told(&self, failure: &Failure, number: Option<i64>) {
        let mut state = self.lock();
        if state.current.as_ref().is_some_and(|current| current.failure == *failure) {
            state.is_untold = false;
        }
        state.last_number = state.last_number.max(number.unwrap_or_default());
    }

    /// Keeps a pause that another replica told of.
    pub(super) fn hear(&self, number: i64, failure: &Failure, left: Duration) {
        let mut state = self.lock();
        if number <= state.last_number {
            return;
        }
        state.last_number = number;
        let own = self.left_now(&state);
        if own.is_zero() {
            state.begun = state.begun.saturating_add(1);
        }
        let (length, failure) = (left.min(self.max), failure.clone());
        if length > own {
            let until = self.clock.now().plus(length);
            PAUSED_UNTIL.set_time([self.app_id.as_str()], until.since_epoch());
            state.current = Some(Current { since: self.clock.uptime(), length, failure });
            state.is_untold = false;
        }
    }

    /// Notes a good answer: the next pause is short again. A running pause stays, because the call
    /// that was answered may have begun before it.
    pub(super) fn answered(&self) {
        let mut state = self.lock();
        let running = state.current.as_ref().is_some_and(|current| !self.left(current).is_zero());
        if !running {
            state.end();
        }
    }

    /// Ends a pause that does not come from Douyin's limits.
    pub(super) fn end_unless_throttled(&self) {
        let mut state = self.lock();
        if state.current.as_ref().is_some_and(|current| !is_throttling(&current.failure)) {
            state.end();
            PAUSED_UNTIL.set([self.app_id.as_str()], 0);
        }
    }

    fn left_now(&self, state: &State) -> Duration {
        state.current.as_ref().map_or(Duration::ZERO, |current| self.left(current))
    }

    fn left(&self, current: &Current) -> Duration {
        current.length.saturating_sub(self.clock.uptime().since(current.since))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code can panic while holding this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self) {
        *self = State { last_number: self.last_number, ..State::default() };
    }
}

/// Whether a failure means that Douyin limits the app.
pub(super) fn is_throttling(failure: &Failure) -> bool {
    let row = failure.reason.known().and_then(codes::row_for_reason);
    row.is_some_and(|row| row.handling == Handling::Throttled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses() -> (Clock, Pauses) {
        let clock = Clock::runtime(Timestamp::from_ms(0));
        let config = ClientConfig {
            pause_min: Duration::from_secs(2),
            pause_max: Duration::from_secs(60),
            ..ClientConfig::default()
        };
        let app_id = AppId::parse("tt1").unwrap();
        (clock.clone(), Pauses::new(app_id, clock, &config))
    }

    fn begin(pauses: &Pauses, at_least_secs: u64) -> Option<i64> {
        pauses.begin(Failure::own(Reason::UpstreamTimeout), Duration::from_secs(at_least_secs));
        pauses.current().map(|pause| pause.until.as_ms())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_in_a_row_grow_and_a_good_answer_ends_the_row() {
        let (_, pauses) = pauses();
        assert_eq!(begin(&pauses, 0), Some(2_000));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(pauses.is_locked_out(), "the next call will show whether it still is");
        assert_eq!(pauses.current(), None);
        assert_eq!(begin(&pauses, 0), Some(6_000));
        tokio::time::advance(Duration::from_secs(4)).await;
        pauses.answered();
        assert!(!pauses.is_locked_out());
        assert_eq!(begin(&pauses, 0), Some(8_000));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_fail_together_begin_one_pause() {
        let (_, pauses) = pauses();
        for _ in 0..50 {
            assert_eq!(begin(&pauses, 0), Some(2_000));
        }
        assert!(pauses.is_locked_out());
        assert_eq!(begin(&pauses, 5), Some(5_000), "the longer one counts");
        assert_eq!(begin(&pauses, 3), Some(5_000));
        pauses.answered();
        assert!(pauses.current().is_some(), "an answer to an older call ends nothing");
        assert_eq!(begin(&pauses, 4_000), Some(60_000), "bounded");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_set_back_does_not_lengthen_a_pause() {
        let (clock, pauses) = pauses();
        begin(&pauses, 10);
        clock.jump_ms(-3_600_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pauses.current(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_told_once_and_kept_by_those_who_hear_of_it() {
        let ((_, there), (_, here)) = (pauses(), pauses());
        begin(&there, 10);
        let (failure, left) = there.untold().unwrap();
        there.told(&failure, Some(1));
        assert_eq!(there.untold(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        here.hear(1, &failure, left - Duration::from_secs(1));
        assert_eq!(here.current(), there.current());
        assert_eq!(here.untold(), None, "it is known already");
        tokio::time::advance(Duration::from_secs(9)).await;
        here.hear(1, &failure, Duration::from_secs(9));
        assert_eq!(here.current(), None, "an old number counts no more");
        assert_eq!(begin(&here, 0), Some(14_000), "the next one is longer, as there");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_pauses_the_longer_one_counts_everywhere() {
        let (_, pauses) = pauses();
        begin(&pauses, 30);
        let (failure, _) = pauses.untold().unwrap();
        pauses.hear(5, &failure, Duration::from_secs(20));
        assert_eq!(pauses.untold().map(|(_, left)| left), Some(Duration::from_secs(30)));
        pauses.hear(6, &failure, Duration::from_secs(4_000));
        assert_eq!(pauses.current().unwrap().until.as_ms(), 60_000, "bounded");
        assert_eq!(pauses.untold(), None);
    }

    #[test]
    fn a_pause_that_another_secret_ended_does_not_come_back() {
        let (_, pauses) = pauses();
        let failure = Failure::own(Reason::UpstreamCredentialsRejected);
        pauses.hear(1, &failure, Duration::from_secs(20));
        pauses.end_unless_throttled();
        pauses.hear(1, &failure, Duration::from_secs(19));
        assert_eq!(pauses.current(), None);
    }

    #[test]
    fn another_secret_ends_a_pause_unless_douyin_limits_the_app() {
        for (reason, ends) in
            [(Reason::UpstreamCredentialsRejected, true), (Reason::UpstreamRateLimited, false)]
        {
            let (_, pauses) = pauses();
            pauses.begin(Failure::own(reason), Duration::ZERO);
            pauses.end_unless_throttled();
            assert_eq!(pauses.current().is_none(), ends, "{reason:?}");
        }
    }
}
