//! Tokens live for a short time, end each other, and are fetched as rarely as possible.

use std::time::Duration;

use douyin_sim::Script;
use settlement_gateway::proto::v1::SettleState;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_request, number, simulator_with, within,
};

#[tokio::test]
async fn every_token_number_costs_one_refetch_and_one_repeat() {
    for err_no in [28001003, 28001008, 2190002, 2190008, 10008, 11002] {
        let sim = simulator_with(|config| config.choices.token_expired_err_no = err_no).await;
        let gateway = Gateway::spawn_with(sim, |config| {
            config.douyin.refetch_gap = Duration::from_millis(100);
        })
        .await;
        let warm = number("warm");
        gateway.create(create_request(&warm)).await.unwrap();
        // Nothing else may use the token meanwhile.
        gateway.end(&warm).await;
        gateway.sim.expire_tokens(APP_ID);
        tokio::time::sleep(Duration::from_millis(120)).await;
        let number = number("expired-token");
        let settle = gateway.create(create_request(&number)).await.unwrap();
        assert_eq!(settle.state(), SettleState::Processing, "{err_no}");
        let books = gateway.sim.books();
        assert_eq!(books.tokens_fetched(APP_ID), 2, "{err_no}");
        assert_eq!(books.sends(&number), 2, "{err_no}: one refused by its token, one repeated");
        assert_eq!(books.under(&number).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_with_a_dead_token_fetch_one() {
    let gateway = Gateway::spawn().await;
    let warm = number("warm");
    gateway.create(create_request(&warm)).await.unwrap();
    gateway.end(&warm).await;
    gateway.sim.expire_tokens(APP_ID);
    // The first token may be younger than the gap between two refetches: the clock of the test's
    // gateway is the real one, so the gap is what this test configures.
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (mut client, request) = (gateway.client.clone(), create_request(&number("storm")));
        calls.spawn(async move { client.create_settle(request).await.map(drop) });
    }
    let answers = within("100 answers", calls.join_all()).await;
    assert!(gateway.sim.books().tokens_fetched(APP_ID) <= 2);
    for answer in answers {
        if let Err(status) = answer {
            let code = Code::FailedPrecondition;
            let outcome = crate::harness::details(&status).info.metadata["outcome"].clone();
            assert_create_error(&status, code, "UPSTREAM_CREDENTIALS_REJECTED", &outcome);
            assert_ne!(outcome, "refused");
        }
    }
}

#[tokio::test]
async fn a_restart_fetches_no_new_token() {
    let gateway = Gateway::spawn().await;
    gateway.create(create_request(&number("before"))).await.unwrap();
    let gateway = gateway.restart().await;
    gateway.create(create_request(&number("after"))).await.unwrap();
    assert_eq!(gateway.sim.books().tokens_fetched(APP_ID), 1);
}

#[tokio::test]
async fn a_foreign_fetcher_that_kills_our_tokens_costs_one_fetch_per_gap() {
    let sim = simulator_with(|config| config.choices.token_grace_ms = 0).await;
    let gateway = Gateway::spawn_with(sim, |config| {
        config.douyin.refetch_gap = Duration::from_millis(300);
    })
    .await;
    let mut numbers = Vec::new();
    for _ in 0..4 {
        // Two fetches by another system end every token of ours.
        gateway.sim.steal_token(APP_ID);
        gateway.sim.steal_token(APP_ID);
        tokio::time::sleep(Duration::from_millis(350)).await;
        let number = number("stolen");
        let _ = gateway.create(create_request(&number)).await;
        numbers.push(number);
    }
    for number in &numbers {
        if gateway.get(number).await.is_ok() {
            assert_eq!(gateway.end(number).await.state(), SettleState::Succeeded);
            assert_eq!(gateway.sim.books().under(number).len(), 1);
        }
    }
    let fetched = gateway.sim.books().tokens_fetched(APP_ID);
    assert!(fetched <= 6, "{fetched} fetches for four thefts");
}

#[tokio::test]
async fn a_wrong_secret_is_the_apps_trouble_and_is_told_as_such() {
    let gateway = Gateway::spawn_with(simulator_with(|_| {}).await, |config| {
        config.apps[0].client_secret = Some("wrong".into());
    })
    .await;
    let (first, second) = (number("secret"), number("secret"));
    let code = Code::FailedPrecondition;
    let status = gateway.create(create_request(&first)).await.unwrap_err();
    let told = assert_create_error(&status, code, "UPSTREAM_CREDENTIALS_REJECTED", "unknown");
    assert_eq!(told.info.metadata["retry"], "after_change");
    let status = gateway.create(create_request(&second)).await.unwrap_err();
    assert_create_error(&status, code, "UPSTREAM_CREDENTIALS_REJECTED", "not_sent");
    assert_eq!(gateway.sim.books().creates_total(), 0);
    assert_eq!(gateway.get(&second).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_is_told_in_time() {
    let gateway = Gateway::spawn().await;
    gateway.sim.script_token(vec![Script::Hang]);
    let number = number("token-hangs");
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "UPSTREAM_UNAVAILABLE", "unknown");
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}
