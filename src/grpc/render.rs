//! What is recorded of a settle, as callers see it.
//!
//! What it must not know: in which answer it is shown.

use super::enums::{self, retry, state};
use super::reasons::Outcome;
use super::status;
use super::time::{is_sayable, time};
use crate::proto::v1;
use crate::settle::{
    CallerName, Contradiction, Decision, Failure, Fen, HistoryEntry, Record, SettleParam, Source,
    State, StateKind,
};

/// A record as callers see it.
pub(super) fn settle(record: &Record) -> v1::Settle {
    let content = record.request().map(|request| &request.content);
    let facts = &record.facts;
    let own = |text: &str| text.to_owned();
    let rejection = match &record.state {
        State::Rejected { rejection } => Some(settle_error(rejection, Outcome::Refused)),
        State::Submitting
        | State::Processing { .. }
        | State::Succeeded { .. }
        | State::Failed { .. } => None,
    };
    let (out_order_no, item_order_id, ext) = match content {
        Some(content) => (
            Some(own(content.out_order_no.as_str())),
            content.item_order_id.as_ref().map(|id| own(id.as_str())),
            content.ext.as_ref().map(|ext| own(ext.as_str())),
        ),
        None => (
            facts.out_order_no.as_ref().map(|no| own(no.as_str())),
            facts.item_order_id.as_ref().map(|id| own(id.as_str())),
            facts.cp_extra.clone(),
        ),
    };
    let params = content.map_or(&[][..], |content| &content.settle_params[..]);
    let submit_before = record.request().map(|request| time(request.submit_before));
    v1::Settle {
        app_id: own(record.key.app_id.as_str()),
        trade_system: enums::trade_system(record.key.trade_system).into(),
        out_settle_no: own(record.key.out_settle_no.as_str()),
        out_order_no,
        settle_desc: content.map(|content| own(content.settle_desc.as_str())),
        settle_params: params.iter().map(settle_param).collect(),
        item_order_id,
        ext,
        notify_url: content.and_then(|content| Some(own(content.notify_url.as_ref()?.as_str()))),
        submit_before,
        state: state(record.state.kind()).into(),
        settle_status: facts.settle_status.clone(),
        revision: record.revision,
        settle_id: record.state.settle_id().map(|id| own(id.as_str())),
        wallet_settle_id: facts.wallet_settle_id.as_ref().map(|id| own(id.as_str())),
        inner_settle_id: facts.inner_settle_id.as_ref().map(|id| own(id.as_str())),
        order_id: facts.order_id.as_ref().map(|id| own(id.as_str())),
        origin: match record.request() {
            Some(_) => v1::SettleOrigin::Gateway.into(),
            None => v1::SettleOrigin::Platform.into(),
        },
        result: result(record),
        rejection,
        last_error: record
            .last_error
            .as_ref()
            .map(|failure| settle_error(failure, Outcome::Unknown)),
        contradiction: record.open_contradiction().map(contradiction),
        create_time: Some(time(record.create_time)),
        update_time: Some(time(record.update_time)),
        created_by: record.request().and_then(|request| caller(request.created_by.as_ref())),
        decision: record.decision.as_ref().map(decision),
    }
}

fn settle_param(param: &SettleParam) -> v1::SettleParam {
    let merchant_uid = param.merchant_uid.as_str().to_owned();
    v1::SettleParam { merchant_uid, amount_fen: param.amount.get() }
}

/// `None` if Douyin has told nothing of it.
fn result(record: &Record) -> Option<v1::SettleResult> {
    let facts = &record.facts;
    let result = v1::SettleResult {
        settle_amount_fen: facts.settle_amount.map(Fen::get),
        rake_fen: facts.rake.map(Fen::get),
        commission_fen: facts.commission.map(Fen::get),
        platform_ticket_fen: facts.platform_ticket.map(Fen::get),
        settle_detail: facts.settle_detail.clone(),
        message: facts.message.clone(),
        settle_time: facts.settle_time.filter(|moment| is_sayable(*moment)).map(time),
        auto_settle: facts.auto_settle,
    };
    (result != v1::SettleResult::default()).then_some(result)
}

/// A recorded failure, with the words of its table row.
pub(super) fn settle_error(failure: &Failure, outcome: Outcome) -> v1::SettleError {
    let words = status::words_for(failure, outcome);
    v1::SettleError {
        reason: words.reason.as_str().to_owned(),
        domain: words.domain.to_owned(),
        message: words.meaning.to_owned(),
        retry: retry(words.retry).into(),
        douyin_error: failure.douyin.as_ref().map(|said| status::douyin_error(words.reason, said)),
    }
}

fn caller(name: Option<&CallerName>) -> Option<String> {
    name.map(|name| name.as_str().to_owned())
}

fn decision(decision: &Decision) -> v1::Decision {
    v1::Decision {
        by: caller(decision.by.as_ref()),
        why: decision.why.as_str().to_owned(),
        time: Some(time(decision.time)),
    }
}

fn contradiction(contradiction: &Contradiction) -> v1::Contradiction {
    v1::Contradiction {
        claimed_state: state(contradiction.claimed).into(),
        settle_id: Some(contradiction.settle_id.as_str().to_owned()),
        source: source(contradiction.source).into(),
        time: Some(time(contradiction.time)),
    }
}

/// One step of the audit trail.
pub(super) fn history_entry(entry: &HistoryEntry) -> v1::HistoryEntry {
    let outcome = match entry.state {
        StateKind::Rejected => Outcome::Refused,
        StateKind::Submitting
        | StateKind::Processing
        | StateKind::Succeeded
        | StateKind::Failed => Outcome::Unknown,
    };
    v1::HistoryEntry {
        revision: entry.revision,
        state: state(entry.state).into(),
        source: source(entry.source).into(),
        log_id: entry.log_id.clone(),
        error: entry.error.as_ref().map(|failure| settle_error(failure, outcome)),
        time: Some(time(entry.time)),
        by: caller(entry.by.as_ref()),
        why: entry.why.as_ref().map(|why| why.as_str().to_owned()),
    }
}

fn source(source: Source) -> v1::ObservationSource {
    match source {
        Source::Create => v1::ObservationSource::Create,
        Source::Query => v1::ObservationSource::Query,
        Source::Callback => v1::ObservationSource::Callback,
        Source::Gateway => v1::ObservationSource::Gateway,
        Source::Operator => v1::ObservationSource::Operator,
    }
}
