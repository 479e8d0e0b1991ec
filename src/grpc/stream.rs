//! From a watch to a gRPC stream: one task and one message in flight per watcher, so that a slow
//! watcher costs a slot and never a queue.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::info;

use super::{convert, status};
use crate::gateway::{Event, Watch};
use crate::proto::v1;
use crate::settle::Key;

/// The stream of a watch: its messages, then its status.
pub struct WatchStream {
    messages: mpsc::Receiver<v1::WatchSettleResponse>,
    /// Set before the sender is dropped, unless the watch ended well.
    ending: Arc<OnceLock<Status>>,
    ended: bool,
}

/// The task that fills a stream.
pub struct Pump {
    watch: Watch,
    key: Key,
    /// Ends the stream also while its caller does not read.
    drain: CancellationToken,
    /// How long a ready message may stay untaken.
    patience: Duration,
    messages: mpsc::Sender<v1::WatchSettleResponse>,
    ending: Arc<OnceLock<Status>>,
    _seat: OwnedSemaphorePermit,
}

/// A stream and the task that fills it, which the caller runs.
pub fn watch_stream(
    watch: Watch,
    drain: CancellationToken,
    patience: Duration,
    seat: OwnedSemaphorePermit,
) -> (WatchStream, Pump) {
    let (sender, receiver) = mpsc::channel(1);
    let ending = Arc::new(OnceLock::new());
    let stream = WatchStream { messages: receiver, ending: Arc::clone(&ending), ended: false };
    let key = watch.key().clone();
    (stream, Pump { watch, key, drain, patience, messages: sender, ending, _seat: seat })
}

impl Pump {
    /// Runs until the watch ends, the caller is gone, or it does not read.
    pub async fn run(mut self) {
        loop {
            // There is room exactly when the message before was taken.
            let room = tokio::select! {
                room = self.messages.reserve() => room,
                () = tokio::time::sleep(self.patience) => return self.end("SLOW_CONSUMER"),
                () = self.drain.cancelled() => return self.end("SERVER_DRAINING"),
            };
            // The caller is gone: nobody is left to tell.
            let Ok(room) = room else { return };
            let event = tokio::select! {
                event = self.watch.next() => event,
                () = self.messages.closed() => return,
            };
            match event {
                Ok(event) => room.send(render(event)),
                Err(ending) => {
                    let number = Some(self.key.out_settle_no.as_str());
                    match status::of_ending(ending, &self.key.app_id, number) {
                        Some(status) => self.end_with(status),
                        None => info!("watch ended with the final state"),
                    }
                    return;
                }
            }
        }
    }

    fn end(&self, reason: &str) {
        self.end_with(status::own(reason));
    }

    fn end_with(&self, status: Status) {
        info!(code = ?status.code(), error = status.message(), "watch ended");
        // Set once, here: the pump ends right after it.
        let _ = self.ending.set(status);
    }
}

fn render(event: Event) -> v1::WatchSettleResponse {
    use v1::watch_settle_response::Event as Wire;
    let event = match event {
        Event::Settle(record) => Wire::Settle(convert::settle(&record)),
        Event::Heartbeat { revision, server_time, confirmed_time, next_check_time } => {
            Wire::Heartbeat(v1::Heartbeat {
                revision,
                server_time: Some(convert::time(server_time)),
                confirmed_time: confirmed_time.map(convert::time),
                next_check_time: next_check_time.map(convert::time),
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
            Some(message) => Some(Ok(message)),
            None => {
                self.ended = true;
                self.ending.get().cloned().map(Err)
            }
        })
    }
}
