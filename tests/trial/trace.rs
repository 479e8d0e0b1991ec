//! What happened in a run, line by line, for reading a failing seed.

use std::cell::RefCell;
use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Whether a run keeps its trace: writing it down takes time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    Lines,
    Nothing,
}

/// The lines of one run; its time is put in front of each by the world.
pub struct Trace {
    keep: Keep,
    pub lines: Vec<String>,
}

impl Trace {
    pub fn new(keep: Keep) -> Self {
        Self { keep, lines: Vec::new() }
    }

    /// Adds a line. `at_ms` is the time since the run began.
    pub fn add(&mut self, at_ms: u128, who: &str, what: impl FnOnce() -> String) {
        if self.keep == Keep::Lines {
            let (s, ms) = (at_ms / 1000, at_ms % 1000);
            self.lines.push(format!("{s:>7}.{ms:03}  {who:<10}  {}", what()));
        }
    }
}

/// What the gateways' own log said on this thread, until the world takes it down.
struct Heard {
    level_max: Level,
    lines: Vec<(Level, String)>,
}

thread_local! {
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Listens to the log of this thread for as long as it lives.
pub struct Ear;

impl Ear {
    pub fn new(keep: Keep) -> Self {
        let level_max = match keep {
            Keep::Lines => Level::INFO,
            Keep::Nothing => Level::ERROR,
        };
        HEARD.set(Some(Heard { level_max, lines: Vec::new() }));
        Self
    }

    /// What was heard since this was asked last, with its level: an error is something that a
    /// person must look at.
    pub fn take() -> Vec<(Level, String)> {
        HEARD.with_borrow_mut(|heard| {
            heard.as_mut().map(|heard| std::mem::take(&mut heard.lines)).unwrap_or_default()
        })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}

/// Hands the events of this thread to its [`Ear`].
pub struct ToEar;

impl<S: Subscriber> Layer<S> for ToEar {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        HEARD.with_borrow_mut(|heard| {
            let Some(heard) = heard else { return };
            let level = *event.metadata().level();
            // When a settle changed is known by its gateway alone.
            let changes = event.metadata().target() == "settlement_gateway::gateway::observe";
            if level <= heard.level_max || changes && level <= Level::INFO {
                let mut text = Text(String::new());
                event.record(&mut text);
                heard.lines.push((level, text.0));
            }
        });
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?} ");
        } else {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }
}
