//! Peers that ask for much and read nothing.

use std::time::{Duration, Instant};

use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use tempfile::TempDir;

use super::{BUDGET, record_largest, until};
use crate::harness::{create_request, number, simulator, within};
use crate::process::{Process, Setting};
use crate::raw::{Call, Raw, Wire};
use crate::trailers::told_raw;

const WAITING: &str = "settlement_grpc_answer_bytes";
const MIB: u64 = 1024 * 1024;
/// More than the fifth that may stay: what the allocator keeps for each thread, and pages of the
/// executable that were used for the first time.
const NOISE_BYTES: u64 = 8 * MIB;

#[tokio::test]
async fn answers_that_are_not_read_cost_a_bounded_amount_and_are_given_up() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let setting = Setting {
        more: BUDGET.to_owned(),
        server: "slow_consumer_ms = 100\n".to_owned(),
        ..Setting::default()
    };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    record_largest(&gateway, 500).await;
    let (before, resident) = (gateway.memory("VmHWM"), gateway.memory("VmRSS"));

    let page = v1::ListSettlesRequest { page_size: 500, ..Default::default() };
    let greedy = Wire::connect_reluctantly(&gateway.url()).await;
    let calls = (0..300).map(|_| {
        let (greedy, call) = (greedy.clone(), Call::of(Rpc::ListSettles, &page));
        tokio::spawn(async move { greedy.open(call).await.unwrap() })
    });
    let (mut waiting, mut turned_away) = (Vec::new(), 0);
    let mut held: f64 = 0.0;
    for (nth, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        let (http, headers, body) = within("an answer's head", call).await.unwrap();
        // On a busy machine the first ones are given up before the last ones are answered.
        if nth % 10 == 9 {
            held = held.max(gateway.metric(WAITING).await);
        }
        if headers.contains_key("grpc-status") {
            let told =
                told_raw(&Raw::read(http, headers, body).await.unwrap(), Some(Rpc::ListSettles));
            assert_eq!(told.reason(), "OVERLOADED");
            turned_away += 1;
        } else {
            waiting.push(body);
        }
    }
    let grown = gateway.memory("VmHWM") - before;
    assert!(grown < 250 * MIB, "{} MiB for answers that are not read", grown / MIB);
    assert!(turned_away > 200, "{turned_away}");
    assert!(held > 1e6 && held <= 16.0 * 1024.0 * 1024.0, "{held} bytes");

    // Peers that do not read keep out no caller that reads.
    let mut honest = gateway.client.clone();
    for _ in 0..20 {
        let create = honest.create_settle(create_request(&number("honest")));
        within("CreateSettle", create).await.unwrap();
        within("ListSettles", honest.list_settles(page.clone())).await.unwrap();
    }
    until("the answers to be given up", async || gateway.metric(WAITING).await < 1.0).await;
    // Their streams are reset, and the connection can be used again.
    let again =
        greedy.call(Call::of(Rpc::ListSettles, &v1::ListSettlesRequest { page_size: 1, ..page }));
    assert_eq!(again.await.unwrap().end["grpc-status"], "0");
    drop((waiting, greedy));
    let gone = Instant::now();
    let back = || gateway.memory("VmRSS") <= resident + resident / 5 + NOISE_BYTES;
    let went_back = async {
        while !back() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let minute = tokio::time::timeout(Duration::from_secs(60), went_back).await;
    assert!(minute.is_ok(), "{} MiB after {}", gateway.memory("VmRSS") / MIB, resident / MIB);
    let took = gone.elapsed();
    let (peak, after) = (gateway.memory("VmHWM"), gateway.memory("VmRSS"));
    let figures = [resident, peak, after].map(|bytes| format!("{} MiB", bytes / MIB));
    println!("memory before, at most, and {took:?} after the greedy peer: {figures:?}");
}
