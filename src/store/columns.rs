//! Moves values between the domain's types and the columns of one row, in the order of a column
//! list. It must not know which columns a table has, nor which database the row is in.

use super::json::Stored;
use super::words::Word;
use crate::clock::Timestamp;
use crate::settle::Invalid;

/// A value that this version cannot read. It names the column and never the value, which may be a
/// caller's.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) String);

/// One row of any database, by the numbers of its columns.
pub(super) trait Cells {
    fn text(&self, column: usize) -> Result<Option<&str>, WrongCell>;
    fn int(&self, column: usize) -> Result<Option<i64>, WrongCell>;
    fn flag(&self, column: usize) -> Result<Option<bool>, WrongCell>;
    fn name(&self, column: usize) -> &str;
}

/// A cell holds a value of another kind. In words that follow the name of its column.
pub(super) struct WrongCell(pub(super) &'static str);

/// What is written into one column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(Option<&'a str>),
    Int(Option<i64>),
    Flag(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Int(Some(i64::from(number)))
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(time: Timestamp) -> Self {
        Value::Int(Some(time.as_ms()))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(time: Option<Timestamp>) -> Self {
        Value::Int(time.map(Timestamp::as_ms))
    }
}

/// Reads the columns of a row from left to right.
pub(super) struct Cursor<'a> {
    row: &'a dyn Cells,
    read: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(row: &'a dyn Cells) -> Self {
        Self { row, read: 0 }
    }

    fn next<T>(
        &mut self,
        get: impl FnOnce(&'a dyn Cells, usize) -> Result<T, WrongCell>,
    ) -> Result<T, Unreadable> {
        let column = self.read;
        self.read += 1;
        get(self.row, column).map_err(|WrongCell(what)| self.unreadable(what))
    }

    /// What is wrong with the column that was read last.
    fn unreadable(&self, what: &str) -> Unreadable {
        let column = self.row.name(self.read - 1);
        Unreadable(format!("column {column} {what}"))
    }

    fn required<T>(&self, value: Option<T>) -> Result<T, Unreadable> {
        value.ok_or_else(|| self.unreadable("is null"))
    }

    fn str_opt(&mut self) -> Result<Option<&'a str>, Unreadable> {
        self.next(|row, column| row.text(column))
    }

    pub(super) fn text(&mut self) -> Result<String, Unreadable> {
        let text = self.str_opt()?;
        self.required(text).map(str::to_owned)
    }

    pub(super) fn text_opt(&mut self) -> Result<Option<String>, Unreadable> {
        Ok(self.str_opt()?.map(str::to_owned))
    }

    pub(super) fn int_opt(&mut self) -> Result<Option<i64>, Unreadable> {
        self.next(|row, column| row.int(column))
    }

    pub(super) fn int(&mut self) -> Result<i64, Unreadable> {
        let value = self.int_opt()?;
        self.required(value)
    }

    pub(super) fn count_opt(&mut self) -> Result<Option<u32>, Unreadable> {
        let count = self.int_opt()?.map(u32::try_from).transpose();
        count.map_err(|_| self.unreadable("is out of range"))
    }

    pub(super) fn count(&mut self) -> Result<u32, Unreadable> {
        let count = self.count_opt()?;
        self.required(count)
    }

    pub(super) fn flag_opt(&mut self) -> Result<Option<bool>, Unreadable> {
        self.next(|row, column| row.flag(column))
    }

    pub(super) fn time_opt(&mut self) -> Result<Option<Timestamp>, Unreadable> {
        Ok(self.int_opt()?.map(Timestamp::from_ms))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Unreadable> {
        self.int().map(Timestamp::from_ms)
    }

    pub(super) fn word_opt<W: Word>(&mut self) -> Result<Option<W>, Unreadable> {
        let Some(word) = self.str_opt()? else {
            return Ok(None);
        };
        let known = W::from_word(word);
        known.map(Some).ok_or_else(|| self.unreadable("has an unknown word"))
    }

    pub(super) fn word<W: Word>(&mut self) -> Result<W, Unreadable> {
        let word = self.word_opt()?;
        self.required(word)
    }

    /// A name, parsed as at the edge.
    pub(super) fn name_opt<T>(
        &mut self,
        parse: fn(String) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Unreadable> {
        match self.text_opt()?.map(parse).transpose() {
            Ok(name) => Ok(name),
            Err(invalid) => Err(self.unreadable(&invalid.to_string())),
        }
    }

    pub(super) fn name<T>(
        &mut self,
        parse: fn(String) -> Result<T, Invalid>,
    ) -> Result<T, Unreadable> {
        let name = self.name_opt(parse)?;
        self.required(name)
    }

    pub(super) fn stored_opt<T: Stored>(&mut self) -> Result<Option<T>, Unreadable> {
        match self.str_opt()? {
            None => Ok(None),
            Some(json) => self.parsed(json).map(Some),
        }
    }

    /// A structure that is a part of the column that was read last.
    pub(super) fn parsed<T: Stored>(&self, json: &str) -> Result<T, Unreadable> {
        T::from_json(json).ok_or_else(|| self.unknown())
    }

    /// Says that a newer version wrote the structure in the column that was read last.
    pub(super) fn unknown(&self) -> Unreadable {
        self.unreadable("is not known")
    }
}
