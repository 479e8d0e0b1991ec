//! The server proves by its certificate who it is, on a connection by TCP.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::create;
use super::server::{Database, Server};
use crate::store::contract_tests::fixtures::*;
use crate::store::postgres::Postgres;
use crate::store::{PostgresOptions, Store};

/// Signs certificates.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn trusted(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add(self.certificate.clone()).unwrap();
        Arc::new(store)
    }

    /// Leaves the certificate and the key of a server in a folder.
    fn certify(&self, name: &str, folder: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }
}

/// An address of this machine that no other server has. All of 127.0.0.0/8 are.
fn address() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{high}.{low}", 100 + NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Who may connect how, from now on.
async fn admit(database: &Database, rules: &[&str]) {
    let client = database.as_another_program().await;
    let file: String = client.query_one("SHOW hba_file", &[]).await.unwrap().get(0);
    let rows = rules.iter().map(|rule| format!("('{rule}')")).collect::<Vec<_>>().join(", ");
    client.batch_execute(&format!("COPY (VALUES {rows}) TO '{file}'")).await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

async fn opened(options: PostgresOptions) -> Result<Store, String> {
    match Postgres::open(options).await {
        Ok(postgres) => Ok(Store::Postgres(Arc::new(postgres))),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn the_server_proves_who_it_is_and_every_connection_is_encrypted() {
    let [authority, other] = ["authority", "another one"].map(Authority::new);
    let [named, unnamed] = [address(), address()];
    let folder = tempfile::tempdir().unwrap();
    authority.certify(&named, folder.path());
    let listens = format!("listen_addresses={named},{unnamed}");
    let server = Server::start(&[&listens, &format!("tls={}", folder.path().display())]);
    let database = server.database().await;
    admit(&database, &["local all all trust", "hostssl all all 127.0.0.0/8 trust"]).await;
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    let options = |host: &str, authority: &Authority| {
        let address = database.encrypted_address_at(host);
        PostgresOptions { authorities: Some(authority.trusted()), ..PostgresOptions::new(address) }
    };

    let store = opened(options(&named, &authority)).await.unwrap();
    create(&store, key("1")).await.unwrap();
    let client = database.as_another_program().await;
    let sessions = "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl
        JOIN pg_stat_activity USING (pid) WHERE application_name = 'settlement-gateway'";
    let row = client.query_one(sessions, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0) && row.get::<_, i64>(1) > 0);

    let refused = opened(options(&named, &other)).await.err().expect("it is signed by another one");
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let refused = opened(options(&unnamed, &authority)).await.err().expect("it has another name");
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused() {
    let listens = address();
    let server = Server::start(&[&format!("listen_addresses={listens}")]);
    let database = server.database().await;
    admit(&database, &["local all all trust", "host all all 127.0.0.0/8 trust"]).await;
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    let mut options = PostgresOptions::new(database.encrypted_address_at(&listens));
    options.authorities = Some(Authority::new("authority").trusted());
    let refused = opened(options).await.err().expect("it shows no certificate");
    assert!(refused.contains("does not support TLS"), "{refused}");
}
