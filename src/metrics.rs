//! What this process counts and measures. Floor 0: nothing here knows who counts, or who asks.
//!
//! Each metric is one row of [`table`], and nothing else can be counted. Like the log, the metrics
//! belong to the process: gateways that one process plays in a simulation count together. No rule
//! depends on a count.

mod family;
mod page;
mod table;

use std::fmt::Write as _;

pub(crate) use family::{Counter, OTHER};
pub(crate) use page::markdown;
pub(crate) use table::*;

/// All metrics, in the text format of Prometheus.
pub(crate) fn text() -> String {
    let mut text = String::new();
    for metric in table::GROUPS.iter().flat_map(|group| group.metrics) {
        let family::Row { name, meaning, .. } = metric.row();
        let kind = metric.kind();
        let _ = write!(text, "# HELP {name} {meaning}\n# TYPE {name} {kind}\n");
        metric.write(&mut text);
    }
    text
}
