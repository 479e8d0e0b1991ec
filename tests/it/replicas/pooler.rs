//! A pooler between the gateways and their database takes LISTEN and swallows what it is for: that
//! is found, at the start and later, and costs watchers the resync interval at most.

use std::time::Duration;

use tokio::task::JoinSet;

use super::fleet::{As, Fleet, Mode, quantiles};
use super::proxy::Proxy;
use super::watchers::{HEARD_WITHIN, heard};
use crate::harness::{create_request, number, within};

const DEADLINE: Duration = Duration::from_secs(10);
const UNHEARD: &str = "settlement_hints_unheard_total";
const LOST: &str = "settlement_hints_lost_total";
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
        let as_what = As { url: url.clone(), polls_rarely: true, ..As::default() };
        replicas.push(fleet.start_as(number, &as_what).await);
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
    let (median, most) = quantiles(heard(&fleet, &replicas[0], &replicas[1], 50).await);
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
    let as_what = As { polls_rarely: true, ..As::default() };
    let there = fleet.start_as(1, &as_what).await;
    let here = fleet.start_as(0, &As { url: Some(proxy.url()), ..as_what }).await;
    here.until_metric("settlement_replicas", 2.0).await;
    let (median, _) = quantiles(heard(&fleet, &here, &there, 20).await);
    assert!(median < Duration::from_millis(300), "by hints: {median:?}");
    assert_eq!(here.metric(UNHEARD).await, Some(0.0));
    assert_eq!(here.metric(LOST).await, Some(0.0));
    proxy.drop_notifications();
    let took = here.until_metric(UNHEARD, 1.0).await;
    println!("found after {took:?}");
    // While it rests from hearing nothing, it sends nothing either.
    let telling = async {
        while here.metric(LOST).await == Some(0.0) {
            here.create(create_request(&number("untold")), DEADLINE).await.unwrap();
        }
    };
    within("hints that find no room", telling).await;
    let (_, most) = quantiles(heard(&fleet, &here, &there, 50).await);
    assert!(most < HEARD_WITHIN, "{most:?}");
    let said = fleet.said(0);
    assert_eq!(said.matches(LINE).count(), 1, "{said}");
}
