//! Decides once, for good, whether the body of a request goes out.
//!
//! While a connection is made, a deadline may pass and a machine may be suspended; and on a kept
//! connection bytes may arrive that answer no request. So the decision is made where the connection
//! takes the body, right before the bytes leave, and it is final.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Deadline;
use super::line::Probe;

/// What became of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handover {
    /// The connection has not asked for it yet.
    Waiting,
    /// The connection has it.
    Done,
    /// The connection asked after the deadline and did not get it.
    TooLate,
    /// On the kept connection bytes have arrived since its last answer, or it is closed, so it did
    /// not get the body. Those bytes would be taken for the answer to this request.
    Spoken,
    /// The sender gave up first; the connection will not get it.
    Revoked,
}

pub(super) struct Gate {
    /// Changes once, from `Waiting`.
    state: Mutex<Handover>,
    deadline: Deadline,
    /// Only for a kept connection.
    probe: Option<Probe>,
}

impl Gate {
    pub(super) fn new(deadline: Deadline, probe: Option<Probe>) -> Self {
        Self { state: Mutex::new(Handover::Waiting), deadline, probe }
    }

    /// The connection asks for the body; returns whether it gets it.
    fn pass(&self) -> bool {
        let asked = match &self.probe {
            _ if self.deadline.passed() => Handover::TooLate,
            Some(probe) if !probe.is_silent() => Handover::Spoken,
            Some(_) | None => Handover::Done,
        };
        self.decide(asked) == Handover::Done
    }

    /// The sender gives up; returns what became of the body, for good.
    pub(super) fn close(&self) -> Handover {
        self.decide(Handover::Revoked)
    }

    fn decide(&self, wanted: Handover) -> Handover {
        // No code can panic while holding this lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == Handover::Waiting {
            *state = wanted;
        }
        *state
    }
}

/// A request body of known length behind a gate. It cannot be cloned, so no layer between here and
/// the socket can send it twice.
pub(super) struct GatedBody {
    content: Option<Bytes>,
    gate: Arc<Gate>,
}

impl GatedBody {
    pub(super) fn new(content: Bytes, gate: Arc<Gate>) -> Self {
        Self { content: Some(content), gate }
    }
}

/// The connection does not get the body, and is closed.
#[derive(Debug, thiserror::Error)]
#[error("the request was withdrawn")]
pub(super) struct Withdrawn;

impl Body for GatedBody {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Withdrawn>>> {
        let Some(content) = self.content.take() else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(if self.gate.pass() { Ok(Frame::data(content)) } else { Err(Withdrawn) }))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.content.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(bytes.try_into().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, Timestamp};

    fn gated() -> (Arc<Gate>, Pin<Box<GatedBody>>) {
        let clock = Clock::runtime(Timestamp::from_ms(0));
        let (from, within) = (clock.uptime(), Duration::from_secs(10));
        let gate = Arc::new(Gate::new(Deadline { clock, from, within }, None));
        (Arc::clone(&gate), Box::pin(GatedBody::new(Bytes::from_static(b"{}"), gate)))
    }

    fn taken(body: &mut Pin<Box<GatedBody>>) -> bool {
        let frame = body.as_mut().poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        matches!(frame, Poll::Ready(Some(Ok(_))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_was_taken_stays_sent() {
        let (gate, mut body) = gated();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(2), false));
        assert!(taken(&mut body));
        assert!(!taken(&mut body), "once");
        assert!(body.is_end_stream());
        assert_eq!(gate.close(), Handover::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_was_withdrawn_is_never_taken() {
        let (gate, mut body) = gated();
        assert_eq!(gate.close(), Handover::Revoked);
        assert!(!taken(&mut body));
        assert_eq!(gate.close(), Handover::Revoked);
    }

    /// As after a suspend between connecting and sending.
    #[tokio::test(start_paused = true)]
    async fn a_body_is_not_taken_once_the_deadline_has_passed() {
        let (gate, mut body) = gated();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!taken(&mut body));
        assert_eq!(gate.close(), Handover::TooLate);
    }
}
