//! The certificate of a listener, read from PEM files.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a listener that speaks TLS needs.
#[derive(Clone)]
pub struct Tls(pub Arc<ServerConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The largest PEM file: a chain of certificates has a few kilobytes.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// Which file is at fault, and why; follows the key's path.
pub enum BadTls {
    Certificate(String),
    Key(String),
}

impl Tls {
    pub fn read(certificate_file: &str, key_file: &str) -> Result<Self, BadTls> {
        let names = |why: String| format!("names a file that {why}");
        let chain = super::read_bounded(Path::new(certificate_file), PEM_BYTES_MAX);
        let chain = chain.map_err(|why| BadTls::Certificate(names(why)))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let no_chain = || BadTls::Certificate("names a file that holds no certificate".to_owned());
        let chain = chain.ok_or_else(no_chain)?;
        let key = super::read_bounded(Path::new(key_file), PEM_BYTES_MAX);
        let key = key.map_err(|why| BadTls::Key(names(why)))?;
        let no_key = |_| BadTls::Key("names a file that holds no private key".to_owned());
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(no_key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let unfit = |error| BadTls::Key(format!("does not fit the certificate: {error}"));
        let mut config = config.map_err(unfit)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}
