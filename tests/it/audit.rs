//! The audit: one line for each create, each decision and each refusal of identity, in a file or on
//! standard output, and nothing in it that is secret.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Instant;

use douyin_sim::Script;
use serde_json::Value;
use settlement_gateway::callers::Fingerprint;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::operator_service_client::OperatorServiceClient;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::errors_own::{end_request, stop_request};
use crate::harness::{APP_ID, create_on, create_request, details, simulator, within};
use crate::process::{Outlet, Process, Setting};
use crate::tls::sidecar::through;

pub const SHOP: &str = "of-the-shop-0123456789abcdef0123456789";
const DESK: &str = "of-the-desk-0123456789abcdef0123456789";
pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Two callers, the second of which may read only, and where the audit goes. These are keys of
/// `[server]` and blocks after it.
pub fn audited(to: &str) -> String {
    let block = |name: &str, rights: &str, token: &str| {
        let hash = Fingerprint::of(token);
        format!(
            "[[callers]]\nname = \"{name}\"\nrights = [{rights}]\ntoken_sha256 = [\"{hash}\"]\n"
        )
    };
    let shop = block("shop", "\"create\", \"read\"", SHOP);
    format!("audit_to = \"{to}\"\n{shop}{}", block("desk", "\"read\"", DESK))
}

/// A request with a token and a trace.
pub fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

/// The lines of a file, once it has as many.
pub async fn lines(file: &Path, count: usize) -> Vec<Value> {
    let read = async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if text.lines().count() >= count && text.ends_with('\n') {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let text = within("the lines of the audit", read).await;
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// The fields that are the same in each run.
fn told(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().unwrap();
    let time = fields.remove("time").unwrap();
    let time = time.as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    let from = fields.remove("from").unwrap();
    assert!(from.as_str().unwrap().starts_with("127.0.0.1:"), "{from}");
    line
}

#[tokio::test]
async fn each_create_and_each_refusal_is_one_line() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let file = dir.path().join("audit.jsonl");
    let server = audited(file.to_str().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting { server, ..Setting::default() }).await;
    let mut client = gateway.client.clone();
    let of_other = v1::CreateSettleRequest { app_id: "tt-other".into(), ..create_request("n-3") };
    let unsafe_list = v1::ListSettlesRequest { app_id: "tt-other".into(), ..Default::default() };
    for (request, code) in [
        (bearing(create_request("n-1"), SHOP), Code::Ok),
        (bearing(create_request("n-1"), SHOP), Code::Ok),
        (bearing(create_on("n-2", "sim-err-23102-1"), SHOP), Code::FailedPrecondition),
        (bearing(of_other, SHOP), Code::PermissionDenied),
        (bearing(create_request("n-4"), DESK), Code::PermissionDenied),
        (bearing(create_request("n-5"), "stolen"), Code::Unauthenticated),
    ] {
        let answer = within("CreateSettle", client.create_settle(request)).await;
        let seen = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(seen, code);
    }
    let refused = within("ListSettles", client.list_settles(bearing(unsafe_list, DESK))).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    // What is only read is not written down.
    let list = v1::ListSettlesRequest { app_id: APP_ID.into(), ..Default::default() };
    within("ListSettles", client.list_settles(bearing(list, DESK))).await.unwrap();
    let lines = lines(&file, 7).await;
    let expected = [
        r#"{"what":"create","call":"CreateSettle","who":"shop","app":"tt0123456789abcdef",
            "number":"n-1","outcome":"PROCESSING","code":"Ok"}"#,
        r#"{"what":"create","call":"CreateSettle","who":"shop","app":"tt0123456789abcdef",
            "number":"n-1","outcome":"PROCESSING","replayed":true,"code":"Ok"}"#,
        r#"{"what":"create","call":"CreateSettle","who":"shop","app":"tt0123456789abcdef",
            "number":"n-2","outcome":"refused","code":"FailedPrecondition",
            "reason":"ORDER_NOT_PAID"}"#,
        r#"{"what":"refusal","call":"CreateSettle","who":"shop","app":"tt-other","number":"n-3",
            "code":"PermissionDenied","reason":"FORBIDDEN"}"#,
        r#"{"what":"refusal","call":"CreateSettle","who":"desk","code":"PermissionDenied",
            "reason":"FORBIDDEN"}"#,
        r#"{"what":"refusal","call":"CreateSettle","who":null,"code":"Unauthenticated",
            "reason":"UNAUTHENTICATED"}"#,
        r#"{"what":"refusal","call":"ListSettles","who":"desk","app":"tt-other",
            "code":"PermissionDenied","reason":"FORBIDDEN"}"#,
    ];
    for (line, expected) in lines.iter().zip(expected) {
        let mut expected: Value = serde_json::from_str(expected).unwrap();
        expected["trace_id"] = TRACE.into();
        let mut seen = told(line);
        if seen["outcome"] == "SUCCEEDED" {
            // The repeat may come after the end.
            seen["outcome"] = "PROCESSING".into();
        }
        assert_eq!(seen, expected);
    }
    assert_eq!(lines.len(), expected.len());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// An operator's token, and a caller who has it. A block of `[[callers]]`.
pub fn operator(name: &str, token: &str) -> String {
    let hash = Fingerprint::of(token);
    format!("[[callers]]\nname = \"{name}\"\nrights = [\"operate\"]\ntoken_sha256 = [\"{hash}\"]\n")
}

/// Nothing is on its way for longer than this.
pub const QUICK: &str = "call_timeout_ms = 2000\nattempt_timeout_ms = 2000\n";

/// Stops sending a settle and ends it, with this token. Who tries it too early is told so.
pub async fn stop_and_end(mut operator: OperatorServiceClient<Channel>, number: &str, token: &str) {
    let key = Some(v1::show_settle_request::Key::OutSettleNo(number.to_owned()));
    let show = v1::ShowSettleRequest { key, ..Default::default() };
    let stopped = loop {
        let shown = operator.show_settle(bearing(show.clone(), token)).await.unwrap().into_inner();
        let request = stop_request(number, shown.settle.unwrap().revision);
        match within("StopSending", operator.stop_sending(bearing(request, token))).await {
            Ok(stopped) => break stopped.into_inner(),
            // The poller learned something meanwhile.
            Err(status) => assert_eq!(details(&status).info.reason, "REVISION_CHANGED"),
        }
    };
    let revision = stopped.settle.unwrap().revision;
    loop {
        let request = bearing(end_request(number, revision), token);
        let Err(status) = within("EndSettle", operator.end_settle(request)).await else { return };
        assert_eq!(details(&status).info.reason, "END_TOO_EARLY");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
}

/// Who decided about money, what and why.
#[tokio::test]
async fn each_decision_is_one_line_with_who_took_it_and_why() {
    const OPS: &str = "of-ops-0123456789abcdef0123456789abcdef";
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let file = dir.path().join("audit.jsonl");
    let server = audited(file.to_str().unwrap()) + &operator("ops", OPS);
    let setting = Setting { server, douyin: QUICK.to_owned(), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    sim.script("n-1", vec![Script::Refuse(23000); 99]);
    let mut client = gateway.client.clone();
    let create = bearing(create_request("n-1"), SHOP);
    within("CreateSettle", client.create_settle(create)).await.unwrap_err();
    let mut desk = OperatorServiceClient::new(gateway.channel.clone());
    let refused = desk.stop_sending(bearing(stop_request("n-1", 1), DESK)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    stop_and_end(desk, "n-1", OPS).await;
    gateway.signal("TERM").await;
    assert!(gateway.ended().await.0.success());
    let lines = lines(&file, 5).await;
    let told: Vec<Value> =
        lines.iter().map(told).filter(|line| line["what"] == "decision").collect();
    let of = |call: &str, code: &str| {
        let fits = |line: &&Value| line["call"] == call && line["code"] == code;
        told.iter().find(fits).unwrap_or_else(|| panic!("{call} {code}: {told:?}")).clone()
    };
    let line = |call: &str, outcome: &str| {
        serde_json::json!({
            "what": "decision", "call": call, "who": "ops", "app": APP_ID, "number": "n-1",
            "outcome": outcome, "code": "Ok", "why": "Douyin's support says so",
            "trace_id": TRACE,
        })
    };
    assert_eq!(of("StopSending", "Ok"), line("StopSending", "SUBMITTING"));
    assert_eq!(of("EndSettle", "Ok"), line("EndSettle", "REJECTED"));
    let early = of("EndSettle", "Unavailable");
    assert_eq!((&early["reason"], &early["who"]), (&"END_TOO_EARLY".into(), &"ops".into()));
    assert_eq!(early.get("outcome"), None);
    let refused = lines.iter().find(|line| line["what"] == "refusal").unwrap();
    assert_eq!((&refused["call"], &refused["who"]), (&"StopSending".into(), &"desk".into()));
}

/// As tools do that move log files.
#[tokio::test]
async fn a_file_that_was_moved_is_begun_anew_at_sighup() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let (file, moved) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let server = audited(file.to_str().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting { server, ..Setting::default() }).await;
    let mut client = gateway.client.clone();
    client.create_settle(bearing(create_request("before"), SHOP)).await.unwrap();
    lines(&file, 1).await;
    std::fs::rename(&file, &moved).unwrap();
    gateway.signal("HUP").await;
    // The signal is handled at some moment: lines before it belong to the moved file.
    let mut sent = 0;
    while !file.exists() {
        sent += 1;
        let request = bearing(create_request(&format!("after-{sent}")), SHOP);
        within("CreateSettle", client.create_settle(request)).await.unwrap();
    }
    gateway.signal("TERM").await;
    let (status, _) = gateway.ended().await;
    assert!(status.success());
    let (old, new) = (lines(&moved, 1).await, lines(&file, 1).await);
    assert_eq!(old.len() + new.len(), sent + 1, "no line is lost");
    assert_eq!(old[0]["number"], "before");
    assert_eq!(new.last().unwrap()["number"], format!("after-{sent}"));
}

#[tokio::test]
async fn on_standard_output_it_follows_the_banner() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let printed = dir.path().join("stdout");
    let stdout = Outlet::File(printed.clone());
    let setting = Setting { server: audited("stdout"), stdout, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let mut client = gateway.client.clone();
    client.create_settle(bearing(create_request("n-1"), SHOP)).await.unwrap();
    gateway.signal("TERM").await;
    assert!(gateway.ended().await.0.success());
    let text = std::fs::read_to_string(&printed).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!(serde_json::from_str::<Value>(lines[0]).unwrap()["number"], "n-1");
}

/// A pipe is opened at once or not at all, and so is whatever else the path leads to.
#[tokio::test]
async fn a_pipe_is_an_audit_while_a_program_reads_it_and_delays_no_start_otherwise() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let setting = || Setting { server: audited(pipe.to_str().unwrap()), ..Setting::default() };
    // A reader that is there from the start.
    let reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let gateway = Process::start(&sim, dir.path(), setting()).await;
    let mut client = gateway.client.clone();
    client.create_settle(bearing(create_request("n-1"), SHOP)).await.unwrap();
    gateway.signal("TERM").await;
    assert!(gateway.ended().await.0.success());
    let mut line = String::new();
    BufReader::new(&reader).read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["number"], "n-1");
    drop(reader);
    let (code, said) = Process::refused_with(&sim, dir.path(), setting()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/pipe: it is a pipe, and no program reads it"), "{said}");
    let socket = dir.path().join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [dir.path(), &socket] {
        let setting = Setting { server: audited(path.to_str().unwrap()), ..Setting::default() };
        let (code, said) = Process::refused_with(&sim, dir.path(), setting).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{}: ", path.display())), "{said}");
    }
}

/// As with the log: a reader that stands still delays no call, and gets what was kept later.
#[tokio::test]
async fn lines_that_are_not_read_are_dropped_and_counted() {
    const DROPPED: &str = "settlement_audit_lines_dropped_total";
    /// Of each caller as many as are written in any case, and all together more than can wait.
    const REFUSALS: usize = 200;
    const CALLERS: usize = 24;
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let (pipe, socket) = (dir.path().join("pipe"), dir.path().join("sidecar.sock"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // It must be there from the start, and keeps the pipe open.
    let idle = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut server = format!("audit_to = {pipe:?}\nsidecar_socket = {socket:?}\n");
    for caller in 0..CALLERS {
        server += &format!(
            "[[callers]]\nname = \"reads-{caller}\"\nrights = [\"read\"]\n\
             certificate_names = [\"spiffe://corp/reads/{caller}\"]\n"
        );
    }
    let gateway = Process::start(&sim, dir.path(), Setting { server, ..Setting::default() }).await;
    assert!(gateway.metric(DROPPED).await < 0.1, "there from the start");
    let refused = (0..CALLERS).map(|caller| {
        let mut client = through(&socket);
        // A line shows its names, so it is long.
        let more = format!(";URI=spiffe://corp/{}", "x".repeat(240)).repeat(3);
        let shown = format!("URI=spiffe://corp/reads/{caller}{more}");
        async move {
            for _ in 0..REFUSALS {
                let mut create = Request::new(create_request("n-1"));
                create.metadata_mut().insert("x-forwarded-client-cert", shown.parse().unwrap());
                let refused = within("CreateSettle", client.create_settle(create)).await;
                assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
            }
        }
    });
    refused.collect::<JoinSet<_>>().join_all().await;
    let dropped = gateway.counted(DROPPED).await;
    assert!(dropped > 0);
    let reader = File::open(&pipe).unwrap();
    drop(idle);
    let reading = std::thread::spawn(move || std::io::read_to_string(reader).unwrap());
    gateway.logged_together(&["lines of the audit were dropped", &dropped.to_string()]).await;
    gateway.signal("TERM").await;
    assert!(gateway.ended().await.0.success());
    let kept = reading.join().unwrap().lines().count() as u64;
    assert_eq!(kept + dropped, (CALLERS * REFUSALS) as u64, "each line is written or counted");
}

/// How often lines were held back of this kind, and whose.
fn held_back(lines: &[Value], of: &str) -> (u64, Vec<String>) {
    let held = lines.iter().filter(|line| line["what"] == "held_back" && line["of"] == of);
    let by = held.clone().map(|line| line["by"].as_str().unwrap().to_owned()).collect();
    (held.map(|line| line["held_back"].as_u64().unwrap()).sum(), by)
}

/// Strangers cannot fill the disk with what they are refused, and one hides no other.
#[tokio::test]
async fn refusals_of_each_stranger_are_limited_and_creates_are_not() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let file = dir.path().join("audit.jsonl");
    let server = audited(file.to_str().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting { server, ..Setting::default() }).await;
    let mut client = gateway.client.clone();
    for n in 0..100 {
        let stranger = bearing(create_request(&format!("s-{n}")), "stolen");
        let status = within("CreateSettle", client.create_settle(stranger)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let elsewhere = Endpoint::from_shared(gateway.url()).unwrap();
    let elsewhere = elsewhere.local_address(Some([127, 0, 0, 2].into())).connect_lazy();
    let stranger = bearing(create_request("other"), "stolen");
    let mut other = SettlementServiceClient::new(elsewhere);
    within("CreateSettle", other.create_settle(stranger)).await.unwrap_err();
    client.create_settle(bearing(create_request("n-1"), SHOP)).await.unwrap();
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert!(status.success());
    let lines = lines(&file, 2).await;
    let from = |address: &str| {
        let from = |line: &&Value| line["from"].as_str().is_some_and(|at| at.starts_with(address));
        lines.iter().filter(|line| line["what"] == "refusal").filter(from).count()
    };
    // Ten in ten seconds, and the second ten seconds may have begun.
    let refused = from("127.0.0.1:");
    assert!((10..=20).contains(&refused), "{refused}");
    assert_eq!(from("127.0.0.2:"), 1);
    let (held_back, by) = held_back(&lines, "refusal");
    assert_eq!(refused as u64 + held_back, 100);
    assert!(by.iter().all(|by| by == "127.0.0.1"), "{by:?}");
    assert_eq!(lines.iter().filter(|line| line["what"] == "create").count(), 1);
    let logged = |address: &str| log.contains(&format!("\"from\":\"{address}\""));
    assert!(logged("127.0.0.1") && logged("127.0.0.2"), "{log}");
}

/// A caller cannot fill the disk with what is recorded already.
#[tokio::test]
async fn repeats_and_failures_of_a_caller_are_limited_and_what_is_recorded_anew_never_is() {
    const REPEATS: u64 = 1_000;
    const NEW: usize = 250;
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let file = dir.path().join("audit.jsonl");
    let setting = Setting {
        server: audited(file.to_str().unwrap()),
        variables: &[("SETTLEMENT_APPS_0_REQUESTS_PER_SECOND", "10_000")],
        ..Setting::default()
    };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let mut client = gateway.client.clone();
    let began = Instant::now();
    for n in 0..REPEATS {
        // Every second one is another content, which fails.
        let request = create_on("again", if n % 2 == 0 { "order" } else { "another" });
        let _ = within("CreateSettle", client.create_settle(bearing(request, SHOP))).await;
    }
    for n in 0..NEW {
        let request = bearing(create_request(&format!("new-{n}")), SHOP);
        within("CreateSettle", client.create_settle(request)).await.unwrap();
    }
    let intervals = began.elapsed().as_secs() / 10 + 2;
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert!(status.success());
    let lines = lines(&file, NEW).await;
    let (again, new): (Vec<&Value>, Vec<&Value>) = lines
        .iter()
        .filter(|line| line["what"] == "create")
        .partition(|line| line["number"] == "again");
    assert_eq!(new.len(), NEW);
    let (held_back, by) = held_back(&lines, "create");
    assert_eq!(again.len() as u64 + held_back, REPEATS);
    assert!(by.iter().all(|by| by == "shop"), "{by:?}");
    // The first of them is new as well.
    let most = 200 * intervals;
    assert!(again.len() as u64 <= 1 + most, "{} of {most}", again.len());
    let answered = log.matches("\"answered\"").count() as u64;
    assert!(answered <= 1 + NEW as u64 + most, "{answered}");
    let summed_up = |line: &str| line.contains("held back more") && line.contains("\"shop\"");
    assert!(held_back == 0 || log.lines().any(summed_up), "{log}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_a_refusal_to_start() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let missing = dir.path().join("missing/audit.jsonl");
    let server = audited(missing.to_str().unwrap());
    let setting = Setting { server, ..Setting::default() };
    let made = Process::start(&sim, dir.path(), Setting::default()).await;
    made.signal("TERM").await;
    made.ended().await;
    let (code, said) = Process::refused_with(&sim, dir.path(), setting).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot write the audit:") && said.contains("missing"), "{said}");
}
