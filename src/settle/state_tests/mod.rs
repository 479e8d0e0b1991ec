//! Tests of the life cycle as docs/life-cycle.md prints it, cell by cell and rule by rule, written
//! from the rules and not from the code.
//!
//! [`table`] has one test per row of the table, [`rules`] and [`evidence`] one per rule below it,
//! [`alike`] numbers that Douyin takes for one, [`clocks`] the rules about time and processes,
//! [`disputes`] what an operator decides, [`proofs`] whose settle a report speaks of, [`steps`]
//! what a worker does next, [`mod@stuck`] which settles do not come to their end, [`mod@explain`]
//! what an operator is told about one, [`properties`] what holds for any sequence, [`traces`] the
//! model's shortest ways to pay twice, and [`explore`] plays every interleaving of a small world.
//! This module has what they share.

mod alike;
mod clocks;
mod decisions;
mod disputes;
mod ending;
mod evidence;
mod explain;
mod explore;
mod outside;
mod packed;
mod proofs;
mod properties;
mod rules;
mod setting;
mod steps;
mod stuck;
mod table;
mod traces;
mod world;

use std::time::Duration;

use super::content::tests::content;
use super::*;
use crate::clock::Timestamp;

/// From the first permission until a query must see the send: the call's total timeout and the
/// visibility grace.
const GRACE_OVER: i64 = 10 + 600;
const HOUR: i64 = 3_600;
const WINDOW_END: i64 = 72 * HOUR;
/// The last second at which a send may be permitted is the one before this.
const SENDING_ENDS: i64 = WINDOW_END - 600;

/// The process of these tests.
const ME: ProcessId = ProcessId(1);
/// Another process, whose clock is not comparable.
const OTHER: ProcessId = ProcessId(2);

/// Stands for the permission that has been open longest.
const SOME_OPEN: PermissionId = PermissionId { process: ProcessId(0), number: u64::MAX };

fn permission(process: ProcessId, number: u64, time: Timestamp) -> Permission {
    let id = PermissionId { process, number };
    Permission { id, time, lasts: Policy::default().call_timeout }
}

/// When the record's permissions were given, as far as this process knows.
fn given(record: &Record, now: Timestamp) -> Option<Timestamp> {
    FirstSeen::new(ME, None, 1).given(record, now)
}

fn context<'a>(record: &Record, now: Timestamp, policy: &'a Policy) -> Context<'a> {
    Context { now, given: given(record, now), policy, lease: Lease::Held, attempts: 10 }
}

/// Seconds after the settle was recorded.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + seconds * 1_000)
}

fn just_before(moment: Timestamp) -> Timestamp {
    moment.minus(Duration::from_millis(1))
}

fn key() -> Key {
    Key {
        app_id: AppId::parse("tt1").unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse("s-1").unwrap(),
    }
}

fn request(mark: Mark) -> Request {
    let sent_ext = Request::ext_for(&content(), mark);
    Request::new(content(), sent_ext, "{}".to_owned(), at(WINDOW_END))
}

fn id(text: &str) -> SettleId {
    SettleId::parse(text).unwrap()
}

fn accepted(settle_id: &str) -> Learned {
    Learned::Accepted(AcceptedIds {
        settle_id: id(settle_id),
        wallet_settle_id: None,
        inner_settle_id: None,
    })
}

fn failure(reason: Reason, err_no: i32) -> Failure {
    let douyin = DouyinError {
        err_no: Some(err_no),
        sub_err_no: None,
        err_msg: "said so".to_owned(),
        log_id: "log-1".to_owned(),
        http_status: 400,
    };
    Failure::said(reason, douyin)
}

fn no_money() -> Failure {
    failure(Reason::NoMoneyToSettle, 23112)
}

fn number_taken() -> Failure {
    failure(Reason::OutSettleNoExists, 23111)
}

fn refused() -> Learned {
    Learned::Refused(no_money())
}

fn timeout() -> Learned {
    Learned::Unknown(Failure::own(Reason::UpstreamTimeout))
}

fn system_error() -> Learned {
    Learned::Unknown(failure(Reason::SystemError, 23000))
}

fn unlisted(err_no: i32) -> Learned {
    Learned::Unlisted(failure(Reason::DouyinError, err_no))
}

fn not_sent() -> Learned {
    Learned::NotSent(Failure::own(Reason::UpstreamUnreachable))
}

fn exists() -> Learned {
    Learned::Exists(number_taken())
}

fn found(reports: impl IntoIterator<Item = Report>) -> Learned {
    Learned::Reported(reports.into_iter().collect())
}

/// A report that shows only that the settle exists.
fn bare(settle_id: &str, status: ReportedStatus) -> Report {
    let word = match status {
        ReportedStatus::Init => "INIT",
        ReportedStatus::Processing => "PROCESSING",
        ReportedStatus::Success => "SUCCESS",
        ReportedStatus::Fail => "FAIL",
        ReportedStatus::Unlisted => "FROZEN",
    };
    let facts = Facts { settle_status: Some(word.to_owned()), ..Facts::default() };
    Report { settle_id: id(settle_id), status, out_settle_no: None, item: None, facts }
}

/// A report that carries our mark.
fn ours(settle_id: &str, status: ReportedStatus) -> Report {
    let mut report = bare(settle_id, status);
    report.facts.cp_extra = Some(content().mark());
    report
}

/// A report of the same order that carries another mark.
fn theirs(settle_id: &str, status: ReportedStatus) -> Report {
    let mut report = bare(settle_id, status);
    report.facts.out_order_no = Some(content().out_order_no);
    report.facts.cp_extra = Some("sg1:00000000000000000000000000000000".to_owned());
    report
}

/// Douyin's answer to a send of ours whose permission is still open.
fn answer(learned: Learned) -> Observation {
    let source = Source::Create;
    let (scope, answers) = (Scope::Single, Some(SOME_OPEN));
    Observation { learned, source, begun: at(0), scope, answers, log_id: None, by: None }
}

/// The same for a send begun at this second.
fn answer_at(begun: i64, learned: Learned) -> Observation {
    Observation { begun: at(begun), ..answer(learned) }
}

/// The same without a definite answer to the send, or answering one that is not open.
fn again(seen: Observation) -> Observation {
    Observation { answers: None, ..seen }
}

/// A query by `out_settle_no`, begun at this second.
fn query(begun: i64, learned: Learned) -> Observation {
    query_at(at(begun), learned)
}

fn query_at(begun: Timestamp, learned: Learned) -> Observation {
    let (scope, answers) = (Scope::Number, None);
    Observation { learned, source: Source::Query, begun, scope, answers, log_id: None, by: None }
}

/// A query by `settle_id`, begun at this second.
fn query_by_id(begun: i64, learned: Learned) -> Observation {
    Observation { scope: Scope::Single, ..query(begun, learned) }
}

fn callback(report: Report) -> Observation {
    let (scope, answers) = (Scope::Single, None);
    let learned = found([report]);
    Observation {
        learned,
        source: Source::Callback,
        begun: at(0),
        scope,
        answers,
        log_id: None,
        by: None,
    }
}

/// One settle that is played: every step checks what must hold for any step.
#[derive(Clone)]
struct Play {
    record: Record,
    policy: Policy,
    now: Timestamp,
    lease: Lease,
    attempts: u32,
}

impl Play {
    /// A settle just recorded, its first send permitted.
    fn recorded() -> Self {
        Self::with(Mark::On)
    }

    fn with(mark: Mark) -> Self {
        Self {
            record: Record::submitted(key(), request(mark), permission(ME, 0, at(0))),
            policy: Policy::default(),
            now: at(0),
            lease: Lease::Held,
            attempts: 10,
        }
    }

    /// Starts from this record.
    fn of(record: &Record) -> Self {
        Self { record: record.clone(), ..Self::recorded() }
    }

    fn at(&mut self, seconds: i64) -> &mut Self {
        self.now = at(seconds);
        self
    }

    /// Applies an observation; returns the alert.
    fn see(&mut self, seen: &Observation) -> Option<Alert> {
        let context = Context {
            lease: self.lease,
            attempts: self.attempts,
            ..context(&self.record, self.now, &self.policy)
        };
        let mut seen = seen.clone();
        if seen.answers == Some(SOME_OPEN) {
            seen.answers = self.record.evidence.open.first().map(|permission| permission.id);
        }
        let Transition { record, alert } = transition(&self.record, &seen, &context);
        assert_counted(&self.record, &record);
        self.record = record;
        alert
    }

    /// Sees all of these and expects no alert.
    fn sees<'a>(&mut self, all: impl IntoIterator<Item = &'a Observation>) -> &mut Self {
        for seen in all {
            assert_eq!(self.see(seen), None, "{seen:?}");
        }
        self
    }

    /// Whether another send was permitted.
    fn sends(&mut self) -> bool {
        let number = u64::try_from(self.record.version).unwrap();
        let permission = permission(ME, number, self.now);
        let given = given(&self.record, self.now);
        match permit(&self.record, permission, given, &self.policy) {
            None => false,
            Some(record) => {
                assert_eq!(record.version, self.record.version + 1);
                assert_eq!(record.revision, self.record.revision, "a send is not news");
                assert_eq!(record.evidence.unanswered(), self.record.evidence.unanswered() + 1);
                assert_eq!(record.evidence.last_permission, Some(permission));
                self.record = record;
                true
            }
        }
    }

    fn kind(&self) -> StateKind {
        self.record.state.kind()
    }

    fn unanswered(&self) -> u32 {
        self.record.evidence.unanswered()
    }
}

/// An operator's decision at second 0.
fn decision() -> Decision {
    decision_of("ops", 0)
}

/// What this operator decided at this second.
fn decision_of(by: &str, seconds: i64) -> Decision {
    let why = Why::parse("Douyin's support says so").unwrap();
    Decision { by: CallerName::parse(by).ok(), why, time: at(seconds) }
}

/// What a caller can see of a record.
fn visible(record: &Record) -> impl PartialEq + std::fmt::Debug {
    let error = |failure: &Failure| {
        (failure.reason.clone(), failure.douyin.as_ref().map(|said| said.err_no))
    };
    (
        record.state.clone(),
        record.origin.clone(),
        record.facts.clone(),
        record.contradiction.clone(),
        record.decision.clone(),
        record.last_error.as_ref().map(error),
    )
}

/// Checks that `version` counts every write and `revision` every visible one, and that constant
/// fields stay.
fn assert_counted(before: &Record, after: &Record) {
    assert_eq!(after.key, before.key);
    assert_eq!(after.create_time, before.create_time);
    let grown = i64::from(after != before);
    assert_eq!(after.version, before.version + grown, "version");
    let news = i64::from(visible(after) != visible(before));
    assert_eq!(after.revision, before.revision + news, "revision of {after:#?}");
    if news == 0 {
        assert_eq!(after.update_time, before.update_time, "update_time");
    }
    assert!(after.evidence.unanswered() <= before.evidence.unanswered(), "only a permit adds");
    assert!(
        after.evidence.unanswered() + 1 >= before.evidence.unanswered()
            || after.origin == Origin::Platform,
        "one answer answers one send"
    );
}

fn submitting(unanswered: u32) -> Record {
    let mut play = Play::recorded();
    if unanswered == 0 {
        play.see(&answer(not_sent()));
    }
    for _ in 1..unanswered {
        assert!(play.sends());
    }
    assert_eq!((play.kind(), play.unanswered()), (StateKind::Submitting, unanswered));
    play.record
}

/// Submitting, with 23111 seen at second 0.
fn submitting_exists(unanswered: u32) -> Record {
    let mut play = Play::of(&submitting(unanswered + 1));
    play.sees(&[answer(exists())]);
    play.record
}

/// Douyin accepted it as `ots1`; `unanswered` other sends are in doubt.
fn processing(unanswered: u32) -> Record {
    let mut play = Play::of(&submitting(unanswered + 1));
    play.sees(&[answer(accepted("ots1"))]);
    play.record
}

fn succeeded() -> Record {
    let mut play = Play::of(&processing(0));
    play.sees(&[callback(ours("ots1", ReportedStatus::Success))]);
    play.record
}

fn failed() -> Record {
    let mut play = Play::of(&processing(0));
    play.sees(&[callback(ours("ots1", ReportedStatus::Fail))]);
    play.record
}

fn rejected() -> Record {
    let mut play = Play::recorded();
    play.sees(&[answer(refused())]);
    play.record
}

/// Rejected because an empty query after the grace made a refusal of a re-send final.
fn rejected_by_grace() -> Record {
    let mut play = Play::of(&submitting(2));
    play.sees(&[answer(refused())]);
    play.at(GRACE_OVER).sees(&[query(GRACE_OVER, Learned::Absent)]);
    assert_eq!((play.kind(), play.unanswered()), (StateKind::Rejected, 1));
    play.record
}
