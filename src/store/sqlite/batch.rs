//! The transaction that a batch of operations shares: its connection, and the statements that most
//! operations run, which are looked up once per batch.

use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::{CachedStatement, Connection};

/// What each operation of a batch uses.
pub(super) struct Batch<'a> {
    connection: &'a Connection,
    kept: RefCell<Vec<(&'static str, CachedStatement<'a>)>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, kept: RefCell::default() }
    }

    /// Runs a statement and keeps it for the next operation of the batch. It recognises a statement
    /// by the address of its text, which must not change.
    pub(super) fn run<T>(
        &self,
        sql: &'static str,
        run: impl FnOnce(&mut CachedStatement<'a>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut kept = self.kept.borrow_mut();
        let found = kept.iter().position(|(known, _)| std::ptr::eq(*known, sql));
        let place = match found {
            Some(place) => place,
            None => {
                kept.push((sql, self.connection.prepare_cached(sql)?));
                kept.len() - 1
            }
        };
        let (_, statement) = kept.get_mut(place).expect("it was found or put there");
        run(statement)
    }
}

impl Deref for Batch<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
