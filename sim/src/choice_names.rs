//! The [`Choices`] by name, for people: each has a name and a value in JSON, in both directions.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::choices::Choices;

/// Keeps the simulator's times within what its clock can show: ten years.
const MS_MAX: u64 = 10 * 366 * 86_400_000;
/// What may stand between two receivers in `settle_detail`.
const SEPARATORS: [(&str, &str); 4] =
    [("comma", ","), ("semicolon", ";"), ("chinese-comma", "，"), ("newline", "\n")];

impl Choices {
    /// Every choice with its name and value.
    pub(super) fn named(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(named)) => named,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// These with some changed. The error says what is wrong with them.
    pub(super) fn with(&self, some: Map<String, Value>) -> Result<Self, String> {
        let mut named = self.named();
        named.extend(some);
        let choices: Self =
            serde_json::from_value(Value::Object(named)).map_err(|error| error.to_string())?;
        let times_ms =
            [choices.visible_after_ms, choices.token_grace_ms, choices.callback_deadline_ms];
        if times_ms.into_iter().chain(choices.fail_turns_success_after_ms).any(|ms| ms > MS_MAX) {
            return Err(format!("a time has at most {MS_MAX} milliseconds"));
        }
        Ok(choices)
    }

    /// Changes one choice to what a person wrote: a word, a number, yes or no, or none.
    ///
    /// # Errors
    /// What is wrong, and what is possible.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let one = |value| self.with(Map::from_iter([(name.to_owned(), value)]));
        let value = match text {
            "yes" => Some(Value::Bool(true)),
            "no" => Some(Value::Bool(false)),
            "none" | "never" => Some(Value::Null),
            number => number.parse::<i64>().ok().map(Value::from),
        };
        *self = one(value.unwrap_or_else(|| text.into()))?;
        Ok(())
    }
}

/// The separator of two receivers. Any other text would have to live as long as the program.
pub(super) fn detail_separator<'de, D>(from: D) -> Result<&'static str, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    let found = SEPARATORS.into_iter().find(|(word, known)| *word == text || *known == text);
    found.map(|(_, known)| known).ok_or_else(|| {
        D::Error::custom(format!("no separator {text:?}, expected one of {SEPARATORS:?}"))
    })
}

/// The HTTP status of a refusal.
pub(super) mod status {
    use http::StatusCode;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(status.as_u16())
    }

    /// 1xx would not be the answer, and 204 or 304 would lose its body.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StatusCode, D::Error> {
        let number = u16::deserialize(from)?;
        let status = StatusCode::from_u16(number).ok();
        status
            .filter(|_| matches!(number, 200 | 400..=599))
            .ok_or_else(|| D::Error::custom("a status is 200 or 400 to 599"))
    }
}
