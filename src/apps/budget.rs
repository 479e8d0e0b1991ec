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
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp, Uptime};

    fn budget(requests_per_second: u32, requests_in_flight: u32) -> AppBudget {
        let clock = Clock::runtime(Timestamp::from_ms(0));
        divided(requests_per_second, requests_in_flight, &Portion::whole(clock))
    }

    fn divided(rate: u32, in_flight: u32, portion: &Portion) -> AppBudget {
        let budget = Budget { requests_per_second: rate, requests_in_flight: in_flight };
        AppBudget::new(AppId::parse("tt1").unwrap(), budget, portion)
    }

    fn polls(budget: &AppBudget) -> usize {
        std::iter::from_fn(|| budget.for_poll().ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn creates_get_three_quarters_of_the_rate_and_wait_for_more() {
        let budget = budget(20, 1_000);
        let began = Instant::now();
        let deadline = began + Duration::from_secs(60);
        for _ in 0..15 {
            budget.for_create(deadline).await.unwrap();
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "a second's worth goes out at once");
        for _ in 0..30 {
            budget.for_create(deadline).await.unwrap();
        }
        let took = began.elapsed().as_millis();
        assert!((1_900..=2_100).contains(&took), "{took} ms for two more seconds' worth");
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_that_cannot_be_served_in_time_is_told_when() {
        let budget = budget(4, 1_000);
        let now = Instant::now();
        for _ in 0..3 {
            budget.for_create(now).await.unwrap();
        }
        let exhausted = budget.for_create(now).await.map(drop).unwrap_err();
        assert!(exhausted.wait > Duration::ZERO && exhausted.wait <= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_what_would_be_granted() {
        let budget = budget(20, 8);
        let mut held = Vec::new();
        loop {
            let left = budget.creates.left();
            let Ok(request) = budget.creates.take() else {
                break assert_eq!(left, 0);
            };
            held.push(request);
            assert_eq!(budget.creates.left(), left - 1);
        }
        assert_eq!(held.len(), 6, "the places of creates");
        held.clear();
        assert_eq!(budget.creates.left(), 6, "15 a second, and 6 at once");
        assert_eq!(std::iter::from_fn(|| budget.creates.take().ok()).count(), 9);
        assert_eq!(budget.creates.left(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_not_made_costs_nothing() {
        let budget = budget(4, 1_000);
        let now = Instant::now();
        for _ in 0..100 {
            budget.for_create(now).await.unwrap().give_back();
        }
        let creates = std::iter::from_fn(|| budget.creates.take().ok()).count();
        assert_eq!(creates, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_creates_leaves_polling_its_quarter() {
        let budget = budget(20, 1_000);
        let now = Instant::now();
        while budget.for_create(now).await.is_ok() {}
        let polls = std::iter::from_fn(|| budget.for_poll().ok()).count();
        assert_eq!(polls, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn polls_use_what_creates_leave_but_not_while_one_waits() {
        let budget = budget(20, 1_000);
        let polls = std::iter::from_fn(|| budget.for_poll().ok()).count();
        assert_eq!(polls, 20, "without creates polls get all of it");
        let create = budget.for_create(Instant::now() + Duration::from_secs(5));
        let polling = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(budget.for_poll().is_err());
        };
        let (create, ()) = tokio::join!(create, polling);
        create.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn questions_take_what_creates_leave_and_nothing_of_pollings_quarter() {
        let budget = budget(20, 1_000);
        let now = Instant::now();
        let mut asked = 0;
        while budget.for_question(now).await.is_ok() {
            asked += 1;
        }
        assert_eq!(asked, 15);
        assert_eq!(std::iter::from_fn(|| budget.for_poll().ok()).count(), 5);
        // One every 67 ms from now on; a create that waits comes first.
        let deadline = now + Duration::from_secs(5);
        let create = async { (budget.for_create(deadline).await.is_ok(), now.elapsed()) };
        let question = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            (budget.for_question(deadline).await.is_ok(), now.elapsed())
        };
        let (create, question) = tokio::join!(create, question);
        assert!(create.0 && question.0 && create.1 < question.1, "{create:?} {question:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn places_in_flight_are_kept_apart_too() {
        let budget = budget(1_000, 4);
        let now = Instant::now();
        let mut held = Vec::new();
        while let Ok(request) = budget.for_create(now).await {
            held.push(request);
        }
        assert_eq!(held.len(), 3);
        assert!(budget.for_poll().is_ok());
        held.clear();
        assert!(budget.for_create(now).await.is_ok());
    }

    fn of_a_fleet() -> (Clock, Portion) {
        let clock = Clock::runtime(Timestamp::from_ms(0));
        (clock.clone(), Portion::nothing(clock))
    }

    fn then(clock: &Clock, secs: u64) -> Uptime {
        clock.uptime().plus(Duration::from_secs(secs))
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_several_processes_has_its_part_and_at_least_one_request() {
        for (replicas, in_a_second) in [(1, 20), (2, 10), (3, 6), (7, 2), (100, 2)] {
            let (clock, portion) = of_a_fleet();
            portion.renew(replicas, then(&clock, 10));
            let budget = divided(20, 1_000, &portion);
            // Polling has a quarter, and what creates leave; of one request each has one.
            assert_eq!(polls(&budget), in_a_second, "{replicas}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_flight_are_divided_too() {
        let (clock, portion) = of_a_fleet();
        let budget = divided(1_000, 8, &portion);
        portion.renew(2, then(&clock, 10));
        let in_flight: Vec<Grant> = std::iter::from_fn(|| budget.for_poll().ok()).collect();
        assert_eq!(in_flight.len(), 4);
        drop(in_flight);
        portion.renew(1, then(&clock, 10));
        let in_flight: Vec<Grant> = std::iter::from_fn(|| budget.for_poll().ok()).collect();
        assert_eq!(in_flight.len(), 8);
    }

    /// A machine that wakes up may not use a part that others have divided among themselves.
    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_not_renewed_ends() {
        let (clock, portion) = of_a_fleet();
        let budget = divided(20, 1_000, &portion);
        assert_eq!(polls(&budget), 0, "not counted yet");
        portion.renew(1, then(&clock, 10));
        assert_eq!(polls(&budget), 20);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(polls(&budget), 0);
        let create = budget.for_create(Instant::now() + Duration::from_secs(1));
        let renewing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            portion.renew(2, then(&clock, 10));
        };
        let (create, ()) = tokio::join!(create, renewing);
        assert!(create.is_ok(), "a create waits for it");
    }
}
