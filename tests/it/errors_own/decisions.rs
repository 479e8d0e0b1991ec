//! Decisions of an operator that the gateway does not take.

use std::time::Duration;

use douyin_sim::{Script, Status};
use serde_json::json;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;

use super::{Edge, Provoked, asking, resolve_request};
use crate::harness::create_on;
use crate::raw::Call;

const RPC: Rpc = Rpc::ResolveContradiction;

pub async fn contradiction_not_open() -> Provoked {
    // No query may tell more of it meanwhile.
    let edge = Edge::spawn(|config| config.gateway.schedule.first = Duration::from_mins(10)).await;
    edge.gateway.create(create_on("agreed", "sim-hold-1")).await.unwrap();
    vec![edge.told(RPC, asking(RPC, "agreed")).await]
}

/// A settle about which Douyin said two final words.
pub async fn disputed(edge: &Edge, number: &str) -> v1::Settle {
    let settle = edge.gateway.create(create_on(number, "sim-hold-1")).await.unwrap();
    assert!(edge.gateway.sim.finish(settle.settle_id(), Status::Success));
    edge.gateway.end(number).await;
    assert!(edge.gateway.sim.set_status(settle.settle_id(), Status::Fail));
    edge.wire.call(asking(Rpc::GetSettle, number)).await.unwrap();
    let settle = edge.gateway.get(number).await.unwrap();
    assert!(settle.contradiction.is_some());
    settle
}

/// A success is not left for another settle that lives too.
pub async fn decision_not_allowed() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    let create = v1::CreateSettleRequest {
        ext: "of two-live".to_owned(),
        ..create_on("two-live", "sim-hold-1")
    };
    let settle = edge.gateway.create(create).await.unwrap();
    assert!(edge.gateway.sim.finish(settle.settle_id(), Status::Success));
    edge.gateway.end("two-live").await;
    let other = json!({
        "settle_id": "ots-other", "settle_status": "PROCESSING", "out_settle_no": "two-live",
        "out_order_no": "sim-hold-1", "cp_extra": "of two-live",
    });
    let shows = json!({ "err_no": 0, "data": [other] }).to_string();
    edge.gateway.sim.script_query("two-live", vec![Script::json(200, shows)]);
    edge.wire.call(asking(Rpc::QuerySettles, "two-live")).await.unwrap();
    let settle = edge.gateway.get("two-live").await.unwrap();
    assert!(settle.contradiction.is_some());
    let call = Call::of(RPC, &resolve_request("two-live", settle.revision));
    vec![edge.told(RPC, call).await]
}
