//! Several apps on one gateway: one app's trouble is no other's.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use settlement_gateway::config::Config;
use settlement_gateway::douyin::App;
use settlement_gateway::gateway::Budget;
use settlement_gateway::proto::v1::{CreateSettleRequest, SettleState};
use settlement_gateway::settle::AppId;
use settlement_gateway::sim::{Script, SimApp, Simulator};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_request, number, simulator_with, within,
};

const OTHER: &str = "ttother";

async fn two_apps() -> Simulator {
    simulator_with(|config| {
        let app = SimApp { app_id: OTHER.to_owned(), client_secret: "other-secret".to_owned() };
        config.apps.push(app);
    })
    .await
}

fn serve_other(config: &mut Config, secret: &str) {
    let app_id = AppId::parse(OTHER).unwrap();
    config.apps.push(App { app_id, client_secret: SecretString::from(secret) });
}

fn both(config: &mut Config) {
    serve_other(config, "other-secret");
}

fn of_other(out_settle_no: &str) -> CreateSettleRequest {
    CreateSettleRequest { app_id: OTHER.to_owned(), ..create_request(out_settle_no) }
}

#[tokio::test]
async fn the_same_number_in_two_apps_is_two_settles() {
    let gateway = Gateway::spawn_with(two_apps().await, both).await;
    let number = number("shared");
    let ours = gateway.create(create_request(&number)).await.unwrap();
    let theirs = gateway.create(of_other(&number)).await.unwrap();
    assert_ne!(ours.settle_id, theirs.settle_id);
    assert_eq!((ours.app_id.as_str(), theirs.app_id.as_str()), (APP_ID, OTHER));
}

#[tokio::test]
async fn a_bad_secret_harms_its_own_app_only() {
    let gateway = Gateway::spawn_with(two_apps().await, |config| {
        serve_other(config, "wrong");
    })
    .await;
    let status = gateway.create(of_other(&number("bad"))).await.unwrap_err();
    let (code, reason) = (Code::FailedPrecondition, "UPSTREAM_CREDENTIALS_REJECTED");
    assert_create_error(&status, code, reason, "unknown");
    let number = number("good");
    gateway.create(create_request(&number)).await.unwrap();
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
}

#[tokio::test]
async fn a_throttled_app_slows_nobody_else() {
    let gateway = Gateway::spawn_with(two_apps().await, both).await;
    let throttled = number("throttled");
    gateway.sim.script(&throttled, vec![Script::Refuse(12001)]);
    let (code, reason) = (Code::ResourceExhausted, "UPSTREAM_RATE_LIMITED");
    let status = gateway.create(of_other(&throttled)).await.unwrap_err();
    assert_create_error(&status, code, reason, "unknown");
    let status = gateway.create(of_other(&number("next"))).await.unwrap_err();
    assert_create_error(&status, code, reason, "not_sent");
    let began = Instant::now();
    gateway.create(create_request(&number("free"))).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // A repeat of the throttled settle is answered at once, too: it takes no place from others.
    let began = Instant::now();
    let status = gateway.create(of_other(&throttled)).await.unwrap_err();
    assert_create_error(&status, code, reason, "unknown");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_app_is_shed_and_leaves_the_other_its_usual_time() {
    let gateway = Gateway::spawn_with(two_apps().await, |config| {
        both(config);
        let budget = Budget { requests_per_second: 8, requests_in_flight: 8 };
        config.gateway.budgets.insert(AppId::parse(OTHER).unwrap(), budget);
        config.gateway.budget_wait = Duration::from_millis(500);
    })
    .await;
    let mut flood = JoinSet::new();
    for _ in 0..200 {
        let (mut client, request) = (gateway.client.clone(), of_other(&number("flood")));
        flood.spawn(async move { client.create_settle(request).await.map(drop) });
    }
    for _ in 0..20 {
        let began = Instant::now();
        gateway.create(create_request(&number("usual"))).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let (mut made, mut shed) = (0, 0);
    for answer in within("the flood", flood.join_all()).await {
        match answer {
            Ok(()) => made += 1,
            Err(status) => {
                let code = Code::ResourceExhausted;
                let told = assert_create_error(&status, code, "OVERLOADED", "not_sent");
                assert!(told.retry_after.is_some());
                shed += 1;
            }
        }
    }
    assert!(made >= 6 && shed > 100, "{made} made, {shed} shed");
}

#[tokio::test]
async fn creates_beyond_the_budget_wait_for_it_and_polls_keep_their_quarter() {
    let gateway = Gateway::spawn_with(two_apps().await, |config| {
        both(config);
        let budget = Budget { requests_per_second: 8, requests_in_flight: 8 };
        config.gateway.budgets.insert(AppId::parse(OTHER).unwrap(), budget);
    })
    .await;
    // One second's worth at once, the rest as the budget allows; each settle reaches its end
    // although creates use up their share.
    let numbers: Vec<_> = (0..12).map(|_| number("paced")).collect();
    for number in &numbers {
        gateway.create(of_other(number)).await.unwrap();
    }
    let ended = async {
        for number in &numbers {
            let books = || gateway.sim.books().only(number).map(|settle| settle.status);
            while books() != Some(settlement_gateway::sim::Status::Success) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    within("all settles to end", ended).await;
}

#[tokio::test]
async fn settles_of_an_app_that_is_not_configured_are_parked_until_it_comes_back() {
    let mut gateway = Gateway::spawn_with(two_apps().await, both).await;
    let number = number("parked");
    let mut request = of_other(&number);
    request.out_order_no = "sim-hold-1".to_owned();
    let settle = gateway.create(request.clone()).await.unwrap();
    gateway.tune(|_| {});
    let mut gateway = gateway.restart().await;
    let status = gateway.create(request).await.unwrap_err();
    let (code, reason) = (Code::FailedPrecondition, "APP_NOT_CONFIGURED");
    assert_create_error(&status, code, reason, "not_sent");
    let finished = settlement_gateway::sim::Status::Success;
    assert!(gateway.sim.finish(settle.settle_id(), finished));
    gateway.tune(both);
    let gateway = gateway.restart().await;
    let mut watch = crate::harness::watch_request(&number, 0);
    watch.app_id = OTHER.to_owned();
    let told = crate::harness::drain(gateway.watch(watch).await.unwrap()).await.unwrap();
    assert_eq!(told.last().unwrap().state(), SettleState::Succeeded);
}
