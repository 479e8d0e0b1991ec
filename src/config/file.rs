//! Reads the TOML file. Several syntax errors are reported at once, and so are all other mistakes,
//! each with its line and column.
//!
//! No problem repeats a line of the file, because a person may have put a secret there.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::knobs::{Knob, Raw, Section, path};
use super::nearest::nearest;
use super::reading::{Block, Reading, SetBy};
use super::table::{APPS, CALLERS, GONE, Gone, SECTIONS};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The text of a file. `Err` follows the file's name.
pub(super) fn text(path: &Path) -> Result<String, String> {
    super::read_bounded(path, FILE_BYTES_MAX)
}

/// Reads a file's text; its name is for the problems.
pub(super) fn read(reading: &mut Reading, name: &str, text: &str) {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    let file = File { name, text };
    if errors.is_empty() {
        file.top(reading, table.get_ref());
        return;
    }
    reading.file_lost = true;
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    for error in errors {
        let origin = file.at(error.span().map_or(0, |span| span.start));
        reading.problem(&origin, format!("this is not TOML: {}", error.message()));
    }
}

/// Keys that a person may try, whose value must not stand in the file: the block, the key, and what
/// to do instead.
const SECRETS: [(&str, &str, &str); 5] = [
    (
        "apps",
        "client_secret",
        "a secret does not belong into this file: use client_secret_env or client_secret_file",
    ),
    ("apps", "salt", "a secret does not belong into this file: use salt_env or salt_file"),
    (
        "apps",
        "callback_token",
        "a secret does not belong into this file: use callback_token_env or callback_token_file",
    ),
    ("apps", "private_key", "a secret does not belong into this file: use private_key_file"),
    (
        "callers",
        "token",
        "a token does not belong into this file: its hash does, as token_sha256, which \
         `settlement-gateway new-token` prints",
    ),
];

struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn top(&self, reading: &mut Reading, table: &DeTable<'_>) {
        let top = SECTIONS.iter().filter(|section| section.name.is_empty());
        let top: Vec<_> = top.flat_map(|section| section.knobs).collect();
        for (key, value) in in_order(table) {
            let name: &str = key.get_ref();
            let at = self.at(key.span().start);
            let section = SECTIONS.iter().find(|section| section.name == name);
            if let Some(knob) = top.iter().find(|knob| knob.key == name) {
                reading.put(&knob.slot, name.to_owned(), at, Raw::Toml(value.get_ref()));
            } else if name == APPS.name {
                reading.apps = self.blocks(reading, &APPS, &at, value);
            } else if name == CALLERS.name {
                reading.callers = self.blocks(reading, &CALLERS, &at, value);
            } else if let Some(section) = section.filter(|section| !section.name.is_empty()) {
                match value.get_ref().as_table() {
                    Some(table) => self.section(reading, section, table),
                    None => reading.problem(&at, format!("{name} must be a table: [{name}]")),
                }
            } else {
                let tables = SECTIONS.iter().map(|section| section.name);
                let tables = tables.chain([APPS.name, CALLERS.name]);
                let keys = tables.chain(top.iter().map(|knob| knob.key));
                unknown(reading, &at, "", name, keys);
            }
        }
    }

    fn section(
        &self,
        reading: &mut Reading,
        section: &Section<super::Config>,
        table: &DeTable<'_>,
    ) {
        for (key, value) in in_order(table) {
            let name: &str = key.get_ref();
            let at = self.at(key.span().start);
            match find(section.knobs, name) {
                Some(knob) => {
                    let path = path(section.name, knob.key);
                    reading.put(&knob.slot, path, at, Raw::Toml(value.get_ref()));
                }
                None => match gone(section.name, name) {
                    Some(gone) => reading.problem(&at, gone.told()),
                    None => unknown(reading, &at, section.name, name, keys(section)),
                },
            }
        }
    }

    /// The blocks of a kind, of which there may be several.
    fn blocks<T: Default>(
        &self,
        reading: &mut Reading,
        section: &'static Section<T>,
        at: &SetBy,
        value: &Spanned<DeValue<'_>>,
    ) -> Vec<Block<T>> {
        let (kind, mut all) = (section.name, Vec::new());
        let Some(blocks) = value.get_ref().as_array() else {
            reading.problem(at, format!("{kind} must be blocks: [[{kind}]]"));
            return all;
        };
        for (i, block) in blocks.iter().enumerate() {
            let at = self.at(block.span().start);
            let name = format!("{kind}[{i}]");
            let Some(table) = block.get_ref().as_table() else {
                reading.problem(&at, format!("{name} must be a block: [[{kind}]]"));
                continue;
            };
            let mut read = Block::<T>::new(at);
            for (key, value) in in_order(table) {
                let (at, key): (_, &str) = (self.at(key.span().start), key.get_ref());
                let secret =
                    SECRETS.iter().find(|(block, secret, _)| (*block, *secret) == (kind, key));
                match (find(section.knobs, key), secret) {
                    (Some(knob), _) => {
                        let raw = Raw::Toml(value.get_ref());
                        let outcome = knob.slot.set(&mut read.draft, raw);
                        reading.note(path(&name, knob.key), at, outcome);
                    }
                    (None, Some((.., why))) => {
                        reading.note(path(&name, key), at, Err(format!("is no key: {why}")));
                    }
                    (None, None) => unknown(reading, &at, &name, key, keys(section)),
                }
            }
            all.push(read);
        }
        all
    }

    /// Lines and columns as editors count them.
    fn at(&self, offset: usize) -> SetBy {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        SetBy::File {
            name: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

/// The entries in the order of the file.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn find<T>(knobs: &'static [Knob<T>], key: &str) -> Option<&'static Knob<T>> {
    knobs.iter().find(|knob| knob.key == key)
}

fn gone(section: &str, key: &str) -> Option<&'static Gone> {
    GONE.iter().find(|gone| (gone.section, gone.key) == (section, key))
}

fn keys<T>(section: &Section<T>) -> impl Iterator<Item = &'static str> + use<T> {
    section.knobs.iter().map(|knob| knob.key)
}

fn unknown(
    reading: &mut Reading,
    at: &SetBy,
    section: &str,
    key: &str,
    known: impl Iterator<Item = &'static str>,
) {
    let elsewhere = SECTIONS.iter().filter(|other| other.name != section);
    let mut elsewhere = elsewhere.filter(|other| find(other.knobs, key).is_some());
    let hint = match (nearest(key, known), elsewhere.next()) {
        (_, Some(other)) if other.name.is_empty() => {
            "; it belongs before the first [table]".to_owned()
        }
        (_, Some(other)) => format!("; it belongs to [{}]", other.name),
        (Some(near), None) => format!("; did you mean {near}?"),
        (None, None) => String::new(),
    };
    reading.problem(at, format!("{} is no key{hint}", path(section, key)));
}
