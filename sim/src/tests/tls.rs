//! The simulator speaks https, and so do its callbacks.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::callbacks::{create, until_tried};
use super::config;
use super::wire::{Client, read};
use crate::{Authorities, Certificate, Outcome, SimConfig, Simulator};

/// An authority, and a certificate of it for this machine.
struct Own {
    ca: String,
    chain: String,
    key: String,
}

impl Own {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("an authority").pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        let chain = params.signed_by(&key, &issuer).expect("a certificate").pem();
        Self { ca, chain, key: key.serialize_pem() }
    }

    async fn simulator(&self) -> Simulator {
        let certificate = Certificate::from_pem(&self.chain, &self.key).expect("they fit");
        let config = SimConfig { certificate: Some(certificate), ..config() };
        Simulator::start(config).await.expect("a free loopback port")
    }
}

#[tokio::test]
async fn with_a_certificate_it_speaks_https_and_nothing_else() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let own = Own::new();
    let sim = own.simulator().await;
    let ca = reqwest::Certificate::from_pem(own.ca.as_bytes()).expect("an authority");
    #[expect(clippy::disallowed_methods, reason = "not the gateway's client")]
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client");
    let url = format!("{}/sim/books", sim.url());
    assert!(url.starts_with("https://"), "{url}");
    let books = read(client.get(&url).send().await.expect("an answer")).await;
    assert_eq!(books["settles_total"], 0);
    let plain = client.get(url.replace("https://", "http://")).send().await;
    assert!(plain.is_err(), "{plain:?}");
    sim.stop().await;
}

/// Another simulator stands for the address: it answers that it has no such path.
#[tokio::test]
async fn a_callback_reaches_an_https_address_only_if_its_authority_is_believed() {
    let (own, stranger) = (Own::new(), Own::new());
    let address = own.simulator().await;
    let believed = |of: &Own| Some(Authorities::from_pem(&of.ca).expect("an authority"));
    for (callback_authorities, why) in [
        (believed(&own), None),
        (believed(&stranger), Some("no TLS: ")),
        (None, Some("was told no authority")),
    ] {
        let mut config = SimConfig { callback_authorities, ..config() };
        config.apps[0].callback_url = Some(format!("{}/callbacks", address.url()));
        let client = Client::start_with(config).await;
        create(&client, "s1", "o1").await;
        client.sim.advance(Duration::from_secs(2));
        let outcome = until_tried(&client, "s1", 1).await.attempts[0].outcome.clone();
        match (why, &outcome) {
            (None, Outcome::Refused { .. }) => {}
            (Some(why), Outcome::Unanswered(told)) if told.contains(why) => {}
            _ => panic!("{why:?}: {outcome:?}"),
        }
        client.sim.stop().await;
    }
    address.stop().await;
}

#[test]
fn files_that_hold_something_else_are_refused_with_a_reason() {
    let (own, other) = (Own::new(), Own::new());
    let why = |chain: &str, key: &str| Certificate::from_pem(chain, key).expect_err("refused");
    assert_eq!(why(&own.chain, "no key"), "there is no private key");
    assert_eq!(why("no chain", &own.key), "there is no certificate");
    assert!(why(&own.chain, &other.key).starts_with("the key does not fit"));
    assert_eq!(Authorities::from_pem(&own.key).expect_err("refused"), "there is no certificate");
}
