//! What the replicas share of an app beside its token: its budget of requests, of which each has a
//! part while it is alive, and a pause.

use std::time::{Duration, Instant};

use douyin_sim::Script;
use tokio::task::JoinSet;

use super::fleet::{As, Fleet, Mode, Replica, in_each_mode};
use crate::harness::{create_request, details, number, within};

const DEADLINE: Duration = Duration::from_secs(10);

async fn two(fleet: &Fleet, as_what: &As) -> [Replica; 2] {
    let replicas = [fleet.start_as(0, as_what).await, fleet.start_as(1, as_what).await];
    for replica in &replicas {
        replica.until_metric("settlement_replicas", 2.0).await;
    }
    replicas
}

/// Why an app pauses.
#[derive(Clone, Copy, Debug)]
enum Why {
    Throttled,
    CredentialsRejected,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_one_replica_begins_is_kept_by_the_other_within_a_second() {
    in_each_mode(|mode| async move {
        let mut plays = JoinSet::new();
        for why in [Why::Throttled, Why::CredentialsRejected] {
            plays.spawn(paused(why, mode));
        }
        plays.join_all().await;
    })
    .await;
}

async fn paused(why: Why, mode: Mode) {
    let fleet = Fleet::new(mode).await;
    // Either pause lasts three seconds.
    let (pause_max_ms, refetch_gap_ms) = (Some(60_000), Some(3_000));
    let as_what = As { pause_max_ms, refetch_gap_ms, ..As::default() };
    let [one, other] = two(&fleet, &as_what).await;
    let (reason, script) = match why {
        Why::Throttled => ("UPSTREAM_RATE_LIMITED", vec![Script::Refuse(12_001)]),
        // The token, and the one that replaces it.
        Why::CredentialsRejected => {
            ("UPSTREAM_CREDENTIALS_REJECTED", vec![Script::Refuse(28_001_003); 2])
        }
    };
    let first = number("first");
    fleet.sim.script(&first, script);
    let status = one.create(create_request(&first), DEADLINE).await.unwrap_err();
    let (began, calls) = (Instant::now(), calls(&fleet));
    assert_eq!(details(&status).info.reason, reason, "{status:?}");
    let hearing = async {
        while other.metric("settlement_paused_until_timestamp_seconds").await == Some(0.0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the other replica to hear of it", hearing).await;
    let took = began.elapsed();
    println!("{mode:?}, {why:?}: the other replica kept the pause after {took:?}");
    // And what a busy machine takes.
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    let status = other.create(create_request(&number("later")), DEADLINE).await.unwrap_err();
    let info = details(&status).info;
    assert_eq!(info.reason, reason, "{status:?}");
    assert_eq!(info.metadata["outcome"], "not_sent", "{status:?}");
    assert_eq!(self::calls(&fleet), calls, "it has not asked Douyin itself");
    // And both go on after it.
    for replica in [&one, &other] {
        let again = number("again");
        let creating = async {
            while replica.create(create_request(&again), DEADLINE).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the end of the pause", creating).await;
    }
}

/// One has died, and one stands still for longer than what it knows of its part is good for.
#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_silent_replicas_come_back_and_one_that_wakes_up_has_none_until_it_is_counted()
{
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let [lives, dies, sleeps] = [0, 1, 2].map(|number| fleet.start(number));
        let (lives, dies, sleeps) = tokio::join!(lives, dies, sleeps);
        for replica in [&lives, &dies, &sleeps] {
            replica.until_metric("settlement_replicas", 3.0).await;
        }
        dies.kill().await;
        sleeps.freeze().await;
        let took = lives.until_metric("settlement_replicas", 1.0).await;
        println!("{mode:?}: their parts came back after {took:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");
        // It cannot show that it is back.
        let locked = fleet.database.as_another_program().await;
        locked.batch_execute("BEGIN; LOCK TABLE replica IN EXCLUSIVE MODE").await.unwrap();
        sleeps.thaw();
        let number = number("woken");
        let status = sleeps.create(create_request(&number), DEADLINE).await.unwrap_err();
        assert_eq!(details(&status).info.metadata["outcome"], "not_sent", "{status:?}");
        assert_eq!(fleet.sim.books().sends(&number), 0);
        locked.batch_execute("COMMIT").await.unwrap();
        for replica in [&lives, &sleeps] {
            replica.until_metric("settlement_replicas", 2.0).await;
        }
        sleeps.create(create_request(&number), DEADLINE).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replicas_together_use_no_more_of_douyin_than_the_budget_and_each_has_its_part() {
    const PER_SECOND: u32 = 20;
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let as_what = As { requests_per_second: Some(PER_SECOND), ..As::default() };
        let replicas = two(&fleet, &as_what).await;
        let (before, began) = (requests(&fleet), Instant::now());
        let mut callers = JoinSet::new();
        for caller in 0..20 {
            let part = caller % 2;
            let client = replicas[part].client.clone();
            callers.spawn(async move {
                let mut accepted = 0;
                while began.elapsed() < Duration::from_secs(3) {
                    let mut client = client.clone();
                    let created = client.create_settle(create_request(&number("part"))).await;
                    accepted += u32::from(created.is_ok());
                }
                (part, accepted)
            });
        }
        let mut accepted = [0, 0];
        for (part, more) in callers.join_all().await {
            accepted[part] += more;
        }
        // A second's worth may go out at once, and then as many per second.
        let most = f64::from(PER_SECOND) * (1.0 + began.elapsed().as_secs_f64()) + 2.0;
        let requests = requests(&fleet) - before;
        println!("{mode:?}: {requests} requests of {most:.0}; creates: {accepted:?}");
        assert!(f64::from(requests) <= most, "{requests} of {most}");
        // Three quarters of a budget are for creates.
        assert!(accepted.iter().all(|creates| *creates >= PER_SECOND), "{accepted:?}");
    })
    .await;
}

/// All that has come to Douyin.
fn calls(fleet: &Fleet) -> usize {
    let books = fleet.sim.books();
    books.token_calls_total() + books.creates_total() + books.queries_total()
}

/// Creates and queries that have come to Douyin.
fn requests(fleet: &Fleet) -> u32 {
    let books = fleet.sim.books();
    u32::try_from(books.creates_total() + books.queries_total()).unwrap()
}
