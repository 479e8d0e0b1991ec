//! The settles of these worlds: all that matters of one is its revision.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::settle::{
    AppId, Content, Key, OutOrderNo, OutSettleNo, Permission, PermissionId, ProcessId, Record,
    Request, SettleDesc, TradeSystem,
};

pub fn key(number: &str) -> Key {
    Key {
        app_id: AppId::parse("tt1").unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse(number).unwrap(),
    }
}

pub fn at_revision(key: &Key, revision: i64) -> Record {
    let now = Timestamp::from_ms(1_700_000_000_000);
    let content = Content {
        out_order_no: OutOrderNo::parse("o-1").unwrap(),
        item_order_id: None,
        settle_desc: SettleDesc::parse("share").unwrap(),
        settle_params: Vec::new(),
        ext: None,
        notify_url: None,
    };
    let request = Request::new(content, None, "{}".to_owned(), now);
    let id = PermissionId { process: ProcessId(1), number: 0 };
    let first = Permission { id, time: now, lasts: Duration::from_secs(10) };
    Record { revision, version: revision, ..Record::submitted(key.clone(), request, first) }
}
