//! What systemd is told of this process at its `NOTIFY_SOCKET`: that it has started, that it reads
//! its configuration again, that it stops, and that it lives. Without that variable: nothing.
//!
//! A thread of its own writes, because a write waits while systemd does not read, and must stop
//! nothing else.
//!
//! What it must not know: when any of that is true.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// News that wait to be written. Further ones are not told: systemd has not read for minutes then.
const QUEUE_MAX: usize = 16;

/// The way to systemd; cheap to clone.
#[derive(Clone, Debug)]
pub struct Systemd {
    /// `None`: systemd did not start this process, or does not listen to it.
    queue: Option<SyncSender<News>>,
}

type News = Vec<NotifyState<'static>>;

impl Systemd {
    /// The one that has started this process.
    pub fn of_process() -> io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self { queue: None });
        }
        let (queue, news) = sync_channel::<News>(QUEUE_MAX);
        // It ends with the process, which does not wait for it.
        let thread = thread::Builder::new().name("systemd".to_owned());
        thread.spawn(move || {
            for news in news {
                if let Err(error) = sd_notify::notify(&news) {
                    warn!(%error, ?news, "systemd cannot be told");
                }
            }
        })?;
        Ok(Self { queue: Some(queue) })
    }

    pub fn listens(&self) -> bool {
        self.queue.is_some()
    }

    /// How long [`Systemd::is_alive`] may stay away until systemd kills this process. `None`: it
    /// does not look.
    pub fn watchdog(&self) -> Option<Duration> {
        let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        limit.filter(|_| self.listens())
    }

    /// The gateway has started, or has read its configuration again.
    pub fn is_ready(&self) {
        self.tell(|| vec![NotifyState::Ready]);
    }

    pub fn is_reloading(&self) {
        // A unit of Type=notify-reload wants the time too.
        let now = NotifyState::monotonic_usec_now().ok();
        self.tell(|| [NotifyState::Reloading].into_iter().chain(now).collect());
    }

    pub fn is_stopping(&self) {
        self.tell(|| vec![NotifyState::Stopping]);
    }

    pub fn is_alive(&self) {
        self.tell(|| vec![NotifyState::Watchdog]);
    }

    fn tell(&self, news: impl FnOnce() -> News) {
        if let Some(queue) = &self.queue {
            let _ = queue.try_send(news());
        }
    }
}
