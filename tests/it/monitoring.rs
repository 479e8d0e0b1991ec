//! The dashboard and the alerts use metrics that exist, and each alert says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

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

#[test]
fn every_alert_uses_what_exists_and_has_a_section_and_a_fault() {
    let (rules, faults) =
        (read("deploy/prometheus/alerts.yaml"), read("deploy/prometheus/alerts.test.yaml"));
    let (page, known) = (read("docs/alerts.md"), series());
    let mut tests = faults.split("\n  - name: ").skip(1);
    let hour = tests.next().and_then(|test| test.strip_prefix("a quiet hour\n")).unwrap();
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
        assert!(faults.contains(&format!("  - name: {name}\n")), "{name} is not shown to fire");
    }
    assert!(alerts > 20, "only {alerts} were found");
    assert_eq!(page.matches("\n## ").count(), alerts, "a section without an alert");
}
