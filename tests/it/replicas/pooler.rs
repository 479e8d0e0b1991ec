//! A pooler between the gateways and their database takes LISTEN and swallows what it is for: that
//! is found, at the start and later, and costs watchers the resync interval at most.

use std::time::Duration;

use tokio::task::JoinSet;

use super::fleet::{As, Fleet, Mode, quantiles};
use super::proxy::Proxy;
use super::watchers::until_heard;
use crate::harness::{create_request, number};

/// The interval at which a replica reads what is watched there, and what a busy machine takes.
const HEARD_WITHIN: Duration = Duration::from_millis(2_500);
const DEADLINE: Duration = Duration::from_secs(10);
const UNHEARD: &str = "settlement_hints_unheard_total";
const LINE: &str = "hints do not arrive, probably because of a pooler";

/// PgBouncer in transaction mode, without `store.plain`: what it does to statements that were
/// planned must not hurt either.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_replicas_find_at_their_start_that_they_hear_nothing() {
    let fleet = Fleet::new(Mode::Whole).await;
    let pooler = fleet.database.pooler().await.display().to_string().replace('/', "%2F");
    let url = Some(format!("postgres://postgres@{pooler}/postgres"));
    let mut replicas = Vec::new();
    for number in 0..2 {
        replicas.push(fleet.start_as(number, &As { url: url.clone(), ..As::default() }).await);
    }
    for replica in &replicas {
        replica.until_metric(UNHEARD, 1.0).await;
    }
    let mut creates = JoinSet::new();
    for place in 0..100 {
        creates.spawn(replicas[place % 2].creating(create_request(&number("pooled")), DEADLINE));
    }
    for created in creates.join_all().await {
        created.expect("it works behind a pooler");
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(until_heard(&fleet, &replicas[0], &replicas[1]).await);
    }
    let (median, most) = quantiles(times);
    println!("behind a pooler: heard after {median:?}, at most {most:?}");
    assert!(most < HEARD_WITHIN, "{most:?}");
    for number in [0, 1] {
        let said = fleet.said(number);
        assert_eq!(said.matches(LINE).count(), 1, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_arrive_no_more_are_missed_while_it_runs() {
    let fleet = Fleet::new(Mode::Whole).await;
    let proxy = Proxy::before(fleet.database.home()).await;
    let here = fleet.start_as(0, &As { url: Some(proxy.url()), ..As::default() }).await;
    let there = fleet.start(1).await;
    here.until_metric("settlement_replicas", 2.0).await;
    until_heard(&fleet, &here, &there).await;
    assert_eq!(here.metric(UNHEARD).await, Some(0.0));
    proxy.drop_notifications();
    let took = here.until_metric(UNHEARD, 1.0).await;
    println!("found after {took:?}");
    let heard = until_heard(&fleet, &here, &there).await;
    assert!(heard < HEARD_WITHIN, "{heard:?}");
    let said = fleet.said(0);
    assert_eq!(said.matches(LINE).count(), 1, "{said}");
}
