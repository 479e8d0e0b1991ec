//! Finds connections whose peer sends nothing, calls nothing or reads nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bounds::Connection;
use super::{FIRST_CALL_TIME_MAX, IDLE_TIME_MAX, PREFACE_TIME_MAX};

/// The first bytes of every peer that speaks HTTP/2.
const PREFACE_BYTES: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// Looks at a connection from time to time.
pub(super) struct Watchman {
    connection: Arc<Connection>,
    opened: Instant,
    /// Since when there was no call, and how many there had been.
    idle: Option<(Instant, usize)>,
    /// When the idle connection was told to close.
    told: Option<Instant>,
    period: Duration,
    period_began: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checked {
    Fine,
    /// It has not sent the preface of HTTP/2.
    Silent,
    /// It had no call for too long.
    Idle,
    Over(&'static str),
}

impl Watchman {
    pub(super) fn new(connection: Arc<Connection>, period: Duration) -> Self {
        let now = Instant::now();
        Self { connection, opened: now, idle: None, told: None, period, period_began: now }
    }

    pub(super) fn look(&mut self) -> Checked {
        let now = Instant::now();
        if self.connection.heard() < PREFACE_BYTES && now - self.opened >= PREFACE_TIME_MAX {
            return Checked::Silent;
        }
        if now - self.period_began >= self.period {
            self.period_began = now;
            if self.connection.begin_period() {
                return Checked::Over("unread");
            }
        }
        let Some(calls) = self.connection.rests() else {
            (self.idle, self.told) = (None, None);
            return Checked::Fine;
        };
        let since = match self.idle {
            Some((since, seen)) if seen == calls => since,
            Some(_) | None => now,
        };
        let since = if calls == 0 { self.opened } else { since };
        self.idle = Some((since, calls));
        let time_max = if calls == 0 { FIRST_CALL_TIME_MAX } else { IDLE_TIME_MAX };
        match self.told {
            _ if now - since < time_max => Checked::Fine,
            // It was told to close, and neither closes nor calls.
            Some(_) => Checked::Over("idle"),
            None => {
                self.told = Some(now);
                Checked::Idle
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::{Bound, Process};
    use super::*;

    const PERIOD: Duration = Duration::from_secs(40);

    fn watch() -> (Arc<Connection>, Watchman) {
        let bound = Bound { process_max: 9, connection_max: 9, share: 0 };
        let connection = Connection::new(Arc::new(Process::new([bound; 4])));
        (Arc::clone(&connection), Watchman::new(connection, PERIOD))
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_send_the_preface_is_silent() {
        let (connection, mut watch) = watch();
        connection.hear(PREFACE_BYTES - 1);
        assert_eq!(watch.look(), Checked::Fine);
        pass(PREFACE_TIME_MAX).await;
        assert_eq!(watch.look(), Checked::Silent);
        connection.hear(1);
        assert_eq!(watch.look(), Checked::Fine);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_calls_is_told_to_go_and_closed_if_it_stays() {
        let (connection, mut watch) = watch();
        connection.hear(PREFACE_BYTES);
        pass(FIRST_CALL_TIME_MAX - Duration::from_secs(1)).await;
        assert_eq!(watch.look(), Checked::Fine);
        // A call keeps it open beyond that.
        let call = connection.begin_call();
        pass(2 * IDLE_TIME_MAX).await;
        assert_eq!(watch.look(), Checked::Fine);
        drop(call);
        assert_eq!(watch.look(), Checked::Fine);
        pass(IDLE_TIME_MAX - Duration::from_secs(1)).await;
        assert_eq!(watch.look(), Checked::Fine);
        // A call between two looks counts as well.
        drop(connection.begin_call());
        pass(Duration::from_secs(1)).await;
        assert_eq!(watch.look(), Checked::Fine);
        pass(IDLE_TIME_MAX).await;
        assert_eq!(watch.look(), Checked::Idle);
        assert_eq!(watch.look(), Checked::Over("idle"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_calls_is_told_to_go_sooner() {
        let (connection, mut watch) = watch();
        connection.hear(PREFACE_BYTES);
        pass(FIRST_CALL_TIME_MAX).await;
        assert_eq!(watch.look(), Checked::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn what_http2_cannot_write_for_two_periods_ends_the_connection() {
        let (connection, mut watch) = watch();
        connection.hear(PREFACE_BYTES);
        let _call = connection.begin_call();
        let part = connection.hand_over();
        pass(PERIOD).await;
        assert_eq!(watch.look(), Checked::Fine);
        pass(PERIOD).await;
        assert_eq!(watch.look(), Checked::Over("unread"));
        drop(part);
        pass(PERIOD).await;
        assert_eq!(watch.look(), Checked::Fine);
    }
}
