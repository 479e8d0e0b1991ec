//! OperatorService: what an operator sees of settles that do not come to their end, and decides.
//!
//! What it must not know: why a settle is stuck, and which decision is allowed.

mod convert;

use tonic::{Request, Response, Status};
use tracing::info;

use super::audit::{Told, What};
use super::rpc::Rpc;
use super::status::{self, Names};
use super::{Asked, Service, by, convert as contract, denied_by, in_system, name_span};
use crate::gateway::{Decided, Word};
use crate::proto::v1;
use crate::proto::v1::operator_service_server::OperatorService;
use crate::settle::AppId;

impl Service {
    async fn show(
        &self,
        request: Request<v1::ShowSettleRequest>,
    ) -> Result<v1::ShowSettleResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let v1::ShowSettleRequest { app_id, trade_system, key } = request.into_inner();
        let asked = Asked { app_id, trade_system, key: key.into(), after_revision: 0 };
        let (_, name, names) = self.name(&mut identity, asked, Rpc::ShowSettle)?;
        let shown = by(deadline, &names, self.gateway.show(&name)).await?;
        let shown = shown.map_err(|error| status::of_store(&error, &names, Rpc::ShowSettle))?;
        let shown = shown.ok_or_else(|| status::not_found(&names, Rpc::ShowSettle))?;
        Ok(convert::shown(&shown))
    }

    async fn list_stuck(
        &self,
        request: Request<v1::ListStuckSettlesRequest>,
    ) -> Result<v1::ListStuckSettlesResponse, Status> {
        const RPC: Rpc = Rpc::ListStuckSettles;
        let _ = self.deadline(&request);
        let mut identity = self.identity(&request);
        let parsed = convert::stuck_query(request.into_inner());
        let query = parsed.map_err(|violations| status::invalid(violations, RPC))?;
        if let Some(app_id) = &query.app_id {
            name_span(app_id, "");
            self.admit(&mut identity, app_id, &Names::of_app(app_id), RPC)?;
        } else {
            // Its body may have taken seconds to arrive.
            identity.look_again();
            let (audit, names) = (&self.admission.audit, Names::default());
            let may = identity.may(RPC.right());
            may.map_err(|denied| denied_by(audit, &identity, denied, &names, RPC))?;
        }
        let report = self.gateway.stuck();
        let may_know = |app_id: &AppId| identity.may_use(RPC.right(), app_id).is_ok();
        Ok(convert::stuck(report, &query, may_know))
    }

    async fn resolve(
        &self,
        request: Request<v1::ResolveContradictionRequest>,
    ) -> Result<v1::ResolveContradictionResponse, Status> {
        const RPC: Rpc = Rpc::ResolveContradiction;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = convert::resolve(request, self.config.default_app.as_ref());
        let asked = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let convert::Resolve { key, revision, verdict, why } = asked;
        name_span(&key.app_id, key.out_settle_no.as_str());
        let names = Names::of_key(&key);
        self.admit(&mut identity, &key.app_id, &names, RPC)?;
        let decided = Decided { by: identity.name().cloned(), why: why.clone() };
        let told = Told { why: Some(why.as_str()), ..Told::about(&names) };
        let begun = self.begun(What::Decision, RPC, &identity, told);
        let resolved = self.gateway.resolve(&key, revision, verdict, decided);
        let resolved = by(deadline, &names, resolved).await;
        let resolved =
            resolved.and_then(|done| done.map_err(|error| status::of_resolve(error, &names, RPC)));
        let state = resolved.as_ref().ok().map(|record| record.state.kind().as_str());
        begun.ended(state, false, resolved.as_ref().err());
        let record = resolved?;
        let (state, revision) = (record.state.kind().as_str(), record.revision);
        let why = why.as_str();
        info!(%key, ?verdict, why, state, revision, "an operator resolved a contradiction");
        Ok(v1::ResolveContradictionResponse { settle: Some(contract::settle(&record)) })
    }
}

impl Service {
    async fn stop(
        &self,
        request: Request<v1::StopSendingRequest>,
    ) -> Result<v1::StopSendingResponse, Status> {
        const RPC: Rpc = Rpc::StopSending;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = convert::stop(request, self.config.default_app.as_ref());
        let asked = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let convert::Stop { key, revision, why } = asked;
        name_span(&key.app_id, key.out_settle_no.as_str());
        let names = Names::of_key(&key);
        self.admit(&mut identity, &key.app_id, &names, RPC)?;
        let decided = Decided { by: identity.name().cloned(), why: why.clone() };
        let told = Told { why: Some(why.as_str()), ..Told::about(&names) };
        let begun = self.begun(What::Decision, RPC, &identity, told);
        let stopped = self.gateway.stop_sending(&key, revision, decided);
        let stopped = by(deadline, &names, stopped).await;
        let stopped =
            stopped.and_then(|done| done.map_err(|error| status::of_end(error, &names, RPC)));
        let state = stopped.as_ref().ok().map(|done| done.record.state.kind().as_str());
        begun.ended(state, false, stopped.as_ref().err());
        let stopped = stopped?;
        let (revision, why) = (stopped.record.revision, why.as_str());
        info!(%key, why, revision, wait = ?stopped.wait, "an operator stopped sending");
        Ok(convert::stopped(&stopped))
    }

    async fn end(
        &self,
        request: Request<v1::EndSettleRequest>,
    ) -> Result<v1::EndSettleResponse, Status> {
        const RPC: Rpc = Rpc::EndSettle;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = convert::end(request, self.config.default_app.as_ref());
        let asked = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let convert::EndOf { key, revision, end, if_unanswered, why } = asked;
        name_span(&key.app_id, key.out_settle_no.as_str());
        let names = Names::of_key(&key);
        let app = self.admit(&mut identity, &key.app_id, &names, RPC)?;
        in_system(app, key.trade_system, &names, RPC)?;
        let decided = Decided { by: identity.name().cloned(), why: why.clone() };
        let told = Told { why: Some(why.as_str()), ..Told::about(&names) };
        let begun = self.begun(What::Decision, RPC, &identity, told);
        let word = Word { revision, end, if_unanswered, decided };
        let ended = self.gateway.end(app, &key, word);
        let ended = by(deadline, &names, ended).await;
        let ended = ended.and_then(|done| done.map_err(|error| status::of_end(error, &names, RPC)));
        let state = ended.as_ref().ok().map(|record| record.state.kind().as_str());
        begun.ended(state, false, ended.as_ref().err());
        let record = ended?;
        let (state, revision) = (record.state.kind().as_str(), record.revision);
        let why = why.as_str();
        info!(%key, why, state, revision, "an operator ended a settle");
        Ok(v1::EndSettleResponse { settle: Some(contract::settle(&record)) })
    }
}

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
