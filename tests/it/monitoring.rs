//! The dashboard and the alerts use metrics that exist, and each alert says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{APP_ID, simulator};
use crate::process::{Process, Setting};
use crate::tidy::rust_files;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names of the series of all metrics, as `docs/metrics.md` lists them.
fn series() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let all = rows.flat_map(|row| {
        let (name, rest) = row.split_once('`').unwrap();
        let ends: &[&str] =
            if rest.starts_with(" | histogram") { &["_bucket", "_sum", "_count"] } else { &[""] };
        ends.iter().map(move |end| format!("{name}{end}"))
    });
    all.collect()
}

/// What in a query can only be the name of a series.
fn named(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
    let begins = ["settlement_", "rpc_server_", "process_"];
    words.filter(move |word| begins.iter().any(|begin| word.starts_with(begin)))
}

/// A series that a query asks for: its name, and which values of its labels are wanted.
struct Selector<'a> {
    name: &'a str,
    labels: Vec<(&'a str, Vec<&'a str>)>,
}

/// All selectors of our series in a query. `job` is the scraper's label.
fn selectors(query: &str) -> Vec<Selector<'_>> {
    let mut rest = query;
    let selectors = named(query).map(|name| {
        let (_, after) = rest.split_once(name).unwrap();
        rest = after;
        let labels = after.strip_prefix('{').and_then(|labels| labels.split_once('}'));
        let labels = labels.map_or("", |(labels, _)| labels).split(',');
        let labels = labels.filter(|label| !label.is_empty()).map(|label| {
            let (label, values) = label.split_once('=').unwrap();
            (label, values.trim_start_matches('~').trim_matches('"').split('|').collect())
        });
        Selector { name, labels: labels.filter(|(label, _)| *label != "job").collect() }
    });
    selectors.collect()
}

impl Selector<'_> {
    /// Whether a line of the metrics is of a series that it finds; `but`: with this label only.
    fn finds(&self, line: &str, but: Option<(&str, &str)>) -> bool {
        let has = |label: &str, value: &str| line.contains(&format!("{label}=\"{value}\""));
        line.strip_prefix(self.name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && self.labels.iter().all(|(label, values)| values.iter().any(|v| has(label, v)))
            && but.is_none_or(|(label, value)| has(label, value))
    }
}

/// The values of all keys with this name.
fn values<'a>(json: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match json {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|value| values(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| values(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/settlement-gateway.json")).unwrap();
    let mut queries = Vec::new();
    values(&dashboard, "expr", &mut queries);
    let known = series();
    let used: BTreeSet<&str> = queries.iter().flat_map(|query| named(query)).collect();
    let unknown: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let plain =
        |name: &&String| !["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
    // How many connections may be open is known before they are.
    let left: Vec<_> =
        known.iter().filter(plain).filter(|name| !used.contains(name.as_str())).collect();
    assert_eq!(left, ["settlement_connections_allowed"]);
}

/// A metric whose value no test reads may stand still for ever.
#[test]
fn the_value_of_every_metric_is_read_by_a_test() {
    let files = rust_files("tests/it").into_iter().filter(|file| !file.ends_with(file!()));
    let texts: Vec<String> = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    // A text that begins with the whole name, and not one in a list of what is not looked at.
    let lines = texts.iter().flat_map(|text| text.lines());
    let lines: Vec<&str> = lines.filter(|line| !line.starts_with("const WITHOUT")).collect();
    let is_read = |name: &str| {
        let begins = format!("\"{name}");
        let ends = ["\"", "{", "_count", "_sum", "_bucket"];
        let mut rests = lines.iter().flat_map(|line| line.split(&begins).skip(1));
        rests.any(|rest| ends.iter().any(|end| rest.starts_with(end)))
    };
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: Vec<&str> = rows.map(|row| row.split_once('`').unwrap().0).collect();
    assert!(names.len() > 60, "only {} were found", names.len());
    let unread: Vec<_> = names.into_iter().filter(|name| !is_read(name)).collect();
    assert_eq!(unread, Vec::<&str>::new());
}

#[test]
fn every_alert_uses_what_exists_and_has_a_section_and_a_fault() {
    let (rules, faults) =
        (read("deploy/prometheus/alerts.yaml"), read("deploy/prometheus/alerts.test.yaml"));
    let (page, known) = (read("docs/alerts.md"), series());
    let played: Vec<&str> = faults.split("\n  - name: ").skip(1).collect();
    let hour = played[0].strip_prefix("a quiet hour\n").unwrap();
    let no_alert_at_any_time = "\
      - expr: 'sum by (alertname) (count_over_time(ALERTS{alertstate=\"firing\"}[60m]))'
        eval_time: 60m
        exp_samples: []";
    assert!(hour.ends_with(no_alert_at_any_time), "{hour}");
    let mut alerts = 0;
    for rule in rules.split("      - alert: ").skip(1) {
        alerts += 1;
        let (name, rule) = rule.split_once('\n').unwrap();
        let field = |key: &str| {
            let line = rule.lines().find_map(|line| line.trim().strip_prefix(key));
            line.unwrap_or_else(|| panic!("{name} has no {key}"))
        };
        for series in named(field("expr: ")) {
            assert!(known.contains(series), "{name}: {series}");
            assert!(hour.contains(&format!("'{series}")), "{name}: no {series} in the quiet hour");
        }
        assert_eq!(field("runbook: "), format!("docs/alerts.md#{}", name.to_lowercase()));
        let section = page.split("\n## ").find_map(|section| section.strip_prefix(name));
        let section = section.unwrap_or_else(|| panic!("{name} has no section"));
        for part in ["**Means:**", "**How bad:**", "**Do:**"] {
            assert!(section.contains(part), "{name}: {part}");
        }
        assert!(section.contains(&format!("`{}`", field("severity: "))), "{name}");
        let mut plays = played.iter().filter_map(|play| play.strip_prefix(name));
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels: ");
        let shown = plays.any(|play| play.starts_with([',', '\n']) && play.contains(&fires));
        assert!(shown, "{name} is not shown to fire");
    }
    assert!(alerts > 20, "only {alerts} were found");
    assert_eq!(page.matches("\n## ").count(), alerts, "a section without an alert");
}

/// Else the first event is no increase, and a word that is written wrong silences its alert.
#[tokio::test]
async fn every_series_on_which_an_alert_stands_is_there_from_the_first_look_on() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let keys = dir.path().join("keys.pem");
    fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let (certificate, key) = crate::config::certificate(dir.path());
    let server = format!(
        "callback_tls_certificate_file = {certificate:?}\ncallback_tls_key_file = {key:?}\n"
    );
    let (platform_keys, descriptors) = (Some(keys), Some(4_096));
    let setting = Setting { platform_keys, descriptors, server, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let metrics = gateway.metrics().await;
    let rules = read("deploy/prometheus/alerts.yaml");
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let selectors: Vec<_> = expressions.flat_map(selectors).collect();
    for selector in &selectors {
        let Selector { name, labels } = selector;
        let each = labels.iter().flat_map(|(label, values)| values.iter().map(|v| (*label, *v)));
        for but in each.map(Some).chain([None]) {
            let found = metrics.lines().any(|line| selector.finds(line, but));
            assert!(found, "{name}, {labels:?}, {but:?}: {metrics}");
        }
    }
    assert!(selectors.len() > 30, "only {} were found", selectors.len());
    // Of all that a create can be answered, not only of one.
    for reason in ["UPSTREAM_RATE_LIMITED", "SYSTEM_ERROR", "UPSTREAM_UNAVAILABLE"] {
        let labels = format!("reason=\"{reason}\",outcome=\"unknown\"");
        let is = |line: &str| line.contains("rpc=\"CreateSettle\"") && line.contains(&labels);
        assert!(metrics.lines().any(is), "{reason}: {metrics}");
    }
}
