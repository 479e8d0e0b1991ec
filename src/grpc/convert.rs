//! Between the contract and the domain. Every request is parsed whole, so that a caller learns all
//! its mistakes at once; every record is rendered whole.

use std::collections::HashSet;
use std::time::Duration;

use super::enums::{self, retry, state};
use super::limits::{self, Said};
use super::page;
use super::reasons::Outcome;
use super::status;
use super::time::{is_sayable, time};
use super::violations::Violations;
use crate::clock::Timestamp;
use crate::douyin::AmountLeft;
use crate::gateway::{Name, Question, ReturnWhen};
use crate::proto::v1;
use crate::settle::{
    AppId, CallerName, Content, Contradiction, Decision, Ext, Failure, Fen, HistoryEntry, Invalid,
    ItemOrderId, Key, MerchantUid, NotifyUrl, OrderId, OutOrderNo, OutSettleNo, Record, SettleDesc,
    SettleId, SettleParam, Source, State, StateKind, TradeSystem,
};
use crate::store::ListQuery;

/// Whether a receiver may be named twice. Douyin documents nothing about it, so it is a knob: a
/// change at Douyin needs no release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DuplicateReceivers {
    Refuse,
    Allow,
}

/// A CreateSettle whose fields are all right.
#[derive(Clone, Debug)]
pub struct ParsedCreate {
    pub key: Key,
    /// The request names no app, and so means the default one.
    pub by_default_app: bool,
    pub content: Content,
    pub submit_before: Option<Timestamp>,
    pub return_when: ReturnWhen,
}

/// Parsers that add what is wrong.
impl Violations {
    pub(super) fn text<T>(&mut self, field: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|invalid| self.add(field, invalid.to_string())).ok()
    }

    pub(super) fn optional<T>(
        &mut self,
        field: &str,
        text: String,
        parse: impl FnOnce(String) -> Result<T, Invalid>,
    ) -> Option<T> {
        if text.is_empty() { None } else { self.text(field, parse(text)) }
    }

    pub(super) fn enumeration<T: TryFrom<i32>>(&mut self, field: &str, value: i32) -> Option<T> {
        let parsed = T::try_from(value);
        parsed.map_err(|_| self.add(field, format!("{value} is not a known value"))).ok()
    }
}

/// Parses a CreateSettle; every violation at once.
pub fn create(
    request: v1::CreateSettleRequest,
    default_app: Option<&AppId>,
    duplicates: DuplicateReceivers,
) -> Result<ParsedCreate, Violations> {
    let mut bad = Violations::default();
    let by_default_app = request.app_id.is_empty();
    let app_id = app_id(&mut bad, request.app_id, default_app);
    let trade_system = trade_system(&mut bad, request.trade_system);
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
    let submit_before = optional_time(&mut bad, "submit_before", request.submit_before);
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
    Ok(ParsedCreate { key, by_default_app, content, submit_before, return_when })
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

pub(super) fn app_id(
    bad: &mut Violations,
    text: String,
    default_app: Option<&AppId>,
) -> Option<AppId> {
    match (text.is_empty(), default_app) {
        (true, Some(app_id)) => Some(app_id.clone()),
        (true, None) => {
            bad.add("app_id", "must not be empty: the gateway has no default app");
            None
        }
        (false, Some(_) | None) => bad.text("app_id", AppId::parse(text)),
    }
}

pub(super) fn trade_system(bad: &mut Violations, value: i32) -> Option<TradeSystem> {
    bad.enumeration("trade_system", value).map(enums::asked)
}

fn return_when(bad: &mut Violations, value: i32) -> Option<ReturnWhen> {
    match bad.enumeration("return_when", value)? {
        v1::ReturnWhen::Recorded => Some(ReturnWhen::Recorded),
        v1::ReturnWhen::Unspecified | v1::ReturnWhen::Accepted => Some(ReturnWhen::Accepted),
        v1::ReturnWhen::Final => Some(ReturnWhen::Final),
    }
}

fn optional_time(
    bad: &mut Violations,
    field: &str,
    time: Option<prost_types::Timestamp>,
) -> Option<Timestamp> {
    let time = time?;
    let ms = (0..1_000_000_000).contains(&time.nanos).then_some(time.nanos / 1_000_000);
    let ms = ms.and_then(|ms| time.seconds.checked_mul(1_000)?.checked_add(i64::from(ms)));
    if ms.is_none() {
        bad.add(field, "is not a valid time");
    }
    ms.map(Timestamp::from_ms)
}

/// Which settle a request names.
pub enum NameKey {
    OutSettleNo(String),
    /// The number as the gateway shows it, which may be one of Douyin's.
    ShownNumber(String),
    SettleId(String),
    Missing,
}

/// The contract has the same two keys in each request that names a settle, each time as another
/// type.
macro_rules! name_keys {
    ($($request:ident)*) => {$(
        impl From<Option<v1::$request::Key>> for NameKey {
            fn from(key: Option<v1::$request::Key>) -> Self {
                match key {
                    Some(v1::$request::Key::OutSettleNo(text)) => NameKey::OutSettleNo(text),
                    Some(v1::$request::Key::SettleId(text)) => NameKey::SettleId(text),
                    None => NameKey::Missing,
                }
            }
        }
    )*};
}

name_keys!(get_settle_request wait_settle_request watch_settle_request);

impl From<Option<v1::show_settle_request::Key>> for NameKey {
    fn from(key: Option<v1::show_settle_request::Key>) -> Self {
        match key {
            Some(v1::show_settle_request::Key::OutSettleNo(text)) => NameKey::ShownNumber(text),
            Some(v1::show_settle_request::Key::SettleId(text)) => NameKey::SettleId(text),
            None => NameKey::Missing,
        }
    }
}

/// Parses the name of a settle and `after_revision`; every violation at once.
pub fn name(
    app: String,
    trade: i32,
    key: NameKey,
    after_revision: i64,
    default_app: Option<&AppId>,
) -> Result<Name, Violations> {
    let mut bad = Violations::default();
    let app_id = app_id(&mut bad, app, default_app);
    let trade_system = trade_system(&mut bad, trade);
    if after_revision < 0 {
        bad.add("after_revision", "must not be negative");
    }
    let by_number = |number: Option<OutSettleNo>| {
        let named = app_id.clone().zip(trade_system).zip(number);
        named.map(|((app_id, trade_system), out_settle_no)| {
            Name::Key(Key { app_id, trade_system, out_settle_no })
        })
    };
    let name = match key {
        NameKey::Missing => {
            bad.add("key", "one of out_settle_no and settle_id is required");
            None
        }
        NameKey::OutSettleNo(text) => {
            by_number(bad.text("out_settle_no", OutSettleNo::parse(text)))
        }
        NameKey::ShownNumber(text) => {
            by_number(bad.text("out_settle_no", OutSettleNo::reported(text)))
        }
        NameKey::SettleId(text) => {
            let settle_id = bad.text("settle_id", SettleId::parse(text));
            app_id.zip(trade_system).zip(settle_id).map(|((app_id, trade_system), settle_id)| {
                Name::SettleId(app_id, trade_system, settle_id)
            })
        }
    };
    match name {
        Some(name) if bad.is_empty() => Ok(name),
        Some(_) | None => Err(bad),
    }
}

/// Parses a QuerySettles: which app and system, and by which key; every violation at once.
pub fn question(
    app: String,
    trade: i32,
    key: Option<v1::query_settles_request::Key>,
    default_app: Option<&AppId>,
) -> Result<(AppId, TradeSystem, Question), Violations> {
    use v1::query_settles_request::Key as By;
    let mut bad = Violations::default();
    let app_id = app_id(&mut bad, app, default_app);
    let trade_system = trade_system(&mut bad, trade);
    let question = match key {
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

/// Parses a GetUnsettledAmount; every violation at once.
pub fn unsettled_amount(
    request: v1::GetUnsettledAmountRequest,
    default_app: Option<&AppId>,
) -> Result<(AppId, TradeSystem, OutOrderNo), Violations> {
    let mut bad = Violations::default();
    let app_id = app_id(&mut bad, request.app_id, default_app);
    let trade_system = trade_system(&mut bad, request.trade_system);
    let order = bad.text("out_order_no", OutOrderNo::parse(request.out_order_no));
    match (app_id, trade_system, order) {
        (Some(app_id), Some(trade_system), Some(order)) => Ok((app_id, trade_system, order)),
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(bad),
    }
}

pub(super) fn amount_left(left: &AmountLeft) -> v1::GetUnsettledAmountResponse {
    v1::GetUnsettledAmountResponse {
        unsettled_amount_fen: left.amount.get(),
        paid_amount_fen: left.paid.map(Fen::get),
        refunded_amount_fen: left.refunded.map(Fen::get),
        payment_rake_fen: left.payment_rake.map(Fen::get),
        life_rake_fen: left.life_rake.map(Fen::get),
        commission_fen: left.commission.map(Fen::get),
    }
}

/// Settles in a page: when the caller does not say, and at most.
const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;

/// Parses a ListSettles; every violation at once.
pub fn list(
    request: v1::ListSettlesRequest,
    default_app: Option<&AppId>,
) -> Result<ListQuery, Violations> {
    let mut bad = Violations::default();
    let app_id = app_id(&mut bad, request.app_id, default_app);
    let out_order_no = bad.optional("out_order_no", request.out_order_no, OutOrderNo::parse);
    let mut states = Vec::new();
    for (i, value) in request.states.into_iter().enumerate() {
        let field = format!("states[{i}]");
        match bad.enumeration(&field, value) {
            Some(v1::SettleState::Unspecified) => bad.add(field, "must be a state"),
            Some(v1::SettleState::Submitting) => states.push(StateKind::Submitting),
            Some(v1::SettleState::Processing) => states.push(StateKind::Processing),
            Some(v1::SettleState::Succeeded) => states.push(StateKind::Succeeded),
            Some(v1::SettleState::Failed) => states.push(StateKind::Failed),
            Some(v1::SettleState::Rejected) => states.push(StateKind::Rejected),
            None => {}
        }
    }
    states.sort_unstable_by_key(|state| state.as_str());
    states.dedup();
    let from = optional_time(&mut bad, "create_time_from", request.create_time_from);
    let until = optional_time(&mut bad, "create_time_until", request.create_time_until);
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        bad.add("create_time_until", "must be later than create_time_from");
    }
    let settles_max = match u32::try_from(request.page_size) {
        Ok(0) => PAGE_DEFAULT,
        Ok(size) => size.min(PAGE_MAX),
        Err(_) => {
            bad.add("page_size", "must not be negative");
            PAGE_DEFAULT
        }
    };
    let Some(app_id) = app_id else {
        return Err(bad);
    };
    let mut query =
        ListQuery { app_id, out_order_no, states, from, until, after: None, settles_max };
    if !request.page_token.is_empty() {
        query.after = page::position(&query, &request.page_token);
        if query.after.is_none() {
            bad.add("page_token", "was not made by the gateway for these filters");
        }
    }
    if bad.is_empty() { Ok(query) } else { Err(bad) }
}

/// How often a watcher wants to hear something: between these two.
pub const HEARTBEAT_MS: (u64, u64) = (1_000, 600_000);

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

/// A record as callers see it.
pub fn settle(record: &Record) -> v1::Settle {
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
pub fn history_entry(entry: &HistoryEntry) -> v1::HistoryEntry {
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
