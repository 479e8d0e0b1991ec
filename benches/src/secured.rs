//! A gateway that speaks TLS and knows its caller by a client certificate, and connections to it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Endpoint, Uri};

use crate::Failure;
use crate::load::Client;

/// The caller's name in its certificate.
const CALLER: &str = "spiffe://bench/caller";
const HOST: &str = "localhost";

/// An authority, and what it has issued to the gateway and to its caller.
pub struct Secrets {
    authority: String,
    gateway: Issued,
    caller: Issued,
}

struct Issued {
    certificate: String,
    key: String,
}

impl Secrets {
    pub fn make() -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let issue = |name| -> Result<Issued, Failure> {
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![name];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &authority)?.pem();
            Ok(Issued { certificate, key: key.serialize_pem() })
        };
        Ok(Self {
            authority: authority.pem(),
            gateway: issue(SanType::DnsName(HOST.try_into()?))?,
            caller: issue(SanType::URI(CALLER.try_into()?))?,
        })
    }

    /// Writes the files of a gateway; returns its keys of `[server]`, and the block of the caller.
    pub fn write(&self, directory: &Path) -> Result<[String; 2], Failure> {
        let [certificate, key, authority] = [
            ("certificate", &self.gateway.certificate),
            ("key", &self.gateway.key),
            ("authority", &self.authority),
        ]
        .map(|(name, text)| (directory.join(format!("{name}.pem")), text));
        for (path, text) in [&certificate, &key, &authority] {
            fs::write(path, text)?;
        }
        let server = format!(
            "grpc_tls_certificate_file = {:?}\ngrpc_tls_key_file = {:?}\n\
             grpc_client_ca_file = {:?}\n",
            certificate.0, key.0, authority.0
        );
        let caller = format!(
            "[[callers]]\nname = \"bench\"\napps = [\"*\"]\nrights = [\"create\", \"read\"]\n\
             certificate_names = [\"{CALLER}\"]\n"
        );
        Ok([server, caller])
    }
}

/// A connection of its own, made with the first call.
pub fn connect_by(secrets: &Secrets, url: &str) -> Result<Client, Failure> {
    let addr: SocketAddr = url.trim_start_matches("http://").parse()?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(secrets.authority.as_bytes())?)?;
    let chain = vec![CertificateDer::from_pem_slice(secrets.caller.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(secrets.caller.key.as_bytes())?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = config.with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connect = move |_: Uri| {
        let (tls, host) = (tls.clone(), ServerName::try_from(HOST));
        async move {
            let socket = TcpStream::connect(addr).await?;
            let host = host.map_err(std::io::Error::other)?;
            tls.connect(host, socket).await.map(TokioIo::new)
        }
    };
    let endpoint = Endpoint::from_shared(format!("http://{HOST}"))?;
    let channel = endpoint.connect_with_connector_lazy(tower::service_fn(connect));
    Ok(SettlementServiceClient::new(channel))
}
