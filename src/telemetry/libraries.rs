//! Limits the log lines of libraries. A peer can make them log as well (h2 warns of each PING
//! answer that it did not ask for), and their code does not use [`LogLimit`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::log_limit::{Cause, LogLimit};

/// How the targets of this crate begin.
pub(super) const OURS: &str = env!("CARGO_CRATE_NAME");

/// The limits of libraries, one for each place in their code.
#[derive(Default)]
pub(super) struct Libraries(Mutex<HashMap<Identifier, &'static LogLimit>>);

impl<S: Subscriber> Layer<S> for Libraries {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        // An operator who asks for a library's DEBUG lines wants all of them.
        let talkative = *about.level() > Level::INFO;
        talkative || about.target().starts_with(OURS) || self.of(about).admits()
    }
}

impl Libraries {
    /// Lives as long as the place in the code, which is for ever.
    fn of(&self, about: &'static Metadata<'static>) -> &'static LogLimit {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limits.entry(about.callsite()).or_insert_with(|| {
            let (level, target, line) = (*about.level(), about.target(), about.name());
            Box::leak(Box::new(LogLimit::new(Cause::Stranger, level, target, line)))
        })
    }
}
