//! What the replicas share of an app beside its token: its budget of requests, and a pause.

use std::time::{Duration, Instant};

use douyin_sim::Script;
use tokio::task::JoinSet;

use super::fleet::{As, Fleet, Replica, in_each_mode};
use crate::harness::{create_request, details, number, within};

const DEADLINE: Duration = Duration::from_secs(10);

async fn two(fleet: &Fleet, as_what: &As) -> [Replica; 2] {
    let replicas = [fleet.start_as(0, as_what).await, fleet.start_as(1, as_what).await];
    for replica in &replicas {
        replica.until_metric("settlement_replicas", 2.0).await;
    }
    replicas
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_one_replica_begins_is_kept_by_the_other_within_a_second() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let as_what = As { pause_max_ms: Some(60_000), ..As::default() };
        let [one, other] = two(&fleet, &as_what).await;
        let throttled = number("throttled");
        fleet.sim.script(&throttled, vec![Script::Refuse(12_001)]);
        let status = one.create(create_request(&throttled), DEADLINE).await.unwrap_err();
        let began = Instant::now();
        assert_eq!(details(&status).info.reason, "UPSTREAM_RATE_LIMITED", "{status:?}");
        let mut created = 0;
        while other.create(create_request(&number("beside")), DEADLINE).await.is_ok() {
            created += 1;
        }
        let took = began.elapsed();
        println!("{mode:?}: the other replica kept the pause after {took:?}, {created} creates");
        // And what a busy machine takes.
        assert!(took < Duration::from_millis(1_500), "{took:?}");
        // The last of them may have been recorded already.
        let status = other.create(create_request(&number("later")), DEADLINE).await.unwrap_err();
        let info = details(&status).info;
        assert_eq!(info.reason, "UPSTREAM_RATE_LIMITED", "{status:?}");
        assert_eq!(info.metadata["outcome"], "not_sent", "{status:?}");
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

/// Creates and queries that have come to Douyin.
fn requests(fleet: &Fleet) -> u32 {
    let books = fleet.sim.books();
    u32::try_from(books.creates_total() + books.queries_total()).unwrap()
}
