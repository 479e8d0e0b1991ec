//! Records and operations for tests of stores.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::settle::*;
use crate::store::{Claim, ClaimLimits, Error, Fence, Insert, NewDue, Store, Swap};

/// When every test begins.
pub(in crate::store) const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

/// The fence that the insert of a record of version 1 gives to its creator.
pub(in crate::store) const FIRST_FENCE: Fence = Fence(1);

pub(in crate::store) fn after_ms(ms: u64) -> Timestamp {
    NOW.plus(Duration::from_millis(ms))
}

pub(in crate::store) fn before_ms(ms: u64) -> Timestamp {
    NOW.minus(Duration::from_millis(ms))
}

pub(in crate::store) fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

pub(in crate::store) fn key(number: &str) -> Key {
    key_of("tt01", number)
}

pub(in crate::store) fn key_of(app_id: &str, number: &str) -> Key {
    Key {
        app_id: app(app_id),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse(number).unwrap(),
    }
}

pub(in crate::store) fn settle_id(text: &str) -> SettleId {
    SettleId::parse(text).unwrap()
}

/// A failure with everything that Douyin may say.
pub(in crate::store) fn failure(err_no: i32) -> Failure {
    let said = DouyinError {
        err_no: Some(err_no),
        sub_err_no: Some(-1),
        err_msg: "余额不足 \"quoted\" \\ \u{1F4B0}".to_owned(),
        log_id: "2026081500".to_owned(),
        http_status: 200,
    };
    Failure::said(Reason::NoMoneyToSettle, said)
}

fn content() -> Content {
    let receiver = |uid: &str, fen| SettleParam {
        merchant_uid: MerchantUid::parse(uid).unwrap(),
        amount: Fen::new(fen),
    };
    Content {
        out_order_no: OutOrderNo::parse("order-1").unwrap(),
        item_order_id: Some(ItemOrderId::parse("item-1").unwrap()),
        settle_desc: SettleDesc::parse("门店分账\nline 2").unwrap(),
        settle_params: vec![receiver("7002", i64::MAX), receiver("7001", 1)],
        ext: Some(Ext::parse("caller's own").unwrap()),
        notify_url: Some(NotifyUrl::parse("https://pay.example/cb").unwrap()),
    }
}

pub(in crate::store) fn request() -> Request {
    let body = "{\"out_settle_no\":\"1\"}".to_owned();
    Request::new(content(), Some("caller's own".to_owned()), body, after_ms(72 * 3_600_000))
}

pub(in crate::store) fn caller(name: &str) -> CallerName {
    CallerName::parse(name).unwrap()
}

pub(in crate::store) fn why(reason: &str) -> Why {
    Why::parse(reason).unwrap()
}

pub(in crate::store) fn permission(number: u64) -> Permission {
    Permission {
        id: PermissionId { process: ProcessId(u64::MAX), number },
        time: NOW,
        lasts: Duration::from_secs(10),
    }
}

/// As a create records it: submitting, the first send permitted.
pub(in crate::store) fn submitted(key: Key) -> Record {
    Record::submitted(key, request(), permission(0))
}

/// Learned from Douyin.
pub(in crate::store) fn adopted(key: Key, state: State) -> Record {
    Record {
        key,
        origin: Origin::Platform,
        state,
        facts: full_facts(),
        evidence: Evidence::default(),
        last_error: None,
        contradiction: None,
        decision: None,
        version: 1,
        revision: 1,
        create_time: NOW,
        update_time: NOW,
    }
}

/// Facts with every field set, each to a value of its own.
pub(in crate::store) fn full_facts() -> Facts {
    Facts {
        wallet_settle_id: Some(WalletSettleId::parse("wallet-1").unwrap()),
        inner_settle_id: Some(InnerSettleId::parse("inner-1").unwrap()),
        order_id: Some(OrderId::parse("mot1").unwrap()),
        out_order_no: Some(OutOrderNo::parse("fact-order").unwrap()),
        item_order_id: Some(ItemOrderId::parse("fact-item").unwrap()),
        cp_extra: Some("sg1:00".to_owned()),
        settle_status: Some("SUCCESS".to_owned()),
        settle_amount: Some(Fen::new(1_001)),
        rake: Some(Fen::new(-2)),
        commission: Some(Fen::new(0)),
        platform_ticket: Some(Fen::new(i64::MIN)),
        settle_detail: Some("7001:120".to_owned()),
        message: Some(String::new()),
        settle_time: Some(after_ms(7)),
        auto_settle: Some(false),
    }
}

/// Evidence with every field set, each to a value of its own.
pub(in crate::store) fn full_evidence() -> Evidence {
    Evidence {
        open: vec![permission(1), permission(2)],
        lost: 3,
        last_permission: Some(permission(u64::MAX)),
        set_back: true,
        stopped: true,
        stop_confirmed: true,
        exists_seen: Some(after_ms(2)),
        refused: Some(failure(23112)),
        failed: vec![settle_id("ots-failed")],
        unlisted: Some(Unlisted { failure: failure(99_999), times: u32::MAX }),
        empties_after_expiry: 2,
        last_counted: Some(after_ms(4)),
    }
}

/// The next write of a record: a version more, and whatever `change` does.
pub(in crate::store) fn next(record: &Record, change: impl FnOnce(&mut Record)) -> Record {
    let mut next = record.clone();
    next.version += 1;
    change(&mut next);
    next
}

/// A swap of a fact: no lease, no history, the due row as it is.
pub(in crate::store) fn fact(record: Record) -> Swap {
    Swap { record, history: None, due: Due::Keep, lease: None, absorbed: None }
}

pub(in crate::store) fn under(fence: Fence) -> Option<Fence> {
    Some(fence)
}

// Moments of the store's clock, which stands at `NOW` unless a test sets it.

pub(in crate::store) fn due_now() -> NewDue {
    NewDue::In(Duration::ZERO)
}

pub(in crate::store) fn due_then(moment: Timestamp) -> NewDue {
    NewDue::In(moment.since(NOW))
}

pub(in crate::store) fn leased_until(moment: Timestamp) -> NewDue {
    NewDue::Leased { lease: moment.since(NOW) }
}

pub(in crate::store) fn not_later(moment: Timestamp) -> Due {
    Due::NotLater { wait: moment.since(NOW) }
}

pub(in crate::store) fn extend_until(moment: Timestamp) -> Due {
    Due::Extend { lease: moment.since(NOW) }
}

pub(in crate::store) fn rest_until(moment: Timestamp) -> Release {
    Release { wait: moment.since(NOW), attempts: 4, backoff: 2 }
}

/// Does something at a moment of the store's clock, which is set back afterwards.
pub(in crate::store) async fn at<T>(
    store: &Store,
    moment: Timestamp,
    operation: impl Future<Output = T>,
) -> T {
    let by_ms = moment.as_ms() - store.clock().now().as_ms();
    store.clock().jump_ms(by_ms);
    let answer = operation.await;
    store.clock().jump_ms(-by_ms);
    answer
}

pub(in crate::store) async fn due_at(store: &Store, key: &Key) -> Result<Option<Timestamp>, Error> {
    let scheduled = store.scheduled(key).await?;
    Ok(scheduled.map(|scheduled| store.clock().now().plus(scheduled.wait)))
}

pub(in crate::store) async fn next_due(
    store: &Store,
    app_id: &AppId,
) -> Result<Option<Timestamp>, Error> {
    let due_in = store.next_due(app_id).await?;
    Ok(due_in.map(|wait| store.clock().now().plus(wait)))
}

/// The settle with Douyin's number in the app and the trade system of a key.
pub(in crate::store) async fn by_settle_id(
    store: &Store,
    key: &Key,
    settle_id: &SettleId,
) -> Result<Option<Record>, Error> {
    store.get_by_settle_id(&key.app_id, key.trade_system, settle_id).await
}

pub(in crate::store) async fn nudge(
    store: &Store,
    key: &Key,
    not_before: Timestamp,
    gap: Duration,
) -> Result<Option<Timestamp>, Error> {
    let now = store.clock().now();
    let due_in = store.nudge(key, not_before.since(now), gap).await?;
    Ok(due_in.map(|wait| now.plus(wait)))
}

/// Claims with leases of a minute, where no wait is longer than a day.
pub(in crate::store) fn claims(claims_max: u32) -> ClaimLimits {
    let (lease, wait_max) = (Duration::from_secs(60), Duration::from_secs(86_400));
    ClaimLimits { lease, claims_max, wait_max }
}

pub(in crate::store) async fn insert(store: &Store, record: &Record, due: NewDue) {
    let inserted = store.insert(record.clone(), Source::Gateway, None, due).await;
    assert_eq!(inserted, Ok(Insert::Inserted), "{}", record.key);
}

/// Claims everything of the app `tt01` that is due at `now`.
pub(in crate::store) async fn claim(store: &Store, now: Timestamp) -> Vec<Claim> {
    at(store, now, store.claim_due(&app("tt01"), claims(1_000))).await.unwrap()
}

/// The numbers claimed, in order.
pub(in crate::store) fn numbers(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.key.out_settle_no.as_str()).collect()
}
