//! Limits the log lines of libraries. A peer can make them log as well (h2 warns of each PING
//! answer that it did not ask for), and their code does not use [`LogLimit`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use crate::log_limit::{Cause, LogLimit};

/// How the targets of this crate begin.
pub(super) const OURS: &str = env!("CARGO_CRATE_NAME");

/// The limits of libraries, one for each place in their code.
#[derive(Default)]
pub(super) struct Libraries(Mutex<HashMap<Identifier, &'static LogLimit>>);

/// It turns away no place in the code for good, and no level: that is for other filters.
impl<S> Filter<S> for Libraries {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, about: &'static Metadata<'static>) -> Interest {
        // Not `always` where an event may be turned away: tracing-subscriber takes that for a bug.
        if is_limited(about) { Interest::sometimes() } else { Interest::always() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event.metadata())
    }
}

/// An operator who asks for a library's DEBUG lines wants all of them.
fn is_limited(about: &Metadata<'_>) -> bool {
    *about.level() <= Level::INFO && !about.target().starts_with(OURS)
}

impl Libraries {
    pub(super) fn admits(&self, about: &'static Metadata<'static>) -> bool {
        !is_limited(about) || self.of(about).admits()
    }

    /// Lives as long as the place in the code, which is for ever.
    fn of(&self, about: &'static Metadata<'static>) -> &'static LogLimit {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limits.entry(about.callsite()).or_insert_with(|| {
            let (level, target, line) = (*about.level(), about.target(), about.name());
            Box::leak(Box::new(LogLimit::new(Cause::Stranger, level, target, line)))
        })
    }
}
