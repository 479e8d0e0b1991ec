//! Who gets how much of a budget, on virtual time.

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
