//! Peers that are silent, slow, greedy or many, beside honest callers. What they can take is
//! bounded, and the callers notice nothing.

mod deadlines;
mod greedy;
mod pages;
mod requests;
mod silent;
mod strangers;
mod streams;

use bytes::{BufMut as _, BytesMut};
use settlement_gateway::proto::v1;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{create_request, within};
use crate::process::Process;

/// As many requests to Douyin as a test likes; follows the keys of the app.
const BUDGET: &str = "requests_per_second = 10000\nrequests_in_flight = 500\n";

/// A connection that is spoken to in HTTP/2's own frames, and not listened to.
struct Frames(TcpStream);

impl Frames {
    async fn open(url: &str) -> Self {
        let addr = url.trim_start_matches("http://");
        Self(within("a connection", TcpStream::connect(addr)).await.unwrap())
    }

    /// Says that it speaks HTTP/2, and which settings it has.
    async fn greet(&mut self) {
        self.send(&greeting()).await;
    }

    /// Begins so many calls of a path, whose requests do not follow.
    async fn begin(&mut self, path: &str, calls: u32) {
        let head = head(path);
        let heads = (0..calls).flat_map(|call| frame(1, 4, 2 * call + 1, &head));
        self.send(&heads.collect::<Vec<_>>()).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        within("a write", self.0.write_all(bytes)).await.unwrap();
    }
}

/// The first words of a peer that speaks HTTP/2: none of its settings is set.
fn greeting() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat()
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_uint(payload.len().try_into().unwrap(), 3);
    frame.put_u8(kind);
    frame.put_u8(flags);
    frame.put_u32(stream);
    frame.put_slice(payload);
    frame.to_vec()
}

/// The head of a call of gRPC, without a token: POST, http, the path, the type (RFC 7541).
fn head(path: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "one byte of length");
        [&[length], text.as_bytes()].concat()
    };
    let (path, kind) = (text(path), text("application/grpc"));
    [&[0x83, 0x86, 0x04][..], &path, &[0x0F, 0x10], &kind].concat()
}

/// A settle with everything as long as it may be.
fn largest(out_settle_no: &str) -> v1::CreateSettleRequest {
    let text = |bytes: usize| "x".repeat(bytes);
    v1::CreateSettleRequest {
        settle_desc: text(512),
        ext: text(2_048),
        notify_url: format!("https://{}", text(504)),
        return_when: v1::ReturnWhen::Recorded.into(),
        ..create_request(out_settle_no)
    }
}

/// Records so many of the largest settles, some at once.
async fn record_largest(gateway: &Process, count: usize) {
    let numbers: Vec<_> = (0..count).map(|i| format!("large-{i}")).collect();
    let mut tasks = Vec::new();
    for numbers in numbers.chunks(count.div_ceil(16)) {
        let (mut client, numbers) = (gateway.client.clone(), numbers.to_vec());
        tasks.push(tokio::spawn(async move {
            for number in numbers {
                client.create_settle(largest(&number)).await.expect("a create is recorded");
            }
        }));
    }
    for task in tasks {
        within("the creates", task).await.unwrap();
    }
}

/// Waits for what holds sooner or later.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within(what, waiting).await;
}
