//! TLS to the server, by the same library as everywhere else.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{self, ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::{TlsConnector, client};

/// How a server proves who it is. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// `authorities`: who may have signed its certificate; `None`: those that the operating system
    /// trusts.
    pub(super) fn new(authorities: Option<Arc<RootCertStore>>) -> Result<Self, String> {
        let config = ClientConfig::builder();
        let config = match authorities {
            Some(authorities) => config.with_root_certificates(authorities),
            None => config.with_platform_verifier().map_err(|error| error.to_string())?,
        };
        Ok(Self(Arc::new(config.with_no_client_auth())))
    }
}

/// A handshake with the server of this name.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    /// A Unix socket has none, and needs no handshake.
    name: Option<ServerName<'static>>,
}

/// A connection that only the server of that name can read.
pub(super) struct TlsStream<S>(Box<client::TlsStream<S>>);

impl MakeTlsConnect<Socket> for Tls {
    type Stream = TlsStream<Socket>;
    type TlsConnect = Handshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Infallible> {
        let name = ServerName::try_from(host.to_owned()).ok();
        Ok(Handshake { config: Arc::clone(&self.0), name })
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = TlsStream<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream<Socket>>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let nameless = || io::Error::other("TLS needs a host with a name or an IP address");
            let name = self.name.ok_or_else(nameless)?;
            let connector = TlsConnector::from(self.config);
            Ok(TlsStream(Box::new(connector.connect(name, socket).await?)))
        })
    }
}

impl tls::TlsStream for TlsStream<Socket> {
    /// The certificate proves the server already.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for TlsStream<Socket> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsStream<Socket> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}
