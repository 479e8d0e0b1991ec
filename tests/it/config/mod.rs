//! The configuration as an operator sees it: what the documents say is what the code does, every
//! field has a knob, and all mistakes are reported at once.

mod callbacks;
mod callers;
mod documents;
mod floors;
mod gone;
mod keys;
pub mod secrets;
mod store;
mod systems;
mod way;

pub use callbacks::certificate;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use settlement_gateway::config::{Config, Environment, Flags, Loaded, Problems, Source};
use tempfile::TempDir;

const SECRET: &str = "not-to-be-seen-anywhere";
pub const ONE_APP: &str = "[[apps]]\napp_id = \"tt1\"\nclient_secret_env = \"SECRET\"\n";

/// The binary with these variables and no others.
pub fn gateway(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
    command.args(arguments).env_clear().env("SECRET", SECRET).envs(environment.iter().copied());
    command
}

/// Exit code, standard output, standard error.
pub fn ran(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let code = status.code().expect("it ended by itself");
    (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// `check-config` of a file with this text.
fn checked(text: &str, environment: &[(&str, &str)]) -> (i32, String, String) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("gateway.toml"), text).unwrap();
    let arguments = ["check-config", "--config", "gateway.toml"];
    ran(gateway(&arguments, environment).current_dir(dir.path()))
}

/// The lines about problems, without their indentation.
fn problems(stderr: &str) -> Vec<&str> {
    stderr.lines().skip(1).map(str::trim).collect()
}

pub fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let environment = environment.iter().copied().chain([("SECRET", SECRET)]).collect();
    let source = Source::Text { name: "gateway.toml", text };
    Config::load(source, &environment, Flags::default())
}

#[test]
fn every_app_has_its_own_budget() {
    let text = "[[apps]]\napp_id = \"tt1\"\nclient_secret_env = \"SECRET\"\n\
                requests_per_second = 100\nrequests_in_flight = 7\n\
                [[apps]]\napp_id = \"tt2\"\nclient_secret_env = \"SECRET\"\n";
    let config = load(text, &[]).unwrap().config;
    let budget = |app: usize| config.apps[app].budget;
    assert_eq!((budget(0).requests_per_second, budget(0).requests_in_flight), (100, 7));
    assert_eq!((budget(1).requests_per_second, budget(1).requests_in_flight), (20, 64));
}

#[test]
fn the_call_timeout_is_also_what_the_grace_counts_from() {
    let config = load(&format!("[douyin]\ncall_timeout_ms = 9000\n{ONE_APP}"), &[]).unwrap().config;
    assert_eq!(config.gateway.policy.call_timeout, config.douyin.call_timeout);
}

#[test]
fn a_variable_beats_the_file() {
    let text = format!("[settle]\nlease_ms = 50000\n{ONE_APP}");
    let variables = [("SETTLEMENT_SETTLE_LEASE_MS", "60_000")];
    let (code, stdout, stderr) = checked(&text, &variables);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("settle.lease_ms = 60_000  (SETTLEMENT_SETTLE_LEASE_MS)"), "{stdout}");
}

#[test]
fn names_of_hosts_are_an_array_in_the_file_and_parted_by_commas_in_a_variable() {
    let text = format!("[server]\nadmin_hosts = [\"B.example\", \"a\"]\n{ONE_APP}");
    let (code, stdout, stderr) = checked(&text, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("server.admin_hosts = [\"a\", \"b.example\"]"), "{stdout}");
    for (variable, names) in [("c, d", vec!["c", "d"]), ("", vec![])] {
        let config = load(&text, &[("SETTLEMENT_SERVER_ADMIN_HOSTS", variable)]).unwrap().config;
        assert_eq!(config.admin_hosts.names().collect::<Vec<_>>(), names);
    }
    for (value, why) in [
        ("\"a\"", "is a text; it must be an array of texts in quotes"),
        ("[1]", "is 1; it must be a text in quotes"),
        (
            "[\"http://a\"]",
            "holds \"http://a\"; each must be the name of a host, without scheme, port and *",
        ),
    ] {
        let text = format!("[server]\nadmin_hosts = {value}\n{ONE_APP}");
        let (code, _, stderr) = checked(&text, &[]);
        assert_eq!(code, 64);
        assert_eq!(problems(&stderr), [format!("gateway.toml:2:1: server.admin_hosts {why}")]);
    }
}

#[test]
fn the_environment_alone_can_configure_a_gateway() {
    let variables = [
        ("SETTLEMENT_APPS_0_APP_ID", "tt1"),
        ("SETTLEMENT_APPS_0_CLIENT_SECRET_ENV", "SECRET"),
        ("SETTLEMENT_APPS_1_APP_ID", "tt2"),
        ("SETTLEMENT_APPS_1_CLIENT_SECRET_ENV", "SETTLEMENT_SECRET_OF_TT2"),
        ("SETTLEMENT_APPS_1_REQUESTS_PER_SECOND", "50"),
        ("SETTLEMENT_SECRET_OF_TT2", SECRET),
        ("SETTLEMENT_DEFAULT_APP", "tt2"),
    ];
    let (code, stdout, stderr) = ran(&mut gateway(&["check-config"], &variables));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("tt2: 50 requests/s, 64 in flight, the default app"), "{stdout}");
    assert!(!stdout.contains(SECRET), "{stdout}");
}

#[test]
fn a_variable_changes_an_app_of_the_file() {
    let variables = [("SETTLEMENT_APPS_0_REQUESTS_IN_FLIGHT", "5")];
    let (_, stdout, _) = checked(ONE_APP, &variables);
    assert!(stdout.contains("tt1: 20 requests/s, 5 in flight"), "{stdout}");
    let (code, _, stderr) = checked(ONE_APP, &[("SETTLEMENT_APPS_2_APP_ID", "tt3")]);
    assert_eq!(code, 64);
    let expected = "SETTLEMENT_APPS_2_APP_ID: apps[2].app_id is too far: there is 1 app, and the \
                    first one is apps[0]";
    assert_eq!(problems(&stderr), [expected]);
}

#[test]
fn check_config_says_ok_and_changes_nothing() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("gateway.toml"), ONE_APP).unwrap();
    let arguments = ["check-config", "--config", "gateway.toml"];
    let (code, stdout, stderr) = ran(gateway(&arguments, &[]).current_dir(dir.path()));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("ok\n"), "{stdout}");
    assert!(!stdout.contains(SECRET), "{stdout}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["gateway.toml"]);
}

/// A file with everything wrong, and what is said about it.
const WRONG: &str = r#"default_app = "tt9"
lease_ms = 3
[server]
grpc_addr = "localhost:50051"
unary_limit = 5
creates_max = 0
watches_max = "many"
[settle]
lease_ms = 5000
mark = "yes"
poll_first_ms = 20_000
[sttle]
x = 1
[douyin]
base_url = "https://user:pw@open.douyin.com"
attempt_timeout_ms = -3
[poller]
turns_max = 99999999999999999999999999999999999999999999999999
[[apps]]
app_id = "tt1"
client_secret = "not-to-be-seen-anywhere"
[[apps]]
app_id = "tt1"
client_secret_env = "not-to-be-seen-anywhere"
[[apps]]
client_secret_env = "SECRET"
client_secret_file = "/etc/hostname"
[[apps]]
app_id = "tt3"
client_secret_file = "/nonexistent"
[[apps]]
app_id = "tt4"
client_secret_env = "NOT_SET"
requests_per_second = 1.5
"#;

const SAID: &[&str] = &[
    "gateway.toml:1:1: default_app is tt9, which is not one of apps",
    "gateway.toml:2:1: lease_ms is no key; it belongs to [settle]",
    "gateway.toml:4:1: server.grpc_addr is \"localhost:50051\"; it must be an IP address and \
     a port",
    "gateway.toml:5:1: server.unary_limit is no key; did you mean unary_limit_ms?",
    "gateway.toml:6:1: server.creates_max is 0; it must be 1 to 100_000",
    "gateway.toml:7:1: server.watches_max is a text; it must be 1 to 1_000_000",
    "gateway.toml:9:1: settle.lease_ms is 5_000; it must be at least 10_000 unless rehearsal is \
     true",
    "gateway.toml:10:1: settle.mark is a text; it must be true or false",
    "gateway.toml:12:2: sttle is no key; did you mean settle?",
    "gateway.toml:15:1: douyin.base_url must be an http(s) address of a host, without query or \
     user",
    "gateway.toml:16:1: douyin.attempt_timeout_ms is -3; it must be 10 to 60_000",
    "gateway.toml:18:1: poller.turns_max is \
     99999999999999999999999999999999999999999999999999; it must be 1 to 10_000",
    "gateway.toml:21:1: apps[0].client_secret is no key: a secret does not belong into this file: \
     use client_secret_env or client_secret_file",
    "gateway.toml:23:1: apps[1].app_id is tt1 a second time",
    "gateway.toml:24:1: apps[1].client_secret_env must be the name of an environment variable",
    "gateway.toml:25:1: apps[2].app_id is missing",
    "gateway.toml:27:1: apps[2].client_secret_file must stand alone: client_secret_env and \
     client_secret_file exclude each other",
    "gateway.toml:30:1: apps[3].client_secret_file names a file that cannot be read: No such file \
     or directory (os error 2)",
    "gateway.toml:33:1: apps[4].client_secret_env names a variable that is not set",
    "gateway.toml:34:1: apps[4].requests_per_second is a TOML float; it must be 2 to 10_000",
    "SETTLEMENT_DOUYIN_CONNECT_TIMEOUT_MS: douyin.connect_timeout_ms is \"2s\"; it must be 10 to \
     60_000",
    "SETTLEMENT_GRPC_ADDR: is no variable of the gateway; did you mean \
     SETTLEMENT_SERVER_GRPC_ADDR?",
    "SETTLEMENT_SETTLE_LEASE: is no variable of the gateway; did you mean \
     SETTLEMENT_SETTLE_LEASE_MS?",
    "SETTLEMENT_STORE_PATH_OF_EVERYTHING: is no variable of the gateway",
    "douyin.call_timeout_ms (11000, SETTLEMENT_DOUYIN_CALL_TIMEOUT_MS) must be less than \
     settle.lease_ms (5000, gateway.toml:9:1)",
    "settle.poll_first_ms (20000, gateway.toml:11:1) must be at most settle.poll_watched_cap_ms \
     (5000, the default)",
];

const WRONG_VARIABLES: &[(&str, &str)] = &[
    ("SETTLEMENT_DOUYIN_CALL_TIMEOUT_MS", "11000"),
    ("SETTLEMENT_DOUYIN_CONNECT_TIMEOUT_MS", "2s"),
    ("SETTLEMENT_GRPC_ADDR", "127.0.0.1:1"),
    ("SETTLEMENT_SETTLE_LEASE", "1"),
    ("SETTLEMENT_STORE_PATH_OF_EVERYTHING", "x"),
];

#[test]
fn all_problems_are_reported_together_each_with_its_place_and_its_key() {
    let (code, stdout, stderr) = checked(WRONG, WRONG_VARIABLES);
    assert_eq!((code, stdout.as_str()), (64, ""));
    assert_eq!(problems(&stderr), SAID);
    let first = stderr.lines().next().unwrap();
    assert_eq!(
        first,
        format!("settlement-gateway: the configuration has {} problems:", SAID.len())
    );
}

#[test]
fn serve_refuses_what_check_config_refuses_and_opens_no_database() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("gateway.toml"), WRONG).unwrap();
    let arguments = ["serve", "--config", "gateway.toml"];
    let (code, stdout, stderr) = ran(gateway(&arguments, WRONG_VARIABLES).current_dir(dir.path()));
    assert_eq!((code, stdout.as_str()), (64, ""));
    assert_eq!(problems(&stderr), SAID);
    assert!(!dir.path().join("data").exists());
}

#[test]
fn no_problem_repeats_a_secret_that_was_put_in_the_wrong_place() {
    let (_, _, stderr) = checked(WRONG, WRONG_VARIABLES);
    assert!(!stderr.contains(SECRET), "{stderr}");
    // Where a syntax error is.
    let (_, _, stderr) = checked(&format!("[[apps]]\nclient_secret = \"{SECRET}\n"), &[]);
    assert!(!stderr.contains(SECRET), "{stderr}");
}

/// A problem is one line of a terminal or a log, whatever a key is called.
#[test]
fn a_problem_shows_no_control_character() {
    let text = "\"a\\nb\\u001B[2J\" = 1\n".to_owned() + ONE_APP;
    let Err(Problems(problems)) = load(&text, &[("SETTLEMENT_\u{1b}X", "1")]) else {
        panic!("no such keys");
    };
    let shown = [
        r"gateway.toml:1:1: a\nb\u{1b}[2J is no key",
        r"SETTLEMENT_\u{1b}X: is no variable of the gateway",
    ];
    assert_eq!(problems, shown);
}

#[test]
fn several_errors_of_syntax_are_reported_at_once() {
    let text = "default_app = \n[server]\ngrpc_addr = \"x\ncreates_max = 1\ncreates_max = 2\n";
    let (code, _, stderr) = checked(text, &[("SETTLEMENT_SETTLE_MARK", "maybe")]);
    assert_eq!(code, 64);
    let expected = [
        "gateway.toml:1:15: this is not TOML: string values must be quoted, expected literal \
         string",
        "gateway.toml:3:15: this is not TOML: invalid basic string, expected `\"`",
        "gateway.toml:5:1: this is not TOML: duplicate key",
        "SETTLEMENT_SETTLE_MARK: settle.mark is \"maybe\"; it must be true or false",
    ];
    assert_eq!(problems(&stderr), expected);
}

#[test]
fn values_that_do_not_fit_each_other_are_refused() {
    for (table, values, must) in [
        ("douyin", "connect_timeout_ms = 5001", "at most douyin.attempt_timeout_ms"),
        ("douyin", "attempt_timeout_ms = 10001", "at most douyin.call_timeout_ms"),
        ("douyin", "call_timeout_ms = 30000", "less than settle.lease_ms"),
        ("settle", "poll_cap_ms = 999", "at most settle.poll_cap_ms"),
        ("settle", "poll_watched_cap_ms = 999", "at most settle.poll_watched_cap_ms"),
    ] {
        let loaded = load(&format!("[{table}]\n{values}\n{ONE_APP}"), &[]);
        let Problems(problems) = loaded.map(drop).expect_err(values);
        assert_eq!(problems.len(), 1, "{values}: {problems:?}");
        assert!(problems[0].contains(must), "{values}: {problems:?}");
    }
    for fitting in [
        "[douyin]\nconnect_timeout_ms = 5000\nattempt_timeout_ms = 5000\ncall_timeout_ms = 5000",
        "[settle]\nlease_ms = 10001\npoll_watched_cap_ms = 1000",
    ] {
        assert!(load(&format!("{fitting}\n{ONE_APP}"), &[]).is_ok(), "{fitting}");
    }
}

#[test]
fn what_is_no_text_is_told_as_such() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("gateway.toml"), ONE_APP).unwrap();
    let garbled = OsStr::from_bytes(b"\xff\xfe");
    let mut command = gateway(&["check-config", "--config", "gateway.toml"], &[]);
    command.env("SECRET", garbled).env("SETTLEMENT_SETTLE_LEASE_MS", garbled);
    let (code, _, stderr) = ran(command.current_dir(dir.path()));
    assert_eq!(code, 64);
    let expected = [
        "SETTLEMENT_SETTLE_LEASE_MS: settle.lease_ms is not UTF-8",
        "gateway.toml:3:1: apps[0].client_secret_env names a variable that is not UTF-8",
    ];
    let mut said = problems(&stderr);
    said.sort_unstable();
    assert_eq!(said, expected);
    for (text, why) in [
        (&b"\xff\xfe"[..], "the file is not UTF-8"),
        (&vec![b'#'; 1_048_577], "the file is larger than 1048576 bytes"),
        (b"apps = 3\nserver = 1\n", "server must be a table: [server]"),
        (b"[apps]\napp_id = \"tt1\"\n", "apps must be blocks: [[apps]]"),
    ] {
        fs::write(dir.path().join("gateway.toml"), text).unwrap();
        let arguments = ["check-config", "--config", "gateway.toml"];
        let (code, stdout, stderr) = ran(gateway(&arguments, &[]).current_dir(dir.path()));
        assert_eq!((code, stdout.as_str()), (64, ""));
        assert!(stderr.contains(why), "{stderr}");
    }
    let arguments = ["check-config", "--config", "."];
    let (code, _, stderr) = ran(gateway(&arguments, &[]).current_dir(dir.path()));
    assert!(code == 64 && stderr.contains("the file cannot be read"), "{stderr}");
}

#[test]
fn no_app_no_gateway() {
    let (code, _, stderr) = checked("", &[]);
    assert_eq!(code, 64);
    assert_eq!(problems(&stderr), ["apps is empty: the gateway serves at least one app"]);
    let (code, _, stderr) = ran(&mut gateway(&["serve", "--config", "/nonexistent.toml"], &[]));
    assert_eq!(code, 64);
    let expected =
        "/nonexistent.toml: the file cannot be read: No such file or directory (os error 2)";
    assert_eq!(problems(&stderr), [expected]);
}

#[test]
fn a_secret_comes_from_a_file_and_one_that_others_may_read_is_a_warning() {
    let dir = TempDir::new().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let text = format!("[[apps]]\napp_id = \"tt1\"\nclient_secret_file = {secret:?}\n");
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let (code, stdout, stderr) = checked(&text, &[]);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(stderr.contains("apps[0].client_secret_file names a file that others"), warned);
        assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET));
    }
    for (content, why) in [("", "empty secret"), ("a\nb", "control character")] {
        fs::write(&secret, content).unwrap();
        let (code, _, stderr) = checked(&text, &[]);
        assert_eq!(code, 64);
        assert!(stderr.contains(why), "{stderr}");
    }
    fs::write(&secret, "x".repeat(5_000)).unwrap();
    let (_, _, stderr) = checked(&text, &[]);
    assert!(stderr.contains("is larger than 4096 bytes"), "{stderr}");
}

#[test]
fn the_variables_that_kubernetes_sets_for_a_service_are_no_problem() {
    let variables = [
        ("SETTLEMENT_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("SETTLEMENT_GATEWAY_SERVICE_PORT_GRPC", "50051"),
        ("SETTLEMENT_GATEWAY_PORT", "tcp://10.0.0.1:50051"),
        ("SETTLEMENT_GATEWAY_PORT_50051_TCP_ADDR", "10.0.0.1"),
    ];
    let (code, _, stderr) = checked(ONE_APP, &variables);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let (code, _, _) = checked(ONE_APP, &[("SETTLEMENT_SERVER_PORT", "50051")]);
    assert_eq!(code, 64, "a misspelt knob is one");
}

#[test]
fn a_wrong_command_line_ends_with_64_and_help_does_not() {
    for arguments in [&["nonsense"][..], &[], &["serve", "--grpc-addr", "x"]] {
        let (code, stdout, _) = ran(&mut gateway(arguments, &[]));
        assert_eq!((code, stdout.as_str()), (64, ""), "{arguments:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(ran(&mut gateway(&arguments, &[])).0, 0, "{arguments:?}");
    }
}

/// Every user of a machine can read the command lines in its list of processes, so they hold no
/// secrets.
#[test]
fn no_option_of_serve_takes_a_secret() {
    let (_, help, _) = ran(&mut gateway(&["serve", "--help"], &[]));
    let options: Vec<_> = help.lines().map(str::trim).filter(|l| l.starts_with("--")).collect();
    let names: Vec<_> = options.iter().map(|option| option.split(' ').next().unwrap()).collect();
    let known = ["--config", "--sandbox", "--fresh", "--scenario", "--grpc-addr", "--data-dir"];
    assert_eq!(names, known);
}

#[test]
fn an_environment_is_never_printed_by_mistake() {
    let environment: Environment = [("SECRET", SECRET)].into_iter().collect();
    assert_eq!(environment.get("SECRET"), Some(SECRET));
    let loaded = load(ONE_APP, &[]).unwrap();
    assert!(!format!("{:?}", loaded.config).contains(SECRET));
}
