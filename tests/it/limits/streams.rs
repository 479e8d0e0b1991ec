//! Streams of reflection and health that are kept open.

use bytes::Bytes;
use settlement_gateway::grpc::rpc::Rpc;
use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;

use super::until;
use crate::harness::{create_request, number, simulator};
use crate::process::{Process, Setting};
use crate::raw::{Call, Raw, Wire, frame};
use crate::trailers::told_raw;

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const OPEN: &str = "settlement_streams_open";

#[tokio::test]
async fn streams_of_health_and_reflection_are_bounded_and_free_again() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let wire = Wire::connect(&gateway.url()).await;
    let health = prost::Message::encode_to_vec(&HealthCheckRequest::default());
    let reflection = || Call::to(REFLECTION, Bytes::new()).never_ending(Bytes::new());
    let watch = || Call::to(WATCH, frame(0, &health));
    let mut open = Vec::new();
    for _ in 0..32 {
        for call in [reflection(), watch()] {
            let (_, headers, body) = wire.open(call).await.unwrap();
            assert!(!headers.contains_key("grpc-status"), "{headers:?}");
            open.push(body);
        }
    }
    for call in [reflection(), watch()] {
        let (http, headers, body) = wire.open(call).await.unwrap();
        let told = told_raw(&Raw::read(http, headers, body).await.unwrap(), None);
        assert_eq!(told.reason(), "OVERLOADED");
    }
    until("the streams to be counted", async || gateway.counted(OPEN).await == 64).await;
    assert_eq!(gateway.counted("settlement_streams_allowed").await, 1_024);
    // A single check of the health gets through, and so do calls and other connections.
    let raw = wire.call(Call::to(CHECK, frame(0, &health))).await.unwrap();
    assert_eq!(raw.end["grpc-status"], "0");
    gateway.create(create_request(&number("beside"))).await.unwrap();
    let other = Wire::connect(&gateway.url()).await;
    let (_, headers, body) = other.open(watch()).await.unwrap();
    assert!(!headers.contains_key("grpc-status"), "{headers:?}");
    drop((body, open));
    let free = async {
        loop {
            let (_, headers, _) = wire.open(watch()).await.unwrap();
            if !headers.contains_key("grpc-status") {
                return;
            }
        }
    };
    crate::harness::within("a place", free).await;
    // The client keeps the streams of reflection open, because their requests do not end.
    until("the others to be gone", async || gateway.counted(OPEN).await == 32).await;
    let list =
        Call::of(Rpc::ListSettles, &settlement_gateway::proto::v1::ListSettlesRequest::default());
    assert_eq!(wire.call(list).await.unwrap().end["grpc-status"], "0");
}
