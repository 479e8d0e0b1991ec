//! How a command reaches the gateway's gRPC port: where it is, TLS, and who the caller is.
//!
//! What it must not know: what a command asks.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

use super::ConfigFile;
use crate::config::{self, Config, Environment};

/// Where the gateway is, and who calls.
#[derive(Debug, Args)]
pub(super) struct Reach {
    #[command(flatten)]
    file: ConfigFile,
    /// The gateway's gRPC address. Default: the one that `serve` would listen on by its
    /// configuration, by TLS if `serve` would speak it, and with the very certificate that `serve`
    /// would show. Options of `serve` are not known here.
    #[arg(long, value_name = "HOST:PORT", global = true)]
    addr: Option<String>,
    /// A file with the caller's token; `-`: standard input.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Speaks TLS. The options below imply it.
    #[arg(long, global = true)]
    tls: bool,
    /// The CA certificates that the gateway's certificate must come from (PEM). Default: those of
    /// the operating system.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// The caller's certificate with its chain (PEM).
    #[arg(long, value_name = "FILE", requires = "key", global = true)]
    certificate: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate", global = true)]
    key: Option<PathBuf>,
    /// The name that the gateway's certificate must have. Default: the host of the address.
    #[arg(long, value_name = "NAME", global = true)]
    server_name: Option<String>,
}

/// A connection on which each call carries the caller's token.
pub(super) type Line = InterceptedService<Channel, Bearer>;

/// Adds the token to a call.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

/// How a connection is secured.
#[derive(Clone)]
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// What is believed of a server that is at the address of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Own {
    /// It must have the certificate that the configuration names.
    ItsCertificate,
    /// Any certificate is good, for a question that is no secret.
    Any,
}

/// Believes one certificate and no other: the gateway's own, on the machine where it runs. So no
/// name and no authority matters.
#[derive(Debug)]
struct Pinned {
    /// `None`: any.
    certificate: Option<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// From resolving the name to the end of the handshake.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// The largest file of certificates, of a key or of a token.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Connects to the gateway in this very process, whatever certificate it shows.
pub(super) async fn to_itself(addr: SocketAddr, is_tls: bool) -> Result<Channel, String> {
    let addr = reachable(addr);
    let tls = || {
        let mut config = trusting(Pinned::to_none()).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Tls { connector: TlsConnector::from(Arc::new(config)), name: addr.ip().into() }
    };
    open(&addr.to_string(), is_tls.then(tls)).await
}

impl Reach {
    /// Connects. `Err` says why not.
    pub(super) async fn connect(&self, own: Own) -> Result<Line, String> {
        let (addr, own_certificate) = self.addr()?;
        let bearer = Bearer(self.token_file.as_deref().map(token).transpose()?);
        let tls = self.tls(&addr, own, own_certificate.as_deref())?;
        let channel = open(&addr, tls).await.map_err(|why| format!("{addr}: {why}"))?;
        Ok(InterceptedService::new(channel, bearer))
    }

    /// Where the gateway is; and the file of its certificate, if the configuration says both.
    fn addr(&self) -> Result<(String, Option<PathBuf>), String> {
        if let Some(addr) = &self.addr {
            return Ok((addr.clone(), None));
        }
        let found = Config::load_grpc(self.file.source(), &Environment::of_process());
        let (addr, certificate) = found.map_err(|problems| problems.to_string())?;
        Ok((reachable(addr).to_string(), certificate.map(PathBuf::from)))
    }

    /// `None`: the connection is in plain text.
    fn tls(
        &self,
        addr: &str,
        own: Own,
        own_certificate: Option<&Path>,
    ) -> Result<Option<Tls>, String> {
        let files = [&self.ca, &self.certificate, &self.key];
        let is_asked_for =
            self.tls || self.server_name.is_some() || files.iter().any(|file| file.is_some());
        let pinned = own_certificate.filter(|_| !self.tls && self.ca.is_none());
        if !is_asked_for && pinned.is_none() {
            return Ok(None);
        }
        one_crypto_provider();
        let trusting = match (pinned, &self.ca) {
            (Some(file), _) => trusting(match own {
                Own::ItsCertificate => Pinned::to(certificates(file)?.swap_remove(0)),
                Own::Any => Pinned::to_none(),
            }),
            (None, None) => {
                ClientConfig::builder().with_platform_verifier().map_err(|e| e.to_string())?
            }
            (None, Some(file)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| format!("{}: {error}", file.display()))?;
                }
                ClientConfig::builder().with_root_certificates(roots)
            }
        };
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let why = |error| format!("{}: {error}", key.display());
                let pem = read(key)?;
                let key = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes());
                let key = key.map_err(|_| why("holds no private key".to_owned()))?;
                let config = trusting.with_client_auth_cert(chain, key);
                config.map_err(|error| why(format!("does not fit the certificate: {error}")))?
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => trusting.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (connector, name) = (TlsConnector::from(Arc::new(config)), self.server_name(addr)?);
        Ok(Some(Tls { connector, name }))
    }

    fn server_name(&self, addr: &str) -> Result<ServerName<'static>, String> {
        let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
        let name = self.server_name.as_deref().unwrap_or(host.trim_matches(['[', ']']));
        ServerName::try_from(name.to_owned()).map_err(|_| format!("{name} is no server name"))
    }
}

impl Pinned {
    fn to(certificate: CertificateDer<'static>) -> Self {
        Self { certificate: Some(certificate), ..Self::to_none() }
    }

    fn to_none() -> Self {
        let provider = rustls::crypto::ring::default_provider();
        Self { certificate: None, algorithms: provider.signature_verification_algorithms }
    }
}

fn trusting(pinned: Pinned) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    one_crypto_provider();
    ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(pinned))
}

/// For the process.
fn one_crypto_provider() {
    rustls::crypto::ring::default_provider().install_default().ok();
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.certificate.as_ref().is_none_or(|certificate| shown == certificate) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

async fn open(addr: &str, tls: Option<Tls>) -> Result<Channel, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin = format!("{scheme}://{addr}").parse::<Uri>();
    let origin = origin.map_err(|_| "is no address".to_owned())?;
    // The scheme of the endpoint is not the one of the requests: the connector does the TLS.
    let endpoint = Endpoint::from_shared(format!("http://{addr}"));
    let endpoint = endpoint.map_err(|_| "is no address".to_owned())?.origin(origin);
    let addr = addr.to_owned();
    let connector = service_fn(move |_: Uri| {
        let (addr, tls) = (addr.clone(), tls.clone());
        async move {
            let connected = tokio::time::timeout(CONNECT_TIME_MAX, socket(&addr, tls)).await;
            let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            connected.map(TokioIo::new)
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(causes)
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

async fn socket(addr: &str, tls: Option<Tls>) -> io::Result<Box<dyn Io>> {
    let socket = TcpStream::connect(addr).await?;
    socket.set_nodelay(true)?;
    Ok(match tls {
        None => Box::new(socket),
        Some(Tls { connector, name }) => Box::new(connector.connect(name, socket).await?),
    })
}

fn token(file: &Path) -> Result<MetadataValue<Ascii>, String> {
    let text = match file.as_os_str() == "-" {
        // Not `/dev/stdin`, which in a container another user may own.
        true => io::read_to_string(io::stdin().lock().take(FILE_BYTES_MAX))
            .map(SecretString::from)
            .map_err(|why| format!("standard input: {why}"))?,
        false => read(file)?,
    };
    let value = format!("Bearer {}", text.expose_secret().trim());
    let token = MetadataValue::try_from(value);
    let mut token = token.map_err(|_| format!("{}: holds no token", file.display()))?;
    token.set_sensitive(true);
    Ok(token)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file)?;
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.expose_secret().as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| format!("{}: holds no certificate", file.display()))
}

fn read(file: &Path) -> Result<SecretString, String> {
    let text = config::read_bounded(file, FILE_BYTES_MAX);
    text.map(SecretString::from).map_err(|why| format!("{}: the file {why}", file.display()))
}

/// A gateway that listens on every address is asked on this machine's own.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// An error with all its causes, in one line.
fn causes(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
