//! The file of a move: one line of JSON each for its head, every settle and its end. A settle has
//! the columns of its row ([`READ`]), its history, and when it is looked at next.
//!
//! The last line counts the settles and has a hash of all lines before it, so that a file that is
//! cut off or was changed is not taken for a store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead, Read as _, Write};
use std::time::Duration;

use ring::digest;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::STEP;
use super::super::columns::{Cells, Cursor, Value, WrongCell};
use super::super::json::Stored as _;
use super::super::rows::{CHANGING, FIXED, OF_ORIGIN, READ, Spelled, read_record};
use super::{MoveError, Moved};
use crate::settle::{HistoryEntry, RULES, Release};

/// The version of the format.
const FORMAT: u32 = 1;

/// A settle has about 2 KiB, and far less than this with any history.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The columns that hold JSON, which is written as it is.
const JSON: [&str; 6] = ["rejection", "last_error", "decision", "evidence", "facts", "request"];

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    SettlementGatewayExport(Head),
    Settle(Settle),
    End(End),
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    /// The rules of the gateway that wrote the file.
    rules: u32,
    /// How long ago the store went back to an earlier state, if it ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    went_back_ms_ago: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settle {
    #[serde(serialize_with = "in_order")]
    record: Columns,
    history: Vec<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<Due>,
}

/// By name; those that are null are left out.
type Columns = BTreeMap<String, Box<RawValue>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Due {
    in_ms: u64,
    attempts: u32,
    backoff: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    settles: u64,
    sha256: String,
}

/// For a person who looks into the file.
fn in_order<S: Serializer>(columns: &Columns, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(READ.iter().filter_map(|name| Some((name, columns.get(*name)?))))
}

/// Where an export writes to.
pub struct Writer<'a> {
    to: &'a mut dyn Write,
    hash: digest::Context,
    settles: u64,
    /// Is told how many settles are written.
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Writer<'a> {
    pub fn new(to: &'a mut dyn Write, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { to, hash: digest::Context::new(&digest::SHA256), settles: 0, progress }
    }

    /// `went_back`: how long ago the store went back to an earlier state, if it ever did.
    pub(in crate::store) fn head(&mut self, went_back: Option<Duration>) -> Result<(), MoveError> {
        let went_back_ms_ago = went_back.map(as_ms);
        let head = Head { format: FORMAT, rules: RULES, went_back_ms_ago };
        self.line(&Line::SettlementGatewayExport(head))
    }

    pub(in crate::store) fn settle(&mut self, moved: Moved) -> Result<(), MoveError> {
        let Moved { mut record, history, due } = moved;
        record.version = record.version.rem_euclid(STEP);
        let history = history.iter().map(|entry| raw(entry.to_json())).collect();
        let due = due.map(|due| Due {
            in_ms: as_ms(due.wait),
            attempts: due.attempts,
            backoff: due.backoff,
        });
        let record = columns(&Spelled::new(record, String::new()));
        self.line(&Line::Settle(Settle { record, history, due }))?;
        self.settles += 1;
        (self.progress)(self.settles);
        Ok(())
    }

    /// Returns how many settles there are.
    pub(in crate::store) fn end(&mut self) -> Result<u64, MoveError> {
        let settles = self.settles;
        let sha256 = hex::encode(self.hash.clone().finish());
        self.line(&Line::End(End { settles, sha256 }))?;
        Ok(settles)
    }

    fn line(&mut self, line: &Line) -> Result<(), MoveError> {
        let mut text = serde_json::to_string(line).map_err(std::io::Error::from)?;
        text.push('\n');
        self.hash.update(text.as_bytes());
        Ok(self.to.write_all(text.as_bytes())?)
    }
}

/// The values of a row that are read back.
fn columns(settle: &Spelled) -> Columns {
    let request = settle.request();
    let values = settle.fixed().into_iter().chain(settle.of_origin(request.as_deref()));
    let names = FIXED.iter().chain(&OF_ORIGIN).chain(&CHANGING);
    let named = names.zip(values.chain(settle.changing()));
    let written = named.filter(|(name, _)| READ.contains(name)).filter_map(|(name, value)| {
        let json = match value {
            Value::Text(text) if JSON.contains(name) => text?.to_owned(),
            Value::Text(text) => serde_json::Value::from(text?).to_string(),
            Value::Int(number) => number?.to_string(),
            Value::Flag(flag) => flag.to_string(),
        };
        Some(((*name).to_owned(), raw(json)))
    });
    written.collect()
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("it was written as JSON just now")
}

fn as_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// Where an import reads from.
pub struct Reader<'a> {
    from: &'a mut dyn BufRead,
    hash: digest::Context,
    settles: u64,
    /// The number of the line that was read last.
    line: u64,
    /// Is told how many settles are read.
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Reader<'a> {
    pub fn new(from: &'a mut dyn BufRead, progress: &'a mut dyn FnMut(u64)) -> Self {
        let hash = digest::Context::new(&digest::SHA256);
        Self { from, hash, settles: 0, line: 0, progress }
    }

    /// How long ago the store of before went back to an earlier state, if it ever did.
    pub(in crate::store) fn head(&mut self) -> Result<Option<Duration>, MoveError> {
        let text = self.text()?.ok_or(MoveError::Foreign)?;
        let Ok(Line::SettlementGatewayExport(head)) = serde_json::from_str(&text) else {
            return Err(MoveError::Foreign);
        };
        if head.format > FORMAT {
            return Err(MoveError::Newer(format!("format {}", head.format)));
        }
        if head.rules > RULES {
            return Err(MoveError::Newer(format!("rules {}", head.rules)));
        }
        self.hash.update(text.as_bytes());
        Ok(head.went_back_ms_ago.map(Duration::from_millis))
    }

    /// The next settle, or `None` after the last one of a file that is as it was written.
    pub(in crate::store) fn settle(&mut self) -> Result<Option<Moved>, MoveError> {
        let cut_off = MoveError::CutOff { line: self.line };
        let text = self.text()?.ok_or(cut_off)?;
        match serde_json::from_str(&text) {
            Ok(Line::Settle(settle)) => {
                self.hash.update(text.as_bytes());
                let moved = read(&settle).map_err(|what| self.bad(what))?;
                self.settles += 1;
                (self.progress)(self.settles);
                Ok(Some(moved))
            }
            Ok(Line::End(end)) => {
                let sha256 = hex::encode(self.hash.clone().finish());
                if (end.settles, end.sha256) != (self.settles, sha256) {
                    return Err(MoveError::Changed);
                }
                match self.text()? {
                    None => Ok(None),
                    Some(_) => Err(self.bad("there is more after the last line".to_owned())),
                }
            }
            Ok(Line::SettlementGatewayExport(_)) => Err(self.bad("another file begins".to_owned())),
            Err(error) => Err(self.bad(error.to_string())),
        }
    }

    /// Says what is wrong with the line that was read last.
    pub(in crate::store) fn bad(&self, what: String) -> MoveError {
        MoveError::Line { line: self.line, what }
    }

    /// The next line; `None`: there is none, or it is cut off.
    fn text(&mut self) -> Result<Option<String>, MoveError> {
        let mut bytes = Vec::new();
        let read = self.from.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
        if bytes.last() != Some(&b'\n') && u64::try_from(read).unwrap_or(u64::MAX) < LINE_BYTES_MAX
        {
            return Ok(None);
        }
        self.line += 1;
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| self.bad("it is not UTF-8".to_owned()))
    }
}

fn read(settle: &Settle) -> Result<Moved, String> {
    let cells = Parsed::of(&settle.record)?;
    let record = read_record(&mut Cursor::new(&cells)).map_err(|unreadable| unreadable.0)?;
    let entries = settle.history.iter().map(|json| HistoryEntry::from_json(json.get()));
    let history = entries.collect::<Option<_>>();
    let history = history.ok_or("its history holds what this version does not know")?;
    let due = settle.due.as_ref().map(|due| Release {
        wait: Duration::from_millis(due.in_ms),
        attempts: due.attempts,
        backoff: due.backoff,
    });
    Ok(Moved { record, history, due })
}

/// A row as the file has it, in the order of [`READ`].
struct Parsed<'a>([Option<Cell<'a>>; READ.len()]);

enum Cell<'a> {
    Text(Cow<'a, str>),
    Int(i64),
}

impl<'a> Parsed<'a> {
    fn of(columns: &'a Columns) -> Result<Self, String> {
        let mut cells = [const { None }; READ.len()];
        for (name, value) in columns {
            let column = READ.iter().position(|known| known == name);
            let cell = column.and_then(|column| cells.get_mut(column));
            let cell = cell.ok_or_else(|| format!("no column {name} is known"))?;
            *cell = Some(Cell::of(name, value.get()).ok_or_else(|| format!("column {name}"))?);
        }
        Ok(Self(cells))
    }
}

impl<'a> Cell<'a> {
    fn of(name: &str, json: &'a str) -> Option<Self> {
        if JSON.contains(&name) {
            return Some(Cell::Text(Cow::Borrowed(json)));
        }
        match serde_json::from_str(json).ok()? {
            serde_json::Value::String(text) => Some(Cell::Text(Cow::Owned(text))),
            serde_json::Value::Number(number) => number.as_i64().map(Cell::Int),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => None,
        }
    }
}

impl Cells for Parsed<'_> {
    fn text(&self, column: usize) -> Result<Option<&str>, WrongCell> {
        match self.0.get(column) {
            Some(Some(Cell::Text(text))) => Ok(Some(text)),
            Some(Some(Cell::Int(_))) => Err(WrongCell("is not text")),
            Some(None) | None => Ok(None),
        }
    }

    fn int(&self, column: usize) -> Result<Option<i64>, WrongCell> {
        match self.0.get(column) {
            Some(Some(Cell::Int(number))) => Ok(Some(*number)),
            Some(Some(Cell::Text(_))) => Err(WrongCell("is not an integer")),
            Some(None) | None => Ok(None),
        }
    }

    /// No column of [`READ`] is one.
    fn flag(&self, _column: usize) -> Result<Option<bool>, WrongCell> {
        Err(WrongCell("is not a boolean"))
    }

    fn name(&self, column: usize) -> &str {
        READ.get(column).copied().unwrap_or("?")
    }
}
