//! How a request gets to Douyin and an answer back: over HTTP, or within the process in
//! simulations.
//!
//! Its most important task is to tell what left the machine. [`SendError::NotSent`] and
//! [`SendError::TooLate`] are proofs. What is not proven is `Lost` or `Timeout`.
//!
//! What it must not know: what a body means.

mod connect;
mod gate;
mod line;
mod pool;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use tokio::time::{Instant, timeout_at};

use super::config::{BuildError, ClientConfig};
use super::way::Way;
use crate::clock::{Clock, Uptime};
use connect::Connector;
use gate::{Gate, GatedBody, Handover};
use line::Line;
use pool::Pool;

/// A future as the in-process transport returns it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a simulation replaces the network.
#[derive(Clone)]
pub enum Transport {
    Http(HttpTransport),
    InProcess(Arc<dyn Fn(Call) -> BoxFuture<Result<Reply, SendError>> + Send + Sync>),
}

/// One of Douyin's two hosts for its platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site {
    /// `open.douyin.com`.
    Open,
    /// `developer.toutiao.com`, where calls are signed.
    Developer,
}

/// One POST.
#[derive(Clone)]
pub struct Call {
    pub site: Site,
    /// Begins with a slash.
    pub path: &'static str,
    /// Complete; the access token or the signature in it is marked as sensitive.
    pub headers: HeaderMap,
    /// May hold the client secret.
    pub body: Bytes,
    /// From now to the last byte of the answer.
    pub timeout: Duration,
    /// Once this has passed, nothing may be sent any more.
    pub deadline: Deadline,
}

/// An answer, with any status.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    /// The header `x-tt-logid`.
    pub log_id_header: Option<String>,
    /// Decompressed. May hold an access token.
    pub content: Bytes,
}

/// An answer, and the connection that it came on.
pub(super) struct Answered {
    pub(super) reply: Reply,
    /// `None` within the process.
    line: Option<(HttpTransport, Site, Line)>,
}

/// Why there is no answer. The texts are for operators and hold nothing secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing that Douyin could act upon left this machine.
    #[error("not sent: {0}")]
    NotSent(String),
    /// As `NotSent`, because the deadline of the call had passed.
    #[error("not sent: its time was over")]
    TooLate,
    /// The request may have been written, and there is no answer.
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("no answer in time")]
    Timeout,
    /// The answer began; what it says is not read.
    #[error("the answer is too large")]
    TooLarge { status: u16, log_id_header: Option<String> },
}

/// A span of time in which a request may be sent, on the clock that runs through suspend.
#[derive(Clone, Debug)]
pub struct Deadline {
    pub clock: Clock,
    pub from: Uptime,
    pub within: Duration,
}

impl Deadline {
    pub fn left(&self) -> Duration {
        self.within.saturating_sub(self.clock.uptime().since(self.from))
    }

    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

impl Transport {
    /// Nothing changes within the process.
    pub(super) fn go_by(&self, way: &Way) -> Result<(), BuildError> {
        match self {
            Transport::Http(HttpTransport(http)) => [Site::Open, Site::Developer]
                .into_iter()
                .try_for_each(|site| http.host(site).pool.go_by(way)),
            Transport::InProcess(_) => Ok(()),
        }
    }

    pub(super) async fn send(&self, call: Call) -> Result<Answered, SendError> {
        if call.deadline.passed() {
            return Err(SendError::TooLate);
        }
        match self {
            Transport::Http(http) => {
                let site = call.site;
                let (reply, line) = http.send(call).await?;
                Ok(Answered { reply, line: Some((http.clone(), site, line)) })
            }
            Transport::InProcess(answer) => {
                let reply = tokio::time::timeout(call.timeout, answer(call)).await;
                Ok(Answered { reply: reply.unwrap_or(Err(SendError::Timeout))?, line: None })
            }
        }
    }
}

impl Answered {
    /// The answer on a kept connection may be a late answer to an earlier request. If believing it
    /// wrongly would be dangerous, the connection is watched for a moment longer: the true answer
    /// would follow.
    pub(super) async fn nothing_follows(&mut self) -> Result<(), SendError> {
        if let Some((.., line)) = &mut self.line
            && line.is_kept()
            && !line.is_silent_for(QUIET).await
        {
            return Err(SendError::Lost("more than one answer came".to_owned()));
        }
        Ok(())
    }

    /// The answer is believed: its connection may get another request.
    pub(super) async fn keep_line(self) {
        if let Some((HttpTransport(http), site, line)) = self.line {
            http.host(site).pool.put(line).await;
        }
    }
}

/// HTTP/1.1 over TCP or TLS, perhaps within a proxy's tunnel. A connection carries one request at a
/// time, so that a lost connection makes one outcome unknown and not many. No request is sent twice
/// and no redirect is followed here, because both are decisions about money.
#[derive(Clone)]
pub struct HttpTransport(Arc<Http>);

struct Http {
    open: Host,
    developer: Host,
    answer_bytes_max: usize,
}

/// One of the hosts, with the connections to it.
struct Host {
    pool: Pool,
    /// Its name in every request, perhaps with a port.
    name: HeaderValue,
    /// The path in front of Douyin's own paths, without a slash at the end.
    path: String,
}

impl Http {
    fn host(&self, site: Site) -> &Host {
        match site {
            Site::Open => &self.open,
            Site::Developer => &self.developer,
        }
    }
}

impl Host {
    fn new(address: &str, config: &ClientConfig) -> Result<Self, BuildError> {
        let url = base_url(address)?;
        let wrong = || BuildError::BaseUrl { base_url: address.to_owned() };
        let name = HeaderValue::try_from(authority(&url)).map_err(|_| wrong())?;
        let path = url.path().trim_end_matches('/').to_owned();
        let connector = Connector::new(url, config.way.clone(), config.connect_timeout)?;
        let pool = Pool::new(connector, config.idle_timeout, config.idle_connections_max);
        Ok(Self { pool, name, path })
    }
}

impl HttpTransport {
    pub fn new(config: &ClientConfig) -> Result<Self, BuildError> {
        let open = Host::new(&config.base_url, config)?;
        let developer = Host::new(&config.developer_base_url, config)?;
        let answer_bytes_max = config.answer_bytes_max;
        Ok(Self(Arc::new(Http { open, developer, answer_bytes_max })))
    }

    /// `NotSent` rests on the gate around the body. Until hyper takes the body out of it, at most a
    /// head can have been written, and a request whose announced body never comes is no request.
    /// Failures to resolve, to connect, to get a proxy's tunnel or to shake hands come before that
    /// too. Once the body was taken, nothing is proven any more, even if hyper says that it wrote
    /// nothing.
    ///
    /// A kept connection that is closed, or on which bytes have arrived, does not get the body.
    /// Another connection does.
    async fn send(&self, call: Call) -> Result<(Reply, Line), SendError> {
        let until = Instant::now() + call.timeout;
        let host = self.0.host(call.site);
        loop {
            let connected = timeout_at(until, host.pool.take()).await;
            let connected = connected.unwrap_or_else(|_| Err("no connection in time".to_owned()));
            let mut line = connected.map_err(|cause| match call.deadline.passed() {
                true => SendError::TooLate,
                false => SendError::NotSent(cause),
            })?;
            let gate = Arc::new(Gate::new(call.deadline.clone(), line.probe()));
            let request = host.request(&call, GatedBody::new(call.body.clone(), gate.clone()));
            let answer = line.exchange(request, self.0.answer_bytes_max);
            let answer = timeout_at(until, answer).await.unwrap_or(Err(SendError::Timeout));
            let sent = gate.close();
            let error = match answer {
                Ok(reply) if sent == Handover::Done => return Ok((reply, line)),
                Ok(_) => SendError::Lost("an answer came before the request was sent".to_owned()),
                Err(error) => error,
            };
            return Err(match sent {
                Handover::Done => error,
                Handover::TooLate => SendError::TooLate,
                Handover::Waiting | Handover::Spoken | Handover::Revoked => {
                    if call.deadline.passed() {
                        SendError::TooLate
                    } else if line.is_kept() && Instant::now() < until {
                        continue;
                    } else {
                        SendError::NotSent(error.to_string())
                    }
                }
            });
        }
    }
}

impl Host {
    fn request(&self, call: &Call, body: GatedBody) -> Request<GatedBody> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        let path = format!("{}{}", self.path, call.path);
        *request.uri_mut() = path.parse().expect("the paths of both are sound");
        *request.headers_mut() = call.headers.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.name.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(GZIP));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        request
    }
}

/// How long a connection must have been silent after an answer before it gets another request, and
/// before an answer that needs silence is believed. A proxy that is out of step sends its late
/// answer within this time.
const QUIET: Duration = Duration::from_millis(50);
const GZIP: &str = "gzip";
const USER_AGENT: &str = concat!("settlement-gateway/", env!("CARGO_PKG_VERSION"));

/// Parses an address that Douyin may be at.
pub fn base_url(text: &str) -> Result<Uri, BuildError> {
    let wrong = || BuildError::BaseUrl { base_url: text.to_owned() };
    // The parser drops a fragment silently.
    let url: Uri = text.parse().ok().filter(|_| !text.contains('#')).ok_or_else(wrong)?;
    let is_plain = url.query().is_none()
        && url.host().is_some_and(|host| !host.is_empty())
        && url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    match url.scheme_str() {
        Some("http" | "https") if is_plain => Ok(url),
        Some(_) | None => Err(wrong()),
    }
}

/// Without the port if it is the scheme's default.
fn authority(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    match (url.scheme_str(), url.port_u16()) {
        (_, None) | (Some("http"), Some(80)) | (Some("https"), Some(443)) => host.to_owned(),
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

/// An error with all its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("site", &self.site)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("log_id_header", &self.log_id_header)
            .field("content_bytes", &self.content.len())
            .finish()
    }
}
