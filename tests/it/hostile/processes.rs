//! What happens to the process itself, and at Douyin.

use std::time::Duration;

use douyin_sim::{Choices, Informing};
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::stage::Surroundings;
use crate::harness::watch_request;

/// Fewer are what a busy connection has by chance.
const IMPATIENT: usize = 64;

async fn kill(pid: u32, signal: &str) {
    let kill = format!("kill -{signal} {pid}");
    // One that has ended shows in the table.
    let _ = Command::new("sh").args(["-c", &kill]).status().await;
}

async fn pause(ms: u64, over: &CancellationToken) {
    let pause = tokio::time::sleep(Duration::from_millis(ms));
    over.run_until_cancelled(pause).await;
}

/// Stands still for less than half a second now and then, while callers on the connections of the
/// honest ones wait for no longer than 100 ms: their calls all end at once.
pub async fn stopped(around: Surroundings, over: CancellationToken) {
    while !over.is_cancelled() {
        let mut calls = JoinSet::new();
        for number in 0..IMPATIENT {
            let channel = around.channels[number % around.channels.len()].clone();
            let mut client = SettlementServiceClient::new(channel);
            let mut call = Request::new(watch_request("unknown", 0));
            call.set_timeout(Duration::from_millis(100));
            calls.spawn(async move { client.watch_settle(call).await.map(drop) });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        kill(around.pid, "STOP").await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        kill(around.pid, "CONT").await;
        while calls.join_next().await.is_some() {}
        pause(600, &over).await;
    }
}

/// Signals without an intention: a terminal that closes, a limit, a stray one.
pub async fn signals(around: Surroundings, over: CancellationToken) {
    while !over.is_cancelled() {
        for signal in ["HUP", "XFSZ", "PIPE", "WINCH", "USR1", "USR2"] {
            kill(around.pid, signal).await;
            pause(50, &over).await;
        }
    }
}

/// Douyin's habits change every moment, within what its documents leave open, and every second time
/// the fields that decide nothing have any type and are damaged.
pub async fn odd_answers(around: Surroundings, over: CancellationToken) {
    for seed in 1.. {
        let mut choices = Choices::from_seed(seed);
        choices.visible_after_ms = choices.visible_after_ms.min(300);
        if seed % 2 == 0 {
            choices.informing = Informing::Odd;
        }
        // No gateway can make this true.
        choices.fail_turns_success_after_ms = None;
        around.sim.set_choices(choices);
        pause(200, &over).await;
        if over.is_cancelled() {
            break;
        }
    }
    around.sim.set_choices(Choices::default());
}
