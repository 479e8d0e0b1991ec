//! Configuration: one TOML file, all problems reported together, secrets never in the file itself.
//!
//! Every knob is documented at its field, with unit, default and bound. A duration is a whole
//! number of milliseconds and ends in `_ms`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::douyin::{App, ClientConfig};
use crate::gateway::GatewayConfig;
use crate::grpc::GrpcConfig;
use crate::poller::PollerConfig;
use crate::settle::{AppId, Mark};

/// What the gateway is built from.
pub struct Config {
    pub grpc_addr: SocketAddr,
    pub sqlite_path: PathBuf,
    pub douyin: ClientConfig,
    pub apps: Vec<App>,
    pub gateway: GatewayConfig,
    pub grpc: GrpcConfig,
    pub poller: PollerConfig,
    pub stop: StopConfig,
}

/// How the gateway stops.
#[derive(Clone, Debug)]
pub struct StopConfig {
    /// How long it keeps serving while balancers notice that it is NOT_SERVING.
    pub drain_delay: Duration,
    /// How long everything in flight may take after that.
    pub grace: Duration,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// The file, as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    server: ServerFile,
    store: StoreFile,
    douyin: DouyinFile,
    settle: SettleFile,
    apps: Vec<AppFile>,
    /// The app of requests that name none; must be one of `apps`. Default: none.
    default_app: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ServerFile {
    /// Where gRPC listens. Default `127.0.0.1:50051`.
    grpc_addr: Option<SocketAddr>,
    /// The gateway's own limit of a unary call: 100 ms to 10 min, default 20 s.
    unary_limit_ms: Option<u64>,
    /// How long a ready message of a stream may stay untaken: 100 ms to 10 min, default 30 s.
    slow_consumer_ms: Option<u64>,
    /// The greatest age of a stream, ± 10 %: 1 s to 24 h, default 30 min.
    watch_age_max_ms: Option<u64>,
    /// Watch streams open at once: 1 to 1,000,000, default 20,000.
    watches_max: Option<u64>,
    /// Creates being recorded or submitted at once: 1 to 100,000, default 1,024.
    creates_max: Option<u64>,
    /// How long a stopping gateway keeps serving as NOT_SERVING: 0 to 5 min, default 5 s.
    drain_delay_ms: Option<u64>,
    /// How long what is in flight may take after that: 100 ms to 10 min, default 25 s.
    stop_grace_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StoreFile {
    /// The database file. Default `data/settlement.db`.
    sqlite_path: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct DouyinFile {
    /// Default `https://open.douyin.com`.
    base_url: Option<String>,
    /// The time to connect: 10 ms to 1 min, default 2 s.
    connect_timeout_ms: Option<u64>,
    /// The time of one HTTP request: 10 ms to 1 min, default 5 s.
    attempt_timeout_ms: Option<u64>,
    /// The time of one call with its token: 10 ms to 2 min, default 10 s.
    call_timeout_ms: Option<u64>,
    /// How long before its end a token is replaced: 0 to 1 h, default 4 min.
    refresh_ahead_ms: Option<u64>,
    /// The least time between two fetches of a rejected token: 100 ms to 1 h, default 60 s.
    refetch_gap_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SettleFile {
    /// How long Douyin may hide a settle from queries after accepting it: 100 ms to 24 h, default
    /// 10 min. Shorter than the truth pays twice.
    visibility_grace_ms: Option<u64>,
    /// Whether an empty query after the grace proves that nothing was accepted. Default true;
    /// false leaves settles in doubt to an operator.
    grace_proves: Option<bool>,
    /// How long a number may answer 23111 and stay invisible before that is final: 100 ms to 72 h,
    /// default 1 h.
    exists_absent_max_ms: Option<u64>,
    /// Whether settles without `ext` are marked. Default true.
    mark: Option<bool>,
    /// The longest submission window: 1 s to 72 h, default 72 h.
    submit_window_max_ms: Option<u64>,
    /// The first wait of the schedule: 10 ms to 10 min, default 1 s.
    poll_first_ms: Option<u64>,
    /// The longest wait of the schedule: 10 ms to 24 h, default 10 min.
    poll_cap_ms: Option<u64>,
    /// The longest wait while somebody watches: 10 ms to 1 h, default 5 s.
    poll_watched_cap_ms: Option<u64>,
    /// How long a worker may hold a settle between two steps: 20 ms to 1 h, default 30 s; longer
    /// than `douyin.call_timeout_ms`.
    lease_ms: Option<u64>,
    /// The least time between two attempts that repeated creates bring forward: 0 to 10 min,
    /// default 2 s.
    nudge_gap_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppFile {
    /// The mini-program at Douyin, 1 to 64 bytes.
    app_id: String,
    /// A file whose trimmed content is the client secret.
    client_secret_file: Option<PathBuf>,
    /// An environment variable that holds the client secret.
    client_secret_env: Option<String>,
}

/// Where secrets and overrides come from: the process environment, or a test's own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads a file.
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Self, Problems> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Problems(vec![format!("{}: {error}", path.display())]))?;
        Self::parse(&text, environment)
    }

    /// Parses the text of a file.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Self, Problems> {
        let file: File = toml::from_str(text).map_err(|error| Problems(vec![error.to_string()]))?;
        let mut bad = Vec::new();
        let apps = apps(&mut bad, &file.apps, environment);
        let config = from_file(&mut bad, file, apps);
        if bad.is_empty() { Ok(config) } else { Err(Problems(bad)) }
    }
}

impl Default for Config {
    /// The defaults of every knob, and no app.
    fn default() -> Self {
        Self {
            grpc_addr: SocketAddr::from(([127, 0, 0, 1], 50051)),
            sqlite_path: PathBuf::from("data/settlement.db"),
            douyin: ClientConfig::default(),
            apps: Vec::new(),
            gateway: GatewayConfig::default(),
            grpc: GrpcConfig::default(),
            poller: PollerConfig::default(),
            stop: StopConfig {
                drain_delay: Duration::from_secs(5),
                grace: Duration::from_secs(25),
            },
        }
    }
}

/// Sets one knob, if the file does, within its bounds.
struct Knobs<'a>(&'a mut Vec<String>);

impl Knobs<'_> {
    fn ms(&mut self, name: &str, knob: &mut Duration, value: Option<u64>, bounds: (u64, u64)) {
        let Some(ms) = value else { return };
        if ms < bounds.0 || ms > bounds.1 {
            self.0.push(format!("{name} is {ms}; it must be {} to {}", bounds.0, bounds.1));
        }
        *knob = Duration::from_millis(ms);
    }

    fn count(&mut self, name: &str, knob: &mut usize, value: Option<u64>, max: usize) {
        let Some(count) = value else { return };
        match usize::try_from(count) {
            Ok(count) if (1..=max).contains(&count) => *knob = count,
            Ok(_) | Err(_) => self.0.push(format!("{name} is {count}; it must be 1 to {max}")),
        }
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

fn from_file(bad: &mut Vec<String>, file: File, apps: Vec<App>) -> Config {
    let File { server, store, douyin, settle, apps: _, default_app } = file;
    let mut config = Config { apps, ..Config::default() };
    server_knobs(bad, &mut config, server);
    config.sqlite_path = store.sqlite_path.unwrap_or(config.sqlite_path);
    douyin_knobs(bad, &mut config.douyin, douyin);
    settle_knobs(bad, &mut config.gateway, settle);
    config.gateway.policy.call_timeout = config.douyin.call_timeout;
    if config.gateway.lease <= config.douyin.call_timeout {
        bad.push("settle.lease_ms must be longer than douyin.call_timeout_ms".to_owned());
    }
    if config.gateway.submit_window_max <= config.gateway.policy.grace {
        bad.push(
            "settle.submit_window_max_ms must be longer than settle.visibility_grace_ms".to_owned(),
        );
    }
    config.grpc.default_app = default_app.and_then(|text| {
        let app_id = AppId::parse(text.clone()).ok();
        let known = app_id.filter(|app_id| config.apps.iter().any(|app| app.app_id == *app_id));
        if known.is_none() {
            bad.push(format!("default_app \"{text}\" is not one of apps"));
        }
        known
    });
    config
}

fn server_knobs(bad: &mut Vec<String>, config: &mut Config, file: ServerFile) {
    config.grpc_addr = file.grpc_addr.unwrap_or(config.grpc_addr);
    let mut knobs = Knobs(bad);
    let (grpc, stop) = (&mut config.grpc, &mut config.stop);
    let minutes_10 = (100, 10 * MINUTE);
    knobs.ms("server.unary_limit_ms", &mut grpc.unary_limit, file.unary_limit_ms, minutes_10);
    knobs.ms("server.slow_consumer_ms", &mut grpc.slow_consumer, file.slow_consumer_ms, minutes_10);
    let age = &mut config.gateway.watch_age_max;
    knobs.ms("server.watch_age_max_ms", age, file.watch_age_max_ms, (SECOND, 24 * HOUR));
    knobs.count("server.watches_max", &mut grpc.watches_max, file.watches_max, 1_000_000);
    let creates = &mut config.gateway.creates_max;
    knobs.count("server.creates_max", creates, file.creates_max, 100_000);
    let delay = &mut stop.drain_delay;
    knobs.ms("server.drain_delay_ms", delay, file.drain_delay_ms, (0, 5 * MINUTE));
    knobs.ms("server.stop_grace_ms", &mut stop.grace, file.stop_grace_ms, minutes_10);
}

fn douyin_knobs(bad: &mut Vec<String>, config: &mut ClientConfig, file: DouyinFile) {
    if let Some(base_url) = file.base_url {
        config.base_url = base_url;
    }
    let mut knobs = Knobs(bad);
    let minute = (10, MINUTE);
    let connect = &mut config.connect_timeout;
    knobs.ms("douyin.connect_timeout_ms", connect, file.connect_timeout_ms, minute);
    let attempt = &mut config.attempt_timeout;
    knobs.ms("douyin.attempt_timeout_ms", attempt, file.attempt_timeout_ms, minute);
    let call = &mut config.call_timeout;
    knobs.ms("douyin.call_timeout_ms", call, file.call_timeout_ms, (10, 2 * MINUTE));
    let ahead = &mut config.refresh_ahead;
    knobs.ms("douyin.refresh_ahead_ms", ahead, file.refresh_ahead_ms, (0, HOUR));
    let gap = &mut config.refetch_gap;
    knobs.ms("douyin.refetch_gap_ms", gap, file.refetch_gap_ms, (100, HOUR));
}

fn settle_knobs(bad: &mut Vec<String>, config: &mut GatewayConfig, file: SettleFile) {
    let mut knobs = Knobs(bad);
    let policy = &mut config.policy;
    let grace = &mut policy.grace;
    knobs.ms("settle.visibility_grace_ms", grace, file.visibility_grace_ms, (100, 24 * HOUR));
    let absent = &mut policy.exists_absent_max;
    knobs.ms("settle.exists_absent_max_ms", absent, file.exists_absent_max_ms, (100, 72 * HOUR));
    let window = &mut config.submit_window_max;
    knobs.ms("settle.submit_window_max_ms", window, file.submit_window_max_ms, (SECOND, 72 * HOUR));
    let schedule = &mut config.schedule;
    knobs.ms("settle.poll_first_ms", &mut schedule.first, file.poll_first_ms, (10, 10 * MINUTE));
    knobs.ms("settle.poll_cap_ms", &mut schedule.cap, file.poll_cap_ms, (10, 24 * HOUR));
    let watched = &mut schedule.watched_cap;
    knobs.ms("settle.poll_watched_cap_ms", watched, file.poll_watched_cap_ms, (10, HOUR));
    knobs.ms("settle.lease_ms", &mut config.lease, file.lease_ms, (20, HOUR));
    let gap = &mut config.nudge_gap;
    knobs.ms("settle.nudge_gap_ms", gap, file.nudge_gap_ms, (0, 10 * MINUTE));
    policy.grace_proves = file.grace_proves.unwrap_or(policy.grace_proves);
    if file.mark == Some(false) {
        config.mark = Mark::Off;
    }
}

fn apps(bad: &mut Vec<String>, files: &[AppFile], environment: Environment<'_>) -> Vec<App> {
    if files.is_empty() {
        bad.push("apps is empty: the gateway serves at least one app".to_owned());
    }
    let mut apps: Vec<App> = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let app_id = match AppId::parse(file.app_id.clone()) {
            Ok(app_id) => app_id,
            Err(invalid) => {
                bad.push(format!("apps[{i}].app_id {invalid}"));
                continue;
            }
        };
        if apps.iter().any(|app| app.app_id == app_id) {
            bad.push(format!("apps[{i}].app_id {app_id} is configured twice"));
        }
        match secret(file, environment) {
            Ok(client_secret) => apps.push(App { app_id, client_secret }),
            Err(problem) => bad.push(format!("apps[{i}] ({app_id}): {problem}")),
        }
    }
    apps
}

fn secret(file: &AppFile, environment: Environment<'_>) -> Result<SecretString, String> {
    let secret = match (&file.client_secret_file, &file.client_secret_env) {
        (Some(path), None) => std::fs::read_to_string(path)
            .map_err(|error| format!("client_secret_file {}: {error}", path.display()))?,
        (None, Some(name)) => environment(name)
            .ok_or_else(|| format!("client_secret_env: the variable {name} is not set"))?,
        (None, None) | (Some(_), Some(_)) => {
            return Err("give exactly one of client_secret_file and client_secret_env".to_owned());
        }
    };
    let secret = secret.trim();
    if secret.is_empty() {
        return Err("the client secret is empty".to_owned());
    }
    Ok(SecretString::from(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "SECRET").then(|| " s3cret\n".to_owned())
    }

    #[test]
    fn the_smallest_file_has_one_app_and_the_defaults() {
        let text = "[[apps]]\napp_id = \"tt1\"\nclient_secret_env = \"SECRET\"\n";
        let config = Config::parse(text, &environment).unwrap();
        assert_eq!(config.grpc_addr.to_string(), "127.0.0.1:50051");
        assert_eq!(config.apps.len(), 1);
        assert_eq!(config.grpc.default_app, None);
        assert_eq!(config.gateway.policy.grace, Duration::from_secs(600));
    }

    #[test]
    fn all_problems_are_reported_together_with_their_keys() {
        let text = "default_app = \"tt2\"\n[settle]\nlease_ms = 30\nvisibility_grace_ms = 1\n\
                    [server]\ncreates_max = 0\n\
                    [[apps]]\napp_id = \"\"\nclient_secret_env = \"SECRET\"\n\
                    [[apps]]\napp_id = \"tt1\"\nclient_secret_env = \"NONE\"\n";
        let Err(Problems(problems)) = Config::parse(text, &environment) else {
            panic!("a file with mistakes was taken");
        };
        let expected = [
            "apps[0].app_id must not be empty",
            "apps[1] (tt1): client_secret_env: the variable NONE is not set",
            "server.creates_max is 0; it must be 1 to 100000",
            "settle.visibility_grace_ms is 1; it must be 100 to 86400000",
            "settle.lease_ms must be longer than douyin.call_timeout_ms",
            "default_app \"tt2\" is not one of apps",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let Err(Problems(problems)) = Config::parse("[server]\ngrpc_adr = \"x\"\n", &environment)
        else {
            panic!("an unknown key was taken");
        };
        assert!(problems[0].contains("grpc_adr"), "{problems:?}");
    }
}
