//! Answers on their way to a peer that may not read them. They count until HTTP/2 has written them,
//! and are dropped with their stream when the peer does not take them in time.
//!
//! HTTP/2 takes a part of an answer as soon as the peer lets it send one byte. So an answer is
//! handed over in small parts, and each part counts until it is written and dropped.
//!
//! What it must not know: what an answer says.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::bounds::{Connection, Held, Kind, Running, Unwritten};

/// The most that HTTP/2 gets of an answer before the peer takes more: one frame.
const PART_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    /// What the body of the polled stream did. Its task reads this after the poll.
    static LAST: Cell<LastPoll> = const { Cell::new(LastPoll::None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LastPoll {
    None,
    /// It gave a part. HTTP/2 has not taken it yet, as far as the body knows.
    Gave,
    /// It was asked for more, so HTTP/2 took all before.
    Asked,
}

/// What of a body waits until HTTP/2 takes it.
pub(super) struct Waiting {
    connection: Arc<Connection>,
    rest: Option<(Bytes, Held)>,
}

/// A part of an answer and what it holds.
struct Part {
    bytes: Bytes,
    _held: Held,
    _unwritten: Unwritten,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Waiting {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, rest: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_none()
    }

    /// Adds what the peer is to get next; `false`: that is more than may wait, and it is dropped.
    pub(super) fn add(&mut self, bytes: Bytes) -> bool {
        let held = self.connection.take(Kind::Answers, bytes.len());
        self.rest = held.map(|held| (bytes, held));
        self.rest.is_some()
    }

    /// Adds it even if more waits than may.
    pub(super) fn add_anyway(&mut self, bytes: Bytes) {
        let held = self.connection.take_anyway(Kind::Answers, bytes.len());
        self.rest = Some((bytes, held));
    }

    /// The next part, if there is one.
    pub(super) fn part(&mut self) -> Option<Bytes> {
        LAST.set(LastPoll::Asked);
        let (mut bytes, mut held) = self.rest.take()?;
        let part = bytes.split_to(bytes.len().min(PART_BYTES_MAX));
        let part = Part {
            _held: held.split(part.len()),
            _unwritten: self.connection.hand_over(),
            bytes: part,
        };
        self.rest = (!bytes.is_empty()).then_some((bytes, held));
        LAST.set(LastPoll::Gave);
        Some(Bytes::from_owner(part))
    }
}

/// Runs the task of a stream. If the peer does not take what the body gave within `untaken_max`,
/// the task is dropped, which resets the stream.
pub(super) async fn run(stream: impl Future<Output = ()>, untaken_max: Duration, running: Running) {
    let mut stream = pin!(stream);
    let mut late = None;
    std::future::poll_fn(|cx| {
        LAST.set(LastPoll::None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match LAST.get() {
            LastPoll::None => {}
            LastPoll::Asked => late = None,
            LastPoll::Gave => late = Some(Box::pin(tokio::time::sleep(untaken_max))),
        }
        late.as_mut().map_or(Poll::Pending, |late| late.as_mut().poll(cx))
    })
    .await;
    drop(running);
}
