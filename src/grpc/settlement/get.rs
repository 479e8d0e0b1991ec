//! GetSettle: one settle as it is recorded, or as Douyin shows it now.

use tonic::{Request, Status};

use super::super::admit::by;
use super::super::name::Asked;
use super::super::rpc::Rpc;
use super::super::{Service, render, status};
use crate::gateway::QueryError;
use crate::proto::v1;

impl Service {
    pub(super) async fn get(
        &self,
        request: Request<v1::GetSettleRequest>,
    ) -> Result<v1::GetSettleResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let key = request.key.into();
        let (app_id, trade_system) = (request.app_id, request.trade_system);
        let asked = Asked { app_id, trade_system, key, after_revision: 0 };
        let (app, name, names) = self.name(&mut identity, asked, Rpc::GetSettle)?;
        let record = async {
            match request.refresh {
                true => self.gateway.refresh(app, &name, identity.name()).await,
                false => self.gateway.get(&name).await.map_err(QueryError::Store),
            }
        };
        let record = by(deadline, &names, record).await?;
        let record = record.map_err(|error| status::of_query(error, &names, Rpc::GetSettle))?;
        let record = record.ok_or_else(|| status::not_found(&names, Rpc::GetSettle))?;
        let history = match request.include_history {
            true => by(deadline, &names, self.gateway.history(&record.key)).await?,
            false => Ok(Vec::new()),
        };
        let history = history.map_err(|error| status::of_store(&error, &names, Rpc::GetSettle))?;
        Ok(v1::GetSettleResponse {
            settle: Some(render::settle(&record)),
            history: history.iter().map(render::history_entry).collect(),
        })
    }
}
