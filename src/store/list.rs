//! The recorded settles of an app, newest first, page by page.

use super::{Error, Store};
use crate::clock::Timestamp;
use crate::settle::{AppId, OutOrderNo, Record, StateKind, TradeSystem};

/// The most settles of one state, or of one order, that are looked at for a page of only some of
/// them. No index has every filter: an order has few settles, and most apps use one trade system.
pub(super) const LOOKS_MAX: u32 = 2_000;

/// Which recorded settles to list: newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListQuery {
    pub app_id: AppId,
    /// The order in the caller's request. For a settle that was not made here: the order that
    /// Douyin named.
    pub out_order_no: Option<OutOrderNo>,
    /// `None`: all, also those that this version does not know.
    pub trade_system: Option<TradeSystem>,
    /// Empty: all.
    pub states: Vec<StateKind>,
    /// Created at this moment or later.
    pub from: Option<Timestamp>,
    /// Created before this moment.
    pub until: Option<Timestamp>,
    /// Where the last page ended; `None`: begin with the newest settle.
    pub after: Option<Position>,
    /// 0 counts as 1.
    pub settles_max: u32,
}

/// Where a page ended. All older settles come after it, whatever is inserted meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub create_time: Timestamp,
    /// Which of the settles created at that moment. It grows in the order of their inserts.
    pub row: i64,
}

/// One page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub records: Vec<Record>,
    /// `None`: this is the last page. Any page may be short, even empty.
    pub next: Option<Position>,
}

impl Store {
    /// One page of the recorded settles of an app, newest first. It reads only the rows that the
    /// page needs, so the cost does not grow with the number of settles.
    ///
    /// A settle that this version cannot read is not left out: its page is [`Error::Unreadable`]. A
    /// settle in an unknown state may be in any state, so it passes every filter.
    pub async fn list(&self, query: &ListQuery) -> Result<Listed, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.list(query).await,
            Store::Postgres(postgres) => Box::pin(postgres.list(query)).await,
        }
    }

    /// The number of settles that are not final, by app, including apps that are no longer
    /// configured. A state that this version does not know counts as not final. The cost grows with
    /// the number of such settles.
    pub async fn open_settles(&self) -> Result<Vec<(AppId, u64)>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.open_settles().await,
            Store::Postgres(postgres) => Box::pin(postgres.open_settles()).await,
        }
    }
}
