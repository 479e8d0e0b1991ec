//! What an operator's monitoring reads at `/metrics`.

mod faults;

use std::collections::BTreeSet;

use bytes::Bytes;
use douyin_sim::Script;
use settlement_gateway::proto::v1::CreateSettleRequest;
use tempfile::TempDir;
use tonic::Code;

use crate::harness::{APP_ID, create_on, create_request, number, simulator, watch_request, within};
use crate::process::{Process, Setting};
use crate::raw::{Call, Wire};

/// Those that have no series in this run: there is no certificate, and perhaps no limit. The test
/// in `monitoring.rs` that looks for those which no test reads passes over this line.
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
    let to_create = "{endpoint=\"settle_create\",outcome=\"accepted\"}";
    let changes =
        format!("settlement_settle_changes_total{{app_id=\"{APP_ID}\",trade_system=\"general\",");
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
        (format!("settlement_douyin_call_duration_seconds_count{to_create}"), 1.0),
        (format!("{changes}state=\"SUBMITTING\",source=\"gateway\"}}"), 2.0),
        (format!("{changes}state=\"SUCCEEDED\",source=\"query\"}}"), 1.0),
        ("settlement_watches_allowed".to_owned(), 20_000.0),
        ("settlement_connections_allowed{listener=\"grpc\"}".to_owned(), 2_048.0),
        ("settlement_watches_ended_total{ending=\"FINAL\"}".to_owned(), 1.0),
        ("settlement_watches_ended_total{ending=\"SETTLE_NOT_FOUND\"}".to_owned(), 1.0),
        (format!("settlement_settle_duration_seconds_count{settles}"), 1.0),
        ("settlement_ready".to_owned(), 1.0),
        (format!("settlement_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        let shown = gateway.metric(&series).await;
        assert!((shown - value).abs() < 0.1, "{series} {shown}: {metrics}");
    }
    what_is_measured_is_plausible(&gateway, &metrics).await;
}

/// What differs from machine to machine.
async fn what_is_measured_is_plausible(gateway: &Process, metrics: &str) {
    let resident_kib = u32::try_from(gateway.memory("VmRSS") / 1024).unwrap();
    let (half, twice) = (f64::from(resident_kib * 512), f64::from(resident_kib * 2_048));
    for (series, least, most) in [
        ("settlement_store_commit_jobs_count", 2.0, f64::MAX),
        ("settlement_store_queue_jobs", 1.0, 1_000.0),
        ("process_cpu_seconds_total", 0.001, f64::MAX),
        ("process_resident_memory_bytes", half, twice),
        ("process_threads", 2.0, 1_000.0),
    ] {
        let shown = gateway.metric(series).await;
        assert!((least..=most).contains(&shown), "{series} {shown}: {metrics}");
    }
}

/// Names that a stranger, a caller or Douyin chose.
#[tokio::test]
async fn nothing_that_a_peer_chooses_becomes_a_label() {
    const ROUNDS: u16 = 3;
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let setting = Setting { platform_keys: Some(keys), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let (wire, http) = (Wire::connect(&gateway.url()).await, reqwest::Client::new());
    for round in 0..ROUNDS {
        let name = format!("stranger{round}");
        let service = "douyin.settlement.v1.SettlementService";
        for path in [format!("/{name}.v1.Service/Call"), format!("/{service}/{name}")] {
            let call = Call::to(&path, Bytes::from_static(&[0; 5])).with("x-request-id", &name);
            assert_eq!(wire.call(call).await.unwrap().end["grpc-status"], "12");
        }
        let app_id = format!("tt-{name}");
        let of_no_app = CreateSettleRequest { app_id, ..create_request(&number(&name)) };
        let refused = gateway.create(of_no_app).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let unlisted = number(&name);
        sim.script(&unlisted, vec![Script::Refuse(97_000 + i64::from(round))]);
        // However it is answered in the end.
        let _ = gateway.create(create_request(&unlisted)).await;
        for path in [format!("callbacks/douyin/tt-{name}"), name] {
            let url = format!("http://{}/{path}", gateway.callback_addr());
            let answer = within("the refusal", http.post(url).body("{}").send()).await.unwrap();
            assert_eq!(answer.status(), 404);
        }
    }
    let metrics = gateway.metrics().await;
    let series: Vec<&str> =
        metrics.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    let named = |series: &&&str| series.contains("stranger") || series.contains("9700");
    assert_eq!(series.iter().find(named), None);
    let callbacks = "settlement_callbacks_total{app_id=\"none\",result=";
    let unlisted = format!("settlement_unlisted_answers_total{{app_id=\"{APP_ID}\"}}");
    let rounds = u64::from(ROUNDS);
    for (series, at_least) in [
        (
            "rpc_server_call_duration_seconds_count{rpc_method=\"_OTHER\",\
             rpc_status_code=\"UNIMPLEMENTED\"}",
            2 * rounds,
        ),
        (&format!("{callbacks}\"unknown_app\"}}"), rounds),
        (&format!("{callbacks}\"not_a_callback\"}}"), rounds),
        (&unlisted, rounds),
    ] {
        let counted = gateway.counted(series).await;
        assert!(counted >= at_least, "{series} {counted}: {metrics}");
    }
}
