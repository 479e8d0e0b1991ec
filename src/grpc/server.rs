//! The gRPC server: how connections are accepted, what they carry, and within which limits.
//!
//! What it must not know: what an RPC does.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tracing::{error, warn};

use super::Service;
use crate::proto;
use crate::proto::v1::settlement_service_server::SettlementServiceServer;

/// The largest request that is decoded; the largest sensible one has under 8 KiB.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Streams open at once on one connection; tonic has no limit of its own.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// Dead peers are found by pings, not by waiting.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Accepted connections that wait for the server.
const ACCEPTED_MAX: usize = 64;
/// How long to wait when no connection can be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `stop`; then until every connection has ended.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    health: HealthServer<HealthService>,
    stop: CancellationToken,
) {
    let (sockets, incoming) = mpsc::channel(ACCEPTED_MAX);
    let accepting = accept(listener, sockets, stop.clone());
    let ((), served) = tokio::join!(accepting, answer(incoming, service, health, stop));
    // Logged where it happened.
    drop(served);
}

/// Accepts connections. When the process has no file descriptors left, it waits for some instead of
/// trying again at once.
async fn accept(listener: TcpListener, sockets: mpsc::Sender<Accepted>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                // A connection without it is only slower.
                let _ = socket.set_nodelay(true);
                if sockets.send(Ok(socket)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

type Accepted = Result<TcpStream, std::io::Error>;

async fn answer(
    incoming: mpsc::Receiver<Accepted>,
    service: Service,
    health: HealthServer<HealthService>,
    draining: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let shape = service.shape();
    let service = SettlementServiceServer::new(service)
        .accept_compressed(Gzip)
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().expect("the compiled-in descriptors are sound");
    let v1alpha = reflection().build_v1alpha().expect("the compiled-in descriptors are sound");
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
        .layer(shape)
        .add_service(service)
        .add_service(health)
        .add_service(v1.accept_compressed(Gzip))
        .add_service(v1alpha.accept_compressed(Gzip))
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), draining.cancelled_owned());
    server.await.inspect_err(|error| error!(%error, "the gRPC server failed"))
}
