//! What systemd hears of a gateway that it has started, at a real datagram socket.

use std::path::Path;

use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::harness::{simulator, within};
use crate::process::{Process, Setting};
use crate::tls::Listener;

/// The socket at which systemd listens.
struct Manager(UnixDatagram);

impl Manager {
    fn in_dir(dir: &Path) -> (Self, &'static str) {
        let path = dir.join("notify").to_str().unwrap().to_owned();
        (Self(UnixDatagram::bind(&path).unwrap()), path.leak())
    }

    /// The next message, line by line.
    async fn hears(&self) -> Vec<String> {
        let mut message = vec![0; 4096];
        let length = within("a message to systemd", self.0.recv(&mut message)).await.unwrap();
        let message = String::from_utf8(message[..length].to_vec()).unwrap();
        message.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn systemd_hears_of_the_start_each_reading_and_the_stop() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let (manager, socket) = Manager::in_dir(dir.path());
    let variables = vec![("NOTIFY_SOCKET", socket)].leak();
    let gateway =
        Process::start(&sim, dir.path(), Setting { variables, ..Setting::default() }).await;
    assert_eq!(manager.hears().await, ["READY=1"]);
    gateway.signal("HUP").await;
    let reloading = manager.hears().await;
    let [news, time] = &reloading[..] else { panic!("{reloading:?}") };
    assert_eq!(news, "RELOADING=1");
    assert!(time.starts_with("MONOTONIC_USEC="), "{time}");
    assert_eq!(manager.hears().await, ["READY=1"]);
    gateway.signal("TERM").await;
    assert_eq!(manager.hears().await, ["STOPPING=1"]);
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

/// By plain text and by TLS, whatever the certificate's name is.
#[tokio::test]
async fn the_watchdog_hears_a_gateway_that_answers_and_nothing_of_one_that_stands_still() {
    for is_tls in [false, true] {
        let (sim, dir) = (simulator().await, TempDir::new().unwrap());
        let (manager, socket) = Manager::in_dir(dir.path());
        let variables = vec![("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "600000")].leak();
        let listener = Listener::new(dir.path(), "grpc");
        let server = if is_tls { listener.knobs("grpc") } else { String::new() };
        let setting = Setting { variables, server, ..Setting::default() };
        let gateway = Process::start(&sim, dir.path(), setting).await;
        assert_eq!(manager.hears().await, ["READY=1"]);
        for _ in 0..3 {
            assert_eq!(manager.hears().await, ["WATCHDOG=1"]);
        }
        gateway.signal("STOP").await;
        // What it had said before.
        while manager.0.try_recv(&mut [0; 4096]).is_ok() {}
        let waited = tokio::time::timeout(std::time::Duration::from_secs(1), manager.hears()).await;
        assert!(waited.is_err(), "{waited:?}");
        gateway.signal("CONT").await;
        assert_eq!(manager.hears().await, ["WATCHDOG=1"]);
    }
}
