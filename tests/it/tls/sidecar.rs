//! A sidecar's Unix socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hyper_util::rt::TokioIo;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::harness::{create_request, number, simulator, within};
use crate::process::{Process, Setting};

pub fn through(socket: &Path) -> SettlementServiceClient<Channel> {
    let socket = socket.to_owned();
    let connect = move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://gateway");
    SettlementServiceClient::new(endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
}

fn setting(socket: &Path) -> Setting {
    let open = "allow_anyone_to_move_money = true";
    let server = format!("sidecar_socket = \"{}\"\n{open}\n", socket.display());
    Setting { server, ..Setting::default() }
}

#[tokio::test]
async fn a_sidecar_calls_through_a_socket_that_only_owner_and_group_can_open() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let socket = dir.path().join("sidecar.sock");
    // What a killed gateway leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let gateway = Process::start(&sim, dir.path(), setting(&socket)).await;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = through(&socket);
    let create = client.create_settle(create_request(&number("sidecar")));
    within("CreateSettle", create).await.unwrap();
    gateway.create(create_request(&number("beside"))).await.unwrap();

    let other = TempDir::new().unwrap();
    let (code, said) = Process::refused_with(&sim, other.path(), setting(&socket)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot listen on the socket"), "{said}");
    assert!(said.contains("a process listens there"), "{said}");
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!socket.exists(), "it goes with the gateway");
}
