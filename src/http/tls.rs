//! TLS of a listener: the handshake within its limits, and a certificate that can be replaced
//! while connections go on.
//!
//! What it must not know: where a certificate comes from.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::peer::At;
use super::seats::Activity;
use crate::log_limit::limited;

/// What new connections of a listener are offered. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ArcSwap<ServerConfig>>);

/// Why there is no connection after a handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unshaken {
    /// The peer took too long.
    Silent,
    /// The peer has shown a certificate that is not good, and why: it has ended, for example, or
    /// comes from another authority.
    Unbelieved(String),
    /// The two do not understand each other, or the peer does not trust this one.
    Failed,
    /// The connection made room for another one, or the listener stops.
    Over,
}

impl Tls {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// For connections that begin from now on.
    pub(crate) fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// The connection's place counts as at rest meanwhile, so it can be taken from it.
    pub(crate) async fn handshake(
        &self,
        socket: TcpStream,
        time_max: Duration,
        activity: &Activity,
        stop: &CancellationToken,
    ) -> Result<Box<TlsStream<TcpStream>>, Unshaken> {
        let acceptor = TlsAcceptor::from(self.0.load_full());
        let peer = socket.peer_addr().map(At::Address);
        // A stream is larger than a future should be.
        let shaking = Box::pin(acceptor.accept(socket));
        let shaken = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Unshaken::Over),
            () = activity.made_room() => return Err(Unshaken::Over),
            shaken = tokio::time::timeout(time_max, shaking) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => {
                let network = peer.as_ref().map_or(String::new(), |at| at.network());
                if is_of_certificate(&error) {
                    limited!(Stranger of &network, WARN, { %error, from = network },
                        "a client certificate is not believed");
                    return Err(Unshaken::Unbelieved(error.to_string()));
                }
                // Also each probe that only connects.
                limited!(Stranger of &network, DEBUG, { %error, from = network },
                    "a TLS handshake failed");
                Err(Unshaken::Failed)
            }
            Err(_) => {
                limited!(Stranger, DEBUG, "a TLS handshake took too long");
                Err(Unshaken::Silent)
            }
        }
    }
}

/// Whether a handshake failed because the peer has sent a certificate that is not good.
fn is_of_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
