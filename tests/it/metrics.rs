//! What an operator's monitoring reads at `/metrics`.

use std::collections::BTreeSet;

use tempfile::TempDir;

use crate::harness::{APP_ID, create_on, create_request, number, simulator, watch_request, within};
use crate::process::{Process, Setting};

/// Those that have no series in this run: there is no certificate, and perhaps no limit.
const WITHOUT: [&str; 2] = ["settlement_certificate_end_timestamp_seconds", "process_max_fds"];

/// The names of the series of a metric, and of a histogram's parts.
fn names(metrics: &str) -> BTreeSet<&str> {
    let series = metrics.lines().filter(|line| !line.starts_with('#'));
    series.map(|line| line.split(['{', ' ']).next().unwrap()).collect()
}

#[tokio::test]
async fn every_row_of_the_table_is_shown_and_what_happens_is_counted() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let (good, bad) = (number("good"), number("bad"));
    let mut client = gateway.client.clone();
    within("CreateSettle", client.create_settle(create_request(&good))).await.unwrap();
    gateway.end(&good).await;
    let refused = client.create_settle(create_on(&bad, "sim-err-23102-1"));
    within("CreateSettle", refused).await.unwrap_err();
    let unknown = client.watch_settle(watch_request("unknown", 0));
    within("WatchSettle", unknown).await.unwrap_err();

    let metrics = gateway.metrics().await;
    let shown = names(&metrics);
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for (name, kind) in types.map(|line| line.split_once(' ').unwrap()) {
        let series = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        assert!(shown.contains(&*series) || WITHOUT.contains(&name), "{name}: {metrics}");
    }
    let of_create = "settlement_calls_total{rpc=\"CreateSettle\"";
    let method = "rpc_method=\"douyin.settlement.v1.SettlementService/CreateSettle\"";
    let to_douyin = format!("settlement_douyin_calls_total{{app_id=\"{APP_ID}\",trade_system=");
    let settles = format!("{{app_id=\"{APP_ID}\",state=\"SUCCEEDED\"}}");
    for (series, value) in [
        (format!("{of_create},code=\"OK\",reason=\"\",outcome=\"\"}}"), 1.0),
        (
            format!(
                "{of_create},code=\"FAILED_PRECONDITION\",reason=\"ORDER_NOT_PAID\",\
                 outcome=\"refused\"}}"
            ),
            1.0,
        ),
        (format!("rpc_server_call_duration_seconds_count{{{method},rpc_status_code=\"OK\"}}"), 1.0),
        (
            format!(
                "{to_douyin}\"general\",endpoint=\"settle_create\",outcome=\"accepted\",\
                 err_no=\"0\"}}"
            ),
            1.0,
        ),
        (
            format!(
                "{to_douyin}\"platform\",endpoint=\"client_token\",outcome=\"fetched\",\
                 err_no=\"0\"}}"
            ),
            1.0,
        ),
        ("settlement_watches_ended_total{ending=\"FINAL\"}".to_owned(), 1.0),
        ("settlement_watches_ended_total{ending=\"SETTLE_NOT_FOUND\"}".to_owned(), 1.0),
        (format!("settlement_settle_duration_seconds_count{settles}"), 1.0),
        ("settlement_ready".to_owned(), 1.0),
    ] {
        let shown = gateway.metric(&series).await;
        assert!((shown - value).abs() < 0.1, "{series} {shown}: {metrics}");
    }
}
