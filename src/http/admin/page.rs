//! The page of all metrics, made for all who ask for it at the same time.
//!
//! *The accident without it:* some peers ask for the metrics again and again. The process is busy
//! with their pages, and neither calls nor the orchestrator's probes are answered in time.
//!
//! What it must not know: what is measured.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The least time from the beginning of one page to that of the next.
pub(crate) const APART: Duration = Duration::from_millis(100);

/// The newest page, and the turn to make the next one.
#[derive(Clone, Default)]
pub struct Page(Arc<Mutex<Option<Made>>>);

struct Made {
    began_at: Instant,
    text: Bytes,
}

impl Page {
    /// A page that was begun after this was called, so it has all that was counted before. Waits
    /// for at most [`APART`], and for the time that one or two pages take.
    pub(super) async fn read(&self, make: impl FnOnce() -> String) -> Bytes {
        let asked_at = Instant::now();
        let mut newest = self.0.lock().await;
        if let Some(made) = &*newest {
            if made.began_at > asked_at {
                return made.text.clone();
            }
            tokio::time::sleep_until(made.began_at + APART).await;
        }
        let began_at = Instant::now();
        let text = Bytes::from(make());
        *newest = Some(Made { began_at, text: text.clone() });
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    /// Tokio's timers may end that much later.
    const TIMER_STEP: Duration = Duration::from_millis(1);

    /// Pages with the count at the time when they were begun, and how many of them were made.
    #[derive(Clone, Default)]
    struct Counted {
        page: Page,
        count: Arc<AtomicUsize>,
        made: Arc<AtomicUsize>,
    }

    impl Counted {
        async fn read(&self) -> usize {
            let make = || {
                self.made.fetch_add(1, Ordering::Relaxed);
                self.count.load(Ordering::Relaxed).to_string()
            };
            let text = self.page.read(make).await;
            std::str::from_utf8(&text).unwrap().parse().unwrap()
        }

        fn made(&self) -> usize {
            self.made.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn peers_that_ask_without_end_get_ten_pages_a_second_and_none_that_is_old() {
        let counted = Counted::default();
        let began_at = Instant::now();
        let mut peers = JoinSet::new();
        for peer in 1..=50 {
            let counted = counted.clone();
            peers.spawn(async move {
                while began_at.elapsed() < Duration::from_secs(2) {
                    let counts = counted.count.fetch_add(1, Ordering::Relaxed) + 1;
                    let asked_at = Instant::now();
                    assert!(counted.read().await >= counts);
                    assert!(asked_at.elapsed() <= APART + TIMER_STEP);
                    tokio::time::sleep(Duration::from_millis(peer)).await;
                }
            });
        }
        peers.join_all().await;
        let pages = u32::try_from(counted.made()).unwrap();
        assert!((pages - 1) * APART <= began_at.elapsed(), "{pages} pages");
    }

    #[tokio::test(start_paused = true)]
    async fn a_scraper_that_asks_now_and_then_does_not_wait() {
        let counted = Counted::default();
        for pages in 1..=3 {
            let asked_at = Instant::now();
            counted.read().await;
            assert_eq!((counted.made(), asked_at.elapsed()), (pages, Duration::ZERO));
            tokio::time::sleep(APART).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_goes_while_it_waits_leaves_the_turn_to_the_next() {
        let counted = Counted::default();
        counted.read().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let gone = tokio::time::timeout(Duration::from_millis(1), counted.read()).await;
        assert!(gone.is_err());
        counted.count.store(7, Ordering::Relaxed);
        assert_eq!((counted.read().await, counted.made()), (7, 2));
    }
}
