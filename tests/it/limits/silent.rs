//! Peers that connect and send nothing.

use std::time::Duration;

use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use super::{Frames, frame, greeting, head, until};
use crate::callbacks::new_key;
use crate::harness::{
    APP_ID, create_on, create_request, drain, number, simulator, watch_request, within,
};
use crate::process::{Process, Setting};

/// Places for connections that strangers fill.
const SEATS: u32 = 32;
/// Before a stranger that was turned away comes back.
const RETURN: Duration = Duration::from_millis(50);

/// With as few descriptors as this, the limits add up to less than there are.
const RESTED: &str = "settlement_connections_refused_total{listener=\"grpc\",why=\"rested\"}";
const SMALL: &str = "connections_max = 64\ncallback_connections_max = 16\n";

fn few_descriptors(platform_keys: std::path::PathBuf) -> Setting {
    Setting {
        descriptors: Some(256),
        server: SMALL.to_owned(),
        douyin: "idle_connections_max = 8\n".to_owned(),
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
    until("the places to be taken", async || gateway.metric(RESTED).await >= 200.0).await;

    // Connected callers go on, and Douyin, callbacks and health have what they need.
    for _ in 0..20 {
        create("beside").await.expect("Douyin is asked");
    }
    assert_eq!(gateway.admin("/readyz").await.0, 200);
    let callback = reqwest::Client::new().post(gateway.callback_url()).body("{}").send();
    assert_eq!(within("a callback", callback).await.unwrap().status(), 401, "it was looked at");
    let used = gateway.metric("process_open_fds").await;
    let allowed = gateway.metric("process_max_fds").await;
    assert!(used < allowed && (allowed - 256.0).abs() < 0.5, "{used} of {allowed}");

    for mut peer in silent {
        let mut said = Vec::new();
        // Closed, or reset.
        let _ = within("a silent peer's end", peer.0.read_to_end(&mut said)).await;
    }
    until("the seats to be free", async || {
        gateway.metric("settlement_connections_open{listener=\"grpc\"}").await < 2.0
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

/// How strangers hold a connection.
#[derive(Clone, Copy, Debug)]
enum Holding {
    Nothing,
    Greeting,
    /// A call whose request does not come.
    Begun,
}

/// So many strangers, each of whom comes back as soon as its connection ends.
fn strangers(url: &str, holding: Holding) -> JoinSet<()> {
    let mut strangers = JoinSet::new();
    for _ in 0..2 * SEATS {
        let url = url.to_owned();
        strangers.spawn(async move {
            loop {
                let mut stranger = Frames::open(&url).await;
                let said = match holding {
                    Holding::Nothing => Vec::new(),
                    Holding::Greeting => greeting(),
                    Holding::Begun => {
                        let path = "/douyin.settlement.v1.SettlementService/CreateSettle";
                        [greeting(), frame(1, 4, 1, &head(path))].concat()
                    }
                };
                let _ = stranger.0.write_all(&said).await;
                let _ = stranger.0.read_to_end(&mut Vec::new()).await;
                tokio::time::sleep(RETURN).await;
            }
        });
    }
    strangers
}

/// On a connection of its own. On a busy machine that one may have rested longest before its call
/// is read: then the caller comes back with the same number, as the contract has it.
async fn create_anew(url: &str, holding: Holding) {
    let (create, mut failed) = (create_request(&number("honest")), None);
    for _ in 0..5 {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
        let Ok(channel) = within("a connection", endpoint.connect()).await else { continue };
        let mut client = SettlementServiceClient::new(channel);
        match within("CreateSettle", client.create_settle(create.clone())).await {
            Ok(_) => return,
            Err(status) => failed = Some(status),
        }
    }
    panic!("{holding:?}: {failed:?}");
}

#[tokio::test]
async fn strangers_that_come_back_again_and_again_keep_no_caller_out_and_end_no_watch() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let server = format!("connections_max = {SEATS}\n");
    let more = "requests_per_second = 1000\nrequests_in_flight = 16\n".to_owned();
    let gateway =
        Process::start(&sim, dir.path(), Setting { server, more, ..Setting::default() }).await;
    let mut client = gateway.client.clone();
    let watched = number("watched");
    let create = client.create_settle(create_on(&watched, "sim-hold-1"));
    let settle = within("CreateSettle", create).await.unwrap().into_inner().settle.unwrap();
    let watch = client.watch_settle(watch_request(&watched, 0));
    let watch = within("WatchSettle", watch).await.unwrap().into_inner();
    for holding in [Holding::Nothing, Holding::Greeting, Holding::Begun] {
        let before = gateway.metric(RESTED).await;
        let strangers = strangers(&gateway.url(), holding);
        until("all places to be taken again and again", async || {
            gateway.metric(RESTED).await >= before + 4.0 * f64::from(SEATS)
        })
        .await;
        for _ in 0..20 {
            create_anew(&gateway.url(), holding).await;
        }
        drop(strangers);
    }
    assert!(sim.finish(settle.settle_id(), douyin_sim::Status::Success));
    let seen = drain(watch).await.expect("the watch goes on, and ends well");
    assert_eq!(seen.last().unwrap().state(), SettleState::Succeeded);
}

/// A caller that asks now and then meets no error when its connection makes room meanwhile.
#[tokio::test]
async fn a_caller_whose_connection_made_room_is_told_to_come_back() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let server = "connections_max = 2\n".to_owned();
    let setting = Setting { server, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let mut client = gateway.client.clone();
    for _ in 0..3 {
        let create = client.create_settle(create_request(&number("now-and-then")));
        within("CreateSettle", create).await.unwrap();
        let before = gateway.metric(RESTED).await;
        let others = [Frames::open(&gateway.url()).await, Frames::open(&gateway.url()).await];
        until("it to make room", async || gateway.metric(RESTED).await > before).await;
        drop(others);
    }
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
    for part in ["256 file descriptors", "add up to 3_0", "server.connections_max 2_048", "store"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The soft limit is not one: it is raised.
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, new_key().public_pem()).unwrap();
    let gateway = Process::start(&sim, dir.path(), few_descriptors(keys)).await;
    assert_eq!(gateway.admin("/livez").await.0, 200);
}
