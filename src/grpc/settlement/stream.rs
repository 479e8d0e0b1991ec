//! From a watch to a gRPC stream. Each watcher has one task and one message in flight, so a slow
//! watcher fills no queue.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::super::audit::{Audit, Told};
use super::super::identity::Identity;
use super::super::rpc::Rpc;
use super::super::server::bounds::Held;
use super::super::status::{self, Limit, Names};
use super::super::{render, time};
use crate::clock::at;
use crate::gateway::{Ending, Event, Watch};
use crate::proto::v1;

/// The stream of a watch: its messages, then its status.
pub struct WatchStream {
    messages: mpsc::Receiver<Box<v1::WatchSettleResponse>>,
    ending: Arc<OnceLock<Outcome>>,
    ended: bool,
}

/// How a watch ended: well, or with this status. Set before the sender of its messages is dropped,
/// unless its task died.
type Outcome = Result<(), Status>;

/// The task that fills a stream.
pub(super) struct Pump {
    watch: Watch,
    /// Boxed, because the compiler keeps a task's parts twice.
    opener: Box<Opener>,
    /// Ends the stream even if its caller does not read.
    drain: CancellationToken,
    terms: StreamTerms,
    messages: mpsc::Sender<Box<v1::WatchSettleResponse>>,
    ending: Arc<OnceLock<Outcome>>,
    _seat: Held,
}

/// Who opened a stream. It ends when that caller may not read any more.
pub(super) struct Opener {
    pub identity: Identity,
    pub audit: Audit,
}

/// When a stream ends without news of its settle.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamTerms {
    /// How long a ready message may wait to be taken.
    pub patience: Duration,
    /// The caller's deadline, less the time that the last answer needs.
    pub until: Option<Instant>,
}

/// A stream, and the task that fills it; the caller runs that.
pub(super) fn watch_stream(
    watch: Watch,
    opener: Opener,
    drain: CancellationToken,
    terms: StreamTerms,
    seat: Held,
) -> (WatchStream, Pump) {
    let (messages, receiver) = mpsc::channel(1);
    let ending = Arc::new(OnceLock::new());
    let stream = WatchStream { messages: receiver, ending: Arc::clone(&ending), ended: false };
    (stream, Pump { watch, opener: Box::new(opener), drain, terms, messages, ending, _seat: seat })
}

impl Pump {
    /// Runs until the watch ends, the caller is gone, or it does not read.
    pub(super) async fn run(mut self) {
        loop {
            // There is room once the last message was taken.
            let room = tokio::select! {
                biased;
                () = self.opener.identity.outdated() => {
                    self.opener.identity.look_again();
                    match self.allowed() {
                        Ok(()) => continue,
                        Err(denied) => return self.end(Err(denied)),
                    }
                }
                room = self.messages.reserve() => room,
                () = tokio::time::sleep(self.terms.patience) => {
                    return self.end(Err(status::slow_consumer(&self.names())));
                }
                () = self.drain.cancelled() => return self.end(self.ended(Ending::Draining)),
                () = at(self.terms.until) => return self.end(self.late()),
            };
            // The caller is gone.
            let Ok(room) = room else { return };
            let event = tokio::select! {
                biased;
                () = self.messages.closed() => return,
                () = at(self.terms.until) => return self.end(self.late()),
                // Back to where it is looked at again.
                () = self.opener.identity.outdated() => continue,
                event = self.watch.next() => event,
            };
            match event {
                Ok(event) => room.send(Box::new(message(event))),
                Err(ending) => return self.end(self.ended(ending)),
            }
        }
    }

    fn ended(&self, ending: Ending) -> Result<(), Status> {
        let spread = self.watch.spread();
        let status = status::of_ending(ending, &self.names(), Rpc::WatchSettle, spread);
        status.map_or(Ok(()), Err)
    }

    /// Whether the caller may still have this stream.
    fn allowed(&self) -> Result<(), Status> {
        let app_id = &self.watch.key().app_id;
        let Opener { identity, audit } = &*self.opener;
        let allowed = identity.may_use(Rpc::WatchSettle.right(), app_id);
        allowed.map_err(|denied| {
            let names = self.names();
            audit.refused(Rpc::WatchSettle.name(), identity, Told::about(&names), denied);
            status::denied(denied, &names, Rpc::WatchSettle)
        })
    }

    fn late(&self) -> Result<(), Status> {
        Err(status::of_limit(Limit::Caller, &self.names()))
    }

    /// Not kept, because thousands of streams rest and few of them need it.
    fn names(&self) -> Names {
        Names::of_key(self.watch.key())
    }

    fn end(&self, outcome: Result<(), Status>) {
        // This is the only place that sets it, and the task ends right after.
        let _ = self.ending.set(outcome);
    }
}

fn message(event: Event) -> v1::WatchSettleResponse {
    use v1::watch_settle_response::Event as Wire;
    let event = match event {
        Event::Settle(record) => Wire::Settle(render::settle(&record)),
        Event::Heartbeat { revision, server_time, confirmed_time, next_check_time } => {
            Wire::Heartbeat(v1::Heartbeat {
                revision,
                server_time: Some(time::time(server_time)),
                confirmed_time: confirmed_time.map(time::time),
                next_check_time: next_check_time.map(time::time),
            })
        }
    };
    v1::WatchSettleResponse { event: Some(event) }
}

impl Stream for WatchStream {
    type Item = Result<v1::WatchSettleResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let message = std::task::ready!(self.messages.poll_recv(cx));
        Poll::Ready(match message {
            Some(message) => Some(Ok(*message)),
            None => {
                self.ended = true;
                match self.ending.get() {
                    Some(Ok(())) => None,
                    Some(Err(status)) => Some(Err(status.clone())),
                    // A stream that ends well has told the final state, and this one has not.
                    None => Some(Err(status::died())),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ending with OK would promise that the final state was told.
    #[tokio::test]
    async fn a_stream_whose_task_dies_ends_with_an_error() {
        let (sender, messages) = mpsc::channel(1);
        let ending = Arc::new(OnceLock::new());
        let mut stream = WatchStream { messages, ending, ended: false };
        drop(sender);
        let next = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_next(cx));
        let status = next.await.expect("it does not end well").unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal);
        let next = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_next(cx));
        assert!(next.await.is_none());
    }
}
