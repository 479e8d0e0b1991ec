//! What the documents say about the configuration is what the code does, and every field has a
//! knob.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use settlement_gateway::config::{self, Config};

use super::{Loaded, ONE_APP, SECRET, gateway, load, ran};
use crate::printed::assert_printed;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_documented_knobs_are_those_of_the_code() {
    let (code, printed, _) = ran(&mut gateway(&["check-config", "--print-knobs"], &[]));
    assert_eq!(code, 0);
    let begin = "<!-- printed by `settlement-gateway check-config --print-knobs` -->\n\n";
    assert_printed("docs/configuration.md", begin, "<!-- end of what is printed -->\n", &printed);
}

#[test]
fn the_documented_limits_are_those_of_the_code() {
    let (code, printed, _) = ran(&mut gateway(&["check-config", "--print-limits"], &[]));
    assert_eq!(code, 0);
    let begin = "<!-- printed by `settlement-gateway check-config --print-limits` -->\n\n";
    assert_printed("docs/limits.md", begin, "<!-- end of what is printed -->\n", &printed);
}

#[test]
fn the_documented_metrics_are_those_of_the_code() {
    let (code, printed, _) = ran(&mut gateway(&["check-config", "--print-metrics"], &[]));
    assert_eq!(code, 0);
    let begin = "<!-- printed by `settlement-gateway check-config --print-metrics` -->\n\n";
    assert_printed("docs/metrics.md", begin, "<!-- end of what is printed -->\n", &printed);
}

#[test]
fn the_example_is_what_the_code_prints() {
    let (code, printed, _) = ran(&mut gateway(&["check-config", "--print-knobs", "toml"], &[]));
    assert_eq!(code, 0);
    assert_printed("examples/gateway.toml", "", "", &printed);
}

/// A knob of the example: its table, its key, the value that is shown, and whether it counts.
struct Shown {
    table: String,
    key: String,
    value: String,
    active: bool,
}

impl Shown {
    fn path(&self) -> String {
        if self.table.is_empty() {
            self.key.clone()
        } else {
            format!("{}.{}", self.table, self.key)
        }
    }

    fn variable(&self) -> String {
        format!("SETTLEMENT_{}", self.path().replace('.', "_").to_ascii_uppercase())
    }
}

fn example() -> String {
    fs::read_to_string(root().join("examples/gateway.toml")).unwrap()
}

/// Taken from where the example is printed from: the file may be in the middle of a REWRITE.
fn shown_knobs() -> Vec<Shown> {
    let (mut all, mut table) = (Vec::new(), String::new());
    for line in config::toml().lines() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some(block) = line.strip_prefix("#[") {
            block.trim_matches(['[', ']']).clone_into(&mut table);
        } else if !line.is_empty() && !line.starts_with("# ") && line != "#" {
            let (key, value) = line.split_once(" = ").expect(line);
            let (active, key) = (!key.starts_with('#'), key.trim_start_matches('#').to_owned());
            all.push(Shown { table: table.clone(), key, value: value.to_owned(), active });
        }
    }
    all
}

#[test]
fn the_example_loads_and_sets_nothing_but_its_app() {
    let text = example();
    let loaded = load(&text, &[("DOUYIN_CLIENT_SECRET", SECRET)]).map_err(|p| p.to_string());
    let Loaded { config, warnings, set, .. } = loaded.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let paths: Vec<_> = set.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, ["apps[0].app_id", "apps[0].client_secret_env"]);
    assert_eq!(config.apps.len(), 1);
    assert_eq!(fields(&config), fields(&Config::default()));
}

#[test]
fn every_value_of_the_example_is_the_default() {
    // What has no default shows an example instead.
    let without = [
        "default_app",
        "server.grpc_tls_certificate_file",
        "server.grpc_tls_key_file",
        "server.grpc_client_ca_file",
        "server.sidecar_socket",
        "server.callback_tls_certificate_file",
        "server.callback_tls_key_file",
        "server.admin_tls_certificate_file",
        "server.admin_tls_key_file",
        "store.url",
        "store.password_env",
        "store.password_file",
        "store.ca_file",
        "douyin.proxy_url",
        "douyin.proxy_credentials_file",
        "douyin.ca_file",
        "apps.client_secret_file",
        "apps.private_key_file",
        "apps.key_version",
        "apps.salt_env",
        "apps.salt_file",
        "apps.callback_token_env",
        "apps.callback_token_file",
        "apps.platform_public_keys_file",
        "apps.callback_url",
        "apps.caller_tokens_file",
        "server.sidecar_names",
        "callers.name",
        "callers.apps",
        "callers.rights",
        "callers.token_sha256",
        "callers.certificate_names",
    ];
    let mut text = example();
    for shown in shown_knobs().iter().filter(|shown| !without.contains(&shown.path().as_str())) {
        let (hidden, line) = (format!("\n#{} = ", shown.key), format!("\n{} = ", shown.key));
        text = text.replace(&hidden, &line);
    }
    let loaded = load(&text, &[("DOUYIN_CLIENT_SECRET", SECRET)]).map_err(|p| p.to_string());
    let Loaded { config, set, .. } = loaded.unwrap();
    assert_eq!(set.len(), shown_knobs().len() - without.len());
    let budgets: Vec<_> = config.apps.iter().map(|app| app.budget).collect();
    assert_eq!(budgets, [settlement_gateway::apps::Budget::default()]);
    assert_eq!(fields(&config), fields(&Config::default()));
}

#[test]
fn the_example_and_the_reference_show_every_knob_once() {
    let reference = config::markdown();
    let knobs = shown_knobs();
    for shown in &knobs {
        let row = format!("| `{}` |", shown.key);
        // Two tables may have a key of the same name.
        let same = knobs.iter().filter(|other| other.key == shown.key).count();
        assert_eq!(reference.matches(&row).count(), same, "{}", shown.path());
    }
    let (reference, _) = reference.split_once(super::gone::HEADING).unwrap();
    assert_eq!(reference.lines().filter(|line| line.starts_with("| `")).count(), knobs.len());
    let paths: BTreeSet<_> = knobs.iter().map(Shown::path).collect();
    assert_eq!(paths.len(), knobs.len());
    let active: Vec<_> = knobs.iter().filter(|shown| shown.active).map(Shown::path).collect();
    assert_eq!(active, ["apps.app_id", "apps.client_secret_env"]);
}

/// Every field of a configuration, as its Debug print shows them: path and value. Those of an app
/// have tests of their own, and the clock is the machine's.
fn fields(config: &Config) -> BTreeMap<String, String> {
    let mut config = config.clone();
    config.apps.clear();
    let (mut fields, mut inside) = (BTreeMap::new(), Vec::new());
    for line in format!("{config:#?}").lines().map(str::trim) {
        if line.starts_with(['}', ')', ']']) {
            inside.pop();
        }
        if line.ends_with(['{', '(', '[']) {
            let name = line.split(|c: char| ":({[ ".contains(c)).next().unwrap();
            inside.push(name.to_owned());
        } else if !line.starts_with(['}', ')', ']']) {
            let (name, value) = line.split_once(": ").unwrap_or(("", line));
            fields.insert(format!("{}.{name}", inside.join(".")), value.to_owned());
        }
    }
    fields.retain(|name, _| !name.starts_with("Config.sqlite.clock"));
    fields
}

fn changed(from: &Config, to: &Config) -> BTreeSet<String> {
    let (from, to) = (fields(from), fields(to));
    let names = from.keys().chain(to.keys());
    names.filter(|name| from.get(*name) != to.get(*name)).cloned().collect()
}

/// Values that a knob may have besides its default.
fn others(shown: &Shown) -> Vec<String> {
    let number: Result<u64, _> = shown.value.replace('_', "").parse();
    match (number, shown.value.as_str()) {
        // Some stand at a bound.
        (Ok(number), _) => vec![(number + 1).to_string(), number.saturating_sub(1).to_string()],
        (_, "true") => vec!["false".to_owned()],
        (_, "false") => vec!["true".to_owned()],
        (_, text) if text.starts_with('[') => vec!["[\"tt1\"]".to_owned()],
        (_, text) if text.contains("://") => {
            ["\"http://other.example:3128\"", "\"postgres://a@other.example/b\""]
                .map(str::to_owned)
                .to_vec()
        }
        _ => ["\"127.0.0.1:1\"", "\"tt1\"", "\"refuse\"", "\"stdout\""].map(str::to_owned).to_vec(),
    }
}

/// Fields that only tests in this process set: for every gateway they are at their defaults.
const NO_KNOBS_ANY_MORE: &[&str] = &[
    "Config.callback.limits.body_time_max",
    "Config.callback.limits.idle_time_max",
    "Config.douyin.answer_bytes_max",
    "Config.douyin.idle_timeout",
    "Config.douyin.pause_min",
    "Config.douyin.refresh_ahead",
    "Config.gateway.absent_ttl",
    "Config.gateway.budget_wait",
    "Config.gateway.look_interval",
    "Config.gateway.nudge_gap",
    "Config.gateway.policy.expiry_attempts_min",
    "Config.gateway.policy.unlisted_times_max",
    "Config.gateway.shared_resync",
    "Config.gateway.submit_window_max",
    "Config.gateway.watch_age_max",
    "Config.poller.sleep_max",
    "Config.sqlite.batch_jobs_max",
    "Config.sqlite.busy_wait",
    "Config.sqlite.check_time_max",
    "Config.sqlite.processes",
    "Config.sqlite.queue_jobs_max",
    "Config.sqlite.readers",
    "Config.sqlite.reads_max",
];

/// A new field needs a knob, or a line here that says why it has none.
#[test]
fn every_field_of_the_configuration_is_set_by_a_knob_in_the_file_and_by_its_variable() {
    let base = load(ONE_APP, &[]).unwrap().config;
    let mut reached = BTreeSet::new();
    // A certificate and its key go together and are files, and so are those of the way to Douyin; a
    // sidecar's socket needs callers, a password needs a database: they have tests of their own.
    let of_others = [
        "grpc_client_ca_file",
        "proxy_credentials_file",
        "ca_file",
        "sidecar_socket",
        "password_env",
        "password_file",
    ];
    let together =
        |shown: &&Shown| shown.key.contains("_tls_") || of_others.contains(&shown.key.as_str());
    let blocks = ["apps", "callers"];
    let alone = |shown: &&Shown| !blocks.contains(&shown.table.as_str()) && !together(shown);
    for shown in shown_knobs().iter().filter(alone) {
        let key = &shown.key;
        let set = others(shown).into_iter().find_map(|value| {
            let bare = value.trim_matches(['[', '"', ']']);
            let by_variable = load(ONE_APP, &[(&shown.variable(), bare)]).ok()?.config;
            let file = match shown.table.as_str() {
                "" => format!("{key} = {value}\n{ONE_APP}"),
                table => format!("[{table}]\n{key} = {value}\n{ONE_APP}"),
            };
            let by_file = load(&file, &[]).map_err(|problems| problems.to_string()).unwrap().config;
            assert_eq!(fields(&by_file), fields(&by_variable), "{}", shown.path());
            Some(changed(&base, &by_file))
        });
        let set = set.unwrap_or_else(|| panic!("no value tried here fits {}", shown.path()));
        assert!(!set.is_empty(), "{} sets nothing", shown.path());
        reached.extend(set);
    }
    let without: Vec<_> =
        fields(&base).into_keys().filter(|name| !reached.contains(name)).collect();
    // Those of apps, callers, certificates, the way to Douyin and passwords have tests of their
    // own, the number is another one in each run, 64 KiB is a bound and no knob, only a command
    // makes a database, and only a sandbox has one of its own.
    let mut expected = vec![
        "Config.admin_tls.certificate_file",
        "Config.admin_tls.client_ca_file",
        "Config.admin_tls.key_file",
        "Config.admin_tls.tls",
        "Config.apps",
        "Config.callers",
        "Config.callback.limits.body_bytes_max",
        "Config.callback.tls.certificate_file",
        "Config.callback.tls.client_ca_file",
        "Config.callback.tls.key_file",
        "Config.callback.tls.tls",
        "Config.douyin.seed",
        "Config.douyin.way.authorities",
        "Config.gateway.runner",
        "Config.gateway.seed",
        "Config.grpc_tls.certificate_file",
        "Config.grpc_tls.client_ca_file",
        "Config.grpc_tls.key_file",
        "Config.grpc_tls.tls",
        "Config.sidecar_socket",
        "Config.sqlite.missing",
        "Config.sqlite.purpose",
        "Config.store.authorities",
        "Config.store.ca_file",
        "Config.store.password",
        "Config.store.password_env",
        "Config.store.password_file",
        "Config.way.ca_file",
        "Config.way.proxy_credentials_file",
    ];
    expected.extend(NO_KNOBS_ANY_MORE);
    expected.sort_unstable();
    assert_eq!(without, expected);
}
