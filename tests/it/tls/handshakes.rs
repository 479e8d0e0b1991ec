//! Which handshakes make a connection: versions, protocols, certificates, and silence.

use std::net::SocketAddr;

use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::authority::{self, Authority};
use super::client::{Client, Ways};
use super::{Listener, Secured};
use crate::harness::{create_request, number, simulator, watch_request, within};
use crate::process::{Process, Setting};

/// Whether a client gets an answer.
async fn asks(client: &Client, addr: SocketAddr) -> Result<(), Status> {
    let mut health = HealthClient::new(client.channel(addr));
    within("Check", health.check(HealthCheckRequest::default())).await.map(drop)
}

#[tokio::test]
async fn callers_create_and_watch_over_tls_1_2_and_1_3_and_not_in_plain_text() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let addr = gateway.process.grpc_addr();
    for (version, known) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let ways = Ways { versions: &[version], ..Ways::default() };
        let client = Client::new(&gateway.listener.authority, &ways);
        let connection = within("a handshake", client.connect(addr)).await.unwrap();
        assert_eq!(connection.get_ref().1.protocol_version(), Some(known));
        assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (number, mut settles) = (number("tls"), client.settles(addr));
        within("CreateSettle", settles.create_settle(create_request(&number))).await.unwrap();
        let watch = within("WatchSettle", settles.watch_settle(watch_request(&number, 0))).await;
        let seen = crate::harness::drain(watch.unwrap().into_inner()).await.unwrap();
        assert!(!seen.is_empty());
    }
    gateway.process.create(create_request(&number("plain"))).await.unwrap_err();
}

#[tokio::test]
async fn a_client_that_speaks_another_protocol_or_doubts_the_name_gets_no_connection() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let addr = gateway.process.grpc_addr();
    let connected = async |ways: Ways<'_>| {
        let client = Client::new(&gateway.listener.authority, &ways);
        within("a handshake", client.connect(addr)).await.map(drop)
    };
    let alpn = |alpn| Ways { alpn, ..Ways::default() };
    connected(alpn(&["http/1.1", "h2"])).await.unwrap();
    // Which offers none speaks HTTP/2 all the same, or is closed for its first bytes.
    connected(alpn(&[])).await.unwrap();
    for other in [&["http/1.1"][..], &["spdy/3", "http/1.0"]] {
        connected(alpn(other)).await.unwrap_err();
    }
    connected(Ways { name: "elsewhere.example", ..Ways::default() }).await.unwrap_err();
    let doubting = Client::new(&Authority::new(), &Ways::default());
    within("a handshake", doubting.connect(addr)).await.unwrap_err();
}

/// None is as good: callers without a certificate bring a token, and probes bring nothing.
#[tokio::test]
async fn a_client_certificate_is_good_or_the_connection_ends() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let audit = dir.path().join("audit");
    let gateway = Secured::start(&sim, &format!("audit_to = {audit:?}\n")).await;
    let addr = gateway.process.grpc_addr();
    let (clients, names) = (&gateway.clients, ["spiffe://corp/shop"]);
    let good = clients.issue(&names);
    let nameless = clients.issue(&[]);
    let bad = [
        ("ended", clients.issue_with(&names, authority::ended)),
        ("begins later", clients.issue_with(&names, authority::in_future)),
        ("for servers", clients.issue_with(&names, authority::of_servers)),
        ("of another authority", Authority::new().issue(&names)),
        ("of the listener's authority", gateway.listener.authority.issue(&names)),
    ];
    for versions in ALL_VERSIONS {
        let versions = std::slice::from_ref(versions);
        let client = |shows| {
            let ways = Ways { versions, shows, ..Ways::default() };
            Client::new(&gateway.listener.authority, &ways)
        };
        for shows in [None, Some(&good), Some(&nameless)] {
            asks(&client(shows), addr).await.unwrap();
        }
        for (what, certificate) in &bad {
            let asked = asks(&client(Some(certificate)), addr).await;
            assert!(asked.is_err(), "{what}, {versions:?}");
        }
    }
    let line = ["\"WARN\"", "is not believed", "certificate expired", "127.0.0.1"];
    gateway.process.logged_together(&line).await;
    // All of them from one network, which has ten lines in ten seconds; the others are counted.
    let refused = bad.len() * ALL_VERSIONS.len();
    assert_eq!(refused, 10);
    let audited = crate::audit::lines(&audit, refused).await;
    for line in &audited {
        let told = ["what", "call", "who", "code", "reason"].map(|field| line[field].as_str());
        let wanted = ["refusal", "TLS", "", "Unauthenticated", "UNAUTHENTICATED"];
        assert_eq!(told, wanted.map(|word| Some(word).filter(|word| !word.is_empty())));
        assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }
    let ended = audited.iter().filter(|line| line["why"].as_str().unwrap().contains("expired"));
    assert_eq!(ended.count(), ALL_VERSIONS.len());
    let counted = "settlement_connections_refused_total{listener=\"grpc\",why=\"certificate\"}";
    assert_eq!(gateway.process.counted(counted).await, 10);
}

#[tokio::test]
async fn a_listener_without_client_authorities_asks_for_no_certificate() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let listener = Listener::new(dir.path(), "grpc");
    let setting = Setting { server: listener.knobs("grpc"), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let shown = Authority::new().issue(&["spiffe://corp/shop"]);
    let ways = Ways { shows: Some(&shown), ..Ways::default() };
    asks(&Client::new(&listener.authority, &ways), gateway.grpc_addr()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_end_its_handshake_makes_room_and_is_closed() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "connections_max = 8\n").await;
    let addr = gateway.process.grpc_addr();
    let client = Client::new(&gateway.listener.authority, &Ways::default());
    let mut connected = client.settles(addr);
    let create = connected.create_settle(create_request(&number("before")));
    within("CreateSettle", create).await.unwrap();
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"\x16\x03\x01\x02"].repeat(20) {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        silent.push(socket);
    }
    let another = Client::new(&gateway.listener.authority, &Ways::default());
    asks(&another, addr).await.expect("one of the silent peers makes room");
    for mut socket in silent {
        let mut said = Vec::new();
        // Closed, or reset.
        let _ = within("a silent peer's end", socket.read_to_end(&mut said)).await;
        assert_eq!(said, b"", "it is told nothing in plain text");
    }
    let counted = "settlement_connections_refused_total{listener=\"grpc\",why=\"silent\"}";
    assert!(gateway.process.counted(counted).await >= 1);
}

#[tokio::test]
async fn a_stop_waits_for_no_handshake() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let silent = TcpStream::connect(gateway.process.grpc_addr()).await.unwrap();
    let client = Client::new(&gateway.listener.authority, &Ways::default());
    asks(&client, gateway.process.grpc_addr()).await.unwrap();
    gateway.process.signal("TERM").await;
    let (status, log) = gateway.process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped gracefully"), "{log}");
    drop(silent);
}

#[tokio::test]
async fn a_scraper_reads_the_metrics_over_tls_and_not_in_plain_text() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let listener = Listener::new(dir.path(), "admin");
    let setting = Setting { server: listener.knobs("admin"), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let trusted = reqwest::Certificate::from_pem(listener.authority.pem().as_bytes()).unwrap();
    let scraper = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
    let port = gateway.admin_addr().port();
    let scraped = scraper.get(format!("https://localhost:{port}/metrics")).send();
    let metrics = within("the metrics", scraped).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("settlement_rehearsal 1"), "{metrics}");
    let plain = reqwest::get(format!("http://localhost:{port}/metrics"));
    within("an answer", plain).await.unwrap_err();
}
