//! Compares the file descriptors that a configuration may need with those that the process may
//! open. A connection too many is turned away with a message; a descriptor too few stops
//! everything.

use super::{Config, Problems, knobs};

/// For everything that no knob sizes: the log, listeners, timers, name lookups, an operator who
/// looks at the process, and connections that are being turned away.
pub(super) const DESCRIPTORS_RESERVED: u64 = 64;
/// The database, its log and the index of that.
const DESCRIPTORS_PER_SQLITE_CONNECTION: u64 = 3;

/// What needs descriptors, and how many.
pub type Needs = Vec<(&'static str, u64)>;

impl Config {
    /// The most file descriptors that this configuration needs, by the knob that sizes them.
    pub fn descriptors(&self) -> Needs {
        let count = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let callbacks = match self.takes_callbacks() {
            true => count(self.callback.limits.connections_max),
            false => 0,
        };
        let in_flight = self.apps.iter().map(|app| {
            // One more for fetching a token.
            u64::from(app.budget.requests_in_flight).saturating_add(1)
        });
        let store = match &self.store.url {
            // One more, while one takes the place of another.
            Some(_) => u64::from(self.store.connections_max).saturating_add(1),
            // The writer, what moves the log, and the check of a start.
            None => u64::from(self.sqlite.readers)
                .saturating_add(3)
                .saturating_mul(DESCRIPTORS_PER_SQLITE_CONNECTION),
        };
        // To each of Douyin's hosts that an app needs.
        let signs = self.apps.iter().any(|app| app.signing_key.is_some() || app.salt.is_some());
        let hosts = if signs { 2 } else { 1 };
        let idle = count(self.douyin.idle_connections_max).saturating_mul(hosts);
        vec![
            ("server.connections_max", count(self.grpc.connections_max)),
            ("server.callback_connections_max", callbacks),
            ("admin", count(crate::http::admin::limits().connections_max)),
            ("requests_in_flight of the apps", in_flight.fold(0, u64::saturating_add)),
            ("douyin.idle_connections_max", idle),
            ("store", store),
            ("kept for the rest", DESCRIPTORS_RESERVED),
        ]
    }
}

/// Whether this many are enough.
pub fn suffice(allowed: Option<u64>, needs: &Needs) -> Result<(), Problems> {
    let needed = total(needs);
    let Some(allowed) = allowed.filter(|allowed| *allowed < needed) else { return Ok(()) };
    let grouped = |number: u64| knobs::grouped(&number.to_string());
    let parts = needs.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<_> = parts.map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
    Err(Problems(vec![format!(
        "the process may open {} file descriptors (`ulimit -Hn`), and the limits add up to {}: {}; \
         raise the one or lower the others",
        grouped(allowed),
        grouped(needed),
        parts.join(" + "),
    )]))
}

/// The sum.
pub fn total(needs: &Needs) -> u64 {
    needs.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_its_parts() {
        let needs = vec![("server.connections_max", 2_048), ("callbacks", 0), ("store", 15)];
        assert!(suffice(Some(2_063), &needs).is_ok() && suffice(None, &needs).is_ok());
        let problems = suffice(Some(2_062), &needs).unwrap_err().to_string();
        let parts = "2_063: server.connections_max 2_048 + store 15; raise";
        assert!(problems.contains("may open 2_062 file") && problems.contains(parts), "{problems}");
    }

    /// What many distributions grant; a container usually has a million.
    #[test]
    fn the_defaults_fit_into_4096() {
        assert!(total(&Config::default().descriptors()) + 1_024 + 65 <= 4_096);
    }
}
