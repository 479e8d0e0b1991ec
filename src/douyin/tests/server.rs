//! A real HTTP server on loopback whose every byte is scripted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What the server does with a complete request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// These bytes; the connection stays open.
    Say(Vec<u8>),
    /// These bytes once it is notified; the connection stays open.
    SayAt(Arc<Notify>, Vec<u8>),
    /// These bytes, and some time later more bytes, without a request.
    SayMore(Vec<u8>, Duration, Vec<u8>),
    /// These bytes, then the end of the connection.
    SayAndClose(Vec<u8>),
    Reset,
    Hang,
}

pub(super) struct Server {
    pub(super) address: String,
    /// Every complete request, head and body.
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Server {
    pub(super) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acts: Arc<Mutex<VecDeque<Act>>> = Arc::new(Mutex::new(acts.into_iter().collect()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = Arc::clone(&connections);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::Relaxed);
                open.spawn(serve(socket, Arc::clone(&acts), Arc::clone(&seen)));
            }
        });
        Self { address, requests, connections, _serving: serving }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many were opened.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut socket: TcpStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = read_request(&mut socket).await {
        seen.lock().unwrap().push(request);
        let act = acts.lock().unwrap().pop_front();
        match act.expect("every request is scripted") {
            Act::Say(bytes) => socket.write_all(&bytes).await.unwrap(),
            Act::SayAt(gate, bytes) => {
                gate.notified().await;
                socket.write_all(&bytes).await.unwrap();
            }
            Act::SayMore(bytes, pause, more) => {
                socket.write_all(&bytes).await.unwrap();
                tokio::time::sleep(pause).await;
                // The client may have closed the connection.
                let _ = socket.write_all(&more).await;
            }
            Act::SayAndClose(bytes) => {
                socket.write_all(&bytes).await.unwrap();
                return;
            }
            Act::Reset => {
                socket.set_zero_linger().unwrap();
                return;
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

/// `None`: the connection ended first.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= head + 4 + length {
                return Some(String::from_utf8(bytes).unwrap());
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A complete answer with a JSON body.
pub(super) fn json(status: &str, body: &serde_json::Value) -> Vec<u8> {
    raw(status, "content-type: application/json\r\nx-tt-logid: log-header\r\n", &body.to_string())
}

pub(super) fn raw(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}
