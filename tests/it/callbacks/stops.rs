//! How the listener stops: it finishes what was begun, and does not wait for peers that begin
//! nothing.

use settlement_gateway::config::Tls;
use settlement_gateway::server::Stopped;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{patient, signing_simulator, spawn_with};
use crate::harness::{APP_ID, Gateway, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Connections of peers that send this and then nothing, for ever. They do not answer pings.
async fn holding(gateway: &Gateway, sent: &[&[u8]]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for sent in sent {
        let mut socket = TcpStream::connect(gateway.addrs.callback.unwrap()).await.unwrap();
        socket.write_all(sent).await.unwrap();
        held.push(socket);
    }
    held
}

/// Every peer on the internet can open a connection. That must not make a stop a hard one.
#[tokio::test]
async fn a_stop_does_not_wait_for_connections_without_a_request() {
    let mut gateway = spawn_with(patient).await;
    let partial = format!("POST /callbacks/douyin/{APP_ID} HTTP/1.1\r\nhost: x\r\n");
    let preface_alone = &PREFACE[..24];
    let mut held = holding(&gateway, &[b"", b"PO", partial.as_bytes(), preface_alone]).await;
    // One whose settings have come, so that the stop meets a whole HTTP/2 connection.
    let mut settled = holding(&gateway, &[PREFACE]).await.remove(0);
    within("its settings", settled.read_exact(&mut [0; 9])).await.unwrap();
    held.push(settled);
    // One that had an answer and keeps the connection.
    let keeps = reqwest::Client::new();
    let answer = within("an answer", keeps.get(format!("http://{}", gateway.addrs.admin)).send());
    assert_eq!(answer.await.unwrap().status().as_u16(), 404);
    assert_eq!(gateway.stop().await, Stopped::Gracefully);
    drop((held, keeps));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_handshake() {
    let mut gateway = Gateway::spawn_with(signing_simulator().await, |config| {
        patient(config);
        let dir = tempfile::TempDir::new().unwrap();
        let (certificate, key) = crate::config::certificate(dir.path());
        config.callback.tls.tls = Some(Tls::read(&certificate, &key).map_err(|_| "new").unwrap());
    })
    .await;
    let held = holding(&gateway, &[b"", b"\x16\x03\x01"]).await;
    assert_eq!(gateway.stop().await, Stopped::Gracefully);
    drop(held);
}

/// What is on its way when the stop comes still gets its answer.
#[tokio::test]
async fn a_body_that_arrives_during_the_stop_is_answered() {
    let mut gateway = spawn_with(patient).await;
    let head = format!(
        "POST /callbacks/douyin/{APP_ID} HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\
         expect: 100-continue\r\n\r\n"
    );
    let mut sender = holding(&gateway, &[head.as_bytes()]).await.remove(0);
    let mut told = [0; 25];
    within("the invitation", sender.read_exact(&mut told)).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    sender.write_all(b"bo").await.unwrap();
    gateway.begin_stop();
    // No new connection is accepted any more.
    let addr = gateway.addrs.callback.unwrap();
    within("the stop", async { while TcpStream::connect(addr).await.is_ok() {} }).await;
    sender.write_all(b"dy").await.unwrap();
    let mut answer = String::new();
    within("the answer", sender.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(gateway.stop().await, Stopped::Gracefully);
}

/// A body that never ends is waited for as long as a body may take.
#[tokio::test]
async fn a_stop_waits_for_no_body_longer_than_it_may_take() {
    let mut gateway = spawn_with(|config| {
        patient(config);
        config.callback.limits.body_time_max = std::time::Duration::from_secs(1);
    })
    .await;
    let head = format!(
        "POST /callbacks/douyin/{APP_ID} HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\
         expect: 100-continue\r\n\r\n"
    );
    let mut sender = holding(&gateway, &[head.as_bytes()]).await.remove(0);
    within("the invitation", sender.read_exact(&mut [0; 25])).await.unwrap();
    assert_eq!(gateway.stop().await, Stopped::Gracefully);
}
