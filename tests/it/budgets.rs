//! The request budget of an app as Douyin and callers see it: never more requests than it grants, a
//! quarter of it for polling, creates first in the rest, questions last.

use std::time::{Duration, Instant};

use settlement_gateway::config::Config;
use settlement_gateway::apps::Budget;
use settlement_gateway::proto::v1::{self, SettleState};
use douyin_sim::{Gate, Script};
use tokio::task::JoinSet;

use crate::harness::{
    Gateway, create_on, create_request, number, simulator, wait_for_answers, within,
};

fn give(config: &mut Config, requests_per_second: u32, requests_in_flight: u32) {
    let budget = Budget { requests_per_second, requests_in_flight };
    config.apps[0].budget = budget;
}

/// Six requests per second for creates, two for polls.
fn little(config: &mut Config) {
    give(config, 8, 8);
}

/// Repeats `call` in as many tasks until the answer is dropped.
fn flood<F: Future<Output = ()> + Send>(
    tasks: usize,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> JoinSet<()> {
    let mut flood = JoinSet::new();
    for _ in 0..tasks {
        let call = call.clone();
        flood.spawn(async move {
            loop {
                call().await;
            }
        });
    }
    flood
}

fn creates(gateway: &Gateway, tasks: usize) -> JoinSet<()> {
    let client = gateway.client.clone();
    flood(tasks, move || {
        let (mut client, request) = (client.clone(), create_request(&number("flood")));
        async move { client.create_settle(request).await.map_or((), drop) }
    })
}

fn questions(gateway: &Gateway, tasks: usize) -> JoinSet<()> {
    let client = gateway.client.clone();
    flood(tasks, move || {
        let request = v1::QuerySettlesRequest {
            key: Some(v1::query_settles_request::Key::OutSettleNo("nowhere".to_owned())),
            ..Default::default()
        };
        let mut client = client.clone();
        async move { client.query_settles(request).await.map_or((), drop) }
    })
}

/// Waits until a settle without a watcher has its end.
async fn ends_soon(gateway: &Gateway, out_settle_no: &str) {
    let ended = async {
        while gateway.get(out_settle_no).await.unwrap().state() != SettleState::Succeeded {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Polling has two looks per second.
    let ended = tokio::time::timeout(Duration::from_secs(6), ended).await;
    assert!(ended.is_ok(), "{out_settle_no} is not looked at");
}

#[tokio::test]
async fn creates_beyond_the_budget_wait_for_it() {
    let gateway = Gateway::spawn_with(simulator().await, little).await;
    let began = Instant::now();
    // A second's worth at once, then one each 167 ms.
    for _ in 0..12 {
        gateway.create(create_request(&number("paced"))).await.unwrap();
    }
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_creates_keeps_no_settle_of_its_app_from_its_end() {
    let gateway = Gateway::spawn_with(simulator().await, little).await;
    let number = number("polled");
    gateway.create(create_request(&number)).await.unwrap();
    let _flood = creates(&gateway, 40);
    ends_soon(&gateway, &number).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_keeps_no_settle_of_its_app_from_its_end() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        little(config);
        // A caller that is turned away comes back at once.
        config.gateway.budget_wait = Duration::from_millis(100);
        let schedule = &mut config.gateway.schedule;
        for wait in [&mut schedule.first, &mut schedule.cap, &mut schedule.watched_cap] {
            *wait = Duration::from_secs(1);
        }
    })
    .await;
    let numbers: Vec<_> = (0..3).map(|_| number("asked")).collect();
    for number in &numbers {
        let accepted = async { while gateway.create(create_request(number)).await.is_err() {} };
        within("a request that is free", accepted).await;
    }
    let _flood = questions(&gateway, 200);
    for number in &numbers {
        ends_soon(&gateway, number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_need_not_wait_for_the_questions_of_its_app() {
    let gateway = Gateway::spawn_with(simulator().await, little).await;
    let _flood = questions(&gateway, 40);
    // The budget of the first second is gone by then.
    within("the flood", gateway.sim.until(|books| books.queries_total() >= 6)).await;
    for _ in 0..3 {
        let began = Instant::now();
        gateway.create(create_request(&number("first"))).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

/// Creates, re-sends, polls and questions together, and many of each.
#[tokio::test(flavor = "multi_thread")]
async fn douyin_gets_no_more_requests_per_second_than_the_budget_says() {
    let gateway = Gateway::spawn_with(simulator().await, little).await;
    let began = Instant::now();
    for order in ["sim-hold-1", "sim-hold-2", "sim-lost-1", "sim-hold-3"] {
        gateway.create(create_on(&number("open"), order)).await.unwrap();
    }
    let _floods = (creates(&gateway, 20), questions(&gateway, 20));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let books = gateway.sim.books();
    let requests = u128::try_from(books.creates_total() + books.queries_total()).unwrap();
    // A second's worth may go out at once, and then as many per second.
    let most = 8 + began.elapsed().as_millis() * 8 / 1_000 + 1;
    println!("{requests} requests, {most} at most");
    assert!(requests <= most && requests > 20, "{requests}, {most}");
}

/// Four in flight: three for creates and for what they leave, one for polls.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_wait_for_douyins_answer_than_the_budget_says() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        wait_for_answers(config);
        give(config, 1_000, 4);
        config.gateway.budget_wait = Duration::from_secs(5);
    })
    .await;
    let gate = Gate::new();
    gateway.sim.always_create(Some(Script::Hold(gate.clone())));
    let mut held = JoinSet::new();
    for _ in 0..10 {
        let (mut client, request) = (gateway.client.clone(), create_request(&number("held")));
        held.spawn(async move { client.create_settle(request).await.map(drop) });
    }
    within("three creates", gateway.sim.until(|books| books.creates_total() == 3)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gateway.sim.books().creates_total(), 3);
    gateway.sim.always_create(None);
    gate.open();
    for answer in within("the others", held.join_all()).await {
        answer.unwrap();
    }
    assert_eq!(gateway.sim.books().creates_total(), 10);
}
