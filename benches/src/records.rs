//! Settles as the gateway records them, for parts of the bench that use the store without a
//! gateway.

use std::time::Duration;

use settlement_gateway::clock::Timestamp;
use settlement_gateway::douyin::create_body;
use settlement_gateway::settle::{
    AcceptedIds, AppId, Content, Context, Due, Fen, Key, Learned, Lease, MerchantUid, Observation,
    OutOrderNo, OutSettleNo, Permission, PermissionId, Policy, ProcessId, Record, Release, Request,
    Scope, SettleDesc, SettleId, SettleParam, Source, TradeSystem, WalletSettleId, transition,
};
use settlement_gateway::store::{NewDue, Swap, first_fence};

/// The lease of a create.
pub const LEASED: NewDue = NewDue::Leased { lease: Duration::from_secs(30) };

pub fn key(app_id: &str, out_settle_no: String) -> Key {
    Key {
        app_id: AppId::parse(app_id).expect("it is short"),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse(out_settle_no).expect("it is short"),
    }
}

pub fn content(number: u64) -> Content {
    let receiver = SettleParam {
        merchant_uid: MerchantUid::parse("7278924576854329635").expect("it has 19 digits"),
        amount: Fen::new(120),
    };
    Content {
        out_order_no: OutOrderNo::parse(format!("order-{number}")).expect("it is short"),
        item_order_id: None,
        settle_desc: SettleDesc::parse("store share").expect("it is short"),
        settle_params: vec![receiver],
        ext: None,
        notify_url: None,
    }
}

/// The record of a create before it is sent.
pub fn submitted(key: Key, number: u64, now: Timestamp) -> Record {
    let content = content(number);
    let ext = Some(content.mark());
    let body = create_body(&key, &content, ext.as_deref(), None).expect("general has a create");
    let request = Request::new(content, ext, body, now.plus(Duration::from_hours(72)));
    let id = PermissionId { process: ProcessId(1), number };
    Record::submitted(key, request, Permission { id, time: now, lasts: Duration::from_secs(10) })
}

/// The observation that Douyin accepted a settle.
pub fn acceptance(before: &Record, number: u64) -> Observation {
    let ids = AcceptedIds {
        settle_id: SettleId::parse(format!("ots{number:020}")).expect("it is short"),
        wallet_settle_id: WalletSettleId::parse(format!("wal{number:020}")).ok(),
        inner_settle_id: None,
    };
    Observation {
        learned: Learned::Accepted(ids),
        source: Source::Create,
        begun: before.create_time,
        scope: Scope::Single,
        answers: before.evidence.last_permission.map(|last| last.id),
        log_id: Some("20261128120000bench".to_owned()),
        by: None,
    }
}

pub fn after(before: &Record, seen: &Observation, policy: &Policy) -> Record {
    let now = before.create_time;
    let context = Context { now, given: Some(now), policy, lease: Lease::Held, attempts: 1 };
    transition(before, seen, &context).record
}

/// The second write of a create: Douyin accepted it, and the lease is given back.
pub fn accepted(before: &Record, number: u64, policy: &Policy) -> Swap {
    let seen = acceptance(before, number);
    let record = after(before, &seen, policy);
    let history = Some(record.history_entry(seen.source, seen.log_id));
    let wait = Duration::from_hours(24);
    let due = Due::Release(Release { wait, attempts: 1, backoff: 0 });
    Swap { record, history, due, lease: Some(first_fence(before)), absorbed: None }
}
