//! A proxy on loopback that opens tunnels (CONNECT), or does something else instead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the proxy does once it was asked for a tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    Open,
    /// Only for `gateway:password`; others get 407.
    OpenForKnown,
    /// Says this instead, and keeps the connection.
    Say(&'static str),
    SayLater(Duration, &'static str),
    /// Opens, and says it in these words.
    OpenSaying(&'static str),
    OpenAndClose,
    Close,
    Hang,
}

pub(super) struct Proxy {
    pub(super) address: String,
    /// The heads of the requests for tunnels.
    asked: Arc<Mutex<Vec<String>>>,
    cut: CancellationToken,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, cut) = (Arc::clone(&asked), CancellationToken::new());
        let cut_off = cut.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (seen, cut_off) = (Arc::clone(&seen), cut_off.clone());
                open.spawn(async move {
                    cut_off.run_until_cancelled(serve(socket, does, &seen)).await;
                });
            }
        });
        Self { address, asked, cut, _serving: serving }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Closes every connection.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

const OPENED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const UNKNOWN_USER: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                            proxy-authenticate: Basic realm=\"proxy\"\r\ncontent-length: 0\r\n\r\n";

async fn serve(mut socket: TcpStream, does: Does, seen: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let to = head.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(" HTTP/1.1\r\n"));
    let to = to.expect("nothing but a tunnel is asked for").0.to_owned();
    // As `gateway:password` is spelled.
    let is_known = head.contains("\r\nproxy-authorization: Basic Z2F0ZXdheTpwYXNzd29yZA==\r\n");
    seen.lock().unwrap().push(head);
    match does {
        Does::Open => tunnel(socket, OPENED, &to).await,
        Does::OpenForKnown if is_known => tunnel(socket, OPENED, &to).await,
        Does::OpenForKnown => say(socket, UNKNOWN_USER).await,
        Does::Say(answer) => say(socket, answer).await,
        Does::SayLater(time, answer) => {
            tokio::time::sleep(time).await;
            say(socket, answer).await;
        }
        Does::OpenSaying(answer) => tunnel(socket, answer, &to).await,
        Does::OpenAndClose => socket.write_all(OPENED.as_bytes()).await.unwrap(),
        Does::Close => {}
        Does::Hang => std::future::pending().await,
    }
}

async fn say(mut socket: TcpStream, answer: &str) {
    socket.write_all(answer.as_bytes()).await.unwrap();
    std::future::pending().await
}

async fn tunnel(mut socket: TcpStream, answer: &str, to: &str) {
    let mut other = TcpStream::connect(to).await.unwrap();
    socket.write_all(answer.as_bytes()).await.unwrap();
    // Either side may end it.
    let _ = copy_bidirectional(&mut socket, &mut other).await;
}
