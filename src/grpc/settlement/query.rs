//! QuerySettles: what Douyin shows now, by one of its keys.

use tonic::{Request, Status};

use super::super::admit::{by, in_system, name_span};
use super::super::rpc::Rpc;
use super::super::status::{self, Names};
use super::super::violations::Violations;
use super::super::{Service, render};
use crate::gateway::Question;
use crate::proto::v1;
use crate::settle::{AppId, OrderId, OutOrderNo, OutSettleNo, SettleId, TradeSystem};

impl Service {
    pub(super) async fn query(
        &self,
        request: Request<v1::QuerySettlesRequest>,
    ) -> Result<v1::QuerySettlesResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = parse(request, self.config.default_app.as_ref());
        let unfit = |violations| self.unfit(&identity, &app_id, violations, Rpc::QuerySettles);
        let (app_id, trade_system, question) = parsed.map_err(unfit)?;
        name_span(&app_id, "");
        let names = Names::of_question(&app_id, &question);
        let app = self.admit(&mut identity, &app_id, &names, Rpc::QuerySettles)?;
        in_system(app, trade_system, &names, Rpc::QuerySettles)?;
        let records = self.gateway.query(app, trade_system, &question, identity.name());
        let records = by(deadline, &names, records).await?;
        let failed = |error| status::of_query(error, &names, Rpc::QuerySettles);
        let records = records.map_err(failed)?;
        Ok(v1::QuerySettlesResponse { settles: records.iter().map(render::settle).collect() })
    }
}

/// Parses a QuerySettles: which app and system, and by which key; every violation at once.
fn parse(
    request: v1::QuerySettlesRequest,
    default_app: Option<&AppId>,
) -> Result<(AppId, TradeSystem, Question), Violations> {
    use v1::query_settles_request::Key as By;
    let mut bad = Violations::default();
    let app_id = bad.app_id(request.app_id, default_app);
    let trade_system = bad.trade_system(request.trade_system);
    let question = match request.key {
        None => {
            bad.add("key", "one of settle_id, order_id, out_settle_no, out_order_no is required");
            None
        }
        Some(By::SettleId(text)) => {
            bad.text("settle_id", SettleId::parse(text)).map(Question::SettleId)
        }
        Some(By::OrderId(text)) => {
            bad.text("order_id", OrderId::parse(text)).map(Question::OrderId)
        }
        Some(By::OutSettleNo(text)) => {
            bad.text("out_settle_no", OutSettleNo::parse(text)).map(Question::OutSettleNo)
        }
        Some(By::OutOrderNo(text)) => {
            bad.text("out_order_no", OutOrderNo::parse(text)).map(Question::OutOrderNo)
        }
    };
    if let (Some(app_id), Some(system), Some(question)) = (&app_id, trade_system, &question)
        && !question.is_possible(system, app_id)
    {
        let why = format!("the trade system {} has no query by it", system.as_str());
        bad.add(question.field(), why);
    }
    match (app_id, trade_system, question) {
        (Some(app_id), Some(trade_system), Some(question)) if bad.is_empty() => {
            Ok((app_id, trade_system, question))
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(bad),
    }
}
