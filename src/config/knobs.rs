//! What a knob is: a key of the file, and a variable of the environment, that set one field within
//! bounds. `table.rs` has all knobs.
//!
//! What it must not know: where a value was written, and whether two values fit each other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::http::admin::Hosts;
use crate::settle::AppId;

/// The knobs of one table of the file.
pub(super) struct Section<T: 'static> {
    /// The table's name; empty for the keys of no table.
    pub name: &'static str,
    /// What the table is about, in sentences.
    pub intro: &'static str,
    pub knobs: &'static [Knob<T>],
}

/// One knob, documented.
pub(super) struct Knob<T: 'static> {
    pub key: &'static str,
    pub slot: Slot<T>,
    /// What it does and what it costs, in sentences, with the names of keys in backticks.
    pub meaning: &'static str,
}

/// The field that a knob sets, and its allowed values. Bounds are inclusive. The default is the
/// value in the default `T`.
pub(super) enum Slot<T: 'static> {
    /// A duration, written in whole milliseconds.
    Ms {
        of: fn(&mut T) -> &mut Duration,
        bounds: (u64, u64),
    },
    Count {
        of: fn(&mut T) -> &mut usize,
        unit: &'static str,
        bounds: (u64, u64),
    },
    Number {
        of: fn(&mut T) -> &mut u32,
        unit: &'static str,
        bounds: (u64, u64),
    },
    Switch {
        get: fn(&T) -> bool,
        set: fn(&mut T, bool),
    },
    /// One of a few words.
    Word {
        words: &'static [&'static str],
        get: fn(&T) -> &'static str,
        /// Whether it is one of them.
        set: fn(&mut T, &str) -> bool,
    },
    Address {
        of: fn(&mut T) -> &mut SocketAddr,
    },
    /// An array in the file, separated by commas in a variable.
    Hosts {
        of: fn(&mut T) -> &mut Hosts,
    },
    /// Several texts: an array in the file, separated by commas in a variable.
    Texts {
        of: fn(&mut T) -> &mut Vec<String>,
        rule: &'static Rule,
        example: &'static [&'static str],
    },
    Path {
        of: fn(&mut T) -> &mut PathBuf,
    },
    Text {
        of: fn(&mut T) -> &mut String,
        rule: &'static Rule,
    },
    /// A text that may be left out.
    Optional {
        of: fn(&mut T) -> &mut Option<String>,
        rule: &'static Rule,
        example: Example,
    },
    App {
        of: fn(&mut T) -> &mut Option<AppId>,
        bounds: &'static str,
        example: Example,
    },
}

/// What a text must be.
pub(super) struct Rule {
    /// What it is: [`PATH`], [`SECRET_PATH`], an address.
    pub unit: &'static str,
    /// The rule in words, for the documentation.
    pub bounds: &'static str,
    /// What is wrong with a text. It follows the key's path and never repeats the text.
    pub check: fn(&str) -> Result<(), String>,
}

/// Names a file that is read.
pub(super) const PATH: &str = "path";
/// Names a file that is read and holds a secret.
pub(super) const SECRET_PATH: &str = "path of a secret";
/// Names a variable that holds a secret.
pub(super) const SECRET_VARIABLE: &str = "name of a secret's variable";

/// What the example file shows of a knob without a default.
#[derive(Clone, Copy)]
pub(super) enum Example {
    /// As an active line.
    Active(&'static str),
    /// As a comment.
    Inactive(&'static str),
    /// Several texts, as a comment.
    Several(&'static [&'static str]),
}

/// A value as it was written.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    /// In the file.
    Toml(&'a DeValue<'a>),
    /// In the environment.
    Text(&'a str),
}

/// The beginning of the names of all variables.
pub(super) const PREFIX: &str = "SETTLEMENT_";

/// The full key: `server.grpc_addr`.
pub(super) fn path(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// The variable that sets a knob: `SETTLEMENT_SERVER_GRPC_ADDR`.
pub(super) fn variable(section: &str, key: &str) -> String {
    let path = path(section, key).replace('.', "_");
    format!("{PREFIX}{}", path.to_ascii_uppercase())
}

impl<T> Slot<T> {
    /// Sets the field. An error follows the key's path: "is 3; it must be …".
    pub(super) fn set(&self, target: &mut T, raw: Raw<'_>) -> Result<(), String> {
        match self {
            Slot::Ms { of, bounds } => {
                *of(target) = Duration::from_millis(raw.whole(*bounds)?);
            }
            Slot::Count { of, bounds, .. } => {
                let count = raw.whole(*bounds)?;
                *of(target) = usize::try_from(count).map_err(|error| error.to_string())?;
            }
            Slot::Number { of, bounds, .. } => {
                let count = raw.whole(*bounds)?;
                *of(target) = u32::try_from(count).map_err(|error| error.to_string())?;
            }
            Slot::Switch { set, .. } => set(target, raw.switch()?),
            Slot::Word { words, set, .. } => {
                if !set(target, raw.text()?) {
                    return Err(format!("must be {}", words.join(" or ")));
                }
            }
            Slot::Address { of } => {
                let text = raw.text()?;
                let wrong = |_| format!("is {text:?}; it must be an IP address and a port");
                *of(target) = text.parse().map_err(wrong)?;
            }
            Slot::Hosts { of } => *of(target) = Hosts::parse(raw.texts()?)?,
            Slot::Texts { of, rule, .. } => {
                let texts = raw.texts()?;
                for (number, text) in (1..).zip(&texts) {
                    (rule.check)(text)
                        .map_err(|why| format!("has an entry ({number}) that {why}"))?;
                }
                *of(target) = texts.into_iter().map(str::to_owned).collect();
            }
            Slot::Path { of } => *of(target) = PathBuf::from(raw.not_empty()?),
            Slot::Text { of, rule } => *of(target) = rule.keep(raw)?,
            Slot::Optional { of, rule, .. } => *of(target) = Some(rule.keep(raw)?),
            Slot::App { of, .. } => {
                let app_id = AppId::parse(raw.text()?).map_err(|invalid| invalid.to_string())?;
                *of(target) = Some(app_id);
            }
        }
        Ok(())
    }

    /// The file that it names and that is read, if it is such a knob.
    pub(super) fn file<'t>(&self, target: &'t mut T) -> Option<&'t str> {
        match self.names_file() {
            Some(of) => of(target).as_deref(),
            None => None,
        }
    }

    /// The field, if it names a file that is read.
    pub(super) fn names_file(&self) -> Option<fn(&mut T) -> &mut Option<String>> {
        let Slot::Optional { of, rule, .. } = self else { return None };
        [PATH, SECRET_PATH].contains(&rule.unit).then_some(*of)
    }

    /// The field as the file spells it; `None` if it is unset.
    pub(super) fn written(&self, target: &mut T) -> Option<String> {
        let text = |text: &str| format!("{text:?}");
        Some(match self {
            Slot::Ms { of, .. } => grouped(&of(target).as_millis().to_string()),
            Slot::Count { of, .. } => grouped(&of(target).to_string()),
            Slot::Number { of, .. } => grouped(&of(target).to_string()),
            Slot::Switch { get, .. } => get(target).to_string(),
            Slot::Word { get, .. } => text(get(target)),
            Slot::Address { of } => text(&of(target).to_string()),
            Slot::Hosts { of } => {
                format!("[{}]", of(target).names().map(text).collect::<Vec<_>>().join(", "))
            }
            Slot::Texts { of, .. } if of(target).is_empty() => return None,
            Slot::Texts { of, .. } => format!("{:?}", of(target)),
            Slot::Path { of } => text(&of(target).to_string_lossy()),
            Slot::Text { of, .. } => text(of(target)),
            Slot::Optional { of, .. } => text(of(target).as_ref()?),
            Slot::App { of, .. } => text(of(target).as_ref()?.as_str()),
        })
    }

    /// What a plain value means.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Slot::Ms { .. } => "ms",
            Slot::Count { unit, .. } | Slot::Number { unit, .. } => unit,
            Slot::Switch { .. } => "boolean",
            Slot::Word { .. } => "word",
            Slot::Address { .. } => "address and port",
            Slot::Hosts { .. } => "names of hosts",
            Slot::Path { .. } => PATH,
            Slot::Text { rule, .. } | Slot::Optional { rule, .. } | Slot::Texts { rule, .. } => {
                rule.unit
            }
            Slot::App { .. } => "text",
        }
    }

    /// The bounds in words; empty if there are none.
    pub(super) fn bounds(&self) -> String {
        match self {
            Slot::Ms { bounds, .. } | Slot::Count { bounds, .. } | Slot::Number { bounds, .. } => {
                within(*bounds)
            }
            Slot::Text { rule, .. } | Slot::Optional { rule, .. } | Slot::Texts { rule, .. } => {
                rule.bounds.to_owned()
            }
            Slot::App { bounds, .. } => (*bounds).to_owned(),
            Slot::Word { words, .. } => words.join(" or "),
            Slot::Hosts { .. } => "at most 64".to_owned(),
            Slot::Switch { .. } | Slot::Address { .. } | Slot::Path { .. } => String::new(),
        }
    }

    /// What the example shows of a knob without a default.
    pub(super) fn example(&self) -> Option<Example> {
        match self {
            Slot::Optional { example, .. } | Slot::App { example, .. } => Some(*example),
            Slot::Texts { example, .. } => Some(Example::Several(example)),
            Slot::Ms { .. }
            | Slot::Count { .. }
            | Slot::Number { .. }
            | Slot::Switch { .. }
            | Slot::Word { .. }
            | Slot::Address { .. }
            | Slot::Hosts { .. }
            | Slot::Path { .. }
            | Slot::Text { .. } => None,
        }
    }
}

impl Rule {
    fn keep(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.not_empty()?;
        (self.check)(text)?;
        Ok(text.to_owned())
    }
}

impl<'a> Raw<'a> {
    fn whole(self, bounds: (u64, u64)) -> Result<u64, String> {
        let must = || format!("it must be {}", within(bounds));
        let number = match self {
            // The parser has removed the underscores already.
            Raw::Toml(DeValue::Integer(number)) => {
                i128::from_str_radix(number.as_str(), number.radix()).ok()
            }
            Raw::Toml(_) => None,
            Raw::Text(text) => text.replace('_', "").parse().ok(),
        };
        let Some(number) = number else {
            return Err(format!("is {}; {}", self.shown(), must()));
        };
        let whole = u64::try_from(number).ok().filter(|n| (bounds.0..=bounds.1).contains(n));
        whole.ok_or_else(|| format!("is {}; {}", grouped(&number.to_string()), must()))
    }

    fn switch(self) -> Result<bool, String> {
        match self {
            Raw::Toml(DeValue::Boolean(switch)) => return Ok(*switch),
            Raw::Text("true") => return Ok(true),
            Raw::Text("false") => return Ok(false),
            Raw::Toml(_) | Raw::Text(_) => {}
        }
        Err(format!("is {}; it must be true or false", self.shown()))
    }

    fn text(self) -> Result<&'a str, String> {
        match self {
            Raw::Toml(DeValue::String(text)) => Ok(text),
            Raw::Text(text) => Ok(text),
            Raw::Toml(_) => Err(format!("is {}; it must be a text in quotes", self.shown())),
        }
    }

    fn texts(self) -> Result<Vec<&'a str>, String> {
        match self {
            Raw::Toml(DeValue::Array(items)) => {
                items.iter().map(|item| Raw::Toml(item.get_ref()).text()).collect()
            }
            Raw::Toml(_) => {
                Err(format!("is {}; it must be an array of texts in quotes", self.shown()))
            }
            Raw::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
            Raw::Text(text) => Ok(text.split(',').map(str::trim).collect()),
        }
    }

    fn not_empty(self) -> Result<&'a str, String> {
        match self.text()? {
            "" => Err("must not be empty".to_owned()),
            text => Ok(text),
        }
    }

    /// A text may be a secret, so it is not shown; other values are not.
    fn shown(self) -> String {
        match self {
            Raw::Toml(DeValue::String(_)) => "a text".to_owned(),
            Raw::Toml(DeValue::Integer(number)) => number.to_string(),
            Raw::Toml(value) => format!("a TOML {}", value.type_str()),
            Raw::Text(text) => format!("{text:?}"),
        }
    }
}

fn within((min, max): (u64, u64)) -> String {
    format!("{} to {}", grouped(&min.to_string()), grouped(&max.to_string()))
}

/// Digits in groups of three, as TOML allows them.
pub(super) fn grouped(digits: &str) -> String {
    let count = digits.chars().count();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (count - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push('_');
        }
        text.push(digit);
    }
    text
}
