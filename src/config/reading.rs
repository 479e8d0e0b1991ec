//! Reads the sources in order: the file, the environment, the command line. Each overrides the ones
//! before. Mistakes are collected, and reading goes on.
//!
//! What it must not know: whether two values fit each other (`checks.rs`), and what a secret is
//! (`apps.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::apps::AppDraft;
use super::callers::CallerDraft;
use super::certificates::Certificates;
use super::knobs::{Raw, Slot};
use super::{Config, Flags, Problems};

/// What the sources set so far, on top of the defaults.
#[derive(Default)]
pub(super) struct Reading {
    pub config: Config,
    pub apps: Vec<Block<AppDraft>>,
    pub callers: Vec<Block<CallerDraft>>,
    /// Where a key was set, by its path, in the order of the sources.
    pub set: BTreeMap<String, SetBy>,
    /// The keys whose value was refused.
    pub bad: BTreeSet<String>,
    /// Where each was found, unless several places are involved.
    problems: Vec<(Option<SetBy>, String)>,
    /// The file is no TOML, so what it sets is not known.
    pub file_lost: bool,
    /// When those that were read end.
    pub certificates: Vec<Certificates>,
}

/// One block of several, as far as it was read, and where it begins.
pub(super) struct Block<T> {
    pub draft: T,
    pub at: SetBy,
}

impl<T: Default> Block<T> {
    pub(super) fn new(at: SetBy) -> Self {
        Self { draft: T::default(), at }
    }
}

/// Where something was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SetBy {
    File { name: String, line: usize, column: usize },
    Variable(String),
    Flag(&'static str),
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetBy::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            SetBy::Variable(name) => f.write_str(name),
            SetBy::Flag(flag) => f.write_str(flag),
        }
    }
}

impl Reading {
    pub(super) fn problem(&mut self, origin: &SetBy, text: impl fmt::Display) {
        self.problems.push((Some(origin.clone()), one_line(&format!("{origin}: {text}"))));
    }

    /// A problem, and lines that would solve it.
    pub(super) fn problem_with_lines(&mut self, origin: &SetBy, text: &str, lines: &[String]) {
        let lines = lines.iter().map(|line| format!("\n      {line}"));
        let text =
            format!("{}{}", one_line(&format!("{origin}: {text}")), lines.collect::<String>());
        self.problems.push((Some(origin.clone()), text));
    }

    /// A problem that concerns several places, or none.
    pub(super) fn problem_of_all(&mut self, text: String) {
        self.problems.push((None, one_line(&text)));
    }

    /// In the order of the places: down the file, then the variables, then what concerns several.
    pub(super) fn into_problems(mut self) -> Problems {
        self.problems.sort_by(|(a, _), (b, _)| (a.is_none(), a).cmp(&(b.is_none(), b)));
        Problems(self.problems.into_iter().map(|(_, text)| text).collect())
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Sets a knob of the configuration.
    pub(super) fn put(&mut self, slot: &Slot<Config>, path: String, origin: SetBy, raw: Raw<'_>) {
        let outcome = slot.set(&mut self.config, raw);
        self.note(path, origin, outcome);
    }

    /// Remembers where a key was set, or why its value was refused.
    pub(super) fn note(&mut self, path: String, origin: SetBy, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.set.insert(path, origin);
            }
            Err(why) => {
                self.problem(&origin, format!("{path} {why}"));
                self.bad.insert(path);
            }
        }
    }

    pub(super) fn flags(&mut self, flags: Flags) {
        if let Some(addr) = flags.grpc_addr {
            self.config.grpc_addr = addr;
            self.note("server.grpc_addr".to_owned(), SetBy::Flag("--grpc-addr"), Ok(()));
        }
        if let Some(path) = flags.database {
            self.config.sqlite.path = path;
            self.note("store.sqlite_path".to_owned(), SetBy::Flag("--data-dir"), Ok(()));
        }
    }
}

/// In one line, because names of keys and variables may hold any character.
fn one_line(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}
