//! WaitSettle: a watch whose answer is one settle, when it has ended or the time is up.

use std::sync::Arc;

use tonic::{Request, Status};

use super::super::admit::{by, while_allowed};
use super::super::name::Asked;
use super::super::rpc::Rpc;
use super::super::server::bounds::Connection;
use super::super::{Service, render};
use crate::gateway::WatchRequest;
use crate::proto::v1;

impl Service {
    pub(super) async fn wait(
        &self,
        request: Request<v1::WaitSettleRequest>,
    ) -> Result<v1::WaitSettleResponse, Status> {
        let deadline = self.deadline(&request);
        let connection = Connection::of(request.extensions(), &self.process);
        let mut identity = self.identity(&request);
        let request = request.into_inner();
        let key = request.key.into();
        let (trade_system, after_revision) = (request.trade_system, request.after_revision);
        let app_id = request.app_id;
        let asked = Asked { app_id, trade_system, key, after_revision };
        let (app, name, names) = self.name(&mut identity, asked, Rpc::WaitSettle)?;
        let _seat = self.seat(&connection, &names)?;
        let (app, app_id) = (Arc::clone(app), app.id().clone());
        let request = WatchRequest { app, name, after_revision, heartbeat_interval: None };
        // A settle that is not found has no current state to answer with.
        let watch = by(deadline, &names, self.gateway.watch(request)).await?;
        let ended = |ending| self.ended(ending, &names, Rpc::WaitSettle);
        let waiting = watch.map_err(ended)?.wait_until(deadline.at);
        let audit = &self.admission.audit;
        let record = while_allowed(audit, &mut identity, Rpc::WaitSettle, &names, &app_id, waiting);
        let record = record.await?.map_err(ended)?;
        Ok(v1::WaitSettleResponse { settle: Some(render::settle(&record)) })
    }
}
