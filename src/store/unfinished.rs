//! All settles that are not final, or final with an open contradiction, page by page.

use super::{Error, Position, Store};
use crate::settle::{AppId, Key, Record};

/// Where the last page of unfinished settles ended. The default begins a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnfinishedCursor {
    /// Before the settles of the first app after this one.
    App { after: Option<AppId> },
    /// Among the settles of an app in a state, oldest first. The state is the stored word, which
    /// this version may not know.
    State { app_id: AppId, state: String, after: Position },
    /// Among the final settles of an app that have an open contradiction.
    Disputed { app_id: AppId, after_row: i64 },
}

impl Default for UnfinishedCursor {
    fn default() -> Self {
        UnfinishedCursor::App { after: None }
    }
}

/// A settle that is not final, or final with an open contradiction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfinished {
    Settle(Box<Record>),
    /// A newer version wrote it.
    Unreadable(Key),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnfinishedPage {
    pub settles: Vec<Unfinished>,
    /// `None`: the round is complete.
    pub next: Option<UnfinishedCursor>,
}

impl Store {
    /// One page of all settles that are not final, or final with an open contradiction, app by app.
    /// A settle that changes its state meanwhile may be missed or come twice. A page may be empty
    /// without being the last.
    pub async fn unfinished(
        &self,
        cursor: UnfinishedCursor,
        rows_max: u32,
    ) -> Result<UnfinishedPage, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.unfinished(cursor, rows_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.unfinished(cursor, rows_max)).await,
        }
    }
}
