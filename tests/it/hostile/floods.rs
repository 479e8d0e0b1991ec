//! Many requests that cost their sender nothing.

use std::time::Duration;

use bytes::Bytes;
use settlement_gateway::grpc::rpc::Rpc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::stage::Surroundings;
use crate::harness::APP_ID;
use crate::raw::{Call, Wire};

/// Callbacks at once on one connection, and the rest after each: some 1,500 per second.
const FORGERS: usize = 16;
const FORGER_REST: Duration = Duration::from_millis(10);

/// With a false signature, on one connection that stays.
pub async fn forged_callbacks(around: Surroundings, over: CancellationToken) {
    let url = format!("http://{}/callbacks/douyin/{APP_ID}", around.callbacks);
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut forgers = JoinSet::new();
    for _ in 0..FORGERS {
        let (client, url) = (client.clone(), url.clone());
        let forger = async move {
            loop {
                let request = client
                    .post(&url)
                    .header("Byte-Timestamp", "1700000000")
                    .header("Byte-Nonce-Str", "nonce")
                    .header("Byte-Signature", "AAAA")
                    .body(r#"{"msg":"{}","type":"settle"}"#);
                // With any answer.
                drop(request.send().await);
                tokio::time::sleep(FORGER_REST).await;
            }
        };
        forgers.spawn(over.clone().run_until_cancelled_owned(forger));
    }
    forgers.join_all().await;
}

/// Four times as many as the gateway lets wait at once (`calls_max` of this kind), whose body never
/// comes. What was turned away comes again.
pub async fn without_body(around: Surroundings, over: CancellationToken) {
    let url = format!("http://{}", around.grpc);
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let url = url.clone();
        let caller = async move {
            loop {
                let wire = Wire::connect(&url).await;
                let call = || Call::to(&path(), Bytes::new()).without_body();
                let mut calls: JoinSet<_> = (0..256).map(|_| wire.begin(call())).collect();
                // Until the connection is gone.
                while let Some(Ok(Ok(_answer))) = calls.join_next().await {
                    calls.spawn(wire.begin(call()));
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        callers.spawn(over.clone().run_until_cancelled_owned(caller));
    }
    callers.join_all().await;
}

fn path() -> String {
    format!("/douyin.settlement.v1.SettlementService/{}", Rpc::CreateSettle.name())
}
