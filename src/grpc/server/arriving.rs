//! Reads a request before its RPC sees it: one message of gRPC's framing, and then the end. A call
//! counts as running only once its request is here, so that peers that begin requests and do not
//! end them take no place from others.
//!
//! What it must not know: what a message says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic::body::Body;

use super::bounds::{Connection, Held, Kind};

/// The largest message; the largest sensible one has under 8 KiB.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A flag and the length of the message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;
/// What an arriving request costs beside its body: its head, its stream, its task.
pub(crate) const STREAM_BYTES: usize = 4 * 1024;

/// Why a request does not become a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unfit {
    /// It is not one message, or it broke off.
    Malformed,
    TooLarge,
    /// Too many bytes of requests are arriving already.
    TooMany,
}

/// The one message with its prefix. What does not come at once is counted until all has come.
pub(crate) async fn whole(mut body: Body, connection: &Arc<Connection>) -> Result<Bytes, Unfit> {
    let mut read = Read::default();
    let mut held: Option<Held> = None;
    loop {
        let frame = match at_once(&mut body).await {
            Some(frame) => frame,
            None => {
                if held.is_none() {
                    let bytes = STREAM_BYTES + read.len();
                    held = Some(connection.take(Kind::Arriving, bytes).ok_or(Unfit::TooMany)?);
                }
                body.frame().await
            }
        };
        let Some(frame) = frame else { return read.whole() };
        // Trailers of a request mean nothing in gRPC.
        let Ok(data) = frame.map_err(|_| Unfit::Malformed)?.into_data() else { continue };
        if held.as_mut().is_some_and(|held| !held.grow(data.len())) {
            return Err(Unfit::TooMany);
        }
        read.add(data)?;
    }
}

/// The next frame, if it is here already.
async fn at_once(body: &mut Body) -> Option<Option<Result<Frame<Bytes>, Status>>> {
    std::future::poll_fn(|cx| {
        Poll::Ready(match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        })
    })
    .await
}

/// What has come so far. Most requests are one frame, which is not copied.
#[derive(Default)]
struct Read {
    first: Bytes,
    more: BytesMut,
}

impl Read {
    fn len(&self) -> usize {
        self.first.len().max(self.more.len())
    }

    fn add(&mut self, data: Bytes) -> Result<(), Unfit> {
        if self.len() == 0 {
            self.first = data;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.more.extend_from_slice(&data);
        }
        let announced = announced(self.bytes())?;
        if announced.is_some_and(|bytes| self.len() > bytes) {
            return Err(Unfit::Malformed);
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        if self.more.is_empty() { &self.first } else { &self.more }
    }

    fn whole(self) -> Result<Bytes, Unfit> {
        match announced(self.bytes())? {
            Some(bytes) if bytes == self.len() => {
                Ok(if self.more.is_empty() { self.first } else { self.more.freeze() })
            }
            Some(_) | None => Err(Unfit::Malformed),
        }
    }
}

/// How many bytes the message has with its prefix, if that has come.
fn announced(bytes: &[u8]) -> Result<Option<usize>, Unfit> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [flag, length @ ..] = *prefix;
    // The flag says only whether the message is compressed.
    if flag > 1 {
        return Err(Unfit::Malformed);
    }
    match usize::try_from(u32::from_be_bytes(length)) {
        Ok(length) if length <= REQUEST_BYTES_MAX => Ok(Some(PREFIX_BYTES + length)),
        Ok(_) | Err(_) => Err(Unfit::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;

    use super::super::bounds::{Bound, Process};
    use super::*;

    fn connection(bytes_max: usize) -> Arc<Connection> {
        let bound = Bound { process_max: bytes_max, connection_max: bytes_max, share: 0 };
        Connection::new(Arc::new(Process::new([bound; 4])))
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    async fn read(parts: Vec<Vec<u8>>) -> Result<Bytes, Unfit> {
        let parts = parts.into_iter().map(|part| Ok::<_, Infallible>(Frame::data(part.into())));
        let body = Body::new(StreamBody::new(tokio_stream::iter(parts)));
        whole(body, &connection(1_000_000)).await
    }

    #[tokio::test]
    async fn one_message_is_read_however_it_is_cut() {
        for message in [&b""[..], b"x", &[7; 3_000]] {
            let bytes = framed(message);
            for size in [1, 2, 5, 6, 1_000, 10_000] {
                let parts = bytes.chunks(size).map(<[u8]>::to_vec).collect();
                assert_eq!(read(parts).await.as_deref(), Ok(&bytes[..]), "{size}");
            }
        }
    }

    #[tokio::test]
    async fn two_messages_or_a_part_of_one_are_no_request() {
        let one = framed(b"message");
        for parts in [
            vec![],
            vec![vec![]],
            vec![one[..4].to_vec()],
            vec![one[..8].to_vec()],
            vec![one.clone(), one.clone()],
            vec![[&one[..], &one].concat()],
            vec![one.clone(), vec![0]],
            vec![b"GET / HTTP/1.1\r\n".to_vec()],
        ] {
            assert_eq!(read(parts.clone()).await, Err(Unfit::Malformed), "{parts:?}");
        }
        let huge = framed(&[0; REQUEST_BYTES_MAX + 1]);
        assert_eq!(read(vec![huge[..5].to_vec()]).await, Err(Unfit::TooLarge), "from its prefix");
        assert!(read(vec![framed(&[0; REQUEST_BYTES_MAX])]).await.is_ok());
    }

    #[tokio::test]
    async fn only_what_has_to_be_waited_for_is_held_and_it_is_bounded() {
        let never = || Body::new(StreamBody::new(tokio_stream::pending::<Result<_, Infallible>>()));
        let connection = connection(STREAM_BYTES);
        let (first, second) = (whole(never(), &connection), whole(never(), &connection));
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        let looked = std::future::poll_fn(|cx| {
            let first = Pin::new(&mut first).poll(cx);
            Poll::Ready((first.is_pending(), Pin::new(&mut second).poll(cx)))
        });
        assert_eq!(looked.await, (true, Poll::Ready(Err(Unfit::TooMany))));
        drop(first);
        assert_eq!(connection.held(Kind::Arriving), 0);
    }
}
