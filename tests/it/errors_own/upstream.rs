//! Douyin gives no usable answer, or may not be called.

use std::time::Duration;

use douyin_sim::{Gate, Script};
use settlement_gateway::apps::Budget;
use settlement_gateway::grpc::rpc::Rpc;

use super::{Edge, Provoked, asking};
use crate::harness::within;

pub async fn accepted_without_id() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    edge.gateway.sim.script("nameless", vec![Script::AcceptWithoutId]);
    let (rpc, told) = edge.told(Rpc::CreateSettle, asking(Rpc::CreateSettle, "nameless")).await;
    let said = told.douyin.as_ref().expect("Douyin spoke");
    assert_eq!((said.err_no, said.log_id.is_some()), (Some(0), true), "to be quoted to Douyin");
    vec![(rpc, told)]
}

pub async fn budget_exhausted() -> Provoked {
    let edge = Edge::spawn(|config| {
        // One request for creates and for questions, and one for polling.
        let budget = Budget { requests_per_second: 1_000, requests_in_flight: 2 };
        config.apps[0].budget = budget;
        config.gateway.budget_wait = Duration::from_millis(50);
        config.douyin.attempt_timeout = Duration::from_secs(10);
        config.douyin.call_timeout = Duration::from_secs(10);
        config.gateway.policy.call_timeout = Duration::from_secs(10);
        config.gateway.lease = Duration::from_secs(20);
    })
    .await;
    let gate = Gate::new();
    edge.gateway.sim.script("held", vec![Script::Hold(gate.clone())]);
    let held = edge.begin(asking(Rpc::CreateSettle, "held"));
    within("the send to arrive", gate.arrived()).await;
    let provoked = edge.each(Rpc::ASKING, |rpc| asking(rpc, "n")).await;
    gate.open();
    within("the held call", held).await.unwrap().unwrap();
    provoked
}

pub async fn upstream_unavailable() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    edge.gateway.sim.always_create(Some(Script::Html));
    edge.gateway.sim.always_query(Some(Script::Html));
    let mut provoked = edge.each(Rpc::ASKING, |rpc| asking(rpc, rpc.name())).await;
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
