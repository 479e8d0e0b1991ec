//! Floor 3: the gRPC edge. Each RPC parses, makes one call to the gateway, and renders.
//!
//! `settlement` and `operator` are the two services of the contract, with a file for each RPC that
//! reads from top to bottom. What all RPCs have in common is beside them: `admit` (who calls,
//! whether it may, until when), `name` (how a request names a settle), `violations` (how its fields
//! are parsed) and `render` (a settle as callers see it). `status` builds every error, from
//! `reasons` and Douyin's table. `server` is what every call passes before and after its RPC.
//!
//! What it must not know: SQL, Douyin's wire, how a settle changes.

mod admit;
pub mod audit;
mod call;
mod config;
pub(crate) mod deadline;
pub(crate) mod enums;
pub(crate) mod identity;
mod name;
mod operator;
pub mod reasons;
mod render;
pub mod rpc;
pub(crate) mod server;
pub mod settlement;
pub(crate) mod status;
pub(crate) mod time;
pub(crate) mod violations;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::apps::Apps;
use crate::gateway::Gateway;
use crate::tasks::Tasks;
use audit::Admission;
pub use config::{DuplicateReceivers, GrpcConfig};
use server::bounds::{Bound, Process};
use server::shape::Shape;

/// Watch streams and waits of one connection. Fewer than its streams, so that its caller's other
/// calls get through.
pub const WATCHES_PER_CONNECTION_MAX: usize = 1_000;

/// Pages that are read and rendered at once. Each keeps a core busy; more of them would delay
/// creates and watches on a small machine and make lists no faster.
pub const PAGES_MAX: usize = 2;

/// The implementation of both services; cheap to clone.
#[derive(Clone)]
pub struct Service {
    gateway: Gateway,
    apps: Apps,
    admission: Admission,
    config: Arc<GrpcConfig>,
    /// What the peers hold of this process.
    process: Arc<Process>,
    /// Bounds the calls that wait for the beginning of their answer.
    calls: Arc<Semaphore>,
    /// Bounds the pages that are being read and rendered.
    pages: Arc<Semaphore>,
    /// Owns the task of every stream.
    streams: Tasks,
}

impl Service {
    /// `streams` runs and owns the task of every stream.
    pub(crate) fn new(
        gateway: Gateway,
        apps: Apps,
        admission: Admission,
        config: GrpcConfig,
        streams: Tasks,
    ) -> Self {
        let process = Arc::new(Process::new(limits(&config)));
        let calls = Arc::new(Semaphore::new(config.calls_max));
        let pages = Arc::new(Semaphore::new(PAGES_MAX));
        let config = Arc::new(config);
        Self { gateway, apps, admission, config, process, calls, pages, streams }
    }

    /// Gives errors of the server's stack the form of this service's own.
    pub fn shape(&self) -> Shape {
        let process = Arc::clone(&self.process);
        let (calls, admission) = (Arc::clone(&self.calls), self.admission.clone());
        Shape::new(calls, process, self.config.unary_limit, admission)
    }

    /// Whether a call that comes now finds a place.
    pub(crate) fn has_room(&self) -> bool {
        self.calls.available_permits() > 0
    }

    /// Waits for the tasks of all streams; they end once the gateway drains.
    pub async fn streams_ended(&self) {
        self.streams.ended().await;
    }
}

/// What the peers of this server may hold, in the order of [`Kind`](server::bounds::Kind).
fn limits(config: &GrpcConfig) -> [Bound; 4] {
    [
        Bound {
            process_max: config.watches_max,
            connection_max: WATCHES_PER_CONNECTION_MAX,
            share: 0,
        },
        server::STREAMS,
        server::ARRIVING,
        Bound { process_max: config.unread_bytes_max, ..server::ANSWERS },
    ]
}
