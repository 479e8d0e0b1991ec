//! Douyin behind TLS, as in production: the gateway trusts what the machine trusts, and nothing
//! else.

use std::net::SocketAddr;

use settlement_gateway::config::Tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Runs until dropped.
struct Front {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Front {
    /// Speaks TLS, and hands on what it hears.
    async fn start(sim: &Simulator, tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = sim.url().strip_prefix("http://").unwrap().to_owned();
        let acceptor = TlsAcceptor::from(tls.0);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
                connections.spawn(async move {
                    let Ok(mut secured) = acceptor.accept(socket).await else { return };
                    let mut douyin = TcpStream::connect(upstream).await.unwrap();
                    // Either side may end it.
                    let _ = tokio::io::copy_bidirectional(&mut secured, &mut douyin).await;
                });
            }
        });
        Self { address, _serving: serving }
    }
}

#[tokio::test]
async fn a_certificate_that_the_machine_trusts_is_good_and_another_is_not() {
    let (sim, dir) = (simulator().await, tempfile::tempdir().unwrap());
    let (certificate, key) = crate::config::certificate(dir.path());
    let tls = Tls::read(&certificate, &key).map_err(|_| "made just now").unwrap();
    let front = Front::start(&sim, tls).await;
    let base_url = format!("https://localhost:{}", front.address.port());
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let (other, _) = crate::config::certificate(&other);
    for (trusted, is_good) in [(certificate, true), (other, false)] {
        let home = tempfile::tempdir().unwrap();
        let setting = Setting {
            base_url: Some(base_url.clone()),
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
