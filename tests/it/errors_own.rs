//! The gateway's own reasons: each is provoked, from each of its RPCs and with each of its
//! outcomes, and compared whole with `snapshots/errors_own.txt`.

mod decisions;
pub mod ends;
mod provoked;
mod stack;
mod store;
mod upstream;
mod watches;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use douyin_sim::{Status, StrangerSettle};
use settlement_gateway::config::Config;
use settlement_gateway::grpc::reasons::{self, Row};
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1::{
    self, get_settle_request, query_settles_request, show_settle_request,
};
use settlement_gateway::settle::Reason;

use crate::harness::{
    APP_ID, Gateway, create_on, create_request, simulator, watch_request, within,
};
use crate::printed::assert_printed;
use crate::raw::{Call, Raw, Wire};
use crate::told::Told;
use crate::trailers::told_raw;

/// What an RPC said when a test asked for it.
type Provoked = Vec<(Rpc, Told)>;

/// A gateway, and a connection to it.
pub struct Edge {
    pub gateway: Gateway,
    pub wire: Wire,
}

impl Edge {
    pub async fn spawn(tune: fn(&mut Config)) -> Self {
        let gateway = Gateway::spawn_with(simulator().await, tune).await;
        let wire = Wire::connect(&gateway.url).await;
        Self { gateway, wire }
    }

    /// What an RPC answers to a call that must fail.
    pub async fn told(&self, rpc: Rpc, call: Call) -> (Rpc, Told) {
        let raw = self.wire.call(call).await.expect("the server answers");
        (rpc, told_raw(&raw, Some(rpc)))
    }

    /// The same call to each of these RPCs, one after the other.
    async fn each(&self, rpcs: &[Rpc], call: impl Fn(Rpc) -> Call) -> Provoked {
        let mut provoked = Vec::new();
        for rpc in rpcs {
            provoked.push(self.told(*rpc, call(*rpc)).await);
        }
        provoked
    }

    /// Makes a call that does not end by itself.
    fn begin(&self, call: Call) -> tokio::task::JoinHandle<Result<Raw, hyper::Error>> {
        let wire = self.wire.clone();
        tokio::spawn(async move { wire.call(call).await })
    }
}

/// A right request about this settle. GetSettle asks Douyin.
pub fn asking(rpc: Rpc, number: &str) -> Call {
    match rpc {
        Rpc::CreateSettle => Call::of(rpc, &create_request(number)),
        Rpc::WatchSettle => Call::of(rpc, &watch_request(number, 0)),
        Rpc::WaitSettle => Call::of(rpc, &wait_request(number, 0)),
        Rpc::GetSettle => Call::of(rpc, &v1::GetSettleRequest { refresh: true, ..get(number) }),
        Rpc::QuerySettles => Call::of(rpc, &query_request(number)),
        Rpc::ListSettles => Call::of(rpc, &list_request()),
        Rpc::GetUnsettledAmount => Call::of(rpc, &left_request(number)),
        Rpc::ShowSettle => Call::of(rpc, &show_request(number)),
        Rpc::ListStuckSettles => Call::of(rpc, &stuck_request()),
        Rpc::ResolveContradiction => Call::of(rpc, &resolve_request(number, 1)),
        Rpc::StopSending => Call::of(rpc, &stop_request(number, 1)),
        Rpc::EndSettle => Call::of(rpc, &end_request(number, 1)),
    }
}

/// A right request about this settle. GetSettle reads only.
fn reading(rpc: Rpc, number: &str) -> Call {
    if rpc == Rpc::GetSettle { Call::of(rpc, &get(number)) } else { asking(rpc, number) }
}

fn wait_request(number: &str, after_revision: i64) -> v1::WaitSettleRequest {
    v1::WaitSettleRequest {
        app_id: APP_ID.to_owned(),
        key: Some(v1::wait_settle_request::Key::OutSettleNo(number.to_owned())),
        after_revision,
        ..Default::default()
    }
}

fn get(number: &str) -> v1::GetSettleRequest {
    let key = Some(get_settle_request::Key::OutSettleNo(number.to_owned()));
    v1::GetSettleRequest { app_id: APP_ID.to_owned(), key, ..Default::default() }
}

fn query_request(number: &str) -> v1::QuerySettlesRequest {
    let key = Some(query_settles_request::Key::OutSettleNo(number.to_owned()));
    v1::QuerySettlesRequest { app_id: APP_ID.to_owned(), key, ..Default::default() }
}

fn left_request(order: &str) -> v1::GetUnsettledAmountRequest {
    v1::GetUnsettledAmountRequest {
        app_id: APP_ID.to_owned(),
        out_order_no: order.to_owned(),
        ..Default::default()
    }
}

fn list_request() -> v1::ListSettlesRequest {
    v1::ListSettlesRequest { app_id: APP_ID.to_owned(), ..Default::default() }
}

fn show_request(number: &str) -> v1::ShowSettleRequest {
    let key = Some(show_settle_request::Key::OutSettleNo(number.to_owned()));
    v1::ShowSettleRequest { app_id: APP_ID.to_owned(), key, ..Default::default() }
}

fn stuck_request() -> v1::ListStuckSettlesRequest {
    v1::ListStuckSettlesRequest { app_id: APP_ID.to_owned(), ..Default::default() }
}

pub fn resolve_request(number: &str, revision: i64) -> v1::ResolveContradictionRequest {
    v1::ResolveContradictionRequest {
        app_id: APP_ID.to_owned(),
        out_settle_no: number.to_owned(),
        revision,
        keep: v1::KeptWord::Claimed.into(),
        why: "Douyin's support says so".to_owned(),
        ..Default::default()
    }
}

pub fn stop_request(number: &str, revision: i64) -> v1::StopSendingRequest {
    v1::StopSendingRequest {
        app_id: APP_ID.to_owned(),
        out_settle_no: number.to_owned(),
        revision,
        why: "Douyin's support says so".to_owned(),
        ..Default::default()
    }
}

pub fn end_request(number: &str, revision: i64) -> v1::EndSettleRequest {
    v1::EndSettleRequest {
        app_id: APP_ID.to_owned(),
        out_settle_no: number.to_owned(),
        revision,
        confirm_out_settle_no: number.to_owned(),
        outcome: v1::EndOutcome::Rejected.into(),
        why: "Douyin's support says so".to_owned(),
        ..Default::default()
    }
}

/// The RPCs that ask Douyin about any settle. EndSettle does it only after a stop.
fn asking_at_once() -> Vec<Rpc> {
    Rpc::ASKING.iter().copied().filter(|rpc| *rpc != Rpc::EndSettle).collect()
}

async fn provoke(reason: &str) -> Provoked {
    match reason {
        "ACCEPTED_WITHOUT_ID" => upstream::accepted_without_id().await,
        "APP_NOT_CONFIGURED" => provoked::app_not_configured().await,
        "BUDGET_EXHAUSTED" => Box::pin(ends::budget_exhausted()).await,
        "COMPRESSION_NOT_SUPPORTED" => stack::compression_not_supported().await,
        "CONTRADICTION_NOT_OPEN" => decisions::contradiction_not_open().await,
        "DEADLINE_REACHED" => stack::deadline_reached().await,
        "DECISION_NOT_ALLOWED" => decisions::decision_not_allowed().await,
        "DOUYIN_SAYS_OTHERWISE" => Box::pin(ends::douyin_says_otherwise()).await,
        "END_TOO_EARLY" => Box::pin(ends::end_too_early()).await,
        "FORBIDDEN" => provoked::forbidden().await,
        // See ELSEWHERE.
        "ENDED_BY_OPERATOR" => Vec::new(),
        "INVALID_REQUEST" => provoked::invalid_request().await,
        "NEWER_VERSION" => store::newer_version().await,
        "NOT_SHOWN_YET" => upstream::not_shown_yet().await,
        "OUT_SETTLE_NO_CONFLICT" => provoked::out_settle_no_conflict().await,
        "OVERLOADED" => stack::overloaded().await,
        "REQUEST_MALFORMED" => stack::request_malformed().await,
        "REQUEST_TOO_LARGE" => stack::request_too_large().await,
        "REVISION_FROM_FUTURE" => watches::revision_from_future().await,
        "REVISION_CHANGED" => Box::pin(ends::revision_changed()).await,
        "SENDING_NOT_STOPPED" => Box::pin(ends::sending_not_stopped()).await,
        "SERVER_DRAINING" => watches::server_draining().await,
        "SETTLE_FINAL" => Box::pin(ends::settle_final()).await,
        "SETTLE_NOT_IN_DOUBT" => Box::pin(ends::settle_not_in_doubt()).await,
        "SETTLE_NOT_FOUND" => watches::settle_not_found().await,
        "SLOW_CONSUMER" => watches::slow_consumer().await,
        "STOP_NOT_CONFIRMED" => Box::pin(ends::stop_not_confirmed()).await,
        "STORE_UNAVAILABLE" => store::store_unavailable().await,
        "STREAM_ROTATED" => watches::stream_rotated().await,
        "SUBMISSION_EXPIRED" => provoked::submission_expired().await,
        "SYSTEM_HAS_NO_CREATE" => provoked::system_has_no_create().await,
        "SYSTEM_HAS_NO_UNSETTLED_AMOUNT" => provoked::no_unsettled_amount().await,
        "TIME_LIMIT_REACHED" => stack::time_limit_reached().await,
        "TRADE_SYSTEM_NOT_CONFIGURED" => provoked::trade_system_not_configured().await,
        "UNAUTHENTICATED" => provoked::unauthenticated().await,
        "UPSTREAM_UNAVAILABLE" => Box::pin(upstream::upstream_unavailable()).await,
        "WATCH_LIMIT_REACHED" => watches::watch_limit_reached().await,
        other => panic!("no test provokes {other}: a row states what can happen"),
    }
}

/// Reasons that no RPC answers, or that another test provokes.
const ELSEWHERE: &[(&str, &str)] = &[
    // `an_error_of_what_the_contract_does_not_have_has_the_shape_too` in errors_stack.rs.
    ("NAME_NOT_FOUND", "no RPC"),
    ("RPC_NOT_FOUND", "no RPC"),
    // `what_an_operator_ended_is_refused_and_never_sent_again` in errors_truth/ended.rs.
    ("ENDED_BY_OPERATOR", "CreateSettle refused"),
    // `a_contradiction_is_named_in_the_history`, below.
    ("CONTRADICTION", "no RPC"),
];

/// Needs a bug put in by hand. `a_panic_is_an_error_like_any_other` in
/// src/grpc/server/shape/tests.rs goes through its row.
const BUG: Reason = Reason::InternalError;

/// The cells of a row: who answers it, and with which outcome.
fn cells(row: &Row) -> BTreeSet<String> {
    let mut cells = BTreeSet::new();
    for rpc in row.rpcs {
        if *rpc == Rpc::CreateSettle {
            let outcomes = row.outcomes.iter().map(|it| it.as_str());
            cells.extend(outcomes.map(|outcome| format!("CreateSettle {outcome}")));
        } else {
            cells.insert(rpc.name().to_owned());
        }
    }
    if row.rpcs.is_empty() {
        cells.insert("no RPC".to_owned());
    }
    cells
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_comes_from_each_of_its_rpcs_with_each_of_its_outcomes() {
    let mut tasks = Vec::new();
    let answered = reasons::TABLE.iter().filter(|row| !row.rpcs.is_empty());
    for row in answered.filter(|row| row.reason != BUG) {
        tasks.push((row, tokio::spawn(provoke(row.reason.as_str()))));
    }
    let mut text = String::new();
    for (row, task) in tasks {
        let provoked = task.await.unwrap_or_else(|_| panic!("{:?} was not provoked", row.reason));
        let mut seen = BTreeSet::new();
        for (rpc, told) in &provoked {
            assert_eq!(told.reason(), row.reason.as_str(), "{} {told:?}", rpc.name());
            let cell = format!("{} {}", rpc.name(), told.outcome());
            seen.insert(cell.trim_end().to_owned());
            let delay = told.retry_after.map(|delay| format!("{delay:?}")).unwrap_or_default();
            let hide = [(told.metadata("log_id"), "<log id>"), (delay.as_str(), "<delay>")];
            let _ = write!(text, "== {}\n{}\n", cell.trim_end(), told.render(&hide));
        }
        let elsewhere = ELSEWHERE.iter().filter(|(reason, _)| *reason == row.reason.as_str());
        seen.extend(elsewhere.map(|(_, cell)| (*cell).to_owned()));
        assert_eq!(seen, cells(row), "{:?}", row.reason);
    }
    assert_printed("tests/it/snapshots/errors_own.txt", "", "", &text);
}

#[test]
fn what_is_provoked_elsewhere_is_in_the_table() {
    for (reason, cell) in ELSEWHERE {
        assert!(
            cells(reasons::row(Reason::parse(reason).unwrap()).unwrap()).contains(*cell),
            "{reason} {cell}"
        );
    }
    let nowhere = reasons::TABLE.iter().filter(|row| row.rpcs.is_empty());
    for row in nowhere {
        assert!(
            ELSEWHERE.iter().any(|(reason, _)| *reason == row.reason.as_str()),
            "{:?}",
            row.reason
        );
    }
}

#[tokio::test]
async fn a_contradiction_is_named_in_the_history() {
    let edge = Edge::spawn(|_| {}).await;
    decisions::disputed(&edge, "two-words").await;
    let told = edge.gateway.get_full("two-words").await.unwrap();
    let error = told.history.last().unwrap().error.clone().expect("the last entry tells of it");
    assert_eq!((error.reason.as_str(), error.retry()), ("CONTRADICTION", v1::Retry::AfterChange));
}

/// At its deadline a caller's stream ends with a status, not with a cut.
#[tokio::test]
async fn a_stream_ends_before_its_callers_deadline_and_says_so() {
    let limit = |config: &mut Config| config.grpc.unary_limit = std::time::Duration::from_secs(1);
    let edge = Edge::spawn(limit).await;
    edge.gateway.create(create_on("long", "sim-hold-1")).await.unwrap();
    // Longer than the limit of unary calls, which is none of a stream.
    let timeout = std::time::Duration::from_secs(3);
    let call = asking(Rpc::WatchSettle, "long").timeout(timeout);
    let began = std::time::Instant::now();
    let raw = edge.wire.call(call).await.unwrap();
    assert!(began.elapsed() < timeout, "{:?}", began.elapsed());
    assert!(!raw.body.is_empty(), "the current state came first");
    let told = told_raw(&raw, Some(Rpc::WatchSettle));
    assert_eq!((told.reason(), told.metadata("out_settle_no")), ("DEADLINE_REACHED", "long"));
}

/// Otherwise all of them would come to the next replica in the same second.
#[tokio::test]
async fn watchers_that_are_cut_off_together_are_told_different_delays() {
    let mut edge = Edge::spawn(|_| {}).await;
    edge.gateway.create(create_on("held", "sim-hold-1")).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..20 {
        let watch = edge.wire.open(asking(Rpc::WatchSettle, "held")).await.unwrap();
        watches.push(watch);
    }
    let (_, delays) = tokio::join!(edge.gateway.stop(), async {
        let mut delays = BTreeSet::new();
        for (http, headers, body) in watches {
            let raw = within("the end of a watch", Raw::read(http, headers, body)).await.unwrap();
            let told = told_raw(&raw, Some(Rpc::WatchSettle));
            assert_eq!(told.reason(), "SERVER_DRAINING");
            delays.insert(told.retry_after.unwrap().as_millis());
        }
        delays
    });
    assert!(delays.len() >= 15, "{delays:?}");
    assert!(delays.iter().all(|ms| (1_000..=5_000).contains(ms)), "{delays:?}");
    let span = delays.last().unwrap() - delays.first().unwrap();
    assert!(span >= 1_500, "{delays:?}");
}

/// Another system's settle under a number of ours: the metadata names what was found.
#[tokio::test]
async fn a_number_that_is_taken_is_told_with_the_settle_that_has_it() {
    let edge = Edge::spawn(|_| {}).await;
    let stranger = StrangerSettle {
        out_order_no: "another-order".to_owned(),
        cp_extra: "theirs".to_owned(),
        status: Status::Processing,
        ..StrangerSettle::default()
    };
    let settle_id = edge.gateway.sim.stranger_settle(APP_ID, "taken", stranger);
    let (_, told) = edge.told(Rpc::CreateSettle, asking(Rpc::CreateSettle, "taken")).await;
    assert_eq!((told.reason(), told.outcome()), ("OUT_SETTLE_NO_EXISTS", "refused"));
    assert_eq!(told.metadata("settle_id"), settle_id);
    assert_eq!(told.resource.unwrap().resource_name, "taken");
    assert_eq!(told.retry_after, None);
    assert_eq!(told.douyin.unwrap().err_no, Some(23111));
}

/// Waits for a call that was begun.
async fn ended(call: tokio::task::JoinHandle<Result<Raw, hyper::Error>>, rpc: Rpc) -> (Rpc, Told) {
    let raw = within("the end of a call", call).await.unwrap().expect("the server answers");
    (rpc, told_raw(&raw, Some(rpc)))
}
