//! OperatorService: what an operator sees of settles that do not come to their end, and decides. A
//! file for each RPC.
//!
//! What it must not know: why a settle is stuck, and which decision is allowed.

mod end;
mod resolve;
mod show;
mod stop;
mod stuck;

use tonic::{Request, Response, Status};

use super::Service;
use super::violations::Violations;
use crate::proto::v1;
use crate::proto::v1::operator_service_server::OperatorService;
use crate::settle::{AppId, Key, OutSettleNo};

#[tonic::async_trait]
impl OperatorService for Service {
    async fn show_settle(
        &self,
        request: Request<v1::ShowSettleRequest>,
    ) -> Result<Response<v1::ShowSettleResponse>, Status> {
        self.show(request).await.map(Response::new)
    }

    async fn list_stuck_settles(
        &self,
        request: Request<v1::ListStuckSettlesRequest>,
    ) -> Result<Response<v1::ListStuckSettlesResponse>, Status> {
        self.list_stuck(request).await.map(Response::new)
    }

    async fn resolve_contradiction(
        &self,
        request: Request<v1::ResolveContradictionRequest>,
    ) -> Result<Response<v1::ResolveContradictionResponse>, Status> {
        self.resolve(request).await.map(Response::new)
    }

    async fn stop_sending(
        &self,
        request: Request<v1::StopSendingRequest>,
    ) -> Result<Response<v1::StopSendingResponse>, Status> {
        self.stop(request).await.map(Response::new)
    }

    async fn end_settle(
        &self,
        request: Request<v1::EndSettleRequest>,
    ) -> Result<Response<v1::EndSettleResponse>, Status> {
        self.end(request).await.map(Response::new)
    }
}

/// The settle that a decision is about, by its number as the gateway shows it.
fn key(
    bad: &mut Violations,
    (app, trade, number): (String, i32, String),
    default_app: Option<&AppId>,
) -> Option<Key> {
    let app_id = bad.app_id(app, default_app);
    let trade_system = bad.trade_system(trade);
    let out_settle_no = bad.text("out_settle_no", OutSettleNo::reported(number));
    let (app_id, trade_system, out_settle_no) = (app_id?, trade_system?, out_settle_no?);
    Some(Key { app_id, trade_system, out_settle_no })
}

fn check_revision(bad: &mut Violations, revision: i64) {
    if revision < 1 {
        bad.add("revision", "must be the revision that ShowSettle showed");
    }
}
