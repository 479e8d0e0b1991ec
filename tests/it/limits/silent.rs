//! Peers that connect and say nothing.

use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tonic::transport::Endpoint;

use super::{Frames, frame, until};
use crate::callbacks::new_key;
use crate::harness::{APP_ID, create_request, number, simulator, within};
use crate::process::{Process, Setting};

/// With as few descriptors as this, the limits add up to less than there are.
const SMALL: &str = "connections_max = 64\ncallback_connections_max = 16\n";

fn few_descriptors(platform_keys: std::path::PathBuf) -> Setting {
    Setting {
        descriptors: Some(256),
        server: SMALL.to_owned(),
        platform_keys: Some(platform_keys),
        more: "requests_per_second = 1000\nrequests_in_flight = 16\n".to_owned(),
        ..Setting::default()
    }
}

#[tokio::test]
async fn silent_connections_leave_descriptors_for_everything_else_and_are_closed() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let gateway = Process::start(&sim, dir.path(), few_descriptors(keys)).await;
    let create = async |what: &str| {
        let request = create_request(&number(what));
        within(what, gateway.client.clone().create_settle(request)).await
    };
    create("before").await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(Frames::open(&gateway.url()).await);
    }
    let full = "settlement_connections_refused_total{listener=\"grpc\",why=\"full\"}";
    until("the places to be taken", async || gateway.metric(full).await >= 200.0).await;

    // Who was connected goes on, and Douyin, callbacks and health have what they need.
    for _ in 0..20 {
        create("beside").await.expect("Douyin is asked");
    }
    assert_eq!(gateway.admin("/readyz").await.0, 200);
    let callback = reqwest::Client::new().post(gateway.callback_url()).body("{}").send();
    assert_eq!(within("a callback", callback).await.unwrap().status(), 401, "it was looked at");
    let used = gateway.metric("settlement_descriptors_used").await;
    let allowed = gateway.metric("settlement_descriptors_allowed").await;
    assert!(used < allowed && (allowed - 256.0).abs() < 0.5, "{used} of {allowed}");

    for mut peer in silent {
        let mut said = Vec::new();
        // Closed, or reset.
        let _ = within("a silent peer's end", peer.0.read_to_end(&mut said)).await;
    }
    until("the seats to be free", async || {
        gateway.metric("settlement_grpc_connections").await < 2.0
    })
    .await;
    let endpoint = Endpoint::from_shared(gateway.url()).unwrap();
    let channel = within("a new connection", endpoint.connect()).await.unwrap();
    let mut client = SettlementServiceClient::new(channel);
    let create = client.create_settle(create_request(&number("after")));
    within("CreateSettle", create).await.unwrap();
    let (_, log) = async { (gateway.signal("TERM").await, gateway.ended().await.1) }.await;
    assert!(!log.contains("cannot accept"), "{log}");
}

#[tokio::test]
async fn a_connection_too_many_is_told_why() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let server = "connections_max = 3\nconnections_per_peer_max = 2\n".to_owned();
    let setting = Setting { server, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut peer = Frames::open(&gateway.url()).await;
        peer.greet().await;
        open.push(peer);
    }
    let mut third = Frames::open(&gateway.url()).await;
    let mut said = Vec::new();
    let _ = within("its end", third.0.read_to_end(&mut said)).await;
    let goaway = [&[0; 7][..], &[0x0B], b"too many connections from one address"].concat();
    let goaway = frame(7, 0, 0, &goaway);
    assert!(said.ends_with(&goaway), "{said:?}");
}

#[tokio::test]
async fn limits_beyond_the_descriptors_are_a_problem_of_the_configuration() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let setting = Setting { descriptors: Some(256), ..Setting::default() };
    let (code, said) = Process::refused_with(&sim, dir.path(), setting).await;
    assert_eq!(code, Some(64), "{said}");
    for part in ["256 file descriptors", "add up to 2_2", "server.connections_max 2_048", "store"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The soft limit is not one: it is raised.
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, new_key().public_pem()).unwrap();
    let gateway = Process::start(&sim, dir.path(), few_descriptors(keys)).await;
    assert_eq!(gateway.admin("/livez").await.0, 200);
}
