//! Settles of which sending is not stopped, or that are not ended.

use std::time::Duration;

use douyin_sim::{Gate, Script, Status};
use serde_json::json;
use settlement_gateway::apps::Budget;
use settlement_gateway::config::Config;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;

use super::{Edge, Provoked, asking, asking_at_once, end_request, resolve_request, stop_request};
use crate::harness::{create_on, create_request, details, within};
use crate::raw::Call;
use crate::told::Told;

const BOTH: [Rpc; 2] = [Rpc::StopSending, Rpc::EndSettle];

/// The grace is over soon, and no worker looks.
pub fn soon(config: &mut Config) {
    let short = Duration::from_millis(300);
    config.gateway.policy.grace = short;
    config.gateway.policy.call_timeout = short;
    config.gateway.schedule.first = Duration::from_secs(600);
}

fn late(config: &mut Config) {
    config.gateway.policy.grace = Duration::from_secs(600);
    config.gateway.schedule.first = Duration::from_secs(600);
}

fn deciding(rpc: Rpc, number: &str, revision: i64) -> Call {
    if rpc == Rpc::StopSending {
        Call::of(rpc, &stop_request(number, revision))
    } else {
        Call::of(rpc, &end_request(number, revision))
    }
}

/// A settle that Douyin may have taken.
async fn in_doubt(edge: &Edge, number: &str) -> v1::Settle {
    edge.gateway.sim.script(number, vec![Script::Refuse(23000); 9]);
    edge.gateway.create(create_request(number)).await.unwrap_err();
    edge.gateway.get(number).await.unwrap()
}

async fn stopped(edge: &Edge, number: &str) -> (v1::Settle, Duration) {
    let mut settle = in_doubt(edge, number).await;
    // The turn of the create may still learn something.
    let stopped = loop {
        let request = stop_request(number, settle.revision);
        match edge.gateway.operator.clone().stop_sending(request).await {
            Ok(stopped) => break stopped.into_inner(),
            Err(status) => assert_eq!(details(&status).info.reason, "REVISION_CHANGED"),
        }
        settle = edge.gateway.get(number).await.unwrap();
    };
    (stopped.settle.unwrap(), stopped.wait.unwrap().try_into().unwrap())
}

/// What EndSettle answers once no worker is on the settle.
async fn ending(edge: &Edge, number: &str, revision: i64) -> (Rpc, Told) {
    ending_by(edge, &end_request(number, revision)).await
}

async fn ending_by(edge: &Edge, request: &v1::EndSettleRequest) -> (Rpc, Told) {
    loop {
        let call = Call::of(Rpc::EndSettle, request);
        let (rpc, told) = edge.told(Rpc::EndSettle, call).await;
        if told.reason() != "END_TOO_EARLY" {
            return (rpc, told);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A settle that an operator can end.
async fn stopped_long_ago(edge: &Edge, number: &str) -> v1::Settle {
    let (_, wait) = stopped(edge, number).await;
    tokio::time::sleep(wait).await;
    edge.gateway.get(number).await.unwrap()
}

pub async fn douyin_says_otherwise() -> Provoked {
    let edge = Edge::spawn(soon).await;
    let settle = stopped_long_ago(&edge, "there").await;
    let shown = edge.gateway.show("there").await.unwrap().evidence.unwrap();
    let there = json!({
        "settle_id": "ots-there", "settle_status": "PROCESSING", "out_settle_no": "there",
        "out_order_no": settle.out_order_no, "cp_extra": shown.sent_ext,
    });
    let shows = json!({ "err_no": 0, "data": [there] }).to_string();
    edge.gateway.sim.script_query("there", vec![Script::json(200, shows)]);
    let (rpc, told) = ending(&edge, "there", settle.revision).await;
    let shown = edge.gateway.get("there").await.unwrap();
    assert_eq!((shown.state(), shown.settle_id()), (v1::SettleState::Processing, "ots-there"));
    assert_eq!(told.metadata("revision"), shown.revision.to_string());
    vec![(rpc, told)]
}

pub async fn end_too_early() -> Provoked {
    let edge = Edge::spawn(late).await;
    let (settle, wait) = stopped(&edge, "early").await;
    let call = deciding(Rpc::EndSettle, "early", settle.revision);
    let (rpc, told) = edge.told(Rpc::EndSettle, call).await;
    let delay = told.retry_after.unwrap();
    assert!(delay <= wait && delay > wait - Duration::from_secs(60), "{delay:?} of {wait:?}");
    vec![(rpc, told)]
}

pub async fn revision_changed() -> Provoked {
    let edge = Edge::spawn(late).await;
    let settle = in_doubt(&edge, "changed").await;
    let mut provoked = edge.each(&BOTH, |rpc| deciding(rpc, "changed", settle.revision + 1)).await;
    let rpc = Rpc::ResolveContradiction;
    let disputed = super::decisions::disputed(&edge, "disputed").await;
    let call = Call::of(rpc, &resolve_request("disputed", disputed.revision - 1));
    provoked.push(edge.told(rpc, call).await);
    provoked
}

pub async fn sending_not_stopped() -> Provoked {
    let edge = Edge::spawn(late).await;
    let settle = in_doubt(&edge, "going-on").await;
    let call = deciding(Rpc::EndSettle, "going-on", settle.revision);
    vec![edge.told(Rpc::EndSettle, call).await]
}

pub async fn settle_final() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    let settle = edge.gateway.create(create_on("final", "sim-hold-1")).await.unwrap();
    assert!(edge.gateway.sim.finish(settle.settle_id(), Status::Success));
    let settle = edge.gateway.end("final").await;
    edge.each(&BOTH, |rpc| deciding(rpc, "final", settle.revision)).await
}

pub async fn settle_not_in_doubt() -> Provoked {
    let edge = Edge::spawn(late).await;
    let settle = edge.gateway.create(create_on("followed", "sim-hold-1")).await.unwrap();
    edge.each(&BOTH, |rpc| deciding(rpc, "followed", settle.revision)).await
}

pub async fn stop_not_confirmed() -> Provoked {
    let edge = Edge::spawn(soon).await;
    let settle = stopped_long_ago(&edge, "unconfirmed").await;
    edge.gateway.sim.always_query(Some(Script::Html));
    let request = v1::EndSettleRequest {
        although_unanswered: true,
        ..end_request("unconfirmed", settle.revision)
    };
    let told = ending_by(&edge, &request).await;
    let same = edge.gateway.get("unconfirmed").await.unwrap();
    assert_eq!(same, settle, "nothing is ended");
    vec![told]
}

pub async fn upstream_unavailable() -> Provoked {
    let edge = Edge::spawn(soon).await;
    let settle = stopped_long_ago(&edge, "unheard").await;
    edge.gateway.sim.always_query(Some(Script::Html));
    let told = ending(&edge, "unheard", settle.revision).await;
    let same = edge.gateway.get("unheard").await.unwrap();
    assert_eq!(same.state(), v1::SettleState::Submitting, "nothing is ended unasked");
    vec![told]
}

pub async fn budget_exhausted() -> Provoked {
    let edge = Edge::spawn(|config| {
        soon(config);
        // One request for creates and for questions, and one for polling.
        let budget = Budget { requests_per_second: 1_000, requests_in_flight: 2 };
        config.apps[0].budget = budget;
        config.gateway.budget_wait = Duration::from_millis(50);
        config.douyin.attempt_timeout = Duration::from_secs(10);
        config.douyin.call_timeout = Duration::from_secs(10);
    })
    .await;
    let settle = stopped_long_ago(&edge, "waits").await;
    let gate = Gate::new();
    edge.gateway.sim.script_query("held", vec![Script::Hold(gate.clone())]);
    let question = || edge.begin(asking(Rpc::GetSettle, "held"));
    let mut held = question();
    loop {
        tokio::select! {
            () = within("the question to arrive", gate.arrived()) => break,
            // The turn of the create still has the place.
            early = &mut held => drop(early),
        }
        held = question();
    }
    let mut provoked = edge.each(&asking_at_once(), |rpc| asking(rpc, "n")).await;
    provoked.push(ending(&edge, "waits", settle.revision).await);
    gate.open();
    within("the held call", held).await.unwrap().unwrap();
    provoked
}
