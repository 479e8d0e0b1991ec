//! One operation on its way to the writer, and its answer on the way back.

use tokio::sync::oneshot;

use super::super::Error;
use super::batch::Batch;
use super::columns::Fault;

/// What the writer knows of an operation.
pub(super) trait Job: Send {
    /// May run more than once, each time on a database without its effects.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<(), Fault>;

    /// Answers the caller.
    fn reply(self: Box<Self>, verdict: Fate);

    fn urgency(&self) -> Urgency;
}

/// How one operation ended.
#[derive(Debug)]
pub(super) enum Fate {
    Durable,
    Failed(Error),
}

/// What an operation does if the store is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Urgency {
    /// Fails at once if the store was tried a moment ago.
    Ordinary,
    /// The store is tried again for it.
    Probe,
}

/// The job of every operation: a closure, and where its answer goes.
pub(super) struct Write<T, F> {
    run: F,
    urgency: Urgency,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, Error>>,
}

/// A job whose answer gets lost.
pub(super) struct Unheard(pub(super) Box<dyn Job>);

impl Job for Unheard {
    fn apply(&mut self, batch: &Batch<'_>) -> Result<(), Fault> {
        self.0.apply(batch)
    }

    fn reply(self: Box<Self>, _: Fate) {}

    fn urgency(&self) -> Urgency {
        self.0.urgency()
    }
}

impl<T, F> Write<T, F> {
    pub(super) fn new(urgency: Urgency, run: F) -> (Self, oneshot::Receiver<Result<T, Error>>) {
        let (reply, answer) = oneshot::channel();
        (Self { run, urgency, done: None, reply }, answer)
    }
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnMut(&Batch<'_>) -> Result<T, Fault> + Send,
{
    fn apply(&mut self, batch: &Batch<'_>) -> Result<(), Fault> {
        self.done = Some((self.run)(batch)?);
        Ok(())
    }

    fn reply(self: Box<Self>, verdict: Fate) {
        let answer = match verdict {
            Fate::Durable => Ok(self.done.expect("only a job that ran through is durable")),
            Fate::Failed(error) => Err(error),
        };
        // The caller may be gone, which changes nothing.
        let _ = self.reply.send(answer);
    }

    fn urgency(&self) -> Urgency {
        self.urgency
    }
}
