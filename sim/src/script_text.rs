//! A [`Script`] as text, for people and for tests in other processes.
//!
//! ```text
//! script = normal | drop | cut | hang | html | empty | wrong-types | accept-without-id
//!        | find-nothing | refuse ERR_NO | answer STATUS BODY | huge BYTES
//!        | delay MS script | apply-then script
//! ```
//!
//! `normal` may be left out behind `delay MS`. BODY is the rest of the line and is sent as JSON.
//! A script that holds a request at a gate has no text: its gate is in a test.

use std::fmt;
use std::str::FromStr;

use super::faults::Script;

const TEXT_BYTES_MAX: usize = 4_096;
/// `delay 1 delay 1 …`: how often a script may go on.
const STEPS_MAX: usize = 8;
const DELAY_MS_MAX: u64 = 3_600_000;
const HUGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What each word by itself means.
const WORDS: [(&str, Script); 9] = [
    ("normal", Script::Normal),
    ("drop", Script::Drop),
    ("cut", Script::CloseMidAnswer),
    ("hang", Script::Hang),
    ("html", Script::Html),
    ("empty", Script::Empty),
    ("wrong-types", Script::WrongTypes),
    ("accept-without-id", Script::AcceptWithoutId),
    ("find-nothing", Script::FindNothing),
];

impl FromStr for Script {
    type Err = String;

    /// The error is a sentence for whoever wrote the text.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a script has at most {TEXT_BYTES_MAX} bytes"));
        }
        parse(text, STEPS_MAX)
    }
}

fn parse(text: &str, steps_left: usize) -> Result<Script, String> {
    if steps_left == 0 {
        return Err(format!("a script has at most {STEPS_MAX} steps"));
    }
    let (word, rest) = split(text);
    if let Some((_, script)) = WORDS.iter().find(|(known, _)| *known == word) {
        return if rest.is_empty() {
            Ok(script.clone())
        } else {
            Err(format!("nothing can follow {word}, but there is {rest:?}"))
        };
    }
    match word {
        "refuse" => Ok(Script::Refuse(number(word, rest, 1, i64::MAX)?)),
        "huge" => Ok(Script::Huge(number(word, rest, 0, HUGE_BYTES_MAX)?)),
        "answer" => {
            let (status, body) = split(rest);
            // A 1xx would not be the answer.
            let status = number(word, status, 200, 599)?;
            Ok(Script::json(status, body.to_owned()))
        }
        "delay" => {
            let (delay_ms, rest) = split(rest);
            let delay_ms = number(word, delay_ms, 0, DELAY_MS_MAX)?;
            let rest = if rest.is_empty() { "normal" } else { rest };
            Ok(Script::delay(delay_ms, parse(rest, steps_left - 1)?))
        }
        "apply-then" => Ok(Script::apply_then(parse(rest, steps_left - 1)?)),
        _ => Err(format!("{word:?} is no script; write {}", known_words())),
    }
}

/// The first word, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn number<T>(word: &str, text: &str, min: T, max: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display + Copy,
{
    let number = text.parse().ok().filter(|number| *number >= min && *number <= max);
    number.ok_or_else(|| format!("{word} needs a number from {min} to {max}, not {text:?}"))
}

fn known_words() -> String {
    let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
    let more = "refuse ERR_NO, answer STATUS BODY, huge BYTES, delay MS …, apply-then …";
    format!("{}, {more}", words.join(", "))
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Drop => f.write_str("drop"),
            Self::CloseMidAnswer => f.write_str("cut"),
            Self::Hang => f.write_str("hang"),
            Self::Html => f.write_str("html"),
            Self::Empty => f.write_str("empty"),
            Self::WrongTypes => f.write_str("wrong-types"),
            Self::AcceptWithoutId => f.write_str("accept-without-id"),
            Self::FindNothing => f.write_str("find-nothing"),
            Self::Refuse(err_no) => write!(f, "refuse {err_no}"),
            Self::Huge(bytes) => write!(f, "huge {bytes}"),
            Self::Answer { status, body, content_type: _ } => {
                write!(f, "answer {status} {}", String::from_utf8_lossy(body))
            }
            Self::Delay(delay_ms, rest) => write!(f, "delay {delay_ms} {rest}"),
            Self::ApplyThen(rest) => write!(f, "apply-then {rest}"),
            Self::Hold(_) => f.write_str("hold"),
        }
    }
}
