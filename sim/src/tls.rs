//! TLS on both wires: a certificate for those who call the simulator, and the authorities by which
//! it recognises the addresses that its callbacks go to.
//!
//! It does not know what a connection carries.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What the simulator shows to those who call it.
#[derive(Clone)]
pub struct Certificate(TlsAcceptor);

/// Whose certificates it believes where callbacks go.
#[derive(Clone)]
pub struct Authorities(TlsConnector);

impl Certificate {
    /// # Errors
    /// Why these are no certificate chain and its private key.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.map_err(|_| "there is no private key".to_owned())?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_no_client_auth()
            .with_single_cert(certificates(chain)?, key);
        let config = config.map_err(|error| format!("the key does not fit: {error}"))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn shake(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<server::TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

impl Authorities {
    /// # Errors
    /// Why these are no certificates of authorities.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|error| format!("not an authority: {error}"))?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn shake(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<client::TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| "the host is no name of a certificate".to_owned())?;
        self.0.connect(name, stream).await.map_err(|error| format!("no TLS: {error}"))
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.ok().filter(|all| !all.is_empty());
    all.ok_or_else(|| "there is no certificate".to_owned())
}

/// The one that the gateway has too: with two in a process, rustls would ask which.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities")
    }
}
