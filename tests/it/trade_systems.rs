//! Several trade systems under one contract: a number is one settle's in all of them, whatever the
//! configuration becomes.

use douyin_sim::SimApp;
use settlement_gateway::config::Config;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1::{self, CreateSettleRequest, SettleState};
use settlement_gateway::settle::{AppId, TradeSystem};
use tonic::{Code, Status};

use crate::harness::{
    APP_ID, Gateway, app, assert_create_error, create_on, create_request, number, simulator,
    simulator_with,
};
use crate::told::told_status;

const OTHER: &str = "ttother";

fn with_self_operated(config: &mut Config) {
    config.apps[0].trade_systems.push(TradeSystem::SelfOperated);
}

fn self_operated(request: CreateSettleRequest) -> CreateSettleRequest {
    CreateSettleRequest { trade_system: v1::TradeSystem::SelfOperated.into(), ..request }
}

fn without_an_app(out_settle_no: &str) -> CreateSettleRequest {
    CreateSettleRequest { app_id: String::new(), ..create_request(out_settle_no) }
}

/// Checks that the number is told to be recorded in this app and in the general system.
#[track_caller]
fn assert_elsewhere(status: &Status, outcome: &str, field: &str, state: SettleState) {
    let code = Code::AlreadyExists;
    let details = assert_create_error(status, code, "OUT_SETTLE_NO_CONFLICT", outcome);
    let named = ["recorded_app_id", "recorded_trade_system", "differing_fields"];
    let named = named.map(|name| details.info.metadata[name].clone());
    assert_eq!(named, [APP_ID, "general", field]);
    let failure = told_status(status, Rpc::CreateSettle).failure;
    assert_eq!(failure.recorded_app_id, APP_ID);
    assert_eq!(failure.recorded_trade_system(), v1::TradeSystem::General);
    assert_eq!((failure.state(), failure.differing_fields), (state, vec![field.to_owned()]));
}

/// A caller, or a configuration, that changed its mind must not pay twice.
#[tokio::test]
async fn a_number_of_one_trade_system_is_a_conflict_in_another() {
    let gateway = Gateway::spawn_with(simulator().await, with_self_operated).await;
    for (order, outcome, state) in [
        ("sim-hold-1", "not_sent", SettleState::Processing),
        ("sim-err-23102-1", "refused", SettleState::Rejected),
    ] {
        let number = number("moved");
        let _ = gateway.create(create_on(&number, order)).await;
        for validate_only in [true, false] {
            let moved = self_operated(create_on(&number, order));
            let moved = CreateSettleRequest { validate_only, ..moved };
            let status = gateway.create(moved).await.unwrap_err();
            assert_elsewhere(&status, outcome, "trade_system", state);
        }
        assert_eq!(gateway.sim.books().sends(&number), 1);
    }
}

/// A repeat that names no app is about the settle of the app that was the default one then.
#[tokio::test]
async fn a_number_of_the_former_default_app_is_a_conflict_in_the_next_one() {
    let sim = simulator_with(|config| config.apps.push(SimApp::new(OTHER, "other-secret"))).await;
    let mut gateway = Gateway::spawn_with(sim, |config| {
        config.apps.push(app(OTHER, "other-secret"));
    })
    .await;
    let (unnamed, named) = (number("unnamed"), number("named"));
    let first = gateway.create(without_an_app(&unnamed)).await.unwrap();
    gateway.create(create_request(&named)).await.unwrap();
    gateway.tune(|config| {
        config.apps.push(app(OTHER, "other-secret"));
        config.grpc.default_app = AppId::parse(OTHER).ok();
    });
    let gateway = gateway.restart().await;
    let state = gateway.end(&unnamed).await.state();
    for validate_only in [true, false] {
        let repeat = CreateSettleRequest { validate_only, ..without_an_app(&unnamed) };
        let status = gateway.create(repeat).await.unwrap_err();
        assert_elsewhere(&status, "not_sent", "app_id", state);
    }
    assert_eq!(gateway.sim.books().sends(&unnamed), 1);
    // What it tells to do: the app is named.
    let repeated = gateway.create_full(create_request(&unnamed)).await.unwrap();
    assert!(repeated.replayed);
    assert_eq!(repeated.settle.unwrap().settle_id, first.settle_id);
    // A number that was recorded for an app by its name means nothing for others.
    let other = gateway.create(without_an_app(&named)).await.unwrap();
    assert_eq!(other.app_id, OTHER);
}
