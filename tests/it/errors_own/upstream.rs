//! Douyin gives no usable answer, or may not be called.

use douyin_sim::Script;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;

use super::{Edge, Provoked, asking, asking_at_once, ends};
use crate::harness::{create_request, in_every_system};
use crate::raw::Call;

pub async fn accepted_without_id() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    edge.gateway.sim.script("nameless", vec![Script::AcceptWithoutId]);
    let (rpc, told) = edge.told(Rpc::CreateSettle, asking(Rpc::CreateSettle, "nameless")).await;
    let said = told.douyin.as_ref().expect("Douyin spoke");
    assert_eq!((said.err_no, said.log_id.is_some()), (Some(0), true), "to be quoted to Douyin");
    vec![(rpc, told)]
}

/// Douyin answers a repeat like the first create, so its acceptance does not say whose settle it
/// is.
pub async fn not_shown_yet() -> Provoked {
    let edge = Edge::spawn(in_every_system).await;
    let body = r#"{"err_no":2000,"err_tips":"none","settle_info":{"settle_no":""}}"#;
    let unseen = Script::Answer { status: 200, body: body.into() };
    edge.gateway.sim.script_query("unseen", vec![unseen; 9]);
    let trade_system = v1::TradeSystem::Guaranteed.into();
    let create = v1::CreateSettleRequest { trade_system, ..create_request("unseen") };
    vec![edge.told(Rpc::CreateSettle, Call::of(Rpc::CreateSettle, &create)).await]
}

pub async fn upstream_unavailable() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    edge.gateway.sim.always_create(Some(Script::Html));
    edge.gateway.sim.always_query(Some(Script::Html));
    let mut provoked = edge.each(&asking_at_once(), |rpc| asking(rpc, rpc.name())).await;
    provoked.extend(ends::upstream_unavailable().await);
    // Without a token the app is paused: the next create is not even recorded.
    let edge = Edge::spawn(|_| {}).await;
    edge.gateway.sim.always_token(Some(Script::Html));
    edge.gateway.create(crate::harness::create_request("first")).await.unwrap_err();
    provoked.push(edge.told(Rpc::CreateSettle, asking(Rpc::CreateSettle, "second")).await);
    assert_eq!(edge.gateway.sim.books().creates_total(), 0);
    for (_, told) in &provoked {
        let said = told.douyin.as_ref().expect("a page is all that Douyin said");
        assert_eq!((said.err_no, said.http_status), (None, 502));
    }
    provoked
}
