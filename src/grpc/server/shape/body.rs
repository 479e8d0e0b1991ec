//! The body of an answer: what leaves without details gets them, and what is not taken counts.
//!
//! What it must not know: what an RPC answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::super::answers::Waiting;
use super::super::bounds::Held;
use super::case::Case;
use crate::http::seats::AtWork;
use crate::settle::Reason;

/// The answer of the services inside, as it leaves.
pub(super) fn shaped(
    case: Case,
    mut response: Response<Body>,
    stream: Option<Held>,
    at_work: Option<AtWork>,
) -> Response<Body> {
    if response.headers().contains_key(Status::GRPC_STATUS) {
        case.shape(response.headers_mut());
        case.call.answered(response.headers());
        return response;
    }
    let waiting = Waiting::new(Arc::clone(&case.connection));
    // A call of a lasting kind is at work once it is answered, because its request may never end.
    let at_work = at_work.or_else(|| case.begin());
    response.map(|inner| {
        let (_stream, _at_work) = (stream, at_work);
        Body::new(ShapedBody { inner, case, waiting, over: false, _stream, _at_work })
    })
}

/// A body whose trailers get their details, and whose messages count until they are taken.
struct ShapedBody {
    inner: Body,
    case: Case,
    waiting: Waiting,
    /// Its last frame was another one than the inner body's.
    over: bool,
    _stream: Option<Held>,
    _at_work: Option<AtWork>,
}

impl ShapedBody {
    /// The next message; `None` if no more may wait to be taken.
    fn message(&mut self, data: Bytes) -> Option<Frame<Bytes>> {
        if data.is_empty() {
            return Some(Frame::data(data));
        }
        if self.case.is_told_anyway() {
            self.waiting.add_anyway(data);
        } else if !self.waiting.add(data) {
            return None;
        }
        self.waiting.part().map(Frame::data)
    }

    /// The end of the stream, sent instead of a message.
    fn overloaded(&mut self) -> Frame<Bytes> {
        self.over = true;
        let mut trailers = HeaderMap::new();
        let added = self.case.status(Reason::Overloaded).add_header(&mut trailers);
        debug_assert!(added.is_ok(), "{added:?}");
        Frame::trailers(trailers)
    }
}

impl http_body::Body for ShapedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(part) = self.waiting.part() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_trailers() {
                Ok(mut trailers) => {
                    self.case.shape(&mut trailers);
                    self.case.call.answered(&trailers);
                    Frame::trailers(trailers)
                }
                Err(frame) => match frame.into_data() {
                    Ok(data) => self.message(data).unwrap_or_else(|| self.overloaded()),
                    Err(other) => other,
                },
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over || (self.waiting.is_empty() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
