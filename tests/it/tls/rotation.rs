//! Certificates and client authorities that are replaced while callers call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::authority::{Authority, Issued, begins_after, ended, in_future};
use super::client::{Client, Ways};
use super::{Listener, Secured, write};
use crate::harness::{create_request, number, simulator, within};
use crate::process::{Process, Setting};
use crate::reload::{APPLIED, REFUSED, counted, edit};

/// A caller on one connection, which creates for as long as it is not stopped.
struct Load {
    answered: Arc<AtomicU64>,
    calling: JoinSet<()>,
}

impl Load {
    async fn start(mut client: SettlementServiceClient<Channel>) -> Self {
        let (answered, mut calling) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        let counted = Arc::clone(&answered);
        calling.spawn(async move {
            loop {
                let create = client.create_settle(create_request(&number("load")));
                within("CreateSettle", create).await.expect("no call fails");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let load = Self { answered, calling };
        load.goes_on().await;
        load
    }

    /// Waits until ten more calls are answered, none of which failed.
    async fn goes_on(&self) {
        let enough = self.answered.load(Ordering::Relaxed) + 10;
        let more = async {
            while self.answered.load(Ordering::Relaxed) < enough {
                assert!(!self.calling.is_empty());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("calls that go on", more).await;
    }
}

async fn until_it_asks(client: &Client, addr: SocketAddr) {
    let asks = async {
        while !asks(client, addr).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("a connection that is let in", asks).await;
}

/// Whether a new connection gets an answer.
async fn asks(client: &Client, addr: SocketAddr) -> bool {
    let mut health = HealthClient::new(client.channel(addr));
    within("Check", health.check(HealthCheckRequest::default())).await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_presented_at_once_and_no_call_fails_meanwhile() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let addr = gateway.process.grpc_addr();
    let old = Client::new(&gateway.listener.authority, &Ways::default());
    let load = Load::start(old.settles(addr)).await;
    let next = Authority::new();
    let trusts_next = Client::new(&next, &Ways::default());
    assert!(!asks(&trusts_next, addr).await);
    gateway.listener.present(&next.issue(&["localhost"]));
    until_it_asks(&trusts_next, addr).await;
    assert!(!asks(&old, addr).await, "new connections get the new one only");
    load.goes_on().await;
}

#[tokio::test]
async fn new_client_authorities_count_for_new_connections_and_old_ones_go_on() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let addr = gateway.process.grpc_addr();
    let client = |shown: &Issued| {
        Client::new(&gateway.listener.authority, &Ways { shows: Some(shown), ..Ways::default() })
    };
    let old = client(&gateway.clients.issue(&["spiffe://corp/shop"]));
    let load = Load::start(old.settles(addr)).await;
    let authority = Authority::new();
    let next = client(&authority.issue(&["spiffe://corp/shop"]));
    assert!(!asks(&next, addr).await);
    write(&gateway.client_ca, &(gateway.clients.pem() + &authority.pem()));
    until_it_asks(&next, addr).await;
    assert!(asks(&old, addr).await, "both are believed");
    write(&gateway.client_ca, &authority.pem());
    let gone = async {
        while asks(&old, addr).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the old authority to be forgotten", gone).await;
    assert!(asks(&next, addr).await);
    load.goes_on().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_leaves_the_old_one_and_is_counted() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let addr = gateway.process.grpc_addr();
    let old = Client::new(&gateway.listener.authority, &Ways::default());
    let next = Authority::new();
    let other = next.issue(&["localhost"]);
    let mixed = Issued { certificate: other.certificate, key: Authority::new().issue(&[]).key };
    let garbage = Issued { certificate: "none".to_owned(), key: String::new() };
    for (bad, why) in [(mixed, "does not fit the certificate"), (garbage, "holds no certificate")] {
        let before = gateway.process.counted(REFUSED).await;
        gateway.listener.present(&bad);
        gateway.process.logged_together(&["\"ERROR\"", "grpc_tls_", why, "grpc-"]).await;
        assert!(gateway.process.counted(REFUSED).await > before);
        assert!(asks(&old, addr).await);
    }
    gateway.listener.present(&next.issue(&["localhost"]));
    until_it_asks(&Client::new(&next, &Ways::default()), addr).await;
}

/// Each is a good pair, or an authority, in all but its time.
#[tokio::test]
async fn what_has_ended_or_not_begun_does_not_take_the_place_of_what_is_good() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let (process, addr) = (&gateway.process, gateway.process.grpc_addr());
    let authority = &gateway.listener.authority;
    let shown = gateway.clients.issue(&["spiffe://corp/shop"]);
    let client = Client::new(authority, &Ways { shows: Some(&shown), ..Ways::default() });
    let refused = async |key: &str, why: &str, before: u64| {
        process.logged_together(&["\"ERROR\"", key, why, "all that was read before"]).await;
        assert!(process.counted(REFUSED).await > before);
        assert!(asks(&client, addr).await, "{key}: {why}");
    };
    const ENDED: &str = "has ended, on 2020-01-01";
    const LATER: &str = "is not good yet: it begins on 3000-01-01";
    for (leaf, why) in [
        (authority.issue_with(&["localhost"], ended), ENDED),
        (authority.issue_with(&["localhost"], in_future), LATER),
    ] {
        let before = process.counted(REFUSED).await;
        gateway.listener.present(&leaf);
        refused("server.grpc_tls_certificate_file", why, before).await;
    }
    gateway.listener.present(&authority.issue(&["localhost"]));
    counted(process, APPLIED, 1).await;
    let old = Authority::with(ended);
    for (authority, why) in [(&old, ENDED), (&Authority::with(in_future), LATER)] {
        let before = process.counted(REFUSED).await;
        write(&gateway.client_ca, &authority.pem());
        refused("server.grpc_client_ca_file", why, before).await;
    }
    // One that has ended beside a good one hinders nothing.
    let applied = process.counted(APPLIED).await;
    write(&gateway.client_ca, &(old.pem() + &gateway.clients.pem()));
    counted(process, APPLIED, applied + 1).await;
    assert!(asks(&client, addr).await);
}

/// Its file does not change then.
#[tokio::test]
async fn a_certificate_that_has_not_begun_is_taken_when_it_begins() {
    let sim = simulator().await;
    let gateway = Secured::start(&sim, "").await;
    let next = Authority::new();
    let soon = begins_after(Duration::from_secs(6));
    gateway.listener.present(&next.issue_with(&["localhost"], soon));
    gateway.process.logged_together(&["\"ERROR\"", "is not good yet"]).await;
    let next = Client::new(&next, &Ways::default());
    until_it_asks(&next, gateway.process.grpc_addr()).await;
}

/// There is no better one. And what is in force already hinders no other change.
#[tokio::test]
async fn a_gateway_starts_with_a_certificate_that_has_ended_and_takes_other_changes() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let listener = Listener::new(dir.path(), "grpc");
    listener.present(&listener.authority.issue_with(&["localhost"], ended));
    let setting = Setting { server: listener.knobs("grpc"), ..Setting::default() };
    let process = Process::start(&sim, dir.path(), setting).await;
    let line = ["\"ERROR\"", "server.grpc_tls_certificate_file", "has ended", "it is used"];
    process.logged_together(&line).await;
    edit(dir.path(), |text| format!("{text}\n# changed\n"));
    counted(&process, APPLIED, 1).await;
    let end =
        "settlement_certificate_end_timestamp_seconds{key=\"server.grpc_tls_certificate_file\"}";
    counted(&process, end, 1).await;
    assert_eq!(process.counted(end).await, 1_577_836_800, "2020-01-01");
}
