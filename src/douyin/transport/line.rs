//! One connection to Douyin, with one request on it at a time.
//!
//! No task runs for a kept connection. Bytes that arrive meanwhile wait in the kernel, where
//! [`Probe`] sees them.
//!
//! What it must not know: what a body means, and which connection gets which request.

use std::io::{self, Read as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connect::Connector;
use super::gate::GatedBody;
use super::{GZIP, Reply, SendError, causes};

/// One connection.
pub(super) struct Line {
    sender: http1::SendRequest<GatedBody>,
    end: End,
    socket: Arc<TcpStream>,
    made_by: Arc<Connector>,
    /// It was used for an earlier request.
    is_kept: bool,
}

/// Whether a connection can go on.
enum End {
    Open(Box<http1::Connection<TokioIo<Box<dyn Io>>, GatedBody>>),
    Closed,
    /// It failed, or more bytes came than the answer.
    Broken,
}

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Line {
    /// On what `made_by` has opened: `io` carries bytes to Douyin, over `socket`.
    pub(super) async fn open(
        io: Box<dyn Io>,
        socket: Arc<TcpStream>,
        made_by: Arc<Connector>,
    ) -> Result<Self, String> {
        let opened = http1::handshake(TokioIo::new(io)).await;
        let (sender, connection) = opened.map_err(|error| causes(&error))?;
        let end = End::Open(Box::new(connection));
        Ok(Self { sender, end, socket, made_by, is_kept: false })
    }

    pub(super) fn is_made_by(&self, connector: &Arc<Connector>) -> bool {
        Arc::ptr_eq(&self.made_by, connector)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Lets the next request's gate look at the connection; `None`: it is new.
    pub(super) fn probe(&self) -> Option<Probe> {
        self.is_kept.then(|| Probe(Arc::clone(&self.socket)))
    }

    /// Sends a request, and reads its whole answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request<GatedBody>,
        bytes_max: usize,
    ) -> Result<Reply, SendError> {
        let mut answer = pin!(answer(self.sender.send_request(request), bytes_max));
        if let End::Open(connection) = &mut self.end {
            let ended = tokio::select! {
                biased;
                answer = &mut answer => return answer,
                ended = connection => ended,
            };
            self.end = End::of(&ended);
        }
        // What it had read before it ended is still there.
        answer.await
    }

    /// Whether no byte arrives within this time. A connection that closes is silent.
    pub(super) async fn is_silent_for(&mut self, time: Duration) -> bool {
        if let End::Open(connection) = &mut self.end
            && let Ok(ended) = tokio::time::timeout(time, connection).await
        {
            self.end = End::of(&ended);
        }
        match self.end {
            End::Open(_) | End::Closed => true,
            End::Broken => false,
        }
    }

    /// The connection, if it can take another request.
    pub(super) async fn kept(mut self) -> Option<Self> {
        let End::Open(connection) = &mut self.end else {
            return None;
        };
        // Polled once, so that it notices the end of the answer and any bytes after it.
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *connection).poll(cx)));
        let is_open = polled.await.is_pending() && self.sender.is_ready();
        is_open.then_some(Self { is_kept: true, ..self })
    }
}

impl End {
    fn of(ended: &hyper::Result<()>) -> Self {
        if ended.is_ok() { End::Closed } else { End::Broken }
    }
}

async fn answer(
    asked: impl Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>>,
    bytes_max: usize,
) -> Result<Reply, SendError> {
    let lost = |error: hyper::Error| SendError::Lost(causes(&error));
    let response = asked.await.map_err(lost)?;
    let status = response.status().as_u16();
    let log_id_header = response.headers().get("x-tt-logid");
    let log_id_header = log_id_header.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let is_packed = response.headers().get("content-encoding").is_some_and(|how| how == GZIP);
    let too_large = || SendError::TooLarge { status, log_id_header: log_id_header.clone() };
    let mut body = response.into_body();
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(lost)?.into_data() else { continue };
        if content.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        content.extend_from_slice(&data);
    }
    let content = match is_packed {
        false => content.freeze(),
        true => match unpacked(&content, bytes_max) {
            Some(plain) if plain.len() > bytes_max => return Err(too_large()),
            Some(plain) => plain.into(),
            None => return Err(SendError::Lost("it cannot be decompressed".to_owned())),
        },
    };
    Ok(Reply { status, log_id_header, content })
}

/// At most one byte more than `bytes_max`, whatever the packed size.
fn unpacked(packed: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut packed = flate2::read::MultiGzDecoder::new(packed).take(limit);
    packed.read_to_end(&mut plain).ok().map(|_| plain)
}

/// Looks whether bytes have arrived on a kept connection, without reading them.
pub(super) struct Probe(Arc<TcpStream>);

impl Probe {
    /// Asks the kernel, because the runtime may not know yet what has arrived. A connection that
    /// its peer has closed is not silent either.
    pub(super) fn is_silent(&self) -> bool {
        let seen = recv(&*self.0, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(seen, Err(Errno::AGAIN))
    }
}

/// A socket that a [`Probe`] can look at meanwhile.
pub(super) struct Socket(pub(super) Arc<TcpStream>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl Socket {
    fn poll_try(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |socket| socket.try_write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self.0, Shutdown::Write).map_err(io::Error::from))
    }
}
