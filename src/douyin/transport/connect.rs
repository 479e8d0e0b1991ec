//! How a connection to Douyin is made: directly or through a proxy, and within TLS if Douyin's
//! address is https.
//!
//! Nothing of a request is written before its connection is made. So a failure here, whatever a
//! proxy says or does, is a proof that nothing was sent.
//!
//! What it must not know: what a connection is used for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower::ServiceExt as _;

use super::line::{Io, Line, Socket};
use super::{USER_AGENT, causes};
use crate::douyin::config::BuildError;
use crate::douyin::way::{Proxy, Way};

/// Makes connections to one address, by one way.
pub(super) struct Connector {
    /// Douyin's address.
    url: Uri,
    way: Way,
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// From resolving the name to the end of the handshake.
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(url: Uri, way: Way, timeout: Duration) -> Result<Self, BuildError> {
        // One crypto provider for the process. If it is installed already, it is the same.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared out between the addresses of a name.
        tcp.set_connect_timeout(Some(timeout));
        let tls = match url.scheme_str() {
            Some("https") => Some(tls(&url, &way)?),
            Some(_) | None => None,
        };
        Ok(Self { url, way, tcp, tls, timeout })
    }

    /// To the same address by another way.
    pub(super) fn by(&self, way: Way) -> Result<Self, BuildError> {
        Self::new(self.url.clone(), way, self.timeout)
    }

    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    pub(super) async fn connect(self: Arc<Self>) -> Result<Line, String> {
        let until = Instant::now() + self.timeout;
        let tcp = match &self.way.proxy {
            None => before(until, "no connection in time", self.reach(&self.url)).await?,
            Some(proxy) => {
                let reached = self.reach(proxy.address.url());
                let reached = before(until, "no connection in time", reached).await;
                let no_proxy = |cause| format!("the proxy cannot be reached: {cause}");
                let tcp = reached.map_err(no_proxy)?;
                let opened = self.open_tunnel(proxy, Socket(Arc::clone(&tcp)));
                before(until, "no answer of the proxy in time", opened).await?;
                tcp
            }
        };
        let socket = Socket(Arc::clone(&tcp));
        let io: Box<dyn Io> = match &self.tls {
            None => Box::new(socket),
            Some((tls, name)) => {
                let secured = async {
                    tls.connect(name.clone(), socket).await.map_err(|error| causes(&error))
                };
                Box::new(before(until, "no handshake of TLS in time", secured).await?)
            }
        };
        Line::open(io, tcp, self).await
    }

    async fn reach(&self, url: &Uri) -> Result<Arc<TcpStream>, String> {
        let reached = self.tcp.clone().oneshot(url.clone()).await;
        Ok(Arc::new(reached.map_err(|error| causes(&error))?.into_inner()))
    }

    /// Returns once everything that is written to the connection goes to Douyin.
    async fn open_tunnel(&self, proxy: &Proxy, socket: Socket) -> Result<(), String> {
        let lost = |error: hyper::Error| format!("the proxy gave no answer: {}", causes(&error));
        let opened = http1::handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = opened.map_err(lost)?;
        let asked = sender.send_request(self.connect_request(proxy));
        let answered = async {
            match asked.await.map_err(lost)?.status() {
                opened if opened.is_success() => Ok(()),
                refused @ StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(format!(
                    "the proxy answered {refused}: it wants credentials (Basic), or other ones"
                )),
                refused => Err(format!("the proxy answered {refused}")),
            }
        };
        let left = async { connection.without_shutdown().await.map_err(lost) };
        let (left, ()) = tokio::try_join!(biased; left, answered)?;
        match left.read_buf.is_empty() {
            true => Ok(()),
            // They would be taken for Douyin's answer to the first request.
            false => Err("the proxy sent more bytes than its answer".to_owned()),
        }
    }

    fn connect_request(&self, proxy: &Proxy) -> Request<Empty<Bytes>> {
        let host = self.url.host().unwrap_or_default();
        let standard = if self.tls.is_some() { 443 } else { 80 };
        let to = format!("{host}:{}", self.url.port_u16().unwrap_or(standard));
        let request = Request::connect(&to)
            .header(header::HOST, &to)
            .header(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let request = match &proxy.credentials {
            Some(credentials) => request.header(header::PROXY_AUTHORIZATION, credentials.header()),
            None => request,
        };
        request.body(Empty::new()).expect("an address that was parsed is sound")
    }
}

/// A step of connecting, within the time for all of them.
async fn before<T>(
    until: Instant,
    late: &str,
    step: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout_at(until, step).await.unwrap_or_else(|_| Err(late.to_owned()))
}

fn tls(url: &Uri, way: &Way) -> Result<(TlsConnector, ServerName<'static>), BuildError> {
    let wrong = || BuildError::BaseUrl { base_url: url.to_string() };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|_| wrong())?;
    let config = rustls::ClientConfig::builder();
    let config = match &way.authorities {
        Some(authorities) => config.with_root_certificates(authorities.store()),
        None => {
            let config = config.with_platform_verifier();
            config.map_err(|error| BuildError::Http(causes(&error)))?
        }
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsConnector::from(Arc::new(config)), name))
}
