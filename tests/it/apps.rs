//! Several apps on one gateway: the trouble of one app does not touch the others.

use std::time::{Duration, Instant};

use douyin_sim::{Script, SimApp, Simulator};
use settlement_gateway::apps::Budget;
use settlement_gateway::config::Config;
use settlement_gateway::proto::v1::{self, CreateSettleRequest, SettleState};
use settlement_gateway::settle::NotifyUrl;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{
    APP_ID, Gateway, SECRET, app, assert_create_error, create_request, details, number,
    simulator_with, within,
};
use crate::health;
use crate::process::{Process, Setting};

const OTHER: &str = "ttother";

async fn two_apps() -> Simulator {
    simulator_with(|config| {
        let app = SimApp::new(OTHER, "other-secret");
        config.apps.push(app);
    })
    .await
}

fn serve_other(config: &mut Config, secret: &str) {
    config.apps.push(app(OTHER, secret));
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
    // Its health tells, and no other does.
    let checks = health::client(&gateway.url);
    health::until(&mut health::watch(&checks, OTHER).await, ServingStatus::NotServing).await;
    for service in ["", health::SERVICE, APP_ID] {
        let mut checks = checks.clone();
        let check = checks.check(HealthCheckRequest { service: service.to_owned() });
        let answer = within("the health", check).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
}

#[tokio::test]
async fn a_throttled_app_slows_no_other_app() {
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

/// More creates than may be in work at once: those that wait for their app's budget are its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_app_is_shed_and_leaves_the_other_its_usual_time() {
    let gateway = Gateway::spawn_with(two_apps().await, |config| {
        both(config);
        let budget = Budget { requests_per_second: 8, requests_in_flight: 8 };
        config.apps[1].budget = budget;
        config.gateway.budget_wait = Duration::from_millis(500);
        config.gateway.creates_max = 64;
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
                // No place among the creates of its app, or no request for it in time.
                let reason = details(&status).info.reason;
                assert!(["OVERLOADED", "BUDGET_EXHAUSTED"].contains(&reason.as_str()), "{reason}");
                let code = Code::ResourceExhausted;
                let told = assert_create_error(&status, code, &reason, "not_sent");
                assert!(told.retry_after.is_some());
                shed += 1;
            }
        }
    }
    assert!(made >= 6 && shed > 100, "{made} made, {shed} shed");
}

#[tokio::test]
async fn each_app_has_its_own_public_callback_address() {
    let gateway = Gateway::spawn_with(two_apps().await, |config| {
        both(config);
        for (app, url) in [(0, "https://a.example/1"), (1, "https://b.example/2")] {
            config.apps[app].notify_url = Some(NotifyUrl::parse(url).unwrap());
        }
    })
    .await;
    let (ours, theirs, own) = (number("ours"), number("theirs"), number("own"));
    let callers =
        CreateSettleRequest { notify_url: "https://caller.example/3".to_owned(), ..of_other(&own) };
    for request in [create_request(&ours), of_other(&theirs), callers] {
        gateway.create(request).await.unwrap();
    }
    let books = gateway.sim.books();
    for (number, url) in [
        (&ours, "https://a.example/1"),
        (&theirs, "https://b.example/2"),
        (&own, "https://caller.example/3"),
    ] {
        assert_eq!(books.only(number).unwrap().notify_url.as_deref(), Some(url));
    }
}

#[tokio::test]
async fn a_page_token_of_one_app_opens_no_page_of_another() {
    let gateway = Gateway::spawn_with(two_apps().await, both).await;
    let listing = |app_id: &str, page_token: String| v1::ListSettlesRequest {
        app_id: app_id.to_owned(),
        page_size: 1,
        page_token,
        ..Default::default()
    };
    for _ in 0..2 {
        gateway.create(create_request(&number("listed"))).await.unwrap();
        gateway.create(of_other(&number("listed"))).await.unwrap();
    }
    let mut client = gateway.client.clone();
    let page = client.list_settles(listing(OTHER, String::new())).await.unwrap().into_inner();
    assert!(page.settles.iter().all(|settle| settle.app_id == OTHER));
    let token = page.next_page_token;
    let status = client.list_settles(listing(APP_ID, token.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(crate::harness::details(&status).fields, ["page_token"]);
    let page = client.list_settles(listing(OTHER, token)).await.unwrap().into_inner();
    assert!(page.settles.iter().all(|settle| settle.app_id == OTHER));
}

#[tokio::test]
async fn without_a_default_app_every_request_names_its_app() {
    let gateway = Gateway::spawn_with(two_apps().await, |config| {
        both(config);
        config.grpc.default_app = None;
    })
    .await;
    let number = number("whose");
    let unnamed = CreateSettleRequest { app_id: String::new(), ..create_request(&number) };
    let status = gateway.create(unnamed).await.unwrap_err();
    let (code, reason) = (Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(assert_create_error(&status, code, reason, "not_sent").fields, ["app_id"]);
    let mut client = gateway.client.clone();
    let list = v1::ListSettlesRequest::default();
    let status = client.list_settles(list).await.unwrap_err();
    assert_eq!(crate::harness::details(&status).fields, ["app_id"]);
    gateway.create(create_request(&number)).await.unwrap();
}

/// Logged once, at start.
#[tokio::test]
async fn open_settles_of_an_app_that_is_not_configured_are_counted_and_reported_at_start() {
    let sim = simulator_with(|config| {
        config.apps.push(SimApp::new(OTHER, SECRET));
    })
    .await;
    let dir = TempDir::new().unwrap();
    let more = format!("[[apps]]\napp_id = \"{OTHER}\"\nclient_secret_env = \"TEST_SECRET\"\n");
    let gateway = Process::start(&sim, dir.path(), Setting { more, ..Setting::default() }).await;
    for order in ["sim-hold-1", "sim-hold-2", "sim-err-23101-1", "sim-hold-3"] {
        for request in [of_other(&number("parked")), create_request(&number("served"))] {
            let request = CreateSettleRequest { out_order_no: order.to_owned(), ..request };
            let mut client = gateway.client.clone();
            let answer = within("CreateSettle", client.create_settle(request)).await;
            assert_eq!(answer.is_ok(), order.contains("hold"));
        }
    }
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let parked = |log: &str| log.lines().filter(|line| line.contains("parked\"")).count();
    assert_eq!(parked(&log), 0, "{log}");
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    gateway.logged("is not configured: parked").await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert_eq!(parked(&log), 1, "{log}");
    let line = log.lines().find(|line| line.contains("is not configured")).unwrap();
    assert!(line.contains("\"level\":\"WARN\"") && line.contains("\"settles\":3"), "{line}");
    assert!(line.contains(&format!("\"app_id\":\"{OTHER}\"")), "{line}");
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
    let finished = douyin_sim::Status::Success;
    assert!(gateway.sim.finish(settle.settle_id(), finished));
    gateway.tune(both);
    let gateway = gateway.restart().await;
    let mut watch = crate::harness::watch_request(&number, 0);
    watch.app_id = OTHER.to_owned();
    let told = crate::harness::drain(gateway.watch(watch).await.unwrap()).await.unwrap();
    assert_eq!(told.last().unwrap().state(), SettleState::Succeeded);
}
