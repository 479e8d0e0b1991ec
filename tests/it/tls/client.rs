//! A client that speaks TLS as a test wants it.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::authority::{Authority, Issued};

#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: &'static str,
}

/// What is unusual about it.
pub struct Ways<'a> {
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub alpn: &'a [&'a str],
    pub shows: Option<&'a Issued>,
    /// Whom it believes to speak with.
    pub name: &'static str,
}

impl Default for Ways<'_> {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS, alpn: &["h2"], shows: None, name: "localhost" }
    }
}

impl Client {
    /// It trusts only this authority.
    pub fn new(trusted: &Authority, ways: &Ways<'_>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(ways.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match ways.shows {
            None => config.with_no_client_auth(),
            Some(Issued { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let chain = chain.map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = ways.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config), name: ways.name }
    }

    pub async fn connect(&self, addr: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.name).unwrap();
        let socket = TcpStream::connect(addr).await?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, socket).await
    }

    /// Connects with the first call, and again whenever it has lost its connection.
    pub fn channel(&self, addr: SocketAddr) -> Channel {
        let client = self.clone();
        let connect = move |_: Uri| {
            let client = client.clone();
            async move { client.connect(addr).await.map(TokioIo::new) }
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", self.name)).unwrap();
        endpoint.connect_with_connector_lazy(tower::service_fn(connect))
    }

    pub fn settles(&self, addr: SocketAddr) -> SettlementServiceClient<Channel> {
        SettlementServiceClient::new(self.channel(addr))
    }
}
