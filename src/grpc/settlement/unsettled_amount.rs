//! GetUnsettledAmount: what of an order can still be settled, as Douyin says now.

use tonic::{Request, Status};

use super::super::Service;
use super::super::admit::{by, in_system, name_span};
use super::super::rpc::Rpc;
use super::super::status::{self, Names};
use super::super::violations::Violations;
use crate::douyin::AmountLeft;
use crate::proto::v1;
use crate::settle::{AppId, Fen, OutOrderNo, TradeSystem};

impl Service {
    pub(super) async fn unsettled_amount(
        &self,
        request: Request<v1::GetUnsettledAmountRequest>,
    ) -> Result<v1::GetUnsettledAmountResponse, Status> {
        const RPC: Rpc = Rpc::GetUnsettledAmount;
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let request = request.into_inner();
        let app_id = request.app_id.clone();
        let parsed = parse(request, self.config.default_app.as_ref());
        let parsed = parsed.map_err(|bad| self.unfit(&identity, &app_id, bad, RPC))?;
        let (app_id, trade_system, order) = parsed;
        name_span(&app_id, "");
        let names = Names::of_order(&app_id, trade_system, &order);
        let app = self.admit(&mut identity, &app_id, &names, RPC)?;
        in_system(app, trade_system, &names, RPC)?;
        let is_on = self.config.unsettled_amount_elsewhere;
        if trade_system != TradeSystem::Guaranteed && !is_on {
            return Err(status::no_unsettled_amount(&names));
        }
        let left = by(deadline, &names, self.gateway.amount_left(app, &order)).await?;
        let left = left.map_err(|error| status::of_query(error, &names, RPC))?;
        Ok(render(&left))
    }
}

/// Parses a GetUnsettledAmount; every violation at once.
fn parse(
    request: v1::GetUnsettledAmountRequest,
    default_app: Option<&AppId>,
) -> Result<(AppId, TradeSystem, OutOrderNo), Violations> {
    let mut bad = Violations::default();
    let app_id = bad.app_id(request.app_id, default_app);
    let trade_system = bad.trade_system(request.trade_system);
    let order = bad.text("out_order_no", OutOrderNo::parse(request.out_order_no));
    match (app_id, trade_system, order) {
        (Some(app_id), Some(trade_system), Some(order)) => Ok((app_id, trade_system, order)),
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(bad),
    }
}

fn render(left: &AmountLeft) -> v1::GetUnsettledAmountResponse {
    v1::GetUnsettledAmountResponse {
        unsettled_amount_fen: left.amount.get(),
        paid_amount_fen: left.paid.map(Fen::get),
        refunded_amount_fen: left.refunded.map(Fen::get),
        payment_rake_fen: left.payment_rake.map(Fen::get),
        life_rake_fen: left.life_rake.map(Fen::get),
        commission_fen: left.commission.map(Fen::get),
    }
}
