//! Plays a scenario: runs the front, and behind it the gateway, as often as the scenario starts it.
//!
//! What it must not know: who calls.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::front::Front;
use crate::clock::Clock;
use crate::config::Config;
use crate::server::{Addrs, BuildError, Server, Stopped};

/// How long a gateway is away.
const AWAY: Duration = Duration::from_secs(1);

/// A scenario that is ready to be played.
pub struct Play {
    front: Front,
    listener: TcpListener,
    addr: SocketAddr,
}

impl Play {
    /// Binds the address where callers call.
    pub(in crate::cli) async fn new(front: Front, addr: SocketAddr) -> Result<Self, BuildError> {
        let bind = |cause| BuildError::Bind { addr, cause };
        let listener = TcpListener::bind(addr).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        Ok(Self { front, listener, addr })
    }

    /// Plays until `stop`. `config` gives a process its configuration, each another one; `started`
    /// hears where each of them listens, the front in the place of its gRPC port.
    pub async fn run(
        self,
        config: impl Fn() -> Config,
        mut started: impl FnMut(Addrs),
        stop: impl Future<Output = ()>,
    ) -> Result<Stopped, BuildError> {
        let Self { front, listener, addr } = self;
        let tasks = TaskTracker::new();
        tasks.spawn(front.clone().serve(listener));
        let mut stop = pin!(stop);
        let mut starts = 0_u32;
        let stopped = loop {
            let config = Config { grpc_addr: SocketAddr::from(([127, 0, 0, 1], 0)), ..config() };
            let server = Box::pin(Server::build(config, Clock::system())).await?;
            let addrs = server.addrs();
            starts += 1;
            // Each second end is that of a gateway that is killed: its callers hear nothing of it.
            let is_kill = starts.is_multiple_of(2);
            front.open(addrs.grpc);
            started(Addrs { grpc: addr, ..addrs });
            let mut is_last = false;
            let until = async {
                tokio::select! {
                    () = &mut stop => is_last = true,
                    () = time(front.plan().runs_for) => {
                        if is_kill {
                            front.close();
                        }
                    }
                }
            };
            let stopped = Box::pin(server.run(until)).await;
            front.close();
            if is_last || matches!(stopped, Stopped::Broken { .. }) {
                break stopped;
            }
            tokio::time::sleep(AWAY).await;
        };
        front.stop().await;
        tasks.close();
        tasks.wait().await;
        Ok(stopped)
    }
}

async fn time(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
