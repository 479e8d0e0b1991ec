//! A settle from create to its end.

use settlement_gateway::proto::v1::{self, ReturnWhen, SettleOrigin, SettleState};
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_on, create_request, details, number,
};

#[tokio::test]
async fn a_settle_is_accepted_and_watched_to_success() {
    let gateway = Gateway::spawn().await;
    let number = number("ok");
    let accepted = gateway.create_full(create_request(&number)).await.unwrap();
    assert!(!accepted.replayed);
    let settle = accepted.settle.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    assert!(settle.settle_id().starts_with("ots"), "{settle:?}");
    assert_eq!(settle.revision, 2);
    assert_eq!(settle.origin(), SettleOrigin::Gateway);

    let told = gateway.watch_to_end(&number).await.unwrap();
    let revisions: Vec<_> = told.iter().map(|settle| settle.revision).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    let end = told.last().unwrap();
    assert_eq!(end.state(), SettleState::Succeeded);
    assert_eq!(end.settle_status(), "SUCCESS");
    assert_eq!(end.settle_id, settle.settle_id);
    let result = end.result.clone().unwrap();
    assert!(result.settle_amount_fen.unwrap() > 0);
    assert!(result.settle_time.is_some());
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn everything_the_caller_gave_is_kept_and_its_history_tells_each_step() {
    let gateway = Gateway::spawn().await;
    let number = number("facts");
    let mut request = create_request(&number);
    request.settle_params.push(v1::SettleParam { merchant_uid: "1".to_owned(), amount_fen: 5 });
    request.ext = "passed through".to_owned();
    request.notify_url = "https://caller.example/callback".to_owned();
    gateway.create(request.clone()).await.unwrap();
    gateway.end(&number).await;
    let answer = gateway.get_full(&number).await.unwrap();
    let settle = answer.settle.unwrap();
    assert_eq!(settle.app_id, APP_ID);
    assert_eq!(settle.out_order_no(), request.out_order_no);
    assert_eq!(settle.settle_desc(), request.settle_desc);
    assert_eq!(settle.settle_params, request.settle_params);
    assert_eq!(settle.ext(), request.ext);
    assert_eq!(settle.notify_url(), request.notify_url);
    let window = settle.submit_before.unwrap().seconds - settle.create_time.unwrap().seconds;
    assert_eq!(window, 72 * 3600);
    let steps: Vec<_> = answer.history.iter().map(|step| (step.revision, step.state())).collect();
    assert_eq!(steps.first(), Some(&(1, SettleState::Submitting)));
    assert_eq!(steps.last(), Some(&(settle.revision, SettleState::Succeeded)));
    assert!(answer.history.iter().skip(1).all(|step| step.log_id.is_some()), "{steps:?}");
}

#[tokio::test]
async fn a_settle_that_douyin_fails_ends_failed_with_the_reason() {
    let gateway = Gateway::spawn().await;
    let number = number("fail");
    let settle = gateway.create(create_on(&number, "sim-fail-1")).await.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    let end = gateway.end(&number).await;
    assert_eq!(end.state(), SettleState::Failed);
    assert_eq!(end.settle_status(), "FAIL");
    // A repeat is answered from the record: OK may carry a failed settle, and it says so.
    let replay = gateway.create_full(create_on(&number, "sim-fail-1")).await.unwrap();
    assert!(replay.replayed);
    assert_eq!(replay.settle.unwrap().state(), SettleState::Failed);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn an_item_is_settled_by_itself_and_then_not_the_whole_order() {
    let gateway = Gateway::spawn().await;
    let (item, whole) = (number("item"), number("whole"));
    let mut request = create_on(&item, "order-with-items");
    request.item_order_id = "motb1".to_owned();
    gateway.create(request).await.unwrap();
    let end = gateway.end(&item).await;
    assert_eq!((end.state(), end.item_order_id()), (SettleState::Succeeded, "motb1"));
    let refusal = gateway.create(create_on(&whole, "order-with-items")).await.unwrap_err();
    let reason = "ENTIRE_SETTLE_NOT_ALLOWED";
    assert_create_error(&refusal, Code::FailedPrecondition, reason, "refused");
}

#[tokio::test]
async fn a_refusal_is_an_error_that_says_what_douyin_said() {
    let gateway = Gateway::spawn().await;
    let number = number("refused");
    let refusal = gateway.create(create_on(&number, "sim-err-23102-1")).await.unwrap_err();
    let told = assert_create_error(&refusal, Code::FailedPrecondition, "ORDER_NOT_PAID", "refused");
    let douyin = told.douyin.unwrap();
    assert_eq!(douyin.err_no, Some(23102));
    assert_eq!(told.info.domain, "open.douyin.com");
    assert_eq!(told.info.metadata["err_no"], "23102");
    assert_eq!(told.info.metadata["out_settle_no"], number);
    assert_eq!(told.info.metadata["retry"], "after_change");
    assert_eq!(told.info.metadata["log_id"], douyin.log_id());
    let settle = gateway.get(&number).await.unwrap();
    assert_eq!(settle.state(), SettleState::Rejected);
    assert_eq!(settle.rejection.unwrap().reason, "ORDER_NOT_PAID");
}

#[tokio::test]
async fn return_when_recorded_answers_before_douyin_does() {
    let gateway = Gateway::spawn().await;
    let number = number("recorded");
    let mut request = create_on(&number, "sim-slow-1");
    request.set_return_when(ReturnWhen::Recorded);
    let settle = gateway.create(request).await.unwrap();
    assert_eq!((settle.state(), settle.revision), (SettleState::Submitting, 1));
}

#[tokio::test]
async fn return_when_final_answers_with_the_final_state() {
    let gateway = Gateway::spawn().await;
    let number = number("final");
    let mut request = create_request(&number);
    request.set_return_when(ReturnWhen::Final);
    assert_eq!(gateway.create(request).await.unwrap().state(), SettleState::Succeeded);
    let mut request = create_on(&format!("{number}-r"), "sim-err-23112-1");
    request.set_return_when(ReturnWhen::Final);
    let refusal = gateway.create(request).await.unwrap_err();
    let reason = "NO_MONEY_TO_SETTLE";
    assert_create_error(&refusal, Code::FailedPrecondition, reason, "refused");
}

#[tokio::test]
async fn a_settle_that_was_never_recorded_is_not_found() {
    let gateway = Gateway::spawn().await;
    let status = gateway.get("never-made").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(details(&status).info.reason, "SETTLE_NOT_FOUND");
}
