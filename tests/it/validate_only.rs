//! `validate_only`: every check of a create, and nothing written or sent. And what the typed detail
//! of an error tells of the settle that is recorded.

use douyin_sim::Script;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1::{self, CreateSettleRequest, SettleState};
use tonic::Code;

use crate::harness::{Gateway, assert_create_error, create_on, create_request, number};
use crate::told::told_status;

fn only_checked(request: CreateSettleRequest) -> CreateSettleRequest {
    CreateSettleRequest { validate_only: true, ..request }
}

#[tokio::test]
async fn a_create_that_would_be_taken_leaves_no_trace() {
    let gateway = Gateway::spawn().await;
    let number = number("checked");
    let answer = gateway.create_full(only_checked(create_request(&number))).await.unwrap();
    assert_eq!(answer, v1::CreateSettleResponse::default());
    assert_eq!(gateway.get(&number).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(gateway.sim.books().creates_total(), 0);
    // The number is as free as before, for any content.
    let created = gateway.create_full(create_on(&number, "another-order")).await.unwrap();
    assert!(!created.replayed);
}

#[tokio::test]
async fn wrong_fields_and_windows_are_told_as_by_the_create() {
    let gateway = Gateway::spawn().await;
    let day = std::time::Duration::from_hours(24);
    let late = std::time::SystemTime::now() + 30 * day;
    for request in [
        CreateSettleRequest { settle_desc: String::new(), ..create_request("checked") },
        CreateSettleRequest { submit_before: Some(late.into()), ..create_request("checked") },
    ] {
        let status = gateway.create(only_checked(request.clone())).await.unwrap_err();
        assert_create_error(&status, Code::InvalidArgument, "INVALID_REQUEST", "not_sent");
        let told = gateway.create(request).await.unwrap_err();
        let [checked, told] = [status, told].map(|it| told_status(&it, Rpc::CreateSettle));
        assert_eq!(checked.fields(), told.fields());
    }
}

#[tokio::test]
async fn a_recorded_number_is_compared_and_shown() {
    let gateway = Gateway::spawn().await;
    let number = number("recorded");
    let created = gateway.create(create_request(&number)).await.unwrap();
    let repeat = gateway.create_full(only_checked(create_request(&number))).await.unwrap();
    assert!(repeat.replayed);
    assert_eq!(repeat.settle.unwrap().settle_id, created.settle_id);

    let other = only_checked(create_on(&number, "another-order"));
    let status = gateway.create(other).await.unwrap_err();
    assert_create_error(&status, Code::AlreadyExists, "OUT_SETTLE_NO_CONFLICT", "not_sent");
    let failure = told_status(&status, Rpc::CreateSettle).failure;
    let recorded = gateway.get(&number).await.unwrap();
    assert_eq!(failure.differing_fields, ["out_order_no"]);
    assert_eq!((failure.state, failure.revision), (recorded.state, recorded.revision));
    assert_eq!(failure.settle_id, recorded.settle_id());
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn a_recorded_refusal_is_told_again() {
    let gateway = Gateway::spawn().await;
    let number = number("refused");
    let request = create_on(&number, "sim-err-23102-1");
    let first = gateway.create(request.clone()).await.unwrap_err();
    let again = gateway.create(only_checked(request)).await.unwrap_err();
    for status in [first, again] {
        assert_create_error(&status, Code::FailedPrecondition, "ORDER_NOT_PAID", "refused");
        let failure = told_status(&status, Rpc::CreateSettle).failure;
        assert_eq!(failure.state(), SettleState::Rejected);
        assert_eq!(failure.revision, gateway.get(&number).await.unwrap().revision);
    }
}

#[tokio::test]
async fn a_settle_whose_outcome_is_unknown_is_shown_and_not_sent_again() {
    let gateway = Gateway::spawn().await;
    let number = number("unknown");
    gateway.sim.script(&number, vec![Script::Refuse(23000), Script::Refuse(23000)]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let failure = told_status(&status, Rpc::CreateSettle).failure;
    assert_eq!(failure.outcome(), v1::Outcome::Unknown);
    assert_eq!(failure.state(), SettleState::Submitting);
    let sends = gateway.sim.books().sends(&number);
    let checked = gateway.create_full(only_checked(create_request(&number))).await.unwrap();
    assert!(checked.replayed);
    assert_eq!(checked.settle.unwrap().state(), SettleState::Submitting);
    assert_eq!(gateway.sim.books().sends(&number), sends);
}
