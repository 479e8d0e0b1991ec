//! What `deploy/` says must be true of the program: its configurations are right, and it is given
//! the time that a stop takes. `scripts/test deploy` shows that Kubernetes and systemd take it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use settlement_gateway::core::CLOSE_TIME_MAX;
use settlement_gateway::telemetry::REST_TIME_MAX;
use tempfile::TempDir;

use crate::config::{certificate, gateway, ran};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The number behind a word, as in `TimeoutStopSec=60`.
fn number(text: &str, word: &str) -> u64 {
    let mut found = text.split(word).skip(1).map(|rest| {
        let digits = rest.chars().take_while(|sign| sign.is_ascii_digit() || *sign == '_');
        digits.filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
    });
    let number = found.next().unwrap_or_else(|| panic!("no {word}"));
    assert_eq!(found.next(), None, "one {word}");
    number
}

/// What stands behind `gateway.toml: |` of a manifest.
fn configuration(manifest: &str) -> String {
    let (_, block) = manifest.split_once("gateway.toml: |\n").expect("a configuration");
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| line.trim_start().to_owned() + "\n").collect()
}

/// From the signal until the process has ended, at most.
fn stop_time(drain_delay_ms: u64, stop_grace_ms: u64) -> Duration {
    Duration::from_millis(drain_delay_ms + stop_grace_ms) + AFTER_GRACE_MAX
}

const AFTER_GRACE_MAX: Duration = CLOSE_TIME_MAX.saturating_add(REST_TIME_MAX);

/// For how long the kubelet goes on asking a gateway that says that it is not ready, until it
/// believes it.
fn notice_time(workload: &str) -> Duration {
    let (_, probe) = workload.split_once("readinessProbe:").expect("a probe, the last one");
    Duration::from_secs(number(probe, "periodSeconds: ") * number(probe, "failureThreshold: "))
}

/// A way to run the gateway on Kubernetes.
struct Way {
    config: &'static str,
    workload: &'static str,
    init: &'static str,
}

const WAYS: [Way; 2] = [
    Way {
        config: "kubernetes/sqlite/config/config.yaml",
        workload: "kubernetes/sqlite/stateful-set.yaml",
        init: "kubernetes/sqlite/init/job.yaml",
    },
    Way {
        config: "kubernetes/postgres/config/config.yaml",
        workload: "kubernetes/postgres/deployment.yaml",
        init: "kubernetes/postgres/init/job.yaml",
    },
];

#[test]
fn kubernetes_and_systemd_wait_for_the_whole_stop() {
    for way in WAYS {
        let (config, workload) = (file(way.config), file(way.workload));
        let drain_delay_ms = number(&config, "drain_delay_ms = ");
        let longest = stop_time(drain_delay_ms, number(&config, "stop_grace_ms = "));
        let grace = number(&workload, "terminationGracePeriodSeconds: ");
        assert!(Duration::from_secs(grace) > longest, "{}: {longest:?}", way.workload);
        // It serves until balancers know.
        let notice = notice_time(&workload);
        assert!(Duration::from_millis(drain_delay_ms) >= notice, "{}: {notice:?}", way.config);
    }
    let defaults = include_str!("../../examples/gateway.toml");
    let longest = stop_time(
        number(defaults, "\n#drain_delay_ms = "),
        number(defaults, "\n#stop_grace_ms = "),
    );
    let unit = file("systemd/settlement-gateway.service");
    let timeout = Duration::from_secs(number(&unit, "\nTimeoutStopSec="));
    assert!(timeout > longest, "{timeout:?}, {longest:?}");
}

/// Beside the two knobs.
#[test]
fn the_documents_tell_how_long_a_stop_takes() {
    let seconds = format!("{} s", AFTER_GRACE_MAX.as_secs());
    for name in ["Dockerfile", "docs/production.md", "docs/configuration.md", "docs/mesh.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(path).unwrap();
        let mut paragraphs = text.split("\n\n");
        let told = paragraphs.any(|text| text.contains("stop_grace_ms") && text.contains(&seconds));
        assert!(told, "{name}: {seconds}");
    }
}

/// `systemd.rs` and `signals.rs` show that the program does its part.
#[test]
fn the_unit_relies_on_what_the_program_does() {
    let unit = file("systemd/settlement-gateway.service");
    let relied_on = [
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "WatchdogSec=60",
        "Restart=always",
        // A configuration that cannot be used does not become better.
        "RestartPreventExitStatus=64",
        "StartLimitIntervalSec=0",
        "StateDirectory=settlement-gateway",
        "LogsDirectory=settlement-gateway",
    ];
    for line in relied_on {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

/// By whatever way a manifest names the image.
#[test]
fn the_manifests_are_of_this_version() {
    let image = format!("image: settlement-gateway:{}\n", env!("CARGO_PKG_VERSION"));
    let tag = format!("newTag: {:?}\n", env!("CARGO_PKG_VERSION"));
    for name in WAYS.iter().flat_map(|way| [way.workload, way.init]) {
        assert!(file(name).contains(&image), "{name}: {image}");
        let folder = Path::new(name).parent().unwrap();
        let kustomization = file(folder.join("kustomization.yaml").to_str().unwrap());
        assert!(kustomization.contains(&tag), "{}: {tag}", folder.display());
    }
}

/// With the variables of the image, and with the files where the manifest mounts them.
#[test]
fn the_configurations_of_the_manifests_are_right() {
    for way in WAYS {
        let dir = TempDir::new().unwrap();
        let mounted = |name: &str| dir.path().join(name);
        for name in ["config", "tls", "secrets"] {
            fs::create_dir(mounted(name)).unwrap();
        }
        let (chain, key) = certificate(dir.path());
        fs::copy(&chain, mounted("tls/tls.crt")).unwrap();
        fs::copy(chain, mounted("secrets/postgres-ca.pem")).unwrap();
        let secret = |name: &str, text: &str| {
            let path = mounted(&format!("secrets/{name}"));
            fs::write(&path, text).unwrap();
            // The `defaultMode` of the volumes.
            fs::set_permissions(path, fs::Permissions::from_mode(0o440)).unwrap();
        };
        secret("postgres-password", "secret");
        secret("client-secret", "secret");
        fs::copy(key, mounted("tls/tls.key")).unwrap();
        let keys = include_str!("../../tests/vectors/callback/platform-public-key.pem");
        secret("platform-public-keys.pem", keys);
        let config = configuration(&file(way.config));
        let here = format!("{}/", dir.path().display());
        let config = config.replace("/etc/settlement-gateway/", &here);
        fs::write(mounted("config/gateway.toml"), config).unwrap();
        let path = mounted("config/gateway.toml");
        let variables = [
            ("SETTLEMENT_CONFIG", path.to_str().unwrap()),
            ("SETTLEMENT_SERVER_GRPC_ADDR", "0.0.0.0:50051"),
            ("SETTLEMENT_SERVER_CALLBACK_ADDR", "0.0.0.0:8080"),
        ];
        let (code, stdout, stderr) = ran(&mut gateway(&["check-config"], &variables));
        // The certificate of the test ends tomorrow.
        let ends = |line: &&str| line.contains("names a file with a certificate that ends in");
        let warnings: Vec<&str> = stderr.lines().filter(|line| !ends(line)).collect();
        assert_eq!((code, &warnings[..]), (0, &[][..]), "{}", way.config);
        // So that the person on call can ask a running gateway.
        assert!(stdout.contains("operator"), "{stdout}");
        // The Job, whose working directory is the one above the volume.
        if way.config.contains("sqlite") {
            let (code, _, stderr) = ran(gateway(&["init"], &variables).current_dir(dir.path()));
            assert_eq!(code, 0, "{stderr}");
            assert!(mounted("data/settlement.db").exists());
        }
        let workload = file(way.workload);
        for (listener, port) in [("gRPC", 50051), ("callbacks", 8080), ("admin", 9090)] {
            assert!(
                workload.contains(&format!("containerPort: {port}\n")),
                "{}: {port}",
                way.workload
            );
            assert!(stdout.contains(&format!("0.0.0.0:{port}")), "{listener}: {stdout}");
        }
    }
}
