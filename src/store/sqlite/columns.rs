//! Moves values between the domain's types and the columns of one row, in the order of a column
//! list. It must not know which columns a table has.

use rusqlite::types::{ToSql, ValueRef};
use rusqlite::{Row, Statement};

use super::json::Stored;
use super::words::Word;
use crate::clock::Timestamp;
use crate::settle::Invalid;

/// Why one operation failed inside its transaction.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    /// Names the column and never the value, which may be a caller's.
    Unreadable(String),
}

impl Fault {
    /// Names the row, for the operator who must look at it.
    pub(super) fn in_row(self, id: i64) -> Self {
        match self {
            Fault::Unreadable(what) => Fault::Unreadable(format!("{what} (settle.id = {id})")),
            Fault::Sqlite(error) => Fault::Sqlite(error),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sqlite(error)
    }
}

/// Binds the parameters of a statement from left to right.
pub(super) struct Binder<'a, 'connection> {
    statement: &'a mut Statement<'connection>,
    bound: usize,
}

impl<'a, 'connection> Binder<'a, 'connection> {
    pub(super) fn new(statement: &'a mut Statement<'connection>) -> Self {
        Self { statement, bound: 0 }
    }

    pub(super) fn put(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)
    }

    pub(super) fn time(&mut self, time: Timestamp) -> rusqlite::Result<()> {
        self.put(time.as_ms())
    }

    pub(super) fn time_opt(&mut self, time: Option<Timestamp>) -> rusqlite::Result<()> {
        self.put(time.map(Timestamp::as_ms))
    }

    /// Executes the statement with what was bound; returns the number of rows changed.
    pub(super) fn execute(self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }
}

/// Reads the columns of a row from left to right.
pub(super) struct Cursor<'a> {
    row: &'a Row<'a>,
    read: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(row: &'a Row<'a>) -> Self {
        Self { row, read: 0 }
    }

    fn next(&mut self) -> Result<ValueRef<'a>, Fault> {
        let value = self.row.get_ref(self.read)?;
        self.read += 1;
        Ok(value)
    }

    /// What is wrong with the column that was read last.
    fn unreadable(&self, what: &str) -> Fault {
        let column = self.row.as_ref().column_name(self.read - 1).unwrap_or("?");
        Fault::Unreadable(format!("column {column} {what}"))
    }

    fn required<T>(&self, value: Option<T>) -> Result<T, Fault> {
        value.ok_or_else(|| self.unreadable("is null"))
    }

    fn str_opt(&mut self) -> Result<Option<&'a str>, Fault> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(self.unreadable("is not UTF-8")),
            },
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                Err(self.unreadable("is not text"))
            }
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Fault> {
        let text = self.str_opt()?;
        self.required(text).map(str::to_owned)
    }

    pub(super) fn text_opt(&mut self) -> Result<Option<String>, Fault> {
        Ok(self.str_opt()?.map(str::to_owned))
    }

    pub(super) fn int_opt(&mut self) -> Result<Option<i64>, Fault> {
        match self.next()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => Ok(Some(value)),
            ValueRef::Text(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                Err(self.unreadable("is not an integer"))
            }
        }
    }

    pub(super) fn int(&mut self) -> Result<i64, Fault> {
        let value = self.int_opt()?;
        self.required(value)
    }

    pub(super) fn count_opt(&mut self) -> Result<Option<u32>, Fault> {
        let count = self.int_opt()?.map(u32::try_from).transpose();
        count.map_err(|_| self.unreadable("is out of range"))
    }

    pub(super) fn count(&mut self) -> Result<u32, Fault> {
        let count = self.count_opt()?;
        self.required(count)
    }

    pub(super) fn flag_opt(&mut self) -> Result<Option<bool>, Fault> {
        match self.int_opt()? {
            None => Ok(None),
            Some(0) => Ok(Some(false)),
            Some(1) => Ok(Some(true)),
            Some(_) => Err(self.unreadable("is neither 0 nor 1")),
        }
    }

    pub(super) fn time_opt(&mut self) -> Result<Option<Timestamp>, Fault> {
        Ok(self.int_opt()?.map(Timestamp::from_ms))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Fault> {
        self.int().map(Timestamp::from_ms)
    }

    pub(super) fn word_opt<W: Word>(&mut self) -> Result<Option<W>, Fault> {
        let Some(word) = self.str_opt()? else {
            return Ok(None);
        };
        let known = W::from_word(word);
        known.map(Some).ok_or_else(|| self.unreadable("has an unknown word"))
    }

    pub(super) fn word<W: Word>(&mut self) -> Result<W, Fault> {
        let word = self.word_opt()?;
        self.required(word)
    }

    /// A name, parsed as at the edge.
    pub(super) fn name_opt<T>(
        &mut self,
        parse: fn(String) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Fault> {
        match self.text_opt()?.map(parse).transpose() {
            Ok(name) => Ok(name),
            Err(invalid) => Err(self.unreadable(&invalid.to_string())),
        }
    }

    pub(super) fn name<T>(&mut self, parse: fn(String) -> Result<T, Invalid>) -> Result<T, Fault> {
        let name = self.name_opt(parse)?;
        self.required(name)
    }

    pub(super) fn stored_opt<T: Stored>(&mut self) -> Result<Option<T>, Fault> {
        match self.str_opt()? {
            None => Ok(None),
            Some(json) => T::from_json(json).map(Some).ok_or_else(|| self.unknown()),
        }
    }

    /// Says that a newer version wrote the structure in the column that was read last.
    pub(super) fn unknown(&self) -> Fault {
        self.unreadable("is not known")
    }
}
