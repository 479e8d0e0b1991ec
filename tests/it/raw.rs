//! A client that sends any bytes and sees the bytes that come back: HTTP/2 and nothing above it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use settlement_gateway::grpc::rpc::Rpc;
use tokio::net::TcpStream;
use tokio_stream::Stream;

use crate::harness::within;

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Wire(http2::SendRequest<BoxBody<Bytes, Infallible>>);

/// An answer as it came.
#[derive(Debug)]
pub struct Raw {
    pub http: StatusCode,
    /// Where the status is: the trailers, or the headers of an answer without a body.
    pub end: HeaderMap,
    /// The bytes of the messages.
    pub body: Bytes,
}

/// A request in the making.
pub struct Call {
    path: String,
    headers: HeaderMap,
    body: BoxBody<Bytes, Infallible>,
}

impl Wire {
    /// To `http://127.0.0.1:…`.
    pub async fn connect(url: &str) -> Self {
        Self::with_window(url, 64 * 1024).await
    }

    /// Of an answer's body, nothing but a byte comes before it is read.
    pub async fn connect_reluctantly(url: &str) -> Self {
        Self::with_window(url, 1).await
    }

    async fn with_window(url: &str, window_bytes: u32) -> Self {
        let socket = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window_bytes);
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
        // It ends with its sender.
        drop(tokio::spawn(connection));
        Self(sender)
    }

    /// `Err`: HTTP/2 answered, and not the server.
    pub async fn call(&self, call: Call) -> Result<Raw, hyper::Error> {
        let (http, headers, body) = self.open(call).await?;
        within("the whole answer", Raw::read(http, headers, body)).await
    }

    /// The head of an answer, with its body still to be read.
    pub async fn open(
        &self,
        call: Call,
    ) -> Result<(StatusCode, HeaderMap, Incoming), hyper::Error> {
        let (head, body) = within("an answer", self.begin(call)).await?.into_parts();
        Ok((head.status, head.headers, body))
    }

    /// The same for calls that may wait for ever.
    pub fn begin(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> + Send + 'static {
        let mut request = Request::new(call.body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://gateway{}", call.path).parse().unwrap();
        *request.headers_mut() = call.headers;
        let mut sender = self.0.clone();
        async move {
            sender.ready().await?;
            sender.send_request(request).await
        }
    }
}

impl Raw {
    pub async fn read(
        http: StatusCode,
        headers: HeaderMap,
        body: Incoming,
    ) -> Result<Self, hyper::Error> {
        let body = body.collect().await?;
        let end = body.trailers().cloned().unwrap_or(headers);
        Ok(Self { http, end, body: body.to_bytes() })
    }
}

impl Call {
    /// A message as gRPC frames it.
    pub fn of(rpc: Rpc, message: &impl prost::Message) -> Self {
        Self::bytes(rpc, frame(0, &message.encode_to_vec()))
    }

    /// Whatever bytes.
    pub fn bytes(rpc: Rpc, body: Bytes) -> Self {
        Self::to(&format!("/{}/{}", rpc.service(), rpc.name()), body)
    }

    pub fn to(path: &str, body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/grpc".parse().unwrap());
        headers.insert("te", "trailers".parse().unwrap());
        Self { path: path.to_owned(), headers, body: Full::new(body).boxed() }
    }

    /// Nothing comes behind the head, not even an end.
    pub fn without_body(self) -> Self {
        self.streaming(tokio_stream::pending())
    }

    /// The bytes come, and then nothing more, not even an end.
    pub fn never_ending(self, begin: Bytes) -> Self {
        let begin = tokio_stream::once(Ok(Frame::data(begin)));
        self.streaming(tokio_stream::StreamExt::chain(begin, tokio_stream::pending()))
    }

    /// The body comes in parts.
    pub fn streaming(
        mut self,
        parts: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync + 'static,
    ) -> Self {
        self.body = BoxBody::new(StreamBody::new(parts));
        self
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub fn timeout(self, timeout: Duration) -> Self {
        self.with("grpc-timeout", &format!("{}u", timeout.as_micros()))
    }
}

/// A frame of gRPC: a flag, four bytes of length, the message.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}
