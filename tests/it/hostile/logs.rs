//! What becomes of what the process logs: its reader pauses, or goes.

use std::io::{PipeReader, Read as _};
use std::sync::{Arc, Condvar, Mutex};

use tokio_util::sync::CancellationToken;

use super::stage::Surroundings;

/// The reader of a log.
#[derive(Clone)]
pub struct Tap(Arc<(Mutex<Flow>, Condvar)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Read,
    Paused,
    Gone,
}

impl Tap {
    /// Reads until the process has ended.
    pub fn open(mut log: PipeReader) -> Self {
        let tap = Self(Arc::new((Mutex::new(Flow::Read), Condvar::new())));
        let flow = tap.clone();
        drop(std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while flow.flows() && log.read(&mut bytes).is_ok_and(|read| read > 0) {}
        }));
        tap
    }

    /// Waits while it is paused.
    fn flows(&self) -> bool {
        let (flow, changed) = &*self.0;
        let flow = flow.lock().unwrap();
        *changed.wait_while(flow, |flow| *flow == Flow::Paused).unwrap() == Flow::Read
    }

    fn set(&self, to: Flow) {
        let (flow, changed) = &*self.0;
        *flow.lock().unwrap() = to;
        changed.notify_all();
    }
}

/// The reader pauses, for as long as it lasts.
pub async fn unread(around: Surroundings, over: CancellationToken) {
    let log = around.log.expect("it was started with a pipe");
    log.set(Flow::Paused);
    over.cancelled().await;
    log.set(Flow::Read);
}

/// The reader goes and does not come back.
pub async fn closed(around: Surroundings, over: CancellationToken) {
    around.log.expect("it was started with a pipe").set(Flow::Gone);
    over.cancelled().await;
}
