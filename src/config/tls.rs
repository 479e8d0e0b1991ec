//! What a listener needs to speak TLS, read from PEM files.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

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
        let (key, warning) = secret(key_file).map_err(BadTls::Key)?;
        let no_key = |_| BadTls::Key("names a file that holds no private key".to_owned());
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(no_key)?;
        let authorities = client_ca_file.map(certificates).transpose().map_err(BadTls::ClientCa)?;
        let verifier = authorities.as_ref().map(|all| verifier(all, &provider));
        let verifier = verifier.transpose().map_err(BadTls::ClientCa)?;
        let presented = chain.clone();
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
        Ok(Read { tls: Self(Arc::new(config)), presented, authorities, warning })
    }
}

/// What was read for one listener.
pub(super) struct Read {
    pub tls: Tls,
    /// Its own certificate first.
    pub presented: Vec<CertificateDer<'static>>,
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// Of the key's file; follows the key's path.
    pub warning: Option<&'static str>,
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

fn secret(file: &str) -> Result<(String, Option<&'static str>), String> {
    let read = super::read_secret(Path::new(file), PEM_BYTES_MAX);
    read.map_err(|why| format!("names a file that {why}"))
}

fn read(file: &str) -> Result<String, String> {
    let text = super::read_bounded(Path::new(file), PEM_BYTES_MAX);
    text.map_err(|why| format!("names a file that {why}"))
}
