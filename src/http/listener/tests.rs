//! What requests from outside cannot show: what is kept of a body, and what outlives its sender.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};

use super::*;

/// Bytes that count when they are dropped.
struct Held(Arc<AtomicUsize>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        b"x"
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Frames of one byte each.
struct Crumbs {
    left: usize,
    held: Arc<AtomicUsize>,
    held_max: Arc<AtomicUsize>,
}

impl Body for Crumbs {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
        self.held_max.fetch_max(held, Ordering::Relaxed);
        let crumb = Bytes::from_owner(Held(Arc::clone(&self.held)));
        Poll::Ready(Some(Ok(Frame::data(crumb))))
    }
}

/// Kept as they came, 64 KiB in frames of one byte would cost two megabytes and more.
#[tokio::test]
async fn a_body_in_crumbs_costs_what_it_carries() {
    for (bytes, expected) in [(1_000, Ok(1_000)), (1_001, Err(Unread::TooLarge))] {
        let held_max = Arc::new(AtomicUsize::new(0));
        let crumbs = Crumbs { left: bytes, held: Arc::default(), held_max: Arc::clone(&held_max) };
        let held = Connection::new(Arriving::new(1_000)).hold();
        assert_eq!(whole(crumbs, 1_000, held).await.map(|whole| whole.len()), expected);
        assert_eq!(held_max.load(Ordering::Relaxed), 1);
    }
}

/// Says when it began, waits to go on, and says when it is done.
#[derive(Clone)]
struct Slow {
    said: mpsc::Sender<&'static str>,
    go_on: Arc<Notify>,
}

impl Handler for Slow {
    async fn handle(&self, request: Request) -> Answer {
        let body = request.body().await;
        if let Err(unread) = body {
            return Answer { status: unread.status(), ..broken() };
        }
        let _ = self.said.send("begun").await;
        self.go_on.notified().await;
        let _ = self.said.send("done").await;
        broken()
    }

    fn name(&self) -> &'static str {
        "test"
    }

    fn busy(&self, _: At) -> Answer {
        Answer { status: StatusCode::SERVICE_UNAVAILABLE, ..broken() }
    }
}

fn limits(connections_max: usize) -> Limits {
    Limits {
        connections_max,
        requests_max: 1,
        body_bytes_max: 1_024,
        body_time_max: Duration::from_secs(60),
        idle_time_max: Duration::from_secs(60),
    }
}

#[tokio::test]
async fn one_request_and_one_connection_too_many_are_answered_503_beside_one_at_work() {
    for connections_max in [1, 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (said, mut heard) = mpsc::channel(4);
        let (go_on, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let handler = Slow { said, go_on: Arc::clone(&go_on) };
        let serving = TaskTracker::new();
        let served =
            serving.spawn(serve(listener, None, limits(connections_max), handler, stop.clone()));
        let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut first = TcpStream::connect(addr).await.unwrap();
        first.write_all(get).await.unwrap();
        assert_eq!(heard.recv().await, Some("begun"));
        let mut second = TcpStream::connect(addr).await.unwrap();
        let _ = second.write_all(get).await;
        let mut answer = [0; 12];
        second.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 503");
        go_on.notify_one();
        assert_eq!(heard.recv().await, Some("done"));
        stop.cancel();
        served.await.unwrap();
    }
}

/// The peer is gone while the write is on its way. The write is finished, and watchers hear of it.
#[tokio::test]
async fn what_was_begun_is_finished_although_its_sender_has_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (said, mut heard) = mpsc::channel(4);
    let (go_on, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let handler = Slow { said, go_on: Arc::clone(&go_on) };
    let serving = TaskTracker::new();
    let served = serving.spawn(serve(listener, None, limits(1), handler, stop.clone()));

    let mut sender = TcpStream::connect(addr).await.unwrap();
    sender.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(heard.recv().await, Some("begun"));
    drop(sender);
    // The one place for connections is free again once the server has noticed.
    let noticed = async {
        loop {
            let mut other = TcpStream::connect(addr).await.unwrap();
            let _ = other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut answer = [0; 12];
            let read = other.read_exact(&mut answer).await;
            // Once the connection is let in, the request is the one too many.
            let mut rest = Vec::new();
            let _ = other.read_to_end(&mut rest).await;
            if read.is_ok() && String::from_utf8_lossy(&rest).contains("date:") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.unwrap();
    go_on.notify_one();
    assert_eq!(heard.recv().await, Some("done"));
    stop.cancel();
    served.await.unwrap();
}
