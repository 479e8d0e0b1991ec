//! How a request gets to Douyin and an answer back: over HTTP, or within the process (simulation).
//!
//! Its one hard duty is to tell what left the machine. [`SendError::NotSent`] and
//! [`SendError::TooLate`] are proofs; everything that is not proven is `Lost` or `Timeout`.
//!
//! What it must not know: what a body means.

mod gate;

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use reqwest::Url;

use super::config::{BuildError, ClientConfig};
use crate::clock::{Clock, Uptime};
use gate::{Gate, GatedBody, Handover};

/// A future as the in-process transport returns it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The seam below the client.
#[derive(Clone)]
pub enum Transport {
    Http(HttpTransport),
    InProcess(Arc<dyn Fn(Call) -> BoxFuture<Result<Reply, SendError>> + Send + Sync>),
}

/// One POST.
#[derive(Clone)]
pub struct Call {
    /// Begins and ends with a slash.
    pub path: &'static str,
    /// Complete; the access token in it is marked as sensitive.
    pub headers: HeaderMap,
    /// May hold the client secret.
    pub body: Bytes,
    /// From now to the last byte of the answer.
    pub timeout: Duration,
    /// Once this has passed, nothing may be sent any more.
    pub deadline: Deadline,
}

/// What came back, whatever its status.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    /// The header `x-tt-logid`.
    pub log_id_header: Option<String>,
    /// Decompressed. May hold an access token.
    pub content: Bytes,
}

/// Why nothing came back. The texts are for operators and hold nothing secret.
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
    /// Its head came; what it says is not read.
    #[error("the answer is too large")]
    TooLarge { status: u16, log_id_header: Option<String> },
}

/// A span of time on the clock that runs through suspend, in which a request may be sent.
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
    pub async fn send(&self, call: Call) -> Result<Reply, SendError> {
        if call.deadline.passed() {
            return Err(SendError::TooLate);
        }
        match self {
            Transport::Http(http) => http.send(call).await,
            Transport::InProcess(answer) => {
                let reply = tokio::time::timeout(call.timeout, answer(call)).await;
                reply.unwrap_or(Err(SendError::Timeout))
            }
        }
    }
}

/// HTTP/1.1 over TCP or TLS.
#[derive(Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    /// Without a slash at the end.
    base_url: String,
    answer_bytes_max: usize,
}

impl HttpTransport {
    pub fn new(config: &ClientConfig) -> Result<Self, BuildError> {
        let url = base_url(&config.base_url)?;
        // One crypto provider for the process; whoever was first has installed the same one.
        rustls::crypto::ring::default_provider().install_default().ok();
        #[expect(clippy::disallowed_methods, reason = "the one place that calls Douyin")]
        let builder = reqwest::Client::builder();
        let builder = builder
            // One request per connection at a time: when a connection is lost, one outcome is
            // unknown and not all of them.
            .http1_only()
            // reqwest would repeat requests that a server says it has not begun, and follow
            // redirects. Both are decisions about money, and not its own.
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.idle_connections_max)
            .user_agent(concat!("settlement-gateway/", env!("CARGO_PKG_VERSION")));
        let builder = match url.scheme() {
            // Needs no roots; looking for them fails on a machine that has none.
            "http" => builder.tls_certs_only([]),
            _ => builder,
        };
        let client = builder.build().map_err(|error| BuildError::Http(causes(error)))?;
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, base_url, answer_bytes_max: config.answer_bytes_max })
    }

    /// `NotSent` rests on the gate around the body: until hyper takes the body out of it, no more
    /// than a head can have been written, and a request whose announced body never comes is no
    /// request. Failing to resolve, to connect or to shake hands ends there, too. Once the body was
    /// taken, nothing is proven any more, even if hyper then says that it wrote nothing.
    ///
    /// On a kept connection that the server closes at that moment, hyper-util sends the request
    /// again over another one, but only if it was never begun: it still has the body in its gate.
    async fn send(&self, call: Call) -> Result<Reply, SendError> {
        let deadline = call.deadline.clone();
        let gate = Arc::new(Gate::new(call.deadline));
        let body = GatedBody::new(call.body, Arc::clone(&gate));
        let url = format!("{}{}", self.base_url, call.path);
        let request = self.client.post(url).headers(call.headers);
        let request = request.body(reqwest::Body::wrap(body));
        let reply = tokio::time::timeout(call.timeout, self.exchange(request)).await;
        let error = match reply {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => error,
            Err(_) => SendError::Timeout,
        };
        Err(match gate.close() {
            Handover::Done => error,
            Handover::TooLate => SendError::TooLate,
            Handover::Waiting | Handover::Revoked if deadline.passed() => SendError::TooLate,
            Handover::Waiting | Handover::Revoked => SendError::NotSent(error.to_string()),
        })
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Reply, SendError> {
        let lost = |error| SendError::Lost(causes(error));
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let log_id_header = response.headers().get("x-tt-logid");
        let log_id_header = log_id_header.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let mut content = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if content.len() + chunk.len() > self.answer_bytes_max {
                return Err(SendError::TooLarge { status, log_id_header });
            }
            content.extend_from_slice(&chunk);
        }
        Ok(Reply { status, log_id_header, content: content.freeze() })
    }
}

/// Parses an address that Douyin may be at.
pub fn base_url(text: &str) -> Result<Url, BuildError> {
    let wrong = || BuildError::BaseUrl { base_url: text.to_owned() };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    match url.scheme() {
        "http" | "https" if plain && url.has_host() => Ok(url),
        _ => Err(wrong()),
    }
}

/// An error with all that caused it, in one line. Addresses are left out: they say nothing new.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
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
