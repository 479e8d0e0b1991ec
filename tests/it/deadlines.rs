//! Callers that run out of time, give up or die: the answer leaves in time, the settle goes on.

use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script};
use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tonic::Code;

use crate::harness::{
    Gateway, assert_create_error, create_on, create_request, number, simulator, wait_for_answers,
    within,
};

#[tokio::test]
async fn the_deadline_is_told_with_details_before_it_passes_and_the_settle_goes_on() {
    let gateway = Gateway::spawn_with(simulator().await, wait_for_answers).await;
    let number = number("deadline");
    let gate = Gate::new();
    gateway.sim.script(&number, vec![Script::Hold(gate.clone())]);
    let mut request = tonic::Request::new(create_request(&number));
    let limit = Duration::from_secs(4);
    request.set_timeout(limit);
    let began = Instant::now();
    let status = gateway.client.clone().create_settle(request).await.unwrap_err();
    let took = began.elapsed();
    assert_create_error(&status, Code::DeadlineExceeded, "DEADLINE_REACHED", "unknown");
    assert!(took < limit, "{took:?}");
    gate.open();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().under(&number).len(), 1);
}

#[tokio::test]
async fn the_gateways_own_limit_is_told_as_unavailable() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.grpc.unary_limit = Duration::from_millis(200);
    })
    .await;
    let number = number("limit");
    let gate = Gate::new();
    gateway.sim.script(&number, vec![Script::Hold(gate.clone())]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    let told = assert_create_error(&status, Code::Unavailable, "TIME_LIMIT_REACHED", "unknown");
    assert!(told.retry_after.is_some());
    gate.open();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn a_deadline_that_leaves_no_time_records_nothing() {
    let gateway = Gateway::spawn().await;
    let number = number("no-time");
    // The client itself gives up after 15 ms, so the server's answer may come too late for it.
    let status = loop {
        let mut request = tonic::Request::new(create_request(&number));
        request.metadata_mut().insert("grpc-timeout", "15m".parse().unwrap());
        let status = gateway.client.clone().create_settle(request).await.unwrap_err();
        if status.code() != Code::Cancelled {
            break status;
        }
    };
    assert_create_error(&status, Code::DeadlineExceeded, "DEADLINE_REACHED", "not_sent");
    assert_eq!(gateway.get(&number).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_cancelled_call_changes_nothing_about_the_settle() {
    let gateway = Gateway::spawn().await;
    let number = number("cancelled");
    let gate = Gate::new();
    gateway.sim.script(&number, vec![Script::Hold(gate.clone())]);
    let (mut client, request) = (gateway.client.clone(), create_request(&number));
    let call = tokio::spawn(async move { client.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn a_dropped_connection_changes_nothing_about_the_settle() {
    let gateway = Gateway::spawn().await;
    let number = number("dropped");
    let gate = Gate::new();
    gateway.sim.script(&number, vec![Script::Hold(gate.clone())]);
    let (url, request) = (gateway.url.clone(), create_request(&number));
    // A runtime of its own, so that shutting it down closes the client's socket.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(async move {
        let mut client = SettlementServiceClient::connect(url).await.unwrap();
        client.create_settle(request).await
    });
    within("the send to arrive", gate.arrived()).await;
    runtime.shutdown_background();
    gate.open();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 1);
}

#[tokio::test]
async fn the_callers_deadline_bounds_the_wait_for_a_slow_answer_too() {
    let gateway = Gateway::spawn_with(simulator().await, wait_for_answers).await;
    let number = number("slow");
    let mut request = tonic::Request::new(create_on(&number, "sim-slow-1"));
    request.set_timeout(Duration::from_secs(2));
    let status = gateway.client.clone().create_settle(request).await.unwrap_err();
    assert_create_error(&status, Code::DeadlineExceeded, "DEADLINE_REACHED", "unknown");
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&number), 1, "the answer was late, not lost");
}
