//! The accept loop of all listeners. Each connection gets a seat and a task, or is told why not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::peer::At;
use crate::http::seats::{Full, Seat, Seats};
use crate::log_limit::limited;

/// A pause after a failed accept. It fails when file descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(crate) trait Accepting {
    type Socket;

    async fn accept(&self) -> io::Result<(Self::Socket, At)>;
}

impl Accepting for TcpListener {
    type Socket = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, At)> {
        let (socket, peer) = self.accept().await?;
        // Small answers should not wait for the peer's delayed acknowledgement. If it fails, the
        // connection is only slower.
        let _ = socket.set_nodelay(true);
        Ok((socket, At::Address(peer)))
    }
}

impl Accepting for UnixListener {
    type Socket = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, At)> {
        let (socket, _) = self.accept().await?;
        Ok((socket, At::Sidecar))
    }
}

/// Accepts connections until `stop`, then waits until every task of `tasks` has ended, also those
/// that `talk` makes. `turn_away` must not wait for the peer.
pub(crate) async fn accept<L, T>(
    listener: L,
    seats: Arc<Seats>,
    tasks: TaskTracker,
    stop: CancellationToken,
    turn_away: impl Fn(&L::Socket, At, Full),
    talk: impl Fn(L::Socket, At, Seat) -> T,
) where
    L: Accepting,
    T: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, at) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                limited!(Stranger, WARN, { %error }, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        match seats.take(at.ip()) {
            Ok(seat) => {
                tasks.spawn(talk(socket, at, seat));
            }
            Err(full) => turn_away(&socket, at, full),
        }
        // A connection that made room closes before the next one is accepted.
        tokio::task::yield_now().await;
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}
