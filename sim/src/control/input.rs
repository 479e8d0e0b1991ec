//! What a POST or a query string says: fields by name, from JSON or from a form.
//!
//! It knows how fields are written. What they mean is `actions.rs`'s business.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::Value;

use super::Problem;

/// More fields than this are refused; the page's largest form has about thirty.
const FIELDS_MAX: usize = 64;

/// The fields that are there and not empty.
#[derive(Debug, Default)]
pub(super) struct Input(BTreeMap<String, Value>);

impl Input {
    /// Reads a body. A form never begins with a brace, so nothing needs to be said about which of
    /// the two it is (and `curl -d` says the wrong thing).
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Problem::bad("The body must be UTF-8."))?
            .trim_ascii();
        if text.starts_with('{') { Self::json(text) } else { Self::form(text) }
    }

    fn json(text: &str) -> Result<Self, Problem> {
        let fields: BTreeMap<String, Value> = serde_json::from_str(text)
            .map_err(|error| Problem::bad(format!("The body is not good JSON: {error}.")))?;
        let mut input = Self::default();
        for (name, value) in fields {
            input.put(name, value)?;
        }
        Ok(input)
    }

    /// Reads `a=1&b=2`.
    pub(super) fn form(text: &str) -> Result<Self, Problem> {
        let mut input = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Problem::bad("A form is written name=value&name=value, and JSON in braces.")
            })?;
            input.put(decoded(name)?, Value::String(decoded(value)?))?;
        }
        Ok(input)
    }

    fn put(&mut self, name: String, value: Value) -> Result<(), Problem> {
        let is_empty = match &value {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        };
        if is_empty {
            return Ok(());
        }
        if self.0.len() >= FIELDS_MAX {
            return Err(Problem::bad(format!("There are more than {FIELDS_MAX} fields.")));
        }
        match self.0.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(Problem::bad(format!("{name:?} is there twice."))),
        }
    }

    /// Refuses what is not listed, because it is misspelt.
    pub(super) fn only(&self, listed: &[&str]) -> Result<(), Problem> {
        match self.0.keys().find(|name| !listed.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let listed = listed.join(", ");
                Err(Problem::bad(format!("There is no field {name:?} here, only {listed}.")))
            }
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(yes)) => Ok(Some(if *yes { "yes" } else { "no" }.to_owned())),
            Some(Value::Array(_) | Value::Object(_)) => {
                Err(Problem::bad(format!("{name} must be a text, a number, or true or false.")))
            }
        }
    }

    /// A text that must be there, with 1 to `bytes_max` bytes.
    pub(super) fn required(&self, name: &str, bytes_max: usize) -> Result<String, Problem> {
        let text = self.text(name)?;
        let text = text.ok_or_else(|| Problem::bad(format!("{name} is needed.")))?;
        if text.len() > bytes_max {
            return Err(Problem::bad(format!("{name} has more than {bytes_max} bytes.")));
        }
        Ok(text)
    }

    pub(super) fn number<T>(
        &self,
        name: &str,
        range: &RangeInclusive<T>,
    ) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => {
                let (min, max) = (range.start(), range.end());
                Err(Problem::bad(format!("{name} must be a whole number from {min} to {max}.")))
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(Problem::bad(format!("{name} must be {}.", words.join(" or "))))
            }
        }
    }

    pub(super) fn yes_or_no(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.word(name, &[("yes", true), ("no", false)])
    }
}

/// A name or value of a form: `+` is a space, `%E5%88%86` is 分.
fn decoded(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = (rest.next().and_then(hex), rest.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err(Problem::bad("A percent sign must be followed by two hex digits."));
                };
                high * 16 + low
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| Problem::bad("The form must be UTF-8."))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
