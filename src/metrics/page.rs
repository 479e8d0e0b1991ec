//! Prints the table of metrics, for `docs/metrics.md`.

use std::fmt::Write as _;

use super::family::Row;
use super::table;

/// Every metric as Markdown.
pub(crate) fn markdown() -> String {
    let mut page = String::new();
    for group in table::GROUPS {
        let _ = write!(page, "## {}\n\n| metric | type | unit | labels | meaning |\n", group.title);
        page += "| --- | --- | --- | --- | --- |\n";
        for metric in group.metrics {
            let Row { name, unit, labels, meaning } = metric.row();
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let (kind, unit) = (metric.kind(), unit.word());
            let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {meaning} |");
        }
        page.push('\n');
    }
    page
}
