//! CreateSettle: parse all of it, hand it to the gateway, answer with the settle or with what is
//! known of the money.

use std::collections::HashSet;
use std::sync::Arc;

use tonic::{Request, Status};
use tracing::Span;

use super::super::admit::{in_system, name_span};
use super::super::audit::{Told, What};
use super::super::call::Repeat;
use super::super::rpc::Rpc;
use super::super::status::{self, Names};
use super::super::violations::Violations;
use super::super::{DuplicateReceivers, Service, render};
use super::limits::{self, Said};
use crate::clock::Timestamp;
use crate::gateway::{Create, OnRecord, ReturnWhen};
use crate::proto::v1;
use crate::settle::{
    AppId, Content, Ext, Fen, ItemOrderId, Key, MerchantUid, NotifyUrl, OutOrderNo, OutSettleNo,
    SettleDesc, SettleParam,
};

impl Service {
    pub(super) async fn create(
        &self,
        request: Request<v1::CreateSettleRequest>,
    ) -> Result<v1::CreateSettleResponse, Status> {
        let (deadline, mut identity) = (self.deadline(&request), self.identity(&request));
        let default_app = self.config.default_app.as_ref();
        let repeat: Option<Repeat> = request.extensions().get().cloned();
        let request = request.into_inner();
        let (app_id, validate_only) = (request.app_id.clone(), request.validate_only);
        let parsed = parse(request, default_app, self.config.duplicate_receivers);
        let unfit = |violations| self.unfit(&identity, &app_id, violations, Rpc::CreateSettle);
        let parsed = parsed.map_err(unfit)?;
        name_span(&parsed.key.app_id, parsed.key.out_settle_no.as_str());
        let names = Names::of_create(&parsed.key, &parsed.content);
        let app = self.admit(&mut identity, &parsed.key.app_id, &names, Rpc::CreateSettle)?;
        in_system(app, parsed.key.trade_system, &names, Rpc::CreateSettle)?;
        let mut create = Create {
            app: Arc::clone(app),
            key: parsed.key,
            by_default_app: parsed.by_default_app,
            content: parsed.content,
            submit_before: parsed.submit_before,
            return_when: parsed.return_when,
            by: identity.name().cloned(),
            deadline: deadline.at,
            on_record: OnRecord::default(),
        };
        if validate_only {
            let recorded = self.gateway.check(&create).await;
            let recorded = recorded.map_err(|e| status::of_create(e, &names, deadline.limit))?;
            let settle = recorded.as_ref().map(render::settle);
            repeat.iter().for_each(Repeat::note);
            return Ok(v1::CreateSettleResponse { replayed: settle.is_some(), settle });
        }
        let begun = self.begun(What::Create, Rpc::CreateSettle, &identity, Told::about(&names));
        create.on_record = begun.on_record();
        let created = self.gateway.create(create).await;
        let created = match created {
            Ok(created) => created,
            Err(error) => {
                let outcome = status::outcome(&error).as_str();
                Span::current().record("log_id", error.log_id());
                let status = status::of_create(error, &names, deadline.limit);
                begun.ended(Some(outcome), false, Some(&status));
                return Err(status);
            }
        };
        let state = created.record.state.kind().as_str();
        Span::current().record("state", state);
        if let Some(repeat) = repeat.filter(|_| created.replayed) {
            repeat.note();
        }
        begun.ended(Some(state), created.replayed, None);
        let settle = Some(render::settle(&created.record));
        Ok(v1::CreateSettleResponse { settle, replayed: created.replayed })
    }
}

/// A CreateSettle whose fields are all right.
#[derive(Clone, Debug)]
struct Parsed {
    key: Key,
    /// The request names no app, and so means the default one.
    by_default_app: bool,
    content: Content,
    submit_before: Option<Timestamp>,
    return_when: ReturnWhen,
}

/// Parses a CreateSettle; every violation at once.
fn parse(
    request: v1::CreateSettleRequest,
    default_app: Option<&AppId>,
    duplicates: DuplicateReceivers,
) -> Result<Parsed, Violations> {
    let mut bad = Violations::default();
    let by_default_app = request.app_id.is_empty();
    let app_id = bad.app_id(request.app_id, default_app);
    let trade_system = bad.trade_system(request.trade_system);
    let out_order_no = bad.text("out_order_no", OutOrderNo::parse(request.out_order_no));
    let out_settle_no = bad.text("out_settle_no", OutSettleNo::parse(request.out_settle_no));
    let settle_desc = bad.text("settle_desc", SettleDesc::parse(request.settle_desc));
    let settle_params = settle_params(&mut bad, request.settle_params, duplicates);
    let item_order_id = request.item_order_id;
    let item_order_id = bad.optional("item_order_id", item_order_id, ItemOrderId::parse);
    let ext = bad.optional("ext", request.ext, Ext::parse);
    let notify_url = bad.optional("notify_url", request.notify_url, NotifyUrl::parse);
    if let Some(trade_system) = trade_system {
        let said = Said {
            out_settle_no: out_settle_no.as_ref(),
            settle_desc: settle_desc.as_ref(),
            settle_params: &settle_params,
            item_order_id: item_order_id.as_ref(),
            notify_url: notify_url.as_ref(),
        };
        limits::check(&mut bad, trade_system, &said);
    }
    let submit_before = bad.optional_time("submit_before", request.submit_before);
    let return_when = return_when(&mut bad, request.return_when);
    let all = (app_id, trade_system, out_order_no, out_settle_no, settle_desc, return_when);
    let (
        Some(app_id),
        Some(trade_system),
        Some(out_order_no),
        Some(out_settle_no),
        Some(settle_desc),
        Some(return_when),
    ) = all
    else {
        return Err(bad);
    };
    if !bad.is_empty() {
        return Err(bad);
    }
    let key = Key { app_id, trade_system, out_settle_no };
    let content =
        Content { out_order_no, item_order_id, settle_desc, settle_params, ext, notify_url };
    Ok(Parsed { key, by_default_app, content, submit_before, return_when })
}

fn settle_params(
    bad: &mut Violations,
    params: Vec<v1::SettleParam>,
    duplicates: DuplicateReceivers,
) -> Vec<SettleParam> {
    let mut seen = HashSet::new();
    let mut parsed = Vec::with_capacity(params.len());
    for (i, param) in params.into_iter().enumerate() {
        let uid_field = format!("settle_params[{i}].merchant_uid");
        let uid = bad.text(&uid_field, MerchantUid::parse(param.merchant_uid));
        let amount = Fen::new(param.amount_fen);
        if !amount.is_positive() {
            bad.add(format!("settle_params[{i}].amount_fen"), "must be greater than 0");
        }
        let Some(merchant_uid) = uid else { continue };
        let repeated = !seen.insert(merchant_uid.clone());
        if repeated && duplicates == DuplicateReceivers::Refuse {
            bad.add(uid_field, "is named twice");
        }
        parsed.push(SettleParam { merchant_uid, amount });
    }
    if Fen::checked_sum(parsed.iter().map(|param| param.amount)).is_none() {
        bad.add("settle_params", "the sum of the amounts does not fit into 64 bits");
    }
    parsed
}

fn return_when(bad: &mut Violations, value: i32) -> Option<ReturnWhen> {
    match bad.enumeration("return_when", value)? {
        v1::ReturnWhen::Recorded => Some(ReturnWhen::Recorded),
        v1::ReturnWhen::Unspecified | v1::ReturnWhen::Accepted => Some(ReturnWhen::Accepted),
        v1::ReturnWhen::Final => Some(ReturnWhen::Final),
    }
}
