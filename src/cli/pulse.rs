//! Whether this gateway answers calls, found out as a caller would: by a call over its own gRPC
//! port. It is what systemd's watchdog goes by, so a gateway that hangs is started again.
//!
//! What it must not know: whether the store can commit. A restart does not mend a disk, and a
//! gateway without one still answers its callers.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use tonic::Streaming;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::connect;
use crate::server::Server;
use crate::systemd::Systemd;

/// How often a gateway that starts is asked for its first answer.
const START_INTERVAL: Duration = Duration::from_millis(100);
/// How long an answer may take if there is no watchdog.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// So many calls fit into the time of the watchdog.
const BEATS: u32 = 3;

/// A gateway's own gRPC port.
pub struct Pulse {
    addr: SocketAddr,
    is_tls: bool,
    line: Option<Line>,
}

struct Line {
    client: HealthClient<Channel>,
    /// A connection with an open call makes no room for another one, so the gateway can be asked
    /// when all places are taken. `None`: it has too many such calls.
    _held: Option<Streaming<HealthCheckResponse>>,
}

impl Pulse {
    pub fn of(server: &Server) -> Self {
        let is_tls = server.parts().grpc_tls.is_some();
        Self { addr: server.addrs().grpc, is_tls, line: None }
    }

    /// Tells systemd when the gateway first answers, and from then on whenever it does, for as long
    /// as this is not dropped.
    pub async fn tell(mut self, systemd: &Systemd) -> Infallible {
        if !systemd.listens() {
            return pending().await;
        }
        let interval = systemd.watchdog().map(|limit| limit / BEATS);
        let time_max = interval.map_or(ANSWER_TIME_MAX, |interval| interval / 2);
        while !self.beats(time_max).await {
            tokio::time::sleep(START_INTERVAL).await;
        }
        systemd.is_ready();
        let Some(interval) = interval else { return pending().await };
        loop {
            tokio::time::sleep(interval).await;
            if self.beats(time_max).await {
                systemd.is_alive();
            }
        }
    }

    /// Whether a call is answered in time, with whatever answer.
    async fn beats(&mut self, time_max: Duration) -> bool {
        let answered = tokio::time::timeout(time_max, self.ask()).await;
        let answered = answered.unwrap_or(false);
        if !answered {
            self.line = None;
        }
        answered
    }

    async fn ask(&mut self) -> bool {
        let line = match &mut self.line {
            Some(line) => line,
            none => match Line::open(self.addr, self.is_tls).await {
                Some(line) => none.insert(line),
                None => return false,
            },
        };
        match line.client.check(HealthCheckRequest::default()).await {
            Ok(_) => true,
            // A status with a cause was made on this side, because no answer came.
            Err(status) => status.source().is_none(),
        }
    }
}

impl Line {
    async fn open(addr: SocketAddr, is_tls: bool) -> Option<Self> {
        let channel = connect::to_itself(addr, is_tls).await.ok()?;
        let mut client = HealthClient::new(channel);
        let held = client.watch(HealthCheckRequest::default()).await.ok();
        Some(Self { client, _held: held.map(tonic::Response::into_inner) })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    async fn beats_at(addr: SocketAddr) -> bool {
        Pulse { addr, is_tls: false, line: None }.beats(SHORT).await
    }

    /// As a gateway that hangs: the kernel takes its connections.
    #[tokio::test]
    async fn a_port_that_says_nothing_does_not_beat_and_neither_does_a_closed_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        assert!(!beats_at(addr).await);
        drop(listener);
        assert!(!beats_at(addr).await);
    }
}
