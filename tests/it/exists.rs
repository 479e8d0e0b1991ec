//! 23111 to a first send: the number is used. Whose settle is it?

use douyin_sim::{Script, Status, StrangerSettle};
use settlement_gateway::proto::v1::{SettleOrigin, SettleState};
use tonic::Code;

use crate::harness::{APP_ID, Gateway, assert_create_error, create_request, details, number};

/// What another gateway of the same company would have sent for this number: the same mark.
async fn mark_of(number: &str) -> String {
    let other = Gateway::spawn().await;
    other.create(create_request(number)).await.unwrap();
    let books = other.sim.books();
    books.only(number).expect("it was applied once").cp_extra.clone()
}

fn stranger(number: &str, cp_extra: &str) -> StrangerSettle {
    StrangerSettle {
        out_order_no: format!("order-of-{number}"),
        cp_extra: cp_extra.to_owned(),
        status: Status::Processing,
        ..StrangerSettle::default()
    }
}

#[tokio::test]
async fn a_settle_with_our_content_is_adopted_as_ours() {
    let gateway = Gateway::spawn().await;
    let number = number("same-content");
    let settle = stranger(&number, &mark_of(&number).await);
    let settle_id = gateway.sim.stranger_settle(APP_ID, &number, settle);
    let settle = gateway.create(create_request(&number)).await.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    assert_eq!(settle.origin(), SettleOrigin::Gateway);
    assert_eq!(settle.settle_id(), settle_id);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn another_systems_settle_never_becomes_ours() {
    let number = number("foreign");
    let mark = mark_of(&number).await;
    let other_order =
        StrangerSettle { out_order_no: "another-order".to_owned(), ..stranger(&number, &mark) };
    let other_receivers = stranger(&number, "sg1:00000000000000000000000000000000");
    for foreign in [other_order, other_receivers] {
        let gateway = Gateway::spawn().await;
        let out_order_no = foreign.out_order_no.clone();
        let settle_id = gateway.sim.stranger_settle(APP_ID, &number, foreign);
        for _ in 0..2 {
            let status = gateway.create(create_request(&number)).await.unwrap_err();
            let reason = "OUT_SETTLE_NO_EXISTS";
            let told = assert_create_error(&status, Code::AlreadyExists, reason, "refused");
            assert_eq!(told.info.metadata["settle_id"], settle_id);
            assert_eq!(told.douyin.unwrap().err_no, Some(23111), "also to the one who asks again");
        }
        let settle = gateway.get(&number).await.unwrap();
        assert_eq!(settle.origin(), SettleOrigin::Platform);
        assert_eq!(settle.out_order_no(), out_order_no);
        assert_eq!(settle.settle_params, [], "our receivers are not shown for their settle");
        assert_eq!(gateway.sim.books().sends(&number), 1);
    }
}

#[tokio::test]
async fn a_number_that_exists_and_is_never_found_is_rejected_when_all_sends_were_answered() {
    let gateway = Gateway::spawn().await;
    let number = number("exists-not-found");
    gateway.sim.script(&number, vec![Script::Refuse(23111)]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let told = details(&status);
    assert_eq!(told.info.metadata["outcome"], "unknown", "{status:?}");
    assert_eq!(told.info.reason, "OUT_SETTLE_NO_EXISTS");
    let end = gateway.end(&number).await;
    assert_eq!(end.state(), SettleState::Rejected);
    assert_eq!(end.rejection.unwrap().reason, "OUT_SETTLE_NO_EXISTS");
    assert_eq!(gateway.sim.books().sends(&number), 1, "23111 forbids another send");
}

#[tokio::test]
async fn an_acceptance_that_names_no_settle_is_found_by_query() {
    let gateway = Gateway::spawn().await;
    let number = number("no-id");
    let script = Script::apply_then(Script::AcceptWithoutId);
    gateway.sim.script(&number, vec![script]);
    let settle = gateway.create(create_request(&number)).await.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}
