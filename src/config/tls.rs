//! What a listener needs to speak TLS, read from PEM files.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::clock::Timestamp;

/// The files of one listener, and what was read from them.
#[derive(Clone, Debug, Default)]
pub struct ListenerTls {
    pub certificate_file: Option<String>,
    pub key_file: Option<String>,
    /// The authorities whose client certificates are believed.
    pub client_ca_file: Option<String>,
    /// `None`: plain text.
    pub tls: Option<Tls>,
}

/// What a listener that speaks TLS needs.
#[derive(Clone)]
pub struct Tls(pub Arc<ServerConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// What the connections of a listener carry.
#[derive(Clone, Copy)]
pub(super) enum Speaks {
    Grpc,
    Http,
}

/// The largest PEM file: a chain of certificates has a few kilobytes.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// Which file is at fault, and why; follows the key's path.
pub enum BadTls {
    Certificate(String),
    Key(String),
    ClientCa(String),
}

impl Tls {
    /// For a listener of HTTP that asks for no client certificate.
    pub fn read(certificate_file: &str, key_file: &str) -> Result<Self, BadTls> {
        Self::read_for(Speaks::Http, certificate_file, key_file, None).map(|read| read.tls)
    }

    pub(super) fn read_for(
        speaks: Speaks,
        certificate_file: &str,
        key_file: &str,
        client_ca_file: Option<&str>,
    ) -> Result<Read, BadTls> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(certificate_file).map_err(BadTls::Certificate)?;
        let key = read(key_file).map_err(BadTls::Key)?;
        let no_key = |_| BadTls::Key("names a file that holds no private key".to_owned());
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(no_key)?;
        let authorities = client_ca_file.map(certificates).transpose().map_err(BadTls::ClientCa)?;
        let verifier = authorities.as_ref().map(|all| verifier(all, &provider));
        let verifier = verifier.transpose().map_err(BadTls::ClientCa)?;
        let presented = Ends::of(&chain);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_client_cert_verifier(verifier.unwrap_or_else(|| Arc::new(NoClientAuth)))
            .with_single_cert(chain, key);
        let unfit = |error| BadTls::Key(format!("does not fit the certificate: {error}"));
        let mut config = config.map_err(unfit)?;
        match speaks {
            Speaks::Http => config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Speaks::Grpc => {
                config.alpn_protocols = vec![b"h2".to_vec()];
                // A session that is resumed shows no certificate again, so it would outlive it.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        let authorities = authorities.as_deref().map(Ends::of);
        Ok(Read { tls: Self(Arc::new(config)), presented, authorities })
    }
}

/// What was read for one listener.
pub(super) struct Read {
    pub tls: Tls,
    pub presented: Ends,
    pub authorities: Option<Ends>,
}

/// When the first of some certificates ends. `None`: one of them cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ends(Option<(Timestamp, String)>);

impl Ends {
    pub(super) fn of(certificates: &[CertificateDer<'_>]) -> Self {
        let end = |certificate: &CertificateDer<'_>| {
            let certificate = Certificate::from_der(certificate).ok()?;
            let end = certificate.tbs_certificate.validity.not_after;
            let after_epoch = Timestamp::from_ms(0).plus(end.to_unix_duration());
            Some((after_epoch, end.to_date_time().to_string()))
        };
        let ends: Option<Vec<_>> = certificates.iter().map(end).collect();
        Self(ends.and_then(|ends| ends.into_iter().min()))
    }
}

/// The certificates in the file of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificates {
    pub(super) key: &'static str,
    pub(super) ends: Ends,
}

/// How long before its end a certificate is warned of.
const WARNED_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Certificates {
    /// What an operator must know of them at this moment.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let key = self.key;
        let Some((end, shown)) = &self.ends.0 else {
            return Some(format!(
                "{key} names a file whose certificates do not tell when they end"
            ));
        };
        let left = end.since(now);
        let days = left.as_secs() / (24 * 60 * 60);
        if left.is_zero() {
            Some(format!("{key} names a file with a certificate that has ended, on {shown}"))
        } else if left < WARNED_BEFORE {
            Some(format!("{key} names a file with a certificate that ends in {days} days, {shown}"))
        } else {
            None
        }
    }
}

impl fmt::Display for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.ends.0.as_ref().map_or("not known", |(_, shown)| shown);
        write!(f, "{}: {shown}", self.key)
    }
}

/// Asks each client for its certificate. One that is sent must be good; none is good as well,
/// because tokens identify callers too, and a probe that asks for the health has neither.
fn verifier(
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        let unfit =
            |error| format!("names a file with a certificate that is no authority: {error}");
        roots.add(certificate.clone()).map_err(unfit)?;
    }
    let provider = Arc::clone(provider);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build();
    verifier.map_err(|error| format!("names a file that cannot be used: {error}"))
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let all = all.ok().filter(|all| !all.is_empty());
    all.ok_or_else(|| "names a file that holds no certificate".to_owned())
}

fn read(file: &str) -> Result<String, String> {
    let text = super::read_bounded(Path::new(file), PEM_BYTES_MAX);
    text.map_err(|why| format!("names a file that {why}"))
}
