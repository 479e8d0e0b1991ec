//! What a create waits for, and what it says when that does not come in time.

use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script, Status, StrangerSettle};
use settlement_gateway::proto::v1::{CreateSettleRequest, ReturnWhen, SettleState};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_on, create_request, number, simulator,
    wait_for_answers, within,
};

fn wanting(when: ReturnWhen, mut request: CreateSettleRequest) -> CreateSettleRequest {
    request.set_return_when(when);
    request
}

#[tokio::test]
async fn at_the_deadline_final_is_answered_with_the_current_state() {
    let gateway = Gateway::spawn().await;
    let number = number("not-final");
    let request = wanting(ReturnWhen::Final, create_on(&number, "sim-hold-1"));
    let mut request = tonic::Request::new(request);
    let limit = Duration::from_secs(5);
    request.set_timeout(limit);
    let began = Instant::now();
    let answer = gateway.client.clone().create_settle(request).await.unwrap().into_inner();
    let took = began.elapsed();
    assert!(took > limit / 2 && took < limit, "{took:?}");
    assert_eq!(answer.settle.unwrap().state(), SettleState::Processing);
}

/// When the gateway's own time is up, too, and although nothing is known of Douyin's answer yet.
#[tokio::test]
async fn at_the_gateways_own_limit_final_is_answered_with_the_current_state_whatever_it_is() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        wait_for_answers(config);
        config.grpc.unary_limit = Duration::from_millis(600);
        // The greatest age of a stream is not that of a call.
        config.gateway.watch_age_max = Duration::from_millis(50);
    })
    .await;
    let (submitting, processing) = (number("submitting"), number("processing"));
    let gate = Gate::new();
    gateway.sim.script(&submitting, vec![Script::Hold(gate.clone())]);
    for (number, state) in
        [(&submitting, SettleState::Submitting), (&processing, SettleState::Processing)]
    {
        let began = Instant::now();
        let request = wanting(ReturnWhen::Final, create_on(number, "sim-hold-1"));
        let settle = gateway.create(request).await.unwrap();
        let took = began.elapsed();
        assert_eq!(settle.state(), state);
        assert!(took >= Duration::from_millis(590) && took < Duration::from_secs(3), "{took:?}");
    }
    gate.open();
}

#[tokio::test]
async fn a_refusal_that_comes_after_the_record_is_an_error_for_who_waits_for_the_end() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.policy.grace = Duration::from_millis(300);
    })
    .await;
    let number = number("refused-later");
    // The answer to the first send is lost, the repeat is refused: certain after the grace only.
    gateway.sim.script(&number, vec![Script::Drop, Script::Refuse(23112)]);
    let request = wanting(ReturnWhen::Final, create_request(&number));
    let status = gateway.create(request).await.unwrap_err();
    let reason = "NO_MONEY_TO_SETTLE";
    assert_create_error(&status, Code::FailedPrecondition, reason, "refused");
}

#[tokio::test]
async fn who_waits_for_the_end_hears_the_current_state_when_the_gateway_stops() {
    let mut gateway = Gateway::spawn().await;
    let number = number("stopping");
    let (mut client, request) = (gateway.client.clone(), create_on(&number, "sim-hold-1"));
    let request = wanting(ReturnWhen::Final, request);
    let call = tokio::spawn(async move { client.create_settle(request).await });
    let accepted = |books: &douyin_sim::Snapshot| books.queries_total() > 0;
    within("it to wait", gateway.sim.until(accepted)).await;
    gateway.stop().await;
    let settle = within("the answer", call).await.unwrap().unwrap().into_inner().settle.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
}

#[tokio::test]
async fn recorded_is_answered_at_once_and_the_settle_goes_out_all_the_same() {
    let gateway = Gateway::spawn().await;
    let number = number("recorded");
    let gate = Gate::new();
    gateway.sim.script(&number, vec![Script::Hold(gate.clone())]);
    let request = wanting(ReturnWhen::Recorded, create_request(&number));
    let settle = gateway.create(request.clone()).await.unwrap();
    assert_eq!((settle.state(), settle.settle_id), (SettleState::Submitting, None));
    // A repeat is answered at once too, and costs no send.
    assert!(gateway.create_full(request).await.unwrap().replayed);
    within("the send to arrive", gate.arrived()).await;
    gate.open();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn another_systems_settle_is_never_a_callers_final_state() {
    let gateway = Gateway::spawn().await;
    let number = number("theirs");
    let theirs = StrangerSettle { out_order_no: "theirs".to_owned(), ..StrangerSettle::default() };
    gateway.sim.stranger_settle(
        APP_ID,
        &number,
        StrangerSettle { status: Status::Success, ..theirs },
    );
    // The repeat is answered from the record, which is the other system's by then.
    for _ in 0..2 {
        let request = wanting(ReturnWhen::Final, create_request(&number));
        let status = gateway.create(request).await.unwrap_err();
        assert_create_error(&status, Code::AlreadyExists, "OUT_SETTLE_NO_EXISTS", "refused");
    }
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn another_content_conflicts_while_the_first_is_still_in_flight() {
    let gateway = Gateway::spawn().await;
    let number = number("in-flight");
    let gate = Gate::new();
    gateway.sim.script(&number, vec![Script::Hold(gate.clone())]);
    let (mut client, request) = (gateway.client.clone(), create_request(&number));
    let call = tokio::spawn(async move { client.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;
    for when in [ReturnWhen::Recorded, ReturnWhen::Accepted, ReturnWhen::Final] {
        let other = wanting(when, create_on(&number, "another-order"));
        let status = gateway.create(other).await.unwrap_err();
        let reason = "OUT_SETTLE_NO_CONFLICT";
        let told = assert_create_error(&status, Code::AlreadyExists, reason, "not_sent");
        assert_eq!(told.info.metadata["differing_fields"], "out_order_no");
    }
    gate.open();
    within("the first answer", call).await.unwrap().unwrap();
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

/// Two contents race for one number: one is recorded and sent, all others conflict.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_contents_that_race_for_a_number_one_is_sent_and_the_other_told() {
    let gateway = Gateway::spawn().await;
    let number = number("race");
    let mut calls = JoinSet::new();
    for i in 0..40 {
        let mut client = gateway.client.clone();
        let request = create_on(&number, ["order-a", "order-b"][i % 2]);
        calls.spawn(async move {
            let order = request.out_order_no.clone();
            (order, client.create_settle(request).await)
        });
    }
    let answers = within("40 answers", calls.join_all()).await;
    let books = gateway.sim.books();
    let paid = books.only(&number).expect("one settle").out_order_no.clone();
    for (order, answer) in answers {
        match answer {
            Ok(_) => assert_eq!(order, paid),
            Err(status) => {
                assert_ne!(order, paid, "{status:?}");
                let reason = "OUT_SETTLE_NO_CONFLICT";
                assert_create_error(&status, Code::AlreadyExists, reason, "not_sent");
            }
        }
    }
    assert_eq!(books.sends(&number), 1);
}
