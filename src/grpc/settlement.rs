//! SettlementService: what callers ask for, a file for each RPC.
//!
//! What it must not know: how a settle changes, and how a watch learns of it.

mod create;
mod get;
mod limits;
pub mod list;
pub mod page;
mod query;
mod stream;
mod unsettled_amount;
mod wait;
pub mod watch;

use tonic::{Request, Response, Status};

use super::Service;
use crate::proto::v1;
use crate::proto::v1::settlement_service_server::SettlementService;
pub use stream::WatchStream;

#[tonic::async_trait]
impl SettlementService for Service {
    async fn create_settle(
        &self,
        request: Request<v1::CreateSettleRequest>,
    ) -> Result<Response<v1::CreateSettleResponse>, Status> {
        self.create(request).await.map(Response::new)
    }

    type WatchSettleStream = WatchStream;

    async fn watch_settle(
        &self,
        request: Request<v1::WatchSettleRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        self.watch(request).await.map(Response::new)
    }

    async fn wait_settle(
        &self,
        request: Request<v1::WaitSettleRequest>,
    ) -> Result<Response<v1::WaitSettleResponse>, Status> {
        self.wait(request).await.map(Response::new)
    }

    async fn get_settle(
        &self,
        request: Request<v1::GetSettleRequest>,
    ) -> Result<Response<v1::GetSettleResponse>, Status> {
        self.get(request).await.map(Response::new)
    }

    async fn query_settles(
        &self,
        request: Request<v1::QuerySettlesRequest>,
    ) -> Result<Response<v1::QuerySettlesResponse>, Status> {
        self.query(request).await.map(Response::new)
    }

    async fn list_settles(
        &self,
        request: Request<v1::ListSettlesRequest>,
    ) -> Result<Response<v1::ListSettlesResponse>, Status> {
        self.list(request).await.map(Response::new)
    }

    async fn get_unsettled_amount(
        &self,
        request: Request<v1::GetUnsettledAmountRequest>,
    ) -> Result<Response<v1::GetUnsettledAmountResponse>, Status> {
        self.unsettled_amount(request).await.map(Response::new)
    }
}
