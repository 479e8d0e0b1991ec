//! A proxy between the gateway and Douyin that sends a second answer after each one. An answer
//! about one settle must not be taken for one about another.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// What comes behind each answer: a refusal.
const LATE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
    content-length: 42\r\n\r\n{\"err_no\":23102,\"err_msg\":\"order not pay\"}";

/// Runs until dropped.
struct Proxy {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Each answer of Douyin's is followed, so much later, by one that nothing asked for.
    async fn start(sim: &Simulator, late: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = sim.url().strip_prefix("http://").unwrap().to_owned();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(relay(socket, upstream.clone(), late));
            }
        });
        Self { address, _serving: serving }
    }
}

async fn relay(mut client: TcpStream, upstream: String, late: Duration) {
    while let Some(request) = message(&mut client).await {
        let mut douyin = TcpStream::connect(&upstream).await.unwrap();
        douyin.write_all(&request).await.unwrap();
        let Some(answer) = message(&mut douyin).await else { return };
        client.write_all(&answer).await.unwrap();
        tokio::time::sleep(late).await;
        if client.write_all(LATE).await.is_err() {
            return;
        }
    }
}

/// A message with a head that tells its length.
async fn message(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= head + 4 + length {
                return Some(bytes);
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_to_one_settle_refuses_no_other() {
    let sim = simulator().await;
    for late_ms in [0, 10] {
        let proxy = Proxy::start(&sim, Duration::from_millis(late_ms)).await;
        let dir = tempfile::tempdir().unwrap();
        let base_url = Some(format!("http://{}", proxy.address));
        let process = Process::start(&sim, dir.path(), Setting { base_url, ..Setting::default() });
        let process = process.await;
        let mut creates = JoinSet::new();
        // Some one after the other, and some at once.
        for _ in 0..4 {
            let client = process.client.clone();
            creates.spawn(async move {
                for _ in 0..25 {
                    let number = number("late");
                    let created = client.clone().create_settle(create_request(&number)).await;
                    if let Err(status) = created {
                        let outcome = details(&status).info.metadata["outcome"].clone();
                        assert_ne!(outcome, "refused", "{number}: {status:?}");
                    }
                }
            });
        }
        within("the creates", creates.join_all()).await;
    }
}
