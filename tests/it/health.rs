//! What balancers see: `grpc.health.v1` by Check and by Watch, for the server, each service and
//! each app.

use std::time::Duration;

use douyin_sim::{Gate, Script};
use settlement_gateway::server::Stopped;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::{APP_ID, Gateway, create_request, number, simulator, within};

pub const SERVICE: &str = "douyin.settlement.v1.SettlementService";
/// The server, the services, and the one app of the tests.
const ALL: [&str; 4] = ["", SERVICE, "douyin.settlement.v1.OperatorService", APP_ID];

pub fn client(url: &str) -> HealthClient<Channel> {
    HealthClient::new(Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy())
}

pub async fn watch(
    client: &HealthClient<Channel>,
    service: &str,
) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let watching = async { client.clone().watch(request).await };
    within("the health watch", watching).await.unwrap().into_inner()
}

/// Reads a health watch until it says this.
pub async fn until(statuses: &mut Streaming<HealthCheckResponse>, wanted: ServingStatus) {
    let told = async {
        while statuses.message().await.unwrap().expect("the watch goes on").status() != wanted {}
    };
    within(wanted.as_str_name(), told).await;
}

#[tokio::test]
async fn check_and_watch_say_serving_for_the_server_each_service_and_each_app() {
    let gateway = Gateway::spawn().await;
    let client = client(&gateway.url);
    for service in ALL {
        until(&mut watch(&client, service).await, ServingStatus::Serving).await;
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = client.clone().check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest { service: "no.such.Service".to_owned() };
    assert_eq!(client.clone().check(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn all_watches_hear_of_a_stop_and_then_end() {
    let mut gateway = Gateway::spawn_with(simulator().await, |config| {
        config.stop.drain_delay = Duration::from_millis(300);
    })
    .await;
    let client = client(&gateway.url);
    let mut watches = Vec::new();
    for service in ALL {
        let mut statuses = watch(&client, service).await;
        until(&mut statuses, ServingStatus::Serving).await;
        watches.push(statuses);
    }
    let told = async {
        for mut statuses in watches {
            until(&mut statuses, ServingStatus::NotServing).await;
            // It ends instead of holding the stop up, well or not.
            while let Ok(Some(answer)) = within("the end", statuses.message()).await {
                assert_ne!(answer.status(), ServingStatus::Serving);
            }
        }
    };
    let (stopped, ()) = tokio::join!(gateway.stop(), told);
    assert_eq!(stopped, Stopped::Gracefully);
}

#[tokio::test]
async fn a_gateway_whose_places_for_calls_are_all_taken_is_not_serving_until_one_is_free() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        config.grpc.calls_max = 1;
        let patience = Duration::from_secs(15);
        config.douyin.attempt_timeout = patience;
        config.douyin.call_timeout = patience;
        config.gateway.policy.call_timeout = patience;
        config.gateway.lease = 2 * patience;
    })
    .await;
    let (number, gate, client) = (number("waits"), Gate::new(), client(&gateway.url));
    let mut statuses = watch(&client, SERVICE).await;
    until(&mut statuses, ServingStatus::Serving).await;
    gateway.sim.script(&number, vec![Script::Hold(gate.clone())]);
    let (mut caller, request) = (gateway.client.clone(), create_request(&number));
    let create = tokio::spawn(async move { caller.create_settle(request).await });
    until(&mut statuses, ServingStatus::NotServing).await;
    gate.open();
    within("the answer", create).await.unwrap().unwrap();
    until(&mut statuses, ServingStatus::Serving).await;
}
