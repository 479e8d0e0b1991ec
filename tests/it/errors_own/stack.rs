//! What the server's stack turns away, and expired deadlines.

use std::time::Duration;

use bytes::Bytes;
use douyin_sim::{Gate, Script};
use settlement_gateway::grpc::rpc::Rpc;

use super::{Edge, Provoked, asking, asking_at_once, ended, reading};
use crate::harness::{create_request, wait_for_answers, within};
use crate::raw::{Call, frame};

pub async fn compression_not_supported() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    edge.each(Rpc::ALL, |rpc| reading(rpc, "n").with("grpc-encoding", "snappy")).await
}

pub async fn request_malformed() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    edge.each(Rpc::ALL, |rpc| Call::bytes(rpc, frame(0, &[0xFF; 40]))).await
}

pub async fn request_too_large() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    edge.each(Rpc::ALL, |rpc| Call::bytes(rpc, frame(0, &vec![0; 64 * 1024 + 1]))).await
}

/// Only one call may be in flight.
pub async fn overloaded() -> Provoked {
    let edge = Edge::spawn(|config| {
        config.grpc.calls_max = 1;
        wait_for_answers(config);
    })
    .await;
    let gate = Gate::new();
    edge.gateway.sim.script("held", vec![Script::Hold(gate.clone())]);
    let held = edge.begin(Call::of(Rpc::CreateSettle, &create_request("held")));
    within("the send to arrive", gate.arrived()).await;
    let provoked = edge.each(Rpc::ALL, |rpc| reading(rpc, "n")).await;
    gate.open();
    within("the held call", held).await.unwrap().unwrap();
    provoked
}

pub async fn deadline_reached() -> Provoked {
    let edge = Edge::spawn(wait_for_answers).await;
    // No time at all, and, for what can take some, not enough of it.
    let mut provoked =
        edge.each(Rpc::ALL, |rpc| reading(rpc, "n").timeout(Duration::from_millis(1))).await;
    let gate = Gate::new();
    edge.gateway.sim.always_create(Some(Script::Hold(gate.clone())));
    edge.gateway.sim.always_query(Some(Script::Hold(gate.clone())));
    let asking_rpcs = asking_at_once();
    let asked = edge.each(&asking_rpcs, |rpc| {
        asking(rpc, &format!("held-{}", rpc.name())).timeout(Duration::from_millis(300))
    });
    provoked.extend(asked.await);
    gate.open();
    assert_eq!(edge.gateway.sim.books().sends("n"), 0);
    provoked
}

pub async fn time_limit_reached() -> Provoked {
    let edge = Edge::spawn(|config| {
        config.grpc.unary_limit = Duration::from_millis(300);
        wait_for_answers(config);
    })
    .await;
    // A request that never comes to its end, and one whose answer does not.
    let begin = Bytes::from_static(&[0, 0, 0, 0, 9]);
    let mut provoked =
        edge.each(Rpc::ALL, |rpc| reading(rpc, "n").never_ending(begin.clone())).await;
    let gate = Gate::new();
    edge.gateway.sim.always_create(Some(Script::Hold(gate.clone())));
    edge.gateway.sim.always_query(Some(Script::Hold(gate.clone())));
    for rpc in &asking_at_once() {
        let call = edge.begin(asking(*rpc, &format!("held-{}", rpc.name())));
        provoked.push(ended(call, *rpc).await);
    }
    gate.open();
    assert_eq!(edge.gateway.sim.books().sends("n"), 0);
    provoked
}
