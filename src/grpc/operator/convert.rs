//! Between the operators' contract and the domain.

use super::super::convert::{app_id, history_entry, settle, settle_error, trade_system};
use super::super::enums::{self, state};
use super::super::reasons::Outcome;
use super::super::time::time;
use super::super::violations::Violations;
use crate::gateway::{IfUnanswered, Shown, Stopping, StuckReport, StuckSettle};
use crate::proto::v1;
use crate::settle::{AppId, End, Key, OutSettleNo, Record, SettleId, Verdict, Why};

/// Stuck settles in an answer: when the caller does not say, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// A ListStuckSettles whose fields are all right.
#[derive(Clone, Debug)]
pub(super) struct StuckQuery {
    /// `None`: all apps.
    pub(super) app_id: Option<AppId>,
    limit: usize,
}

/// A ResolveContradiction whose fields are all right.
#[derive(Clone, Debug)]
pub(super) struct Resolve {
    pub(super) key: Key,
    pub(super) revision: i64,
    pub(super) verdict: Verdict,
    pub(super) why: Why,
}

/// A StopSending whose fields are all right.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) key: Key,
    pub(super) revision: i64,
    pub(super) why: Why,
}

/// An EndSettle whose fields are all right.
#[derive(Clone, Debug)]
pub(super) struct EndOf {
    pub(super) key: Key,
    pub(super) revision: i64,
    pub(super) end: End,
    pub(super) if_unanswered: IfUnanswered,
    pub(super) why: Why,
}

/// Parses a ListStuckSettles; every violation at once.
pub(super) fn stuck_query(request: v1::ListStuckSettlesRequest) -> Result<StuckQuery, Violations> {
    let mut bad = Violations::default();
    let app_id = bad.optional("app_id", request.app_id, AppId::parse);
    let limit = match usize::try_from(request.limit) {
        Ok(0) => LIMIT_DEFAULT,
        Ok(limit) => limit.min(LIMIT_MAX),
        Err(_) => {
            bad.add("limit", "must not be negative");
            LIMIT_DEFAULT
        }
    };
    if bad.is_empty() { Ok(StuckQuery { app_id, limit }) } else { Err(bad) }
}

/// Parses a ResolveContradiction; every violation at once.
pub(super) fn resolve(
    request: v1::ResolveContradictionRequest,
    default_app: Option<&AppId>,
) -> Result<Resolve, Violations> {
    let mut bad = Violations::default();
    let v1::ResolveContradictionRequest {
        app_id,
        trade_system,
        out_settle_no,
        revision,
        keep,
        why,
    } = request;
    let key = key(&mut bad, (app_id, trade_system, out_settle_no), default_app);
    check_revision(&mut bad, revision);
    let verdict = match bad.enumeration("keep", keep) {
        Some(v1::KeptWord::Recorded) => Some(Verdict::Recorded),
        Some(v1::KeptWord::Claimed) => Some(Verdict::Claimed),
        Some(v1::KeptWord::Unspecified) => {
            bad.add("keep", "must say which word stands");
            None
        }
        None => None,
    };
    let why = bad.text("why", Why::parse(why));
    match (key, verdict, why) {
        (Some(key), Some(verdict), Some(why)) if bad.is_empty() => {
            Ok(Resolve { key, revision, verdict, why })
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(bad),
    }
}

/// Parses a StopSending; every violation at once.
pub(super) fn stop(
    request: v1::StopSendingRequest,
    default_app: Option<&AppId>,
) -> Result<Stop, Violations> {
    let mut bad = Violations::default();
    let v1::StopSendingRequest { app_id, trade_system, out_settle_no, revision, why } = request;
    let key = key(&mut bad, (app_id, trade_system, out_settle_no), default_app);
    check_revision(&mut bad, revision);
    let why = bad.text("why", Why::parse(why));
    match (key, why) {
        (Some(key), Some(why)) if bad.is_empty() => Ok(Stop { key, revision, why }),
        (Some(_) | None, Some(_) | None) => Err(bad),
    }
}

/// Parses an EndSettle; every violation at once.
pub(super) fn end(
    request: v1::EndSettleRequest,
    default_app: Option<&AppId>,
) -> Result<EndOf, Violations> {
    let mut bad = Violations::default();
    let v1::EndSettleRequest {
        app_id,
        trade_system,
        out_settle_no,
        revision,
        confirm_out_settle_no,
        outcome,
        settle_id,
        why,
        although_unanswered,
    } = request;
    let if_unanswered = if although_unanswered { IfUnanswered::End } else { IfUnanswered::Refuse };
    if confirm_out_settle_no != out_settle_no {
        bad.add("confirm_out_settle_no", "must be the same number as out_settle_no");
    }
    let key = key(&mut bad, (app_id, trade_system, out_settle_no), default_app);
    check_revision(&mut bad, revision);
    let end = outcome_of(&mut bad, outcome, settle_id);
    let why = bad.text("why", Why::parse(why));
    match (key, end, why) {
        (Some(key), Some(end), Some(why)) if bad.is_empty() => {
            Ok(EndOf { key, revision, end, if_unanswered, why })
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(bad),
    }
}

fn check_revision(bad: &mut Violations, revision: i64) {
    if revision < 1 {
        bad.add("revision", "must be the revision that ShowSettle showed");
    }
}

fn outcome_of(bad: &mut Violations, outcome: i32, settle_id: String) -> Option<End> {
    let outcome = bad.enumeration("outcome", outcome)?;
    match outcome {
        v1::EndOutcome::Unspecified => {
            bad.add("outcome", "must say how the settle ended");
            None
        }
        v1::EndOutcome::Rejected if settle_id.is_empty() => Some(End::Rejected),
        v1::EndOutcome::Rejected => {
            bad.add("settle_id", "must be empty: a settle that Douyin never took has none");
            None
        }
        v1::EndOutcome::Succeeded => {
            let settle_id = bad.text("settle_id", SettleId::parse(settle_id))?;
            Some(End::Succeeded { settle_id })
        }
        v1::EndOutcome::Failed => {
            let settle_id = bad.text("settle_id", SettleId::parse(settle_id))?;
            Some(End::Failed { settle_id })
        }
    }
}

/// A settle of which nothing is sent any more.
pub(super) fn stopped(stopping: &Stopping) -> v1::StopSendingResponse {
    v1::StopSendingResponse {
        settle: Some(settle(&stopping.record)),
        // A wait is hours at most.
        wait: prost_types::Duration::try_from(stopping.wait).ok(),
    }
}

/// The settle that a decision is about, by its number as the gateway shows it.
fn key(
    bad: &mut Violations,
    (app, trade, number): (String, i32, String),
    default_app: Option<&AppId>,
) -> Option<Key> {
    let app_id = app_id(bad, app, default_app);
    let trade_system = trade_system(bad, trade);
    let out_settle_no = bad.text("out_settle_no", OutSettleNo::reported(number));
    let (app_id, trade_system, out_settle_no) = (app_id?, trade_system?, out_settle_no?);
    Some(Key { app_id, trade_system, out_settle_no })
}

/// A settle with all that is known of it.
pub(super) fn shown(shown: &Shown) -> v1::ShowSettleResponse {
    v1::ShowSettleResponse {
        settle: Some(settle(&shown.record)),
        history: shown.history.iter().map(history_entry).collect(),
        evidence: Some(evidence(&shown.record, shown.attempts)),
        outlook: Some(v1::SettleOutlook {
            explanation: shown.explanation.words.clone(),
            until: shown.explanation.until.map(time),
            next_check_time: shown.next_check.map(time),
            stuck_kind: shown.stuck.map(|kind| kind.as_str().to_owned()),
        }),
    }
}

fn evidence(record: &Record, attempts: u32) -> v1::SettleEvidence {
    let evidence = &record.evidence;
    let unlisted = evidence.unlisted.as_ref();
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    v1::SettleEvidence {
        unanswered_sends: count(evidence.unanswered()),
        last_send_time: evidence.last_permission.map(|permission| time(permission.time)),
        exists_since: evidence.exists_seen.map(time),
        refused: evidence.refused.as_ref().map(|failure| settle_error(failure, Outcome::Unknown)),
        failed_settle_id: evidence.failed.last().map(SettleId::to_string),
        unlisted: unlisted.map(|seen| settle_error(&seen.failure, Outcome::Unknown)),
        unlisted_times: unlisted.map_or(0, |seen| count(seen.times)),
        set_back: evidence.set_back,
        sending_stopped: evidence.stopped,
        stop_confirmed: evidence.stop_confirmed,
        attempts: count(attempts),
        sent_ext: record.request().and_then(|request| request.sent_ext.clone()),
    }
}

/// What the last look at all settles found, as far as the caller may know it.
pub(super) fn stuck(
    report: StuckReport,
    query: &StuckQuery,
    may_know: impl Fn(&AppId) -> bool,
) -> v1::ListStuckSettlesResponse {
    let is_told = |app_id: &AppId| {
        query.app_id.as_ref().is_none_or(|asked| asked == app_id) && may_know(app_id)
    };
    let counts = report.counts.iter().filter(|((app_id, _), _)| is_told(app_id));
    let counts = counts.map(|((app_id, kind), settles)| v1::StuckCount {
        app_id: app_id.to_string(),
        kind: kind.as_str().to_owned(),
        settles: i64::from(*settles),
    });
    let counts: Vec<_> = counts.collect();
    let settles = report.settles.iter().filter(|settle| is_told(&settle.key.app_id));
    let settles: Vec<_> = settles.take(query.limit).map(stuck_settle).collect();
    let total: i64 = counts.iter().map(|count| count.settles).sum();
    let listed = i64::try_from(settles.len()).unwrap_or(i64::MAX);
    let unlisted = total.saturating_sub(listed);
    v1::ListStuckSettlesResponse { looked_time: report.at.map(time), counts, settles, unlisted }
}

fn stuck_settle(settle: &StuckSettle) -> v1::StuckSettle {
    v1::StuckSettle {
        app_id: settle.key.app_id.to_string(),
        trade_system: enums::trade_system(settle.key.trade_system).into(),
        out_settle_no: settle.key.out_settle_no.to_string(),
        kind: settle.kind.as_str().to_owned(),
        state: settle.state.map_or(v1::SettleState::Unspecified, state).into(),
        since_time: Some(time(settle.since)),
    }
}
