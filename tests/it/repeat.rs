//! Repeating a create is always safe: it waits for the work in flight, is answered from the record
//! or conflicts, and never sends again.

use douyin_sim::Script;
use settlement_gateway::proto::v1::{CreateSettleRequest, CreateSettleResponse, SettleState};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::harness::{
    Gateway, assert_create_error, create_on, create_request, number, simulator, wait_for_answers,
    within,
};

/// Starts 100 creates of one number, which Douyin answers only when all of them are there.
async fn hundred(
    gateway: &Gateway,
    answer: Script,
    request: CreateSettleRequest,
) -> Vec<Result<CreateSettleResponse, Status>> {
    gateway.sim.script(&request.out_settle_no, vec![Script::delay(500, answer)]);
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (mut client, request) = (gateway.client.clone(), request.clone());
        calls.spawn(
            async move { client.create_settle(request).await.map(tonic::Response::into_inner) },
        );
    }
    within("100 answers", calls.join_all()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_creates_cost_one_send_and_get_one_answer() {
    let gateway = Gateway::spawn_with(simulator().await, wait_for_answers).await;
    let number = number("hundred");
    let answers = hundred(&gateway, Script::Normal, create_request(&number)).await;
    let first = answers[0].as_ref().unwrap();
    assert_eq!(first.settle.as_ref().unwrap().state(), SettleState::Processing);
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap().settle, first.settle);
    }
    let made = answers.iter().filter(|answer| !answer.as_ref().unwrap().replayed).count();
    assert_eq!(made, 1, "one of them made the settle");
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_creates_get_one_refusal() {
    let gateway = Gateway::spawn_with(simulator().await, wait_for_answers).await;
    let number = number("hundred-refused");
    let answers = hundred(&gateway, Script::Refuse(23112), create_request(&number)).await;
    let first = answers[0].as_ref().unwrap_err();
    assert_create_error(first, Code::FailedPrecondition, "NO_MONEY_TO_SETTLE", "refused");
    for answer in &answers {
        let status = answer.as_ref().unwrap_err();
        assert_eq!((status.code(), status.message()), (first.code(), first.message()));
        assert_create_error(status, Code::FailedPrecondition, "NO_MONEY_TO_SETTLE", "refused");
    }
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn a_repeat_is_answered_from_the_record() {
    let gateway = Gateway::spawn().await;
    let number = number("replay");
    let first = gateway.create_full(create_request(&number)).await.unwrap();
    let replay = gateway.create_full(create_request(&number)).await.unwrap();
    assert!(!first.replayed && replay.replayed);
    assert_eq!(replay.settle.unwrap().settle_id, first.settle.unwrap().settle_id);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn a_repeat_of_a_refused_create_gets_the_recorded_refusal_and_sends_nothing() {
    let gateway = Gateway::spawn().await;
    let number = number("refused-again");
    let request = create_on(&number, "sim-err-23107-1");
    let code = Code::FailedPrecondition;
    let first = gateway.create(request.clone()).await.unwrap_err();
    let told = assert_create_error(&first, code, "ORDER_NOT_FINISHED", "refused");
    assert_eq!(told.info.metadata.get("replayed"), None);
    let again = gateway.create(request).await.unwrap_err();
    let told = assert_create_error(&again, code, "ORDER_NOT_FINISHED", "refused");
    assert_eq!(told.info.metadata["replayed"], "true");
    assert_eq!(told.douyin.unwrap().err_no, Some(23107));
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn another_content_under_the_number_conflicts_and_names_the_fields() {
    let gateway = Gateway::spawn().await;
    let number = number("conflict");
    gateway.create(create_request(&number)).await.unwrap();
    let mut other = create_request(&number);
    other.settle_params[0].amount_fen = 121;
    other.settle_desc = "something else".to_owned();
    let conflict = gateway.create(other).await.unwrap_err();
    let reason = "OUT_SETTLE_NO_CONFLICT";
    let told = assert_create_error(&conflict, Code::AlreadyExists, reason, "not_sent");
    assert_eq!(told.info.metadata["differing_fields"], "settle_desc,settle_params");
    assert!(!conflict.message().contains("something else"), "values are never told");
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn another_content_after_a_refusal_conflicts_too_and_sends_nothing() {
    let gateway = Gateway::spawn().await;
    let number = number("conflict-refused");
    gateway.create(create_on(&number, "sim-err-23101-1")).await.unwrap_err();
    let conflict = gateway.create(create_on(&number, "order-that-exists")).await.unwrap_err();
    let reason = "OUT_SETTLE_NO_CONFLICT";
    assert_create_error(&conflict, Code::AlreadyExists, reason, "refused");
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn what_is_not_content_may_differ_in_a_repeat() {
    let gateway = Gateway::spawn().await;
    let number = number("same");
    gateway.create(create_request(&number)).await.unwrap();
    let mut repeat = create_request(&number);
    // An empty app_id means the default app, and a window that is over does not matter any more.
    repeat.app_id = String::new();
    repeat.submit_before = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    assert!(gateway.create_full(repeat).await.unwrap().replayed);
}

#[tokio::test]
async fn repeats_during_back_off_bring_one_attempt_forward_and_cost_at_most_two_sends() {
    let gateway = Gateway::spawn_with(crate::harness::simulator().await, |config| {
        config.gateway.schedule.first = std::time::Duration::from_secs(60);
        config.gateway.schedule.cap = std::time::Duration::from_secs(60);
        config.gateway.nudge_gap = std::time::Duration::from_secs(60);
        config.grpc.unary_limit = std::time::Duration::from_millis(150);
    })
    .await;
    let number = number("stacked");
    gateway.sim.always_create(Some(Script::Refuse(23000)));
    for _ in 0..20 {
        let status = gateway.create(create_request(&number)).await.unwrap_err();
        let outcome = crate::harness::details(&status).info.metadata["outcome"].clone();
        assert_eq!(outcome, "unknown", "{status:?}");
    }
    assert!(gateway.sim.books().sends(&number) <= 2);
}
