//! A store that fails, and one with a row that cannot be read.

use douyin_sim::{Gate, Script};
use rusqlite::Connection;
use settlement_gateway::grpc::reasons;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::settle::Reason;

use super::{Edge, Provoked, asking, ended, reading};
use crate::harness::{create_on, wait_for_answers, within};
use crate::raw::Call;

/// Another program changes the database.
fn open(edge: &Edge) -> Connection {
    Connection::open(edge.gateway.database()).unwrap()
}

pub async fn newer_version() -> Provoked {
    let edge = Edge::spawn(|_| {}).await;
    // Douyin still knows it, so that QuerySettles comes to the record, too.
    edge.gateway.create(create_on("unreadable", "sim-hold-1")).await.unwrap();
    let written = open(&edge).execute("UPDATE settle SET state = 'ON_THE_MOON'", []);
    assert_eq!(written.unwrap(), 1);
    edge.each(reasons::row(Reason::NewerVersion).unwrap().rpcs, |rpc| {
        let again = create_on("unreadable", "sim-hold-1");
        if rpc == Rpc::CreateSettle { Call::of(rpc, &again) } else { reading(rpc, "unreadable") }
    })
    .await
}

pub async fn store_unavailable() -> Provoked {
    let edge = Edge::spawn(wait_for_answers).await;
    edge.gateway.create(create_on("known", "sim-hold-1")).await.unwrap();
    let gate = Gate::new();
    edge.gateway.sim.script("held", vec![Script::Hold(gate.clone())]);
    let held = edge.begin(asking(Rpc::CreateSettle, "held"));
    within("the send to arrive", gate.arrived()).await;
    open(&edge).execute_batch("ALTER TABLE settle RENAME TO hidden").unwrap();
    let mut provoked = edge
        .each(reasons::row(Reason::StoreUnavailable).unwrap().rpcs, |rpc| {
            if rpc == Rpc::CreateSettle { asking(rpc, "new") } else { reading(rpc, "known") }
        })
        .await;
    // Douyin accepts, and it cannot be recorded.
    gate.open();
    provoked.push(ended(held, Rpc::CreateSettle).await);
    provoked
}
