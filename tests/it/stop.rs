//! Starting and stopping: nothing in flight is cut, everything says so.

use std::time::Duration;

use douyin_sim::{Gate, Script};
use settlement_gateway::clock::Clock;
use settlement_gateway::core;
use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::server::{BuildError, Server, Stopped};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{
    APP_ID, Gateway, app, assert_create_error, config, create_request, number, simulator, within,
};

const SERVICE: &str = "douyin.settlement.v1.SettlementService";

fn health_client(gateway: &Gateway) -> HealthClient<Channel> {
    HealthClient::new(Endpoint::from_shared(gateway.url.clone()).unwrap().connect_lazy())
}

async fn health(gateway: &Gateway, service: &str) -> Result<ServingStatus, tonic::Status> {
    let mut client = health_client(gateway);
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await?;
    Ok(answer.into_inner().status())
}

#[tokio::test]
async fn health_is_served_for_the_server_and_the_service() {
    let gateway = Gateway::spawn().await;
    let serving = async {
        for service in ["", SERVICE] {
            while health(&gateway, service).await.ok() != Some(ServingStatus::Serving) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    within("SERVING", serving).await;
    assert_eq!(health(&gateway, "no.such.Service").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_stop_says_not_serving_then_finishes_what_is_in_flight() {
    let mut gateway = Gateway::spawn_with(simulator().await, |config| {
        config.stop.drain_delay = Duration::from_millis(300);
    })
    .await;
    let mut client = health_client(&gateway);
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut statuses = client.watch(request).await.unwrap().into_inner();
    let in_flight = number("in-flight");
    let gate = Gate::new();
    gateway.sim.script(&in_flight, vec![Script::Hold(gate.clone())]);
    let (mut calling, request) = (gateway.client.clone(), create_request(&in_flight));
    let call = tokio::spawn(async move { calling.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;

    let stopping = async {
        let stopped = gateway.stop().await;
        (stopped, gateway)
    };
    let watching = async {
        let mut seen = Vec::new();
        while let Ok(Some(answer)) = statuses.message().await {
            seen.push(answer.status());
            if answer.status() == ServingStatus::NotServing {
                gate.open();
            }
        }
        seen
    };
    let ((stopped, gateway), seen) =
        within("the stop", async { tokio::join!(stopping, watching) }).await;
    assert_eq!(stopped, Stopped::Gracefully);
    assert_eq!(seen.last(), Some(&ServingStatus::NotServing), "and then the stream ended");
    let settle = call.await.unwrap().unwrap().into_inner().settle.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
    let gateway = gateway.started_again().await;
    assert_eq!(gateway.end(&in_flight).await.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn a_stop_whose_grace_ends_is_hard_and_loses_nothing() {
    let mut gateway = Gateway::spawn_with(simulator().await, |config| {
        config.stop.grace = Duration::from_millis(200);
        config.douyin.attempt_timeout = Duration::from_secs(30);
        config.douyin.call_timeout = Duration::from_secs(30);
        config.gateway.policy.call_timeout = Duration::from_secs(30);
        config.gateway.lease = Duration::from_secs(60);
    })
    .await;
    let number = number("cut");
    gateway.sim.script(&number, vec![Script::apply_then(Script::Hang)]);
    let (mut calling, request) = (gateway.client.clone(), create_request(&number));
    let call = tokio::spawn(async move { calling.create_settle(request).await });
    within("the send", gateway.sim.until(|books| books.sends(&number) == 1)).await;
    assert_eq!(gateway.stop().await, Stopped::Hard);
    call.abort();
    let gateway = gateway.started_again().await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().under(&number).len(), 1);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_database_is_refused() {
    let gateway = Gateway::spawn().await;
    let config = config(gateway.sim.url(), gateway.database());
    let Err(error) = Server::build(config, Clock::system()).await else {
        panic!("two gateways share one SQLite file");
    };
    assert!(matches!(error, BuildError::Core(core::BuildError::Store(_))), "{error}");
    assert!(gateway.create(create_request(&number("still"))).await.is_ok());
}

#[tokio::test]
async fn a_gateway_with_an_app_that_is_there_twice_is_none() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let mut config = config(sim.url(), dir.path().join("settlement.db"));
    config.apps.push(app(APP_ID, "another secret"));
    let Err(error) = Server::build(config, Clock::system()).await else {
        panic!("which secret would it be?");
    };
    assert!(matches!(error, BuildError::Core(core::BuildError::Apps(_))), "{error}");
}

#[tokio::test]
async fn an_overloaded_gateway_turns_creates_away_before_it_records_them() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.gateway.creates_max = 1;
    })
    .await;
    let (first, second) = (number("first"), number("second"));
    let gate = Gate::new();
    gateway.sim.script(&first, vec![Script::Hold(gate.clone())]);
    let (mut calling, request) = (gateway.client.clone(), create_request(&first));
    let call = tokio::spawn(async move { calling.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;
    let status = gateway.create(create_request(&second)).await.unwrap_err();
    let told = assert_create_error(&status, Code::ResourceExhausted, "OVERLOADED", "not_sent");
    assert!(told.retry_after.is_some());
    gate.open();
    call.await.unwrap().unwrap();
    assert_eq!(
        gateway.create(create_request(&second)).await.unwrap().state(),
        SettleState::Processing
    );
}
