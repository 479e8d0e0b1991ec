//! HTTP/2 by the frame: requests that are reset at once, heads that never end, pings and settings
//! whose answers are never read. On each port, because all three speak HTTP/2.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::peers::{PREFACE, on_each_port};
use super::stage::Surroundings;

/// Between two batches of frames: a flood, and still the machine's other core is not needed for it.
const REST: Duration = Duration::from_millis(10);
const BATCH: usize = 64;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// `POST http /`, by the numbers of HPACK's table, and `localhost`.
const HEAD: &[u8] = b"\x83\x86\x84\x41\x09localhost";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

#[derive(Clone, Copy)]
enum Flood {
    RapidReset,
    EndlessHead,
    Pings,
    Settings,
    EmptyData,
    Windows,
}

impl Flood {
    const ALL: [Flood; 6] = [
        Flood::RapidReset,
        Flood::EndlessHead,
        Flood::Pings,
        Flood::Settings,
        Flood::EmptyData,
        Flood::Windows,
    ];

    /// What comes first, on stream 1.
    fn beginning(self) -> Vec<u8> {
        match self {
            Flood::RapidReset | Flood::Pings | Flood::Settings | Flood::Windows => Vec::new(),
            Flood::EndlessHead => frame(HEADERS, 0, 1, HEAD),
            Flood::EmptyData => frame(HEADERS, END_HEADERS, 1, HEAD),
        }
    }

    /// What then comes again and again; `next` is a stream that was not used yet.
    fn again(self, next: &mut u32) -> Vec<u8> {
        match self {
            Flood::RapidReset => {
                let stream = *next;
                *next += 2;
                let head = frame(HEADERS, END_HEADERS, stream, HEAD);
                [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
            }
            // A literal that is not remembered: `x: y`.
            Flood::EndlessHead => frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"),
            Flood::Pings => frame(PING, 0, 0, &[7; 8]),
            Flood::Settings => frame(SETTINGS, 0, 0, &[]),
            Flood::EmptyData => frame(DATA, 0, 1, &[]),
            Flood::Windows => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        }
    }

    /// Until the other side has had enough.
    async fn play(self, mut socket: TcpStream) {
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &self.beginning()].concat();
        let mut sent = socket.write_all(&begin).await;
        let mut next = 1;
        while sent.is_ok() {
            let batch: Vec<u8> = (0..BATCH).flat_map(|_| self.again(&mut next)).collect();
            sent = socket.write_all(&batch).await;
            tokio::time::sleep(REST).await;
        }
    }
}

pub async fn floods(around: Surroundings, over: CancellationToken) {
    let all = Flood::ALL
        .map(|flood| on_each_port(&around, over.clone(), 2, move |_, socket| flood.play(socket)));
    let [one, two, three, four, five, six] = all;
    tokio::join!(one, two, three, four, five, six);
}
