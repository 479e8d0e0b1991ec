//! What callbacks are sent to: a developer's endpoint that keeps every byte of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::wire::LONG;

pub(super) const GOOD: &str = r#"{"err_no":0,"err_tips":"success"}"#;

/// An endpoint on loopback.
pub(super) struct Receiver {
    pub(super) url: String,
    seen: Arc<Seen>,
    _stop: DropGuard,
}

struct Seen {
    got: watch::Sender<Vec<Got>>,
    answers: Mutex<VecDeque<Reply>>,
    let_go: CancellationToken,
}

/// How a callback is answered, if not as documented.
#[derive(Clone)]
pub(super) enum Reply {
    With(u16, String),
    /// The connection is closed.
    Nothing,
    /// The connection stays open without an answer.
    Silence,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Got {
    /// Its first line and its headers, as they were sent.
    pub(super) head: String,
    /// By name in lower case.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
    /// All the promised bytes came.
    pub(super) whole: bool,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let got = watch::Sender::new(Vec::new());
        let (answers, let_go) = (Mutex::new(VecDeque::new()), CancellationToken::new());
        let seen = Arc::new(Seen { got, answers, let_go });
        let stop = CancellationToken::new();
        let (stopped, shared) = (stop.clone(), Arc::clone(&seen));
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(stopped.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let one = serve(stream, Arc::clone(&shared));
                connections.spawn(stopped.clone().run_until_cancelled_owned(one));
            }
        }));
        Self { url: format!("http://{address}/callbacks/a?b=c"), seen, _stop: stop.drop_guard() }
    }

    /// Queues the answers to the next callbacks.
    pub(super) fn answer(&self, replies: impl IntoIterator<Item = Reply>) {
        self.seen.answers.lock().expect("no test panicked").extend(replies);
    }

    /// Closes the silent connections, and those to come.
    pub(super) fn let_go(&self) {
        self.seen.let_go.cancel();
    }

    /// What has arrived by now.
    pub(super) fn got(&self) -> Vec<Got> {
        self.seen.got.borrow().clone()
    }

    /// Waits until so many have arrived.
    pub(super) async fn wait_for(&self, count: usize) -> Vec<Got> {
        let mut got = self.seen.got.subscribe();
        let enough = got.wait_for(|got| got.len() >= count);
        let got = tokio::time::timeout(LONG, enough).await.expect("they arrive in time");
        got.expect("self keeps the sender alive").clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut bytes = Vec::new();
    let mut end = None;
    let mut length = 0;
    let whole = loop {
        if end.is_none() {
            end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|place| place + 4);
            if let Some(end) = end {
                length = headers(&bytes[..end])["content-length"].parse().expect("a number");
            }
        }
        if end.is_some_and(|end| bytes.len() >= end + length) {
            break true;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            break false;
        }
    };
    let body = bytes.split_off(end.unwrap_or(bytes.len()));
    let head = String::from_utf8(bytes).expect("a head in ASCII");
    let headers = headers(head.as_bytes());
    seen.got.send_modify(|got| got.push(Got { head, headers, body, whole }));
    let reply = seen.answers.lock().expect("no test panicked").pop_front();
    let (status, text) = match reply {
        None => (200, GOOD.to_owned()),
        Some(Reply::With(status, text)) => (status, text),
        Some(Reply::Nothing) => return,
        Some(Reply::Silence) => return seen.let_go.cancelled().await,
    };
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    // The other side may have closed.
    stream.write_all(answer.as_bytes()).await.ok();
}

fn headers(head: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(head);
    let pairs = text.lines().skip(1).filter_map(|line| line.split_once(": "));
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The fields inside `msg`.
    pub(super) fn msg(&self) -> Value {
        msg(&self.body)
    }

    /// Is the signature good, over the bytes as they arrived?
    pub(super) fn is_signed_by(&self, public_pem: &str) -> bool {
        let [timestamp, nonce, signature] =
            ["byte-timestamp", "byte-nonce-str", "byte-signature"].map(|name| self.header(name));
        verified(public_pem, timestamp, nonce, &self.body, signature)
    }
}

/// The fields inside `msg` of a body.
pub(super) fn msg(body: &[u8]) -> Value {
    let envelope: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(envelope["type"], "settle");
    serde_json::from_str(envelope["msg"].as_str().expect("a text")).expect("JSON in it")
}

/// §3.3, steps 2 to 4, written a second time.
pub(super) fn verified(
    public_pem: &str,
    timestamp: &str,
    nonce: &str,
    body: &[u8],
    signature: &str,
) -> bool {
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(public_pem.as_bytes()).expect("a key");
    // The rest of 294 bytes after the header of a 2048-bit key is PKCS#1.
    assert_eq!(spki.len(), 294);
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &spki[24..]);
    let mut text = format!("{timestamp}\n{nonce}\n").into_bytes();
    text.extend_from_slice(body);
    text.push(b'\n');
    key.verify(&text, &from_base64(signature)).is_ok()
}

pub(super) fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("Base64")
}
