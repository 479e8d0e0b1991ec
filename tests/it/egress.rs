//! The way from the gateway to Douyin as in production: TLS, and a proxy in between.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use douyin_sim::{Gate, Script, Simulator};
use settlement_gateway::config::Tls;
use settlement_gateway::proto::v1::SettleState;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{assert_create_error, create_request, number, simulator, within};
use crate::process::{Process, Setting};
use crate::reload::{APPLIED, REFUSED};
use crate::tls::authority::{Authority, ended};
use crate::tls::write;

/// Douyin behind TLS. Runs until dropped.
struct Front {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Front {
    /// Speaks TLS, and hands on what it hears.
    async fn start(sim: &Simulator, tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = sim.url().strip_prefix("http://").unwrap().to_owned();
        let acceptor = TlsAcceptor::from(tls.0);
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = Arc::clone(&connections);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::Relaxed);
                let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
                connections.spawn(async move {
                    let Ok(mut secured) = acceptor.accept(socket).await else { return };
                    let mut douyin = TcpStream::connect(upstream).await.unwrap();
                    // Either side may end it.
                    let _ = copy_bidirectional(&mut secured, &mut douyin).await;
                });
            }
        });
        Self { address, connections, _serving: serving }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

/// A certificate for localhost: its file, and a front that has it.
async fn front(sim: &Simulator, dir: &Path) -> (String, Front) {
    let (certificate, key) = crate::config::certificate(dir);
    let tls = Tls::read(&certificate, &key).map_err(|_| "made just now").unwrap();
    (certificate, Front::start(sim, tls).await)
}

#[tokio::test]
async fn a_certificate_that_the_machine_trusts_is_good_and_another_is_not() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let (certificate, front) = front(&sim, dir.path()).await;
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let (other, _) = crate::config::certificate(&other);
    for (trusted, is_good) in [(certificate, true), (other, false)] {
        let home = TempDir::new().unwrap();
        let setting = Setting {
            base_url: Some(front.url()),
            trusted: Some(trusted.into()),
            ..Setting::default()
        };
        let process = Process::start(&sim, home.path(), setting).await;
        for _ in 0..5 {
            let number = number("tls");
            let created = process.create(create_request(&number)).await;
            if is_good {
                created.unwrap();
                assert_eq!(process.end(&number).await.state(), SettleState::Succeeded);
            } else {
                created.unwrap_err();
                assert_eq!(sim.books().sends(&number), 0);
            }
        }
    }
}

/// A proxy that opens tunnels for those who know its password.
pub struct Proxy {
    pub address: SocketAddr,
    rules: Arc<Rules>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Rules {
    /// It asks for no password.
    is_open: AtomicBool,
    opened: AtomicUsize,
    refused: AtomicUsize,
    /// Closes the tunnels that are open.
    cut: Mutex<CancellationToken>,
}

impl Proxy {
    /// One that opens tunnels for everyone.
    pub async fn start_open() -> Self {
        let proxy = Self::start().await;
        proxy.rules.is_open.store(true, Ordering::Relaxed);
        proxy
    }

    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::new(Rules::default());
        let kept = Arc::clone(&rules);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tunnels.spawn(serve(socket, Arc::clone(&kept)));
            }
        });
        Self { address, rules, _serving: serving }
    }

    fn cut(&self) {
        std::mem::take(&mut *self.rules.cut.lock().unwrap()).cancel();
    }

    pub fn opened(&self) -> usize {
        self.rules.opened.load(Ordering::Relaxed)
    }
}

async fn serve(mut socket: TcpStream, rules: Arc<Rules>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let to = head.strip_prefix("CONNECT ").expect("nothing but a tunnel is asked for");
    let (to, rest) = to.split_once(' ').unwrap();
    // As `gateway:password` is spelled.
    let is_known = rest.contains("\r\nproxy-authorization: Basic Z2F0ZXdheTpwYXNzd29yZA==\r\n");
    if !is_known && !rules.is_open.load(Ordering::Relaxed) {
        rules.refused.fetch_add(1, Ordering::Relaxed);
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        // The gateway does not wait for the end.
        let _ = socket.write_all(refusal).await;
        return;
    }
    rules.opened.fetch_add(1, Ordering::Relaxed);
    let cut = rules.cut.lock().unwrap().clone();
    let mut other = TcpStream::connect(to).await.unwrap();
    socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    // Either side may end it.
    let _ = cut.run_until_cancelled(copy_bidirectional(&mut socket, &mut other)).await;
}

/// A gateway behind the proxy, with this for credentials. The machine trusts other certificates,
/// and its variables name a proxy that is not there.
async fn behind(proxy: &Proxy, sim: &Simulator, dir: &Path, credentials: &str) -> (Process, Front) {
    let (ca_file, front) = front(sim, dir).await;
    let file = dir.join("proxy-credentials");
    std::fs::write(&file, credentials).unwrap();
    let other = dir.join("other");
    std::fs::create_dir(&other).unwrap();
    let (other, _) = crate::config::certificate(&other);
    let setting = Setting {
        base_url: Some(front.url()),
        trusted: Some(other.into()),
        variables: &[("HTTPS_PROXY", "http://127.0.0.1:9"), ("https_proxy", "http://127.0.0.1:9")],
        douyin: format!(
            "proxy_url = \"http://{}\"\nproxy_credentials_file = {file:?}\nca_file = {ca_file:?}\n",
            proxy.address
        ),
        ..Setting::default()
    };
    (Process::start(sim, dir, setting).await, front)
}

#[tokio::test]
async fn every_call_goes_through_the_configured_proxy() {
    let (sim, proxy, dir) = (simulator().await, Proxy::start().await, TempDir::new().unwrap());
    let (process, front) = behind(&proxy, &sim, dir.path(), "gateway:password\n").await;
    for _ in 0..5 {
        let number = number("through");
        process.create(create_request(&number)).await.unwrap();
        assert_eq!(process.end(&number).await.state(), SettleState::Succeeded);
    }
    assert!(proxy.opened() > 0);
    assert_eq!(front.connections.load(Ordering::Relaxed), proxy.opened());
}

#[tokio::test]
async fn a_proxy_that_refuses_has_let_nothing_out_and_is_named_in_the_log() {
    let (sim, proxy, dir) = (simulator().await, Proxy::start().await, TempDir::new().unwrap());
    let (process, _front) = behind(&proxy, &sim, dir.path(), "gateway:old-password").await;
    let (first, second) = (number("refused"), number("refused"));
    let status = process.create(create_request(&first)).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "UPSTREAM_UNAVAILABLE", "unknown");
    process.logged("the proxy answered 407").await;
    // Without a token the app is paused.
    let status = process.create(create_request(&second)).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "UPSTREAM_UNAVAILABLE", "not_sent");
    assert_eq!((sim.books().sends(&first), sim.books().sends(&second)), (0, 0));
    assert!(proxy.rules.refused.load(Ordering::Relaxed) > 0);
    // Nothing has to be repaired but the proxy.
    proxy.rules.is_open.store(true, Ordering::Relaxed);
    assert_eq!(process.end(&first).await.state(), SettleState::Succeeded);
    assert_eq!((sim.books().sends(&first), sim.books().sends(&second)), (1, 0));
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    assert!(!log.contains("old-password"), "{log}");
}

/// As with the certificates of listeners, whose test has every case.
#[tokio::test]
async fn authorities_that_have_ended_do_not_take_the_place_of_good_ones() {
    let (sim, proxy, dir) = (simulator().await, Proxy::start().await, TempDir::new().unwrap());
    let (process, _front) = behind(&proxy, &sim, dir.path(), "gateway:password").await;
    let ca_file = dir.path().join("certificate.pem");
    write(ca_file.to_str().unwrap(), &Authority::with(ended).pem());
    process.logged_together(&["\"ERROR\"", "douyin.ca_file", "has ended, on 2020"]).await;
    assert_eq!((process.counted(REFUSED).await, process.counted(APPLIED).await), (1, 0));
    process.create(create_request(&number("as-before"))).await.unwrap();
}

/// The proxy loses a create that has left. It may have been taken, so it is no refusal; and it was
/// taken, so it is found.
#[tokio::test]
async fn a_tunnel_that_is_lost_with_a_create_leaves_it_unknown_until_it_is_found() {
    let (sim, proxy, dir) = (simulator().await, Proxy::start().await, TempDir::new().unwrap());
    let (process, _front) = behind(&proxy, &sim, dir.path(), "gateway:password").await;
    let (number, gate) = (number("lost"), Gate::new());
    sim.script(&number, vec![Script::Hold(gate.clone())]);
    let lose = async {
        within("the create to arrive", gate.arrived()).await;
        proxy.cut();
        gate.open();
    };
    let (created, ()) = tokio::join!(process.create(create_request(&number)), lose);
    if let Err(status) = created {
        assert_create_error(&status, Code::Unavailable, "UPSTREAM_UNAVAILABLE", "unknown");
    }
    process.logged("the connection was lost").await;
    assert_eq!(process.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(sim.books().under(&number).len(), 1, "one settle, however often it was sent");
}
