//! Stands between a gateway and the server, as a network does, and can stand still.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

pub(super) struct Proxy {
    pub(super) port: u16,
    /// What passes holds it for reading.
    way: Arc<RwLock<()>>,
    /// A new connection holds it for reading before it is served.
    door: Arc<RwLock<()>>,
}

impl Proxy {
    /// `home`: the folder of the server's socket.
    pub(super) async fn before(home: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, door) = (Arc::new(RwLock::new(())), Arc::new(RwLock::new(())));
        let (passing, open) = (Arc::clone(&way), Arc::clone(&door));
        let socket = home.join(".s.PGSQL.5432");
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                drop(open.read().await);
                let Ok(far) = UnixStream::connect(&socket).await else { continue };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                drop(tokio::spawn(pump(near_in, far_out, Arc::clone(&passing))));
                drop(tokio::spawn(pump(far_in, near_out, Arc::clone(&passing))));
            }
        });
        Self { port, way, door }
    }

    /// Nothing passes as long as the guard lives, and nothing is told of that.
    pub(super) async fn swallow(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.way).write_owned().await
    }

    /// No new connection gets through as long as the guard lives.
    pub(super) async fn shut(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.door).write_owned().await
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Arc<RwLock<()>>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let _passing = way.read().await;
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
