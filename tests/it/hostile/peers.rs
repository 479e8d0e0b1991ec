//! Peers that hold what they have and give nothing for it, on each port.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1::ListSettlesRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::stage::Surroundings;
use crate::harness::APP_ID;
use crate::raw::{Call, Wire};

/// On each port.
const PEERS: usize = 100;
/// Before a peer that was turned away comes back.
const RETURN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Grpc,
    Callbacks,
    Admin,
}

impl Port {
    pub fn all(around: &Surroundings) -> [(Port, SocketAddr); 3] {
        [
            (Port::Grpc, around.grpc),
            (Port::Callbacks, around.callbacks),
            (Port::Admin, around.admin),
        ]
    }

    /// A request without its end.
    fn begun(self) -> Vec<u8> {
        let text = match self {
            // The preface, and settings of which nothing is set.
            Port::Grpc => return [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat(),
            Port::Callbacks => format!(
                "POST /callbacks/douyin/{APP_ID} HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Length: 60000\r\n\r\n"
            ),
            Port::Admin => "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: ".to_owned(),
        };
        text.into_bytes()
    }
}

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many peers on each port, each with one connection after the other, until it is over.
pub async fn on_each_port<F>(
    around: &Surroundings,
    over: CancellationToken,
    peers: usize,
    act: impl Fn(Port, TcpStream) -> F + Copy + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (port, addr) in Port::all(around) {
        for _ in 0..peers {
            let peer = async move {
                loop {
                    if let Ok(socket) = TcpStream::connect(addr).await {
                        act(port, socket).await;
                    }
                    tokio::time::sleep(RETURN).await;
                }
            };
            tasks.spawn(over.clone().run_until_cancelled_owned(peer));
        }
    }
    tasks.join_all().await;
}

/// Reads until the other side closes.
async fn closed(socket: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut bytes = [0; 4096];
    while socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

pub async fn silent(around: Surroundings, over: CancellationToken) {
    on_each_port(&around, over, PEERS, |_, mut socket| async move {
        closed(&mut socket).await;
    })
    .await;
}

/// A third of a request, and no more.
pub async fn half_open(around: Surroundings, over: CancellationToken) {
    on_each_port(&around, over, PEERS, |port, mut socket| async move {
        let begun = port.begun();
        if socket.write_all(&begun[..begun.len() / 3]).await.is_ok() {
            closed(&mut socket).await;
        }
    })
    .await;
}

/// A byte per second.
pub async fn slow_writers(around: Surroundings, over: CancellationToken) {
    on_each_port(&around, over, PEERS, |port, socket| async move {
        let (mut reader, mut writer) = socket.into_split();
        let writing = async {
            for byte in port.begun().into_iter().chain(std::iter::repeat(b'x')) {
                if writer.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = writing => {}
            () = closed(&mut reader) => {}
        }
    })
    .await;
}

/// Asks for much and reads nothing.
pub async fn slow_readers(around: Surroundings, over: CancellationToken) {
    let url = format!("http://{}", around.grpc);
    let lists = async {
        let mut unread = Vec::new();
        let mut wires = Vec::new();
        for _ in 0..4 {
            let wire = Wire::connect_reluctantly(&url).await;
            let request = ListSettlesRequest {
                app_id: APP_ID.to_owned(),
                page_size: 500,
                ..Default::default()
            };
            for _ in 0..250 {
                unread.push(wire.begin(Call::of(Rpc::ListSettles, &request)));
            }
            wires.push(wire);
        }
        let _held = all(unread).await;
        std::future::pending::<()>().await;
    };
    let pages = on_each_port(&around, over.clone(), 16, |port, mut socket| async move {
        let request = match port {
            Port::Grpc => return std::future::pending().await,
            Port::Callbacks => "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            Port::Admin => "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        // Until nothing more is taken, and the other side is done with it.
        while socket.write_all(request.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    tokio::join!(over.run_until_cancelled(lists), pages);
}

/// As much as there is of what has no end: watches of the health, questions about the contract,
/// bodies of callbacks that end with their last byte, and the metrics again and again.
pub async fn greedy(around: Surroundings, over: CancellationToken) {
    const HEALTH: &str = "/grpc.health.v1.Health/Watch";
    const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let url = format!("http://{}", around.grpc);
    let streams = async {
        let (mut open, mut wires) = (Vec::new(), Vec::new());
        for path in [HEALTH, REFLECTION, HEALTH, REFLECTION] {
            let wire = Wire::connect(&url).await;
            for _ in 0..250 {
                let call = Call::to(path, Bytes::from_static(&[0; 5]));
                let call = if path == HEALTH { call } else { call.without_body() };
                open.push(wire.begin(call));
            }
            wires.push(wire);
        }
        let _held = all(open).await;
        std::future::pending::<()>().await;
    };
    let requests = on_each_port(&around, over.clone(), 32, |port, mut socket| async move {
        match port {
            Port::Grpc => std::future::pending().await,
            Port::Callbacks => {
                let body = [port.begun(), vec![b'x'; 59_999]].concat();
                if socket.write_all(&body).await.is_ok() {
                    closed(&mut socket).await;
                }
            }
            Port::Admin => {
                let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
                let mut bytes = vec![0; 64 * 1024];
                while socket.write_all(request).await.is_ok()
                    && socket.read(&mut bytes).await.is_ok_and(|read| read > 0)
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    tokio::join!(over.run_until_cancelled(streams), requests);
}

/// All of them at once; what they are answered with.
async fn all<T: Send + 'static>(calls: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    calls.into_iter().collect::<JoinSet<T>>().join_all().await
}
