//! Rows and values as SQLite has them. It must not know which columns a table has.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement};

use super::super::columns::{Cells, Unreadable, Value, WrongCell};

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

impl From<Unreadable> for Fault {
    fn from(Unreadable(what): Unreadable) -> Self {
        Fault::Unreadable(what)
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

    pub(super) fn put<'v>(&mut self, value: impl Into<Value<'v>>) -> rusqlite::Result<()> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value.into())
    }

    pub(super) fn put_all(&mut self, values: &[Value<'_>]) -> rusqlite::Result<()> {
        values.iter().try_for_each(|value| self.put(*value))
    }

    /// Executes the statement with what was bound; returns the number of rows changed.
    pub(super) fn execute(self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Value::Int(Some(number)) => ValueRef::Integer(*number),
            Value::Flag(flag) => ValueRef::Integer(i64::from(*flag)),
            Value::Text(None) | Value::Int(None) => ValueRef::Null,
        }))
    }
}

impl Cells for Row<'_> {
    fn text(&self, column: usize) -> Result<Option<&str>, WrongCell> {
        match cell(self, column) {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => {
                std::str::from_utf8(bytes).map(Some).map_err(|_| WrongCell("is not UTF-8"))
            }
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                Err(WrongCell("is not text"))
            }
        }
    }

    fn int(&self, column: usize) -> Result<Option<i64>, WrongCell> {
        match cell(self, column) {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => Ok(Some(value)),
            ValueRef::Text(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                Err(WrongCell("is not an integer"))
            }
        }
    }

    fn flag(&self, column: usize) -> Result<Option<bool>, WrongCell> {
        match self.int(column)? {
            None => Ok(None),
            Some(0) => Ok(Some(false)),
            Some(1) => Ok(Some(true)),
            Some(_) => Err(WrongCell("is neither 0 nor 1")),
        }
    }

    fn name(&self, column: usize) -> &str {
        self.as_ref().column_name(column).unwrap_or("?")
    }
}

fn cell<'a>(row: &'a Row<'_>, column: usize) -> ValueRef<'a> {
    row.get_ref(column).expect("a statement has the columns that are read from it")
}
