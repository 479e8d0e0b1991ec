//! What an operator reads: one JSON object per line, each RPC and each call to Douyin in a span
//! that names its settle, and never a secret.

use douyin_sim::Script;
use serde_json::{Map, Value};
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::audit::{SHOP, TRACE, audited, bearing};
use crate::harness::{APP_ID, SECRET, create_on, drain, number, simulator, watch_request, within};
use crate::process::{Process, Setting};

/// One line: its fields, with those of its spans.
struct Line {
    fields: Map<String, Value>,
}

impl Line {
    /// Whether it is the last of its span, which by then has this field.
    fn ends(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| !value.is_null())
    }
}

fn lines(log: &str) -> Vec<Line> {
    log.lines().map(line).collect()
}

fn line(text: &str) -> Line {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    for field in ["timestamp", "level", "target", "message"] {
        assert!(value[field].is_string(), "{field} is missing: {text}");
    }
    let fields = value.as_object().unwrap().clone();
    for field in fields.keys() {
        assert_eq!(
            text.matches(&format!("\"{field}\":")).count(),
            1,
            "{field} is there twice: {text}"
        );
    }
    Line { fields }
}

/// The lines about this settle whose innermost span has this name.
fn about<'a>(lines: &'a [Line], name: &str, number: &str) -> Vec<&'a Line> {
    let is = |line: &&Line, field: &str, wanted: &str| {
        line.fields.get(field).is_some_and(|value| value == wanted)
    };
    let innermost = |line: &&Line| {
        line.fields.get("spans").and_then(|spans| spans.as_array()?.last()?.as_str()) == Some(name)
    };
    let lines = lines.iter().filter(innermost);
    lines.filter(|line| is(line, "out_settle_no", number)).collect()
}

async fn create(
    client: &SettlementServiceClient<Channel>,
    number: &str,
    order: &str,
) -> Result<(), tonic::Status> {
    let mut client = client.clone();
    within("CreateSettle", client.create_settle(create_on(number, order))).await.map(drop)
}

/// The one line of a call that tells how it was answered.
fn answered<'a>(lines: &'a [Line], rpc: &str, number: &str) -> &'a Map<String, Value> {
    let is = |line: &&Line| line.fields["rpc"] == rpc && line.fields["message"] == "answered";
    let answers: Vec<_> = about(lines, "rpc", number).into_iter().filter(is).collect();
    assert_eq!(answers.len(), 1, "{rpc} {number}");
    &answers[0].fields
}

#[tokio::test]
async fn every_rpc_and_every_call_to_douyin_is_logged_in_its_span() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let log = Some("warn,settlement_gateway=debug");
    let setting = Setting { log, server: audited("off"), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let (accepted, refused) = (number("accepted"), number("refused"));
    let mut client = gateway.client.clone();
    for (number, order) in [(&accepted, "order-1"), (&refused, "sim-err-23102-1")] {
        let create = client.create_settle(bearing(create_on(number, order), SHOP));
        let created = within("CreateSettle", create).await;
        assert_eq!(created.is_ok(), number == &accepted);
    }
    let watch = client.watch_settle(bearing(watch_request(&accepted, 0), SHOP));
    drain(within("WatchSettle", watch).await.unwrap().into_inner()).await.unwrap();
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let lines = lines(&log);

    for (rpc, number, code, reason, outcome) in [
        ("CreateSettle", &accepted, "Ok", Value::Null, Value::Null),
        ("WatchSettle", &accepted, "Ok", Value::Null, Value::Null),
        ("CreateSettle", &refused, "FailedPrecondition", "ORDER_NOT_PAID".into(), "refused".into()),
    ] {
        let fields = answered(&lines, rpc, number);
        let said = |field: &str| fields.get(field).cloned().unwrap_or_default();
        assert_eq!(said("app_id"), APP_ID);
        assert_eq!(said("code"), code);
        assert_eq!((said("reason"), said("outcome")), (reason, outcome));
        assert_eq!(said("caller"), "shop");
        assert_eq!(said("trace_id"), TRACE);
        assert!(said("took_ms").is_u64(), "{fields:?}");
        assert!(said("peer").as_str().unwrap().starts_with("127.0.0.1:"), "{fields:?}");
    }

    let calls = [
        (&accepted, "settle_create", "accepted"),
        (&accepted, "settle_query", "found"),
        (&refused, "settle_create", "refused"),
    ];
    for (number, call, outcome) in calls {
        let calls = about(&lines, "douyin", number);
        let call = calls.iter().find(|line| line.fields["call"] == call && line.ends("outcome"));
        let fields = &call.unwrap_or_else(|| panic!("no {outcome} call: {log}")).fields;
        assert_eq!(fields["app_id"], APP_ID);
        assert_eq!(fields["outcome"], outcome);
        assert!(fields["log_id"].as_str().is_some_and(|id| !id.is_empty()), "{fields:?}");
        assert!(fields["elapsed_ms"].is_u64(), "{fields:?}");
    }
}

#[tokio::test]
async fn no_log_line_however_talkative_has_a_secret_or_a_token() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let setting = Setting { log: Some("trace"), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let client = &gateway.client;
    // An answer that says back what it was sent is the hardest case.
    let echo = format!(
        r#"{{"data":{{"error_code":10013,"description":"is {SECRET} it?"}},"message":"error"}}"#
    );
    sim.script_token(vec![Script::json(200, echo)]);
    let (plain, expired) = (number("plain"), number("expired"));
    create(client, &plain, "order-plain").await.unwrap_err();
    gateway.end(&plain).await;
    sim.expire_tokens(APP_ID);
    // The token is replaced at most once per gap, which this process keeps at 100 ms.
    while create(client, &expired, "order-expired").await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    create(client, &number("lost"), "sim-lost-1").await.unwrap();
    let watch = gateway.client.clone().watch_settle(watch_request("unknown", 0)).await;
    assert!(watch.is_err());
    gateway.signal("TERM").await;
    let banner = gateway.banner.clone();
    let (_, log) = gateway.ended().await;

    assert!(sim.books().tokens_fetched(APP_ID) >= 2, "a token was replaced");
    assert!(log.contains("TRACE") && log.contains("settle_create"), "it logged everything");
    for secret in [SECRET, "clt.", "access_token\":"] {
        let place = banner.find(secret).map(|at| (&banner, at));
        let place = place.or_else(|| log.find(secret).map(|at| (&log, at)));
        let around = place.map(|(text, at)| text.get(at.saturating_sub(300)..at));
        assert_eq!(around, None, "{secret} shows");
    }
}

#[tokio::test]
async fn by_default_a_healthy_settle_costs_a_few_lines_and_a_refusal_names_its_number() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let (good, bad) = (number("good"), number("bad"));
    create(&gateway.client, &good, "order-good").await.unwrap();
    create(&gateway.client, &bad, "sim-err-23107-1").await.unwrap_err();
    gateway.end(&good).await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    lines(&log);
    let of = |number: &str| log.lines().filter(|line| line.contains(number)).count();
    assert!((2..=8).contains(&of(&good)), "{} lines: {log}", of(&good));
    let refusal = log.lines().find(|line| line.contains(&bad) && line.contains("23107"));
    assert!(refusal.is_some(), "{log}");
}
