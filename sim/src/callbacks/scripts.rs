//! What goes wrong with one attempt to deliver a callback, and where that is set.
//!
//! Three sources, in this order: a one-shot script for its number, the standing script, and faults
//! drawn from the seed (`weather.rs`). A word in the order number, `sim-quiet-…`, keeps callbacks
//! from coming up at all. In JSON one is a word, `{"wander": MS}` or `{"delay": [MS, script]}`.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::faults::Gate;

/// One way to treat one attempt.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackScript {
    /// It arrives, and its answer counts.
    Normal,
    /// It never arrives. The platform waits for its answer in vain.
    Lose,
    /// It arrives, but the platform gets no answer.
    LoseAnswer,
    /// It arrives twice at the same time.
    Twice,
    /// It arrives this much later, in milliseconds, when the platform has given the attempt up.
    Wander(u64),
    /// The platform lets another callback of the app go first, or ten seconds pass.
    Behind,
    /// The platform begins this much later, in milliseconds, and then does the rest.
    Delay(u64, Box<CallbackScript>),
    /// The signature is that of other bytes.
    WrongSignature,
    /// Half of the body is missing, and the headers do not show it.
    Truncate,
    /// The connection is closed after half of the body.
    Cut,
    /// The callback is given up without having been sent.
    Never,
    /// It arrives, with the time and signature of now, when the test opens the gate.
    #[serde(skip_deserializing)]
    Hold(Gate),
}

impl CallbackScript {
    /// Begins this much later, then does `rest`.
    #[must_use]
    pub fn delay(delay_ms: u64, rest: Self) -> Self {
        Self::Delay(delay_ms, Box::new(rest))
    }
}

impl fmt::Display for CallbackScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Wander(ms) => return write!(f, "wander {ms}"),
            Self::Delay(ms, rest) => return write!(f, "delay {ms} {rest}"),
            Self::Normal => "normal",
            Self::Lose => "lose",
            Self::LoseAnswer => "lose-answer",
            Self::Twice => "twice",
            Self::Behind => "behind",
            Self::WrongSignature => "wrong-signature",
            Self::Truncate => "truncate",
            Self::Cut => "cut",
            Self::Never => "never",
            Self::Hold(_) => "hold",
        };
        f.write_str(word)
    }
}

/// The scripts that tests have queued.
#[derive(Debug, Default)]
pub(crate) struct CallbackScripts {
    /// One-shot, by the settle's number or its id.
    once: HashMap<String, VecDeque<CallbackScript>>,
    always: Option<CallbackScript>,
}

impl CallbackScripts {
    /// Appends to what the next attempts for this number get.
    pub(crate) fn queue(&mut self, key: &str, scripts: Vec<CallbackScript>) {
        self.once.entry(key.to_owned()).or_default().extend(scripts);
    }

    /// Sets or clears the script of every attempt that has no script of its own.
    pub(crate) fn set_always(&mut self, script: Option<CallbackScript>) {
        self.always = script;
    }

    /// The standing script.
    pub(crate) fn always(&self) -> Option<&CallbackScript> {
        self.always.as_ref()
    }

    /// The next script for an attempt of this settle. A one-shot script is used up.
    pub(super) fn next(&mut self, keys: [&str; 2]) -> Option<CallbackScript> {
        keys.iter().find_map(|key| self.next_once(key)).or_else(|| self.always.clone())
    }

    fn next_once(&mut self, key: &str) -> Option<CallbackScript> {
        let queue = self.once.get_mut(key)?;
        let script = queue.pop_front();
        if queue.is_empty() {
            self.once.remove(key);
        }
        script
    }
}
