//! What is wrong with the fields of a request, and the parsers that note it. A request is parsed
//! whole, so that a caller learns all its mistakes at once.

use super::enums;
use crate::clock::Timestamp;
use crate::settle::{AppId, Invalid, TradeSystem};

/// The most violations that an error lists. It counts the others.
pub(crate) const VIOLATIONS_MAX: usize = 20;

/// What is wrong with the fields of a request: the first of them, and how many there are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Violations {
    pub(super) shown: Vec<Violation>,
    pub(super) total: usize,
}

/// One wrong field of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    /// Path in the request, as in the proto: `settle_params[2].amount_fen`.
    pub(super) field: String,
    pub(super) description: String,
}

impl Violations {
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.total += 1;
        if self.shown.len() < VIOLATIONS_MAX {
            let (field, description) = (field.into(), description.into());
            self.shown.push(Violation { field, description });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// Parsers that add what is wrong.
impl Violations {
    pub(super) fn text<T>(&mut self, field: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|invalid| self.add(field, invalid.to_string())).ok()
    }

    pub(super) fn optional<T>(
        &mut self,
        field: &str,
        text: String,
        parse: impl FnOnce(String) -> Result<T, Invalid>,
    ) -> Option<T> {
        if text.is_empty() { None } else { self.text(field, parse(text)) }
    }

    pub(super) fn enumeration<T: TryFrom<i32>>(&mut self, field: &str, value: i32) -> Option<T> {
        let parsed = T::try_from(value);
        parsed.map_err(|_| self.add(field, format!("{value} is not a known value"))).ok()
    }

    pub(super) fn app_id(&mut self, text: String, default_app: Option<&AppId>) -> Option<AppId> {
        match (text.is_empty(), default_app) {
            (true, Some(app_id)) => Some(app_id.clone()),
            (true, None) => {
                self.add("app_id", "must not be empty: the gateway has no default app");
                None
            }
            (false, Some(_) | None) => self.text("app_id", AppId::parse(text)),
        }
    }

    pub(super) fn trade_system(&mut self, value: i32) -> Option<TradeSystem> {
        self.enumeration("trade_system", value).map(enums::asked)
    }

    pub(super) fn optional_time(
        &mut self,
        field: &str,
        time: Option<prost_types::Timestamp>,
    ) -> Option<Timestamp> {
        let time = time?;
        let ms = (0..1_000_000_000).contains(&time.nanos).then_some(time.nanos / 1_000_000);
        let ms = ms.and_then(|ms| time.seconds.checked_mul(1_000)?.checked_add(i64::from(ms)));
        if ms.is_none() {
            self.add(field, "is not a valid time");
        }
        ms.map(Timestamp::from_ms)
    }
}
