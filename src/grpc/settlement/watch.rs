//! WatchSettle: what a watcher asks for. `stream` is what it gets.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Status};
use tracing::{Instrument as _, Span};

use super::super::Service;
use super::super::admit::by;
use super::super::name::Asked;
use super::super::rpc::Rpc;
use super::super::server::bounds::{Connection, Held, Kind};
use super::super::status::{self, Names};
use super::stream::{self, Opener, StreamTerms, WatchStream};
use crate::gateway::{Ending, WatchRequest};
use crate::proto::v1;

/// How often a watcher wants to hear something: between these two.
pub const HEARTBEAT_MS: (u64, u64) = (1_000, 600_000);

impl Service {
    pub(super) async fn watch(
        &self,
        request: Request<v1::WatchSettleRequest>,
    ) -> Result<WatchStream, Status> {
        let deadline = self.deadline(&request);
        let connection = Connection::of(request.extensions(), &self.process);
        let mut identity = self.identity(&request);
        let request = request.into_inner();
        let key = request.key.into();
        let (trade_system, after_revision) = (request.trade_system, request.after_revision);
        let app_id = request.app_id;
        let asked = Asked { app_id, trade_system, key, after_revision };
        let (app, name, names) = self.name(&mut identity, asked, Rpc::WatchSettle)?;
        let seat = self.seat(&connection, &names)?;
        let heartbeat_interval = heartbeat_interval(request.heartbeat_interval);
        let heartbeat_interval = Some(heartbeat_interval.unwrap_or(self.config.heartbeat));
        let app = Arc::clone(app);
        let request = WatchRequest { app, name, after_revision, heartbeat_interval };
        let watch = by(deadline, &names, self.gateway.watch(request)).await?;
        let watch = watch.map_err(|ending| self.ended(ending, &names, Rpc::WatchSettle))?;
        let terms = StreamTerms { patience: self.config.slow_consumer, until: deadline.stream };
        let drain = self.gateway.draining().clone();
        let opener = Opener { identity: identity.lasting(), audit: self.admission.audit.clone() };
        let (stream, pump) = stream::watch_stream(watch, opener, drain, terms, seat);
        self.streams.spawn(pump.run().instrument(Span::current()));
        Ok(stream)
    }

    /// A place among the watches.
    pub(super) fn seat(&self, connection: &Arc<Connection>, names: &Names) -> Result<Held, Status> {
        let seat = connection.take(Kind::Watches, 1);
        seat.ok_or_else(|| status::watch_limit(names, self.gateway.spread()))
    }

    /// The status of a watch that ended before its first message.
    pub(super) fn ended(&self, ending: Ending, names: &Names, rpc: Rpc) -> Status {
        let status = status::of_ending(ending, names, rpc, self.gateway.spread());
        status.expect("a watch ends well only after it told the final state")
    }
}

/// How often a watcher wants to hear something, if it says so.
pub fn heartbeat_interval(asked: Option<prost_types::Duration>) -> Option<Duration> {
    let (min, max) = (Duration::from_millis(HEARTBEAT_MS.0), Duration::from_millis(HEARTBEAT_MS.1));
    asked.map(|asked| match asked.seconds {
        // Compared before the conversion, which overflows for absurd values.
        ..1 => min,
        600.. => max,
        1..600 => Duration::try_from(asked).unwrap_or(min).clamp(min, max),
    })
}
