//! A token dies while many calls need it: there is one fetch, and no caller notices.

use std::time::Duration;

use douyin_sim::{Script, Status};
use settlement_gateway::proto::v1::SettleState;
use tokio::task::JoinSet;

use crate::harness::{
    APP_ID, Gateway, create_on, create_request, number, simulator, watch_request, within,
};

/// A gateway with a dead token that may fetch whenever a token is dead. Only because calls share a
/// fetch there are not a hundred.
async fn with_a_dead_token() -> Gateway {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.douyin.refetch_gap = Duration::ZERO;
    })
    .await;
    let warm = number("warm");
    gateway.create(create_request(&warm)).await.unwrap();
    // No other call may use the token meanwhile.
    gateway.end(&warm).await;
    gateway.sim.expire_tokens(APP_ID);
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_creates_with_a_dead_token_all_go_through_with_one_fetch() {
    let gateway = with_a_dead_token().await;
    // Long enough for all of them to need it.
    gateway.sim.script_token(vec![Script::delay(200, Script::Normal)]);
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (mut client, number) = (gateway.client.clone(), number("storm"));
        calls.spawn(async move {
            let answer = client.create_settle(create_request(&number)).await;
            (number, answer)
        });
    }
    for (number, answer) in within("100 answers", calls.join_all()).await {
        let settle = answer.unwrap().into_inner().settle.unwrap();
        assert_eq!(settle.state(), SettleState::Processing);
        let books = gateway.sim.books();
        assert_eq!(books.under(&number).len(), 1);
        assert!(books.sends(&number) <= 2, "one turned away for its token, one repeated");
    }
    assert_eq!(gateway.sim.books().tokens_fetched(APP_ID), 2, "the first one and one more");
}

#[tokio::test]
async fn a_query_with_a_dead_token_costs_one_fetch_and_the_watcher_hears_the_end() {
    let gateway = with_a_dead_token().await;
    let number = number("query");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let stream = gateway.watch(watch_request(&number, settle.revision)).await.unwrap();
    gateway.sim.expire_tokens(APP_ID);
    assert!(gateway.sim.finish(settle.settle_id(), Status::Success));
    let news = crate::harness::drain(stream).await.unwrap();
    assert_eq!(news.last().unwrap().state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().tokens_fetched(APP_ID), 3);
}
