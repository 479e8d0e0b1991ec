//! How much of Douyin one app may use: requests per second and requests in flight.
//!
//! A quarter of both is for polling, so that no flood of creates or questions keeps a settle from
//! its end. In the rest creates go first, so that no backlog of polls keeps a caller waiting; polls
//! and questions get what creates leave. Each app has its own budget, so one app's flood takes
//! nothing from another.
//!
//! Processes that share a store share the budget, too: each has an equal portion of it, at least
//! one request per second and one in flight.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::portion::Portion;
use crate::metrics::{BUDGET_LEFT, BUDGET_REFUSED, BUDGET_WAIT};
use crate::settle::AppId;

/// The budget of one app.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Requests to Douyin per second, and how many may go out at once after a pause.
    pub requests_per_second: u32,
    /// Requests to Douyin that wait for their answer at once.
    pub requests_in_flight: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { requests_per_second: 20, requests_in_flight: 64 }
    }
}

/// What is left of one app's budget. Waits use the runtime's timer.
pub(crate) struct AppBudget {
    app_id: AppId,
    creates: Share,
    polls: Share,
    /// Creates that wait for a request: while there are any, polls keep to their own quarter.
    waiting: AtomicU32,
    /// Lets one question at a time look for a request, in the order of their arrival.
    questions: tokio::sync::Mutex<()>,
}

/// A part of the budget: a rate, and a number of requests in flight.
struct Share {
    of: Part,
    whole: Budget,
    portion: Portion,
    pace: Arc<Mutex<Pace>>,
    places: Arc<Places>,
    /// Lets one waiter at a time look for a request, in the order of their arrival.
    queue: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
enum Part {
    /// The quarter of polling.
    Polls,
    Rest,
}

impl Part {
    fn of(self, number: u32) -> u32 {
        let polls = (number / POLLS_SHARE).max(1);
        match self {
            Part::Polls => polls,
            Part::Rest => number.saturating_sub(polls).max(1),
        }
    }
}

/// The requests in flight. How many there may be changes with the size of the fleet.
#[derive(Default)]
struct Places {
    taken: Mutex<u32>,
    freed: Notify,
}

/// The place of one request, free again when this is dropped.
struct Place(Arc<Places>);

impl Places {
    fn take(self: &Arc<Self>, places_max: u32) -> Option<Place> {
        let mut taken = self.taken();
        if *taken >= places_max {
            return None;
        }
        *taken += 1;
        Some(Place(Arc::clone(self)))
    }

    fn taken(&self) -> MutexGuard<'_, u32> {
        self.taken.lock().expect("no code panics while holding this lock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken() -= 1;
        self.0.freed.notify_one();
    }
}

/// Why there is no request now.
enum Short {
    /// As many are in flight as may be.
    Place,
    /// This process has no portion of the budget.
    Portion,
    Pace(Exhausted),
}

impl From<Short> for Exhausted {
    fn from(short: Short) -> Self {
        match short {
            // A place is free as soon as an answer comes, and a portion there with the next beat.
            Short::Place | Short::Portion => Exhausted { wait: SOON },
            Short::Pace(exhausted) => exhausted,
        }
    }
}

/// A generic cell rate: each request moves the moment at which all requests so far are paid for.
struct Pace {
    /// The time that one request costs.
    interval: Duration,
    /// How far ahead of the clock `even_at` may be: the burst.
    ahead_max: Duration,
    even_at: Instant,
}

/// The right to one request to Douyin; its place is free again when this is dropped.
pub(crate) struct Grant {
    _place: Place,
    pace: Arc<Mutex<Pace>>,
}

impl Grant {
    /// Gives back the right to a request that was not made.
    pub(crate) fn give_back(self) {
        let mut pace = self.pace.lock().expect("no code panics while holding this lock");
        pace.even_at = pace.even_at.checked_sub(pace.interval).unwrap_or(pace.even_at);
    }
}

/// No request is free now; when to ask again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Exhausted {
    pub wait: Duration,
}

/// The answer to a waiter that waited in a queue until its deadline.
const LATE: Exhausted = Exhausted { wait: Duration::from_secs(1) };
/// When to look again where it is not known when a request will be free.
const SOON: Duration = Duration::from_millis(50);

/// The share of polling: one in this many.
const POLLS_SHARE: u32 = 4;

impl AppBudget {
    pub(crate) fn new(app_id: AppId, budget: Budget, portion: &Portion) -> Self {
        for asker in ["create", "poll", "question"] {
            BUDGET_REFUSED.begin([app_id.as_str(), asker]);
            BUDGET_WAIT.begin([app_id.as_str(), asker]);
        }
        Self {
            app_id,
            creates: Share::new(Part::Rest, budget, portion.clone()),
            polls: Share::new(Part::Polls, budget, portion.clone()),
            waiting: AtomicU32::new(0),
            questions: tokio::sync::Mutex::default(),
        }
    }

    /// A request for a create, as soon as one is free, at the latest at `deadline`.
    pub(crate) async fn for_create(&self, deadline: Instant) -> Result<Grant, Exhausted> {
        let _waiting = Waiting::new(&self.waiting);
        let asked = Instant::now();
        self.counted("create", asked, self.creates.take_by(deadline).await)
    }

    /// A request for polling, if one is free now: from its own quarter, else from what creates
    /// leave.
    pub(crate) fn for_poll(&self) -> Result<Grant, Exhausted> {
        self.polls.take().or_else(|exhausted| {
            if self.waiting.load(Ordering::Relaxed) > 0 {
                return Err(exhausted);
            }
            self.creates.take().map_err(|rest| Exhausted { wait: rest.wait.min(exhausted.wait) })
        })
    }

    /// A request that polling waits for: the later calls of a turn.
    pub(crate) async fn for_poll_by(&self, deadline: Instant) -> Result<Grant, Exhausted> {
        let asked = Instant::now();
        let request = match self.for_poll() {
            Ok(request) => Ok(request),
            Err(_) => self.polls.take_by(deadline).await,
        };
        self.counted("poll", asked, request)
    }

    /// A request for a question of a caller's: from what creates leave, never from polling's
    /// quarter.
    pub(crate) async fn for_question(&self, deadline: Instant) -> Result<Grant, Exhausted> {
        let asked = Instant::now();
        self.counted("question", asked, self.left_by_creates(deadline).await)
    }

    async fn left_by_creates(&self, deadline: Instant) -> Result<Grant, Exhausted> {
        let turn = tokio::time::timeout_at(deadline, self.questions.lock()).await;
        let _turn = turn.map_err(|_| LATE)?;
        loop {
            let wait = match self.waiting.load(Ordering::Relaxed) {
                0 => match self.creates.take() {
                    Ok(request) => return Ok(request),
                    Err(exhausted) => exhausted.wait,
                },
                // Creates wait, and go first.
                _ => SOON,
            };
            if Instant::now() + wait > deadline {
                return Err(Exhausted { wait });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl AppBudget {
    /// Counts a request that its asker waited for.
    fn counted(
        &self,
        asker: &str,
        asked: Instant,
        request: Result<Grant, Exhausted>,
    ) -> Result<Grant, Exhausted> {
        let labels = [self.app_id.as_str(), asker];
        match &request {
            Ok(_) => BUDGET_WAIT.add_time(labels, asked.elapsed()),
            Err(_) => BUDGET_REFUSED.count(labels),
        }
        request
    }

    /// Sets the gauges of what is left.
    pub(crate) fn measure(&self) {
        for (share, of) in [("creates", &self.creates), ("polls", &self.polls)] {
            BUDGET_LEFT.set_len([self.app_id.as_str(), share], of.left());
        }
    }
}

impl Share {
    /// How many requests could leave at once.
    fn left(&self) -> usize {
        let Some(replicas) = self.portion.replicas() else { return 0 };
        let mut pace = self.pace.lock().expect("no code panics while holding this lock");
        pace.set(self.part(self.whole.requests_per_second, replicas));
        let places = self.part(self.whole.requests_in_flight, replicas);
        let free = places.saturating_sub(*self.places.taken());
        pace.left(Instant::now()).min(usize::try_from(free).unwrap_or(usize::MAX))
    }

    /// This process's part of a number.
    fn part(&self, whole: u32, replicas: u32) -> u32 {
        self.of.of((whole / replicas).max(1))
    }

    fn new(of: Part, whole: Budget, portion: Portion) -> Self {
        let zero = Duration::ZERO;
        let pace = Pace { interval: zero, ahead_max: zero, even_at: Instant::now() };
        let (pace, places) = (Arc::new(Mutex::new(pace)), Arc::default());
        Self { of, whole, portion, pace, places, queue: tokio::sync::Mutex::new(()) }
    }

    fn take(&self) -> Result<Grant, Exhausted> {
        Ok(self.try_take()?)
    }

    async fn take_by(&self, deadline: Instant) -> Result<Grant, Exhausted> {
        let turn = tokio::time::timeout_at(deadline, self.queue.lock()).await;
        let _turn = turn.map_err(|_| LATE)?;
        loop {
            match self.try_take() {
                Ok(grant) => return Ok(grant),
                Err(Short::Place) => {
                    let freed = self.places.freed.notified();
                    tokio::time::timeout_at(deadline, freed).await.map_err(|_| LATE)?;
                }
                Err(short @ (Short::Portion | Short::Pace(_))) => {
                    let exhausted = Exhausted::from(short);
                    if Instant::now() + exhausted.wait > deadline {
                        return Err(exhausted);
                    }
                    tokio::time::sleep(exhausted.wait).await;
                }
            }
        }
    }

    fn try_take(&self) -> Result<Grant, Short> {
        let replicas = self.portion.replicas().ok_or(Short::Portion)?;
        let places_max = self.part(self.whole.requests_in_flight, replicas);
        let place = self.places.take(places_max).ok_or(Short::Place)?;
        let mut pace = self.pace.lock().expect("no code panics while holding this lock");
        pace.set(self.part(self.whole.requests_per_second, replicas));
        pace.take(Instant::now()).map_err(Short::Pace)?;
        Ok(Grant { _place: place, pace: Arc::clone(&self.pace) })
    }
}

impl Pace {
    fn left(&self, now: Instant) -> usize {
        let ahead = self.even_at.saturating_duration_since(now);
        let Some(room) = self.ahead_max.checked_sub(ahead) else { return 0 };
        let more = room.as_nanos().checked_div(self.interval.as_nanos()).unwrap_or_default();
        usize::try_from(more).unwrap_or(usize::MAX).saturating_add(1)
    }

    fn set(&mut self, per_second: u32) {
        self.interval = Duration::from_secs(1) / per_second;
        self.ahead_max = self.interval * (per_second - 1);
    }

    fn take(&mut self, now: Instant) -> Result<(), Exhausted> {
        let even_at = self.even_at.max(now);
        let ahead = even_at.duration_since(now);
        if ahead > self.ahead_max {
            return Err(Exhausted { wait: ahead - self.ahead_max });
        }
        self.even_at = even_at + self.interval;
        Ok(())
    }
}

/// Counts one waiting create for as long as it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
