//! With any of Douyin's undocumented habits, in any weather, every recorded settle ends and each
//! business intent is paid once.

use std::fmt;
use std::time::Duration;

use douyin_sim::{Attempt, Choices, Informing, Outcome, Script, Snapshot};
use settlement_gateway::proto::v1::{CreateSettleRequest, SettleState};
use tokio::task::JoinSet;

use crate::harness::{APP_ID, Gateway, create_on, details, number, simulator_with, within};

/// What distinguishes the seeds. It is printed with each failure.
#[derive(Clone)]
struct Habits {
    seed: u64,
    choices: Choices,
}

impl Habits {
    /// Drawn from the seed, with times that a test can wait for.
    fn of(seed: u64) -> Self {
        let mut choices = Choices::from_seed(seed);
        // Shorter than the grace, as it must be.
        choices.visible_after_ms = choices.visible_after_ms.min(300);
        choices.fail_turns_success_after_ms =
            choices.fail_turns_success_after_ms.map(|after_ms| after_ms.min(500));
        if seed % 2 == 1 {
            choices.informing = Informing::Odd;
        }
        Self { seed, choices }
    }
}

impl fmt::Display for Habits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} {:?}", self.seed, self.choices)
    }
}

async fn gateway(habits: &Habits, faults_per_10_000: u32) -> Gateway {
    let sim = simulator_with(|config| {
        config.seed = habits.seed;
        config.choices = habits.choices.clone();
        config.faults_per_10_000 = faults_per_10_000;
        config.late_ms_max = 500;
    });
    Gateway::spawn_with(sim.await, |config| {
        config.douyin.refetch_gap = Duration::ZERO;
        config.douyin.pause_max = Duration::from_millis(100);
        config.douyin.pause_min = Duration::from_millis(10);
        // The weather delays a request by up to 2 s: longer than its sender waits.
        config.gateway.policy.grace = Duration::from_millis(2_500);
    })
    .await
}

/// Repeats a create until it is recorded, as its caller would.
async fn insist(gateway: &Gateway, request: &CreateSettleRequest) {
    let recorded = async {
        while let Err(status) = gateway.create(request.clone()).await {
            if details(&status).info.metadata["outcome"] != "not_sent" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the settle to be recorded", Box::pin(recorded)).await;
}

/// Every settle has ended as the books say.
async fn assert_true_ends(gateway: &Gateway, numbers: &[String], habits: &Habits) {
    for number in numbers {
        let end = gateway.end(number).await;
        let books = gateway.sim.books();
        let settles = books.under(number);
        assert!(settles.len() <= 1, "paid twice with {habits}: {settles:?}");
        match end.state() {
            SettleState::Succeeded | SettleState::Failed => {
                assert_eq!(settles.len(), 1, "nothing was paid with {habits}: {end:?}");
                assert_eq!(settles[0].settle_id, end.settle_id(), "{habits}");
            }
            SettleState::Rejected => {
                assert_eq!(settles.len(), 0, "paid and told as refused with {habits}: {end:?}");
            }
            state @ (SettleState::Unspecified
            | SettleState::Submitting
            | SettleState::Processing) => panic!("{state:?} is no end with {habits}"),
        }
        let bodies = books.create_bodies(number);
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{habits}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_twenty_drawn_habits_every_settle_ends_and_is_paid_once() {
    let mut seeds = JoinSet::new();
    for seed in 0..20 {
        seeds.spawn(async move {
            let habits = Habits::of(seed);
            let gateway = gateway(&habits, 0).await;
            let mut numbers = Vec::new();
            for order in ["plain", "sim-lost-1", "sim-fail-1", "sim-err-23102-1"] {
                // A token that dies in between does no harm.
                gateway.sim.expire_tokens(APP_ID);
                let number = number("habit");
                insist(&gateway, &create_on(&number, order)).await;
                numbers.push(number);
            }
            assert_true_ends(&gateway, &numbers, &habits).await;
            let wanted = [
                &[SettleState::Succeeded][..],
                &[SettleState::Succeeded],
                // A FAIL may have turned into success before it was seen.
                &[SettleState::Failed, SettleState::Succeeded],
                &[SettleState::Rejected],
            ];
            for (number, wanted) in numbers.iter().zip(wanted) {
                let state = gateway.get(number).await.unwrap().state();
                assert!(wanted.contains(&state), "{state:?} with {habits}");
            }
        });
    }
    within("all seeds", seeds.join_all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_foul_weather_under_drawn_habits_every_settle_ends_and_is_paid_once() {
    let mut seeds = JoinSet::new();
    for seed in 100..108 {
        seeds.spawn(async move {
            let habits = Habits::of(seed);
            // A quarter of all requests meet a fault.
            let gateway = gateway(&habits, 2_500).await;
            let numbers: Vec<_> = (0..6).map(|_| number("weather")).collect();
            for number in &numbers {
                insist(&gateway, &create_on(number, &format!("order-of-{number}"))).await;
            }
            assert_true_ends(&gateway, &numbers, &habits).await;
        });
    }
    within("all seeds", seeds.join_all()).await;
}

/// However Douyin writes its callbacks, signs retries and numbers automatic settlements: a callback
/// that is whole and signed is accepted, any other is refused, and nothing else changes.
#[tokio::test(flavor = "multi_thread")]
async fn callbacks_of_drawn_habits_in_foul_weather_are_taken_in_if_they_are_good() {
    let mut seeds = JoinSet::new();
    for seed in 200..212 {
        seeds.spawn(async move {
            let habits = Habits::of(seed);
            let gateway = gateway(&habits, 2_500).await;
            gateway.callbacks_on();
            // The weather is for callbacks.
            gateway.sim.always_create(Some(Script::Normal));
            gateway.sim.always_query(Some(Script::Normal));
            gateway.sim.always_token(Some(Script::Normal));
            let mut numbers = Vec::new();
            for order in ["plain", "sim-fail-1", "sim-quiet-1"] {
                for n in 0..3 {
                    let number = number("told");
                    insist(&gateway, &create_on(&number, &format!("{order}-{n}"))).await;
                    numbers.push(number);
                }
            }
            assert_true_ends(&gateway, &numbers, &habits).await;
            assert_told_truly(&gateway, &habits).await;
        });
    }
    within("all seeds", seeds.join_all()).await;
}

/// Every callback was tried, and each try got the right answer.
async fn assert_told_truly(gateway: &Gateway, habits: &Habits) {
    let tried = |books: &Snapshot| {
        books.callbacks.iter().all(|callback| {
            let known = |attempt: &Attempt| attempt.outcome != Outcome::Pending;
            !callback.attempts.is_empty() && callback.attempts.iter().all(known)
        })
    };
    let books = within("the callbacks", gateway.sim.until(tried)).await;
    assert!(books.callbacks.len() >= 6, "{habits}");
    for attempt in books.callbacks.iter().flat_map(|callback| &callback.attempts) {
        let expected: &[u16] = match attempt.fault.split(' ').next().unwrap_or_default() {
            "wrong-signature" | "truncate" => &[401],
            "twice" => &[200, 200],
            "lose" | "cut" => &[],
            // It may still be on its way.
            "wander" if attempt.statuses.is_empty() => &[],
            _ => &[200],
        };
        assert_eq!(attempt.statuses, expected, "{attempt:?} with {habits}");
    }
}
