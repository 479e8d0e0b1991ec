//! Stands between a gateway and its database, as a network does, and can become a black hole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UnixStream, unix};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Ends with the test's runtime.
pub struct Proxy {
    port: u16,
    way: Arc<Way>,
}

#[derive(Default)]
struct Way {
    /// What passes holds it for reading.
    open: Arc<RwLock<()>>,
    /// What was listened for does not pass.
    is_deaf: AtomicBool,
}

impl Proxy {
    /// `home`: the folder of the socket to which it leads.
    pub async fn before(home: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::<Way>::default();
        let (passing, socket) = (Arc::clone(&way), home.join(".s.PGSQL.5432"));
        drop(tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = UnixStream::connect(&socket).await else { continue };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                drop(tokio::spawn(pump(near_in, far_out, Arc::clone(&passing))));
                drop(tokio::spawn(answer(far_in, near_out, Arc::clone(&passing))));
            }
        }));
        Self { port, way }
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Connections can be made and bytes sent, and nothing arrives, as long as the guard lives.
    pub async fn swallow(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.way.open).write_owned().await
    }

    /// From now on no notification arrives, as behind a pooler that gives the session to others.
    pub fn drop_notifications(&self) {
        self.way.is_deaf.store(true, Ordering::Relaxed);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: unix::OwnedWriteHalf, way: Arc<Way>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let _passing = way.open.read().await;
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Message by message: a letter, and a length that counts itself.
async fn answer(from: unix::OwnedReadHalf, mut to: OwnedWriteHalf, way: Arc<Way>) {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        let (Ok(letter), Ok(length)) = (from.read_u8().await, from.read_u32().await) else {
            return;
        };
        bytes.clear();
        bytes.push(letter);
        bytes.extend(length.to_be_bytes());
        bytes.resize(1 + usize::try_from(length).unwrap(), 0);
        if from.read_exact(&mut bytes[5..]).await.is_err() {
            return;
        }
        let _passing = way.open.read().await;
        let is_lost = letter == b'A' && way.is_deaf.load(Ordering::Relaxed);
        if !is_lost && to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
