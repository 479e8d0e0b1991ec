//! The commands beside `serve`, run as processes: `errors`, `healthcheck`, `check-callback`,
//! `simulate`; and what `serve` makes of its options.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use settlement_gateway::clock::Clock;
use settlement_gateway::douyin::codes;
use settlement_gateway::grpc::reasons;
use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tempfile::TempDir;

use crate::config::{gateway, ran};
use crate::harness::{create_request, drain, number, simulator, watch_request, within};

/// A process that has printed where it listens; it logs to `log` in its folder, and is killed when
/// dropped.
pub struct Running {
    child: Child,
    /// The line with the address, up to its end.
    pub addr: String,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a command in a folder and reads the address behind `before`.
    pub fn start(
        arguments: &[&str],
        environment: &[(&str, &str)],
        dir: &TempDir,
        before: &str,
    ) -> Self {
        let mut command = gateway(arguments, environment);
        if arguments[0] == "serve" {
            command.env("SETTLEMENT_SERVER_ADMIN_ADDR", "127.0.0.1:0");
            init(arguments, environment, dir);
        }
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        command.current_dir(dir.path()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, addr: String::new(), output };
        while running.addr.is_empty() {
            let mut line = String::new();
            let read = running.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "it ended without {before:?}");
            if let Some((_, rest)) = line.split_once(before) {
                running.addr = rest.split_whitespace().next().unwrap().to_owned();
            }
        }
        running
    }

    /// Stops in order; returns what it has logged to its folder.
    pub fn stopped(mut self, dir: &TempDir) -> String {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
        std::fs::read_to_string(dir.path().join("log")).unwrap()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `serve` needs a database that was made before; a sandbox makes its own.
fn init(serve: &[&str], environment: &[(&str, &str)], dir: &TempDir) {
    if serve.contains(&"--sandbox") {
        return;
    }
    let at = serve.iter().position(|option| *option == "--data-dir");
    let place = at.and_then(|at| serve.get(at..at + 2)).unwrap_or_default();
    let arguments = [&["init"], place].concat();
    let (code, _, stderr) = ran(gateway(&arguments, environment).current_dir(dir.path()));
    assert!(code == 0 || stderr.contains("is there already"), "{stderr}");
}

pub const FREE_PORT: (&str, &str) = ("SETTLEMENT_SERVER_GRPC_ADDR", "127.0.0.1:0");
pub const APP: [(&str, &str); 2] =
    [("SETTLEMENT_APPS_0_APP_ID", "tt1"), ("SETTLEMENT_APPS_0_CLIENT_SECRET_ENV", "SECRET")];

fn health(addr: &str, more: &[&str]) -> (i32, String) {
    let arguments = [&["healthcheck", "--addr", addr], more].concat();
    let (code, _, stderr) = ran(&mut gateway(&arguments, &[]));
    (code, stderr)
}

/// Asks until the answer is the wanted one: a gateway that has just started serves once its store
/// has shown that it can commit.
fn health_becomes(addr: &str, wanted: i32) -> String {
    let clock = Clock::system();
    let began = clock.uptime();
    loop {
        let (code, stderr) = health(addr, &[]);
        if code == wanted {
            return stderr;
        }
        assert!(clock.uptime().since(began) < Duration::from_secs(20), "{code}: {stderr}");
    }
}

#[test]
fn healthcheck_succeeds_only_while_the_gateway_serves() {
    let dir = TempDir::new().unwrap();
    let environment = [FREE_PORT, ("SETTLEMENT_SERVER_DRAIN_DELAY_MS", "30000"), APP[0], APP[1]];
    let gateway = Running::start(&["serve"], &environment, &dir, "gRPC ");
    health_becomes(&gateway.addr, 0);
    assert_eq!(
        health(&gateway.addr, &["--service", "douyin.settlement.v1.SettlementService"]).0,
        0
    );
    let (code, stderr) = health(&gateway.addr, &["--service", "no.such.Service"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("service"), "{stderr}");
    gateway.signal("TERM");
    let stderr = health_becomes(&gateway.addr, 1);
    assert!(stderr.contains("NOT_SERVING"), "{stderr}");
}

#[test]
fn healthcheck_asks_where_serve_would_listen() {
    let dir = TempDir::new().unwrap();
    let environment = [FREE_PORT, APP[0], APP[1]];
    let running = Running::start(&["serve"], &environment, &dir, "gRPC ");
    health_becomes(&running.addr, 0);
    let by_variable = [("SETTLEMENT_SERVER_GRPC_ADDR", running.addr.as_str())];
    assert_eq!(ran(&mut gateway(&["healthcheck"], &by_variable)).0, 0);
    // A gateway in a container listens on every address.
    let everywhere = running.addr.replace("127.0.0.1", "0.0.0.0");
    let by_variable = [("SETTLEMENT_SERVER_GRPC_ADDR", everywhere.as_str())];
    assert_eq!(ran(&mut gateway(&["healthcheck"], &by_variable)).0, 0);
    // Whatever else is wrong with the file.
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, format!("[server]\ngrpc_addr = {:?}\n", running.addr)).unwrap();
    let by_file = [("SETTLEMENT_CONFIG", file.to_str().unwrap())];
    assert_eq!(ran(&mut gateway(&["healthcheck"], &by_file)).0, 0);
}

#[test]
fn healthcheck_fails_in_time_if_there_is_no_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, stderr) = health(&silent.local_addr().unwrap().to_string(), &[]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no answer within 2s"), "{stderr}");
    let addr = silent.local_addr().unwrap().to_string();
    drop(silent);
    let (code, stderr) = health(&addr, &[]);
    assert_eq!(code, 1);
    assert!(stderr.contains("refused"), "{stderr}");
}

#[test]
fn an_option_beats_the_variable_and_the_variable_the_file() {
    let dir = TempDir::new().unwrap();
    // Taken, so a process that would listen there does not start.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let file = format!("[server]\ngrpc_addr = {taken:?}\n[store]\nsqlite_path = \"of-file.db\"\n");
    std::fs::write(dir.path().join("gateway.toml"), file).unwrap();
    let by_variable = [
        ("SETTLEMENT_SERVER_GRPC_ADDR", taken.as_str()),
        ("SETTLEMENT_STORE_SQLITE_PATH", "of-variable.db"),
        ("SETTLEMENT_CONFIG", "gateway.toml"),
        APP[0],
        APP[1],
    ];
    let arguments = ["serve", "--grpc-addr", "127.0.0.1:0"];
    let gateway = Running::start(&arguments, &by_variable, &dir, "gRPC ");
    assert_ne!(gateway.addr, taken);
    drop(gateway);
    assert!(dir.path().join("of-variable.db").exists());
    assert!(!dir.path().join("of-file.db").exists());
    let arguments = ["serve", "--grpc-addr", "127.0.0.1:0", "--data-dir", "of-option"];
    let gateway = Running::start(&arguments, &by_variable, &dir, "gRPC ");
    drop(gateway);
    assert!(dir.path().join("of-option/settlement.db").exists());
}

#[test]
fn a_secret_file_that_others_may_read_is_a_warning_in_the_log() {
    let dir = TempDir::new().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "the-secret-of-the-file").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let environment =
        [FREE_PORT, APP[0], ("SETTLEMENT_APPS_0_CLIENT_SECRET_FILE", secret.to_str().unwrap())];
    let _gateway = Running::start(&["serve"], &environment, &dir, "gRPC ");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let warning = log.lines().find(|line| line.contains("others may read")).expect(&log);
    assert!(warning.contains("\"level\":\"WARN\""), "{warning}");
    assert!(warning.contains("SETTLEMENT_APPS_0_CLIENT_SECRET_FILE"), "{warning}");
    assert!(!log.contains("the-secret-of-the-file"), "{log}");
}

/// The vectors of a callback made outside, as an operator would check a saved one.
#[test]
fn check_callback_tells_what_a_saved_callback_is_worth() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/callback");
    let dir = TempDir::new().unwrap();
    let check = |key: &str, body: &Path, more: &[&str]| {
        let files = ["check-callback", "--key", key, "--headers", "headers.txt", "--body"];
        let body = [body.to_str().unwrap()];
        let arguments = [&files[..], &body[..], more].concat();
        ran(gateway(&arguments, &[]).current_dir(&vectors))
    };
    let (good, body) = ("platform-public-key.pem", Path::new("body.json"));
    let (code, stdout, stderr) = check(good, body, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("signature: good\nmessage: settle\n"), "{stdout}");
    for line in [
        "settle_id: \"ots72735132864850025400652\"",
        "out_settle_no: \"out_settle_example_1\"",
        "status: \"SUCCESS\"",
        "settle_amount_fen: \"20\"",
        "event_time_ms: \"1693540334000\"",
        "item_order_id: –",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    assert_eq!(check(good, body, &["--app-id", "ttcfdbb96650e33350"]).0, 0);
    let (code, stdout, _) = check(good, body, &["--app-id", "ttother"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("names another one"), "{stdout}");
    let (code, stdout, _) = check("other-public-key.pem", body, &[]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("signature: bad: no platform public key"), "{stdout}");

    // One line feed more than what came.
    let longer = dir.path().join("body.json");
    let text = std::fs::read_to_string(vectors.join(body)).unwrap();
    std::fs::write(&longer, text + "\n").unwrap();
    assert_eq!(check(good, &longer, &[]).0, 1);
    for missing in ["missing.pem", "README.md"] {
        let (code, _, stderr) = check(missing, body, &[]);
        assert_eq!(code, 64);
        assert!(stderr.contains(missing), "{stderr}");
    }
}

#[tokio::test]
async fn a_gateway_settles_against_a_simulator_of_its_own_process() {
    let dir = TempDir::new().unwrap();
    let app = format!("{}=the=secret", crate::harness::APP_ID);
    let arguments = ["simulate", "--listen", "127.0.0.1:0", "--seed", "7", "--app", &app];
    let mut simulator = Running::start(&arguments, &[], &dir, "address    ");
    assert!(simulator.addr.starts_with("http://127.0.0.1:"), "{}", simulator.addr);
    let environment = [
        FREE_PORT,
        ("SETTLEMENT_DOUYIN_BASE_URL", &simulator.addr),
        ("SETTLEMENT_APPS_0_APP_ID", crate::harness::APP_ID),
        ("SETTLEMENT_APPS_0_CLIENT_SECRET_ENV", "THE_SECRET"),
        ("THE_SECRET", "the=secret"),
    ];
    let gateway = Running::start(&["serve"], &environment, &dir, "gRPC ");
    let url = format!("http://{}", gateway.addr);
    let mut client = SettlementServiceClient::connect(url).await.unwrap();
    let number = number("simulated");
    within("CreateSettle", client.create_settle(create_request(&number))).await.unwrap();
    let stream = within("WatchSettle", client.watch_settle(watch_request(&number, 0))).await;
    let settles = drain(stream.unwrap().into_inner()).await.unwrap();
    assert_eq!(settles.last().unwrap().state(), SettleState::Succeeded);
    simulator.signal("TERM");
    assert!(simulator.child.wait().unwrap().success());
    let mut rest = String::new();
    simulator.output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("seed       7 "), "{rest}");
}

#[test]
fn an_app_of_the_simulator_is_an_id_and_a_secret() {
    for wrong in ["tt1", "=secret", "tt1="] {
        let (code, _, stderr) = ran(&mut gateway(&["simulate", "--app", wrong], &[]));
        assert_eq!(code, 64);
        assert!(stderr.contains("APP_ID=SECRET"), "{stderr}");
    }
}

/// What another system's tests would do: read the key, start a gateway, say where it is.
#[tokio::test]
async fn callbacks_go_from_one_process_to_the_other() {
    let (dir, app_id) = (TempDir::new().unwrap(), crate::harness::APP_ID);
    let app = format!("{app_id}=secret");
    let arguments = ["simulate", "--listen", "127.0.0.1:0", "--app", &app];
    let simulator = Running::start(&arguments, &[], &dir, "address    ");
    let http = reqwest::Client::new();
    let key =
        http.get(format!("{}/sim/platform-key/{app_id}", simulator.addr)).send().await.unwrap();
    std::fs::write(dir.path().join("keys.pem"), key.text().await.unwrap()).unwrap();
    let environment = [
        FREE_PORT,
        ("SETTLEMENT_SERVER_CALLBACK_ADDR", "127.0.0.1:0"),
        ("SETTLEMENT_DOUYIN_BASE_URL", &simulator.addr),
        ("SETTLEMENT_APPS_0_APP_ID", app_id),
        ("SETTLEMENT_APPS_0_CLIENT_SECRET_ENV", "THE_SECRET"),
        ("SETTLEMENT_APPS_0_PLATFORM_PUBLIC_KEYS_FILE", "keys.pem"),
        ("THE_SECRET", "secret"),
    ];
    let mut gateway = Running::start(&["serve"], &environment, &dir, "gRPC ");
    let mut line = String::new();
    gateway.output.read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("callbacks").expect("they are on").trim();
    let callback_url = format!("http://{addr}/callbacks/douyin/{app_id}");
    let change = json!({ "app_id": app_id, "callback_url": callback_url }).to_string();
    let set = http.post(format!("{}/sim/apps", simulator.addr)).body(change).send().await.unwrap();
    assert_eq!(set.status(), 200);
    let url = format!("http://{}", gateway.addr);
    let mut client = SettlementServiceClient::connect(url).await.unwrap();
    let number = number("told");
    within("CreateSettle", client.create_settle(create_request(&number))).await.unwrap();
    let stream = within("WatchSettle", client.watch_settle(watch_request(&number, 0))).await;
    let settles = drain(stream.unwrap().into_inner()).await.unwrap();
    assert_eq!(settles.last().unwrap().state(), SettleState::Succeeded);
    // The poller may have been first; the callback is acknowledged all the same.
    let acknowledged = async {
        loop {
            let books = http.get(format!("{}/sim/books", simulator.addr)).send().await.unwrap();
            let books: Value = serde_json::from_str(&books.text().await.unwrap()).unwrap();
            if !books["callbacks"][0]["state"]["acknowledged"].is_null() {
                break books;
            }
            tokio::task::yield_now().await;
        }
    };
    let books = within("the acknowledgement", acknowledged).await;
    assert_eq!(
        (&books["callbacks_total"], &books["callbacks"][0]["out_settle_no"]),
        (&1.into(), &number.into())
    );
}

#[test]
fn the_callbacks_of_a_simulated_app_have_an_address_and_a_key() {
    let dir = TempDir::new().unwrap();
    let garbage = dir.path().join("garbage.pem");
    std::fs::write(&garbage, "no key").unwrap();
    let of_garbage = format!("tt1={}", garbage.display());
    for (option, wrong, why) in [
        ("--callback-url", "http://127.0.0.1:1/", "it must begin with APP_ID="),
        ("--callback-url", "tt2=http://127.0.0.1:1/", "there is no --app tt2"),
        ("--callback-url", "tt1=ftp://127.0.0.1/", "does not begin with http:// or https://"),
        ("--callback-ca", "/nowhere/ca.pem", "No such file"),
        ("--callback-ca", garbage.to_str().unwrap(), "there is no certificate"),
        ("--platform-key", "tt1=/nowhere/key.pem", "No such file"),
        ("--platform-key", of_garbage.as_str(), "there is no PKCS#8 private key in PEM"),
    ] {
        let arguments = ["simulate", "--app", "tt1=secret", option, wrong];
        let (code, _, stderr) = ran(&mut gateway(&arguments, &[]));
        assert_eq!(code, 64, "{wrong}");
        assert!(stderr.contains(why) && stderr.contains(option), "{stderr}");
    }
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/sim/src/platform_key.pem");
    let key = format!("tt1={pem}");
    let url = "tt1=http://127.0.0.1:1/callbacks";
    let arguments = ["simulate", "--listen", "127.0.0.1:0", "--app", "tt1=secret"];
    let arguments = [&arguments[..], &["--callback-url", url, "--platform-key", &key]].concat();
    let mut simulator = Running::start(&arguments, &[], &dir, "address    ");
    simulator.signal("TERM");
    assert!(simulator.child.wait().unwrap().success());
    let mut rest = String::new();
    simulator.output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("callbacks  of tt1 to http://127.0.0.1:1/callbacks"), "{rest}");
}

#[test]
fn a_choice_of_the_simulator_is_known_and_has_a_value_that_it_can_have() {
    for (wrong, why) in [
        ("number_check", "it must be NAME=VALUE"),
        ("colour=red", "expected one of `number_check`, "),
        ("number_check=sometimes", "expected `before-rules` or `after-rules`"),
    ] {
        let (code, _, stderr) = ran(&mut gateway(&["simulate", "--choice", wrong], &[]));
        assert_eq!(code, 64);
        assert!(stderr.contains(why), "{stderr}");
    }
}

#[test]
fn errors_prints_both_tables_the_same_each_time() {
    for format in ["markdown", "json"] {
        let print = || ran(&mut gateway(&["errors", "--format", format], &[]));
        let (code, first, _) = print();
        assert_eq!(code, 0);
        assert_eq!(first, print().1, "{format}");
        for (row, _) in codes::table() {
            let (number, text) = (row.err_no.to_string(), row.meaning_zh);
            assert!(first.contains(&number) && first.contains(text), "{format}: {number}");
        }
        for row in reasons::TABLE {
            let reason = row.reason.as_str();
            assert!(first.contains(reason), "{format}: {row:?}");
            // In lines that a person reads.
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words(&first).contains(&words(row.advice)), "{format}: {row:?}");
        }
    }
    let (_, markdown, _) = ran(&mut gateway(&["errors"], &[]));
    for row in markdown.lines().filter(|line| line.starts_with('|')) {
        let columns = row.matches('|').count() - 1;
        assert!([3, 7, 9].contains(&columns), "{row}");
    }
}

#[test]
fn errors_in_json_are_for_programs() {
    let (_, text, _) = ran(&mut gateway(&["errors", "--format", "json"], &[]));
    let tables: Value = serde_json::from_str(&text).unwrap();
    let douyin = tables["douyin"]["errors"].as_array().unwrap();
    assert_eq!(douyin.len(), codes::table().len());
    let unpaid = douyin.iter().find(|error| error["err_no"] == 23102).unwrap();
    assert_eq!(unpaid["reason"], "ORDER_NOT_PAID");
    assert_eq!(unpaid["code"], "FAILED_PRECONDITION");
    assert_eq!(
        (&unpaid["handling"], &unpaid["retry"]),
        (&"refused".into(), &"after_change".into())
    );
    assert_eq!(unpaid["retry_delay_ms"], Value::Null);
    let busy = douyin.iter().find(|error| error["err_no"] == 23000).unwrap();
    assert_eq!((&busy["retry"], &busy["retry_delay_ms"]), (&"now".into(), &2000.into()));
    assert_eq!(tables["douyin"]["domain"], "open.douyin.com");
    assert_eq!(tables["douyin_unlisted"]["reason"], "DOUYIN_ERROR");
    let own = tables["gateway"]["errors"].as_array().unwrap();
    assert_eq!(own.len(), reasons::TABLE.len());
    assert_eq!(tables["gateway"]["domain"], "douyin.settlement.v1");
}

/// What calls with a number report is what the table says: one create shows it.
#[tokio::test]
async fn an_error_has_the_words_that_errors_prints() {
    let gateway = crate::harness::Gateway::spawn_with(simulator().await, |_| {}).await;
    let number = number("words");
    let request = crate::harness::create_on(&number, &format!("sim-err-23102-{number}"));
    let status = gateway.create(request).await.unwrap_err();
    let (_, text, _) = ran(&mut crate::config::gateway(&["errors", "--format", "json"], &[]));
    let tables: Value = serde_json::from_str(&text).unwrap();
    let mut errors = tables["douyin"]["errors"].as_array().unwrap().iter();
    let printed = errors.find(|error| error["err_no"] == 23102).unwrap();
    let details = crate::harness::details(&status);
    assert_eq!(printed["reason"], details.info.reason.as_str());
    assert_eq!(printed["retry"], details.info.metadata["retry"].as_str());
    assert!(status.message().contains(printed["advice"].as_str().unwrap()));
}
