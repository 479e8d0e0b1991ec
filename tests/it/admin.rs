//! The admin listener: health over HTTP and metrics.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{APP_ID, Gateway, simulator, within};
use crate::process::{Process, Setting};

#[tokio::test]
async fn it_is_alive_ready_and_counts() {
    let gateway = Gateway::spawn().await;
    assert_eq!(gateway.admin("/livez").await, (200, "alive\n".to_owned()));
    let ready = async { while gateway.admin("/readyz").await.0 != 200 {} };
    within("the store to have shown that it can commit", ready).await;
    let (status, _) = gateway.admin("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(gateway.admin("/elsewhere").await.0, 404);
}

/// A page tells the time that the process has worked, so no two of them are alike.
#[tokio::test]
async fn those_who_ask_for_the_metrics_at_the_same_time_get_the_same_page() {
    let gateway = Gateway::spawn().await;
    gateway.admin("/metrics").await;
    let url = format!("http://{}/metrics", gateway.addrs.admin);
    let began = Instant::now();
    let asking: JoinSet<_> = (0..40)
        .map(|_| {
            let url = url.clone();
            async move { reqwest::get(url).await.unwrap().text().await.unwrap() }
        })
        .collect();
    let pages: HashSet<String> = within("the pages", asking.join_all()).await.into_iter().collect();
    let most = 1 + began.elapsed().as_millis() / 100;
    assert!(pages.len() as u128 <= most, "{} pages in {:?}", pages.len(), began.elapsed());
}

/// The status and the text that bytes are answered with.
async fn raw(addr: SocketAddr, request: &str) -> (u16, String) {
    let talk = async {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = within("the answer", talk).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {answer}")), answer)
}

const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// What a page gets whose name resolves to this machine (DNS rebinding). A browser takes it for a
/// page of the gateway itself.
#[tokio::test]
async fn a_page_that_calls_this_machine_by_its_own_name_gets_no_answer() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let addr = gateway.admin_addr();
    let name = "attacker.example";
    for http2 in [false, true] {
        let client = reqwest::Client::builder().resolve(name, addr);
        let client = if http2 { client.http2_prior_knowledge() } else { client };
        let client = client.build().unwrap();
        let url = |path: &str| format!("http://{name}:{}{path}", addr.port());
        for path in PATHS {
            let answer = within("the answer", client.get(url(path)).send()).await.unwrap();
            assert_eq!(answer.status().as_u16(), 421, "{path}");
            let text = answer.text().await.unwrap();
            assert!(text.contains("server.admin_hosts"), "{text}");
        }
        for origin in [None, Some(url("")), Some("null".to_owned())] {
            let refused = if origin.is_some() { 403 } else { 421 };
            let mut post = client.post(url("/metrics")).body("{}");
            post = post.header("content-type", "application/json");
            if let Some(origin) = origin {
                post = post.header("origin", origin);
            }
            let answer = within("the answer", post.send()).await.unwrap();
            assert_eq!(answer.status().as_u16(), refused);
        }
    }
}

#[tokio::test]
async fn it_answers_to_addresses_localhost_and_configured_names_and_to_no_page_in_a_browser() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let server = "admin_hosts = [\"gateway.internal\"]\n".to_owned();
    let setting = Setting { server, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let addr = gateway.admin_addr();
    for (head, status) in [
        (format!("Host: {addr}\r\n"), 200),
        ("Host: 10.1.2.3:9090\r\n".to_owned(), 200),
        ("Host: [::1]:9090\r\n".to_owned(), 200),
        ("Host: localhost\r\n".to_owned(), 200),
        ("Host: gateway.internal:9090\r\n".to_owned(), 200),
        // A person who types the address.
        ("Host: localhost:9090\r\nSec-Fetch-Site: none\r\n".to_owned(), 200),
        ("Host: gateway.internal.attacker.example\r\n".to_owned(), 421),
        (String::new(), 400),
        ("Host: \r\n".to_owned(), 421),
        ("Host: localhost\r\nHost: attacker.example\r\n".to_owned(), 400),
        ("Host: localhost\r\nHost: localhost\r\n".to_owned(), 400),
        ("Host: localhost\r\nOrigin: http://localhost\r\n".to_owned(), 403),
        ("Host: localhost\r\nOrigin: null\r\n".to_owned(), 403),
        ("Host: localhost\r\nOrigin: \r\n".to_owned(), 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n".to_owned(), 403),
        ("Host: localhost\r\nSec-Fetch-Site: same-site\r\n".to_owned(), 403),
    ] {
        let request = format!("GET /livez HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
        let (seen, answer) = raw(addr, &request).await;
        assert_eq!(seen, status, "{head}: {answer}");
        assert!(!answer.contains("attacker"), "{answer}");
    }
    // As through a proxy: the host in the URI counts, and `Host` must be the same.
    for (target, host, status) in [
        ("http://localhost", "localhost", 200),
        ("http://attacker.example", "attacker.example", 421),
        ("http://attacker.example", "localhost", 400),
        ("http://localhost", "attacker.example", 400),
        ("http://localhost@attacker.example", "localhost@attacker.example", 421),
    ] {
        let head = format!("Host: {host}\r\nConnection: close\r\n\r\n");
        let (seen, answer) = raw(addr, &format!("GET {target}/livez HTTP/1.1\r\n{head}")).await;
        assert_eq!(seen, status, "{target}, {host}: {answer}");
    }
    // The question (preflight) that a browser asks before it sends JSON to another site.
    let ask = "OPTIONS /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://attacker.example\r\n\
               Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n";
    let (seen, answer) = raw(addr, ask).await;
    assert_eq!(seen, 403);
    assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
}

/// A browser speaks no plain HTTP/2, and asks before it sends this content type elsewhere.
#[tokio::test]
async fn the_grpc_port_answers_no_browser() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let addr = gateway.grpc_addr();
    for method in ["GET", "POST", "OPTIONS"] {
        let talk = async {
            let mut socket = TcpStream::connect(addr).await.unwrap();
            let request = format!(
                "{method} /douyin.settlement.v1.SettlementService/CreateSettle HTTP/1.1\r\n\
                 Host: attacker.example\r\nContent-Type: application/grpc\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // It may end the connection without reading what is left.
            let _ = socket.read_to_end(&mut answer).await;
            answer
        };
        let answer = within("the end of the connection", talk).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// More connections than there is room for: an orchestrator must still learn that the gateway is
/// ready.
#[tokio::test]
async fn silent_peers_keep_no_one_out() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let setting = Setting {
        platform_keys: Some(keys),
        server: "callback_connections_max = 64\n".to_owned(),
        ..Setting::default()
    };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    gateway.logged("the store can commit").await;
    let ask =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (admin, callbacks) = (gateway.admin_addr(), gateway.callback_addr());
    for (addr, path, status) in [(admin, "/readyz", 200), (callbacks, "/", 404)] {
        let mut held = Vec::new();
        for said in ["", "GET /ready", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            for _ in 0..80 {
                let mut socket = TcpStream::connect(addr).await.unwrap();
                // It may have made room for the next one, as the one before did for it.
                let _ = socket.write_all(said.as_bytes()).await;
                held.push(socket);
            }
            assert_eq!(raw(addr, &ask(path)).await.0, status, "{path}, after {said:?}");
        }
    }
}
